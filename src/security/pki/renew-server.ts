import { isIssuedBy } from "./certificate.ts";
import { issueServer } from "./issue.ts";
import { missingNames } from "./server-names.ts";
import type { TrustState } from "./trust-state.ts";

/**
 * The server's certificate and what goes along with it, with a new certificate for the same key in the first place, that has the names of the old
 * one and those that are missing; undefined unless the CA that is here has issued it and it lacks a name or is in the last third of its time. No
 * name is ever taken away: control planes of different settings would take turns.
 */
export async function renewedServer(
  { server, issuer }: TrustState,
  nowMs: number,
  wanted: readonly string[] = [],
): Promise<string | undefined> {
  const [own, ...others] = server;
  if (own === undefined || issuer === undefined || !isIssuedBy(own, issuer.certificate)) return undefined;
  const { notAfterMs, notBeforeMs, publicKey } = own;
  const missing = missingNames(own.names, wanted);
  const names = [...own.names, ...missing];
  if (names.length === 0) return undefined;
  const ends = nowMs >= notAfterMs - (notAfterMs - notBeforeMs) / 3;
  // It ends with its CA: another one would, too.
  if (missing.length === 0 && (!ends || notAfterMs >= issuer.certificate.notAfterMs)) return undefined;
  const renewed = await issueServer(issuer, { publicKey, names, nowMs });
  return [renewed, ...others].map(({ pem }) => pem).join("");
}
