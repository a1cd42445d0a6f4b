const SCHEMES: Readonly<Record<string, { readonly http: string; readonly ws: string }>> = {
  "http:": { http: "http:", ws: "ws:" },
  "https:": { http: "https:", ws: "wss:" },
  "ws:": { http: "http:", ws: "ws:" },
  "wss:": { http: "https:", ws: "wss:" },
};

function parse(text: string): { readonly url: URL; readonly scheme: { readonly http: string; readonly ws: string } } | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const scheme = SCHEMES[url.protocol];
  if (scheme === undefined || url.hostname === "" || url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "")
    return undefined;
  return { url, scheme };
}

/**
 * The base URL of a control plane's HTTP API, without a slash at its end. One variable may serve agents and people alike, so the
 * agent's form (ws://host:8080/ws) is understood too. Undefined for what cannot be an address.
 */
export function apiUrl(text: string): string | undefined {
  const parsed = parse(text);
  if (parsed === undefined) return undefined;
  const path = parsed.url.pathname.replace(/\/+$/, "");
  return `${parsed.scheme.http}//${parsed.url.host}${parsed.url.protocol.startsWith("ws") ? path.replace(/\/ws$/, "") : path}`;
}

/** The URL an agent dials: the same in ws or wss; an address without a path gets `/ws`. */
export function agentUrl(text: string): string | undefined {
  const parsed = parse(text);
  if (parsed === undefined) return undefined;
  const path = parsed.url.pathname.replace(/\/+$/, "");
  const ownPath = path === "" || !parsed.url.protocol.startsWith("ws") ? `${path}/ws` : path;
  return `${parsed.scheme.ws}//${parsed.url.host}${ownPath.replace(/\/ws\/ws$/, "/ws")}`;
}

/** Where an agent with an identity finds a control plane: the API that enrols and renews it, and the listener that it connects to. */
export interface ControlPlaneAddresses {
  /** http:// or https://, without a slash at the end. */
  readonly apiUrls: readonly string[];
  /** Of addresses that were given as ws:// or wss://: as given. */
  readonly agentUrls: readonly string[];
  /** Of addresses that were given as http:// or https://: where agents connect if the control plane names no other place. */
  readonly guessedUrls: readonly string[];
}

const API_PORT = "8080";
const AGENTS_PORT = "8443";

/**
 * The API and the agents' listener have ports of their own: whoever names one of them need not name the other. An address with a path stands
 * for both, as something in front of the control plane tells them apart, or does not. Addresses that cannot be used are left out.
 */
export function controlPlaneAddresses(texts: readonly string[]): ControlPlaneAddresses {
  const apiUrls = new Set<string>();
  const agentUrls = new Set<string>();
  const guessedUrls = new Set<string>();
  for (const text of texts) {
    const [api, agents, parsed] = [apiUrl(text), agentUrl(text), parse(text)];
    if (api === undefined || agents === undefined || parsed === undefined) continue;
    const { protocol, port, pathname } = parsed.url;
    if (protocol.startsWith("ws")) {
      agentUrls.add(agents);
      apiUrls.add(port === AGENTS_PORT ? withPort(api, API_PORT) : api);
      continue;
    }
    apiUrls.add(api);
    guessedUrls.add(protocol === "https:" && pathname === "/" ? withPort(agents, AGENTS_PORT) : agents);
  }
  return { apiUrls: [...apiUrls], agentUrls: [...agentUrls], guessedUrls: [...guessedUrls] };
}

function withPort(text: string, port: string): string {
  const url = new URL(text);
  url.port = port;
  return url.href.replace(/\/$/, "");
}
