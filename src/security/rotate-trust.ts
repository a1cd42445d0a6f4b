import { join } from "node:path";
import { type Ports, TransporterError } from "../kit/mod.ts";
import { type Certificate, isIssuedBy, pinOf } from "./pki/certificate.ts";
import { type Issuer, crossSign, issueServer, makeCa } from "./pki/issue.ts";
import { FILES, findFiles } from "./pki/trust-files.ts";
import { type TrustState, readTrust, upwards } from "./pki/trust-state.ts";
import { replaceFile } from "./pki/write-files.ts";

function invalid(message: string, remedy: string): TransporterError {
  return new TransporterError("CONFIG_INVALID", message, { remedy });
}

async function own(directory: string): Promise<{ readonly state: TrustState; readonly issuer: Issuer }> {
  const state = readTrust(await findFiles({ directory }));
  if (state.issuer === undefined)
    throw invalid(
      `there is no ${FILES.caKey} in ${directory}`,
      "A CA that is kept elsewhere is replaced there; put its new certificate first into ca.crt.",
    );
  return { state, issuer: state.issuer };
}

export interface RotatedTrust {
  /** Of the new CA. */
  readonly pin: string;
  /** Of the one before, which stays trusted until it is retired. */
  readonly oldPin: string;
}

/**
 * Puts a new CA in the first place. The one before stays trusted, and the new one's key signed by it goes along with the server's
 * certificate: who trusts the old, the new or both comes through. Each file is replaced whole, and after each of them all fit together.
 * Throws CONFIG_INVALID, FILE_UNREADABLE.
 */
export async function rotateTrust(directory: string, { ports }: { readonly ports: Ports }): Promise<RotatedTrust> {
  const { state, issuer: old } = await own(directory);
  const { certificate: oldCa } = old;
  if (state.cas.length > 1)
    throw invalid(
      `${FILES.ca} in ${directory} has ${state.cas.length} CAs already`,
      "End that change first with `transporter cp ca retire`.",
    );
  if (oldCa.pathLength === 0)
    throw invalid(
      `the CA in ${directory} cannot vouch for a successor`,
      "Have whoever made it make the next one, and put it first into ca.crt.",
    );
  const nowMs = ports.clock.now();
  const { issuer: next, keyPem } = await makeCa(nowMs);
  const write = (name: keyof typeof FILES, text: string): Promise<void> => replaceFile(join(directory, FILES[name]), text);
  await write("ca", `${next.certificate.pem}${oldCa.pem}`);
  const [server] = state.server;
  // Somebody else's certificate for the server leads wherever it led.
  if (server !== undefined && isIssuedBy(server, oldCa)) {
    const renewed = await issueServer(next, { publicKey: server.publicKey, names: server.names, nowMs });
    await write("cert", `${renewed.pem}${await crossSign(next.certificate, old, nowMs)}`);
  }
  // Last: until it is there the old one issues.
  await write("caKey", keyPem);
  return { pin: pinOf(next.certificate), oldPin: pinOf(oldCa) };
}

/** The CAs that `retireTrust` would take away. Throws CONFIG_INVALID, FILE_UNREADABLE. */
export async function retiringCas(directory: string): Promise<readonly Certificate[]> {
  const { state, issuer } = await own(directory);
  const kept = new Set(upwards(issuer.certificate, state.cas));
  return state.cas.filter((ca) => !kept.has(ca));
}

/**
 * Takes all CAs away but the one that issues, and what the old one signed for it. Answers the pins of those that are gone. Throws
 * CONFIG_INVALID where there is only one, FILE_UNREADABLE.
 */
export async function retireTrust(directory: string): Promise<readonly string[]> {
  const gone = await retiringCas(directory);
  if (gone.length === 0) throw invalid(`there is no old CA in ${directory}`, "`transporter cp ca rotate` begins with a new one.");
  const { state, issuer } = await own(directory);
  const kept = state.cas.filter((ca) => gone.every((other) => other.sha256 !== ca.sha256));
  await replaceFile(join(directory, FILES.ca), kept.map((ca) => ca.pem).join(""));
  const chain = state.server.filter((one) => one.keySha256 !== issuer.certificate.keySha256);
  if (chain.length < state.server.length) await replaceFile(join(directory, FILES.cert), chain.map((one) => one.pem).join(""));
  return gone.map(pinOf);
}
