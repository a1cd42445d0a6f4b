import { type Client, type Credential, type Fetch, createClient } from "../client/mod.ts";
import {
  CONNECTION_SETTINGS,
  COMMON_SETTINGS,
  DEFAULT_CP_URL,
  type ValuesOf,
  apiUrl,
  describeOrigin,
  didYouMean,
  isLoopbackHost,
} from "../config/mod.ts";
import { TransporterError } from "../kit/mod.ts";
import { type ClientCall, credentialFor } from "./authorize.ts";
import type { Call } from "./command.ts";
import { type Context, type Contexts, contextNamed, readContexts } from "./contexts.ts";
import type { Host } from "./host.ts";
import { caText, fetchTrusting } from "./trusting.ts";

/** The settings of every command that talks to a control plane. */
export const CLIENT_SETTINGS = { ...CONNECTION_SETTINGS, ...COMMON_SETTINGS } as const;
type ClientSettings = typeof CLIENT_SETTINGS;

export interface Target {
  readonly url: string;
  /** For people: where the address came from. */
  readonly from: string;
  readonly caFile: string | undefined;
  /** Shown with every request; undefined where nothing is said and nothing kept. */
  readonly credential: Credential | undefined;
}

/** An address before it is settled what is shown there. */
type Found = Omit<Target, "credential"> & { readonly context: { readonly name: string; readonly value: Context } | undefined };

/**
 * Where the control plane is: flag, environment, file, context, default, in that order; a `--context` flag goes over the environment. Of
 * several it is the first that answers now, and the first of all where none does. And what is shown there.
 */
export async function findTarget(call: ClientCall): Promise<Target> {
  const found = await findPlace(call);
  return { url: found.url, from: found.from, caFile: found.caFile, credential: await credentialFor(call, found) };
}

/** The same without looking for anything to show. */
export async function findPlace(call: ClientCall): Promise<Found> {
  const { values, origins } = call;
  const contextAsked = origins.context.from === "flag" && origins["cp-url"].from !== "flag";
  const contexts = await readContexts(call.places);
  if (values["cp-url"].length > 0 && !contextAsked) {
    const from = describeOrigin(origins["cp-url"]);
    return firstThatAnswers(
      values["cp-url"].map((url) => checkedTarget(url, from, values, contexts)),
      call,
    );
  }
  const name = values.context ?? contexts.current;
  if (name === undefined) return checkedTarget(DEFAULT_CP_URL, DEFAULT_FROM, values, contexts);
  const context = contextNamed(contexts, name);
  if (context === undefined)
    throw new TransporterError(
      "CONFIG_INVALID",
      `there is no context ${JSON.stringify(name)}.${didYouMean(name, Object.keys(contexts.contexts))}`,
      {
        remedy: "`transporter context list` shows them, `transporter context add` makes one.",
      },
    );
  return checkedTarget(context.cp_url, `context ${name}`, values, contexts, name);
}

/** What a target that nobody named says of itself. */
const DEFAULT_FROM = "the default";

/** Whether somebody said where the control plane is. */
export function isNamed(target: Target): boolean {
  return target.from !== DEFAULT_FROM;
}

const PROBE_MS = 2000;

async function firstThatAnswers(targets: readonly Found[], call: ClientCall): Promise<Found> {
  const [first, ...others] = targets;
  if (first === undefined) throw new TransporterError("CONFIG_INVALID", "no control plane is named");
  if (others.length === 0) return first;
  for (const target of targets) {
    // Nothing is shown to those that are only looked for.
    const client = await clientFor({ ...target, credential: undefined }, call);
    const limit = new AbortController();
    const timer = call.ports.timers.after(PROBE_MS, () => limit.abort(new Error("no answer in time")));
    try {
      // Any answer is one: what it says is for the command to judge.
      await client.text("/livez", { signal: AbortSignal.any([limit.signal, call.signal]) });
      return target;
    } catch {
      call.signal.throwIfAborted();
    } finally {
      timer.cancel();
    }
  }
  return first;
}

/** The context that this address is: the current one, or any other. What is kept for it goes along, however the address was named. */
function contextOf(url: string, contexts: Contexts): string | undefined {
  const names = Object.keys(contexts.contexts);
  return [...names.filter((name) => name === contexts.current), ...names].find(
    (name) => apiUrl(contexts.contexts[name]?.cp_url ?? "") === url,
  );
}

function checkedTarget(
  text: string,
  from: string,
  values: Pick<ValuesOf<ClientSettings>, "ca-file">,
  contexts: Contexts,
  named?: string,
): Found {
  const url = apiUrl(text);
  if (url === undefined)
    throw new TransporterError(
      "CONFIG_INVALID",
      `${from}: ${JSON.stringify(text)} cannot be used as the control plane's address; allowed: an http:// or https:// URL (or the agent's ws:// form) without user, query or fragment`,
    );
  const name = named ?? contextOf(url, contexts);
  const value = name === undefined ? undefined : contextNamed(contexts, name);
  const context = name === undefined || value === undefined ? undefined : { name, value };
  return { url, from, caFile: values["ca-file"] ?? context?.value.ca_file, context };
}

/** `fetch` with the CA file trusted where there is one. Throws FILE_UNREADABLE. */
export async function fetchWith(caFile: string | undefined): Promise<Fetch> {
  return fetchTrusting(caFile === undefined ? undefined : await caText(caFile));
}

/**
 * The runtime's fetch takes HTTP_PROXY for every host, this machine's own included, where no proxy can lead. Go's programs, and so
 * 0.1, never did.
 */
export function bypassProxyForLoopback(url: string, host: Pick<Host, "env" | "setEnv">): void {
  const { hostname } = new URL(url);
  if (!isLoopbackHost(hostname)) return;
  for (const name of ["NO_PROXY", "no_proxy"]) {
    const before = host.env[name] ?? "";
    if (!before.split(",").includes(hostname)) host.setEnv(name, before === "" ? hostname : `${before},${hostname}`);
  }
}

export async function clientFor(
  target: Pick<Target, "url" | "caFile" | "credential">,
  call: Pick<Call<ClientSettings>, "ports" | "host">,
): Promise<Client> {
  bypassProxyForLoopback(target.url, call.host);
  return createClient({
    baseUrl: target.url,
    timers: call.ports.timers,
    random: call.ports.random,
    fetch: await fetchWith(target.caFile),
    credential: target.credential,
  });
}

/** The client of whatever control plane this call is about. */
export async function connect(call: ClientCall): Promise<Client> {
  return clientFor(await findTarget(call), call);
}
