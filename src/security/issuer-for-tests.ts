import { createHmac } from "node:crypto";
import { exportJWK, exportSPKI, generateKeyPair, type JWK, type JWTPayload, SignJWT } from "jose";
import { type ManualPorts, silentLogger } from "../kit/mod.ts";
import { IssuerKeys } from "./issuer-keys.ts";

/** An issuer with keys of its own, whose answers a test can change. */
export interface TestIssuer {
  readonly url: string;
  /** What its JWKS holds, by key id. */
  readonly published: Map<string, JWK>;
  /** Addresses that were asked, in order. */
  readonly asked: string[];
  /** When set, it answers nothing but this. */
  failure: Error | undefined;
  /** What its discovery document says of itself. */
  discovery: Record<string, unknown>;
  addKey(kid: string, algorithm?: string): Promise<void>;
  /** With the claims that a good token has, unless others are given. */
  sign(
    claims?: Readonly<Record<string, unknown>>,
    header?: { readonly kid?: string | undefined; readonly typ?: string; readonly alg?: string },
  ): Promise<string>;
  /** As an attacker would: HS256, with the public key as its secret. */
  signWithPublicKey(kid: string): Promise<string>;
  /** Any header over the good claims, and no signature. */
  unsigned(header: Record<string, unknown>): string;
  keys(jwks?: string): IssuerKeys;
  readonly claims: JWTPayload;
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

export async function testIssuer(manual: ManualPorts, url = "https://id.example.com"): Promise<TestIssuer> {
  const pairs = new Map<string, { readonly alg: string; readonly privateKey: CryptoKey; readonly publicKey: CryptoKey }>();
  const published = new Map<string, JWK>();
  const jwksUri = "https://keys.example.com/jwks";
  const nowS = Math.floor(manual.ports.clock.now() / 1000);
  const claims: JWTPayload = { iss: url, aud: "transporter", sub: "alice", iat: nowS, exp: nowS + 3_600, groups: ["staff", "ops"] };
  const answer = (address: string): string => {
    issuer.asked.push(address);
    if (issuer.failure !== undefined) throw issuer.failure;
    return JSON.stringify(address === jwksUri || !address.includes(".well-known") ? { keys: [...published.values()] } : issuer.discovery);
  };
  const issuer: TestIssuer = {
    url,
    published,
    claims,
    asked: [],
    failure: undefined,
    discovery: { issuer: url, jwks_uri: jwksUri },
    async addKey(kid, alg = "ES256") {
      const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
      pairs.set(kid, { alg, privateKey, publicKey });
      published.set(kid, { ...(await exportJWK(publicKey)), kid, alg, use: "sig" });
    },
    async sign(changes = {}, header = {}) {
      const kid = "kid" in header ? header.kid : "k1";
      const pair = pairs.get(kid ?? "k1");
      if (pair === undefined) throw new Error(`there is no key ${kid}`);
      const payload = Object.fromEntries(Object.entries({ ...claims, ...changes }).filter(([, value]) => value !== undefined));
      const { typ } = header;
      return new SignJWT(payload)
        .setProtectedHeader({ alg: header.alg ?? pair.alg, ...(kid === undefined ? {} : { kid }), ...(typ === undefined ? {} : { typ }) })
        .sign(pair.privateKey);
    },
    async signWithPublicKey(kid) {
      const pair = pairs.get(kid);
      if (pair === undefined) throw new Error(`there is no key ${kid}`);
      const body = `${encode({ alg: "HS256", kid })}.${encode(claims)}`;
      return `${body}.${createHmac("sha256", await exportSPKI(pair.publicKey))
        .update(body)
        .digest("base64url")}`;
    },
    unsigned: (header) => `${encode(header)}.${encode(claims)}.`,
    keys: (jwks) =>
      new IssuerKeys({
        issuer: url,
        jwks,
        ca: undefined,
        fetchText: async (address) => answer(address),
        readText: async (path) => answer(`file ${path}`),
        ports: manual.ports,
        log: silentLogger,
      }),
  };
  await issuer.addKey("k1");
  return issuer;
}
