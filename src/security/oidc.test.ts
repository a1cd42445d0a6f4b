import { describe, expect, test } from "bun:test";
import { manualPorts } from "../kit/mod.ts";
import { TrustedClusters } from "./cluster-accounts.ts";
import { testIssuer } from "./issuer-for-tests.ts";
import type { OidcOptions, TrustedCluster } from "./issuers.ts";
import { Oidc } from "./oidc.ts";
import { codeOf } from "./parts-for-tests.ts";

const OPTIONS: OidcOptions = {
  issuer: "https://id.example.com",
  audience: "transporter",
  algorithms: ["ES256"],
  usernameClaim: "sub",
  rolesClaim: "groups",
  roles: [
    { role: "viewer", value: "staff" },
    { role: "admin", value: "ops" },
    { role: "producer", value: "ci" },
  ],
};

async function bench(more: Partial<OidcOptions> = {}) {
  const manual = manualPorts();
  const issuer = await testIssuer(manual);
  const oidc = new Oidc({ ...OPTIONS, ...more }, issuer.keys(), "default");
  const verify = async (claims: Record<string, unknown>) => oidc.verify(await issuer.sign(claims), manual.ports.clock.now());
  return { manual, issuer, oidc, verify };
}

describe("an access token of an identity provider", () => {
  test("is somebody, with the role that may most of those that its groups give, until it runs out", async () => {
    const { verify, issuer } = await bench();
    expect(await verify({})).toStrictEqual({
      principal: {
        tenant: "default",
        name: "oidc:alice",
        kind: "user",
        via: "oidc",
        role: "admin",
        expiresAtMs: Number(issuer.claims.exp) * 1000,
      },
    });
    expect(await verify({ groups: ["staff", "ci", "other"] })).toMatchObject({ principal: { role: "producer" } });
    expect(await verify({ groups: "staff" })).toMatchObject({ principal: { role: "viewer" } });
    expect(await verify({ sub: "a".repeat(200) })).toHaveProperty("principal");
  });

  test.each<[string, Record<string, unknown>]>([
    ["no group", { groups: undefined }],
    ["groups that give nothing", { groups: ["others"] }],
    ["a group that only begins like one", { groups: ["ops2", "OPS"] }],
    ["groups in groups", { groups: [["ops"]] }],
    ["groups in one text", { groups: "ops,staff" }],
    ["an object", { groups: { ops: true } }],
  ])("with %s may nothing", async (_name, claims) => {
    expect(await (await bench()).verify(claims)).toStrictEqual({ why: "no role", denied: true });
  });

  test.each<[string, Record<string, unknown>]>([
    ["none", { sub: undefined }],
    ["an empty one", { sub: "" }],
    ["a number", { sub: 1 }],
    ["an endless one", { sub: "a".repeat(201) }],
    ["one with a line break", { sub: "a\nb" }],
    ["one with an escape", { sub: "a\u009bb" }],
  ])("whose name is %s is nobody", async (_name, claims) => {
    const { verify } = await bench();
    const outcome = await verify(claims);
    expect(outcome).toMatchObject({ denied: false });
    expect(outcome).toHaveProperty("why");
  });

  test("goes by claims that were named, also inside others, and never by what every object has", async () => {
    const inside = await bench({ rolesClaim: "realm.roles", usernameClaim: "https://x.example.com/name" });
    const claims = { "https://x.example.com/name": "bob", realm: { roles: ["ops"] } };
    expect(await inside.verify(claims)).toMatchObject({ principal: { name: "oidc:bob", role: "admin" } });
    expect(await inside.verify({ ...claims, realm: "ops" })).toMatchObject({ why: "no role" });
    expect(await inside.verify({ ...claims, realm: null })).toMatchObject({ why: "no role" });
    const odd = await bench({ rolesClaim: "constructor.name", roles: [{ role: "admin", value: "Object" }] });
    expect(await odd.verify({})).toMatchObject({ why: "no role" });
  });

  test("names somebody by an address only where the provider does not say that nobody checked it", async () => {
    const { verify } = await bench({ usernameClaim: "email" });
    expect(await verify({ email: "a@example.com", email_verified: true })).toMatchObject({ principal: { name: "oidc:a@example.com" } });
    expect(await verify({ email: "a@example.com" })).toHaveProperty("principal");
    expect(await verify({ email: "a@example.com", email_verified: false })).toStrictEqual({ why: "email not verified", denied: false });
    expect(await (await bench()).verify({ email_verified: false })).toHaveProperty("principal");
  });

  test("that does not hold is nobody's", async () => {
    const { verify } = await bench();
    expect(await verify({ aud: "other" })).toStrictEqual({ why: "wrong audience", denied: false });
    expect(await verify({ iss: "https://other.example.com" })).toStrictEqual({ why: "wrong issuer", denied: false });
    expect(await (await bench({ algorithms: ["RS256"] })).verify({})).toStrictEqual({ why: "wrong algorithm", denied: false });
  });

  test("is not believed by algorithms that anybody could sign with", async () => {
    expect(await codeOf(() => bench({ algorithms: ["HS256"] }))).toBe("CONFIG_INVALID");
  });
});

const SUBJECT = "system:serviceaccount:transporter:agent";
const CLUSTER: TrustedCluster = {
  name: "dev",
  issuer: "https://kubernetes.default.svc",
  jwks: "/keys.json",
  audience: "transporter",
  subjects: ["system:serviceaccount:transporter:*"],
  agents: "dev-*",
};

describe("a ServiceAccount's token", () => {
  async function clusters() {
    const manual = manualPorts();
    const [dev, prod] = [await testIssuer(manual, CLUSTER.issuer), await testIssuer(manual, CLUSTER.issuer)];
    const trusted = new TrustedClusters(
      [
        { cluster: CLUSTER, keys: dev.keys("/keys.json") },
        { cluster: { ...CLUSTER, name: "prod", agents: "prod-*", subjects: [SUBJECT] }, keys: prod.keys("/keys.json") },
      ],
      manual.ports.clock,
    );
    return { dev, prod, trusted };
  }

  test("vouches for the agents of its own cluster, though clusters call themselves alike", async () => {
    const { dev, prod, trusted } = await clusters();
    expect(await trusted.verify(await dev.sign({ sub: SUBJECT }))).toStrictEqual({
      account: { cluster: "dev", subject: SUBJECT, agent: "dev-*" },
    });
    await prod.addKey("k2");
    expect(await trusted.verify(await prod.sign({ sub: SUBJECT }, { kid: "k2" }))).toStrictEqual({
      account: { cluster: "prod", subject: SUBJECT, agent: "prod-*" },
    });
  });

  test.each<[string, Record<string, unknown>, string]>([
    ["of another account", { sub: "system:serviceaccount:default:agent" }, "account not trusted"],
    ["of a person", { sub: "admin" }, "account not trusted"],
    ["of nobody", { sub: undefined }, "account not trusted"],
    ["of a name that is none", { sub: "system:serviceaccount:transporter:a:b" }, "account not trusted"],
    ["for another audience", { sub: SUBJECT, aud: "https://kubernetes.default.svc" }, "wrong audience"],
    ["of another issuer", { sub: SUBJECT, iss: "https://elsewhere" }, "unknown issuer"],
    ["that ran out", { sub: SUBJECT, exp: 1 }, "expired"],
  ])("%s is refused", async (_name, claims, why) => {
    const { dev } = await clusters();
    const only = new TrustedClusters([{ cluster: CLUSTER, keys: dev.keys("/keys.json") }], manualPorts().ports.clock);
    expect(await only.verify(await dev.sign(claims))).toStrictEqual({ why });
  });

  test("is refused where its key is no cluster's, and where it is signed by a secret", async () => {
    const { dev, trusted } = await clusters();
    const stranger = await testIssuer(manualPorts(), CLUSTER.issuer);
    expect(await trusted.verify(await stranger.sign({ sub: SUBJECT }))).toStrictEqual({ why: "wrong signature" });
    expect(await trusted.verify(await dev.signWithPublicKey("k1"))).toStrictEqual({ why: "wrong algorithm" });
  });

  test("is told from our own tokens by its form", async () => {
    const { dev, trusted } = await clusters();
    expect(trusted.claims(await dev.sign())).toBe(true);
    expect(trusted.claims("tpe_abcdefghijkl_secret")).toBe(false);
  });
});
