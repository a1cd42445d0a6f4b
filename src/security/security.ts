import type { Logger, Ports } from "../kit/mod.ts";
import type { Documents } from "./documents.ts";
import type { Security } from "./gate.ts";
import type { FetchText, OidcOptions, TrustedCluster } from "./issuers.ts";

/** Where the files are that say whom to trust. `directory` has them by the names of `initTrust`; a file named by itself goes before it. */
export interface TrustFiles {
  readonly directory?: string;
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
  readonly certificateTtlMs: number;
  readonly renewalGraceMs: number;
  /** Enrolments wait until somebody approves them. */
  readonly approveByHand: boolean;
  /** What agents are told to connect to; empty: where they were told already. */
  readonly agentUrls: readonly string[];
  /** A file with one user token that is an administrator's. */
  readonly adminTokenFile?: string;
  readonly oidc?: OidcOptions;
  readonly clusters: readonly TrustedCluster[];
  /** How the documents of issuers are fetched; by net's guarded fetch when absent. */
  readonly fetchText?: FetchText;
}

/** Throws CONFIG_INVALID, FILE_UNREADABLE, STORE_UNAVAILABLE. It follows nothing before `start`. */
export async function createSecurity(options: SecurityOptions): Promise<Security> {
  await options.documents.lastDocumentSeq();
  throw new Error("not there yet");
}
