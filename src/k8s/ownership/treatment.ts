import { forcesConflicts, ignoredPointers, onImmutableOf } from "../../manifests/mod.ts";
import type { IgnoreFields } from "../../protocol/mod.ts";
import type { ApplyOptions } from "../apply/apply-request.ts";
import type { PlannedObject } from "../apply/plan.ts";
import { type Json, recordOf } from "../http/json.ts";

/** How one object is to be treated: what the event says for all, and the object for itself. */
export interface Treatment {
  readonly forceConflicts: boolean;
  /** Deleted and made anew where a field cannot be changed. */
  readonly recreate: boolean;
  /** JSON pointers to what others may have made of it; without a repeated one. */
  readonly ignored: readonly string[];
}

/** With one of these goes what nobody can bring back, so only the object itself can ask for it, never the event for all of them. */
const PRECIOUS: ReadonlySet<string> = new Set([
  "/Namespace",
  "apiextensions.k8s.io/CustomResourceDefinition",
  "/PersistentVolume",
  "/PersistentVolumeClaim",
]);

/** Whether the event-wide `on_immutable: recreate` passes such a kind by. */
export function isPrecious(ref: { readonly group: string; readonly kind: string }): boolean {
  return PRECIOUS.has(`${ref.group}/${ref.kind}`);
}

/** What would be lost for good with an object of a kind that can be made anew in general; undefined where nothing would. */
export function lossWith({ kind, spec }: Json): string | undefined {
  const policy = recordOf(recordOf(spec)["persistentVolumeClaimRetentionPolicy"]);
  if (kind !== "StatefulSet" || policy["whenDeleted"] !== "Delete") return undefined;
  return "the volume claims of its pods (persistentVolumeClaimRetentionPolicy.whenDeleted: Delete)";
}

/** Whether what goes with this object nobody can bring back. */
export function isIrreplaceable(ref: { readonly group: string; readonly kind: string }, live: Json): boolean {
  return isPrecious(ref) || lossWith(live) !== undefined;
}

function matches(wanted: string | null | undefined, is: string | undefined): boolean {
  return (wanted ?? "") === "" || wanted === is;
}

function isMeant(selection: IgnoreFields, { ref, apiVersion }: Pick<PlannedObject, "ref" | "apiVersion">): boolean {
  return (
    matches(selection.api_version, apiVersion) &&
    matches(selection.kind, ref.kind) &&
    matches(selection.namespace, ref.namespace) &&
    matches(selection.name, ref.name)
  );
}

/** What of `ignore_fields` is for none of these objects: most likely a slip of the pen. */
export function idleIgnoring(objects: readonly PlannedObject[], ignoreFields: readonly IgnoreFields[]): string[] {
  return ignoreFields
    .filter((selection) => !objects.some((planned) => isMeant(selection, planned)))
    .map(({ pointers, kind, name }) => {
      const whose = [kind ?? "", name ?? ""].filter((word) => word !== "").join(" ");
      return `ignore_fields ${pointers.slice(0, 5).join(", ")}${whose === "" ? "" : ` of ${whose}`}`;
    });
}

/** JSON pointers to the fields of an object that are left to others. Pure. */
export function ignoredFieldsOf(
  planned: Pick<PlannedObject, "ref" | "apiVersion" | "parsed">,
  ignoreFields: readonly IgnoreFields[],
): readonly string[] {
  const fromEvent = ignoreFields.filter((one) => isMeant(one, planned)).flatMap(({ pointers }) => pointers);
  return [...new Set([...fromEvent, ...ignoredPointers(planned.parsed.object)])];
}

/** The treatment of an object; its own annotations are stronger than what the event says for all. Pure. */
export function treatmentOf(planned: PlannedObject, options: ApplyOptions): Treatment {
  const { object } = planned.parsed;
  const forAll = options.onImmutable === "recreate" && !isPrecious(planned.ref) ? "recreate" : "fail";
  return {
    forceConflicts: forcesConflicts(object) ?? options.forceConflicts,
    recreate: (onImmutableOf(object) ?? forAll) === "recreate",
    ignored: ignoredFieldsOf(planned, options.ignoreFields ?? []),
  };
}
