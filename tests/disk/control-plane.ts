import { type RunningProcess, startTransporter } from "../support/process.ts";

/** `transporter cp` on a store of its own. */
export interface DiskControlPlane extends AsyncDisposable {
  readonly process: RunningProcess;
  readonly url: string;
  readonly wsUrl: string;
}

export async function startOn(storePath: string): Promise<DiskControlPlane> {
  const running = await startTransporter(["cp", "--ws-port", "0", "--log-format", "json", "--store", `sqlite:${storePath}`]);
  const address = (await running.line(/"message":"Control plane is listening","address":"([^"]+)"/))[1] ?? "";
  return {
    process: running,
    url: `http://${address}`,
    wsUrl: `ws://${address}/ws`,
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

export interface Answer {
  readonly id: string;
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

/** Hands in an event of about so many bytes that makes one ConfigMap named like the event. */
export async function handIn(url: string, id: string, agentId: string, bytes = 100): Promise<Answer> {
  const manifest = `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${id}\n  namespace: default\ndata:\n  value: "${"x".repeat(bytes)}"\n`;
  const response = await fetch(`${url}/v1/events`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ id, type: "k8s_resource", target_agent: agentId, payload: { manifests: [manifest] } }),
  });
  return { id, status: response.status, type: response.headers.get("content-type") ?? "", text: await response.text() };
}

export async function stateOf(url: string, id: string): Promise<string | undefined> {
  const response = await fetch(`${url}/v1/events/${id}`);
  const { state } = (await response.json()) as { readonly state?: string };
  return state;
}
