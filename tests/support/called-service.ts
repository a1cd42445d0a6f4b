import type { KubeObject } from "../../src/manifests/mod.ts";
import { makeCertificate, makeTestCa } from "../../src/security/pki/certificates-for-tests.ts";
import { type Namespace, uniqueName } from "./kube.ts";

/** What of a request of the API server's is answered. */
export interface Called {
  readonly method: string;
  readonly path: string;
  readonly body: Record<string, unknown>;
}

export interface CalledService extends AsyncDisposable {
  readonly name: string;
  /** Selects pods with the label `app: NAME`, like any service; the API server reaches it on this machine all the same. */
  readonly manifest: KubeObject;
  /** For the configuration of whatever is to call it. */
  readonly clientConfig: { readonly caBundle: string; readonly service: Readonly<Record<string, unknown>> };
  /** Starts to answer. Before that nobody is there. */
  up(): void;
  readonly calls: readonly Called[];
}

/** A service that the API server can call, answered by this process once it is up. */
export async function calledService(space: Namespace, answer: (call: Called) => unknown, prefix = "called"): Promise<CalledService> {
  const name = uniqueName(prefix);
  const nowMs = Date.now();
  const ca = await makeTestCa(nowMs);
  const names = ["localhost", `${name}.${space.name}.svc`];
  const own = await makeCertificate({ by: ca, fromMs: nowMs - 1_000, untilMs: nowMs + 3_600_000, names, usages: ["1.3.6.1.5.5.7.3.1"] });
  const calls: Called[] = [];
  const serve = (port: number): Bun.Server<undefined> =>
    Bun.serve({
      hostname: "127.0.0.1",
      port,
      tls: { cert: own.pem, key: own.keyPem },
      async fetch(request) {
        const text = await request.text();
        const { pathname } = new URL(request.url);
        const call = { method: request.method, path: pathname, body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>) };
        calls.push(call);
        const body = answer(call);
        return body === undefined ? new Response("none", { status: 404 }) : Response.json(body);
      },
    });
  // A port that is known to be free, and closed again.
  const probe = serve(0);
  const port = probe.port ?? 0;
  await probe.stop(true);
  let server: Bun.Server<undefined> | undefined;
  return {
    name,
    manifest: {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name, namespace: space.name },
      spec: { type: "ExternalName", externalName: "localhost", selector: { app: name }, ports: [{ port, protocol: "TCP" }] },
    },
    clientConfig: { caBundle: Buffer.from(ca.pem).toString("base64"), service: { namespace: space.name, name, port } },
    up() {
      server = serve(port);
    },
    calls,
    async [Symbol.asyncDispose]() {
      await server?.stop(true);
    },
  };
}

/** The uid of an admission or conversion review's request. */
export function reviewOf({ body }: Called): Record<string, unknown> {
  return body["request"] as Record<string, unknown>;
}
