import { expect } from "bun:test";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { startKube, type Cluster } from "../support/kube.ts";
import { Stack } from "../support/stack.ts";
import { BY_HAND, type Content, contentOf, newIn } from "./normal-form.ts";

export const CORPUS = join(import.meta.dir, "corpus");
export const CHANGED = join(import.meta.dir, "changed", "changed.yaml");
/** Definitions and the namespace first, as a person would have to with kubectl. */
export const FILES = ["definitions", "core", "cluster", "network", "apps", "pods", "custom", "lists"];
export const NAMESPACES = ["corpus", BY_HAND, "default"];
export const MANAGER = "--field-manager=transporter";
/** Nothing here runs pods, so what is applied does not become ready; that is not what is compared. */
const UNVERIFIED = { verify_timeout: "1s" };

/** Two API servers alike, without controllers, which would write to what is compared: one for kubectl, one for an agent. */
export class Ground implements AsyncDisposable {
  readonly kubectl: Cluster;
  readonly agent: Cluster;
  readonly stack: Stack;
  readonly #before: readonly [Content, Content];

  private constructor(kubectl: Cluster, agent: Cluster, stack: Stack, before: readonly [Content, Content]) {
    this.kubectl = kubectl;
    this.agent = agent;
    this.stack = stack;
    this.#before = before;
  }

  static async start(): Promise<Ground> {
    const [kubectl, agent] = await Promise.all([startKube(), startKube()]);
    const stack = await Stack.start({ compiled: false, kubeconfig: agent.kubeconfigPath });
    return new Ground(kubectl, agent, stack, [await contentOf(kubectl, NAMESPACES), await contentOf(agent, NAMESPACES)]);
  }

  /** What both hold beyond what every server begins with: kubectl's and the agent's. */
  async contents(): Promise<readonly [Map<string, unknown>, Map<string, unknown>]> {
    const [kubectl, agent] = await Promise.all([contentOf(this.kubectl, NAMESPACES), contentOf(this.agent, NAMESPACES)]);
    return [newIn(kubectl, this.#before[0]), newIn(agent, this.#before[1])];
  }

  /** Fails with the first objects that are not alike; what the server itself adds a moment later is waited for. */
  async expectAlike(): Promise<number> {
    let [kubectl, agent] = await this.contents();
    const unlike = (): string[] =>
      [...new Set([...kubectl.keys(), ...agent.keys()])].filter((key) => !Bun.deepEquals(kubectl.get(key), agent.get(key)));
    await eventually(
      async () => {
        [kubectl, agent] = await this.contents();
        return unlike().length === 0;
      },
      { timeoutMs: 20_000, what: "two servers with the same content" },
    ).catch(() => undefined);
    for (const key of unlike().slice(0, 5)) expect({ [key]: agent.get(key) }).toEqual({ [key]: kubectl.get(key) });
    expect(unlike()).toEqual([]);
    return kubectl.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stack[Symbol.asyncDispose]();
    await Promise.all([this.kubectl.stop(), this.agent.stop()]);
  }
}

/** Near the mebibyte that a server takes. */
const BIG = JSON.stringify({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name: "big", namespace: "corpus" },
  data: { text: "größer\n".repeat(115_000) },
});

export async function corpusTexts(): Promise<string[]> {
  return [...(await Promise.all(FILES.map((name) => readFile(join(CORPUS, `${name}.yaml`), "utf8")))), BIG];
}

export async function byKubectl(kube: Cluster): Promise<void> {
  const apply = ["apply", "--server-side", MANAGER];
  await kube.kubectl([...apply, "-f", join(CORPUS, "definitions.yaml")]);
  await kube.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
  for (const name of FILES) await kube.kubectl([...apply, "-f", join(CORPUS, `${name}.yaml`)]);
  await kube.kubectl([...apply, "-f", "-"], { input: BIG });
}

/** `created ConfigMap scalars`, for each object; fails unless all were applied. */
export async function byAgent(stack: Stack, manifests: readonly string[], payload: Record<string, unknown> = {}): Promise<string[]> {
  const detail = await stack.carryOut(manifests, {}, { ...UNVERIFIED, ...payload });
  const { result } = detail;
  if (result?.error_code !== undefined && result.error_code !== "VERIFY_TIMEOUT") throw new Error(JSON.stringify(result));
  return (result?.resource_status ?? []).map(({ status, kind, name }) => `${status} ${kind} ${name}`);
}
