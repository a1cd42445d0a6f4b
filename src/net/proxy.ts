import { BlockList, isIP } from "node:net";
import { TransporterError } from "../kit/mod.ts";

/** Environment as a record; read in the composition root, never here. */
export type ProxyEnv = Readonly<Record<string, string | undefined>>;

function read(env: ProxyEnv, name: string): string | undefined {
  // The capital spelling first, as Go's net/http has it, which 0.1's programs follow.
  const value = env[name] ?? env[name.toLowerCase()];
  return value === undefined || value.trim() === "" ? undefined : value.trim();
}

function family(address: string): "ipv4" | "ipv6" {
  return isIP(address) === 6 ? "ipv6" : "ipv4";
}

function bareHost(host: string): string {
  return host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
}

function isLoopback(host: string): boolean {
  if (host === "localhost" || host.endsWith(".localhost")) return true;
  return host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

/** Splits `name:port`, `1.2.3.4:80`, `[::1]:443`; an IPv6 address without brackets has no port. */
function splitPort(entry: string): { readonly host: string; readonly port: string | undefined } {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(entry);
  if (bracketed !== null) return { host: bracketed[1] ?? "", port: bracketed[2] };
  const named = /^([^:]+):(\d+)$/.exec(entry);
  return named === null ? { host: entry, port: undefined } : { host: named[1] ?? "", port: named[2] };
}

function inNetwork(host: string, network: string, bits: number): boolean {
  if (isIP(host) === 0 || isIP(network) === 0 || family(host) !== family(network)) return false;
  if (bits > (family(network) === "ipv6" ? 128 : 32)) return false;
  const list = new BlockList();
  list.addSubnet(network, bits, family(network));
  return list.check(host, family(host));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === "*") return true;
  const network = /^(.+)\/(\d+)$/.exec(entry);
  if (network !== null) return inNetwork(host, bareHost(network[1] ?? ""), Number(network[2]));
  const { host: pattern, port: wantedPort } = splitPort(entry);
  if (wantedPort !== undefined && wantedPort !== port) return false;
  if (isIP(pattern) !== 0) return inNetwork(host, pattern, family(pattern) === "ipv6" ? 128 : 32);
  // `example.com` takes the name and everything below it; `.example.com` and `*.example.com` only what is below.
  const suffix = pattern.startsWith("*.") ? pattern.slice(1) : pattern;
  if (suffix.startsWith(".")) return host.endsWith(suffix);
  return host === suffix || host.endsWith(`.${suffix}`);
}

/** True when NO_PROXY (comma or space separated: `*`, names, suffixes, addresses, CIDRs, each with an optional port) takes this host. */
export function bypassesProxy(host: string, port: string, noProxy: string): boolean {
  return noProxy
    .toLowerCase()
    .split(/[\s,]+/)
    .some((entry) => entry !== "" && matches(entry, host, port));
}

/**
 * The proxy for a URL (ws, wss, http, https), or undefined for a direct connection: HTTPS_PROXY for wss and https, HTTP_PROXY for
 * the others, ALL_PROXY for what has none, NO_PROXY against all; each in capitals or lower case. A loopback host never goes through a
 * proxy. Throws CONFIG_INVALID for a proxy that cannot be used, because going around it in silence would break what it is there for.
 * Source: https://pkg.go.dev/golang.org/x/net/http/httpproxy
 */
export function proxyFor(url: string, env: ProxyEnv): string | undefined {
  const target = new URL(url);
  const secure = target.protocol === "wss:" || target.protocol === "https:";
  const host = bareHost(target.hostname.toLowerCase()).replace(/\.$/, "");
  if (isLoopback(host)) return undefined;
  const name = secure ? "HTTPS_PROXY" : "HTTP_PROXY";
  const chosen = read(env, name);
  const raw = chosen ?? read(env, "ALL_PROXY");
  if (raw === undefined) return undefined;
  const noProxy = read(env, "NO_PROXY");
  const port = target.port === "" ? (secure ? "443" : "80") : target.port;
  if (noProxy !== undefined && bypassesProxy(host, port, noProxy)) return undefined;
  const source = chosen === undefined ? "ALL_PROXY" : name;
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(raw) ? raw : `http://${raw}`;
  const proxy = URL.canParse(text) ? new URL(text) : undefined;
  if (proxy === undefined || proxy.hostname === "") throw new TransporterError("CONFIG_INVALID", `${source} is not a URL`);
  if (proxy.protocol !== "http:" && proxy.protocol !== "https:") {
    throw new TransporterError(
      "CONFIG_INVALID",
      `${source} names a ${proxy.protocol.slice(0, -1)} proxy; only http and https proxies can be used`,
      {
        remedy: `Set ${source} to an http:// or https:// proxy, or take the host out with NO_PROXY.`,
      },
    );
  }
  return proxy.href;
}
