import { readFile } from "node:fs/promises";
import { type Logger, messageOf, type Ports, TransporterError } from "../kit/mod.ts";
import { guardedFetch, type ProxyEnv, readCaFile } from "../net/mod.ts";
import { StandardAuthenticator } from "./authenticator.ts";
import { StoredBrowserSessions } from "./browser-sessions.ts";
import { ClientCertificates } from "./client-certificates.ts";
import { TrustedClusters } from "./cluster-accounts.ts";
import { DocumentFollower } from "./document-follower.ts";
import type { Documents } from "./documents.ts";
import { Endings } from "./endings.ts";
import { createEnrolment } from "./enrolment.ts";
import type { Security } from "./gate.ts";
import { createIdentities } from "./identities.ts";
import { openInstallation } from "./installation.ts";
import { IssuerKeys } from "./issuer-keys.ts";
import type { KeptTrust } from "./kept-trust.ts";
import type { FetchText, OidcOptions, TrustedCluster } from "./issuers.ts";
import { KnownCallers } from "./known-callers.ts";
import { LastUse } from "./last-use.ts";
import { LoginNonces } from "./login-nonces.ts";
import { Oidc } from "./oidc.ts";
import type { Parts } from "./parts.ts";
import { readAdminTokens } from "./pki/token-hashes.ts";
import { DEFAULT_TENANT } from "./principal.ts";
import { AttemptLimiter, SIGNINGS } from "./rate-limit.ts";
import { RefusalAudit } from "./refusal-audit.ts";
import { parseToken } from "./token-format.ts";
import { toldDocuments } from "./told-documents.ts";
import { Tokens } from "./tokens.ts";
import { createTrust } from "./trust.ts";

/** Where the files are that say whom to trust. `directory` has them by the names of `initTrust`; a file named by itself goes before it. */
export interface TrustFiles {
  readonly directory?: string;
  /** In place of the directory. */
  readonly kept?: KeptTrust;
  readonly caFile?: string;
  readonly caKeyFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly crlFile?: string;
  /** Of people's and programs' client certificates. */
  readonly clientCaFile?: string;
}

export interface SecurityOptions {
  readonly documents: Documents;
  readonly ports: Ports;
  readonly log: Logger;
  readonly trust: TrustFiles;
  /** What the server's certificate must name, where our own CA issues it. */
  readonly serverNames?: readonly string[];
  readonly certificateTtlMs: number;
  readonly renewalGraceMs: number;
  /** Enrolments wait until somebody approves them. */
  readonly approveByHand: boolean;
  /** What agents are told to connect to; empty: where they were told already. */
  readonly agentUrls: readonly string[];
  /** A file with one user token that is an administrator's, or with digests of some. */
  readonly adminTokenFile?: string;
  readonly oidc?: OidcOptions;
  readonly clusters: readonly TrustedCluster[];
  /** HTTPS_PROXY and its kin, for the way to issuers. */
  readonly proxyEnv?: ProxyEnv;
  /** How the documents of issuers are fetched; by net's guarded fetch when absent. */
  readonly fetchText?: FetchText;
}

/** Throws CONFIG_INVALID, FILE_UNREADABLE, STORE_UNAVAILABLE. It follows nothing before `start`. */
export async function createSecurity(options: SecurityOptions): Promise<Security> {
  const { documents, ports, log } = options;
  const tenant = DEFAULT_TENANT;
  const trust = await createTrust({ files: options.trust, ports, log, names: options.serverNames ?? [] });
  await trust.named();
  // Before anything is read, so that nothing is missed between.
  const afterSeq = await documents.lastDocumentSeq();
  const installation = await openInstallation(documents, ports, tenant);
  const refusals = new RefusalAudit({ documents, ports, log, tenant });
  const parts: Parts = {
    documents,
    ports,
    log,
    tenant,
    attempts: new AttemptLimiter(ports.clock),
    signings: new AttemptLimiter(ports.clock, SIGNINGS),
    refusals,
    audience: installation.id,
  };
  const issuers = new Issuers(options);
  const known = new KnownCallers(ports.clock);
  const lastUse = new LastUse({ documents, ports, log, tenant });
  const ofAgents: Parts = { ...parts, documents: toldDocuments(documents, (kind, id) => endings.documentChanged(kind, id)) };
  // Agents are counted by themselves: behind something that hides addresses they share one with whoever guesses tokens, and must not be kept out.
  const identities = createIdentities({ parts: { ...ofAgents, attempts: new AttemptLimiter(ports.clock) }, trust });
  const tokens = new Tokens(parts, lastUse, (id) => endings.documentChanged("token", id));
  const nonces = new LoginNonces({ documents, ports, tenant, key: installation.nonceKey });
  const certificateTrust = {
    clientCas: () => trust.clientCas(),
    agentCas: () => trust.state().cas,
    revocations: () => trust.state().revocations,
  };
  const certificates = new ClientCertificates(parts, certificateTrust, identities, nonces);
  const sessions = new StoredBrowserSessions(
    parts,
    (credential) => authenticator.credentialIsCurrent(credential),
    (id) => endings.documentChanged("session", id),
  );
  const oidc = options.oidc === undefined ? undefined : new Oidc(options.oidc, await issuers.keys(options.oidc), tenant);
  const authenticator = new StandardAuthenticator({ parts, tokens, lastUse, sessions, certificates, oidc, identities, known });
  const endings = new Endings({ known, log, isCurrent: (credential) => authenticator.credentialIsCurrent(credential) });
  const clusterKeys = await Promise.all(options.clusters.map(async (cluster) => ({ cluster, keys: await issuers.keys(cluster) })));
  const clusters = new TrustedClusters(clusterKeys, ports.clock);
  const { certificateTtlMs, renewalGraceMs, approveByHand, agentUrls } = options;
  const enrolment = createEnrolment({
    parts: ofAgents,
    trust,
    tokens,
    clusters,
    certificateTtlMs,
    renewalGraceMs,
    approveByHand,
    agentUrls,
  });
  const follower = new DocumentFollower({
    documents,
    ports,
    log,
    tenant,
    afterSeq,
    changed: (kind, id) => endings.documentChanged(kind, id),
    putBack: () => endings.all(),
  });
  await tokens.bootstrap({ admins: [...trust.adminTokens(), ...(await adminToken(options))], enrolments: trust.enrolmentTokens() });
  let stopTrust: (() => void) | undefined;
  return {
    authenticator,
    tokens,
    enrolment,
    identities,
    trust,
    browserSessions: sessions,
    refusals,
    documentChanged: (kind, id) => endings.documentChanged(kind, id),
    gap: () => endings.all(),
    onEnded: (listener) => endings.onEnded(listener),
    start() {
      trust.start();
      follower.start();
      lastUse.start();
      // A CA may have gone, or a revocation list come.
      stopTrust ??= trust.onChange(() => endings.all());
    },
    async stop() {
      stopTrust?.();
      trust.stop();
      await follower.stop();
      await lastUse.stop();
      await refusals.stop();
    },
  };
}

/** The keys of issuers, the way the options say. */
class Issuers {
  readonly #options: SecurityOptions;
  readonly #fetchText: FetchText;

  constructor(options: SecurityOptions) {
    this.#options = options;
    this.#fetchText = options.fetchText ?? guardedText(options.proxyEnv);
  }

  async keys(of: { readonly issuer: string; readonly jwks?: string; readonly caFile?: string }): Promise<IssuerKeys> {
    const { ports, log } = this.#options;
    return new IssuerKeys({
      issuer: of.issuer,
      jwks: of.jwks,
      ca: of.caFile === undefined ? undefined : await readCaFile(of.caFile),
      fetchText: this.#fetchText,
      readText: (path) => readFile(path, "utf8"),
      ports,
      log,
    });
  }
}

function guardedText(proxyEnv: ProxyEnv | undefined): FetchText {
  return async (url, { ca, maxBytes, timeoutMs }) => {
    const response = await guardedFetch(url, { headers: { accept: "application/json" } }, { ca, proxyEnv, maxBytes, timeoutMs });
    if (response.status !== 200) throw new Error(`${new URL(url).origin} answered with HTTP ${response.status}`);
    return response.text();
  };
}

/** The token of `adminTokenFile`, of which nothing but its digest goes any further, or the digests that it holds. */
async function adminToken({ adminTokenFile }: SecurityOptions): Promise<readonly { readonly id: string; readonly sha256: string }[]> {
  if (adminTokenFile === undefined) return [];
  let text: string;
  try {
    text = (await readFile(adminTokenFile, "utf8")).trim();
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `the administrator's token ${adminTokenFile} cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const parsed = parseToken(text);
  if (parsed?.type === "user") return [{ id: parsed.id, sha256: parsed.sha256 }];
  // As `initTrust` writes them, where somebody would rather not have the token itself lie there.
  if (parsed === undefined && text.includes(":")) return readAdminTokens({ path: adminTokenFile, text, mode: 0 });
  throw new TransporterError("CONFIG_INVALID", `${adminTokenFile} holds no user token`, {
    remedy:
      "Put in one line with a token as `transporter token create` or `transporter cp init` make it, or the lines of admin-token.hash.",
  });
}
