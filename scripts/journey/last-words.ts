import type { GroundCluster } from "./ground.ts";
import type { Journey } from "./journey.ts";
import { SHOP, SYSTEM } from "./values.ts";

const LINES = 40;
/** Whoever waits for this has seen something fail already. */
const TIMEOUT = "--request-timeout=10s";

/** What the clusters say about themselves when a step failed: pods, events, logs, also of what ran before. */
export async function lastWords(journey: Journey): Promise<string> {
  const parts: string[] = [];
  for (const cluster of journey.clusters) {
    const alive = await cluster.kubectl(["get", "--raw", "/readyz", TIMEOUT]);
    if (alive.exitCode !== 0) {
      parts.push(`--- ${cluster.name}: its API server does not answer: ${alive.stderr.trim()}`);
      continue;
    }
    parts.push(await answer(cluster, ["get", "pods", "--all-namespaces", "--output=wide"]));
    for (const namespace of [SYSTEM, SHOP]) {
      parts.push(await answer(cluster, ["get", "events", `--namespace=${namespace}`, "--sort-by=.lastTimestamp"]));
      const pods = await cluster.kubectl(["get", "pods", `--namespace=${namespace}`, "--output=name"]);
      for (const pod of pods.stdout.split("\n").filter((line) => line !== "")) {
        const logs = ["logs", pod, `--namespace=${namespace}`, "--all-containers", `--tail=${LINES}`];
        parts.push(await answer(cluster, logs), await answer(cluster, [...logs, "--previous"], true));
      }
    }
  }
  return parts.filter((part) => part !== "").join("\n");
}

async function answer(cluster: GroundCluster, args: readonly string[], onlyGood = false): Promise<string> {
  const ran = await cluster.kubectl([...args, TIMEOUT]);
  if (onlyGood && ran.exitCode !== 0) return "";
  const lines = `${ran.stdout}${ran.stderr}`.trimEnd().split("\n").slice(-LINES);
  return `--- ${cluster.name}: kubectl ${args.join(" ")}\n${lines.join("\n")}`;
}
