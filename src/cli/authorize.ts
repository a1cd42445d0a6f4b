import { readFile } from "node:fs/promises";
import { type Credential, createClient } from "../client/mod.ts";
import { TOKEN_VARIABLE, type CONNECTION_SETTINGS, type Origin, describeOrigin, isLoopbackHost } from "../config/mod.ts";
import { TransporterError, messageOf } from "../kit/mod.ts";
import { certificateCredential } from "./certificate-login.ts";
import type { Call } from "./command.ts";
import type { Context } from "./contexts.ts";
import { credentialNamed, credentialsPath, readCredentials } from "./credentials.ts";
import type { Host } from "./host.ts";
import { tokenOf } from "./token-text.ts";
import { caText, fetchTrusting } from "./trusting.ts";

export type ClientCall = Pick<Call<typeof CONNECTION_SETTINGS>, "values" | "origins" | "places" | "host" | "ports" | "signal">;

/** Whom it is for. */
export interface Place {
  readonly url: string;
  readonly caFile: string | undefined;
  /** PEM, where it is known already; goes before the file. */
  readonly caPem?: string | undefined;
  /** The context that this address is. */
  readonly context: { readonly name: string; readonly value: Context } | undefined;
}

/** A credential that somebody gave; `isToken`: it is the same each time, and may be kept. */
export type GivenCredential = Credential & { readonly isToken: boolean };

function fixed(describe: string, token: string): GivenCredential {
  return { describe, isToken: true, token: async () => token, refused: () => undefined };
}

/** All of standard input, as text. */
export async function readInput(host: Pick<Host, "stdin">, what: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of host.stdin()) {
    chunks.push(chunk);
    bytes += chunk.byteLength;
    if (bytes > 65_536) throw new TransporterError("CONFIG_INVALID", `standard input is too large to be ${what}`);
  }
  return Buffer.concat(chunks).toString("utf8");
}

async function fileText(path: string, from: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `${from}: ${messageOf(error)}`, { cause: error });
  }
}

/** The token in that file, `-` being standard input. A file is read for each request: what is in it may be replaced while somebody watches. */
async function tokenFromFile(call: ClientCall, path: string, origin: Origin): Promise<GivenCredential> {
  if (path === "-") return fixed("the token of standard input", await tokenOf(await readInput(call.host, "a token"), "standard input"));
  const from = `${describeOrigin(origin)} (${path})`;
  const token = async (): Promise<string> => tokenOf(await fileText(path, from), from);
  // Now, so that what is wrong with it is told before anything is done.
  await token();
  return { describe: `the token in ${path}`, isToken: true, token, refused: () => undefined };
}

async function ofCertificate(call: ClientCall, place: Place, certificateFile: string, keyFile: string): Promise<GivenCredential> {
  const { ports } = call;
  const client = createClient({
    baseUrl: place.url,
    timers: ports.timers,
    random: ports.random,
    fetch: fetchTrusting(place.caPem ?? (place.caFile === undefined ? undefined : await caText(place.caFile))),
  });
  return { ...certificateCredential({ certificateFile, keyFile, client, clock: ports.clock }), isToken: false };
}

function certificateFiles({ values, origins }: ClientCall): readonly [string, string] | undefined {
  const [certificate, key] = [values["client-cert"], values["client-key"]];
  if (certificate !== undefined && key !== undefined) return [certificate, key];
  if (certificate === undefined && key === undefined) return undefined;
  const [has, lacks] = certificate === undefined ? (["client-key", "client-cert"] as const) : (["client-cert", "client-key"] as const);
  throw new TransporterError("CONFIG_INVALID", `${describeOrigin(origins[has])} needs --${lacks}: a certificate and its key go together`, {
    remedy: `Give --${lacks} FILE.`,
  });
}

/** What flag, environment or file say; undefined where nothing does. Flags go first, then the variable that holds the token itself. */
export async function givenCredential(call: ClientCall, place: Place): Promise<GivenCredential | undefined> {
  const { values, origins, host } = call;
  const file = values["token-file"];
  const certificate = certificateFiles(call);
  const isFlag = (name: "token-file" | "client-cert"): boolean => origins[name].from === "flag";
  if (file !== undefined && certificate !== undefined && isFlag("token-file") === isFlag("client-cert"))
    throw new TransporterError(
      "CONFIG_INVALID",
      `${describeOrigin(origins["token-file"])} and ${describeOrigin(origins["client-cert"])} contradict each other: one of them shows who you are`,
      { remedy: "Give one of the two." },
    );
  if (file !== undefined && isFlag("token-file")) return tokenFromFile(call, file, origins["token-file"]);
  if (certificate !== undefined && isFlag("client-cert")) return ofCertificate(call, place, ...certificate);
  const token = host.env[TOKEN_VARIABLE] ?? "";
  if (token !== "") return fixed(`the token in ${TOKEN_VARIABLE}`, await tokenOf(token, `environment variable ${TOKEN_VARIABLE}`));
  if (file !== undefined) return tokenFromFile(call, file, origins["token-file"]);
  return certificate === undefined ? undefined : ofCertificate(call, place, ...certificate);
}

async function keptCredential(call: ClientCall, place: Place): Promise<Credential | undefined> {
  if (place.context === undefined) return undefined;
  const { name, value } = place.context;
  const saved = credentialNamed(await readCredentials(call.places), name);
  // The address of a context can be changed; what was given for the old one is not for the new one.
  if (saved !== undefined && saved.cp_url === place.url)
    return fixed(`the token of context ${name}`, await tokenOf(saved.token, credentialsPath(call.places)));
  if (value.client_cert === undefined || value.client_key === undefined) return undefined;
  return ofCertificate(call, place, value.client_cert, value.client_key);
}

/** True where nobody on the way can read what is sent. */
function isPrivate(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === "https:" || isLoopbackHost(hostname);
}

/** INSECURE_REFUSED where others could read a secret that is sent there. */
export function refuseInTheClear(call: Pick<ClientCall, "values" | "host">, url: string, what: string): void {
  if (call.values.insecure) return;
  if (!isPrivate(url))
    throw new TransporterError("INSECURE_REFUSED", `${what} is not shown to ${url}: whoever is on the way could read it`, {
      remedy: "Use https://; --insecure shows it all the same.",
    });
  if (call.host.env["NODE_TLS_REJECT_UNAUTHORIZED"] === "0" && url.startsWith("https:"))
    throw new TransporterError(
      "INSECURE_REFUSED",
      `${what} is not shown to ${url}: environment variable NODE_TLS_REJECT_UNAUTHORIZED=0 switches off the check of certificates`,
      { remedy: "Unset it and name the CA with --ca-file; --insecure shows it all the same." },
    );
}

/**
 * What is shown to the control plane. Flags, TRANSPORTER_TOKEN, the other variables and the file, then what `transporter login` kept for
 * the context; a `--context` flag goes over everything but flags, as it does for the address. Undefined: nothing is shown.
 */
export async function credentialFor(call: ClientCall, place: Place): Promise<Credential | undefined> {
  const { origins } = call;
  const byFlag = origins["token-file"].from === "flag" || origins["client-cert"].from === "flag";
  const kept = origins.context.from === "flag" && !byFlag ? await keptCredential(call, place) : undefined;
  const credential = kept ?? (await givenCredential(call, place)) ?? (await keptCredential(call, place));
  if (credential !== undefined) refuseInTheClear(call, place.url, credential.describe);
  return credential;
}
