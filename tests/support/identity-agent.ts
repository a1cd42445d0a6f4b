import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AgentIdentityOptions, AgentOptions } from "../../src/agent/mod.ts";
import { eventually } from "./eventually.ts";
import { MapCluster, startTestAgent, type TestAgent } from "./agent.ts";

/** A directory that is gone with the test. */
export async function freshDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "transporter-identity-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export interface IdentityAgentOptions extends Partial<Omit<AgentOptions, "identity" | "cpUrls" | "id">> {
  readonly id: string;
  readonly directory: string;
  /** `https://…` of the API, and `wss://…` of the agents' listener. */
  readonly cp: { readonly url: string; readonly agentsUrl: string };
  readonly token?: string | (() => Promise<string | undefined>);
  readonly identity?: Partial<AgentIdentityOptions>;
  readonly cluster?: AgentOptions["cluster"];
}

/** An agent in this process that has an identity in this directory, or gets one with the token. */
export function startIdentityAgent(options: IdentityAgentOptions): Promise<TestAgent> {
  const { cp, directory, token, identity, cluster, ...rest } = options;
  return startTestAgent({
    name: options.id,
    ...rest,
    cluster: cluster ?? { resources: new MapCluster().resources },
    cpUrl: cp.agentsUrl,
    identity: {
      home: { directory },
      apiUrls: [cp.url],
      agentUrls: [],
      guessedUrls: [cp.agentsUrl],
      token: typeof token === "function" ? token : () => Promise.resolve(token),
      ...identity,
    },
  });
}

export function registered({ agent }: TestAgent, times = 1): Promise<unknown> {
  return eventually(() => agent.state().link === "registered" && agent.state().registrations >= times, {
    what: `registration ${times}`,
    timeoutMs: 15_000,
  });
}
