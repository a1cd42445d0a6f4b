import type { CodeEntry } from "./error-kind.ts";

/** What an agent says about the work; part of `CODES`. */
export const WORK_CODES = {
  CAPABILITY_MISSING: {
    kind: "failed",
    title: "The agent cannot do this",
    remedy: "Send it to an agent whose capabilities include what is asked for, or upgrade the agent.",
  },
  DEADLINE_EXCEEDED: {
    kind: "timeout",
    title: "The execution ran past its deadline",
    remedy: "Look at the log for what it was waiting for; give a longer deadline.",
  },
  OUTCOME_UNKNOWN: {
    kind: "failed",
    title: "The agent went away and never said how it ended",
    remedy: "Look at the cluster before sending again.",
  },
  INVALID_MANIFEST: { kind: "invalid", title: "A manifest cannot be read", remedy: "Correct the place that the message names." },
  INVALID_OBJECT: { kind: "invalid", title: "An object is not valid", remedy: "Correct the field that the API server names." },
  DUPLICATE_OBJECT: { kind: "invalid", title: "An object stands twice in the event", remedy: "Keep one of the two." },
  UNKNOWN_KIND: {
    kind: "invalid",
    title: "The cluster does not know this kind",
    remedy: "Install its CRD first or send it in the same event; check apiVersion and kind.",
  },
  UNKNOWN_FIELD: { kind: "invalid", title: "A field does not exist in the schema", remedy: "Remove or correct the field." },
  NAMESPACE_NOT_FOUND: { kind: "missing", title: "The namespace does not exist", remedy: "Create it first or send it in the same event." },
  FORBIDDEN: { kind: "denied", title: "The agent may not do this", remedy: "Grant the agent's account the verb on the resource." },
  KUBE_UNAUTHORIZED: {
    kind: "denied",
    title: "The API server does not accept the agent's credentials",
    remedy: "Renew the token or certificate of the agent's kubeconfig.",
    httpStatus: 401,
  },
  FIELD_CONFLICT: {
    kind: "conflict",
    title: "Another manager owns the field",
    remedy:
      "Leave the field to its manager: take it out of the manifest, or send with --ignore-field. Or take it over: with --force-conflicts, or the object's annotation transporter.dev/force-conflicts.",
  },
  IMMUTABLE_FIELD: {
    kind: "conflict",
    title: "The field cannot be changed",
    remedy:
      "Keep the field as it is; or have the object deleted and made anew, with --on-immutable recreate or the object's annotation transporter.dev/on-immutable: recreate.",
  },
  ADMISSION_DENIED: {
    kind: "denied",
    title: "An admission webhook or policy refused the object",
    remedy: "Correct what the webhook or the policy names, or ask whoever runs it.",
  },
  QUOTA_EXCEEDED: { kind: "denied", title: "A quota of the namespace refuses the object", remedy: "Raise the quota or ask for less." },
  NAMESPACE_TERMINATING: { kind: "conflict", title: "The namespace is being deleted", remedy: "Wait until it is gone, then send again." },
  APPLY_FAILED: { kind: "failed", title: "The API server did not take the object", remedy: "The message has the API server's words." },
  VERIFY_FAILED: {
    kind: "failed",
    title: "An object was applied and cannot become ready",
    remedy: "The message says what the object and its pods report.",
  },
  VERIFY_TIMEOUT: {
    kind: "timeout",
    title: "An object did not become ready, or gone, in time",
    remedy: "The message says what it was waiting for; give a longer verify_timeout if it only needs time.",
  },
  ALREADY_EXISTS: {
    kind: "conflict",
    title: "The object to be created exists already",
    remedy: "Send it with the operation apply to change it, or delete it first.",
  },
  OBJECT_NOT_FOUND: {
    kind: "missing",
    title: "The object that the event names does not exist",
    remedy: "Check apiVersion, kind, namespace and name.",
  },
  INVALID_PATCH: { kind: "invalid", title: "A patch cannot be used", remedy: "Correct the patch that the message names, or its type." },
  DEPENDENCY_CYCLE: {
    kind: "invalid",
    title: "Objects of the event wait for each other",
    remedy: "Take one of the dependencies that the message names away.",
  },
  DEPENDENCY_NOT_FOUND: {
    kind: "missing",
    title: "An object that another depends on does not exist",
    remedy: "Send it in the same event or before; check the annotation config.kubernetes.io/depends-on.",
  },
  INVALID_EXPRESSION: {
    kind: "invalid",
    title: "A CEL expression cannot be evaluated",
    remedy: "Correct the expression that the message names; `self` is the object.",
  },
  PLAN_STALE: {
    kind: "conflict",
    title: "What the plan saw is no longer so",
    remedy: "Look at a new `transporter diff`, and send with its plan.",
  },
  ROLLBACK_FAILED: {
    kind: "failed",
    title: "The event failed, and not everything could be put back",
    remedy: "The message says which objects are not as they were before the event; look at them before sending again.",
  },
  IMPERSONATION_REQUIRED: {
    kind: "denied",
    title: "The agent does nothing as itself",
    remedy: "Say with --service-account NAMESPACE/NAME or --as USER who is to do it.",
  },
  READ_ONLY: {
    kind: "denied",
    title: "The agent is read-only",
    remedy: "Start the agent without --read-only to let it change the cluster.",
  },
  KUBE_UNAVAILABLE: {
    kind: "unavailable",
    title: "The API server cannot be reached",
    remedy: "Look at the agent's connection to its API server.",
  },
  KUBE_CONFIG_INVALID: {
    kind: "invalid",
    title: "The agent's access to its cluster is not configured",
    remedy: "Give --kubeconfig or --in-cluster; `transporter doctor agent` checks it.",
  },
} as const satisfies Record<string, CodeEntry>;
