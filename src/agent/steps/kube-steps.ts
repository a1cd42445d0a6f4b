import { TransporterError } from "../../kit/mod.ts";
import { describeIdentity, type KubeClient } from "../../k8s/mod.ts";
import type { ParsedObject } from "../../manifests/mod.ts";
import type { ExecutorOptions, StepContext } from "../executor.ts";
import { ApplySteps } from "./apply-steps.ts";
import type { ChangingSteps } from "./changing.ts";
import { DeleteSteps } from "./delete-steps.ts";
import { DiffSteps } from "./diff-steps.ts";
import type { KubeStepsOptions } from "./options.ts";
import { PatchSteps } from "./patch-steps.ts";
import { withRollback } from "./rollback-steps.ts";

/** The client with whose hands an event is carried out. Throws IMPERSONATION_REQUIRED, and FORBIDDEN where the agent's kubeconfig allows no other. */
function actingClient(client: KubeClient, { options, note }: StepContext, { requireImpersonation }: KubeStepsOptions): KubeClient {
  const { identity } = options;
  if (identity === undefined) {
    if (requireImpersonation !== true) return client;
    throw new TransporterError("IMPERSONATION_REQUIRED", "this agent does nothing as itself, and the event does not say who is to do it");
  }
  const acting = client.as(identity);
  note(`Carried out as ${describeIdentity(identity)}`);
  return acting;
}

function changingSteps(
  client: KubeClient,
  objects: readonly ParsedObject[],
  context: StepContext,
  options: KubeStepsOptions,
): ChangingSteps {
  switch (context.options.operation) {
    case "delete":
      return new DeleteSteps(client, objects, context, options);
    case "patch":
    case "restart":
      return new PatchSteps(client, objects, context, options);
    default:
      return new ApplySteps(client, objects, context, options);
  }
}

/** The steps of `k8s_resource` events in a real cluster. */
export function kubeSteps(client: KubeClient, options: KubeStepsOptions): ExecutorOptions["resources"] {
  return (objects, context) => {
    const acting = actingClient(client, context, options);
    if (context.options.operation === "diff") return new DiffSteps(acting, objects, context, options);
    const steps = changingSteps(acting, objects, context, options);
    return withRollback(acting, steps, objects, context, options);
  };
}
