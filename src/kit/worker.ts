const COMPILED_ROOT = /^(.*(?:\$bunfs|~BUN)\/root\/)/i;

/**
 * The address that `new Worker` takes for a file of ours, from source and in the compiled executable alike. `path` is relative to
 * `src/`, for example "agent/decode.worker.ts"; each worker is an entry point of its own in the build, whose root is the project folder.
 * In the executable the address is absolute, because a relative one is looked up in the directory where the program is run as well.
 */
export function workerHref(path: string): string {
  const root = COMPILED_ROOT.exec(import.meta.url)?.[1];
  if (root === undefined) return new URL(`../${path}`, import.meta.url).href;
  return `${root}src/${path.replace(/\.ts$/, ".js")}`;
}
