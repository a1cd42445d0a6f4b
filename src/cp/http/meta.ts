import { messageOf, TransporterError } from "../../kit/mod.ts";
import { AuditPageSchema, HealthSchema, MetricsSchema, type MetricsView, VersionSchema } from "../../protocol/mod.ts";
import type { HttpContext } from "./context.ts";
import type { Call, Endpoint } from "./endpoint.ts";
import { Query } from "./query.ts";

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
  const { store, registry, metrics, version, ports } = context;

  async function metricsView(): Promise<MetricsView> {
    const { cancelled: _cancelled, ...events } = await store.counters();
    return { agents: { connected: registry.healthy, total: registry.size }, events };
  }

  async function ready(call: Call): Promise<Response> {
    const verbose = new Query(call.request.url, ["verbose"]).flag("verbose");
    const checks: { readonly name: string; readonly fault: string | undefined }[] = [{ name: "ping", fault: undefined }];
    checks.push({
      name: `store ${store.info.driver}`,
      fault: await store.ping().then(
        () => undefined,
        (error: unknown) => (error instanceof TransporterError ? `${error.code}: ${error.message}` : messageOf(error)),
      ),
    });
    checks.push({ name: "shutdown", fault: context.isStopping() ? "the control plane is stopping" : undefined });
    const ok = checks.every(({ fault }) => fault === undefined);
    const lines = checks.map(({ name, fault }) => (fault === undefined ? `[+]${name} ok` : `[-]${name} failed: ${fault}`));
    lines.push(ok ? "readyz check passed" : "readyz check failed");
    return new Response(verbose || !ok ? `${lines.join("\n")}\n` : "ok\n", { status: ok ? 200 : 503, headers: TEXT });
  }

  async function audit(call: Call): Promise<Response> {
    const query = new Query(call.request.url, Object.keys(AUDIT_PARAMETERS));
    const nowMs = ports.clock.now();
    const action = query.text("action");
    const eventId = query.text("event");
    const agentId = query.text("agent");
    const sinceMs = query.timeMs("since", nowMs);
    const untilMs = query.timeMs("until", nowMs);
    const page = await store.listAudit({
      tenant: call.principal.tenant,
      ...(action === undefined ? {} : { action }),
      ...(eventId === undefined ? {} : { eventId }),
      ...(agentId === undefined ? {} : { agentId }),
      ...(sinceMs === undefined ? {} : { sinceMs }),
      ...(untilMs === undefined ? {} : { untilMs }),
      limit: query.limit(),
      ...query.cursor(),
    });
    return Response.json({ items: page.items, ...(page.nextCursor === undefined ? {} : { next_cursor: page.nextCursor }) });
  }

  return [
    {
      method: "GET",
      path: "/health",
      summary: "Health as in 0.1; `agent_count` is the sockets registered now.",
      answers: { 200: { description: "It answers.", schema: HealthSchema } },
      handler: () => Response.json({ agent_count: registry.size, status: "healthy", version: version.version }),
    },
    {
      method: "GET",
      path: "/metrics",
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
      summary: "The process is alive.",
      answers: { 200: { description: "ok", mediaType: "text/plain" } },
      handler: () => new Response("ok\n", { headers: TEXT }),
    },
    {
      method: "GET",
      path: "/readyz",
      summary: "Events can be taken now.",
      query: { verbose: "One line per check." },
      answers: {
        200: { description: "ok, or one line per check", mediaType: "text/plain" },
        503: { description: "What is wrong, one line per check", mediaType: "text/plain" },
      },
      handler: ready,
    },
    {
      method: "GET",
      path: "/v1/version",
      summary: "What runs here.",
      answers: { 200: { description: "The version.", schema: VersionSchema } },
      handler: () => Response.json(version),
    },
    {
      method: "GET",
      path: "/v1/audit",
      summary: "Who did what, when, and from where; newest first.",
      query: AUDIT_PARAMETERS,
      answers: { 200: { description: "A page of audit entries.", schema: AuditPageSchema } },
      handler: audit,
    },
  ];
}
