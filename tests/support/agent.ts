import { type Agent, type AgentOptions, type ResourceSteps, startAgent as start, type StepContext } from "../../src/agent/mod.ts";
import { type LogFields, type Logger, type Ports, systemPorts, TransporterError } from "../../src/kit/mod.ts";
import type { ParsedObject } from "../../src/manifests/mod.ts";
import type { PayloadRef, ResourceStatus } from "../../src/protocol/mod.ts";

export interface LogLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: LogFields;
}

/** A logger that keeps what it is told. */
export function keepingLogger(): { readonly log: Logger; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const make = (base: LogFields): Logger => {
    const at =
      (level: LogLine["level"]) =>
      (message: string, fields: LogFields = {}): void =>
        void lines.push({ level, message, fields: { ...base, ...fields } });
    return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error"), with: (fields) => make({ ...base, ...fields }) };
  };
  return { log: make({}), lines };
}

/** A cluster that is a map, for tests of everything but Kubernetes. Objects named `refused…` are refused. */
export class MapCluster {
  readonly objects = new Map<string, number>();
  /** `start NAME` and `end NAME` of each apply, in the order they happened. */
  readonly history: string[] = [];
  /** Awaited by each apply of this object's name. */
  readonly gates = new Map<string, Promise<void>>();
  /** What verifying waits for. */
  verifying: Promise<void> = Promise.resolve();

  readonly resources = (objects: readonly ParsedObject[], context: StepContext): ResourceSteps => {
    const statuses: ResourceStatus[] = [];
    const gated = async (wait: Promise<void>): Promise<void> => {
      context.signal.throwIfAborted();
      const aborted = Promise.withResolvers<never>();
      const onAbort = (): void => aborted.reject(context.signal.reason as Error);
      context.signal.addEventListener("abort", onAbort, { once: true });
      try {
        await Promise.race([wait, aborted.promise]);
      } finally {
        context.signal.removeEventListener("abort", onAbort);
      }
    };
    const say = (one: ParsedObject, status: string): void => {
      statuses.push({
        kind: one.ref.kind,
        name: one.ref.name,
        api_version: one.object.apiVersion,
        status,
        message: "Resource created successfully",
      });
    };
    return {
      validate: () => Promise.resolve(),
      preview() {
        for (const one of objects) say(one, "would_create");
        return Promise.resolve();
      },
      apply: async () => {
        for (const one of objects) {
          const { name } = one.ref;
          if (name.startsWith("refused"))
            throw new TransporterError("FORBIDDEN", `${one.ref.kind} ${name}: may not`, { details: { object: name } });
          this.history.push(`start ${name}`);
          context.progress(`applying ${name}`);
          await gated(this.gates.get(name) ?? Promise.resolve());
          const had = this.objects.get(name) ?? 0;
          this.objects.set(name, had + 1);
          this.history.push(`end ${name}`);
          say(one, had === 0 ? "created" : "updated");
        }
      },
      verify: () => gated(this.verifying),
      resources: () => statuses,
    };
  };
}

export interface TestAgent extends AsyncDisposable {
  readonly agent: Agent;
  readonly lines: readonly LogLine[];
  /** Messages of a level and above, for people. */
  said(message: string): LogLine[];
}

/** An agent in this process. It has 0.1's identity of the recorded frames. */
export async function startTestAgent({
  cpUrl,
  ...options
}: Partial<Omit<AgentOptions, "cpUrls">> &
  Pick<AgentOptions, "cluster"> & { readonly cpUrl: string | readonly string[] }): Promise<TestAgent> {
  const { log, lines } = keepingLogger();
  const agent = await start({
    id: "agent-cluster-agent-1",
    name: "agent-cluster-agent-1",
    clusterName: "agent-cluster",
    clusterProvider: "kind",
    region: "local",
    namespace: "default",
    labels: {},
    version: "0.1.0",
    hostname: "agent-0",
    proxyEnv: {},
    stateDir: undefined,
    ports: systemPorts,
    log,
    cpUrls: [cpUrl].flat(),
    ...options,
  });
  return {
    agent,
    lines,
    said: (message) => lines.filter((line) => line.message === message),
    async [Symbol.asyncDispose]() {
      await agent.stop();
    },
  };
}

/** An event as a control plane of ours sends it. */
export function eventFrame(
  id: string,
  manifests: readonly string[],
  more: { event?: Record<string, unknown>; frame?: Record<string, unknown>; payload?: Record<string, unknown> } = {},
): Record<string, unknown> {
  return {
    type: "event",
    event: {
      id,
      type: "k8s_resource",
      target_agent: "agent-cluster-agent-1",
      payload: { manifests, ...more.payload },
      created_at: "2026-11-22T02:14:57.027312785Z",
      created_by: "test",
      ttl: 3_600_000_000_000,
      priority: 0,
      ...more.event,
    },
    revision: 1,
    expires_in_ms: 3_600_000,
    ...more.frame,
  };
}

/** The same with its payload apart, to be fetched. */
export function apartFrame(id: string, payload: PayloadRef, more: Parameters<typeof eventFrame>[2] = {}): Record<string, unknown> {
  const frame = eventFrame(id, [], { ...more, frame: { payload, ...more.frame } });
  return { ...frame, event: { ...(frame["event"] as Record<string, unknown>), payload: {} } };
}

/** Text that does not get smaller, so that a payload of it has as many pieces as it has bytes. */
export function noise(bytes: number, seed = 1): string {
  let state = seed;
  const out = Buffer.alloc(Math.ceil((bytes * 3) / 4));
  for (let at = 0; at < out.length; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    out[at] = state >>> 24;
  }
  return out.toString("base64").slice(0, bytes);
}

export function configMap(name: string, namespace = "default", data = "x"): string {
  return `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  namespace: ${namespace}\ndata:\n  value: "${data}"\n`;
}

/** The machine's own ports with time running `factor` times as fast, so that half a minute of silence fits into a test. */
export function fastPorts(factor: number): Ports {
  const { clock, timers } = systemPorts;
  const originMs = clock.now();
  const monotonic = (): number => clock.monotonic() * factor;
  const startedMs = monotonic();
  return {
    ...systemPorts,
    clock: { now: () => originMs + monotonic() - startedMs, monotonic },
    timers: {
      after: (ms, run, options) => timers.after(ms / factor, run, options),
      every: (ms, run, options) => timers.every(ms / factor, run, options),
      soon: (run) => timers.soon(run),
      sleep: (ms, signal) => timers.sleep(ms / factor, signal),
    },
  };
}
