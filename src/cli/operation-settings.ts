import { choice, list, text, texts, toggle, type Settings, type ValuesOf } from "../config/mod.ts";
import { TransporterError } from "../kit/mod.ts";
import type { OperationPayload } from "../producer/mod.ts";
import { PatchTypeSchema, OnFailureSchema, OnImmutableSchema, OperationSchema, PropagationSchema } from "../protocol/mod.ts";
import { readIgnoreFields, readReadyWhen, readReference } from "./object-flags.ts";

/** How objects are to be treated, and by whom: for what applies, and for what only shows what an apply would do. */
export const TREATMENT_SETTINGS = {
  "force-conflicts": toggle(false, {
    describe: "Take fields over from other field managers instead of reporting a conflict",
    flagOnly: true,
  }),
  "ignore-field": texts({
    describe:
      "JSON pointer to a field that is set where an object is made, and left to others from then on; KIND= or KIND/NAME= in front says of which objects; repeatable",
    hint: "[KIND[/NAME]=]POINTER",
    flagOnly: true,
  }),
  "on-immutable": choice(OnImmutableSchema.options, {
    describe: "What to do where a field cannot be changed: fail, which is the default, or delete the object and make it anew",
    flagOnly: true,
  }),
  "service-account": text({
    describe: "ServiceAccount of the cluster that is to do it; the API server says what it may",
    hint: "NAMESPACE/NAME",
    flagOnly: true,
  }),
  as: text({ describe: "User that is to do it; the API server says what they may", hint: "USER", flagOnly: true }),
  "as-group": list({ describe: "Group of that user; repeatable", hint: "GROUP", flagOnly: true }),
  "as-uid": text({ describe: "UID of that user", hint: "UID", flagOnly: true }),
} as const satisfies Settings;

export const OPERATION_SETTINGS = {
  operation: choice(OperationSchema.options, {
    describe: "What to do with the objects; apply when nothing is said. `transporter diff` shows what an apply would change",
    flagOnly: true,
  }),
  ref: list({
    describe: "Object to delete, restart or patch, without a manifest: deployment/web, or example.com/v1/Widget/web; repeatable",
    hint: "KIND/NAME",
    flagOnly: true,
  }),
  namespace: text({
    short: "n",
    describe: "Namespace of what --ref names; the agent's default when nothing is said",
    hint: "NAMESPACE",
    flagOnly: true,
  }),
  patch: text({ describe: "The patch itself, as YAML or JSON", hint: "PATCH", flagOnly: true }),
  "patch-file": text({ describe: "File that holds the patch", hint: "FILE", flagOnly: true, completes: "file" }),
  type: choice(PatchTypeSchema.options, {
    describe: "How the patch is to be read; strategic when nothing is said, which only built-in kinds know",
    flagOnly: true,
  }),
  cascade: choice(PropagationSchema.options, {
    describe: "What becomes of what deleted objects own; background when nothing is said",
    flagOnly: true,
  }),
  ...TREATMENT_SETTINGS,
  "on-failure": choice(OnFailureSchema.options, {
    describe:
      "What to do when an object fails: stop, which is the default, go on with what does not depend on it, or put everything back as it was",
    flagOnly: true,
  }),
  "ready-when": texts({
    describe: "CEL expression over `self` that says when objects are ready; KIND= or KIND/NAME= in front says which; repeatable",
    hint: "[KIND[/NAME]=]EXPRESSION",
    flagOnly: true,
  }),
  "failed-when": texts({
    describe: "CEL expression that says when the same objects of --ready-when will not get ready any more; repeatable",
    hint: "[KIND[/NAME]=]EXPRESSION",
    flagOnly: true,
  }),
  plan: text({
    describe: "Apply only if the cluster and the manifests are as `transporter diff` saw them; it prints the plan",
    hint: "PLAN",
    flagOnly: true,
  }),
} as const satisfies Settings;

function usage(message: string, remedy: string): TransporterError {
  return new TransporterError("USAGE", message, { remedy });
}

/** Who is to do it. Throws USAGE where two are named. */
function actorOf(values: ValuesOf<typeof TREATMENT_SETTINGS>): OperationPayload {
  const { as, "service-account": account, "as-group": groups, "as-uid": uid } = values;
  if (account !== undefined && as !== undefined) throw usage("--service-account and --as each say who is to do it", "Give one of the two.");
  if (as === undefined && (groups.length > 0 || uid !== undefined))
    throw usage("--as-group and --as-uid say more about a user, and none is named", "Give --as USER as well.");
  if (account !== undefined) return { service_account: account };
  if (as === undefined) return {};
  return { impersonate: { user: as, ...(groups.length === 0 ? {} : { groups: [...groups] }), ...(uid === undefined ? {} : { uid }) } };
}

/** How objects are to be treated, as an event's payload says it. Throws USAGE. */
export function treatmentPayload(values: ValuesOf<typeof TREATMENT_SETTINGS>): OperationPayload {
  const ignored = readIgnoreFields(values["ignore-field"]);
  return {
    ...(ignored.length === 0 ? {} : { ignore_fields: ignored }),
    ...(values["on-immutable"] === undefined ? {} : { on_immutable: values["on-immutable"] }),
    ...actorOf(values),
  };
}

type OperationValues = ValuesOf<typeof OPERATION_SETTINGS>;

/** Flags that mean something to some operations only. Throws USAGE for the first that is given to another. */
function refuseForeign(values: OperationValues): void {
  const operation = values.operation ?? "apply";
  const only = (flag: string, given: boolean, ...operations: string[]): void => {
    if (!given || operations.includes(operation)) return;
    const wanted = operations.map((one) => `--operation ${one}`).join(" or ");
    throw usage(
      `--${flag} means nothing to the operation ${operation}`,
      operations.includes("apply") ? `Leave it out, or apply.` : `Give ${wanted} as well, or leave it out.`,
    );
  };
  only("ref", values.ref.length > 0, "delete", "restart", "patch");
  only("namespace", values.namespace !== undefined, "delete", "restart", "patch");
  only("patch", values.patch !== undefined, "patch");
  only("patch-file", values["patch-file"] !== undefined, "patch");
  only("type", values.type !== undefined, "patch");
  only("cascade", values.cascade !== undefined, "delete");
  only("plan", values.plan !== undefined, "apply");
  only("force-conflicts", values["force-conflicts"], "apply", "diff");
  only("ignore-field", values["ignore-field"].length > 0, "apply", "diff");
  only("on-immutable", values["on-immutable"] !== undefined, "apply", "diff");
  only("ready-when", values["ready-when"].length > 0, "apply", "create", "restart", "patch");
}

/** What to give where neither a manifest nor a name was given. */
export function manifestRemedy(operation: OperationValues["operation"]): string {
  const byName = operation === "delete" || operation === "restart" ? "--ref KIND/NAME, " : "";
  return `Give ${byName}-f FILE (or DIR, URL, -), --manifest FILE, or -k DIR.`;
}

async function patchesOf(values: OperationValues, readFile: (path: string) => Promise<string>): Promise<OperationPayload> {
  const { patch, "patch-file": file, type = "strategic", ref, namespace } = values;
  if (patch !== undefined && file !== undefined) throw usage("--patch and --patch-file each say what to change", "Give one of the two.");
  if (ref.length === 0) throw usage("a patch needs an object", "Name it with --ref KIND/NAME.");
  const said = file === undefined ? patch : await readFile(file);
  if (said === undefined || said.trim() === "") throw usage("the operation patch needs a patch", "Give --patch or --patch-file.");
  return { patches: ref.map((one) => ({ ...readReference(one, namespace), type, patch: said })) };
}

/** What is to be done with the objects, and how, as an event's payload says it. Throws USAGE, and what reading the patch's file gives. */
export async function operationPayload(values: OperationValues, readFile: (path: string) => Promise<string>): Promise<OperationPayload> {
  refuseForeign(values);
  if (values.plan !== undefined && !/^p1-[\w-]+$/.test(values.plan))
    throw usage(`--plan ${JSON.stringify(values.plan.slice(0, 80))} is no plan`, "Give it as `transporter diff` prints it, p1-….");
  const { operation, ref, namespace, cascade, plan, "on-failure": onFailure } = values;
  const ready = readReadyWhen(values["ready-when"], values["failed-when"]);
  const named = operation === "patch" ? await patchesOf(values, readFile) : {};
  const references = operation === "patch" ? [] : ref.map((one) => readReference(one, namespace));
  return {
    ...(operation === undefined || operation === "apply" ? {} : { operation }),
    ...named,
    ...(references.length === 0 ? {} : { references }),
    ...(cascade === undefined ? {} : { propagation_policy: cascade }),
    ...treatmentPayload(values),
    ...(onFailure === undefined ? {} : { on_failure: onFailure }),
    ...(ready.length === 0 ? {} : { ready_when: ready }),
    ...(plan === undefined ? {} : { plan }),
  };
}
