import { TransporterError } from "../../kit/mod.ts";
import type { KubeClient } from "../../k8s/mod.ts";
import type { ExecutorOptions, StepContext } from "../executor.ts";
import { ApplySteps } from "./apply-steps.ts";
import { DeleteSteps } from "./delete-steps.ts";
import type { KubeStepsOptions } from "./options.ts";
import { withRollback } from "./rollback-steps.ts";

/** The client with whose hands an event is carried out. Throws IMPERSONATION_REQUIRED, and FORBIDDEN where the agent's kubeconfig allows no other. */
function actingClient(client: KubeClient, { options, note }: StepContext, { requireImpersonation }: KubeStepsOptions): KubeClient {
  const { identity } = options;
  if (identity === undefined) {
    if (requireImpersonation !== true) return client;
    throw new TransporterError("IMPERSONATION_REQUIRED", "this agent does nothing as itself, and the event does not say who is to do it");
  }
  const acting = client.as(identity);
  note(`Carried out as ${identity.user}`);
  return acting;
}

/** The steps of `k8s_resource` events in a real cluster. */
export function kubeSteps(client: KubeClient, options: KubeStepsOptions): ExecutorOptions["resources"] {
  return (objects, context) => {
    const acting = actingClient(client, context, options);
    const steps =
      context.options.operation === "delete"
        ? new DeleteSteps(acting, objects, context, options)
        : new ApplySteps(acting, objects, context, options);
    return withRollback(acting, steps, objects, context, options);
  };
}
