import { describeRef, type ObjectRef } from "../../manifests/mod.ts";
import { apiVersionOf, objectPath, type ResourceType } from "../http/discovery.ts";

/** One object of the cluster, whether it exists or not: what it takes to ask for it and to speak of it. */
export interface Target {
  /** As the cluster means it: with the default namespace where none was written, without one where the kind is cluster-wide. */
  readonly ref: ObjectRef;
  readonly apiVersion: string;
  readonly type: ResourceType;
  /** For people, as in every message: `ConfigMap web/settings`. */
  readonly label: string;
}

export function targetOf(ref: ObjectRef, type: ResourceType): Target {
  return { ref, apiVersion: apiVersionOf(ref), type, label: describeRef(ref) };
}

export function pathOf({ type, ref }: Target): string {
  return objectPath(type, ref.namespace, ref.name);
}
