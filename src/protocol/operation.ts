import * as v from "valibot";
import { type Refusal, refuse } from "./checked.ts";
import { identityProblem } from "./identity.ts";

/** What a `k8s_resource` event does with its objects. 0.1 knows `apply` alone, and says nothing of it. */
export const OperationSchema = v.picklist(["apply", "create", "delete", "restart", "patch", "diff"]);
export type Operation = v.InferOutput<typeof OperationSchema>;

/** An object by its name. Without a namespace it is where manifests without one go. */
export const ReferenceSchema = v.looseObject({
  /** `v1`, `apps/v1`. */
  api_version: v.pipe(v.string(), v.nonEmpty()),
  kind: v.pipe(v.string(), v.nonEmpty()),
  namespace: v.nullish(v.string()),
  name: v.pipe(v.string(), v.nonEmpty()),
});
export type Reference = v.InferOutput<typeof ReferenceSchema>;

/** How a patch is to be read: RFC 7386, RFC 6902, or Kubernetes' own, which knows the merge keys of built-in kinds. */
export const PatchTypeSchema = v.picklist(["merge", "json", "strategic"]);
export type PatchType = v.InferOutput<typeof PatchTypeSchema>;

export const PatchSchema = v.looseObject({
  ...ReferenceSchema.entries,
  type: PatchTypeSchema,
  /** YAML or JSON. */
  patch: v.pipe(v.string(), v.nonEmpty()),
});
export type Patch = v.InferOutput<typeof PatchSchema>;

/** Which objects of the event something is for: all that match every field that is given. */
const SELECTION = {
  api_version: v.nullish(v.string()),
  kind: v.nullish(v.string()),
  namespace: v.nullish(v.string()),
  name: v.nullish(v.string()),
} as const;

/** Fields that an apply sets where it makes an object, and leaves to others from then on. */
export const IgnoreFieldsSchema = v.looseObject({
  ...SELECTION,
  /** JSON pointers (RFC 6901) into the object, for example `/spec/replicas`. */
  pointers: v.pipe(v.array(v.string()), v.minLength(1)),
});
export type IgnoreFields = v.InferOutput<typeof IgnoreFieldsSchema>;

/** When objects count as ready, in CEL over `self`, the object as it is. */
export const ReadyWhenSchema = v.looseObject({
  ...SELECTION,
  ready: v.pipe(v.string(), v.nonEmpty()),
  /** When no waiting helps any more. */
  failed: v.nullish(v.string()),
});
export type ReadyWhen = v.InferOutput<typeof ReadyWhenSchema>;

/** As whom the API server is to take the requests of an event. */
export const ImpersonateSchema = v.looseObject({
  user: v.pipe(v.string(), v.nonEmpty()),
  groups: v.nullish(v.array(v.pipe(v.string(), v.nonEmpty()))),
  uid: v.nullish(v.string()),
  extra: v.nullish(v.record(v.string(), v.array(v.string()))),
});
export type Impersonate = v.InferOutput<typeof ImpersonateSchema>;

export const PropagationSchema = v.picklist(["background", "foreground", "orphan"]);
export type Propagation = v.InferOutput<typeof PropagationSchema>;
export const OnImmutableSchema = v.picklist(["fail", "recreate"]);
export type OnImmutable = v.InferOutput<typeof OnImmutableSchema>;
export const OnFailureSchema = v.picklist(["stop", "continue", "rollback"]);
export type OnFailure = v.InferOutput<typeof OnFailureSchema>;

/** The fields of a payload that say how its objects are to be treated; 0.1 has none of them. */
export const OPERATION_ENTRIES = {
  /** `apply` when absent. */
  operation: v.nullish(OperationSchema),
  /** Of `delete` and `restart`, beside or instead of manifests. */
  references: v.nullish(v.array(ReferenceSchema)),
  /** Of `patch`. */
  patches: v.nullish(v.array(PatchSchema)),
  /** Of `delete`: what becomes of what the objects own; `background` when absent. */
  propagation_policy: v.nullish(PropagationSchema),
  ignore_fields: v.nullish(v.array(IgnoreFieldsSchema)),
  /** `fail` when absent; `recreate` deletes an object and makes it anew where a field of it cannot be changed. */
  on_immutable: v.nullish(OnImmutableSchema),
  /** `stop` when absent: what is being applied is finished, and nothing after it is begun. */
  on_failure: v.nullish(OnFailureSchema),
  ready_when: v.nullish(v.array(ReadyWhenSchema)),
  /** NAMESPACE/NAME of the ServiceAccount that is to do it. */
  service_account: v.nullish(v.string()),
  impersonate: v.nullish(ImpersonateSchema),
  /** What a `diff` answered: it is refused where the cluster or the manifests are others by now. */
  plan: v.nullish(v.pipe(v.string(), v.nonEmpty())),
} as const;

/** The payload as far as it is checked here. */
interface OperationFields {
  readonly manifests?: readonly string[] | null | undefined;
  readonly operation?: Operation | null | undefined;
  readonly references?: readonly Reference[] | null | undefined;
  readonly patches?: readonly Patch[] | null | undefined;
  readonly propagation_policy?: Propagation | null | undefined;
  readonly ignore_fields?: readonly IgnoreFields[] | null | undefined;
  readonly on_immutable?: OnImmutable | null | undefined;
  readonly on_failure?: OnFailure | null | undefined;
  readonly ready_when?: readonly ReadyWhen[] | null | undefined;
  readonly service_account?: string | null | undefined;
  readonly impersonate?: Impersonate | null | undefined;
  readonly plan?: string | null | undefined;
}

/** Who is to do it; `undefined` where the agent itself is. */
export interface ActingIdentity {
  readonly user: string;
  readonly groups: readonly string[];
  readonly uid: string | undefined;
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

/** How the objects of an event are to be treated, with defaults in place. Plain data: the agent keeps it over a restart as JSON. */
export interface OperationOptions {
  readonly operation: Operation;
  readonly references: readonly Reference[];
  readonly patches: readonly Patch[];
  readonly propagation: Propagation;
  readonly ignoreFields: readonly IgnoreFields[];
  readonly onImmutable: OnImmutable;
  readonly onFailure: OnFailure;
  readonly readyWhen: readonly ReadyWhen[];
  readonly identity?: ActingIdentity | undefined;
  readonly plan?: string | undefined;
}

export const OPERATION_DEFAULTS: OperationOptions = {
  operation: "apply",
  references: [],
  patches: [],
  propagation: "background",
  ignoreFields: [],
  onImmutable: "fail",
  onFailure: "stop",
  readyWhen: [],
};

const SERVICE_ACCOUNT = /^([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)\/([a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?)$/;
/** RFC 6901: empty is the whole, which cannot be ignored; `~` stands only before 0 and 1. */
const POINTER = /^(?:\/(?:[^~/]|~[01])*)+$/;

/** The user that the API server knows a ServiceAccount by; undefined where it is not NAMESPACE/NAME. */
export function serviceAccountUser(account: string): string | undefined {
  const [, namespace, name] = SERVICE_ACCOUNT.exec(account) ?? [];
  return namespace === undefined || name === undefined ? undefined : `system:serviceaccount:${namespace}:${name}`;
}

function hasManifest(payload: OperationFields): boolean {
  return payload.manifests?.some((manifest) => manifest.trim() !== "") === true;
}

function isEmpty(list: readonly unknown[] | null | undefined): boolean {
  return list === undefined || list === null || list.length === 0;
}

/** What an operation works on, and what only others know. */
function refuseObjects(operation: Operation, payload: OperationFields): Refusal | undefined {
  const foreign = (field: "references" | "patches" | "manifests"): Refusal =>
    refuse("INVALID_EVENT", `payload.${field} mean nothing to the operation ${operation}`, `/payload/${field}`);
  if (operation === "patch") {
    if (isEmpty(payload.patches))
      return refuse("EMPTY_MANIFESTS", "a patch needs at least one entry in payload.patches", "/payload/patches");
    if (hasManifest(payload)) return foreign("manifests");
    return isEmpty(payload.references) ? undefined : foreign("references");
  }
  if (!isEmpty(payload.patches)) return foreign("patches");
  if (operation === "delete" || operation === "restart") {
    if (hasManifest(payload) || !isEmpty(payload.references)) return undefined;
    return refuse("EMPTY_MANIFESTS", `the operation ${operation} needs a manifest or a reference to an object`, "/payload/manifests");
  }
  if (!hasManifest(payload)) return refuse("EMPTY_MANIFESTS", "k8s_resource event must have at least one manifest", "/payload/manifests");
  return isEmpty(payload.references) ? undefined : foreign("references");
}

/** Says why the operation of a `k8s_resource` payload cannot be meant, or undefined. */
export function refuseOperation(payload: OperationFields): Refusal | undefined {
  const operation = payload.operation ?? "apply";
  const objects = refuseObjects(operation, payload);
  if (objects !== undefined) return objects;
  if (operation !== "delete" && (payload.propagation_policy ?? undefined) !== undefined)
    return refuse("INVALID_EVENT", "payload.propagation_policy is for the operation delete", "/payload/propagation_policy");
  if (operation !== "apply" && (payload.plan ?? undefined) !== undefined)
    return refuse("INVALID_EVENT", "payload.plan is for the operation apply", "/payload/plan");
  for (const { pointers } of payload.ignore_fields ?? [])
    for (const pointer of pointers)
      if (!POINTER.test(pointer) || /^\/(?:apiVersion|kind|metadata(?:\/(?:name|namespace))?)$/.test(pointer))
        return refuse(
          "INVALID_EVENT",
          `payload.ignore_fields: ${JSON.stringify(pointer.slice(0, 120))} is not a JSON pointer to a field that can be left to others`,
          "/payload/ignore_fields",
        );
  return refuseWho(payload);
}

function refuseWho(payload: OperationFields): Refusal | undefined {
  const problem = payload.impersonate === undefined || payload.impersonate === null ? undefined : identityProblem(payload.impersonate);
  if (problem !== undefined) return refuse("INVALID_EVENT", `payload.impersonate cannot be meant: ${problem}`, "/payload/impersonate");
  const account = payload.service_account ?? undefined;
  if (account === undefined) return undefined;
  if ((payload.impersonate ?? undefined) !== undefined)
    return refuse("INVALID_EVENT", "payload.service_account and payload.impersonate both say who is to do it", "/payload/impersonate");
  if (serviceAccountUser(account) === undefined)
    return refuse(
      "INVALID_EVENT",
      `payload.service_account ${JSON.stringify(account.slice(0, 120))} is not NAMESPACE/NAME`,
      "/payload/service_account",
    );
  return undefined;
}

function identityOf({ service_account: account, impersonate }: OperationFields): ActingIdentity | undefined {
  const user = account === undefined || account === null ? undefined : serviceAccountUser(account);
  if (user !== undefined) return { user, groups: [], uid: undefined, extra: {} };
  if (impersonate === undefined || impersonate === null) return undefined;
  return {
    user: impersonate.user,
    groups: impersonate.groups ?? [],
    uid: impersonate.uid ?? undefined,
    extra: impersonate.extra ?? {},
  };
}

/** What a checked payload says, with defaults in place. */
export function operationOptions(payload: OperationFields): OperationOptions {
  const identity = identityOf(payload);
  return {
    operation: payload.operation ?? OPERATION_DEFAULTS.operation,
    references: payload.references ?? [],
    patches: payload.patches ?? [],
    propagation: payload.propagation_policy ?? OPERATION_DEFAULTS.propagation,
    ignoreFields: payload.ignore_fields ?? [],
    onImmutable: payload.on_immutable ?? OPERATION_DEFAULTS.onImmutable,
    onFailure: payload.on_failure ?? OPERATION_DEFAULTS.onFailure,
    readyWhen: payload.ready_when ?? [],
    ...(identity === undefined ? {} : { identity }),
    ...((payload.plan ?? undefined) === undefined ? {} : { plan: payload.plan ?? "" }),
  };
}

/** The capability of an agent that knows these fields. One that does not would apply what it is to delete. */
export const OPERATIONS_CAPABILITY = "k8s_operations";

/** Whether a payload asks for more than an agent of before can do. */
export function needsOperations(payload: Readonly<Record<string, unknown>>): boolean {
  if ((payload["operation"] ?? "apply") !== "apply") return true;
  return Object.keys(OPERATION_ENTRIES).some((field) => field !== "operation" && (payload[field] ?? undefined) !== undefined);
}

/** Annotations of objects that change what an apply does with them. As text: manifests are not read where events are taken in. */
const HEEDED = /transporter\.dev\/(?:wave|force-conflicts|ignore-fields|on-immutable)/;

/** Whether an event is only for agents with `OPERATIONS_CAPABILITY`: by its fields, or by what objects of its manifests ask for. */
export function needsCapability(payload: Readonly<Record<string, unknown>>): boolean {
  if (needsOperations(payload)) return true;
  const { manifests } = payload;
  return (
    Array.isArray(manifests) &&
    manifests.some((text: unknown) => typeof text === "string" && text.includes("transporter.dev/") && HEEDED.test(text))
  );
}
