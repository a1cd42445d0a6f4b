import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { ErrorCode } from "../protocol/mod.ts";
import { addressGroup } from "./addresses.ts";
import type { AuditLine, Documents } from "./documents.ts";

/** Something that was refused, as the audit shall have it. Never with a secret. */
export interface Refusal {
  /** `authentication_refused`, `access_refused`, `proof_refused`, `enrolment_refused`, `status_refused`… */
  readonly action: string;
  readonly code: ErrorCode;
  readonly address: string;
  readonly requestId?: string;
  /** Who it was, as far as that is known; `unknown` when absent. */
  readonly principal?: string;
  readonly agentId?: string | undefined;
  readonly eventId?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** As many of one address and code are written by themselves; those after them are counted. */
const FIRST = 5;
/** And as many of all addresses, in a minute: whoever has a thousand addresses must not fill the store either. */
const FIRST_OF_ALL = 100;
/** So many are counted apart. Whoever comes after is counted with the others of the same code. */
const MAX_KEYS = 200;
const WINDOW_MS = 60_000;

interface Count {
  written: number;
  more: number;
  last: Refusal;
}

/** Writes what was refused to the audit: the first few by themselves, then one line a minute with how many there were. */
export class RefusalAudit {
  readonly #documents: Documents;
  readonly #ports: Ports;
  readonly #log: Logger;
  readonly #tenant: string;
  readonly #counts = new Map<string, Count>();
  #writtenOfAll = 0;
  #timer: TimerHandle | undefined;

  constructor(of: { readonly documents: Documents; readonly ports: Ports; readonly log: Logger; readonly tenant: string }) {
    this.#documents = of.documents;
    this.#ports = of.ports;
    this.#log = of.log;
    this.#tenant = of.tenant;
  }

  /** Resolves when it stands in the audit, or is counted. Never rejects: what is refused stays refused, even where the store is away. */
  async note(refusal: Refusal): Promise<void> {
    this.#timer ??= this.#ports.timers.after(WINDOW_MS, () => void this.#flush(), { background: true });
    const count = this.#count(refusal);
    if (count.written >= FIRST || this.#writtenOfAll >= FIRST_OF_ALL) {
      count.more += 1;
      count.last = refusal;
      return;
    }
    count.written += 1;
    this.#writtenOfAll += 1;
    await this.#write(refusal, undefined);
  }

  /** Writes what is only counted yet. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#flush();
  }

  #count(refusal: Refusal): Count {
    const own = `${addressGroup(refusal.address)} ${refusal.action} ${refusal.code}`;
    const key = this.#counts.has(own) || this.#counts.size < MAX_KEYS ? own : `various ${refusal.action} ${refusal.code}`;
    let count = this.#counts.get(key);
    if (count === undefined) {
      count = { written: 0, more: 0, last: refusal };
      this.#counts.set(key, count);
    }
    return count;
  }

  async #flush(): Promise<void> {
    this.#timer = undefined;
    const counts = [...this.#counts].filter(([, count]) => count.more > 0);
    this.#counts.clear();
    this.#writtenOfAll = 0;
    for (const [key, count] of counts) await this.#write(count.last, { more: count.more, various: key.startsWith("various ") });
  }

  async #write(refusal: Refusal, counted: { readonly more: number; readonly various: boolean } | undefined): Promise<void> {
    const line: AuditLine = {
      tenant: this.#tenant,
      atMs: this.#ports.clock.now(),
      principal: refusal.principal ?? "unknown",
      action: refusal.action,
      remoteAddress: counted?.various === true ? "various" : refusal.address,
      ...(refusal.agentId === undefined ? {} : { agentId: refusal.agentId }),
      ...(refusal.eventId === undefined ? {} : { eventId: refusal.eventId }),
      ...(refusal.requestId === undefined ? {} : { requestId: refusal.requestId }),
      details: { code: refusal.code, ...refusal.details, ...(counted === undefined ? {} : { further: counted.more }) },
    };
    this.#log.warn("refused", { action: line.action, principal: line.principal, address: line.remoteAddress, ...line.details });
    try {
      await this.#documents.appendAudit(line);
    } catch (error) {
      this.#log.error("a refusal is not in the audit", { action: line.action, reason: messageOf(error) });
    }
  }
}
