import { join } from "node:path";
import type { Journey } from "./journey.ts";
import { SHOP, SYSTEM } from "./values.ts";

/** How to reach what stays up; every line can be pasted. */
export function reachText(journey: Journey, kubeconfigs: Readonly<Record<string, string>>): string {
  const home = join(journey.directory, "home");
  const lines = Object.values(kubeconfigs).flatMap((path) => [`  kubectl --kubeconfig ${path} get pods --namespace ${SYSTEM}`]);
  return [
    "",
    "What is up, and how to reach it:",
    "",
    ...lines,
    `  HOME=${home} ${journey.executable} get agents`,
    `  HOME=${home} ${journey.executable} send k8s --agent edge-1 -f YOUR.yaml --wait    (namespace ${SHOP})`,
    `  HOME=${home} ${journey.executable} get events`,
  ].join("\n");
}
