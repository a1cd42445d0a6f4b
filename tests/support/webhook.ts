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

/**
 * A validating webhook of one namespace's ConfigMaps that nobody answers yet: the API server refuses every write with 500. Resolves when it does.
 */
export async function webhookThatIsDown(space: Namespace): Promise<Webhook> {
  const { kube } = space;
  const name = `${uniqueName("guard")}.transporter.test`;
  const certificate = await Bun.file(join(TLS, "server.pem")).text();
  const key = await Bun.file(join(TLS, "server-key.pem")).text();
  let asked = 0;
  const serve = (port: number): Bun.Server<undefined> =>
    Bun.serve({
      hostname: "127.0.0.1",
      port,
      tls: { cert: certificate, key },
      async fetch(request) {
        asked += 1;
        const review = (await request.json()) as { request: { uid: string } };
        return Response.json({
          apiVersion: "admission.k8s.io/v1",
          kind: "AdmissionReview",
          response: { uid: review.request.uid, allowed: true },
        });
      },
    });
  // A port that is known to be free, and closed again.
  const probe = serve(0);
  const port = probe.port ?? 0;
  await probe.stop(true);
  const path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
  const made = await kube.request("POST", path, {
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
    async () => (await kube.request("POST", `/api/v1/namespaces/${space.name}/configmaps?dryRun=All`, trial)).status === 500,
    { what: "the webhook's being asked" },
  );
  let server: Bun.Server<undefined> | undefined;
  return {
    up() {
      server = serve(port);
      return Promise.resolve();
    },
    get asked() {
      return asked;
    },
    async [Symbol.asyncDispose]() {
      await (await kube.request("DELETE", `${path}/${name}`)).text();
      await server?.stop(true);
    },
  };
}
