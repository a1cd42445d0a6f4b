import * as v from "valibot";
import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import { DOCUMENT_KINDS, type Documents } from "./documents.ts";
import { SharedRecords } from "./shared-record.ts";

const UseSchema = v.object({ atMs: v.number(), sweptAtMs: v.optional(v.number()) });
type Use = v.InferOutput<typeof UseSchema>;

const MINUTE_MS = 60_000;

/**
 * When tokens were used last, to the minute. Written now and then and apart from the tokens, so that a token that is used all day does not make
 * every control plane look at it all day, and so that whoever revokes it never has to wait.
 */
export class LastUse {
  readonly #records: SharedRecords<Use>;
  readonly #ports: Ports;
  readonly #log: Logger;
  readonly #noted = new Map<string, Use>();
  #timer: TimerHandle | undefined;

  constructor(of: { readonly documents: Documents; readonly ports: Ports; readonly log: Logger; readonly tenant: string }) {
    this.#ports = of.ports;
    this.#log = of.log;
    this.#records = new SharedRecords<Use>({
      documents: of.documents,
      tenant: of.tenant,
      kind: DOCUMENT_KINDS.tokenUse,
      schema: UseSchema,
      expiresAtMs: ({ sweptAtMs }) => sweptAtMs,
    });
  }

  /** `sweptAtMs`: when nobody wants to know any more. */
  note(id: string, sweptAtMs: number | undefined): void {
    const nowMs = this.#ports.clock.now();
    this.#noted.set(id, { atMs: nowMs - (nowMs % MINUTE_MS), sweptAtMs });
  }

  /** Of tokens whose ids are sorted and follow on each other. */
  async of(ids: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const uses = new Map<string, number>();
    for (const id of ids) {
      const noted = this.#noted.get(id)?.atMs ?? (await this.#records.get(id))?.record.atMs;
      if (noted !== undefined) uses.set(id, noted);
    }
    return uses;
  }

  start(): void {
    this.#timer ??= this.#ports.timers.every(MINUTE_MS, () => void this.flush(), { background: true });
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.flush();
  }

  /** What cannot be written now is written the next time. */
  async flush(): Promise<void> {
    const noted = [...this.#noted];
    this.#noted.clear();
    for (const [id, use] of noted) {
      try {
        if (await this.#records.make(id, use)) continue;
        await this.#records.change(id, (held) => (held.atMs >= use.atMs ? undefined : { record: use }));
      } catch (error) {
        if (!this.#noted.has(id)) this.#noted.set(id, use);
        this.#log.debug("the last use of a token is not kept yet", { token_id: id, reason: messageOf(error) });
      }
    }
  }
}
