/** Names and values of the journey: pure, so that they can be read beside the charts. */

export type Values = Readonly<Record<string, unknown>>;

export const SYSTEM = "transporter-system";
/** The namespace that the agent is let work in. */
export const SHOP = "shop";
export const AGENT_ID = "edge-1";
/** An agent of 0.1 that never enrolled. */
export const LEGACY_AGENT_ID = "old-1";
export const PORTS = { websocket: 30080, https: 30081, agents: 30443 } as const;
/** As 0.1's clusters had them: Memphis' page and broker. And NATS, which 0.1 did not have. */
export const QUEUE_PORTS = { memphisPage: 30090, memphis: 30666, nats: 30422 } as const;
export const ENROLMENT_SECRET = "edge-1-enrolment";
/** In both clusters: a token with which `helm test` may send events to the one agent. */
export const TEST_TOKEN_SECRET = "helm-test-token";

export interface Image {
  readonly repository: string;
  readonly tag: string;
}

export function splitImage(reference: string): Image {
  const colon = reference.lastIndexOf(":");
  if (colon <= reference.lastIndexOf("/")) throw new Error(`the image's name has no tag: ${reference}`);
  return { repository: reference.slice(0, colon), tag: reference.slice(colon + 1) };
}

/** Of two trees the second goes over the first; lists are taken whole. */
export function merged(base: Values, over: Values): Values {
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const before = result[key];
    result[key] = isTree(before) && isTree(value) ? merged(before, value) : value;
  }
  return result;
}

function isTree(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Never pulled: what runs is what was built here, or nothing. */
function imageValues(image: string): Values {
  return { image: { ...splitImage(image), pullPolicy: "Never" } };
}

/** The control plane's chart as somebody installs it who wants agents of other clusters to reach it by NodePort. */
export function cpValues(image: string, nodeAddress: string, over: Values = {}): Values {
  return merged(
    {
      ...imageValues(image),
      service: { type: "NodePort", nodePort: PORTS.websocket, httpsNodePort: PORTS.https, agentsNodePort: PORTS.agents },
      security: { names: [nodeAddress, "127.0.0.1"], agentsURL: `wss://${nodeAddress}:${PORTS.agents}/ws` },
      persistence: { size: "64Mi" },
    },
    over,
  );
}

/** The agent's chart; the preset is left to the caller where it is not the default. */
export function agentValues(image: string, cpAddress: string, caHash: string, over: Values = {}): Values {
  return merged(
    {
      ...imageValues(image),
      agent: {
        agentID: AGENT_ID,
        clusterName: "agent-cluster",
        cpURL: `https://${cpAddress}:${PORTS.websocket}`,
        caHash,
        heartbeatInterval: "2s",
      },
      enrolment: { existingSecret: ENROLMENT_SECRET, key: "token" },
      tests: { tokenSecret: TEST_TOKEN_SECRET },
      // Asked more often than by default: the journey waits for every change.
      probes: { readiness: { periodSeconds: 1 } },
      persistence: { size: "64Mi" },
    },
    over,
  );
}
