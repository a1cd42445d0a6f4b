import type { BunRequest } from "bun";
import { expect, test } from "bun:test";
import { manualPorts, silentLogger, TransporterError } from "../../kit/mod.ts";
import type { Problem } from "../../protocol/mod.ts";
import { type Access, agentPrincipal, ANONYMOUS, type Principal, type RefusedAccess } from "../../security/mod.ts";
import { Permits, type PermitsOptions } from "../permits.ts";
import { type Call, type Endpoint, type EndpointContext, toRoutes } from "./endpoint.ts";

const OPERATOR: Principal = { ...ANONYMOUS, name: "token:ops", kind: "user", via: "token", role: "operator" };
const SCOPED: Principal = { ...OPERATOR, name: "token:scoped", scope: { agents: ["mine"] } };
const VIEWER: Principal = { ...OPERATOR, name: "token:view", role: "viewer" };

function setUp(
  access: Access,
  handler: Endpoint["handler"],
  of: { readonly who?: () => Principal | Promise<Principal>; readonly open?: boolean; readonly https?: boolean } = {},
) {
  const { ports } = manualPorts();
  const refused: RefusedAccess[] = [];
  const counted: number[] = [];
  const context = {
    guard: { loopbackOnly: false, hosts: [] },
    ports,
    log: silentLogger,
    metrics: { http: (_path: string, _method: string, status: number) => counted.push(status) },
    authenticate: of.open === true ? undefined : (of.who ?? (() => OPERATOR)),
    permits: new Permits({ registry: { get: () => undefined }, ports } as unknown as PermitsOptions),
    refusals: {
      note: (refusal: RefusedAccess) => {
        refused.push(refusal);
        return Promise.resolve();
      },
    },
    https: of.https ?? true,
  } as unknown as EndpointContext;
  const routes = toRoutes([{ method: "GET", path: "/thing", summary: "", access, handler, answers: {} }], context);
  const server = { requestIP: () => ({ address: "192.0.2.7" }) };
  return {
    refused,
    counted,
    get: async (headers: Record<string, string> = {}, method = "GET"): Promise<Response> => {
      const request = Object.assign(new Request("http://cp/thing", { method, headers: { host: "cp", ...headers } }), { params: {} });
      const answer = await routes["/thing"]?.(request as unknown as BunRequest, server as never);
      if (answer === undefined) throw new Error("no answer");
      return answer;
    },
  };
}

async function codeOf(response: Response): Promise<string> {
  return ((await response.json()) as Problem).code;
}

const ok = (): Response => new Response("ok");

test("whoever is not known is told how to show who they are, and the handler is not asked", async () => {
  let asked = false;
  const { get } = setUp(
    "status:read",
    () => {
      asked = true;
      return ok();
    },
    { who: () => Promise.reject(new TransporterError("UNAUTHENTICATED", "nobody")) },
  );
  const answer = await get();
  expect(answer.status).toBe(401);
  expect(answer.headers.get("www-authenticate")).toBe('Bearer realm="transporter"');
  expect(await codeOf(answer)).toBe("UNAUTHENTICATED");
  expect(asked).toBe(false);
});

test("too many attempts say when to come again", async () => {
  const failure = new TransporterError("TOO_MANY_ATTEMPTS", "slowly", { details: { retry_after_ms: 2_100 } });
  const { get } = setUp("authenticated", ok, { who: () => Promise.reject(failure) });
  const answer = await get();
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([429, "3"]);
});

test.each([true, false])("a role that may not is refused before the handler, and the refusal is told (at once: %p)", async (atOnce) => {
  let asked = false;
  const handler = (call: Call): Response => {
    asked = true;
    call.scopeSeen();
    return ok();
  };
  const { get, refused } = setUp("agents:pause", handler, { who: () => (atOnce ? VIEWER : Promise.resolve(VIEWER)) });
  const answer = await get({ "x-request-id": "r-1" });
  expect([answer.status, await codeOf(answer)]).toEqual([403, "ACCESS_DENIED"]);
  expect(asked).toBe(false);
  expect(refused).toEqual([
    expect.objectContaining({ action: "access_refused", principal: "token:view", address: "192.0.2.7", requestId: "r-1" }),
  ]);
});

test("an answer that forgot the scope of whoever asks does not go out", async () => {
  const forgetful = (): Response => new Response("everything");
  const scoped = setUp("agents:read", forgetful, { who: () => SCOPED });
  const answer = await scoped.get();
  expect(answer.status).toBe(500);
  expect(await answer.text()).not.toContain("everything");
  expect((await setUp("agents:read", forgetful).get()).status).toBe(200);
  // What is over no agent has no scope to be forgotten.
  expect((await setUp("status:read", forgetful, { who: () => SCOPED }).get()).status).toBe(200);
  // A refusal is no answer of anything.
  const missing = setUp("agents:read", () => Promise.reject(new TransporterError("AGENT_NOT_FOUND", "none")), { who: () => SCOPED });
  expect((await missing.get()).status).toBe(404);
});

test("a stream that forgot the scope is given up", async () => {
  let cancelled = false;
  const stream = new ReadableStream({
    cancel() {
      cancelled = true;
    },
  });
  const { get } = setUp("events:read", () => new Response(stream), { who: () => SCOPED });
  expect((await get()).status).toBe(500);
  expect(cancelled).toBe(true);
});

const LOOKS: readonly [string, (call: Call) => unknown, number][] = [
  ["permit", (call) => call.permit({ agentId: "mine" }), 200],
  ["permit beyond", (call) => call.permit({ agentId: "other" }), 403],
  ["sees", (call) => call.sees({ agentId: "other" }), 200],
  ["seen further in", (call) => call.scopeSeen(), 200],
];
test.each(LOOKS)("a scope counts as looked at: %s", async (_case, look, status) => {
  const { get } = setUp(
    "agents:pause",
    async (call) => {
      await look(call);
      return ok();
    },
    { who: () => SCOPED },
  );
  expect((await get()).status).toBe(status);
});

test("what is over the whole installation is not for a scope", async () => {
  const admin: Principal = { ...SCOPED, role: "admin" };
  expect((await setUp("tokens:manage", ok, { who: () => admin }).get()).status).toBe(403);
  expect((await setUp("tokens:manage", ok, { who: () => ({ ...OPERATOR, role: "admin" }) }).get()).status).toBe(200);
});

test("a public endpoint asks nobody, gives nobody any right, and can require one", async () => {
  let who: Principal | undefined;
  const open = setUp(
    "public",
    (call) => {
      who = call.principal;
      return ok();
    },
    { who: () => Promise.reject(new Error("must not be asked")) },
  );
  expect((await open.get()).status).toBe(200);
  expect(who).toMatchObject({ role: "viewer", scope: { agents: [] } });
  const requiring = async (call: Call): Promise<Response> => {
    await call.require("status:read");
    return ok();
  };
  expect((await setUp("public", requiring).get()).status).toBe(200);
  const stranger = { who: () => Promise.reject(new TransporterError("UNAUTHENTICATED", "nobody")) };
  expect((await setUp("public", requiring, stranger).get()).status).toBe(401);
});

test("a further right is required of whoever asks", async () => {
  const handler = async (call: Call): Promise<Response> => {
    call.scopeSeen();
    await call.require("events:read-payload");
    return ok();
  };
  expect((await setUp("events:read", handler, { who: () => VIEWER }).get()).status).toBe(403);
  expect((await setUp("events:read", handler, { who: () => agentPrincipal("a") }).get()).status).toBe(200);
});

test("where nobody is asked who they are, everybody may do everything", async () => {
  const handler = async (call: Call): Promise<Response> => {
    await call.require("tokens:manage");
    await call.permit({ agentId: "any" });
    return new Response(call.principal.name);
  };
  expect(await (await setUp("agents:pause", handler, { open: true }).get()).text()).toBe("anonymous");
});

test("answers are kept by nobody, framed by nobody, and come by TLS from then on", async () => {
  const paths: Endpoint["handler"][] = [ok, (call) => call.reply(200, "{}"), () => Promise.reject(new Error("fault"))];
  for (const handler of paths) {
    const { headers } = await setUp("authenticated", handler).get();
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.get("content-security-policy")).toBe("default-src 'none'; frame-ancestors 'none'");
    expect(headers.get("referrer-policy")).toBe("no-referrer");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("strict-transport-security")).toBe("max-age=63072000");
    expect(headers.get("access-control-allow-origin")).toBeNull();
  }
  expect((await setUp("authenticated", ok, { https: false }).get()).headers.get("strict-transport-security")).toBeNull();
});

test("a page of another origin is refused before anybody is asked who they are, whatever it shows", async () => {
  const { get } = setUp("status:read", ok, { who: () => Promise.reject(new Error("must not be asked")) });
  for (const headers of [{ origin: "https://evil.example" }, { "sec-fetch-site": "cross-site" }, { origin: "null" }])
    expect(await codeOf(await get({ cookie: "__Host-transporter=x", ...headers }))).toBe("FOREIGN_ORIGIN");
});

test("HEAD asks as GET does", async () => {
  expect((await setUp("agents:pause", ok, { who: () => VIEWER }).get({}, "HEAD")).status).toBe(403);
  const { get } = setUp("status:read", ok);
  const answer = await get({}, "HEAD");
  expect([answer.status, await answer.text()]).toEqual([200, ""]);
});
