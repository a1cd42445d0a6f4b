import type { KubeClient } from "../../k8s/mod.ts";
import type { ExecutorOptions } from "../executor.ts";
import { ApplySteps } from "./apply-steps.ts";
import type { KubeStepsOptions } from "./options.ts";

/** The steps of `k8s_resource` events in a real cluster. */
export function kubeSteps(client: KubeClient, options: KubeStepsOptions): ExecutorOptions["resources"] {
  return (objects, context) => new ApplySteps(client, objects, context, options);
}
