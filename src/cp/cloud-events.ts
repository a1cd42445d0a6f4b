import type { Ports } from "../kit/mod.ts";
import { type AuditEntry, CLOUD_EVENT_TYPES, type LogEntry, parseTimestampMs } from "../protocol/mod.ts";
import type { Store } from "../stores/mod.ts";

/** Events whose trace context is remembered. */
const MAX_KNOWN = 5_000;
/** The mark under which the installation's own name is kept. */
const INSTALLATION = "installation";

export interface CloudEventsOptions {
  readonly store: Pick<Store, "mark" | "saveMark" | "getEvent">;
  readonly ports: Pick<Ports, "ids">;
  readonly tenant: string;
}

/** What happens, told as CloudEvents 1.0 in JSON: the same for whoever is sent them and for whoever follows a stream. */
export class CloudEvents {
  readonly #options: CloudEventsOptions;
  readonly #traces = new Map<string, string | undefined>();
  #source: string | undefined;

  constructor(options: CloudEventsOptions) {
    this.#options = options;
  }

  /** The installation, whichever control plane speaks for it. Two that make its name at once agree on the one that stands there afterwards. */
  async source(): Promise<string> {
    if (this.#source !== undefined) return this.#source;
    const { store, ports } = this.#options;
    if ((await store.mark(INSTALLATION)) === undefined) await store.saveMark(INSTALLATION, ports.ids.uuid());
    this.#source = `urn:transporter:${await store.mark(INSTALLATION)}`;
    return this.#source;
  }

  /** An entry of the log. One of more than `maxBytes` comes without its result and details, and says so. */
  async status(entry: LogEntry, maxBytes = Number.POSITIVE_INFINITY): Promise<string> {
    const traceparent = await this.#traceOf(entry.event_id);
    const { result, details, ...rest } = entry;
    const envelope = {
      specversion: "1.0",
      id: `status-${entry.seq}`,
      source: await this.source(),
      type: CLOUD_EVENT_TYPES.status,
      subject: entry.event_id,
      ...timeOf(entry.timestamp),
      datacontenttype: "application/json",
      ...(traceparent === undefined ? {} : { traceparent }),
    };
    const text = JSON.stringify({ ...envelope, data: entry });
    if (maxBytes === Number.POSITIVE_INFINITY || Buffer.byteLength(text) <= maxBytes) return text;
    const leftOut = [...(details === undefined ? [] : ["details"]), ...(result === undefined ? [] : ["result"])];
    return JSON.stringify({ ...envelope, data: { ...rest, left_out: leftOut } });
  }

  async audit(entry: AuditEntry): Promise<string> {
    const subject = entry.event_id ?? entry.agent_id;
    return JSON.stringify({
      specversion: "1.0",
      id: `audit-${entry.seq}`,
      source: await this.source(),
      type: CLOUD_EVENT_TYPES.audit,
      ...(subject === undefined ? {} : { subject }),
      ...timeOf(entry.timestamp),
      datacontenttype: "application/json",
      data: entry,
    });
  }

  async #traceOf(eventId: string): Promise<string | undefined> {
    const known = this.#traces.get(eventId);
    if (known !== undefined || this.#traces.has(eventId)) return known;
    const { store, tenant } = this.#options;
    const stored = await store.getEvent(tenant, eventId, { payload: false, log: false });
    if (this.#traces.size >= MAX_KNOWN) this.#traces.clear();
    this.#traces.set(eventId, stored?.summary.traceparent);
    return stored?.summary.traceparent;
  }
}

/** An agent's time is its own word, and may be none. */
function timeOf(timestamp: string): { readonly time?: string } {
  return parseTimestampMs(timestamp) === undefined ? {} : { time: timestamp };
}
