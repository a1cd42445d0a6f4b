import type { Target } from "../../k8s/mod.ts";
import type { ErrorCode, ResourceStatus } from "../../protocol/mod.ts";

/** What is told of one object; without a message where the status says it all. `code`: of one that failed. */
export function statusOf(target: Pick<Target, "ref" | "apiVersion">, status: string, message: string, code?: ErrorCode): ResourceStatus {
  const { kind, name, namespace } = target.ref;
  return {
    kind,
    name,
    ...(namespace === undefined ? {} : { namespace }),
    api_version: target.apiVersion,
    status,
    ...(message === "" ? {} : { message }),
    ...(code === undefined ? {} : { code }),
  };
}
