import { type ControlPlane, type ControlPlaneOptions, startControlPlane } from "../../src/cp/mod.ts";
import { type Logger, silentLogger, systemPorts } from "../../src/kit/mod.ts";
import type { Problem } from "../../src/protocol/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";

export interface TestControlPlane extends AsyncDisposable {
  readonly url: string;
  readonly wsUrl: string;
  readonly store: Store;
  stop(): Promise<void>;
  get(path: string, headers?: Record<string, string>): Promise<Response>;
  /** The body as JSON; fails unless the answer has this status. */
  json<T>(path: string, status?: number): Promise<T>;
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  delete(path: string): Promise<Response>;
}

export interface TestControlPlaneOptions extends Partial<ControlPlaneOptions> {
  /** `memory:` by default. */
  readonly storeUrl?: string;
}

/** What `transporter cp` has when nothing is said, on a free port of this machine. */
export const CP_DEFAULTS = {
  host: "127.0.0.1",
  port: 0,
  insecure: false,
  version: { version: "0.0.0-test", commit: "test", protocol: 2, bun: Bun.version, platform: "test" },
  heartbeatTimeoutMs: 30_000,
  eventRetryMax: 3,
  maxEventBytes: 32 * 1024 * 1024,
  maxInFlight: 16,
  retention: { eventsMs: 7 * 86_400_000, auditMs: 30 * 86_400_000 },
  drainMs: 0,
} as const;

/** A control plane in this process, on a free port, with a real store. */
export async function startCp(options: TestControlPlaneOptions = {}): Promise<TestControlPlane> {
  const log: Logger = options.log ?? silentLogger;
  const store = options.store ?? (await openStore(options.storeUrl ?? "memory:", { ports: systemPorts, log }));
  const cp: ControlPlane = await startControlPlane({
    ...CP_DEFAULTS,
    ports: systemPorts,
    ...options,
    store,
    log,
  });
  const get = (path: string, headers: Record<string, string> = {}): Promise<Response> => fetch(cp.url + path, { headers });
  return {
    url: cp.url,
    wsUrl: `${cp.url.replace("http", "ws")}/ws`,
    store,
    stop: () => cp.stop(),
    get,
    async json<T>(path: string, status = 200): Promise<T> {
      const response = await get(path);
      const text = await response.text();
      if (response.status !== status) throw new Error(`GET ${path} answered ${response.status}: ${text}`);
      return JSON.parse(text) as T;
    },
    post: (path, body, headers = { "content-type": "application/json" }) =>
      fetch(cp.url + path, {
        method: "POST",
        body: typeof body === "string" || body instanceof Uint8Array ? (body as string) : JSON.stringify(body),
        headers,
      }),
    delete: (path) => fetch(cp.url + path, { method: "DELETE" }),
    async [Symbol.asyncDispose]() {
      await cp.stop();
    },
  };
}

let counter = 0;

/** A good event, of which parts can be replaced. Every call has an id of its own. */
export function anEvent(parts: Record<string, unknown> = {}): Record<string, unknown> & { id: string; target_agent: string } {
  counter += 1;
  return {
    id: `event-${process.pid}-${counter}`,
    type: "k8s_resource",
    target_agent: "agent-1",
    payload: { manifests: ["apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\n"] },
    created_at: new Date().toISOString(),
    created_by: "test",
    ttl: 3_600_000_000_000,
    priority: 0,
    ...parts,
  };
}

/** The problem of an answer that must be one, with this status. */
export async function problem(response: Response, status: number): Promise<Problem> {
  const text = await response.text();
  if (response.status !== status || response.headers.get("content-type") !== "application/problem+json") {
    throw new Error(`expected a problem with ${status}, got ${response.status} ${response.headers.get("content-type") ?? ""}: ${text}`);
  }
  return JSON.parse(text) as Problem;
}
