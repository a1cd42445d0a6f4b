import * as v from "valibot";
import { TransporterError } from "../../kit/mod.ts";
import {
  type Ca,
  CaSchema,
  EnrolmentAnswerSchema,
  EnrolmentRequestSchema,
  EnrolmentsSchema,
  type EnrolmentView,
  EnrolmentViewSchema,
  IdentitiesSchema,
  type IdentityView,
  IdentityViewSchema,
  RenewalRequestSchema,
} from "../../protocol/mod.ts";
import type { Page } from "../../stores/mod.ts";
import { securityOf } from "./asking.ts";
import type { HttpContext } from "./context.ts";
import { type Call, type Endpoint, hidden } from "./endpoint.ts";
import { jsonBody } from "./json-body.ts";
import { Query } from "./query.ts";
import { SealedCursors } from "./sealed-cursors.ts";
import { onlyAgentOf, pageFor } from "./visible-page.ts";

const LIST_PARAMETERS = {
  limit: "How many at most, 1 to 500; 50 when absent.",
  cursor: "`next_cursor` of the page before.",
};
const BEARER = /^Bearer +([A-Za-z0-9._~+/=-]{1,16384})$/i;
const ENROLMENT_ERRORS = [
  "UNSUPPORTED_MEDIA_TYPE",
  "INVALID_REQUEST",
  "INVALID_CSR",
  "TOO_MANY_ATTEMPTS",
  "ENROLMENT_REFUSED",
  "ENROLMENT_DISABLED",
  "IDENTITY_REFUSED",
  "IDENTITY_CONFLICT",
  "IDENTITY_REVOKED",
  "ISSUER_UNAVAILABLE",
  "NOT_FOUND",
] as const;
const EnrolSchema = v.strictObject(EnrolmentRequestSchema.entries);
const RenewSchema = v.strictObject(RenewalRequestSchema.entries);

function bearerOf({ authorization }: { readonly authorization: string | null }): string {
  const [, bearer] = BEARER.exec(authorization ?? "") ?? [];
  if (bearer === undefined)
    throw new TransporterError("UNAUTHENTICATED", "enrolment needs an enrolment token, or a trusted ServiceAccount's, as bearer", {
      remedy: "Give the agent a token of `transporter token create --agent ID`.",
    });
  return bearer;
}

/** How agents come to have identities, and how those end. */
export function identityEndpoints(context: HttpContext): Endpoint[] {
  const cursors = new SealedCursors(context.store);

  async function listEnrolments(call: Call): Promise<Response> {
    const items: EnrolmentView[] = [];
    for (const one of await securityOf(context).enrolment.list()) if (await call.sees({ agentId: one.agent_id })) items.push(one);
    return Response.json({ items });
  }

  function decide(approve: boolean): (call: Call) => Promise<Response> {
    return async (call) => {
      const { enrolment } = securityOf(context);
      const id = call.param("id");
      const asked = (await enrolment.list()).find((one) => one.id === id);
      if (asked === undefined || !(await call.sees({ agentId: asked.agent_id })))
        throw hidden("ENROLMENT_NOT_FOUND", `there is no request ${id}`, asked !== undefined);
      return Response.json(await enrolment.decide(id, approve, call.principal, call.origin));
    };
  }

  async function listIdentities(call: Call): Promise<Response> {
    const { identities } = securityOf(context);
    const query = new Query(call.request.url, Object.keys(LIST_PARAMETERS));
    const given = query.cursor();
    const page = await pageFor(call, {
      limit: query.limit(),
      cursor: given === undefined ? undefined : await cursors.open(given),
      fetch: async (limit, after): Promise<Page<IdentityView>> => {
        const only = onlyAgentOf(call.principal);
        if (only !== undefined) {
          const identity = await identities.get(only);
          return { items: identity === undefined ? [] : [identity], nextCursor: undefined };
        }
        const items = await identities.list({ ...(after === undefined ? {} : { after }), limit });
        return { items, nextCursor: items.length < limit ? undefined : items.at(-1)?.agent_id };
      },
      sees: ({ agent_id: agentId }) => call.sees({ agentId }),
    });
    return Response.json({
      items: page.items,
      ...(page.nextCursor === undefined ? {} : { next_cursor: await cursors.seal(page.nextCursor) }),
    });
  }

  async function showIdentity(call: Call): Promise<Response> {
    const { identities } = securityOf(context);
    const agentId = call.param("id");
    await call.permit({ agentId });
    const identity = await identities.get(agentId);
    if (identity === undefined) throw new TransporterError("IDENTITY_NOT_FOUND", `agent ${agentId} has no identity here`);
    return Response.json(identity);
  }

  async function revoke(call: Call): Promise<Response> {
    const { identities } = securityOf(context);
    const agentId = call.param("id");
    await call.permit({ agentId });
    return Response.json(await identities.revoke(agentId, call.principal, call.origin));
  }

  const answered = {
    200: { description: "The certificate, or how it stands: the same request again asks once more.", schema: EnrolmentAnswerSchema },
  };
  const decided = { 200: { description: "The request, decided.", schema: EnrolmentViewSchema } };
  return [
    {
      method: "GET",
      path: "/v1/ca",
      access: "public",
      summary: "What to trust, for whoever knows one of its hashes.",
      answers: { 200: { description: "The CA certificates and their hashes.", schema: CaSchema } },
      errors: ["NOT_FOUND"],
      handler: () => {
        const { pem, pins } = securityOf(context).trust.bundle();
        const answer: Ca = { trust_bundle: pem, pins: [...pins] };
        return Response.json(answer);
      },
    },
    {
      method: "POST",
      path: "/v1/enrolments",
      access: "public",
      summary: "Ask for an agent's certificate, with an enrolment token or a trusted cluster's ServiceAccount token as bearer.",
      body: EnrolSchema,
      answers: answered,
      errors: ["UNAUTHENTICATED", ...ENROLMENT_ERRORS],
      handler: async (call) => {
        const { enrolment } = securityOf(context);
        const bearer = bearerOf({ authorization: call.request.headers.get("authorization") });
        return Response.json(await enrolment.request(await jsonBody(call, EnrolSchema), bearer, call.origin));
      },
    },
    {
      method: "POST",
      path: "/v1/enrolments/renew",
      access: "public",
      summary: "Ask for an agent's next certificate, signed for with the key of the one that it has.",
      body: RenewSchema,
      answers: answered,
      errors: [...ENROLMENT_ERRORS, "IDENTITY_EXPIRED"],
      handler: async (call) => {
        const { enrolment } = securityOf(context);
        return Response.json(await enrolment.renew(await jsonBody(call, RenewSchema), call.origin));
      },
    },
    {
      method: "GET",
      path: "/v1/enrolments",
      access: "enrolments:manage",
      summary: "Requests for certificates that wait for somebody, or were decided.",
      answers: { 200: { description: "All of the last day.", schema: EnrolmentsSchema } },
      errors: ["NOT_FOUND"],
      handler: listEnrolments,
    },
    {
      method: "POST",
      path: "/v1/enrolments/:id/approve",
      access: "enrolments:manage",
      summary: "Let the agent have its certificate.",
      answers: decided,
      errors: ["ENROLMENT_NOT_FOUND", "IDENTITY_CONFLICT", "NOT_FOUND"],
      handler: decide(true),
    },
    {
      method: "POST",
      path: "/v1/enrolments/:id/deny",
      access: "enrolments:manage",
      summary: "Let the agent have none.",
      answers: decided,
      errors: ["ENROLMENT_NOT_FOUND", "IDENTITY_CONFLICT", "NOT_FOUND"],
      handler: decide(false),
    },
    {
      method: "GET",
      path: "/v1/identities",
      access: "agents:read",
      summary: "Agents that have shown who they are, by id.",
      query: LIST_PARAMETERS,
      answers: { 200: { description: "A page of identities.", schema: IdentitiesSchema } },
      errors: ["NOT_FOUND"],
      handler: listIdentities,
    },
    {
      method: "GET",
      path: "/v1/identities/:id",
      access: "agents:read",
      summary: "Who an agent is.",
      answers: { 200: { description: "Its keys and certificates.", schema: IdentityViewSchema } },
      errors: ["IDENTITY_NOT_FOUND", "NOT_FOUND"],
      handler: showIdentity,
    },
    {
      method: "POST",
      path: "/v1/identities/:id/revoke",
      access: "enrolments:manage",
      summary: "End an agent's identity, on its open connection too.",
      answers: { 200: { description: "The identity, ended.", schema: IdentityViewSchema } },
      errors: ["IDENTITY_NOT_FOUND", "NOT_FOUND"],
      handler: revoke,
    },
  ];
}
