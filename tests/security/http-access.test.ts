import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { BrowserSession, CanI, CreatedToken, EventDetail, Problem, Whoami } from "../../src/protocol/mod.ts";
import { anEvent } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";
import { anAgent } from "../support/store-inputs.ts";

let cp: SecureControlPlane;
let addresses = 0;

beforeAll(async () => {
  cp = await startSecureCp({ trustedProxies: ["127.0.0.1"] });
}, 30_000);

afterAll(async () => {
  await cp.stop();
});

/** An address from which nobody has tried anything yet. */
function freshAddress(): string {
  addresses += 1;
  return `10.0.0.${addresses}`;
}

interface Asking {
  readonly token?: string;
  readonly body?: unknown;
  readonly from?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

function ask(method: string, path: string, { token, body, from = freshAddress(), headers }: Asking = {}): Promise<Response> {
  return cp.fetch(path, {
    method,
    token,
    headers: { "x-forwarded-for": from, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
}

async function codeOf(response: Response): Promise<string> {
  return `${response.status} ${((await response.json()) as Problem).code}`;
}

function user(role: "viewer" | "producer" | "operator" | "admin", scope?: CreatedToken["scope"]): Promise<CreatedToken> {
  return cp.token({ kind: "user", role, ...(scope === undefined ? {} : { scope }) });
}

async function store(id: string, labels: Record<string, string> = {}): Promise<void> {
  await cp.store.importAgent(anAgent(id, { status: "disconnected", connectedAtMs: undefined, registration: { labels } }));
}

describe("whoever is not known", () => {
  test("is told how to show who they are", async () => {
    const answer = await ask("GET", "/v1/whoami");
    expect(answer.headers.get("www-authenticate")).toStartWith("Bearer");
    expect(await codeOf(answer)).toBe("401 UNAUTHENTICATED");
  });

  test("may guess only so often from one address, is told when to come again, and keeps nobody out who is known", async () => {
    const from = freshAddress();
    const wrong = `${cp.tokens.viewer.slice(0, -8)}00000000`;
    let answer = await ask("GET", "/v1/whoami", { token: wrong, from });
    for (let guesses = 1; guesses < 60 && answer.status === 401; guesses += 1)
      answer = await ask("GET", "/v1/whoami", { token: wrong, from });
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
    expect(await codeOf(answer)).toBe("429 TOO_MANY_ATTEMPTS");
    await ask("GET", "/v1/whoami", { token: cp.tokens.viewer });
    expect((await ask("GET", "/v1/whoami", { token: cp.tokens.viewer, from })).status).toBe(200);
  });

  test("does not learn by the method or the path what there is", async () => {
    expect(await codeOf(await ask("GET", "/v1/events/some"))).toBe("401 UNAUTHENTICATED");
    expect((await ask("HEAD", "/v1/agents")).status).toBe(401);
  });
});

test("whoever may not is refused, and that stands in the audit under their name", async () => {
  const { token, name } = await user("viewer");
  const from = freshAddress();
  expect(await codeOf(await ask("POST", "/v1/agents/agent-1/pause", { token, from }))).toBe("403 ACCESS_DENIED");
  const line = await eventually(async () => (await cp.audit("access_refused")).find(({ principal }) => principal === `token:${name}`));
  expect(line).toMatchObject({ remote_address: from, details: { code: "ACCESS_DENIED", request: "POST /v1/agents/:id/pause" } });
});

test("what looks as if it were not there stands in the audit too, and what is not there does not", async () => {
  const event = anEvent({ target_agent: "somebody-elses" });
  await ask("POST", "/events", { token: cp.tokens.admin, body: event });
  const { token, name } = await user("operator", { agents: ["mine-*"] });
  const answers: string[] = [];
  for (const id of ["never-was", event.id]) {
    const answer = (await (await ask("GET", `/v1/events/${id}`, { token })).json()) as Problem;
    answers.push(JSON.stringify({ ...answer, request_id: "" }).replaceAll(id, "ID"));
  }
  expect(answers[0]).toBe(answers[1] ?? "");
  const lines = await eventually(async () => {
    const mine = (await cp.audit("access_refused")).filter(({ principal }) => principal === `token:${name}`);
    return mine.length > 0 ? mine : undefined;
  });
  expect(lines.map(({ details }) => details?.["reason"])).toEqual([`there is no event ${event.id}`]);
});

describe("who somebody is", () => {
  test("is what the token says, and who made an event stays a claim", async () => {
    const { token, name } = await user("producer", { agents: ["claim-*"] });
    const who = (await (await ask("GET", "/v1/whoami", { token })).json()) as Whoami;
    expect(who).toMatchObject({ name: `token:${name}`, role: "producer", via: "token", secured: true, scope: { agents: ["claim-*"] } });
    const event = anEvent({ target_agent: "claim-1", created_by: "token:bootstrap-admin" });
    expect((await ask("POST", "/events", { token, body: event })).status).toBe(202);
    const kept = await cp.json<EventDetail>(`/v1/events/${event.id}`);
    expect(kept).toMatchObject({ principal: `token:${name}`, created_by: "token:bootstrap-admin" });
  });

  test("one Idempotency-Key of two tokens is two events", async () => {
    const headers = { "idempotency-key": "the-same" };
    const ids = new Set<string>();
    for (const { token } of [await user("producer"), await user("producer")]) {
      const answer = await ask("POST", "/v1/events", { token, body: anEvent({ id: undefined }), headers });
      ids.add(((await answer.json()) as { readonly event_id: string }).event_id);
    }
    expect(ids.size).toBe(2);
  });

  test.each([
    ["events:create", "agent=mine-1&type=script", "yes"],
    ["events:create", "agent=mine-1&type=policy", "no"],
    ["events:create", "agent=other", "no"],
    ["events:create", "", "yes"],
    ["events:create", "type=policy", "no"],
    ["agents:read", "agent=mine-1", "yes"],
    ["agents:pause", "agent=mine-1", "no"],
    ["status:read", "", "yes"],
    ["tokens:manage", "", "no"],
  ])("can-i %s %s: %s", async (action, query, answer) => {
    const { token } = await user("producer", { agents: ["mine-*"], event_types: ["script"] });
    const said = (await (await ask("GET", `/v1/can-i?action=${action}&${query}`, { token })).json()) as CanI;
    expect([said.allowed ? "yes" : "no", said.reason]).toEqual([answer, expect.stringContaining(" ")]);
  });

  test("can-i of what nobody can is a question nobody understands", async () => {
    for (const query of ["", "?action=events:everything", "?verb=x"])
      expect(await codeOf(await ask("GET", `/v1/can-i${query}`, { token: cp.tokens.admin }))).toBe("400 INVALID_QUERY");
  });
});

describe("a scope by labels", () => {
  test("decides by what the agent's labels are", async () => {
    await store("l-test", { env: "test" });
    await store("l-prod", { env: "prod" });
    const { token } = await user("operator", { selector: "env=test" });
    expect((await ask("POST", "/v1/agents/l-test/pause", { token })).status).toBe(200);
    expect(await codeOf(await ask("POST", "/v1/agents/l-prod/pause", { token }))).toBe("403 ACCESS_DENIED");
    for (const [agent, allowed] of [
      ["l-test", true],
      ["l-prod", false],
    ] as const) {
      const said = (await (await ask("GET", `/v1/can-i?action=agents:pause&agent=${agent}`, { token })).json()) as CanI;
      expect([agent, said.allowed]).toEqual([agent, allowed]);
    }
    const list = await (await ask("GET", "/v1/agents", { token })).text();
    expect(list).toContain("l-test");
    expect(list).not.toContain("l-prod");
  });

  test("lets nobody take over an agent of other labels by giving it theirs, nor whatever a pattern fits", async () => {
    await store("taken-prod", { env: "prod" });
    const { token } = await user("operator", { selector: "env=test" });
    const make = (agent: string, labels?: Record<string, string>): Promise<Response> =>
      ask("POST", "/v1/tokens", { token, body: { kind: "enrolment", agent, ...(labels === undefined ? {} : { labels }) } });
    expect((await make("brand-new", { env: "test" })).status).toBe(201);
    expect(await codeOf(await make("brand-new", { env: "prod" }))).toBe("403 ACCESS_DENIED");
    expect(await codeOf(await make("brand-new"))).toBe("403 ACCESS_DENIED");
    expect(await codeOf(await make("taken-prod", { env: "test" }))).toBe("403 ACCESS_DENIED");
    expect(await codeOf(await make("taken-*", { env: "test" }))).toBe("403 ACCESS_DENIED");
  });

  test("nor one without any labels, be it connected before or only enrolled", async () => {
    await store("bare-connected");
    await cp.enrol("bare-enrolled");
    const { token } = await user("operator", { selector: "env=test" });
    for (const agent of ["bare-connected", "bare-enrolled"]) {
      const made = await ask("POST", "/v1/tokens", { token, body: { kind: "enrolment", agent, labels: { env: "test" } } });
      expect([agent, await codeOf(made)]).toEqual([agent, "403 ACCESS_DENIED"]);
    }
  });

  test("a scope by types hides events of others, in lists and streams alike, and the lines about them", async () => {
    const script = anEvent({ type: "script", payload: { script: "true" }, target_agent: "typed" });
    const policy = anEvent({ type: "policy", payload: { policy_rules: [{ name: "r", type: "required_label" }] }, target_agent: "typed" });
    const before = await cp.store.lastSeq();
    for (const body of [policy, script]) expect((await ask("POST", "/events", { token: cp.tokens.admin, body })).status).toBe(202);
    const { token } = await user("operator", { event_types: ["script"], agents: ["typed"] });
    for (const path of ["/v1/events", "/v1/audit?action=event_received_http", "/v1/events?agent=typed"]) {
      const text = await (await ask("GET", path, { token })).text();
      expect([path, text.includes(script.id), text.includes(policy.id)]).toEqual([path, true, false]);
    }
    expect(await codeOf(await ask("GET", `/v1/events/${policy.id}`, { token }))).toBe("404 EVENT_NOT_FOUND");
    const stream = await ask("GET", "/v1/stream", { token, headers: { "last-event-id": String(before) } });
    expect(await readUntil(stream, script.id)).not.toContain(policy.id);
  });
});

test("a cursor names no agent that whoever holds it does not see, and leads on", async () => {
  for (const id of ["z-hidden-1", "z-hidden-2", "z-own", "z-hidden-3"]) await store(id);
  const { token } = await user("viewer", { agents: ["z-o*", "y-*"] });
  let cursor = "";
  const seen: string[] = [];
  for (let pages = 0; pages < 50; pages += 1) {
    const page = (await (await ask("GET", `/v1/agents?limit=1${cursor === "" ? "" : `&cursor=${cursor}`}`, { token })).json()) as {
      readonly items: readonly { readonly id: string }[];
      readonly next_cursor?: string;
    };
    seen.push(...page.items.map(({ id }) => id));
    if (page.next_cursor === undefined) break;
    cursor = page.next_cursor;
    expect(Buffer.from(cursor, "base64url").toString("latin1")).not.toMatch(/hidden/);
  }
  expect(seen).toEqual(["z-own"]);
  expect(await codeOf(await ask("GET", "/v1/agents?cursor=eyJ2IjoxLCJrIjoiYWdlbnRzIiwiYXQiOiJ6In0", { token }))).toBe("400 INVALID_CURSOR");
});

test("whoever sees one agent alone is shown it, in its cluster only, and nothing of others", async () => {
  await store("sole-1");
  await store("sole-2");
  await cp.enrol("sole-1");
  await cp.enrol("sole-2");
  const idsAt = async (path: string, token: string): Promise<readonly string[]> => {
    const { items } = (await (await ask("GET", path, { token })).json()) as {
      readonly items: readonly { readonly id?: string; readonly agent_id?: string }[];
    };
    return items.map(({ id, agent_id: agentId }) => id ?? agentId ?? "");
  };
  const { token } = await user("viewer", { agents: ["sole-1"] });
  expect(await idsAt("/v1/agents", token)).toEqual(["sole-1"]);
  expect(await idsAt("/v1/agents?cluster=kind", token)).toEqual(["sole-1"]);
  expect(await idsAt("/v1/agents?cluster=elsewhere", token)).toEqual([]);
  expect(await idsAt("/v1/identities", token)).toEqual(["sole-1"]);
  const nobody = await user("viewer", { agents: ["sole-0"] });
  expect(await idsAt("/v1/agents", nobody.token)).toEqual([]);
  expect(await idsAt("/v1/identities", nobody.token)).toEqual([]);
  // Its labels count as well, where the scope says so.
  const labelled = await user("viewer", { agents: ["sole-1"], selector: "env=test" });
  expect(await idsAt("/v1/agents", labelled.token)).toEqual([]);
  expect(await idsAt("/v1/identities", labelled.token)).toEqual([]);
});

/** What a stream said until it said this; fails where it ends before. */
async function readUntil(response: Response, what: string): Promise<string> {
  expect(response.status).toBe(200);
  let text = "";
  if (response.body === null) throw new Error("there is no stream");
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.includes(what)) return text;
  }
  throw new Error(`the stream ended without ${what}: ${text}`);
}

describe("a stream", () => {
  test.each(["/v1/stream", "/v1/events/:id/stream"])("%s ends when the token of its reader is revoked", async (path) => {
    const event = anEvent();
    await ask("POST", "/events", { token: cp.tokens.admin, body: event });
    const { token, id } = await user("viewer");
    const stream = await ask("GET", path.replace(":id", event.id), { token });
    expect(stream.status).toBe(200);
    expect((await ask("DELETE", `/v1/tokens/${id}`, { token: cp.tokens.admin })).status).toBe(200);
    // It would stand for ever otherwise.
    expect(await stream.text()).toContain(": follow");
    expect(await codeOf(await ask("GET", path.replace(":id", event.id), { token }))).toBe("401 UNAUTHENTICATED");
  });

  test("ends when its reader's time is up", async () => {
    const { token } = await cp.token({ kind: "user", role: "viewer", ttl: 1_000_000_000 });
    const stream = await ask("GET", "/v1/stream", { token });
    expect(stream.status).toBe(200);
    expect(await stream.text()).toContain(": follow");
    expect((await ask("GET", "/v1/stream", { token })).status).toBe(401);
  });
});

describe("a browser's session", () => {
  async function begin(role: "viewer" | "operator"): Promise<{ readonly cookie: string; readonly csrf: string; readonly set: string }> {
    const answer = await ask("POST", "/v1/session", { token: (await user(role)).token });
    const set = answer.headers.get("set-cookie") ?? "";
    const { csrf_token: csrf } = (await answer.json()) as BrowserSession;
    return { set, csrf, cookie: set.split(";")[0] ?? "" };
  }

  test("is a cookie that no script reads, no other site sends and no plain connection carries", async () => {
    const { set } = await begin("viewer");
    expect(set).toStartWith("__Host-");
    expect(set.split(/; */).slice(1)).toEqual(expect.arrayContaining(["Path=/", "Secure", "HttpOnly", "SameSite=Strict"]));
  });

  test("reads by its cookie, and changes something only with its CSRF token", async () => {
    const { cookie, csrf } = await begin("operator");
    await store("by-cookie");
    expect((await (await ask("GET", "/v1/whoami", { headers: { cookie } })).json()) as Whoami).toMatchObject({
      via: "cookie",
      role: "operator",
    });
    const pause = (headers: Record<string, string>): Promise<Response> => ask("POST", "/v1/agents/by-cookie/pause", { headers });
    expect(await codeOf(await pause({ cookie }))).toBe("403 CSRF_REQUIRED");
    expect(await codeOf(await pause({ cookie, "x-csrf-token": "guess" }))).toBe("403 CSRF_REQUIRED");
    expect((await pause({ cookie, "x-csrf-token": csrf })).status).toBe(200);
  });

  test("is answered to no other origin: not to requests, not to streams, not to sockets", async () => {
    const { cookie, csrf } = await begin("operator");
    for (const from of [{ origin: "https://evil.example" }, { origin: "null" }, { "sec-fetch-site": "cross-site" }])
      for (const path of ["/v1/whoami", "/v1/stream", "/ws"])
        expect(await codeOf(await ask("GET", path, { headers: { cookie, "x-csrf-token": csrf, ...from } }))).toBe("403 FOREIGN_ORIGIN");
    const { host } = new URL(cp.url);
    const own = await ask("GET", "/v1/whoami", { headers: { cookie, origin: `https://${host}`, "sec-fetch-site": "same-origin" } });
    expect([own.status, own.headers.get("access-control-allow-origin")]).toEqual([200, null]);
  });

  test("ends when it is told to, with what it has open", async () => {
    const { cookie, csrf } = await begin("viewer");
    const stream = await ask("GET", "/v1/stream", { headers: { cookie } });
    const end = await ask("DELETE", "/v1/session", { headers: { cookie, "x-csrf-token": csrf } });
    expect([end.status, end.headers.get("set-cookie")]).toEqual([204, expect.stringMatching(/^__Host-[^=]+=;.*Max-Age=0/)]);
    expect(await stream.text()).toContain(": follow");
    expect(await codeOf(await ask("GET", "/v1/whoami", { headers: { cookie } }))).toBe("401 UNAUTHENTICATED");
  });
});

describe("a body", () => {
  const make = (body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
    ask("POST", "/v1/tokens", { token: cp.tokens.admin, body, headers });

  test("with a field that nobody knows makes no token: a scope that was mistyped would restrict nothing", async () => {
    expect(await codeOf(await make({ kind: "user", role: "viewer", scopes: { agents: ["a"] } }))).toBe("400 INVALID_REQUEST");
    expect(await codeOf(await make({ kind: "user", role: "viewer", scope: { agent: ["a"] } }))).toBe("400 INVALID_REQUEST");
  });

  test("is bounded, JSON, and says so", async () => {
    const chars = 70_000;
    expect(await codeOf(await make({ kind: "user", role: "viewer", name: "x".repeat(chars) }))).toBe("413 BODY_TOO_LARGE");
    expect(await codeOf(await make("{"))).toBe("400 INVALID_JSON");
    expect(await codeOf(await make("[".repeat(60_000)))).toBe("400 INVALID_JSON");
    expect(await codeOf(await make("{}", { "content-type": "text/plain" }))).toBe("415 UNSUPPORTED_MEDIA_TYPE");
  });

  test("that cannot be read is not repeated to whoever sent it", async () => {
    const answer = await make(`{"token": ${cp.tokens.viewer}}`);
    expect(await answer.text()).not.toContain(cp.tokens.viewer.slice(0, 20));
  });
});

test("answers say to keep nothing, frame nothing, and to come by TLS", async () => {
  for (const path of ["/livez", "/v1/whoami", "/v1/nothing", "/v1/events"]) {
    const { headers } = await ask("GET", path, { token: cp.tokens.viewer });
    expect([path, headers.get("cache-control"), headers.get("strict-transport-security")]).toEqual([path, "no-store", "max-age=63072000"]);
    expect(headers.get("content-security-policy")).toContain("default-src 'none'");
  }
});

test("where nobody is asked who they are there is nothing to give out, and it is said", async () => {
  const { startCp } = await import("../support/cp.ts");
  await using open = await startCp();
  expect(await open.json<Whoami>("/v1/whoami")).toMatchObject({ name: "anonymous", role: "admin", secured: false });
  expect((await open.json<CanI>("/v1/can-i?action=tokens:manage")).allowed).toBe(true);
  for (const path of ["/v1/tokens", "/v1/identities", "/v1/enrolments", "/v1/ca"])
    expect(await codeOf(await open.get(path))).toBe("404 NOT_FOUND");
});
