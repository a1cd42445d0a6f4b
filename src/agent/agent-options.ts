import { type Logger, type Ports, TransporterError } from "../kit/mod.ts";
import { createKubeClient, type KubeAccessOptions, type KubeClient, loadKubeAccess } from "../k8s/mod.ts";
import type { Dialer, ProxyEnv } from "../net/mod.ts";
import type { Credit } from "../protocol/mod.ts";
import type { LinkState } from "./connection.ts";
import type { ExecutorOptions } from "./executor.ts";
import type { AgentIdentityOptions } from "./identity-setup.ts";
import type { Ledger } from "./ledger.ts";
import type { Parsing } from "./off-loop.ts";
import type { AgentIdentity } from "./registration.ts";
import type { Runners } from "./script.ts";

/** How the agent gets at its cluster. */
export type ClusterSource =
  | { readonly access: Omit<KubeAccessOptions, "ports"> }
  | { readonly client: () => KubeClient | Promise<KubeClient> }
  /** In place of Kubernetes, for the simulation. */
  | { readonly resources: ExecutorOptions["resources"] };

export interface AgentOptions extends AgentIdentity {
  /** ws:// or wss://, for example ws://localhost:8080/ws. At least one; several are control planes of one installation, any of which will do. */
  readonly cpUrls: readonly string[];
  /** Certificate authorities to trust instead of the system's. */
  readonly caPem?: string;
  readonly insecureTls?: boolean;
  /** Undefined: it shows nobody who it is. Where there is neither an identity nor a token to get one, it does not either. */
  readonly identity?: AgentIdentityOptions;
  /** HTTPS_PROXY and its kin, as the composition root read them. */
  readonly proxyEnv: ProxyEnv;
  readonly heartbeatIntervalMs?: number;
  /** Where the ledger lies. Undefined: it is kept in memory, and a restart forgets what was accepted. */
  readonly stateDir: string | undefined;
  /** What `transporter healthcheck agent` reads. Undefined: nothing is written. */
  readonly healthFile?: string;
  /** Say what would be done, and change nothing. */
  readonly readOnly?: boolean;
  /** Do nothing as the account that it has: an event says who is to do it, or ends. */
  readonly requireImpersonation?: boolean;
  /** Events carried out at the same time. */
  readonly maxConcurrent?: number;
  /** How much it holds that is not finished; 64 deliveries and 64 MiB of what comes with them when absent. */
  readonly hold?: Credit;
  readonly cluster: ClusterSource;
  readonly ports: Ports;
  readonly log: Logger;
  readonly dialer?: Dialer;
  readonly parsing?: Parsing;
  /** In place of one in `stateDir` or in memory, for proofs. The agent closes it. */
  readonly ledger?: Ledger;
  /** Who carries out what is no manifest; needs a ledger that outlives the process, and is left unused without one. */
  readonly runners?: Runners;
}

export interface AgentState {
  readonly link: LinkState;
  /** The control plane that it is connected to, or dials. */
  readonly cpUrl: string;
  /** Since when it is registered there, in milliseconds since the epoch; undefined while it is not. */
  readonly registeredSinceMs: number | undefined;
  /** No events are taken until the ledger can be written again. */
  readonly ledgerFailing: boolean;
  readonly bootId: string;
  /** 0 towards a 0.1 control plane; undefined while not registered. */
  readonly protocol: number | undefined;
  /** How often it has registered. */
  readonly registrations: number;
  /** When anything was last heard from the control plane, in milliseconds since the epoch. */
  readonly lastContactMs: number | undefined;
  readonly running: number;
  readonly waiting: number;
  /** Statuses that the control plane has not acknowledged. */
  readonly unacknowledged: number;
  /** When the agent's certificate ends, in milliseconds since the epoch; undefined where it has none. */
  readonly certificateExpiresAtMs: number | undefined;
}

export interface Agent {
  state(): AgentState;
  /** Takes no new work, lets what runs reach a safe point, tells what there is to tell, says goodbye. At most 10 s. Safe to call often. */
  stop(): Promise<void>;
  /** Resolves when it has stopped. */
  readonly closed: Promise<void>;
  /** Resolves with the error after which it cannot go on: it was to be enrolled, and that was refused. It is still to be stopped. */
  readonly ended: Promise<Error>;
}

/** The client of the agent's cluster, made when first asked for. */
export function clientOf(source: ClusterSource, ports: Ports, log: Logger): () => Promise<KubeClient> {
  let client: Promise<KubeClient> | undefined;
  const make = async (): Promise<KubeClient> => {
    if ("client" in source) return source.client();
    if ("access" in source) return createKubeClient(await loadKubeAccess({ ...source.access, ports }), { ports, log });
    throw new TransporterError("KUBE_CONFIG_INVALID", "there is no cluster");
  };
  return () => (client ??= make());
}
