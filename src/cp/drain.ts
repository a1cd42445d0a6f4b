import type { Logger, Ports } from "../kit/mod.ts";
import type { AgentSession } from "./session.ts";

const LOOK_MS = 50;
/** Few agents need not take their time. */
const EACH_MS = 20;

export interface DrainOptions {
  readonly ports: Ports;
  readonly log: Logger;
  /** Over how long the agents are told, one after the other. */
  readonly overMs: number;
  /** How much longer they may take. */
  readonly graceMs: number;
}

/** Tells agents one after the other to connect elsewhere. Resolves when `left` answers false, or when time is up. */
export async function sendOn(
  sessions: readonly AgentSession[],
  left: () => boolean,
  { ports, log, overMs, graceMs }: DrainOptions,
): Promise<void> {
  const spreadMs = Math.min(overMs, sessions.length * EACH_MS);
  log.info("Agents are handed over to other control planes", { agents: sessions.length, over_ms: spreadMs });
  const untilMs = ports.clock.monotonic() + overMs + graceMs;
  for (const [at, session] of sessions.entries())
    ports.timers.after((spreadMs * at) / sessions.length, () => void session.moveOn(graceMs / 2), { background: true });
  while (left() && ports.clock.monotonic() < untilMs) await ports.timers.sleep(LOOK_MS);
}
