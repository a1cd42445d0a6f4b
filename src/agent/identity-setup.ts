import { type Logger, type Ports, TransporterError } from "../kit/mod.ts";
import type { KubeClient, SecretName } from "../k8s/mod.ts";
import type { ProxyEnv } from "../net/mod.ts";
import { EnrolmentApi } from "./enrolment-api.ts";
import { IdentityDirectory, type IdentityHome, IdentitySecret } from "./identity-files.ts";
import { IdentityKeeper } from "./identity.ts";

/** How an agent gets and keeps an identity. */
export interface AgentIdentityOptions {
  readonly home: { readonly directory: string } | { readonly secret: SecretName };
  /** http:// or https:// addresses of the control planes' API, without a slash at the end. */
  readonly apiUrls: readonly string[];
  /** ws:// or wss:// addresses that were named as such. */
  readonly agentUrls: readonly string[];
  /** For addresses that were named as the API's: where agents connect if the control plane does not say otherwise. */
  readonly guessedUrls: readonly string[];
  /** `sha256:` and the hex SHA-256 of the SubjectPublicKeyInfo of a CA of the installation. */
  readonly caHash?: string | undefined;
  /** What lets the agent in the first time; asked for whenever it is needed. Throws FILE_UNREADABLE. */
  readonly token: () => Promise<string | undefined>;
}

export interface KeeperParts {
  readonly agentId: string;
  readonly identity: AgentIdentityOptions;
  readonly caPem: string | undefined;
  readonly insecureTls: boolean;
  readonly proxyEnv: ProxyEnv;
  readonly client: () => Promise<KubeClient>;
  readonly ports: Ports;
  readonly log: Logger;
  readonly onChange: () => void;
}

async function homeOf({ identity, client }: KeeperParts): Promise<IdentityHome> {
  const { home } = identity;
  return "directory" in home ? new IdentityDirectory(home.directory) : new IdentitySecret(await client(), home.secret);
}

/** Throws what keeps the cluster from being known where the identity lies in it. */
export async function createKeeper(parts: KeeperParts): Promise<IdentityKeeper> {
  const { agentId, identity, caPem, insecureTls, proxyEnv, ports, log, onChange } = parts;
  return new IdentityKeeper({
    agentId,
    home: await homeOf(parts),
    api: new EnrolmentApi({ urls: identity.apiUrls, proxyEnv, insecureTls }),
    caHash: identity.caHash,
    caPem,
    token: identity.token,
    checked: !insecureTls,
    ports,
    log,
    onChange,
  });
}

/** Where an agent with an identity connects; `told`: what the control plane said. Throws CONFIG_INVALID for an address where everybody could read along. */
export function urlsWithIdentity(options: AgentIdentityOptions, told: readonly string[], insecureTls: boolean): readonly string[] {
  const { agentUrls, guessedUrls } = options;
  // Whoever names only the agents' listener wants that and no other.
  const others = guessedUrls.length === 0 ? [] : told;
  const known = [...new Set([...agentUrls, ...others])];
  const urls = known.length === 0 ? guessedUrls : known;
  const plain = urls.find((url) => !url.startsWith("wss://"));
  if (plain !== undefined && !insecureTls)
    throw new TransporterError("CONFIG_INVALID", `an agent that has an identity connects over TLS only, and not to ${plain}`, {
      remedy:
        "Give --cp-url the control plane's https:// or wss:// address. For one without identities give the agent another --identity-dir; --insecure connects all the same.",
    });
  return urls;
}
