import * as v from "valibot";
import { TransporterError } from "../kit/mod.ts";
import { type EnrolmentView, formatTimestamp } from "../protocol/mod.ts";
import { type AuditLine, DOCUMENT_KINDS } from "./documents.ts";
import type { Origin } from "./gate.ts";
import type { Parts } from "./parts.ts";
import type { Principal } from "./principal.ts";
import { SharedRecords } from "./shared-record.ts";
import { sha256Hex } from "./token-format.ts";

const EnrolmentRecordSchema = v.object({
  agentId: v.string(),
  keySha256: v.string(),
  /** `token:ID` or `cluster:NAME:SUBJECT`: another one's word is another request. */
  voucher: v.string(),
  vouchedBy: v.string(),
  status: v.picklist(["pending", "approved", "denied"]),
  remoteAddress: v.string(),
  requestedAtMs: v.number(),
  decidedAtMs: v.optional(v.number()),
  decidedBy: v.optional(v.string()),
});
type EnrolmentRecord = v.InferOutput<typeof EnrolmentRecordSchema>;

/** Who asks for a certificate, and on whose word. */
export interface Asking {
  readonly agentId: string;
  readonly keySha256: string;
  readonly voucher: string;
  readonly vouchedBy: string;
}

const KEPT_MS = 24 * 3_600_000;
/** A trusted cluster may vouch without end; what waits for people is bounded. */
const MAX_WAITING = 1_000;

/** The same for the same agent and key, so that asking again finds the request. */
export function enrolmentId({ agentId, keySha256 }: Pick<Asking, "agentId" | "keySha256">): string {
  return sha256Hex(JSON.stringify([agentId, keySha256])).slice(0, 20);
}

function viewOf(id: string, record: EnrolmentRecord): EnrolmentView {
  return {
    id,
    agent_id: record.agentId,
    status: record.status,
    key_sha256: record.keySha256,
    vouched_by: record.vouchedBy,
    remote_address: record.remoteAddress,
    requested_at: formatTimestamp(record.requestedAtMs),
    ...(record.decidedAtMs === undefined ? {} : { decided_at: formatTimestamp(record.decidedAtMs) }),
    ...(record.decidedBy === undefined ? {} : { decided_by: record.decidedBy }),
  };
}

/** Requests for certificates that wait until somebody says yes or no. They are gone after a day. */
export class Approvals {
  readonly #parts: Parts;
  readonly #records: SharedRecords<EnrolmentRecord>;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#records = new SharedRecords<EnrolmentRecord>({
      documents: parts.documents,
      tenant: parts.tenant,
      kind: DOCUMENT_KINDS.enrolment,
      schema: EnrolmentRecordSchema,
      expiresAtMs: (record) => record.requestedAtMs + KEPT_MS,
    });
  }

  /** How the request stands, which is made where there is none. Throws ENROLMENT_REFUSED where too many wait. */
  async ask(asking: Asking, from: Origin): Promise<EnrolmentView["status"]> {
    const id = enrolmentId(asking);
    const nowMs = this.#nowMs;
    const fresh: EnrolmentRecord = { ...asking, status: "pending", remoteAddress: from.address, requestedAtMs: nowMs };
    const audit = this.#audit("enrolment_requested", asking.agentId, asking.vouchedBy, from, { key_sha256: asking.keySha256 });
    const isNew = ({ voucher, requestedAtMs }: EnrolmentRecord): boolean => voucher !== asking.voucher || requestedAtMs + KEPT_MS <= nowMs;
    // One that begins anew takes the place of the one before, so that no more wait than did.
    if ((await this.#records.get(id)) === undefined) {
      await this.#refuseWhereFull();
      if (await this.#records.make(id, fresh, audit)) return "pending";
    }
    const held = await this.#records.change(id, (record) => (isNew(record) ? { record: fresh, audit } : undefined));
    return held?.record.status ?? "pending";
  }

  async #refuseWhereFull(): Promise<void> {
    const all = await this.#records.list({ limit: MAX_WAITING });
    if (all.length >= MAX_WAITING) throw new TransporterError("ENROLMENT_REFUSED", "too many requests wait for somebody's approval");
  }

  async list(): Promise<readonly EnrolmentView[]> {
    const nowMs = this.#nowMs;
    return (await this.#records.list({ limit: MAX_WAITING }))
      .filter(({ record }) => record.requestedAtMs + KEPT_MS > nowMs)
      .toSorted((a, b) => a.record.requestedAtMs - b.record.requestedAtMs)
      .map(({ id, record }) => viewOf(id, record));
  }

  /** ENROLMENT_NOT_FOUND; IDENTITY_CONFLICT where it was decided otherwise before. */
  async decide(id: string, approve: boolean, by: Principal, from: Origin): Promise<EnrolmentView> {
    const status = approve ? "approved" : "denied";
    const held = await this.#records.change(id, (record) => {
      if (record.status === status || record.requestedAtMs + KEPT_MS <= this.#nowMs) return undefined;
      if (record.status !== "pending") throw new TransporterError("IDENTITY_CONFLICT", `the request was ${record.status} already`);
      return {
        record: { ...record, status, decidedAtMs: this.#nowMs, decidedBy: by.name },
        audit: this.#audit(`enrolment_${status}`, record.agentId, by.name, from, { key_sha256: record.keySha256, enrolment_id: id }),
      };
    });
    if (held === undefined || held.record.requestedAtMs + KEPT_MS <= this.#nowMs)
      throw new TransporterError("ENROLMENT_NOT_FOUND", `there is no request ${JSON.stringify(id.slice(0, 40))}`);
    return viewOf(id, held.record);
  }

  get #nowMs(): number {
    return this.#parts.ports.clock.now();
  }

  #audit(action: string, agentId: string, principal: string, from: Origin, details: Readonly<Record<string, unknown>>): AuditLine {
    const { tenant } = this.#parts;
    return { tenant, atMs: this.#nowMs, principal, action, agentId, remoteAddress: from.address, requestId: from.requestId, details };
  }
}
