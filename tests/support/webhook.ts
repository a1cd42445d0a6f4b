import { join } from "node:path";
import { eventually } from "./eventually.ts";
import { type Namespace, uniqueName } from "./kube.ts";

const TLS = join(import.meta.dir, "..", "fixtures", "tls");

export interface Webhook extends AsyncDisposable {
  /** Starts to answer, with yes. */
  up(): Promise<void>;
  /** How often it was asked. */
  readonly asked: number;
}

/** What it answers to a review. */
type Answer = Readonly<Record<string, unknown>>;

async function listen(port: number, answer: () => Answer): Promise<Bun.Server<undefined>> {
  return Bun.serve({
    hostname: "127.0.0.1",
    port,
    tls: { cert: await Bun.file(join(TLS, "server.pem")).text(), key: await Bun.file(join(TLS, "server-key.pem")).text() },
    async fetch(request) {
      const review = (await request.json()) as { request: { uid: string } };
      return Response.json({
        apiVersion: "admission.k8s.io/v1",
        kind: "AdmissionReview",
        response: { uid: review.request.uid, ...answer() },
      });
    },
  });
}

const PATH = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/** Has the API server ask that port about the ConfigMaps of one namespace; resolves when it refuses them for it, with this status. */
async function configure(space: Namespace, name: string, port: number, refusal: number): Promise<void> {
  const { kube } = space;
  const certificate = await Bun.file(join(TLS, "server.pem")).text();
  const made = await kube.request("POST", PATH, {
    metadata: { name },
    webhooks: [
      {
        name,
        clientConfig: { url: `https://127.0.0.1:${port}/`, caBundle: Buffer.from(certificate).toString("base64") },
        rules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE", "UPDATE"], resources: ["configmaps"] }],
        namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": space.name } },
        failurePolicy: "Fail",
        sideEffects: "None",
        timeoutSeconds: 2,
        admissionReviewVersions: ["v1"],
      },
    ],
  });
  if (!made.ok) throw new Error(await made.text());
  const trial = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "trial" } };
  await eventually(
    async () => (await kube.request("POST", `/api/v1/namespaces/${space.name}/configmaps?dryRun=All`, trial)).status === refusal,
    { what: "the webhook's being asked", timeoutMs: 30_000 },
  );
}

/**
 * A validating webhook of one namespace's ConfigMaps that nobody answers yet: the API server refuses every write with 500. Resolves when it does.
 */
export async function webhookThatIsDown(space: Namespace): Promise<Webhook> {
  const name = `${uniqueName("guard")}.transporter.test`;
  let asked = 0;
  const serve = (port: number): Promise<Bun.Server<undefined>> =>
    listen(port, () => {
      asked += 1;
      return { allowed: true };
    });
  // A port that is known to be free, and closed again.
  const probe = await serve(0);
  const port = probe.port ?? 0;
  await probe.stop(true);
  await configure(space, name, port, 500);
  let server: Bun.Server<undefined> | undefined;
  return {
    async up() {
      server = await serve(port);
    },
    get asked() {
      return asked;
    },
    async [Symbol.asyncDispose]() {
      await (await space.kube.request("DELETE", `${PATH}/${name}`)).text();
      await server?.stop(true);
    },
  };
}

/** A validating webhook that says no to every ConfigMap of one namespace, in these words. */
export async function webhookThatRefuses(space: Namespace, message: string): Promise<AsyncDisposable & { readonly name: string }> {
  const name = `${uniqueName("guard")}.transporter.test`;
  const server = await listen(0, () => ({ allowed: false, status: { code: 403, message } }));
  await configure(space, name, server.port ?? 0, 403);
  return {
    name,
    async [Symbol.asyncDispose]() {
      await (await space.kube.request("DELETE", `${PATH}/${name}`)).text();
      await server.stop(true);
    },
  };
}
