/** Variables that make something else of a program of this runtime: code before its own, an interpreter, a debugger for whoever connects. */
export const RUNTIME_VARIABLES: readonly string[] = [
  "BUN_OPTIONS",
  "BUN_BE_BUN",
  "BUN_INSPECT",
  "BUN_INSPECT_PRELOAD",
  "BUN_INSPECT_CONNECT_TO",
];

// What is set for us may hold tokens and passwords.
const OURS = /^TRANSPORTER_/i;
const STRIPPED = new Set([...RUNTIME_VARIABLES, "NODE_TLS_REJECT_UNAUTHORIZED"]);

/** The environment for a program that we start: ours, without what is for us alone. */
export function childEnvironment(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) if (value !== undefined && !STRIPPED.has(name) && !OURS.test(name)) out[name] = value;
  return out;
}
