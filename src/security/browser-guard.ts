import { TransporterError } from "../kit/mod.ts";

export interface GuardOptions {
  /** True when the control plane listens on loopback only: then the Host header must name loopback too (DNS rebinding). */
  readonly loopbackOnly: boolean;
  /** Further host names to answer to, for example the one given to --ws-addr. */
  readonly hosts: readonly string[];
}

const LOOPBACK_HOSTS: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]", "::1"]);

/** The name in a Host header, without its port. What has colons and no brackets is an IPv6 address, whose last group is no port. */
function hostName(host: string): string {
  const [, name = host] = /^([^:]*|\[[^\]]*\]):\d+$/.exec(host) ?? [];
  return name.toLowerCase();
}

/**
 * Keeps web pages out while nobody has to prove who they are: any page in any browser on this machine could otherwise post events to
 * 127.0.0.1. Throws FOREIGN_ORIGIN for a Host that is not ours, for an Origin that is not the Host's, and for a cross-site fetch.
 */
export function guardBrowser(headers: Headers, options: GuardOptions): void {
  const host = headers.get("host");
  const [, port = "0"] = /:(\d+)$/.exec(host ?? "") ?? [];
  // No URL could be made of it, and the request's URL is made of it.
  if (Number(port) > 65_535) {
    throw new TransporterError("FOREIGN_ORIGIN", `the Host header ${JSON.stringify(host).slice(0, 120)} names no port that there is`);
  }
  if (options.loopbackOnly) {
    const name = host === null ? "" : hostName(host);
    if (!LOOPBACK_HOSTS.has(name) && !options.hosts.includes(name)) {
      throw new TransporterError(
        "FOREIGN_ORIGIN",
        `the Host header ${JSON.stringify(host ?? "").slice(0, 120)} does not name this control plane`,
      );
    }
  }
  const site = headers.get("sec-fetch-site");
  if (site !== null && site !== "same-origin" && site !== "none") {
    throw new TransporterError(
      "FOREIGN_ORIGIN",
      `Sec-Fetch-Site is ${JSON.stringify(site).slice(0, 40)}: a web page of another origin sent this`,
    );
  }
  const origin = headers.get("origin");
  if (origin === null) return;
  const [, from] = /^[a-z][a-z0-9+.-]*:\/\/(.+)$/i.exec(origin) ?? [];
  if (from?.toLowerCase() !== (host ?? "").toLowerCase()) {
    throw new TransporterError("FOREIGN_ORIGIN", `the Origin ${JSON.stringify(origin).slice(0, 120)} is not this control plane's own`);
  }
}
