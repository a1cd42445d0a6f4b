import { isIP } from "node:net";

/** As names are compared: in lower case, and each IP address written in one way. */
export function sameName(name: string): string {
  if (isIP(name) !== 6) return name.toLowerCase();
  return new URL(`http://[${name}]/`).hostname.slice(1, -1);
}

/** Those of `wanted` that a certificate of these names does not stand for. A wildcard stands for one label. */
export function missingNames(certified: readonly string[], wanted: readonly string[]): readonly string[] {
  const there = new Set(certified.map(sameName));
  return wanted.filter((name) => {
    const same = sameName(name);
    const wildcard = isIP(name) === 0 ? same.replace(/^[^.*]+(?=\.)/, "*") : same;
    return !there.has(same) && !there.has(wildcard);
  });
}
