import {
  type Credit,
  type Feature,
  FEATURES,
  formatTimestamp,
  OPERATIONS_CAPABILITY,
  type Proof,
  PROTOCOL_VERSION,
  type RegistrationReply,
} from "../protocol/mod.ts";

/** Who this agent is, as it says when it registers. */
export interface AgentIdentity {
  readonly id: string;
  readonly name: string;
  readonly clusterName: string;
  readonly clusterProvider: string;
  readonly region: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly version: string;
  readonly hostname: string;
}

/** What this agent can do. */
export const CAPABILITIES: readonly string[] = ["k8s_crud", OPERATIONS_CAPABILITY];

/** What changes from one registration to the next. */
export interface RegistrationNow {
  readonly bootId: string;
  readonly nowMs: number;
  readonly credit: Credit;
  /** The highest that a control plane ever told this agent; 0 when none did. */
  readonly seenEpoch: number;
  readonly capabilities?: readonly string[];
  readonly proof?: Proof | undefined;
}

/** The registration frame: 0.1's fields in 0.1's order, empty maps left out as there, then ours, which a 0.1 control plane ignores. */
export function registrationFrame(identity: AgentIdentity, now: RegistrationNow): string {
  return JSON.stringify({
    id: identity.id,
    name: identity.name,
    cluster_name: identity.clusterName,
    cluster_provider: identity.clusterProvider,
    region: identity.region,
    version: identity.version,
    ...(Object.keys(identity.labels).length === 0 ? {} : { labels: identity.labels }),
    capabilities: now.capabilities ?? CAPABILITIES,
    hostname: identity.hostname,
    namespace: identity.namespace,
    protocol: PROTOCOL_VERSION,
    features: FEATURES,
    boot_id: now.bootId,
    sent_at: formatTimestamp(now.nowMs),
    credit: now.credit,
    seen_epoch: now.seenEpoch,
    ...(now.proof === undefined ? {} : { proof: now.proof }),
  });
}

/** What both sides agreed on: an acknowledging control plane, or one of 0.1. */
export interface Agreement {
  /** 0 for a 0.1 control plane. */
  readonly protocol: number;
  readonly acknowledges: boolean;
  /** What both sides can do; empty where the control plane does not acknowledge. */
  readonly features: ReadonlySet<Feature>;
  /** Of this connection; undefined where the control plane has none. */
  readonly epoch?: number | undefined;
}

const NOTHING: ReadonlySet<Feature> = new Set();

export type ReplyVerdict =
  | { readonly kind: "registered"; readonly agreement: Agreement }
  /** `code` of the catalogue, where the control plane gives one. */
  | { readonly kind: "refused"; readonly message: string; readonly code?: string }
  | { readonly kind: "not_a_reply" };

/** Reads the first frame of a control plane. */
export function readReply(reply: RegistrationReply): ReplyVerdict {
  if (reply["error"] !== undefined)
    return { kind: "refused", message: reply["error"], ...(reply["code"] === undefined ? {} : { code: reply["code"] }) };
  if (reply["status"] !== "registered") return { kind: "not_a_reply" };
  const epoch = /^\d{1,15}$/.test(reply["epoch"] ?? "") ? Number(reply["epoch"]) : undefined;
  const protocol = /^\d{1,4}$/.test(reply["protocol"] ?? "") ? Number(reply["protocol"]) : 0;
  const said = (reply["features"] ?? "").split(",").map((feature) => feature.trim());
  const acknowledges = protocol >= 2 && said.includes("ack");
  const features = acknowledges ? new Set(FEATURES.filter((feature) => said.includes(feature))) : NOTHING;
  return { kind: "registered", agreement: { protocol, acknowledges, features, epoch } };
}
