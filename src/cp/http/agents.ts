import { messageOf, TransporterError } from "../../kit/mod.ts";
import { AgentPageSchema, type AgentView, AgentViewSchema, formatTimestamp, RemovedAgentSchema } from "../../protocol/mod.ts";
import type { NewAudit, OpenCounts, Page, StoredAgent } from "../../stores/mod.ts";
import type { HttpContext } from "./context.ts";
import type { Call, Endpoint } from "./endpoint.ts";
import { isScoped } from "../../security/mod.ts";
import { Query } from "./query.ts";
import { SealedCursors } from "./sealed-cursors.ts";
import { onlyAgentOf, pageFor } from "./visible-page.ts";

const LIST_PARAMETERS = {
  cluster: "Agents of this cluster.",
  limit: "How many at most, 1 to 500; 50 when absent.",
  cursor: "`next_cursor` of the page before.",
};

function missing(id: string): TransporterError {
  return new TransporterError("AGENT_NOT_FOUND", `there is no agent ${id}`);
}

function auditOf(call: Call, action: string, agentId: string, atMs: number): NewAudit {
  const { principal, remoteAddress, requestId } = call;
  return { tenant: principal.tenant, atMs, principal: principal.name, action, agentId, remoteAddress, requestId };
}

function oneOf(agent: StoredAgent | undefined, clusterName: string | undefined): Page<StoredAgent> {
  const is = agent !== undefined && (clusterName === undefined || agent.registration.cluster_name === clusterName);
  return { items: is ? [agent] : [], nextCursor: undefined };
}

export function agentEndpoints(context: HttpContext): Endpoint[] {
  const { store, registry, gateway, membership, ports, log } = context;
  const cursors = new SealedCursors(store);

  /** Of one that is not connected here: what the control plane says that has it. */
  function elsewhere(agent: StoredAgent): AgentView["status"] {
    return store.info.shared ? agent.status : "disconnected";
  }

  function view(agent: StoredAgent, open: OpenCounts): AgentView {
    // What the socket says now is fresher than what was written down last.
    const session = registry.get(agent.id);
    const registration = session?.registration ?? agent.registration;
    const counts = open.byAgent.get(agent.id);
    const replicaId = session === undefined ? (store.info.shared ? agent.replicaId : undefined) : membership.id;
    const clockOffsetMs = session === undefined ? agent.clockOffsetMs : session.clockOffsetMs;
    return {
      id: agent.id,
      name: registration.name,
      cluster_name: registration.cluster_name,
      cluster_provider: registration.cluster_provider ?? "",
      region: registration.region ?? "",
      version: registration.version,
      labels: registration.labels ?? {},
      capabilities: registration.capabilities,
      hostname: registration.hostname ?? "",
      namespace: registration.namespace ?? "",
      metadata: registration.metadata ?? {},
      status: session === undefined ? elsewhere(agent) : session.healthy ? "connected" : "unhealthy",
      paused: agent.paused,
      protocol: registration.protocol ?? 0,
      features: registration.features ?? [],
      remote_address: session?.remoteAddress ?? agent.remoteAddress,
      ...(agent.connectedAtMs === undefined ? {} : { connected_at: formatTimestamp(session?.connectedAtMs ?? agent.connectedAtMs) }),
      ...(replicaId === undefined ? {} : { replica: replicaId }),
      ...(session !== undefined || agent.disconnectedAtMs === undefined
        ? {}
        : { disconnected_at: formatTimestamp(agent.disconnectedAtMs) }),
      last_seen_at: formatTimestamp(session?.lastSeenMs ?? agent.lastSeenMs),
      ...(clockOffsetMs === undefined ? {} : { clock_offset_ms: Math.round(clockOffsetMs) }),
      in_flight: counts?.inFlight ?? 0,
      queued: counts?.queued ?? 0,
    };
  }

  async function list(call: Call): Promise<Response> {
    const query = new Query(call.request.url, Object.keys(LIST_PARAMETERS));
    const clusterName = query.text("cluster");
    const { tenant, scope } = call.principal;
    const scoped = isScoped(scope);
    const given = query.cursor();
    const page = await pageFor(call, {
      limit: query.limit(),
      cursor: given !== undefined && scoped ? await cursors.open(given) : given,
      fetch: async (limit, cursor) => {
        // Who sees one agent alone need not have all looked through.
        const only = onlyAgentOf(call.principal);
        if (only !== undefined) return oneOf(await store.getAgent(tenant, only), clusterName);
        return store.listAgents({
          tenant,
          ...(clusterName === undefined ? {} : { clusterName }),
          limit,
          ...(cursor === undefined ? {} : { cursor }),
        });
      },
      sees: ({ id, registration }) =>
        call.sees({ agentId: id, agentLabels: (registry.get(id)?.registration ?? registration).labels ?? {} }),
    });
    const next = page.nextCursor !== undefined && scoped ? await cursors.seal(page.nextCursor) : page.nextCursor;
    const open = await context.gauge.sample();
    return Response.json({
      items: page.items.map((agent) => view(agent, open)),
      ...(next === undefined ? {} : { next_cursor: next }),
    });
  }

  async function show(call: Call): Promise<Response> {
    await call.permit({ agentId: call.param("id") });
    const agent = await store.getAgent(call.principal.tenant, call.param("id"));
    if (agent === undefined) throw missing(call.param("id"));
    return Response.json(view(agent, await context.gauge.sample()));
  }

  async function remove(call: Call): Promise<Response> {
    const id = call.param("id");
    await call.permit({ agentId: id });
    const nowMs = ports.clock.now();
    const ended = await store.removeAgent(call.principal.tenant, id, nowMs, auditOf(call, "agent_removed", id, nowMs));
    if (ended === undefined) throw missing(id);
    // Only now: a socket closed before the removal is durable would write the agent back.
    gateway.removed(id);
    for (const one of ended) context.bell.ring(one.entry);
    log.info("Agent removed", { agent_id: id, cancelled_events: ended.length });
    return Response.json({ agent_id: id, status: "removed", cancelled_events: ended.filter((one) => one.state === "cancelled").length });
  }

  function setPaused(paused: boolean): (call: Call) => Promise<Response> {
    return async (call) => {
      const id = call.param("id");
      await call.permit({ agentId: id });
      const nowMs = ports.clock.now();
      const agent = await store.setPaused(
        call.principal.tenant,
        id,
        paused,
        auditOf(call, paused ? "agent_paused" : "agent_resumed", id, nowMs),
      );
      if (agent === undefined) throw missing(id);
      await gateway.changed(id).catch((error: unknown) => {
        log.warn("A pause could not be read back", { agent_id: id, error: messageOf(error) });
        const session = registry.get(id);
        if (session !== undefined) session.paused = paused;
      });
      log.info(paused ? "Delivery paused" : "Delivery resumed", { agent_id: id });
      return Response.json(view(agent, await context.gauge.sample()));
    };
  }

  const one = { 200: { description: "The agent.", schema: AgentViewSchema } };
  const absent = ["AGENT_NOT_FOUND"] as const;
  return [
    {
      method: "GET",
      path: "/v1/agents",
      access: "agents:read",
      summary: "List agents, connected or not, by id.",
      query: LIST_PARAMETERS,
      answers: { 200: { description: "A page of agents.", schema: AgentPageSchema } },
      handler: list,
    },
    { method: "GET", path: "/v1/agents/:id", access: "agents:read", summary: "One agent.", answers: one, errors: absent, handler: show },
    {
      method: "DELETE",
      path: "/v1/agents/:id",
      access: "agents:remove",
      summary: "Forget an agent: its waiting events are cancelled, its socket is closed.",
      answers: { 200: { description: "It is forgotten.", schema: RemovedAgentSchema } },
      errors: absent,
      handler: remove,
    },
    {
      method: "POST",
      path: "/v1/agents/:id/pause",
      access: "agents:pause",
      summary: "Stop handing events to an agent; they wait.",
      answers: one,
      errors: absent,
      handler: setPaused(true),
    },
    {
      method: "POST",
      path: "/v1/agents/:id/resume",
      access: "agents:pause",
      summary: "Hand events to the agent again.",
      answers: one,
      errors: absent,
      handler: setPaused(false),
    },
  ];
}
