import { TransporterError } from "../kit/mod.ts";
import { addressBytes } from "./addresses.ts";

interface Range {
  readonly bytes: Uint8Array;
  readonly bits: number;
}

/** How many hops of an X-Forwarded-For are looked at. */
const MAX_HOPS = 32;

function parseRange(text: string): Range {
  const [address = "", size, ...more] = text.split("/");
  const bytes = addressBytes(address);
  const width = (bytes?.length ?? 0) * 8;
  const digits = size ?? String(width);
  const bits = /^\d{1,3}$/.test(digits) ? Number(digits) : Number.NaN;
  if (bytes === undefined || more.length > 0 || !(bits <= width)) {
    throw new TransporterError("CONFIG_INVALID", `${JSON.stringify(text)} is no address and no range of addresses`, {
      remedy: "Give addresses or ranges such as 10.0.0.0/8 or fd00::/8.",
    });
  }
  return { bytes, bits };
}

function holds(range: Range, bytes: Uint8Array): boolean {
  if (range.bytes.length !== bytes.length) return false;
  return range.bytes.every((byte, at) => {
    const mask = 255 << (8 - Math.min(8, Math.max(0, range.bits - at * 8)));
    return (byte & mask & 255) === ((bytes[at] ?? 0) & mask & 255);
  });
}

/** Who may say on whose behalf they ask. Without any, no forwarded header counts. */
export class TrustedProxies {
  readonly #ranges: readonly Range[];

  /** CONFIG_INVALID for what is neither an address nor a range. */
  constructor(ranges: readonly string[]) {
    this.#ranges = ranges.map(parseRange);
  }

  trusts(address: string): boolean {
    const bytes = addressBytes(address);
    return bytes !== undefined && this.#ranges.some((range) => holds(range, bytes));
  }

  /**
   * Where a request really comes from. X-Forwarded-For is read from its end: each trusted proxy wrote the address before it, and what stands
   * before the first that is not trusted may be anybody's invention.
   */
  clientAddress(peer: string, forwardedFor: string | null): string {
    if (forwardedFor === null || !this.trusts(peer)) return peer;
    const hops = forwardedFor.split(",", MAX_HOPS + 1);
    if (hops.length > MAX_HOPS) return peer;
    let client = peer;
    for (const hop of hops.toReversed()) {
      const bytes = addressBytes(withoutPort(hop.trim()));
      if (bytes === undefined) return client;
      client = withoutPort(hop.trim());
      if (!this.trusts(client)) return client;
    }
    return client;
  }

  /** Whether the first hop was TLS, as a trusted proxy says; undefined where nobody who is trusted says anything. */
  forwardedTls(peer: string, forwardedProto: string | null): boolean | undefined {
    if (forwardedProto === null || !this.trusts(peer)) return undefined;
    return forwardedProto.split(",").at(-1)?.trim().toLowerCase() === "https";
  }
}

/** `1.2.3.4:5678` and `[::1]:5678`, as some proxies write them. */
function withoutPort(hop: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(hop)?.[1];
  if (bracketed !== undefined) return bracketed;
  const parts = hop.split(":");
  return parts.length === 2 ? (parts[0] ?? "") : hop;
}
