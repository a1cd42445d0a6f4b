/** With it the broker's own clients begin: two that disagree would put what belongs together into different partitions. */
const SEED = 31;
const encoder = new TextEncoder();

/** Which of the partitions a key belongs to, as Memphis's own clients choose it. */
export function partitionForKey<T>(partitions: readonly T[], key: string): T {
  const chosen = partitions[murmur3(encoder.encode(key), SEED) % partitions.length];
  if (chosen === undefined) throw new RangeError("a station without partitions");
  return chosen;
}

/** MurmurHash3, x86, 32 bits, unsigned. Source: Austin Appleby, https://github.com/aappleby/smhasher (public domain). */
export function murmur3(bytes: Uint8Array, seed: number): number {
  let hash = seed;
  const blocks = bytes.length - (bytes.length % 4);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let index = 0; index < blocks; index += 4) {
    hash ^= mixed(view.getUint32(index, true));
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (let index = bytes.length - 1; index >= blocks; index -= 1) tail = (tail << 8) | (bytes[index] ?? 0);
  if (bytes.length > blocks) hash ^= mixed(tail);
  hash ^= bytes.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function mixed(block: number): number {
  const scaled = Math.imul(block, 0xcc9e2d51);
  return Math.imul((scaled << 15) | (scaled >>> 17), 0x1b873593);
}
