import { isIP } from "node:net";
import { TransporterError } from "../../kit/mod.ts";
import { type GuardOptions, type TlsMaterial, TrustedProxies } from "../../security/mod.ts";
import type { AgentDoor } from "../agent-door.ts";
import type { HttpContext } from "./context.ts";
import type { Endpoint, EndpointContext } from "./endpoint.ts";
import { Listener, type TlsMinimum } from "./listener.ts";
import { legacyEndpoints } from "./legacy.ts";
import { endpointsOf, serving, wsEndpoint } from "./server.ts";

export interface ListenAddress {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
}

export interface LegacyAddress extends ListenAddress {
  /** The agents that are let in, and may be sent events, without anybody showing who they are. */
  readonly agentIds: readonly string[];
}

export interface ListenersOptions extends ListenAddress {
  /** How the API and the agents' listener speak TLS where security is configured; 1.3 by themselves when absent. `byProxy`: the API speaks HTTP, to trusted proxies only. */
  readonly tls?: { readonly min: TlsMinimum; readonly byProxy: boolean };
  /** Addresses and ranges whose forwarded headers count. */
  readonly trustedProxies?: readonly string[];
  /** Agents may come by the API's listener, where a proxy ends TLS, and prove by signature alone who they are. */
  readonly agentsBehindProxy?: boolean;
  /** Where agents come with their certificates; only where security is configured. */
  readonly agents?: ListenAddress;
  /** For probes and Prometheus: plain HTTP, nobody is asked who they are. */
  readonly probes?: ListenAddress;
  /** Where agents and producers of 0.1 come, of which nobody knows who they are. Only where security is configured. */
  readonly legacy?: LegacyAddress;
}

const PROBE_PATHS: ReadonlySet<string> = new Set(["/livez", "/readyz", "/metrics"]);

/** Everything that a control plane listens on. */
export class Listeners {
  readonly api: Listener;
  readonly agents: Listener | undefined;
  readonly probes: Listener | undefined;
  readonly legacy: Listener | undefined;
  readonly #all: Listener[] = [];

  /** Throws CONFIG_INVALID where one of them cannot be listened on, or makes no sense; then none is. */
  constructor(context: HttpContext, options: ListenersOptions, guard: GuardOptions) {
    try {
      this.api = this.#keep(apiListener(context, options, guard));
      this.agents = options.agents === undefined ? undefined : this.#keep(agentsListener(context, options, options.agents));
      this.probes = options.probes === undefined ? undefined : this.#keep(probesListener(context, options.probes));
      this.legacy = options.legacy === undefined ? undefined : this.#keep(legacyListener(context, options, options.legacy));
    } catch (error) {
      void this.stop(true);
      throw error;
    }
  }

  renewTls(): void {
    for (const listener of this.#all) listener.renewTls();
  }

  async stop(dropConnections: boolean): Promise<void> {
    await Promise.all(this.#all.map((listener) => listener.stop(dropConnections)));
  }

  #keep(listener: Listener): Listener {
    this.#all.push(listener);
    return listener;
  }
}

function needsSecurity(context: HttpContext, flag: string): NonNullable<HttpContext["security"]> {
  if (context.security === undefined)
    throw new TransporterError("CONFIG_INVALID", `${flag} makes no sense where nobody has to show who they are`, {
      remedy: "Run `transporter cp init`, or leave it out.",
    });
  return context.security;
}

/** By which addresses a request came, as far as a proxy that is trusted tells it. */
function addressing(options: ListenersOptions): Pick<EndpointContext, "addressOf"> & { readonly proxies: TrustedProxies } {
  const ranges = options.trustedProxies ?? [];
  const proxies = new TrustedProxies(ranges);
  if (ranges.length === 0) return { proxies };
  return { proxies, addressOf: (request, peer) => proxies.clientAddress(peer, request.headers.get("x-forwarded-for")) };
}

function apiListener(context: HttpContext, options: ListenersOptions, guard: GuardOptions): Listener {
  const { security, gateway } = context;
  const { proxies, ...address } = addressing(options);
  const byProxy = security !== undefined && options.tls?.byProxy === true;
  if (byProxy && (options.trustedProxies ?? []).length === 0)
    throw new TransporterError("CONFIG_INVALID", "--tls-by-proxy needs to know who the proxy is", {
      remedy: "Name its address or range with --trusted-proxies.",
    });
  // Whoever ends TLS before us shows agents a certificate of its own.
  const door: AgentDoor | undefined =
    security === undefined ? { kind: "open" } : options.agentsBehindProxy === true ? { kind: "proof", channel: undefined } : undefined;
  const endpointContext: EndpointContext = {
    ...context,
    guard,
    authenticate: security === undefined ? undefined : (credentials) => security.authenticator.authenticate(credentials),
    refusals: security?.refusals,
    https: security !== undefined,
    ...address,
    ...(byProxy ? { gate: (request: Request, peer: string) => passProxy(proxies, request, peer) } : {}),
  };
  const endpoints = endpointsOf(context, door, (by) => gateway.admit(by));
  return new Listener({
    name: "api",
    portFlag: "--ws-port",
    host: options.host,
    port: options.port,
    ...(security === undefined || byProxy
      ? {}
      : { tls: { min: options.tls?.min ?? "1.3", clientCertificates: false, material: () => security.trust.tls() } }),
    serving: () => serving(context, endpoints, endpointContext),
    log: context.log,
  });
}

/** Throws ACCESS_DENIED for what did not come by the proxy, or came to the proxy without TLS. */
function passProxy(proxies: TrustedProxies, request: Request, peer: string): void {
  if (!proxies.trusts(peer))
    throw new TransporterError("ACCESS_DENIED", "this listener speaks to its proxies only", {
      remedy: "Ask the proxy that ends TLS; its address has to be among --trusted-proxies.",
    });
  if (proxies.forwardedTls(peer, request.headers.get("x-forwarded-proto")) === false)
    throw new TransporterError("ACCESS_DENIED", "the proxy says that this came to it without TLS", {
      remedy: "Ask by https://, and let the proxy redirect http:// itself.",
    });
}

/**
 * Throws FOREIGN_ORIGIN for what a web page sent from a name: whoever has the name can let it lead here, and the page is then of our origin as
 * far as its browser knows. No agent and no producer of 0.1 says of which page it is.
 */
function refusePages(request: Request): void {
  const origin = request.headers.get("origin");
  if (origin === null) return;
  const name = URL.canParse(origin) ? new URL(origin).hostname.replace(/^\[(.*)\]$/, "$1") : "";
  if (isIP(name) !== 0 || name === "localhost") return;
  throw new TransporterError(
    "FOREIGN_ORIGIN",
    `the Origin ${JSON.stringify(origin).slice(0, 120)} is a web page's, and none is served here`,
  );
}

/** What can be asked of a listener that knows nobody. */
function openContext(context: HttpContext): EndpointContext {
  return { ...context, guard: { loopbackOnly: false, hosts: [] }, authenticate: undefined, refusals: undefined, https: false };
}

function agentsListener(context: HttpContext, options: ListenersOptions, { host, port }: ListenAddress): Listener {
  const security = needsSecurity(context, "--agent-addr");
  const { gateway } = context;
  const livez = endpointsOf(context, undefined).filter(({ path }) => path === "/livez");
  return new Listener({
    name: "agents",
    portFlag: "--agent-port",
    host,
    port,
    tls: { min: options.tls?.min ?? "1.3", clientCertificates: true, material: () => security.trust.tls() },
    serving: (material: TlsMaterial | undefined) => {
      const door: AgentDoor = { kind: "proof", channel: material?.channel };
      const endpoints: Endpoint[] = [...livez, wsEndpoint(context, door, (by) => gateway.admit(by))];
      return serving(context, endpoints, { ...openContext(context), refusals: security.refusals, https: true });
    },
    log: context.log,
  });
}

function probesListener(context: HttpContext, { host, port }: ListenAddress): Listener {
  const endpoints = endpointsOf(context, undefined).filter(({ path }) => PROBE_PATHS.has(path));
  return new Listener({
    name: "probes",
    portFlag: "--probe-port",
    host,
    port,
    serving: () => serving(context, endpoints, openContext(context)),
    log: context.log,
  });
}

function legacyListener(context: HttpContext, options: ListenersOptions, { host, port }: ListenAddress): Listener {
  const security = needsSecurity(context, "--legacy-addr");
  const { legacy, gateway } = context;
  if (legacy === undefined) throw new Error("there is a listener for agents without identity, and nobody who knows which");
  const { proxies: _proxies, ...address } = addressing(options);
  const door: AgentDoor = { kind: "legacy" };
  const endpoints = [...legacyEndpoints(endpointsOf(context, undefined), legacy), wsEndpoint(context, door, (by) => gateway.admit(by))];
  const endpointContext: EndpointContext = {
    ...openContext(context),
    ...address,
    authenticate: () => legacy.principal(),
    refusals: security.refusals,
    gate: refusePages,
  };
  return new Listener({
    name: "legacy",
    portFlag: "--legacy-addr",
    host,
    port,
    serving: () => serving(context, endpoints, endpointContext),
    log: context.log,
  });
}
