import type { EventDetail, ResourceStatus } from "../../src/protocol/mod.ts";
import { sharedKube } from "../support/kube.ts";
import { Stack } from "../support/stack.ts";

/** One control plane and one agent for the stories of a file, from source, started by the first of them. */
export class Storytellers implements AsyncDisposable {
  #stack: Promise<Stack> | undefined;

  stack(): Promise<Stack> {
    this.#stack ??= sharedKube().then((kube) => Stack.start({ compiled: false, kubeconfig: kube.kubeconfigPath }));
    return this.#stack;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#stack)?.[Symbol.asyncDispose]();
  }
}

export interface Story {
  readonly detail: EventDetail;
  readonly code: string;
  /** What `transporter describe event` shows, blanks and line ends as one blank each. */
  readonly told: string;
  readonly object: (name: string) => ResourceStatus | undefined;
}

export function inOneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}

/** Carries an event out and reads what a person gets to see of it. */
export async function tell(
  stack: Stack,
  manifests: readonly unknown[],
  payload: Record<string, unknown> = {},
  parts: Record<string, unknown> = {},
): Promise<Story> {
  const id = await stack.submit(
    manifests.map((manifest) => JSON.stringify(manifest)),
    parts,
    payload,
  );
  const detail = await stack.ended(id, 150_000);
  const described = await stack.run(["describe", "event", id]);
  if (described.exitCode !== 0) throw new Error(described.stderr);
  return {
    detail,
    code: detail.result?.["error_code"] ?? "",
    told: inOneLine(described.stdout),
    object: (name) => detail.result?.resource_status?.find((one) => one.name === name),
  };
}

export interface Workload {
  readonly namespace: string;
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly replicas?: number;
  readonly container?: Readonly<Record<string, unknown>>;
  readonly spec?: Readonly<Record<string, unknown>>;
}

export function deployment({ namespace, name = "web", labels = {}, replicas = 1, container = {}, spec = {} }: Workload): unknown {
  const own = { app: name };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace },
    spec: {
      replicas,
      selector: { matchLabels: own },
      template: {
        metadata: { labels: { ...own, ...labels } },
        spec: { containers: [{ name: "main", image: "registry.example/shop:7", ...container }] },
      },
      ...spec,
    },
  };
}

export function configMap(namespace: string, name: string, data: Readonly<Record<string, string>> = { a: "1" }): unknown {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace }, data };
}
