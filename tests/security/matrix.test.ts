/**
 * Who may do what: every route of the OpenAPI document, asked by nobody and by every role, of an agent of their own and of another's. What
 * comes of it stands in a table written by hand, so that a route that is added without a word about who may call it fails.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { CreatedToken, EnrolmentAnswer, EnrolmentView } from "../../src/protocol/mod.ts";
import { makeCsr, makeKey } from "../../src/security/mod.ts";
import { anEvent } from "../support/cp.ts";
import type { EnrolledAgent } from "../support/secure-agent.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";
import { anAgent } from "../support/store-inputs.ts";

/** `mine` is of the scope of whoever has one, `other` is not. */
type Whose = "mine" | "other";
/** A status; of lists and streams with status 200, whether what is asked for is in it; of `can-i`, what it says. */
type Outcome = number | "shown" | "hidden" | "yes" | "no";
type Role = "viewer" | "producer" | "operator" | "admin" | "agent";
/** With a scope of their own, of another; without a scope, of another. An agent always has a scope. */
type Outcomes = readonly [mine: Outcome, other: Outcome, unscoped: Outcome];

interface Row {
  readonly nobody: Outcome;
  readonly viewer: Outcomes;
  readonly producer: Outcomes;
  readonly operator: Outcomes;
  readonly admin: Outcomes;
  readonly agent: readonly [mine: Outcome, other: Outcome];
  /** What is asked for, made fresh where asking changes it. */
  readonly ask: (whose: Whose) => Asked | Promise<Asked>;
  readonly outcome?: (response: Response, asked: Asked) => Promise<Outcome>;
}

interface Asked {
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** What a list or stream is looked through for. */
  readonly sought?: string;
  /** What comes after it for certain, so that it is known that it does not come. */
  readonly last?: string;
}

let cp: SecureControlPlane;
const scoped: Partial<Record<Role, string>> = {};
const unscoped: Partial<Record<Role, string>> = {};
let counter = 0;

function fresh(whose: Whose): string {
  counter += 1;
  return `${whose}-${counter}`;
}

/** From an address of its own each time: whoever guesses is slowed down, and here everybody does. */
function send(method: string, { path, body, headers }: Asked, token: string | undefined): Promise<Response> {
  counter += 1;
  return cp.fetch(path, {
    method,
    token,
    headers: {
      "x-forwarded-for": `10.${(counter >> 16) & 255}.${(counter >> 8) & 255}.${counter & 255}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

async function asAdmin<T>(method: string, asked: Asked): Promise<T> {
  const response = await send(method, asked, cp.tokens.admin);
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${asked.path} answered ${response.status}: ${text}`);
  return JSON.parse(text) as T;
}

async function anEventOf(whose: Whose): Promise<string> {
  const event = anEvent({ target_agent: fresh(whose) });
  await asAdmin("POST", { path: "/v1/events", body: event });
  return event.id;
}

async function anAgentOf(whose: Whose): Promise<string> {
  const id = fresh(whose);
  await cp.store.importAgent(anAgent(id, { status: "disconnected", connectedAtMs: undefined }));
  return id;
}

async function aTokenOf(whose: Whose): Promise<CreatedToken> {
  return cp.token({ kind: "enrolment", agent: fresh(whose) });
}

async function anEnrolmentOf(whose: Whose): Promise<{ readonly id: string; readonly agentId: string }> {
  const { token, agent = "" } = await aTokenOf(whose);
  const asked = { path: "/v1/enrolments", body: { agent_id: agent, csr: makeCsr(makeKey()) } };
  const { id } = (await (await send("POST", asked, token)).json()) as { readonly id: string };
  return { id, agentId: agent };
}

async function anIdentityOf(whose: Whose): Promise<string> {
  return (await anEnrolledAgent(whose)).agentId;
}

async function anEnrolledAgent(whose: Whose): Promise<EnrolledAgent> {
  const { token, agent = "" } = await aTokenOf(whose);
  const key = makeKey();
  const asked = { path: "/v1/enrolments", body: { agent_id: agent, csr: makeCsr(key) } };
  const { id } = (await (await send("POST", asked, token)).json()) as { readonly id: string };
  await asAdmin<EnrolmentView>("POST", { path: `/v1/enrolments/${id}/approve` });
  const issued = (await (await send("POST", asked, token)).json()) as EnrolmentAnswer;
  const { certificate, trust_bundle: trust, audience } = issued;
  if (certificate === undefined) throw new Error(`the enrolment of ${agent} is ${issued.status}`);
  return { agentId: agent, key, certificate, trust, audience };
}

/** Whether a list shows what is sought, however many pages it has. */
async function listed(response: Response, { path, sought = "" }: Asked, token: string | undefined): Promise<Outcome> {
  let page = response;
  for (;;) {
    if (page.status !== 200) return page.status;
    const text = await page.text();
    if (text.includes(JSON.stringify(sought))) return "shown";
    const { next_cursor: next } = JSON.parse(text) as { readonly next_cursor?: string };
    if (next === undefined) return "hidden";
    page = await send("GET", { path: `${path}${path.includes("?") ? "&" : "?"}cursor=${next}` }, token);
  }
}

/** Whether a stream shows what is sought before what comes last. */
async function streamed(response: Response, { sought = "", last = "" }: Asked): Promise<Outcome> {
  if (response.status !== 200 || response.body === null) return response.status;
  let text = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.includes(JSON.stringify(sought))) return "shown";
    if (text.includes(JSON.stringify(last))) return "hidden";
  }
  throw new Error("the stream ended before what should come last");
}

async function opened(response: Response): Promise<Outcome> {
  await response.body?.cancel();
  return response.status;
}

async function said(response: Response): Promise<Outcome> {
  if (response.status !== 200) return response.status;
  return ((await response.json()) as { readonly allowed: boolean }).allowed ? "yes" : "no";
}

const always = (path: string) => (): Asked => ({ path });
const all = (outcome: Outcome): Omit<Row, "ask"> => ({
  nobody: outcome,
  viewer: [outcome, outcome, outcome],
  producer: [outcome, outcome, outcome],
  operator: [outcome, outcome, outcome],
  admin: [outcome, outcome, outcome],
  agent: [outcome, outcome],
});
const known = (outcome: Outcome): Omit<Row, "ask"> => ({ ...all(outcome), nobody: 401 });
const NONE: Outcomes = [403, 403, 403];
const LISTED: Outcomes = ["shown", "hidden", "shown"];
/** Whoever may at all sees their own. */
const LISTS: Omit<Row, "ask"> = {
  nobody: 401,
  viewer: LISTED,
  producer: LISTED,
  operator: LISTED,
  admin: LISTED,
  agent: ["shown", "hidden"],
};
/** Only who runs the installation, each over their own agents. */
const operators = (outcomes: Outcomes): Omit<Row, "ask"> => ({
  nobody: 401,
  viewer: NONE,
  producer: NONE,
  operator: outcomes,
  admin: outcomes,
  agent: [403, 403],
});
/** Only who may change events. */
const producers = (outcomes: Outcomes): Omit<Row, "ask"> => ({ ...operators(outcomes), producer: outcomes });

const bogus = "AAAA";

/** By method and path as the OpenAPI document has them; what follows a space after that is a case of its own. */
const ROWS: Readonly<Record<string, Row>> = {
  // Events.
  "POST /events": {
    ...producers([202, 403, 202]),
    ask: (whose) => ({ path: "/events", body: anEvent({ target_agent: fresh(whose) }) }),
  },
  "POST /v1/events": {
    ...producers([202, 403, 202]),
    ask: (whose) => ({ path: "/v1/events", body: anEvent({ target_agent: fresh(whose) }) }),
  },
  "GET /v1/events": {
    ...LISTS,
    ask: async (whose) => ({ path: "/v1/events?limit=7", sought: await anEventOf(whose) }),
  },
  "GET /v1/events ?agent=": {
    ...known(200),
    viewer: [200, 403, 200],
    producer: [200, 403, 200],
    operator: [200, 403, 200],
    admin: [200, 403, 200],
    agent: [200, 403],
    ask: (whose) => ({ path: `/v1/events?agent=${fresh(whose)}` }),
  },
  "GET /v1/events/{id}": {
    ...known(200),
    viewer: [200, 404, 200],
    producer: [200, 404, 200],
    operator: [200, 404, 200],
    admin: [200, 404, 200],
    agent: [200, 404],
    ask: async (whose) => ({ path: `/v1/events/${await anEventOf(whose)}` }),
  },
  "GET /v1/events/{id} ?payload=true": {
    ...operators([200, 404, 200]),
    agent: [200, 404],
    ask: async (whose) => ({ path: `/v1/events/${await anEventOf(whose)}?payload=true` }),
  },
  "DELETE /v1/events/{id}": {
    ...producers([200, 404, 200]),
    ask: async (whose) => ({ path: `/v1/events/${await anEventOf(whose)}` }),
  },
  "POST /v1/events/{id}/retry": {
    ...producers([202, 404, 202]),
    ask: async (whose) => {
      const id = await anEventOf(whose);
      await asAdmin("DELETE", { path: `/v1/events/${id}` });
      return { path: `/v1/events/${id}/retry` };
    },
  },
  "GET /v1/events/{id}/stream": {
    ...known(200),
    viewer: [200, 404, 200],
    producer: [200, 404, 200],
    operator: [200, 404, 200],
    admin: [200, 404, 200],
    agent: [200, 404],
    ask: async (whose) => ({ path: `/v1/events/${await anEventOf(whose)}/stream` }),
    outcome: opened,
  },
  "GET /v1/stream": {
    ...LISTS,
    ask: async (whose) => {
      const before = await cp.store.lastSeq();
      const sought = await anEventOf(whose);
      return { path: "/v1/stream", headers: { "last-event-id": String(before) }, sought, last: await anEventOf("mine") };
    },
    outcome: streamed,
  },
  // Agents.
  "GET /v1/agents": {
    ...LISTS,
    ask: async (whose) => ({ path: "/v1/agents?limit=7", sought: await anAgentOf(whose) }),
  },
  "GET /v1/agents/{id}": {
    ...known(200),
    viewer: [200, 403, 200],
    producer: [200, 403, 200],
    operator: [200, 403, 200],
    admin: [200, 403, 200],
    agent: [200, 403],
    ask: async (whose) => ({ path: `/v1/agents/${await anAgentOf(whose)}` }),
  },
  "DELETE /v1/agents/{id}": {
    ...operators([200, 403, 200]),
    ask: async (whose) => ({ path: `/v1/agents/${await anAgentOf(whose)}` }),
  },
  "POST /v1/agents/{id}/pause": {
    ...operators([200, 403, 200]),
    ask: async (whose) => ({ path: `/v1/agents/${await anAgentOf(whose)}/pause` }),
  },
  "POST /v1/agents/{id}/resume": {
    ...operators([200, 403, 200]),
    ask: async (whose) => ({ path: `/v1/agents/${await anAgentOf(whose)}/resume` }),
  },
  // Sockets come by the listener of agents; whoever is asking, here they are sent there.
  "GET /ws": {
    ...all(403),
    ask: () => ({ path: "/ws", headers: { connection: "upgrade", upgrade: "websocket" } }),
  },
  // The control plane itself.
  "GET /livez": { ...all(200), ask: always("/livez") },
  "GET /readyz": { ...all(200), ask: always("/readyz") },
  "GET /readyz ?verbose": { ...known(200), ask: always("/readyz?verbose") },
  "GET /openapi.json": { ...all(200), ask: always("/openapi.json") },
  "GET /health": { ...known(200), ask: always("/health") },
  "GET /metrics": { ...known(200), ask: always("/metrics") },
  "GET /v1/version": { ...known(200), ask: always("/v1/version") },
  "GET /v1/replicas": { ...known(200), ask: always("/v1/replicas") },
  "GET /v1/audit": {
    ...operators(LISTED),
    ask: async (whose) => ({ path: "/v1/audit?limit=50&action=event_received_http", sought: await anEventOf(whose) }),
  },
  // A line that is about no agent is for those who may see all of them.
  "GET /v1/audit about a token": {
    ...operators(["hidden", "hidden", "shown"]),
    ask: async () => ({ path: "/v1/audit?limit=50&action=token_created", sought: (await cp.token({ kind: "user", role: "viewer" })).name }),
  },
  "GET /v1/audit ?agent=": {
    ...operators([200, 403, 200]),
    ask: (whose) => ({ path: `/v1/audit?agent=${fresh(whose)}` }),
  },
  // People.
  "GET /v1/whoami": { ...known(200), ask: always("/v1/whoami") },
  "GET /v1/can-i": {
    ...known("no"),
    producer: ["yes", "no", "yes"],
    operator: ["yes", "no", "yes"],
    admin: ["yes", "no", "yes"],
    ask: (whose) => ({ path: `/v1/can-i?action=events:create&agent=${fresh(whose)}&type=script` }),
    outcome: said,
  },
  "POST /v1/challenges": { ...all(200), ask: always("/v1/challenges") },
  "POST /v1/certificate-logins": {
    ...all(401),
    ask: () => ({ path: "/v1/certificate-logins", body: { nonce: bogus, certificate: bogus, signature: bogus } }),
  },
  "POST /v1/session": { ...known(200), ask: always("/v1/session") },
  "DELETE /v1/session": { ...known(204), ask: always("/v1/session") },
  // Tokens: those that let an agent in are for operators too, those of people for administrators over everything.
  "POST /v1/tokens": {
    ...operators([201, 403, 201]),
    ask: (whose) => ({ path: "/v1/tokens", body: { kind: "enrolment", agent: fresh(whose) } }),
  },
  "POST /v1/tokens of a person": {
    ...operators(NONE),
    admin: [403, 403, 201],
    ask: (whose) => ({ path: "/v1/tokens", body: { kind: "user", role: "viewer", scope: { agents: [fresh(whose)] } } }),
  },
  "GET /v1/tokens": {
    ...operators(LISTED),
    ask: async (whose) => ({ path: "/v1/tokens?limit=7", sought: (await aTokenOf(whose)).id }),
  },
  "GET /v1/tokens of a person": {
    ...operators(["hidden", "hidden", "hidden"]),
    admin: ["hidden", "hidden", "shown"],
    ask: async () => ({ path: "/v1/tokens?limit=7", sought: (await cp.token({ kind: "user", role: "viewer" })).id }),
  },
  "GET /v1/tokens ?kind=user": {
    ...operators(["hidden", "hidden", "hidden"]),
    admin: ["hidden", "hidden", "shown"],
    ask: async () => ({ path: "/v1/tokens?limit=7&kind=user", sought: (await cp.token({ kind: "user", role: "viewer" })).id }),
  },
  "GET /v1/tokens/{id}": {
    ...operators([200, 404, 200]),
    ask: async (whose) => ({ path: `/v1/tokens/${(await aTokenOf(whose)).id}` }),
  },
  "GET /v1/tokens/{id} of a person": {
    ...operators([404, 404, 404]),
    admin: [404, 404, 200],
    ask: async () => ({ path: `/v1/tokens/${(await cp.token({ kind: "user", role: "viewer" })).id}` }),
  },
  "DELETE /v1/tokens/{id}": {
    ...operators([200, 404, 200]),
    ask: async (whose) => ({ path: `/v1/tokens/${(await aTokenOf(whose)).id}` }),
  },
  "DELETE /v1/tokens/{id} of a person": {
    ...operators([404, 404, 404]),
    admin: [404, 404, 200],
    ask: async () => ({ path: `/v1/tokens/${(await cp.token({ kind: "user", role: "viewer" })).id}` }),
  },
  // Identities. A token of a person is no word for an agent.
  "GET /v1/ca": { ...all(200), ask: always("/v1/ca") },
  "POST /v1/enrolments": {
    ...known(403),
    ask: (whose) => ({ path: "/v1/enrolments", body: { agent_id: fresh(whose), csr: makeCsr(makeKey()) } }),
  },
  "POST /v1/enrolments/renew": {
    ...all(403),
    ask: () => ({ path: "/v1/enrolments/renew", body: { certificate: bogus, csr: makeCsr(makeKey()), signature: bogus } }),
  },
  "GET /v1/enrolments": {
    ...operators(LISTED),
    ask: async (whose) => ({ path: "/v1/enrolments", sought: (await anEnrolmentOf(whose)).id }),
  },
  "POST /v1/enrolments/{id}/approve": {
    ...operators([200, 404, 200]),
    ask: async (whose) => ({ path: `/v1/enrolments/${(await anEnrolmentOf(whose)).id}/approve` }),
  },
  "POST /v1/enrolments/{id}/deny": {
    ...operators([200, 404, 200]),
    ask: async (whose) => ({ path: `/v1/enrolments/${(await anEnrolmentOf(whose)).id}/deny` }),
  },
  "GET /v1/identities": {
    ...LISTS,
    ask: async (whose) => ({ path: "/v1/identities?limit=3", sought: await anIdentityOf(whose) }),
  },
  "GET /v1/identities/{id}": {
    ...known(200),
    viewer: [200, 403, 200],
    producer: [200, 403, 200],
    operator: [200, 403, 200],
    admin: [200, 403, 200],
    agent: [200, 403],
    ask: async (whose) => ({ path: `/v1/identities/${await anIdentityOf(whose)}` }),
  },
  "POST /v1/identities/{id}/revoke": {
    ...operators([200, 403, 200]),
    ask: async (whose) => ({ path: `/v1/identities/${await anIdentityOf(whose)}/revoke` }),
  },
};

const METHODS: ReadonlySet<string> = new Set(["get", "post", "put", "patch", "delete"]);

beforeAll(async () => {
  cp = await startSecureCp({ trustedProxies: ["127.0.0.1"], securityOptions: { approveByHand: true } });
  for (const role of ["viewer", "producer", "operator", "admin", "agent"] as const) {
    scoped[role] = (await cp.token({ kind: "user", name: `${role}-of-mine`, role, scope: { agents: ["mine-*"] } })).token;
    unscoped[role] = cp.tokens[role];
  }
}, 30_000);

afterAll(async () => {
  await cp.stop();
});

/** The routes that the control plane says it has, and who may call them. */
async function routes(): Promise<ReadonlyMap<string, string>> {
  const { paths } = await asAdmin<{ readonly paths: Record<string, Record<string, { readonly "x-transporter-access": string }>> }>("GET", {
    path: "/openapi.json",
  });
  return new Map(
    Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([method]) => METHODS.has(method))
        .map(([method, operation]) => [`${method.toUpperCase()} ${path}`, operation["x-transporter-access"]] as const),
    ),
  );
}

function routeOf(name: string): string {
  return name.split(" ").slice(0, 2).join(" ");
}

test("every route has a row, and every row a route", async () => {
  expect([...(await routes()).keys()].toSorted()).toEqual([...new Set(Object.keys(ROWS).map(routeOf))].toSorted());
});

test("the document says of each route what the table says of nobody", async () => {
  const access = await routes();
  const closed = [...access].filter(([, who]) => who !== "public").map(([route]) => route);
  expect(closed.length).toBeGreaterThan(25);
  for (const route of closed) expect([route, ROWS[route]?.nobody]).toEqual([route, 401]);
});

describe.each(Object.entries(ROWS))("%s", (name, row) => {
  const [method = ""] = name.split(" ");
  const ask = async (whose: Whose, token: string | undefined): Promise<Outcome> => {
    const asked = await row.ask(whose);
    const response = await send(method, asked, token);
    if (row.outcome !== undefined) return row.outcome(response, asked);
    if (asked.sought !== undefined) return listed(response, asked, token);
    await response.text();
    return response.status;
  };
  test("is for whom the table says", async () => {
    const is: Record<string, readonly Outcome[]> = {};
    const should: Record<string, readonly Outcome[]> = { nobody: [row.nobody] };
    is["nobody"] = [await ask("other", undefined)];
    for (const role of ["viewer", "producer", "operator", "admin"] as const) {
      is[role] = [await ask("mine", scoped[role]), await ask("other", scoped[role]), await ask("other", unscoped[role])];
      should[role] = row[role];
    }
    is["agent"] = [await ask("mine", scoped.agent), await ask("other", scoped.agent)];
    should["agent"] = row.agent;
    expect(is).toEqual(should);
  }, 30_000);
});

describe("/ws where agents come", () => {
  test("lets an agent in as itself, and as nobody else", async () => {
    const mine = await anEnrolledAgent("mine");
    const other = await anEnrolledAgent("other");
    await using own = await cp.dial(mine);
    await own.frame("trust");
    await using foreign = await cp.dial(mine, { id: other.agentId });
    expect((await foreign.closed).code).toBe(4007);
    expect(JSON.stringify(foreign.frames)).not.toContain("registered");
  });

  test("lets nobody in by a token, whatever its role", async () => {
    for (const token of [undefined, ...Object.values(scoped), ...Object.values(unscoped)]) {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const socket = new WebSocket(cp.agentsUrl, { headers, tls: { ca: cp.ca } });
      const heard: unknown[] = [];
      socket.addEventListener("message", ({ data }) => heard.push(data));
      await new Promise((resolve) => socket.addEventListener("close", resolve));
      expect(heard).toEqual([]);
    }
  });

  test("gives an agent the events that are for it alone", async () => {
    const mine = await anEnrolledAgent("mine");
    const other = await anEnrolledAgent("other");
    await using agent = await cp.dial(mine);
    await using neighbour = await cp.dial(other);
    const event = anEvent({ target_agent: mine.agentId });
    await asAdmin("POST", { path: "/v1/events", body: event });
    await agent.event(event.id);
    expect(neighbour.deliveries(event.id)).toBe(0);
  });
});
