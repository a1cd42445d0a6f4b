import { createPrivateKey, createPublicKey } from "node:crypto";
import { chmod, rm } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import { type Ports, TransporterError } from "../kit/mod.ts";
import { idProblem } from "../protocol/mod.ts";
import { pinOf } from "./pki/certificate.ts";
import { makeKey } from "./pki/csr.ts";
import { issueServer, makeCa } from "./pki/issue.ts";
import { adminTokenLine, enrolmentTokenLine } from "./pki/token-hashes.ts";
import { FILES, type FileName, readIfThere } from "./pki/trust-files.ts";
import { makeDirectory, makeFile } from "./pki/write-files.ts";
import { makeToken } from "./token-format.ts";

export interface InitTrustOptions {
  readonly ports: Ports;
  /** DNS names and IP addresses of the server's certificate; at least one. */
  readonly names: readonly string[];
  /** Agents that get an enrolment token each. */
  readonly agents?: readonly string[];
  readonly enrolmentTokenTtlMs?: number;
}

/** What was made. The tokens are nowhere else: only their hashes are kept. */
export interface InitialisedTrust {
  readonly directory: string;
  /** `sha256:` of the CA. */
  readonly pin: string;
  readonly adminToken: string;
  readonly enrolmentTokens: readonly { readonly agent: string; readonly token: string; readonly expiresAtMs: number }[];
}

/** Long enough to start the control plane and to walk to the other machine. */
const ENROLMENT_TOKEN_TTL_MS = 3_600_000;

/** What only `makeTrust` makes. Any of it says that an installation is here, or was. */
export const OWN_FILES = ["ca", "caKey", "cert", "key", "adminTokens", "enrolmentTokens"] as const satisfies readonly FileName[];

const DNS_NAME = /^(?:\*\.)?(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$/;

/** What is wrong with a name for the server's certificate; undefined for a DNS name or an IP address. */
export function serverNameProblem(name: string): string | undefined {
  if (isIP(name) !== 0 || (name.length <= 253 && DNS_NAME.test(name))) return undefined;
  return "is neither a DNS name nor an IP address";
}

/** What makes an installation one of its own, before it lies anywhere. */
export interface MadeTrust extends Omit<InitialisedTrust, "directory"> {
  /** In the order in which they are to be written: who finds the CA's certificate, which is the last, takes them for whole. */
  readonly files: readonly (readonly [name: FileName, text: string])[];
}

/** Throws CONFIG_INVALID unless all are DNS names or IP addresses. */
export function checkServerNames(names: readonly string[]): void {
  for (const name of names) {
    const problem = serverNameProblem(name);
    if (problem !== undefined)
      throw new TransporterError("CONFIG_INVALID", `a name for the server's certificate: ${JSON.stringify(name)} ${problem}`);
  }
}

/** Throws CONFIG_INVALID. */
export async function makeTrust(options: InitTrustOptions): Promise<MadeTrust> {
  const { ports, names, agents = [] } = options;
  if (names.length === 0) throw new TransporterError("CONFIG_INVALID", "the server's certificate needs a name");
  checkServerNames(names);
  for (const agent of agents) {
    const problem = idProblem(agent) ?? (agent.includes("*") ? "is a pattern; the id of one agent is needed" : undefined);
    if (problem !== undefined) throw new TransporterError("CONFIG_INVALID", `the agent's id ${JSON.stringify(agent)} ${problem}`);
  }
  const nowMs = ports.clock.now();
  const { issuer, keyPem } = await makeCa(nowMs);
  const serverKey = makeKey();
  const server = await issueServer(issuer, {
    publicKey: createPublicKey(createPrivateKey(serverKey)),
    names: [...new Set(names)],
    nowMs,
  });
  const admin = makeToken("user");
  const expiresAtMs = nowMs + (options.enrolmentTokenTtlMs ?? ENROLMENT_TOKEN_TTL_MS);
  const enrolments = [...new Set(agents)].map((agent) => ({ ...makeToken("enrolment"), agent, expiresAtMs }));
  return {
    files: [
      ["caKey", keyPem],
      ["key", serverKey],
      ["cert", server.pem],
      ["adminTokens", adminTokenLine(admin)],
      ...(enrolments.length === 0 ? [] : [["enrolmentTokens", enrolments.map(enrolmentTokenLine).join("")] as const]),
      ["ca", issuer.certificate.pem],
    ],
    pin: pinOf(issuer.certificate),
    adminToken: admin.token,
    enrolmentTokens: enrolments.map(({ agent, token }) => ({ agent, token, expiresAtMs })),
  };
}

/**
 * Makes a CA, a server certificate, the first administrator's token and tokens for agents, in a directory that only its owner may enter.
 * Throws ALREADY_INITIALISED where one of the files is there: nothing is ever overwritten; CONFIG_INVALID, FILE_UNREADABLE.
 */
export async function initTrust(directory: string, options: InitTrustOptions): Promise<InitialisedTrust> {
  const path = (name: FileName): string => join(directory, FILES[name]);
  const { files, ...made } = await makeTrust(options);
  for (const name of OWN_FILES) if ((await readIfThere(path(name))) !== undefined) throw taken(path(name));
  await makeDirectory(directory);
  await chmod(directory, 0o700);
  await makeAll(files.map(([name, text]) => [path(name), text]));
  return { directory, ...made };
}

function taken(path: string): TransporterError {
  return new TransporterError("ALREADY_INITIALISED", `${path} is there already`);
}

/** All of the files, or none. */
async function makeAll(files: readonly (readonly [string, string])[]): Promise<void> {
  const made: string[] = [];
  try {
    for (const [path, text] of files) {
      if (!(await makeFile(path, text))) throw taken(path);
      made.push(path);
    }
  } catch (error) {
    for (const path of made) await rm(path, { force: true });
    throw error;
  }
}
