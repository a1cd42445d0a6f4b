import type { Cluster, Context, User } from "@kubernetes/client-node";
import { readFile } from "node:fs/promises";
import { delimiter, dirname, isAbsolute, join } from "node:path";
import { TransporterError, messageOf } from "../../kit/mod.ts";
import { type ActingIdentity, identityProblem } from "../../protocol/mod.ts";
import type { KubeAccess, KubeAccessOptions, KubeCredentials, KubeTls } from "./access.ts";
import { CachedFile } from "./cached-file.ts";
import { ExecPlugin } from "./exec-plugin.ts";
import { isRecord, textOf } from "../http/json.ts";

interface Entry<T> {
  readonly value: T;
  readonly file: string;
  /** As written, for what the SDK's types leave out (`tokenFile`, `as-groups`, …). */
  readonly raw: Readonly<Record<string, unknown>>;
}

interface LoadedConfig {
  readonly files: readonly string[];
  readonly current: string | undefined;
  readonly clusters: ReadonlyMap<string, Entry<Cluster>>;
  readonly users: ReadonlyMap<string, Entry<User>>;
  readonly contexts: ReadonlyMap<string, Entry<Context>>;
}

/** The body of a named entry (`{name, cluster: {…}}`) as written. */
function rawOf(list: unknown, name: string, key: string): Readonly<Record<string, unknown>> {
  if (!Array.isArray(list)) return {};
  const found: unknown = list.find((one: unknown) => isRecord(one) && one["name"] === name);
  const body = isRecord(found) ? found[key] : undefined;
  return isRecord(body) ? body : {};
}

/** Several files merge as kubectl merges them: the first to name an entry, or the current context, wins. */
async function load(files: readonly string[]): Promise<LoadedConfig> {
  // Only the SDK's reader of the format: its index also loads every API model, which costs the agent tens of megabytes.
  const [{ newClusters, newContexts, newUsers }, { parse }] = await Promise.all([
    import("@kubernetes/client-node/dist/config_types.js"),
    import("yaml"),
  ]);
  const clusters = new Map<string, Entry<Cluster>>();
  const users = new Map<string, Entry<User>>();
  const contexts = new Map<string, Entry<Context>>();
  let current: string | undefined;
  for (const file of files) {
    let root: unknown;
    try {
      root = parse(await readFile(file, "utf8")) as unknown;
    } catch (cause) {
      throw new TransporterError("KUBE_CONFIG_INVALID", `kubeconfig ${file} cannot be read: ${messageOf(cause).split("\n")[0] ?? ""}`, {
        cause,
      });
    }
    if (!isRecord(root)) throw new TransporterError("KUBE_CONFIG_INVALID", `kubeconfig ${file} is not a mapping`);
    const add = <T extends { readonly name: string }>(into: Map<string, Entry<T>>, values: readonly T[], list: unknown, key: string) => {
      for (const value of values) if (!into.has(value.name)) into.set(value.name, { value, file, raw: rawOf(list, value.name, key) });
    };
    try {
      add(clusters, newClusters(root["clusters"]), root["clusters"], "cluster");
      add(users, newUsers(root["users"]), root["users"], "user");
      add(contexts, newContexts(root["contexts"]), root["contexts"], "context");
    } catch (cause) {
      throw new TransporterError("KUBE_CONFIG_INVALID", `kubeconfig ${file}: ${messageOf(cause)}`, { cause });
    }
    current ??= textOf(root["current-context"]) || undefined;
  }
  return { files, current, clusters, users, contexts };
}

function absolute(path: string, file: string): string {
  return isAbsolute(path) ? path : join(dirname(file), path);
}

type Part = () => Promise<string | undefined>;

/** A PEM that stands in the kubeconfig itself (base64) or in a file beside it, which may rotate. */
function pem(data: string | undefined, path: string | undefined, file: string, cached: CachedFile[], monotonic: () => number): Part {
  // As in kubectl, data wins over a path.
  if (data !== undefined && data !== "") {
    const text = Buffer.from(data, "base64").toString("utf8");
    return async () => text;
  }
  if (path === undefined || path === "") return async () => undefined;
  const watched = new CachedFile(absolute(path, file), monotonic);
  cached.push(watched);
  return () => watched.read();
}

function pick<T>(entries: ReadonlyMap<string, Entry<T>>, name: string, what: string, config: LoadedConfig): Entry<T> {
  const found = entries.get(name);
  if (found !== undefined) return found;
  const known = [...entries.keys()].map((one) => JSON.stringify(one)).join(", ") || "none";
  throw new TransporterError(
    "KUBE_CONFIG_INVALID",
    `kubeconfig ${config.files.join(", ")} has no ${what} ${JSON.stringify(name)}; it has: ${known}`,
    { details: { available: [...entries.keys()] } },
  );
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}

/** `as` and its kin, all of them: an identity of which a part is left out is somebody else. */
function impersonation(user: Entry<User>): ActingIdentity | undefined {
  const name = textOf(user.raw["as"]) ?? "";
  const uid = textOf(user.raw["as-uid"]) ?? "";
  const groups = texts(user.raw["as-groups"]);
  const extra = isRecord(user.raw["as-user-extra"]) ? user.raw["as-user-extra"] : {};
  if (name === "") {
    if (uid === "" && groups.length === 0 && Object.keys(extra).length === 0) return undefined;
    throw new TransporterError(
      "KUBE_CONFIG_INVALID",
      `user ${user.value.name} of ${user.file}: as-groups, as-uid or as-user-extra without as`,
    );
  }
  const identity: ActingIdentity = {
    user: name,
    groups,
    uid: uid === "" ? undefined : uid,
    extra: Object.fromEntries(Object.entries(extra).map(([key, values]) => [key, texts(values)])),
  };
  const problem = identityProblem(identity);
  if (problem === undefined) return identity;
  throw new TransporterError("KUBE_CONFIG_INVALID", `user ${user.value.name} of ${user.file} cannot act as somebody else: ${problem}`);
}

/** The bearer token of a user: in the file, in a file beside it, or the id token of the legacy OIDC provider. */
function bearer(user: Entry<User>, cached: CachedFile[], monotonic: () => number): Part {
  const path = textOf(user.raw["tokenFile"]) ?? textOf(user.raw["token-file"]);
  if (path !== undefined && path !== "") {
    const watched = new CachedFile(absolute(path, user.file), monotonic);
    cached.push(watched);
    return async () => (await watched.read()).trim();
  }
  const token = textOf(user.raw["token"]);
  if (token !== undefined && token !== "") return async () => token;
  const provider = user.raw["auth-provider"];
  if (isRecord(provider)) {
    const settings = isRecord(provider["config"]) ? provider["config"] : {};
    const idToken = textOf(settings["id-token"]);
    if (provider["name"] === "oidc" && idToken !== undefined) return async () => idToken;
    throw new TransporterError(
      "KUBE_CONFIG_INVALID",
      `user ${user.value.name} of ${user.file}: auth-provider ${JSON.stringify(provider["name"])} is not supported`,
      { remedy: "Use an exec plugin, a token or a client certificate for this user." },
    );
  }
  return async () => undefined;
}

/** Access by a context of a kubeconfig. Throws KUBE_CONFIG_INVALID that names the file, the context and what there is. */
export async function kubeconfigAccess(options: KubeAccessOptions & { readonly kubeconfig: string }): Promise<KubeAccess> {
  const config = await load(options.kubeconfig.split(delimiter).filter((file) => file !== ""));
  const contextName = options.context ?? config.current;
  if (contextName === undefined)
    throw new TransporterError(
      "KUBE_CONFIG_INVALID",
      `kubeconfig ${config.files.join(", ")} has no current context; it has: ${[...config.contexts.keys()].map((one) => JSON.stringify(one)).join(", ") || "none"}`,
      { remedy: "Name one with --context." },
    );
  const context = pick(config.contexts, contextName, "context", config).value;
  const cluster = pick(config.clusters, context.cluster, "cluster", config);
  const user = context.user === "" || context.user === undefined ? undefined : pick(config.users, context.user, "user", config);
  const monotonic = (): number => options.ports.clock.monotonic();
  const cached: CachedFile[] = [];
  const ca = pem(cluster.value.caData, cluster.value.caFile, cluster.file, cached, monotonic);
  const cert = pem(user?.value.certData, user?.value.certFile, user?.file ?? cluster.file, cached, monotonic);
  const key = pem(user?.value.keyData, user?.value.keyFile, user?.file ?? cluster.file, cached, monotonic);
  const token: Part = user === undefined || isRecord(user.raw["exec"]) ? async () => undefined : bearer(user, cached, monotonic);
  const basic =
    user?.value.username === undefined || user.value.username === null
      ? undefined
      : `Basic ${Buffer.from(`${user.value.username}:${user.value.password ?? ""}`).toString("base64")}`;
  const identity = user === undefined ? undefined : impersonation(user);
  const exec =
    user !== undefined && isRecord(user.raw["exec"])
      ? new ExecPlugin(user.raw["exec"], {
          source: `user ${user.value.name} of ${user.file}`,
          directory: dirname(user.file),
          env: options.env ?? {},
          cluster: cluster.raw,
          ports: options.ports,
        })
      : undefined;
  let tls: KubeTls | undefined;
  const rotate = (next: KubeTls): KubeTls => {
    if (tls === undefined || tls.ca !== next.ca || tls.cert !== next.cert || tls.key !== next.key) tls = next;
    return tls;
  };
  return {
    server: cluster.value.server,
    source: `context ${contextName} of ${config.files.join(", ")}`,
    namespace: options.namespace ?? context.namespace,
    proxy: cluster.value.proxyUrl,
    ...(identity === undefined ? {} : { identity }),
    async credentials(): Promise<KubeCredentials> {
      const [root, ownCert, ownKey, bearerToken, plugin] = await Promise.all([ca(), cert(), key(), token(), exec?.credential()]);
      const given = bearerToken ?? plugin?.token;
      const authorization = given === undefined ? basic : `Bearer ${given}`;
      const clientCert = plugin?.cert ?? ownCert;
      const clientKey = plugin?.key ?? ownKey;
      const serverName = cluster.value.tlsServerName;
      return {
        headers: authorization === undefined ? {} : { authorization },
        tls: rotate({
          ...(root === undefined ? {} : { ca: root }),
          ...(clientCert === undefined ? {} : { cert: clientCert }),
          ...(clientKey === undefined ? {} : { key: clientKey }),
          ...(serverName === undefined ? {} : { serverName }),
          rejectUnauthorized: !cluster.value.skipTLSVerify,
        }),
      };
    },
    reload(): void {
      for (const file of cached) file.forget();
      exec?.forget();
    },
  };
}
