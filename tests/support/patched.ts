/** The new text, made of the old one and the hunks. */
export function patched(old: string, hunks: string): string {
  const source = old.split("\n");
  const out: string[] = [];
  let at = 0;
  for (const line of hunks.split("\n").slice(0, -1)) {
    const start = /^@@ -(\d+)(?:,(\d+))? /.exec(line);
    if (start !== null) {
      const from = Number(start[1]) - (start[2] === "0" ? 0 : 1);
      out.push(...source.slice(at, from));
      at = from;
    } else if (line.startsWith("+")) out.push(line.slice(1));
    else {
      if (source[at] !== line.slice(1)) throw new Error(`line ${at + 1} is ${source[at]}, not ${line.slice(1)}`);
      if (line.startsWith(" ")) out.push(line.slice(1));
      at += 1;
    }
  }
  return [...out, ...source.slice(at)].join("\n");
}
