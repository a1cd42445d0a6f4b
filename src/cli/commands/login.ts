import { join, resolve } from "node:path";
import { type Client, type Credential, createClient } from "../../client/mod.ts";
import { CA_HASH, CONTEXT_NAME, TOKEN_VARIABLE, text } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import type { Whoami } from "../../protocol/mod.ts";
import { type Place, givenCredential, readInput, refuseInTheClear } from "../authorize.ts";
import { type Call, command } from "../command.ts";
import { CLIENT_SETTINGS, bypassProxyForLoopback, findPlace } from "../connect.ts";
import { type Context, contextNamed, readContexts, writeContexts } from "../contexts.ts";
import { writeCredential } from "../credentials.ts";
import { EXIT } from "../exit.ts";
import { pinnedBundle } from "../first-contact.ts";
import { writePrivate } from "../private-file.ts";
import { remaining, scopeText } from "../security-shapes.ts";
import { safeLine } from "../text.ts";
import { tokenOf } from "../token-text.ts";
import { caText, fetchTrusting } from "../trusting.ts";

const SETTINGS = {
  "ca-hash": text({
    describe: "Hash of the CA, as `transporter cp init` prints it: the first contact cannot be caught then",
    hint: "sha256:HEX",
    flagOnly: true,
    check: (hash) => (CA_HASH.test(hash) ? undefined : "sha256: and 64 hex digits"),
  }),
  ...CLIENT_SETTINGS,
  context: text({
    describe: "Name of the context to keep it as; named after the host when nothing is said",
    hint: "NAME",
    completes: "context",
  }),
} as const;
type LoginCall = Call<typeof SETTINGS>;

export const login = command({
  summary: "Show a control plane who you are, and keep what shows it",
  description:
    "Asks for the token without showing it, or takes it from --token-file, TRANSPORTER_TOKEN or standard input; never as an argument. Once the control plane has taken it, address, CA and token are kept as a context, readable by you alone, and it becomes the current one. --context names it; else it is named after the host.\n\nWith --client-cert and --client-key the context keeps where those files are instead of a token.",
  settings: SETTINGS,
  examples: [
    "transporter login --cp-url https://cp.example.com:8080 --ca-hash sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "transporter login --cp-url https://cp.example.com:8080 --ca-file ca.crt --context prod --token-file admin.token",
    "vault read -field=token secret/cp | transporter login --cp-url https://cp.example.com",
  ],
  run: async (call) => {
    const { values, host, ports, signal, places } = call;
    const place = await placeOf(call);
    const { url } = place;
    bypassProxyForLoopback(url, host);
    refuseInTheClear(call, url, "a token");
    const ca = await trustOf(call, url, place.caFile);
    const { credential, token } = await shownCredential(call, { ...place, caPem: ca.pem });
    const client: Client = createClient({
      baseUrl: url,
      timers: ports.timers,
      random: ports.random,
      fetch: fetchTrusting(ca.pem),
      credential,
    });
    const who = await client.whoami({ signal });

    const contexts = await readContexts(places);
    const name = place.name;
    const { ca_file: _ca, client_cert: _cert, client_key: _key, ...before } = contextNamed(contexts, name) ?? { cp_url: url };
    const caFile = ca.isPinned && ca.pem !== undefined ? await keepCa(call, name, ca.pem) : place.caFile;
    const context: Context = {
      ...before,
      cp_url: url,
      ...(caFile === undefined ? {} : { ca_file: resolve(caFile) }),
      ...(token === undefined
        ? { client_cert: resolve(values["client-cert"] ?? ""), client_key: resolve(values["client-key"] ?? "") }
        : {}),
    };
    // The token first: a context without it would only ask to log in once more, but one with an older token would show that.
    const unique = ports.ids.uuid();
    await writeCredential(places, name, token === undefined || !who.secured ? undefined : { cp_url: url, token }, unique);
    await writeContexts(places, { ...contexts, current: name, contexts: { ...contexts.contexts, [name]: context } }, unique);
    host.out.write(`${greeting(who, url, ports.clock.now())}; context/${safeLine(name)} is the current one\n`);
    if (!who.secured) call.note("This control plane asks nobody who they are, so no token is kept.");
    return EXIT.ok;
  },
});

function greeting(who: Whoami, url: string, nowMs: number): string {
  if (!who.secured) return `${url} is reached`;
  const ends = who.expires_at === undefined ? "" : `, for ${remaining(who.expires_at, nowMs)}`;
  return `Logged in to ${url} as ${safeLine(who.name)} (role ${who.role}, ${safeLine(scopeText(who.scope))}${ends})`;
}

/** Which control plane, and the name that its context gets. */
async function placeOf(call: LoginCall): Promise<Awaited<ReturnType<typeof findPlace>> & { readonly name: string }> {
  const { values, origins } = call;
  const named = origins.context.from === "default" ? undefined : values.context;
  if (named !== undefined && !CONTEXT_NAME.test(named))
    throw new TransporterError("USAGE", `${JSON.stringify(named)} cannot be the name of a context`, {
      remedy: "Use letters, digits, dot, dash and underscore, at most 63.",
    });
  // With an address the context may be a new one, which nobody can find yet.
  const place =
    values["cp-url"].length > 0
      ? await findPlace({ ...call, values: { ...values, context: undefined }, origins: { ...origins, context: { from: "default" } } })
      : await findPlace(call);
  const contexts = await readContexts(call.places);
  const { host, hostname } = new URL(place.url);
  const free = [hostname, host.replaceAll(/[^\w.-]/g, "-")].find(
    (candidate) => CONTEXT_NAME.test(candidate) && contextNamed(contexts, candidate) === undefined,
  );
  return { ...place, name: named ?? place.context?.name ?? free ?? "default" };
}

/** What is trusted there: the CA of that hash, the file, or the system's. */
async function trustOf(
  call: LoginCall,
  url: string,
  caFile: string | undefined,
): Promise<{ readonly pem: string | undefined; readonly isPinned: boolean }> {
  const hash = call.values["ca-hash"];
  if (hash === undefined) return { pem: caFile === undefined ? undefined : await caText(caFile), isPinned: false };
  if (!url.startsWith("https:"))
    throw new TransporterError("USAGE", `--ca-hash: ${url} has no certificate that a CA could have signed`, {
      remedy: "Give the address with https://.",
    });
  if (call.origins["ca-file"].from === "flag")
    throw new TransporterError("USAGE", "--ca-hash and --ca-file: each says which CA is to be trusted", { remedy: "Give one of the two." });
  return { pem: await pinnedBundle(hash, { url, ports: call.ports, signal: call.signal }), isPinned: true };
}

/** What is shown, and the token where it is one that is to be kept. */
async function shownCredential(
  call: LoginCall,
  place: Place,
): Promise<{ readonly credential: Credential; readonly token: string | undefined }> {
  const { host, signal } = call;
  const given = await givenCredential(call, place);
  if (given !== undefined) return { credential: given, token: given.isToken ? await given.token(signal) : undefined };
  const isTerminal = host.stdinIsTerminal();
  const ask = (): void => host.err.write(`Token for ${place.url} (not shown): `);
  const typed = isTerminal ? await host.readHidden(ask, signal) : await readInput(host, "a token");
  if (isTerminal) host.err.write("\n");
  const token = await tokenOf(typed, isTerminal ? "the terminal" : `standard input (${TOKEN_VARIABLE} and --token-file are not given)`);
  return { credential: { describe: "the token given", token: async () => token, refused: () => undefined }, token };
}

async function keepCa({ places, ports }: LoginCall, name: string, pem: string): Promise<string> {
  const path = join(places.config ?? "", "ca", `${name}.pem`);
  await writePrivate(path, pem, ports.ids.uuid());
  return path;
}

export const logout = command({
  summary: "Forget what shows a control plane who you are",
  description: "The address stays. The token itself stays good until it ends or is revoked: `transporter token revoke ID`.",
  settings: { context: CLIENT_SETTINGS.context },
  examples: ["transporter logout", "transporter logout --context prod"],
  run: async (call) => {
    const contexts = await readContexts(call.places);
    const name = call.values.context ?? contexts.current;
    const context = name === undefined ? undefined : contextNamed(contexts, name);
    if (name === undefined || context === undefined)
      throw new TransporterError(
        "CONFIG_INVALID",
        name === undefined ? "there is no context to log out of" : `there is no context ${JSON.stringify(name)}`,
        {
          remedy: "`transporter context list` shows them.",
        },
      );
    const { client_cert: _cert, client_key: _key, ...rest } = context;
    const unique = call.ports.ids.uuid();
    await writeCredential(call.places, name, undefined, unique);
    await writeContexts(call.places, { ...contexts, contexts: { ...contexts.contexts, [name]: rest } }, unique);
    call.host.out.write(`Logged out of ${safeLine(context.cp_url)}; context/${safeLine(name)} keeps its address\n`);
    return EXIT.ok;
  },
});
