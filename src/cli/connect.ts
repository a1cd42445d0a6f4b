import { readFile } from "node:fs/promises";
import { type Client, type Fetch, createClient } from "../client/mod.ts";
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
import { TransporterError, messageOf } from "../kit/mod.ts";
import type { Call } from "./command.ts";
import { contextNamed, readContexts } from "./contexts.ts";
import type { Host } from "./host.ts";

/** The settings of every command that talks to a control plane. */
export const CLIENT_SETTINGS = { ...CONNECTION_SETTINGS, ...COMMON_SETTINGS } as const;
type ClientSettings = typeof CLIENT_SETTINGS;

export interface Target {
  readonly url: string;
  /** For people: where the address came from. */
  readonly from: string;
  readonly caFile: string | undefined;
}

type ClientCall = Pick<Call<ClientSettings>, "values" | "origins" | "places" | "host" | "ports" | "signal">;

/**
 * Where the control plane is: flag, environment, file, context, default, in that order; a `--context` flag goes over the environment. Of
 * several it is the first that answers now, and the first of all where none does.
 */
export async function findTarget(call: ClientCall): Promise<Target> {
  const { values, origins } = call;
  const contextAsked = origins.context.from === "flag" && origins["cp-url"].from !== "flag";
  if (values["cp-url"].length > 0 && !contextAsked) {
    const from = describeOrigin(origins["cp-url"]);
    return firstThatAnswers(
      values["cp-url"].map((url) => checkedTarget(url, from, values)),
      call,
    );
  }
  const contexts = await readContexts(call.places);
  const name = values.context ?? contexts.current;
  if (name === undefined) return checkedTarget(DEFAULT_CP_URL, DEFAULT_FROM, values);
  const context = contextNamed(contexts, name);
  if (context === undefined)
    throw new TransporterError(
      "CONFIG_INVALID",
      `there is no context ${JSON.stringify(name)}.${didYouMean(name, Object.keys(contexts.contexts))}`,
      {
        remedy: "`transporter context list` shows them, `transporter context add` makes one.",
      },
    );
  return checkedTarget(context.cp_url, `context ${name}`, { ...values, "ca-file": values["ca-file"] ?? context.ca_file });
}

/** What a target that nobody named says of itself. */
const DEFAULT_FROM = "the default";

/** Whether somebody said where the control plane is. */
export function isNamed(target: Target): boolean {
  return target.from !== DEFAULT_FROM;
}

const PROBE_MS = 2000;

async function firstThatAnswers(targets: readonly Target[], call: ClientCall): Promise<Target> {
  const [first, ...others] = targets;
  if (first === undefined) return checkedTarget(DEFAULT_CP_URL, DEFAULT_FROM, call.values);
  if (others.length === 0) return first;
  for (const target of targets) {
    const client = await clientFor(target, call);
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

function checkedTarget(text: string, from: string, values: Pick<ValuesOf<ClientSettings>, "ca-file">): Target {
  const url = apiUrl(text);
  if (url === undefined)
    throw new TransporterError(
      "CONFIG_INVALID",
      `${from}: ${JSON.stringify(text)} cannot be used as the control plane's address; allowed: an http:// or https:// URL (or the agent's ws:// form) without user, query or fragment`,
    );
  return { url, from, caFile: values["ca-file"] };
}

/** `fetch` with the CA file trusted where there is one. Throws FILE_UNREADABLE. */
export async function fetchWith(caFile: string | undefined): Promise<Fetch> {
  if (caFile === undefined) return (url, init) => fetch(url, init);
  let ca: string;
  try {
    ca = await readFile(caFile, "utf8");
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `--ca-file ${caFile}: ${messageOf(error)}`, { cause: error });
  }
  if (!ca.includes("-----BEGIN CERTIFICATE-----"))
    throw new TransporterError("FILE_UNREADABLE", `--ca-file ${caFile}: holds no PEM certificate`);
  return (url, init) => fetch(url, { ...init, tls: { ca } });
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

export async function clientFor(target: Target, call: Pick<Call<ClientSettings>, "ports" | "host">): Promise<Client> {
  bypassProxyForLoopback(target.url, call.host);
  return createClient({
    baseUrl: target.url,
    timers: call.ports.timers,
    random: call.ports.random,
    fetch: await fetchWith(target.caFile),
  });
}

/** The client of whatever control plane this call is about. */
export async function connect(call: ClientCall): Promise<Client> {
  return clientFor(await findTarget(call), call);
}
