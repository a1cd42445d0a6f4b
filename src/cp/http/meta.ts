import { messageOf, TransporterError } from "../../kit/mod.ts";
import {
  type AuditEntry,
  AuditPageSchema,
  formatTimestamp,
  HealthSchema,
  MetricsSchema,
  type MetricsView,
  type Replicas,
  ReplicasSchema,
  VersionSchema,
} from "../../protocol/mod.ts";
import { redactText } from "../../redaction/mod.ts";
import { NOBODY, type Principal } from "../../security/mod.ts";
import type { HttpContext } from "./context.ts";
import type { Call, Endpoint } from "./endpoint.ts";
import { Query } from "./query.ts";
import { onlyAgentOf, pageFor } from "./visible-page.ts";

const AUDIT_PARAMETERS = {
  action: "For example event_received_http, event_cancelled, agent_connected.",
  event: "Lines about this event.",
  agent: "Lines about this agent.",
  since: "At or after: an RFC 3339 time, or a duration such as 2h that counts back from now.",
  until: "Before: as `since`.",
  limit: "How many at most, 1 to 500; 50 when absent.",
  cursor: "`next_cursor` of the page before.",
};
const TEXT = { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" };

/** Prometheus says what it takes; `curl` and browsers say anything, and get the JSON of 0.1. So does who names JSON beside plain text. */
function wantsPrometheus(request: Request): boolean {
  const accept = request.headers.get("accept") ?? "";
  if (accept.includes("application/json")) return false;
  return accept.includes("application/openmetrics-text") || /(^|,)\s*text\/plain/.test(accept);
}

export function metaEndpoints(context: HttpContext): Endpoint[] {
  const { store, membership, metrics, version, ports } = context;

  async function metricsView(): Promise<MetricsView> {
    const { cancelled: _cancelled, ...events } = await store.counters();
    const { connected, registered: total } = membership.agents;
    return { agents: { connected, total }, events };
  }

  function replicas(): Replicas {
    return {
      items: membership.replicas.map((one) => ({
        id: one.id,
        version: one.version,
        address: one.address,
        started_at: formatTimestamp(one.startedAtMs),
        agents: one.agents?.registered ?? 0,
      })),
    };
  }

  /** A queue that is away is worth a word, and no reason to send nobody here: events over HTTP are taken, agents are served. */
  function queueLines(): string[] {
    const view = context.queue?.view;
    if (view === undefined) return [];
    const name = `queue ${view.info.driver} ${view.info.name}`;
    if (view.state === "away") return [`[!]${name} is away${view.why === undefined ? "" : `: ${view.why}`}`];
    return [view.paused ? `[!]${name}: nothing is taken while the store is away` : `[+]${name} ok`];
  }

  /** Who comes in without showing who they are, for whoever ought to end that one day. */
  function legacyLines(): string[] {
    if (context.legacy === undefined) return [];
    const { agents, connections, events } = context.legacy.figures;
    return [
      `[!]legacy: ${agents} agents are let in without showing who they are (connected: ${connections}), and events for them from anybody (so far: ${events})`,
    ];
  }

  function trustLines(): string[] {
    const found = context.security?.trust.findings() ?? [];
    return found.map(({ name, level, message }) => `${level === "ok" ? "[+]" : "[!]"}trust ${name}: ${message}`);
  }

  /** What the store's promises rest on. Nothing of it keeps events out: it is for people, and it would keep them out of every replica. */
  async function findings(): Promise<string[]> {
    const found = await store.inspect().catch(() => []);
    return found.map(({ name, level, message, remedy }) =>
      level === "ok" ? `[+]store ${name}: ${message}` : `[!]store ${name}: ${message}${remedy === undefined ? "" : `. ${remedy}`}`,
    );
  }

  async function ready(call: Call): Promise<Response> {
    const verbose = new Query(call.request.url, ["verbose"]).flag("verbose");
    if (verbose) await call.require("status:read");
    const checks: { readonly name: string; readonly fault: string | undefined }[] = [{ name: "ping", fault: undefined }];
    checks.push({
      name: `store ${store.info.driver}`,
      fault: await store.ping().then(
        () => undefined,
        (error: unknown) => (error instanceof TransporterError ? `${error.code}: ${error.message}` : messageOf(error)),
      ),
    });
    checks.push({ name: "shutdown", fault: context.isDraining() ? "the control plane is stopping" : undefined });
    // Without a lease its agents stand as disconnected, but what it takes in is safe all the same.
    const lease = membership.holds ? undefined : "the lease has run out; other control planes may take agents over";
    const ok = checks.every(({ fault }) => fault === undefined);
    // Which store and whose replicas there are, and what is wrong with them, is for whoever may know.
    const isTold = call.principal !== NOBODY;
    const lines = checks.map(({ name, fault }) =>
      fault === undefined ? `[+]${name} ok` : `[-]${name} failed: ${isTold ? fault : "why is told by ?verbose, with a token"}`,
    );
    if (lease !== undefined) lines.push(`[!]lease: ${lease}`);
    else if (store.info.shared && isTold) lines.push(`[+]lease ok, control planes: ${membership.replicas.map(({ id }) => id).join(", ")}`);
    if (isTold) lines.push(...queueLines(), ...legacyLines());
    if (verbose && ok) lines.push(...trustLines(), ...(await findings()));
    lines.push(ok ? "readyz check passed" : "readyz check failed");
    return new Response(verbose || !ok ? `${redactText(lines.join("\n"))}\n` : "ok\n", { status: ok ? 200 : 503, headers: TEXT });
  }

  /** What is about no agent, such as a token that was made, is for those without a scope. */
  function seesLine(principal: Principal, { agent_id: agentId, event_id: eventId }: AuditEntry): boolean | Promise<boolean> {
    if (agentId === undefined) return false;
    const { permits } = context;
    return eventId === undefined
      ? permits.sees(principal, "audit:read", { agentId })
      : permits.seesEvent(principal, "audit:read", agentId, eventId);
  }

  async function audit(call: Call): Promise<Response> {
    const query = new Query(call.request.url, Object.keys(AUDIT_PARAMETERS));
    const nowMs = ports.clock.now();
    const action = query.text("action");
    const eventId = query.text("event");
    const named = query.text("agent");
    const sinceMs = query.timeMs("since", nowMs);
    const untilMs = query.timeMs("until", nowMs);
    const { principal } = call;
    if (named !== undefined) await call.permit({ agentId: named });
    const agentId = named ?? onlyAgentOf(principal);
    const wanted = {
      tenant: principal.tenant,
      ...(action === undefined ? {} : { action }),
      ...(eventId === undefined ? {} : { eventId }),
      ...(agentId === undefined ? {} : { agentId }),
      ...(sinceMs === undefined ? {} : { sinceMs }),
      ...(untilMs === undefined ? {} : { untilMs }),
    };
    const page = await pageFor(call, {
      limit: query.limit(),
      cursor: query.cursor(),
      fetch: (limit, cursor) => store.listAudit({ ...wanted, limit, ...(cursor === undefined ? {} : { cursor }) }),
      sees: (line) => seesLine(principal, line),
    });
    return Response.json({ items: page.items, ...(page.nextCursor === undefined ? {} : { next_cursor: page.nextCursor }) });
  }

  return [
    {
      method: "GET",
      path: "/health",
      access: "status:read",
      summary: "Health as in 0.1; `agent_count` is the sockets registered now, with all control planes on this store together.",
      answers: { 200: { description: "It answers.", schema: HealthSchema } },
      handler: () => Response.json({ agent_count: membership.agents.registered, status: "healthy", version: version.version }),
    },
    {
      method: "GET",
      path: "/metrics",
      access: "status:read",
      summary: "Counters as JSON as in 0.1, or Prometheus' text format when Accept asks for it.",
      answers: { 200: { description: "`events.*` count events that ever entered the state.", schema: MetricsSchema } },
      handler: async (call) => {
        if (!wantsPrometheus(call.request)) return Response.json(await metricsView());
        const { body, contentType } = await metrics.render();
        return new Response(body, { headers: { "content-type": contentType } });
      },
    },
    {
      method: "GET",
      path: "/livez",
      access: "public",
      summary: "The process is alive.",
      answers: { 200: { description: "ok", mediaType: "text/plain" } },
      handler: () => new Response("ok\n", { headers: TEXT }),
    },
    {
      method: "GET",
      path: "/readyz",
      access: "public",
      summary: "Events can be taken now.",
      query: { verbose: "One line per check." },
      errors: ["UNAUTHENTICATED"],
      answers: {
        200: { description: "ok, or one line per check", mediaType: "text/plain" },
        503: { description: "What is wrong, one line per check", mediaType: "text/plain" },
      },
      handler: ready,
    },
    {
      method: "GET",
      path: "/v1/version",
      access: "status:read",
      summary: "What runs here.",
      answers: { 200: { description: "The version.", schema: VersionSchema } },
      handler: () => Response.json(version),
    },
    {
      method: "GET",
      path: "/v1/replicas",
      access: "status:read",
      summary: "The control planes that share this store, by id; one alone where it is not shared.",
      answers: { 200: { description: "All with a lease, as of some seconds ago at most.", schema: ReplicasSchema } },
      handler: () => Response.json(replicas()),
    },
    {
      method: "GET",
      path: "/v1/audit",
      access: "audit:read",
      summary: "Who did what, when, and from where; newest first.",
      query: AUDIT_PARAMETERS,
      answers: { 200: { description: "A page of audit entries.", schema: AuditPageSchema } },
      handler: audit,
    },
  ];
}
