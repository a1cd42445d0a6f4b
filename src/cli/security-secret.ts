import { type NamedSecret, type Origin, type Places, SECURITY_SETTINGS, defaultSecurityDirectory, secretOf } from "../config/mod.ts";
import { type Logger, type Ports, TransporterError, silentLogger, toTransporterError } from "../kit/mod.ts";
import type { TrustPlace, TrustVault } from "../security/mod.ts";
import { clusterAccess } from "./cluster-source.ts";
import type { Host } from "./host.ts";

/** The flags that name the cluster of a Secret. */
export const CLUSTER = { kubeconfig: SECURITY_SETTINGS.kubeconfig, "kube-context": SECURITY_SETTINGS["kube-context"] } as const;

export interface ClusterFlags {
  readonly kubeconfig: string | undefined;
  readonly "kube-context": string | undefined;
}

export interface SecretVault extends TrustVault {
  /** Whether the account may do that. */
  may(verb: Verb): Promise<boolean>;
  /** What helps whom it is refused to. */
  remedy(verb: Verb): string;
}

/**
 * The Secret that holds an installation's CA, by the account of the pod, or by a kubeconfig. Asks nobody yet. Throws KUBE_CONFIG_INVALID where
 * there is no cluster to ask.
 */
export async function secretVault(
  secret: NamedSecret,
  flags: ClusterFlags,
  { host, ports, log }: { readonly host: Pick<Host, "env">; readonly ports: Ports; readonly log: Logger },
): Promise<SecretVault> {
  const { createKubeClient, loadKubeAccess, maySecret, readSecret, writeSecret } = await import("../k8s/mod.ts");
  const source = clusterAccess({ inCluster: false, kubeconfig: flags.kubeconfig, context: flags["kube-context"] }, host.env);
  const access = await loadKubeAccess({ ...source, ports });
  const client = createKubeClient(access, { ports, log });
  const name = { namespace: secret.namespace ?? access.namespace ?? "default", name: secret.name };
  const location = `Secret ${name.namespace}/${name.name}`;
  const content = (found: Awaited<ReturnType<typeof readSecret>>) =>
    found === undefined ? undefined : { entries: found.data, version: found.resourceVersion };
  return {
    location,
    may: (verb) => maySecret(client, name, verb),
    remedy: (verb) => remedyOf(name, verb),
    read: async () => content(await readSecret(client, name).catch((error: unknown) => refused(error, name, "get"))),
    write: async (entries, expect) =>
      content(
        await writeSecret(client, name, entries, expect).catch((error: unknown) =>
          refused(error, name, expect === undefined ? "create" : "patch"),
        ),
      ),
  };
}

type Verb = "get" | "patch" | "create";

function remedyOf({ namespace, name }: { readonly namespace: string; readonly name: string }, verb: Verb): string {
  return verb === "create"
    ? `There is none yet, and this account may not make it. Make it empty: kubectl --namespace ${namespace} create secret generic ${name}`
    : `Give the account a Role in ${namespace} with the verbs get and patch on the Secret ${name}: kubectl --namespace ${namespace} create role ${name} --verb get,patch --resource secrets --resource-name ${name}, and a RoleBinding to it.`;
}

/** Says what would help who may not. */
function refused(thrown: unknown, name: { readonly namespace: string; readonly name: string }, verb: Verb): never {
  const error = toTransporterError(thrown);
  if (error.code !== "FORBIDDEN") throw error;
  throw new TransporterError("FORBIDDEN", error.message, { cause: error, details: error.details, remedy: remedyOf(name, verb) });
}

interface PlaceCall {
  readonly values: ClusterFlags & { readonly "security-dir": string | undefined; readonly "security-secret": string | undefined };
  readonly origins: { readonly "security-dir": Origin; readonly "security-secret": Origin };
  readonly places: Places;
  readonly host: Pick<Host, "env">;
  readonly ports: Ports;
}

/** Where the CA lies that a command is about: a directory, or a Secret, which goes first. Throws CONFIG_INVALID where there is no place, or two were named. */
export async function securityPlace({ values, origins, places, host, ports }: PlaceCall): Promise<TrustPlace> {
  const secret = secretOf(values["security-secret"] ?? "");
  if (secret !== undefined) {
    // A control plane's settings name both where it keeps a copy; a flag is about this very call.
    if (origins["security-dir"].from === "flag")
      throw new TransporterError("CONFIG_INVALID", "--security-dir and a Secret: the CA is in one of them", {
        remedy: "Give --security-dir alone, without TRANSPORTER_SECURITY_SECRET in the environment, or --security-secret alone.",
      });
    return secretVault(secret, values, { host, ports, log: silentLogger });
  }
  const directory = values["security-dir"] ?? defaultSecurityDirectory(places);
  if (directory === undefined || directory === "none")
    throw new TransporterError("CONFIG_INVALID", "there is no place for the CA", {
      remedy: "Give --security-dir DIR, or --security-secret [NAMESPACE/]NAME.",
    });
  return directory;
}

/** For people. */
export function placeName(place: TrustPlace): string {
  return typeof place === "string" ? place : place.location;
}
