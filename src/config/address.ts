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
