import type { Cluster } from "../../sandbox/mod.ts";

const NAME = "crash-proof";
const PATH = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/** Objects with this label pass an admission webhook that nobody answers, while it is switched on: what can heal, and does. */
export const HOOK_LABEL = { "crash-proof/hook": "down" } as const;

/** Switches that webhook on and off, each for a little more than a second. */
export class HookSwitch implements AsyncDisposable {
  readonly #kube: Cluster;
  #stopped = false;
  #running: Promise<void> | undefined;

  constructor(kube: Cluster) {
    this.#kube = kube;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Leaves it off. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#kube.request("POST", PATH, {
        apiVersion: "admissionregistration.k8s.io/v1",
        kind: "ValidatingWebhookConfiguration",
        metadata: { name: NAME },
        webhooks: [
          {
            name: "down.crash-proof.example",
            admissionReviewVersions: ["v1"],
            sideEffects: "None",
            timeoutSeconds: 1,
            failurePolicy: "Fail",
            clientConfig: { url: "https://127.0.0.1:1/nobody" },
            objectSelector: { matchLabels: HOOK_LABEL },
            rules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE", "UPDATE"], resources: ["configmaps"] }],
          },
        ],
      });
      await this.#pause(1500);
      await this.#kube.request("DELETE", `${PATH}/${NAME}`);
      await this.#pause(1200);
    }
  }

  async #pause(ms: number): Promise<void> {
    const untilMs = performance.now() + ms;
    while (!this.#stopped && performance.now() < untilMs) await Bun.sleep(50);
  }
}
