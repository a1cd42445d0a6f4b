import * as v from "valibot";
import { TransporterError, messageOf, type Ports, childEnvironment } from "../../kit/mod.ts";
import { boundedText } from "../http/bounded.ts";

/** The `exec` entry of a kubeconfig's user. Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins */
const ExecConfigSchema = v.looseObject({
  apiVersion: v.optional(v.string()),
  command: v.pipe(v.string(), v.minLength(1)),
  args: v.nullish(v.array(v.string())),
  env: v.nullish(v.array(v.object({ name: v.string(), value: v.string() }))),
  provideClusterInfo: v.nullish(v.boolean()),
  installHint: v.nullish(v.string()),
});

const ExecCredentialSchema = v.looseObject({
  kind: v.literal("ExecCredential"),
  status: v.object({
    token: v.nullish(v.string()),
    clientCertificateData: v.nullish(v.string()),
    clientKeyData: v.nullish(v.string()),
    expirationTimestamp: v.nullish(v.string()),
  }),
});

export interface ExecCredential {
  readonly token: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

export interface ExecPluginOptions {
  /** For people: which user of which file asks for it. */
  readonly source: string;
  /** Relative commands with a slash are looked up from here, as kubectl does. */
  readonly directory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cluster: Readonly<Record<string, unknown>>;
  readonly ports: Ports;
}

const TIMEOUT_MS = 60_000;
/** A token or a certificate with its key is a few kilobytes. */
const MAX_OUTPUT_BYTES = 1024 * 1024;
/** Renewed this long before the end, so that no request leaves with a credential that dies on the way. */
const MARGIN_MS = 10_000;

/** Runs the credential plugin that the operator's own kubeconfig names, and remembers its answer until that expires. */
export class ExecPlugin {
  readonly #config: v.InferOutput<typeof ExecConfigSchema>;
  readonly #options: ExecPluginOptions;
  #current: { readonly credential: ExecCredential; readonly expiresAtMs: number } | undefined;
  #running: Promise<ExecCredential> | undefined;

  constructor(config: unknown, options: ExecPluginOptions) {
    const checked = v.safeParse(ExecConfigSchema, config);
    if (!checked.success)
      throw new TransporterError("KUBE_CONFIG_INVALID", `${options.source}: its exec entry is not usable: ${checked.issues[0].message}`);
    this.#config = checked.output;
    this.#options = options;
  }

  forget(): void {
    this.#current = undefined;
  }

  async credential(): Promise<ExecCredential> {
    if (this.#current !== undefined && this.#options.ports.clock.now() < this.#current.expiresAtMs - MARGIN_MS)
      return this.#current.credential;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #run(): Promise<ExecCredential> {
    const { command, args, env } = this.#config;
    const { source } = this.#options;
    const answer = v.safeParse(ExecCredentialSchema, await this.#spawn([command, ...(args ?? [])], env ?? []));
    if (!answer.success)
      throw new TransporterError(
        "KUBE_CONFIG_INVALID",
        `${source}: ${command} did not print an ExecCredential: ${answer.issues[0].message}`,
      );
    const { token, clientCertificateData, clientKeyData, expirationTimestamp } = answer.output.status;
    const credential: ExecCredential = {
      token: token ?? undefined,
      cert: clientCertificateData ?? undefined,
      key: clientKeyData ?? undefined,
    };
    if (credential.token === undefined && credential.cert === undefined)
      throw new TransporterError("KUBE_CONFIG_INVALID", `${source}: ${command} gave neither a token nor a certificate`);
    const expiresAtMs = expirationTimestamp === null || expirationTimestamp === undefined ? Infinity : Date.parse(expirationTimestamp);
    this.#current = { credential, expiresAtMs: Number.isNaN(expiresAtMs) ? Infinity : expiresAtMs };
    return credential;
  }

  #environment(extra: readonly { readonly name: string; readonly value: string }[]): Record<string, string> {
    const environment = childEnvironment(this.#options.env);
    for (const { name, value } of extra) environment[name] = value;
    environment["KUBERNETES_EXEC_INFO"] = JSON.stringify({
      apiVersion: this.#config.apiVersion ?? "client.authentication.k8s.io/v1",
      kind: "ExecCredential",
      spec: { interactive: false, ...(this.#config.provideClusterInfo === true ? { cluster: this.#options.cluster } : {}) },
    });
    return environment;
  }

  async #spawn(argv: string[], extra: readonly { readonly name: string; readonly value: string }[]): Promise<unknown> {
    const { source, ports, directory } = this.#options;
    const hint = this.#config.installHint ?? undefined;
    const fail = (what: string, cause?: unknown): TransporterError =>
      new TransporterError("KUBE_CONFIG_INVALID", `${source}: credential plugin ${argv[0]} ${what}`, {
        cause,
        ...(hint === undefined ? {} : { remedy: hint }),
      });
    let child: Bun.Subprocess<"ignore", "pipe", "pipe">;
    try {
      child = Bun.spawn(argv, {
        cwd: directory,
        env: this.#environment(extra),
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
        // Its own process group, so that the time limit also ends what the plugin started.
        detached: true,
      });
    } catch (cause) {
      throw fail(`cannot be started: ${messageOf(cause)}`, cause);
    }
    let late = false;
    const timer = ports.timers.after(TIMEOUT_MS, () => {
      late = true;
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        child.kill("SIGKILL");
      }
    });
    try {
      const [out, err, code] = await Promise.all([
        boundedText(child.stdout, MAX_OUTPUT_BYTES),
        boundedText(child.stderr, MAX_OUTPUT_BYTES),
        child.exited,
      ]).catch((cause: unknown) => {
        child.kill("SIGKILL");
        throw fail("printed more than a credential can be", cause);
      });
      if (late) throw fail(`did not answer within ${TIMEOUT_MS / 1000} s`);
      if (code !== 0) throw fail(`ended with code ${code}: ${err.trim().slice(0, 500)}`);
      try {
        return JSON.parse(out) as unknown;
      } catch (cause) {
        throw fail("did not print JSON", cause);
      }
    } finally {
      timer.cancel();
    }
  }
}
