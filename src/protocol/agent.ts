import * as v from "valibot";
import { type Checked, issueRefusal } from "./checked.ts";
import { idProblem } from "./event.ts";
import { ProofSchema } from "./security.ts";

/** The protocol version of this program; 0.1 agents announce none. */
export const PROTOCOL_VERSION = 2;

/**
 * What both sides of protocol 2 can do beyond 0.1. Each is used only where both announce it.
 * - `ack`: deliveries and statuses are acknowledged and sent again until they are.
 * - `credit`: the agent says how much it is ready to hold; it is handed no more.
 * - `cancel`: a delivery that was handed over can be called back, up to the next safe point.
 * - `chunk`: large payloads stay behind; the agent fetches them in pieces and goes on where it stopped.
 * - `resync`: both compare what they believe to be open, by digest, and mend the difference.
 */
export const FEATURES = ["ack", "credit", "cancel", "chunk", "resync"] as const;
export type Feature = (typeof FEATURES)[number];

const StringMap = v.record(v.string(), v.string());

/** How much an agent is ready to hold that is not finished. Replaces what it said before; 0 stops the flow. */
export const CreditSchema = v.looseObject({
  deliveries: v.pipe(v.number(), v.integer(), v.minValue(0)),
  /** Of payload that comes inside the event frame. */
  bytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
});
export type Credit = v.InferOutput<typeof CreditSchema>;

/** The first frame of an agent: a bare object without `type`. From `protocol` on the fields are ours; a 0.1 control plane ignores them. */
export const RegistrationSchema = v.looseObject({
  id: v.pipe(v.string(), v.nonEmpty()),
  name: v.pipe(v.string(), v.nonEmpty()),
  cluster_name: v.pipe(v.string(), v.nonEmpty()),
  cluster_provider: v.nullish(v.string()),
  region: v.nullish(v.string()),
  version: v.pipe(v.string(), v.nonEmpty()),
  labels: v.nullish(StringMap),
  capabilities: v.pipe(v.array(v.string()), v.minLength(1)),
  hostname: v.nullish(v.string()),
  namespace: v.nullish(v.string()),
  metadata: v.nullish(v.record(v.string(), v.unknown())),
  protocol: v.nullish(v.number()),
  features: v.nullish(v.array(v.string())),
  /** A new value for each start of the agent process. */
  boot_id: v.nullish(v.string()),
  /** The agent's clock when it registered, RFC 3339. */
  sent_at: v.nullish(v.string()),
  credit: v.nullish(CreditSchema),
  /** The highest epoch that a control plane ever told this agent; 0 when none did. Whoever takes it on has one above it. */
  seen_epoch: v.nullish(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  /** In answer to a challenge: that the agent is who it says. */
  proof: v.nullish(ProofSchema),
});
export type Registration = v.InferOutput<typeof RegistrationSchema>;

/** The answer. Every value is a string, because a 0.1 agent decodes it into a map of strings. */
export const RegistrationReplySchema = v.record(v.string(), v.string());
export type RegistrationReply = v.InferOutput<typeof RegistrationReplySchema>;

export function checkRegistration(input: unknown): Checked<Registration> {
  const parsed = v.safeParse(RegistrationSchema, input, { abortEarly: true });
  if (!parsed.success) return issueRefusal(parsed.issues[0], "INVALID_REGISTRATION");
  const problem = idProblem(parsed.output.id);
  if (problem !== undefined) return { ok: false, code: "INVALID_REGISTRATION", message: `id ${problem}`, pointer: "/id" };
  return { ok: true, value: parsed.output };
}

/** True for an agent that acknowledges; a 0.1 agent gets one event at a time and its first status stands for the acknowledgement. */
export function acknowledges(registration: Pick<Registration, "protocol" | "features">): boolean {
  return (registration.protocol ?? 0) >= 2 && (registration.features ?? []).includes("ack");
}

/** Whether both sides of protocol 2 have a feature, by what the agent announced. */
export function hasFeature(registration: Pick<Registration, "protocol" | "features">, feature: Feature): boolean {
  return acknowledges(registration) && (registration.features ?? []).includes(feature);
}

/**
 * Builds the reply to a good registration. Protocol 2 fields go only to those who announced protocol 2. `epoch` is that of this connection:
 * above all that the agent has seen, or it hangs up, as a control plane that has lost it without knowing must not command it.
 */
export function registrationReply(registration: Registration, epoch: number): RegistrationReply {
  const reply: RegistrationReply = { status: "registered", message: `Agent ${registration.id} registered successfully` };
  if ((registration.protocol ?? 0) >= 2) {
    reply["protocol"] = String(PROTOCOL_VERSION);
    reply["features"] = FEATURES.filter((feature) => registration.features?.includes(feature)).join(",");
    if (typeof registration.seen_epoch === "number") reply["epoch"] = String(epoch);
  }
  return reply;
}
