import type { TrustService } from "../gate.ts";
import { type ChainFault, verifyChain } from "./chain.ts";
import { type Certificate, SERVER_AUTH } from "./certificate.ts";
import { NO_REVOCATIONS } from "./crl.ts";
import { missingNames } from "./server-names.ts";
import type { FoundFiles } from "./trust-files.ts";
import type { TrustState } from "./trust-state.ts";

type Finding = ReturnType<TrustService["findings"]>[number];

const DAY_MS = 86_400_000;

/** Says that a certificate ends soon: in its last tenth, or within 30 days where it lives longer than that. */
function ending(name: string, what: string, certificate: Certificate, nowMs: number): Finding {
  const leftMs = certificate.notAfterMs - nowMs;
  const until = new Date(certificate.notAfterMs).toISOString();
  if (leftMs < 0) return { level: "error", name, message: `${what} ran out at ${until}` };
  if (nowMs < certificate.notBeforeMs) return { level: "error", name, message: `${what} is not valid yet; compare the clocks` };
  const lifeMs = certificate.notAfterMs - certificate.notBeforeMs;
  const level = leftMs < Math.min(30 * DAY_MS, lifeMs / 10) ? "warning" : "ok";
  return { level, name, message: `${what} runs out at ${until}` };
}

function permissions({ files }: FoundFiles): readonly Finding[] {
  const found: Finding[] = [];
  for (const [name, file] of [
    ["ca key", files.caKey],
    ["server key", files.key],
  ] as const) {
    if (file === undefined || (file.mode & 0o077) === 0) continue;
    // A Kubernetes Secret is mounted readable by its group; by everybody it need not be.
    const level = (file.mode & 0o007) === 0 ? "warning" : "error";
    const who = level === "error" ? "everybody on this machine" : "its group";
    found.push({ level, name, message: `${file.path} can be read by ${who}; chmod 600 it` });
  }
  return found;
}

export interface FindingsAbout {
  readonly nowMs: number;
  readonly leftAsTheyWere: boolean;
  /** What the server's certificate should name. */
  readonly names: readonly string[];
}

/** What people should know of the files that say whom to trust. */
export function findingsOf(state: TrustState, found: FoundFiles, { nowMs, leftAsTheyWere, names }: FindingsAbout): readonly Finding[] {
  const { cas, server, issuer, revocations } = state;
  const [own, ...others] = server;
  const findings: Finding[] = [];
  for (const [index, ca] of cas.entries()) findings.push(ending("ca", index === 0 ? "the CA" : `CA ${index + 1}`, ca, nowMs));
  if (own !== undefined) {
    findings.push(ending("server certificate", "the server's certificate", own, nowMs));
    if (own.names.length === 0)
      findings.push({ level: "warning", name: "server certificate", message: "it names no host; clients will refuse it" });
    const missing = missingNames(own.names, names);
    if (missing.length > 0)
      findings.push({
        level: "warning",
        name: "server certificate",
        message: `it does not name ${missing.join(", ")}; whoever comes by that name will refuse it`,
      });
    const chain = verifyChain({ leaf: own, others, anchors: cas, revocations: NO_REVOCATIONS, nowMs, usage: SERVER_AUTH });
    const { fault } = chain as { readonly fault?: ChainFault };
    if (fault === "untrusted")
      findings.push({
        level: "warning",
        name: "server certificate",
        message: "none of the CAs here has issued it: who enrols by the CA's hash cannot check it",
      });
  }
  if (issuer === undefined)
    findings.push({ level: "ok", name: "enrolment", message: "no CA key is here: agents' certificates are issued elsewhere" });
  const { nextUpdateMs = Number.POSITIVE_INFINITY } = revocations;
  if (nextUpdateMs < nowMs)
    findings.push({
      level: "error",
      name: "revocation list",
      message: `it should have been replaced by ${new Date(nextUpdateMs).toISOString()}; whom it names stays out, newer ones are not known`,
    });
  if (leftAsTheyWere)
    findings.push({ level: "error", name: "files", message: "they have changed and are not good; what was read before is used on" });
  return [...findings, ...permissions(found)];
}
