import { type Namespace, uniqueName } from "./kube.ts";
import { type CliOptions, type RunningProcess, startTransporter } from "./process.ts";

const SERVES = /Control plane is listening.*?"address":"127\.0\.0\.1:(\d+)"/;

/** A Secret in a namespace of its own, and an account that may do with it what the chart's may. */
export interface SecretPlace {
  readonly space: Namespace;
  readonly name: string;
  readonly kubeconfig: string;
  /** What a command takes to find it. */
  readonly flags: readonly string[];
  /** What it holds, decoded. */
  entries(): Promise<Record<string, string>>;
  /** As somebody else does. */
  put(entries: Readonly<Record<string, string | null>>): Promise<void>;
}

/** `make`: as the chart makes it, empty. */
export async function secretPlace(
  space: Namespace,
  { make = true, verbs = ["get", "patch"] }: { readonly make?: boolean; readonly verbs?: readonly string[] } = {},
): Promise<SecretPlace> {
  const name = uniqueName("security");
  if (make) await space.kubectl(["create", "secret", "generic", name]);
  const kubeconfig = await space.kubeconfigWith([{ apiGroups: [""], resources: ["secrets"], resourceNames: [name], verbs }]);
  return {
    space,
    name,
    kubeconfig,
    flags: ["--security-secret", name, "--kubeconfig", kubeconfig],
    async entries() {
      const data = (await space.get("secret", name))?.["data"] ?? {};
      return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(String(value), "base64").toString()]));
    },
    async put(entries) {
      const data = Object.fromEntries(
        Object.entries(entries).map(([key, text]) => [key, text === null ? null : Buffer.from(text).toString("base64")]),
      );
      await space.kubectl(["patch", "secret", name, "--type=merge", `--patch=${JSON.stringify({ data })}`]);
    },
  };
}

/** `transporter cp` on free ports of this machine; the store in memory unless `more` says otherwise. */
export function startSecretCp(
  place: Pick<SecretPlace, "flags">,
  more: readonly string[] = [],
  options: CliOptions = {},
): Promise<RunningProcess> {
  const store = more.includes("--store") ? [] : ["--store", "memory:"];
  const agents = more.includes("--agent-port") ? [] : ["--agent-port", "0"];
  const listeners = ["--ws-addr", "127.0.0.1", "--ws-port", "0", "--probe-port", "0", ...agents];
  return startTransporter(["cp", ...listeners, ...store, "--log-format", "json", ...place.flags, ...more], options);
}

/** `https://127.0.0.1:…` as soon as it is there. */
export async function servedAt(cp: RunningProcess): Promise<string> {
  return `https://127.0.0.1:${(await cp.line(SERVES, { timeoutMs: 60_000 }))[1] ?? ""}`;
}
