import { type AgentOptions } from "../../src/agent/mod.ts";
import { eventFrame, startTestAgent, type TestAgent } from "../support/agent.ts";
import { freshNamespace, type Namespace } from "../support/kube.ts";
import { type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;

/** How an event ended, with what is mostly looked at. */
export interface Ended {
  readonly state: string;
  readonly message: string;
  readonly code: string | undefined;
  /** `deleted ConfigMap settings`, in the event's order. */
  readonly told: readonly string[];
  /** Of each object. */
  readonly messages: readonly string[];
  readonly resources: readonly Json[];
  readonly status: Json;
}

/** A control plane that does what the test says, an agent in this process, and a namespace of a real cluster. */
export interface Operating extends AsyncDisposable {
  readonly space: Namespace;
  readonly cp: ScriptedCp;
  readonly running: TestAgent;
  /** Hands an event to the agent and waits for its end. */
  run(payload: Json, more?: { readonly id?: string; readonly event?: Json }): Promise<Ended>;
  /** Hands it over and does not wait; answers its id. */
  begin(payload: Json, more?: { readonly id?: string; readonly event?: Json }): Promise<string>;
  ended(id: string): Promise<Ended>;
}

export function endingOf(status: Json): Ended {
  const result = (status["result"] ?? {}) as Json;
  const resources = (result["resource_status"] ?? []) as Json[];
  return {
    state: String(status["state"]),
    message: String(status["message"]),
    code: typeof result["error_code"] === "string" ? result["error_code"] : undefined,
    told: resources.map((one) => `${String(one["status"])} ${String(one["kind"])} ${String(one["name"])}`),
    messages: resources.map((one) => (typeof one["message"] === "string" ? one["message"] : "")),
    resources,
    status,
  };
}

/** `kubeconfig`: of an account with fewer rights than the administrator. */
export async function operating(
  options: Partial<AgentOptions> & { readonly kubeconfig?: (space: Namespace) => Promise<string> } = {},
): Promise<Operating> {
  const { kubeconfig, ...agentOptions } = options;
  const space = await freshNamespace();
  const path = kubeconfig === undefined ? space.kube.kubeconfigPath : await kubeconfig(space);
  const cp = await scriptedCp({ protocol: 2 });
  const running = await startTestAgent({ cpUrl: cp.url, cluster: { access: { kubeconfig: path } }, ...agentOptions });
  const begin: Operating["begin"] = async (payload, { id = crypto.randomUUID(), event = {} } = {}) => {
    const { manifests = [], ...rest } = payload;
    (await cp.connection()).send(eventFrame(id, manifests as string[], { payload: rest, event }));
    return id;
  };
  const ended: Operating["ended"] = async (id) => endingOf(await cp.ended(id, 120_000));
  return {
    space,
    cp,
    running,
    begin,
    ended,
    run: async (payload, more) => ended(await begin(payload, more)),
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      await cp[Symbol.asyncDispose]();
      await space[Symbol.asyncDispose]();
    },
  };
}

/** An object as a reference names it. */
export function reference(apiVersion: string, kind: string, name: string, namespace?: string): Json {
  return { api_version: apiVersion, kind, name, ...(namespace === undefined ? {} : { namespace }) };
}

/** A manifest in JSON, which is YAML too. */
export function manifest(object: Json): string {
  return JSON.stringify(object);
}

export function configMapWith(name: string, namespace: string, metadata: Json = {}, data: Json = { value: "x" }): Json {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace, ...metadata }, data };
}
