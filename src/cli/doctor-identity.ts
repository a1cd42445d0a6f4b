import { X509Certificate } from "node:crypto";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Fetch } from "../client/mod.ts";
import type { AgentConfig } from "../config/mod.ts";
import { type Ports, messageOf } from "../kit/mod.ts";
import { type Check, type Finding, fail, ok, warn } from "./doctor.ts";
import { reachBy } from "./doctor-checks.ts";
import { readIfThere } from "./private-file.ts";

/** What an agent keeps once it is enrolled. */
export interface KeptIdentity {
  readonly directory: string;
  readonly certificate: string;
  readonly key: string;
  readonly trust: string | undefined;
  /** Where it was told to connect; empty: where its settings say. */
  readonly agentUrls: readonly string[];
}

/** The identity in the agent's directory; undefined where there is none, or it is kept in a Secret. */
export async function keptIdentity({ identityHome }: AgentConfig): Promise<KeptIdentity | undefined> {
  if (!("directory" in identityHome)) return undefined;
  const { directory } = identityHome;
  const read = async (...names: readonly string[]): Promise<string | undefined> => {
    for (const name of names) {
      const text = await readIfThere(join(directory, name));
      if (text !== undefined) return text;
    }
    return undefined;
  };
  const [certificate, key] = [await read("certificate.pem", "tls.crt"), await read("key.pem", "tls.key")];
  if (certificate === undefined || key === undefined) return undefined;
  const agentUrls = urlsOf(await read("identity.json"));
  return { directory, certificate, key, trust: await read("trust.pem", "ca.crt"), agentUrls };
}

function urlsOf(about: string | undefined): readonly string[] {
  try {
    const parsed: unknown = JSON.parse(about ?? "{}");
    const urls = typeof parsed === "object" && parsed !== null && "agent_urls" in parsed ? parsed.agent_urls : [];
    return Array.isArray(urls) ? urls.filter((url): url is string => typeof url === "string") : [];
  } catch {
    return [];
  }
}

async function identityFinding(config: AgentConfig, kept: KeptIdentity | undefined, hasToken: boolean, nowMs: number): Promise<Finding> {
  if (!("directory" in config.identityHome)) {
    const { namespace, name } = config.identityHome.secret;
    return ok(`kept in the Secret ${namespace}/${name}`);
  }
  if (kept === undefined)
    return hasToken
      ? ok("none yet: the agent enrols with its token when it starts")
      : warn(
          "none, and no token to enrol with: only a control plane without security takes this agent",
          `Have a token made with \`transporter token create --agent ${config.id}\`, unless the control plane asks nobody who they are.`,
        );
  const certificate = new X509Certificate(kept.certificate);
  const mode = (await stat(join(kept.directory, "key.pem")).catch(() => undefined))?.mode ?? 0;
  if ((mode & 0o077) !== 0)
    return fail(
      `${kept.directory}/key.pem can be read by others`,
      "`chmod 600` it; if others were on this machine meanwhile, revoke the identity and enrol anew.",
    );
  const [from, until] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
  const ends = new Date(until).toISOString();
  if (nowMs < from) return fail(`the certificate is not valid before ${new Date(from).toISOString()}`, "Set this machine's clock by NTP.");
  if (nowMs >= until)
    return warn(
      `the certificate ran out at ${ends}`,
      "The agent renews it when it connects, within the control plane's grace; past it only a fresh token helps.",
    );
  return ok(`the certificate is good until ${ends}, and its key is readable by its owner alone`);
}

/** What an agent that shows who it is needs, beside what every agent needs. */
export function identityChecks(
  config: AgentConfig,
  kept: KeptIdentity | undefined,
  of: { readonly ca: string | undefined; readonly hasToken: boolean; readonly ports: Ports; readonly signal: AbortSignal },
): readonly Check[] {
  const { ports, signal } = of;
  const identity: Check = { name: "identity", run: () => identityFinding(config, kept, of.hasToken, ports.clock.now()) };
  if (kept === undefined) return [identity];
  const ca = of.ca ?? kept.trust;
  const trust = ca === undefined ? {} : { ca };
  const asAgent: Fetch = (url, init) => fetch(url, { ...init, tls: { ...trust, cert: kept.certificate, key: kept.key } });
  const asAnybody: Fetch = (url, init) => fetch(url, { ...init, tls: trust });
  const { addresses } = config;
  const agentUrls = [kept.agentUrls, addresses.agentUrls, addresses.guessedUrls].find((urls) => urls.length > 0) ?? [];
  const ask = async (url: string, send: Fetch, isRight: (status: number) => boolean): Promise<Finding> => {
    try {
      const { status, tookMs } = await reachBy(send, url.replace(/^ws/, "http"), ports, signal);
      return isRight(status)
        ? ok(`${url} answers (${Math.round(tookMs)} ms)`)
        : fail(`${url} answers ${status}`, "Something else may listen there; check --cp-url, and the proxies on the way.");
    } catch (error) {
      signal.throwIfAborted();
      return fail(
        `${url} cannot be reached: ${messageOf(error)}`,
        "Check the address, the port (agents connect to 8443 where nobody says otherwise) and the CA; the control plane's log may say more.",
      );
    }
  };
  // The API's address may be guessed from the agents', so that one of several is enough.
  const anyApi = async (): Promise<Finding | undefined> => {
    let first: Finding | undefined;
    for (const url of addresses.apiUrls) {
      const finding = await ask(`${url}/livez`, asAnybody, (status) => status === 200);
      if (finding.status === "ok") return finding;
      first ??= finding;
    }
    return first;
  };
  return [
    identity,
    // A plain GET where a WebSocket is expected: a control plane says so.
    ...agentUrls.map((url): Check => ({
      name: "agents' port",
      run: () => ask(url, asAgent, (status) => status === 426 || status === 400),
    })),
    { name: "API", run: anyApi },
  ];
}
