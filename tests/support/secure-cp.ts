import { X509Certificate } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ControlPlane, type ControlPlaneOptions, startControlPlane } from "../../src/cp/mod.ts";
import { type Logger, silentLogger, systemPorts } from "../../src/kit/mod.ts";
import {
  type AuditEntry,
  type CreatedToken,
  type EnrolmentAnswer,
  renewalStatement,
  type Role,
  type TokenRequest,
} from "../../src/protocol/mod.ts";
import {
  createSecurity,
  csrSha256,
  initTrust,
  makeCsr,
  makeKey,
  type Security,
  signText,
  type SecurityOptions,
} from "../../src/security/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { CP_DEFAULTS } from "./cp.ts";
import { dialWithProof, type EnrolledAgent, type ProofOptions } from "./secure-agent.ts";
import type { WireAgent } from "./wire-agent.ts";

type Json = Record<string, unknown>;

export interface SecureControlPlane extends AsyncDisposable {
  readonly cp: ControlPlane;
  readonly security: Security;
  readonly store: Store;
  /** The security directory; other control planes may be started with it. */
  readonly directory: string;
  /** `https://127.0.0.1:…` */
  readonly url: string;
  /** `wss://127.0.0.1:…/ws` */
  readonly agentsUrl: string;
  /** PEM of the CA, and its `sha256:` pin. */
  readonly ca: string;
  readonly pin: string;
  /** One of each role, without a scope; the agent's is for `agent-1` only. */
  readonly tokens: Readonly<Record<Role, string>>;
  /** As `fetch`, over verified TLS, with a token where one is given. */
  fetch(path: string, init?: RequestInit & { readonly token?: string | undefined }): Promise<Response>;
  /** The body as JSON; fails unless the answer has this status. As the administrator when no token is given. */
  json<T>(path: string, init?: RequestInit & { readonly token?: string }, status?: number): Promise<T>;
  token(request: TokenRequest): Promise<CreatedToken>;
  /** By the real endpoints: a token for it, a key of its own, a certificate. */
  enrol(agentId: string, token?: Partial<TokenRequest>): Promise<EnrolledAgent>;
  /** By the real endpoint: a new key, vouched for by the old one. */
  renew(agent: EnrolledAgent): Promise<EnrolledAgent>;
  /** An agent on the agents' listener, with its certificate in the handshake and its proof inside. */
  dial(agent: EnrolledAgent, registration?: Json, options?: Partial<ProofOptions>): Promise<WireAgent>;
  /** The audit's entries of an action, oldest first. */
  audit(action: string): Promise<readonly AuditEntry[]>;
  stop(): Promise<void>;
}

export interface SecureControlPlaneOptions extends Partial<Omit<ControlPlaneOptions, "security">> {
  /** `memory:` by default. */
  readonly storeUrl?: string;
  readonly securityOptions?: Partial<SecurityOptions>;
  /** That of another control plane, to be another replica of it; made otherwise. */
  readonly like?: SecureControlPlane;
}

const HOUR_NS = 3_600_000_000_000;

/** A port that nobody uses at this moment: agents are told the address before anybody listens there. */
function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

/** A control plane in this process with security, on free ports: everything real, the files in a directory of its own. */
export async function startSecureCp(options: SecureControlPlaneOptions = {}): Promise<SecureControlPlane> {
  const log: Logger = options.log ?? silentLogger;
  const { like } = options;
  const ports = options.ports ?? systemPorts;
  const directory = like?.directory ?? join(await mkdtemp(join(tmpdir(), "transporter-secure-")), "security");
  const made = like === undefined ? await initTrust(directory, { ports, names: ["127.0.0.1", "localhost"] }) : undefined;
  const ca = like?.ca ?? (await Bun.file(join(directory, "ca.crt")).text());
  const pin = like?.pin ?? made?.pin ?? "";
  const store = options.store ?? (await openStore(options.storeUrl ?? "memory:", { ports, log }));
  const agents = options.agents ?? { host: "127.0.0.1", port: freePort() };
  const agentsUrl = `wss://127.0.0.1:${agents.port}/ws`;
  const discard = async (): Promise<void> => {
    if (like === undefined) await rm(join(directory, ".."), { recursive: true, force: true });
  };
  const security = await createSecurity({
    documents: store,
    ports,
    log,
    trust: { directory },
    certificateTtlMs: 30 * 86_400_000,
    renewalGraceMs: 14 * 86_400_000,
    approveByHand: false,
    agentUrls: [agentsUrl],
    clusters: [],
    ...options.securityOptions,
  });
  const cp = await startControlPlane({
    ...CP_DEFAULTS,
    ports,
    ...options,
    agents,
    store,
    log,
    security,
  }).catch(async (error: unknown) => {
    await discard();
    throw error;
  });
  const adminToken = like?.tokens.admin ?? made?.adminToken ?? "";

  const send: SecureControlPlane["fetch"] = (path, { token, ...init } = {}) => {
    const headers = new Headers(init.headers);
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    return fetch(cp.url + path, { ...init, headers, tls: { ca } });
  };
  const json: SecureControlPlane["json"] = async <T>(
    path: string,
    init: RequestInit & { readonly token?: string } = {},
    status = 200,
  ): Promise<T> => {
    const response = await send(path, { token: adminToken, ...init });
    const text = await response.text();
    if (response.status !== status) throw new Error(`${init.method ?? "GET"} ${path} answered ${response.status}: ${text}`);
    return JSON.parse(text) as T;
  };
  const post = (body: unknown): RequestInit => ({
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
  });
  const token = (request: TokenRequest): Promise<CreatedToken> => json<CreatedToken>("/v1/tokens", post({ ttl: HOUR_NS, ...request }), 201);
  const ofRole = async (role: Role): Promise<string> =>
    (await token({ kind: "user", name: role, role, ...(role === "agent" ? { scope: { agents: ["agent-1"] } } : {}) })).token;
  const tokens =
    like?.tokens ??
    ({
      admin: adminToken,
      viewer: await ofRole("viewer"),
      producer: await ofRole("producer"),
      operator: await ofRole("operator"),
      agent: await ofRole("agent"),
    } satisfies Record<Role, string>);
  const stop = async (): Promise<void> => {
    await cp.stop();
    await discard();
  };
  const one: SecureControlPlane = {
    cp,
    security,
    store,
    directory,
    url: cp.url,
    agentsUrl,
    ca,
    pin,
    tokens,
    fetch: send,
    json,
    token,
    async enrol(agentId, request = {}) {
      const vouching = await token({ kind: "enrolment", agent: agentId, ...request });
      const key = makeKey();
      const answer = await json<EnrolmentAnswer>("/v1/enrolments", {
        ...post({ agent_id: agentId, csr: makeCsr(key) }),
        token: vouching.token,
      });
      if (answer.certificate === undefined) throw new Error(`the enrolment of ${agentId} is ${answer.status}`);
      return { agentId, key, certificate: answer.certificate, trust: answer.trust_bundle, audience: answer.audience };
    },
    async renew(agent) {
      const key = makeKey();
      const csr = makeCsr(key);
      const certificateSha256 = new Bun.CryptoHasher("sha256").update(new X509Certificate(agent.certificate).raw).digest("hex");
      const signature = signText(renewalStatement({ certificateSha256, csrSha256: csrSha256(csr) }), agent.key);
      const response = await send("/v1/enrolments/renew", post({ certificate: agent.certificate, csr, signature }));
      const answer = (await response.json()) as EnrolmentAnswer;
      if (answer.certificate === undefined) throw new Error(`the renewal of ${agent.agentId} was answered: ${JSON.stringify(answer)}`);
      return { ...agent, key, certificate: answer.certificate, trust: answer.trust_bundle };
    },
    dial: (agent, registration = {}, proofOptions = {}) =>
      dialWithProof(agentsUrl, { ca, agent, ...proofOptions }, { id: agent.agentId, name: agent.agentId, ...registration }),
    async audit(action) {
      const { items } = await store.listAudit({ tenant: "default", action, limit: 500 });
      return items.toReversed();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
  return one;
}
