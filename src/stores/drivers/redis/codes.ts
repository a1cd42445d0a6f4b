import type { LogLevel, Phase, State } from "../../../protocol/mod.ts";

// Their places are written into Redis: new ones go to the end. 0 stands for none.
export const STATES: readonly State[] = ["created", "queued", "assigned", "in_progress", "completed", "failed", "expired", "cancelled"];
const PHASES: readonly Phase[] = ["received", "validating", "applying", "verifying", "completed", "failed"];
const LEVELS: readonly LogLevel[] = ["debug", "info", "warning", "error"];
export const STATE_CODES = codes(STATES);
const PHASE_CODES: Readonly<Record<Phase | "", number>> = { "": 0, ...codes(PHASES) };
const LEVEL_CODES = codes(LEVELS);

function codes<T extends string>(names: readonly T[]): Readonly<Record<T, number>> {
  return Object.fromEntries(names.map((name, at) => [name, at + 1])) as Record<T, number>;
}

export function stateOf(code: unknown): State | undefined {
  return STATES[Number(code) - 1];
}
export function knownState(code: unknown): State {
  return stateOf(code) ?? "failed";
}
export function phaseCode(phase: Phase | ""): number {
  return PHASE_CODES[phase];
}
export function phaseOf(code: unknown): Phase | "" {
  return PHASES[Number(code) - 1] ?? "";
}
export function levelCode(level: LogLevel): number {
  return LEVEL_CODES[level];
}
export function levelOf(code: unknown): LogLevel {
  return LEVELS[Number(code) - 1] ?? "info";
}

const prefixes = new Map<string, string>();

/** What the keys of a tenant begin with: its length in bytes goes before it, so that no two tenants and ids make the same key. */
export function tenantKey(tenant: string): string {
  let prefix = prefixes.get(tenant);
  if (prefix === undefined) {
    prefix = `${Buffer.byteLength(tenant)}:${tenant}:`;
    // Tenants are few; whoever makes them up pays with speed, not with our memory.
    if (prefixes.size < 1024) prefixes.set(tenant, prefix);
  }
  return prefix;
}
export function keyOf(tenant: string, id: string): string {
  return tenantKey(tenant) + id;
}
export function splitKey(key: string): { readonly tenant: string; readonly id: string } {
  const colon = key.indexOf(":");
  const bytes = Number(key.slice(0, colon));
  let end = colon + 1 + bytes;
  // Characters beyond ASCII are fewer than their bytes.
  if (key[end] !== ":" || Buffer.byteLength(key.slice(colon + 1, end)) !== bytes) {
    const tenant = Buffer.from(key)
      .subarray(colon + 1, colon + 1 + bytes)
      .toString();
    end = colon + 1 + tenant.length;
  }
  return { tenant: key.slice(colon + 1, end), id: key.slice(end + 1) };
}

/** JSON that Lua can read: what stands for half of a character stands for none there. */
export function luaJson(value: unknown): string {
  const text = JSON.stringify(value);
  return text.includes("\\ud") ? text.replaceAll(/\\\\|\\ud[89a-f][0-9a-f]{2}/g, (found) => (found === "\\\\" ? found : "\\ufffd")) : text;
}
