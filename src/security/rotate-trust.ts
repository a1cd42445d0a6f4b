import { join } from "node:path";
import { type Ports, TransporterError } from "../kit/mod.ts";
import { type Certificate, isIssuedBy, pinOf } from "./pki/certificate.ts";
import { type Issuer, crossSign, issueServer, makeCa } from "./pki/issue.ts";
import { FILES, type FileName, type FoundFiles, findFiles } from "./pki/trust-files.ts";
import { type TrustState, readTrust, upwards } from "./pki/trust-state.ts";
import { replaceFile } from "./pki/write-files.ts";
import { CA_HASH_ENTRY, type TrustVault, withCa, inRounds } from "./trust-vault.ts";

function invalid(message: string, remedy: string): TransporterError {
  return new TransporterError("CONFIG_INVALID", message, { remedy });
}

/** A security directory, or what stands for one. */
export type TrustPlace = string | TrustVault;

interface Own {
  readonly state: TrustState;
  readonly issuer: Issuer;
  readonly location: string;
  /** In this order, so that after each they fit together. False: somebody else has written meanwhile, and nothing was. */
  readonly write: (changes: readonly (readonly [name: FileName, text: string])[], issuing: Certificate) => Promise<boolean>;
}

async function own(place: TrustPlace): Promise<Own> {
  if (typeof place === "string") {
    const write: Own["write"] = async (changes) => {
      for (const [name, text] of changes) await replaceFile(join(place, FILES[name]), text);
      return true;
    };
    return { ...issuing(await findFiles({ directory: place }), place), write };
  }
  const { location } = place;
  const content = withCa(await place.read());
  if (content === undefined)
    throw invalid(`there is no ${FILES.ca} in ${location}`, "`transporter cp init` makes one, and so does a start.");
  const found = await findFiles({ kept: { location, content: () => content } });
  const { issuer, ...rest } = issuing(found, location);
  const write: Own["write"] = async (changes, ca) => {
    const entries = Object.fromEntries(changes.map(([name, text]) => [FILES[name], text]));
    // Whoever joins from now on is to trust the CA that issues.
    return (await place.write({ ...entries, [CA_HASH_ENTRY]: pinOf(ca) }, content.version)) !== undefined;
  };
  return { ...rest, issuer, write };
}

function issuing(found: FoundFiles, location: string): Omit<Own, "write"> {
  const state = readTrust(found);
  if (state.issuer === undefined)
    throw invalid(
      `there is no ${FILES.caKey} in ${location}`,
      "A CA that is kept elsewhere is replaced there; put its new certificate first into ca.crt.",
    );
  return { state, issuer: state.issuer, location };
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
 * Throws CONFIG_INVALID, FILE_UNREADABLE, and what a vault throws.
 */
export function rotateTrust(place: TrustPlace, { ports }: { readonly ports: Ports }): Promise<RotatedTrust> {
  return inRounds(async () => {
    const { state, issuer: old, location, write } = await own(place);
    const { certificate: oldCa } = old;
    if (state.cas.length > 1)
      throw invalid(
        `${FILES.ca} in ${location} has ${state.cas.length} CAs already`,
        "End that change first with `transporter cp ca retire`.",
      );
    if (oldCa.pathLength === 0)
      throw invalid(
        `the CA in ${location} cannot vouch for a successor`,
        "Have whoever made it make the next one, and put it first into ca.crt.",
      );
    const nowMs = ports.clock.now();
    const { issuer: next, keyPem } = await makeCa(nowMs);
    const changes: (readonly [FileName, string])[] = [["ca", `${next.certificate.pem}${oldCa.pem}`]];
    const [server] = state.server;
    // Somebody else's certificate for the server leads wherever it led.
    if (server !== undefined && isIssuedBy(server, oldCa)) {
      const renewed = await issueServer(next, { publicKey: server.publicKey, names: server.names, nowMs });
      changes.push(["cert", `${renewed.pem}${await crossSign(next.certificate, old, nowMs)}`]);
    }
    // Last: until it is there the old one issues.
    changes.push(["caKey", keyPem]);
    return (await write(changes, next.certificate)) ? { pin: pinOf(next.certificate), oldPin: pinOf(oldCa) } : undefined;
  });
}

/** The CAs that `retireTrust` would take away. Throws CONFIG_INVALID, FILE_UNREADABLE, and what a vault throws. */
export async function retiringCas(place: TrustPlace): Promise<readonly Certificate[]> {
  return retiring(await own(place));
}

function retiring({ state, issuer }: Own): readonly Certificate[] {
  const kept = new Set(upwards(issuer.certificate, state.cas));
  return state.cas.filter((ca) => !kept.has(ca));
}

/**
 * Takes all CAs away but the one that issues, and what the old one signed for it. Answers the pins of those that are gone. Throws
 * CONFIG_INVALID where there is only one, FILE_UNREADABLE, and what a vault throws.
 */
export function retireTrust(place: TrustPlace): Promise<readonly string[]> {
  return inRounds(async () => {
    const here = await own(place);
    const { state, issuer, location, write } = here;
    const gone = retiring(here);
    if (gone.length === 0) throw invalid(`there is no old CA in ${location}`, "`transporter cp ca rotate` begins with a new one.");
    const kept = state.cas.filter((ca) => !gone.includes(ca));
    const changes: (readonly [FileName, string])[] = [["ca", kept.map((ca) => ca.pem).join("")]];
    const chain = state.server.filter((one) => one.keySha256 !== issuer.certificate.keySha256);
    if (chain.length < state.server.length) changes.push(["cert", chain.map((one) => one.pem).join("")]);
    return (await write(changes, issuer.certificate)) ? gone.map(pinOf) : undefined;
  });
}
