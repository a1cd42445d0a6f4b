import type { Event, EventResult, LogLevel, Phase, State } from "../protocol/mod.ts";

/** An event of another system, which has ended; nothing more is known of what was asked. */
export interface ImportedEvent {
  readonly tenant: string;
  readonly principal: string;
  readonly id: string;
  readonly agentId: string;
  readonly type: Event["type"];
  readonly labels: Readonly<Record<string, string>>;
  readonly receivedAtMs: number;
  readonly finishedAtMs: number;
  /** Terminal. */
  readonly state: State;
  readonly phase: Phase | "";
  readonly message: string;
  readonly result: EventResult | undefined;
  readonly log: readonly ImportedEntry[];
}
export interface ImportedEntry {
  readonly timestamp: string;
  readonly state: State;
  readonly phase: Phase | "";
  readonly level: LogLevel;
  readonly message: string;
}
