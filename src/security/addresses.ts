import { isIP } from "node:net";

/** An address as its bytes: 4 for IPv4, 16 for IPv6; IPv4 in IPv6 (`::ffff:1.2.3.4`) counts as IPv4. Undefined where it is none. */
export function addressBytes(address: string): Uint8Array | undefined {
  const bare = address.startsWith("[") && address.endsWith("]") ? address.slice(1, -1) : address;
  // Without its zone, such as %eth0.
  const [text = ""] = bare.split("%");
  const version = isIP(text);
  if (version === 4) return Uint8Array.from(text.split("."), Number);
  if (version !== 6) return undefined;
  const bytes = ipv6Bytes(text);
  const mapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255;
  return mapped ? bytes.slice(12) : bytes;
}

/** Nothing stands for one group of zeros, so that what `::` leaves out is filled up all the same. */
function groups(part: string): number[] {
  return part.split(":").map((group) => Number.parseInt(`0${group}`, 16));
}

/** Of a text that node:net took for IPv6. */
function ipv6Bytes(text: string): Uint8Array {
  let plain = text;
  if (text.includes(".")) {
    const colon = text.lastIndexOf(":");
    const [a = 0, b = 0, c = 0, d = 0] = text
      .slice(colon + 1)
      .split(".")
      .map(Number);
    plain = `${text.slice(0, colon + 1)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const [before, after = []] = plain.split("::").map(groups);
  const head = before ?? [];
  const all = [...head, ...Array.from({ length: 8 - head.length - after.length }, () => 0), ...after];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 255]));
}

/**
 * Under which name attempts of an address are counted: IPv4 by itself, IPv6 by its /64, which is what one household or machine has to itself.
 * What is no address (a unix socket) is one name for all.
 */
export function addressGroup(address: string): string {
  const bytes = addressBytes(address);
  return bytes === undefined ? "other" : Buffer.from(bytes.subarray(0, 8)).toString("hex");
}
