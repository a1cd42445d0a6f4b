import { isIssuedBy } from "./certificate.ts";
import { issueServer } from "./issue.ts";
import type { TrustState } from "./trust-state.ts";

/**
 * The server's certificate and what goes along with it, with a new certificate for the same key and names in the first place; undefined unless
 * the CA that is here has issued it and it is in the last third of its time.
 */
export async function renewedServer({ server, issuer }: TrustState, nowMs: number): Promise<string | undefined> {
  const [own, ...others] = server;
  if (own === undefined || issuer === undefined || own.names.length === 0 || !isIssuedBy(own, issuer.certificate)) return undefined;
  const { notAfterMs, notBeforeMs, publicKey, names } = own;
  if (nowMs < notAfterMs - (notAfterMs - notBeforeMs) / 3) return undefined;
  // It ends with its CA: another one would, too.
  if (notAfterMs >= issuer.certificate.notAfterMs) return undefined;
  const renewed = await issueServer(issuer, { publicKey, names, nowMs });
  return [renewed, ...others].map(({ pem }) => pem).join("");
}
