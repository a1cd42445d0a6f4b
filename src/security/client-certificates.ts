import * as v from "valibot";
import { toTransporterError, TransporterError } from "../kit/mod.ts";
import {
  agentIdOfUri,
  type CertificateLogin,
  loginStatement,
  type Nonce,
  type Role,
  RoleSchema,
  type ShortToken,
} from "../protocol/mod.ts";
import { DOCUMENT_KINDS } from "./documents.ts";
import type { IdentityService, Origin } from "./gate.ts";
import type { LoginNonces } from "./login-nonces.ts";
import type { Parts } from "./parts.ts";
import { type Certificate, CLIENT_AUTH, readCertificates } from "./pki/certificate.ts";
import { type ChainFault, type RevocationList, verifyChain } from "./pki/chain.ts";
import { verifyText } from "./pki/signature.ts";
import { agentPrincipal, type Principal } from "./principal.ts";
import { SharedRecords } from "./shared-record.ts";
import { subjectOf } from "./subject.ts";
import { makeToken, parseToken, sameDigest } from "./token-format.ts";

/** Who is trusted for which certificates, as it is now. */
export interface CertificateTrust {
  /** Of people and programs. */
  clientCas(): readonly Certificate[];
  /** Of agents. */
  agentCas(): readonly Certificate[];
  revocations(): RevocationList;
}

const ShortTokenSchema = v.object({
  /** Hex, of the whole token. */
  sha256: v.string(),
  expiresAtMs: v.number(),
  /** Of a person. */
  person: v.optional(v.object({ name: v.string(), role: RoleSchema })),
  /** Of an agent. */
  agent: v.optional(v.object({ id: v.string(), keySha256: v.string() })),
  /** Hex SHA-256 of the CA's certificate that it was believed for. */
  anchor: v.string(),
  /** Issuer's key and serial number of each certificate on the way. */
  path: v.array(v.tuple([v.string(), v.string()])),
});
type ShortRecord = v.InferOutput<typeof ShortTokenSchema>;

const SHORT_MS = 15 * 60_000;
const KEPT_AFTER_MS = 60_000;
const MAX_CERTIFICATES = 6;
const ROLE_PREFIX = "transporter:";
const NAME = /^[^\u0000-\u001f\u007f-\u009f]{1,100}$/;
/** Stands before the id of a short token where a principal says what ends it. */
export const SHORT_CREDENTIAL = "short:";

type Found = { readonly principal: Principal } | { readonly why: string };
type Holder = Pick<ShortRecord, "person" | "agent">;

/** Client certificates of people, programs and agents, exchanged for a token of some minutes by a signature over a challenge. */
export class ClientCertificates {
  readonly #parts: Parts;
  readonly #trust: CertificateTrust;
  readonly #identities: Pick<IdentityService, "still">;
  readonly #nonces: LoginNonces;
  readonly #records: SharedRecords<ShortRecord>;

  constructor(parts: Parts, trust: CertificateTrust, identities: Pick<IdentityService, "still">, nonces: LoginNonces) {
    this.#parts = parts;
    this.#trust = trust;
    this.#identities = identities;
    this.#nonces = nonces;
    this.#records = new SharedRecords<ShortRecord>({
      documents: parts.documents,
      tenant: parts.tenant,
      kind: DOCUMENT_KINDS.shortToken,
      schema: ShortTokenSchema,
      expiresAtMs: ({ expiresAtMs }) => expiresAtMs + KEPT_AFTER_MS,
    });
  }

  challenge(): Nonce {
    const { nonce, expiresAtMs } = this.#nonces.make();
    return { nonce, audience: this.#parts.audience, expires_at: new Date(expiresAtMs).toISOString() };
  }

  async login(login: CertificateLogin, from: Origin): Promise<ShortToken> {
    const { attempts, signings, refusals, ports } = this.#parts;
    const refuse = async (error: TransporterError, details: Readonly<Record<string, unknown>>): Promise<never> => {
      await refusals.note({ action: "login_refused", code: error.code, ...from, details });
      throw error;
    };
    try {
      attempts.take(from.address);
      signings.take(from.address);
    } catch (error) {
      return refuse(toTransporterError(error), {});
    }
    let outcome: { readonly record: Omit<ShortRecord, "sha256"> } | { readonly why: string; readonly subject?: string };
    try {
      outcome = await this.#judge(login);
    } catch (error) {
      // Nobody guessed anything: it is the store that was away.
      attempts.giveBack(from.address);
      throw error;
    }
    if ("why" in outcome) {
      return refuse(new TransporterError("UNAUTHENTICATED", "the certificate, or the answer to the challenge, does not hold"), outcome);
    }
    attempts.giveBack(from.address);
    const { id, sha256, token } = makeToken("short");
    const { record } = outcome;
    const audit = {
      tenant: this.#parts.tenant,
      atMs: ports.clock.now(),
      principal: record.person === undefined ? `agent:${record.agent?.id ?? ""}` : `cert:${record.person.name}`,
      action: "certificate_login",
      remoteAddress: from.address,
      requestId: from.requestId,
      details: { token_id: id, serial: record.path[0]?.[1] },
    };
    if (!(await this.#records.make(id, { ...record, sha256 }, audit))) {
      throw new TransporterError("STORE_UNAVAILABLE", "the token could not be kept; ask again");
    }
    return { token, expires_at: new Date(record.expiresAtMs).toISOString() };
  }

  /** Who a short token stands for. */
  async find(bearer: string): Promise<Found> {
    const parsed = parseToken(bearer);
    if (parsed?.type !== "short") return { why: "malformed" };
    const record = (await this.#records.get(parsed.id))?.record;
    if (record === undefined || !sameDigest(parsed.sha256, record.sha256)) return { why: "unknown" };
    return this.#principal(parsed.id, record);
  }

  /** Whether a short token that was good still is. */
  async isCurrent(id: string): Promise<boolean> {
    const record = (await this.#records.get(id))?.record;
    return record !== undefined && "principal" in (await this.#principal(id, record));
  }

  async #principal(id: string, record: ShortRecord): Promise<Found> {
    const { expiresAtMs, anchor, path, person, agent } = record;
    if (expiresAtMs <= this.#parts.ports.clock.now()) return { why: "expired" };
    const anchors = person === undefined ? this.#trust.agentCas() : this.#trust.clientCas();
    if (!anchors.some(({ sha256 }) => sha256 === anchor)) return { why: "CA not trusted any more" };
    const revocations = this.#trust.revocations();
    if (path.some(([issuer, serial]) => revocations.isRevoked(issuer, serial))) return { why: "revoked" };
    if (person !== undefined) {
      const { name, role } = person;
      const credential = `${SHORT_CREDENTIAL}${id}`;
      return {
        principal: { tenant: this.#parts.tenant, name: `cert:${name}`, kind: "user", via: "certificate", role, credential, expiresAtMs },
      };
    }
    if (agent === undefined || (await this.#identities.still(agent.id, agent.keySha256)) === undefined) return { why: "identity revoked" };
    return { principal: { ...agentPrincipal(agent.id), via: "certificate", credential: `agent:${agent.id}`, expiresAtMs } };
  }

  async #judge({
    nonce,
    certificate,
    signature,
  }: CertificateLogin): Promise<{ readonly record: Omit<ShortRecord, "sha256"> } | { readonly why: string; readonly subject?: string }> {
    const wrong = this.#nonces.problem(nonce);
    if (wrong !== undefined) return { why: wrong };
    const [leaf, ...others] = readCertificates(certificate, MAX_CERTIFICATES) ?? [];
    if (leaf === undefined) return { why: "unreadable certificate" };
    const statement = loginStatement({ audience: this.#parts.audience, nonce, certificateSha256: leaf.sha256 });
    if (!verifyText(statement, signature, leaf.publicKey)) return { why: "wrong signature" };
    const nowMs = this.#parts.ports.clock.now();
    const chain = (anchors: readonly Certificate[]): ReturnType<typeof verifyChain> =>
      verifyChain({ leaf, others, anchors, revocations: this.#trust.revocations(), nowMs, usage: CLIENT_AUTH });
    // Each CA for its own: that of agents must not make administrators, nor that of people agents.
    const asPerson = chain(this.#trust.clientCas());
    const { fault } = asPerson as { readonly fault?: ChainFault };
    // Both may stand below one CA at the top of a whole house: what the agents' own CA issued is an agent's all the same.
    const agentCas = this.#trust.agentCas();
    const byAgentsCa = asPerson.ok && asPerson.path.some((one) => agentCas.some(({ keySha256 }) => keySha256 === one.keySha256));
    const isPerson = asPerson.ok && !byAgentsCa;
    const believed = byAgentsCa || fault === "untrusted" ? chain(agentCas) : asPerson;
    if (!believed.ok) return { why: believed.message, subject: leaf.x509.subject.slice(0, 200) };
    const holder = isPerson ? personOf(leaf) : await this.#agentOf(leaf);
    if ("why" in holder) return { ...holder, subject: leaf.x509.subject.slice(0, 200) };
    if (!(await this.#nonces.use(nonce))) return { why: "replayed" };
    const { path } = believed;
    return {
      record: {
        ...holder,
        expiresAtMs: Math.min(nowMs + SHORT_MS, leaf.notAfterMs),
        anchor: path.at(-1)?.sha256 ?? "",
        path: path.slice(0, -1).map((one, at) => [path[at + 1]?.keySha256 ?? "", one.serial]),
      },
    };
  }

  async #agentOf(leaf: Certificate): Promise<Holder | { readonly why: string }> {
    const ids = leaf.uris.map(agentIdOfUri);
    const [id] = ids;
    if (id === undefined || ids.length !== 1) return { why: "no agent's certificate" };
    const still = await this.#identities.still(id, leaf.keySha256);
    return still === undefined ? { why: "identity revoked" } : { agent: { id, keySha256: leaf.keySha256 } };
  }
}

/** CN is the name, O the role: exactly one of each that means something here. */
function personOf(leaf: Certificate): Holder | { readonly why: string } {
  const subject = subjectOf(leaf.x509.raw);
  const names = subject?.commonNames ?? [];
  const [name = ""] = names;
  if (names.length !== 1 || !NAME.test(name)) return { why: "no usable name" };
  const named = (subject?.organisations ?? []).filter((one) => one.startsWith(ROLE_PREFIX)).map((one) => one.slice(ROLE_PREFIX.length));
  const role = named.length === 1 ? roleOf(named[0] ?? "") : undefined;
  return role === undefined ? { why: "no role" } : { person: { name, role } };
}

function roleOf(text: string): Role | undefined {
  const parsed = v.safeParse(RoleSchema, text);
  return parsed.success && parsed.output !== "agent" ? parsed.output : undefined;
}
