import { randomBytes } from "node:crypto";
import { HttpPool } from "./http-pool.ts";

export interface FloodResult {
  /** How long each took, POST to answer. */
  readonly answeredMs: readonly number[];
}
export interface ProbeResult {
  /** POST to answer, from the moment each was due. */
  readonly latenciesMs: readonly number[];
  /** How late the probe itself was, worst case: the machine's share in the figures. */
  readonly sentLateMaxMs: number;
}

const RUN = randomBytes(4).toString("hex");

/** Manifests of `bytes` in all, half of them as hard to compress as certificates and images are. */
function largeEvent(id: string, agentId: string, bytes: number): string {
  const half = 512 * 1024;
  const manifests: string[] = [];
  for (let have = 0; have < bytes; have += 2 * half) {
    const hard = randomBytes((half * 3) / 4).toString("base64");
    manifests.push(
      `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: big-${have}\ndata:\n  hard: ${hard}\n  soft: ${"greeting: hello from far away ".repeat(half / 30)}\n`,
    );
  }
  return JSON.stringify({ id, type: "k8s_resource", target_agent: agentId, payload: { manifests }, ttl: 3_600_000_000_000 });
}

/** Hands in large events, one after the other, each with content of its own, for agents that are not there. */
export async function flood(task: { readonly url: string; readonly events: number; readonly bytes: number }): Promise<FloodResult> {
  const answeredMs: number[] = [];
  for (let at = 0; at < task.events; at += 1) {
    const body = largeEvent(`large-${RUN}-${at}`, `absent-${RUN}`, task.bytes);
    const startedMs = performance.now();
    const response = await fetch(`${task.url}/events`, { method: "POST", body });
    if (response.status !== 202) throw new Error(`a large event was answered with ${response.status}: ${await response.text()}`);
    await response.text();
    answeredMs.push(performance.now() - startedMs);
  }
  return { answeredMs };
}

/** Small events at a steady pace, whatever the answers do, until `seconds` are over. */
export async function probe(task: { readonly url: string; readonly perSecond: number; readonly seconds: number }): Promise<ProbeResult> {
  const pool = new HttpPool(task.url, "/events");
  await pool.warm(16);
  const latenciesMs: number[] = [];
  let sentLateMaxMs = 0;
  const answered = async (sentMs: number, answer: Promise<number>): Promise<void> => {
    const status = await answer;
    if (status !== 202) throw new Error(`a small event was answered with ${status}`);
    latenciesMs.push(performance.now() - sentMs);
  };
  const all: Promise<void>[] = [];
  const originMs = performance.now() + 50;
  for (let at = 0; at < task.perSecond * task.seconds; at += 1) {
    const dueMs = originMs + (at * 1000) / task.perSecond;
    const restMs = dueMs - performance.now();
    if (restMs >= 1) await Bun.sleep(Math.floor(restMs));
    const body = `{"id":"small-${RUN}-${at}","type":"k8s_resource","target_agent":"absent-${at % 50}","payload":{"manifests":["apiVersion: v1\\nkind: Namespace\\nmetadata:\\n  name: n${at}\\n"]},"ttl":3600000000000}`;
    const sentMs = performance.now();
    sentLateMaxMs = Math.max(sentLateMaxMs, sentMs - dueMs);
    all.push(answered(sentMs, pool.post(body)));
  }
  await Promise.all(all);
  pool.close();
  return { latenciesMs, sentLateMaxMs };
}
