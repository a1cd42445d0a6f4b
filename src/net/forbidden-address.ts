import { isIP } from "node:net";

const groups = (text: string): number[] => (text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16)));

/** Bytes of an address in whatever spelling `isIP` takes; an IPv4 address has four, an IPv6 address sixteen. Undefined for what is none. */
function bytesOf(address: string): readonly number[] | undefined {
  const family = isIP(address);
  if (family === 4) return address.split(".").map(Number);
  if (family !== 6 || address.includes("%")) return undefined;
  // URL writes the tail of ::ffff:1.2.3.4 in hex, so that only groups are left.
  const [head = "", tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split("::");
  const first = groups(head);
  const last = tail === undefined ? [] : groups(tail);
  const all = [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0), ...last];
  return all.flatMap((group) => [group >> 8, group & 0xff]);
}

function startsWith(bytes: readonly number[], ...prefix: readonly number[]): boolean {
  return prefix.every((byte, at) => bytes[at] === byte);
}

/** Where clouds answer with credentials to whoever asks from inside, beside 169.254.0.0/16: Alibaba, Oracle, Azure. */
const METADATA_V4: ReadonlySet<string> = new Set(["100.100.100.200", "192.0.0.192", "168.63.129.16"]);

function whyNotV4(bytes: readonly number[]): string | undefined {
  if (startsWith(bytes, 169, 254)) return "link-local, where metadata services are";
  if (METADATA_V4.has(bytes.join("."))) return "a cloud's metadata service";
  if (bytes[0] === 0) return "no address of a host";
  return (bytes[0] ?? 0) >= 224 ? "not of one host" : undefined;
}

/** The IPv4 addresses that an IPv6 address may stand for: mapped, compatible, NAT64, 6to4, Teredo. */
function embedded(bytes: readonly number[]): readonly (readonly number[])[] {
  const zeros = (count: number): boolean => bytes.slice(0, count).every((byte) => byte === 0);
  const last = bytes.slice(12);
  if (zeros(10) && startsWith(bytes.slice(10), 0xff, 0xff)) return [last];
  if (zeros(8) && startsWith(bytes.slice(8), 0xff, 0xff, 0, 0)) return [last];
  // ::1 is loopback and nothing else.
  if (zeros(12) && (bytes[12] !== 0 || bytes[13] !== 0)) return [last];
  if (startsWith(bytes, 0, 0x64, 0xff, 0x9b)) return [last];
  if (startsWith(bytes, 0x20, 0x02)) return [bytes.slice(2, 6)];
  if (startsWith(bytes, 0x20, 0x01, 0, 0)) return [bytes.slice(4, 8), last.map((byte) => byte ^ 0xff)];
  return [];
}

function whyNotV6(bytes: readonly number[]): string | undefined {
  if (bytes[0] === 0xfe && ((bytes[1] ?? 0) & 0xc0) === 0x80) return "link-local";
  if (bytes[0] === 0xff) return "not of one host";
  if (bytes.every((byte) => byte === 0)) return "no address of a host";
  // fd00:ec2::/32 is Amazon's: metadata at ::254, credentials of containers at ::23.
  if (startsWith(bytes, 0xfd, 0x00, 0x0e, 0xc2)) return "a cloud's metadata service";
  // fd20:ce::254 is Google's.
  if (startsWith(bytes, 0xfd, 0x20, 0x00, 0xce)) return "a cloud's metadata service";
  for (const inner of embedded(bytes)) {
    const why = whyNotV4(inner);
    if (why !== undefined) return why;
  }
  return undefined;
}

/**
 * Why nothing that somebody names may be fetched from this address: it is link-local, a cloud's metadata service, or of no single host,
 * also where IPv6 only stands for such an IPv4 address. Undefined for any other, private and loopback ones included: there the program's
 * own neighbours are.
 */
export function addressProblem(address: string): string | undefined {
  const bytes = bytesOf(address);
  if (bytes === undefined) return "no address";
  return bytes.length === 4 ? whyNotV4(bytes) : whyNotV6(bytes);
}

/** Names that clouds' resolvers answer with their metadata services; asked for before anything is resolved, as a proxy may resolve it. */
const METADATA_NAMES: ReadonlySet<string> = new Set([
  "metadata",
  "metadata.google.internal",
  "metadata.goog",
  "instance-data",
  "metadata.azure.internal",
]);

export function nameProblem(host: string): string | undefined {
  return METADATA_NAMES.has(host.toLowerCase().replace(/\.$/, "")) ? "a cloud's metadata service" : undefined;
}
