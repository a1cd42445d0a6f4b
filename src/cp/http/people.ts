import * as v from "valibot";
import { TransporterError } from "../../kit/mod.ts";
import {
  BrowserSessionSchema,
  type CanI,
  CanISchema,
  CertificateLoginSchema,
  EventTypeSchema,
  formatTimestamp,
  NonceSchema,
  ShortTokenSchema,
  type Whoami,
  WhoamiSchema,
} from "../../protocol/mod.ts";
import { type Action, ACTIONS, judge, needsLabels, type Target } from "../../security/mod.ts";
import { securityOf } from "./asking.ts";
import type { HttpContext } from "./context.ts";
import type { Call, Endpoint } from "./endpoint.ts";
import { jsonBody } from "./json-body.ts";
import { Query } from "./query.ts";

const CAN_I_PARAMETERS = {
  action: `One of ${Object.keys(ACTIONS).join(", ")}.`,
  agent: "To this agent; to any when absent.",
  type: `With events of this type: one of ${EventTypeSchema.options.join(", ")}.`,
};
const LoginSchema = v.strictObject(CertificateLoginSchema.entries);

function said(verdict: CanI): Response {
  return Response.json(verdict);
}

/** For people and programs: who they are, what they may, and how they come in. */
export function peopleEndpoints(context: HttpContext): Endpoint[] {
  const { permits, security } = context;

  function whoami({ principal }: Call): Response {
    const { tenant, name, kind, via, role, scope, expiresAtMs } = principal;
    const answer: Whoami = {
      tenant,
      name,
      kind,
      via,
      role,
      ...(scope === undefined ? {} : { scope }),
      ...(expiresAtMs === undefined ? {} : { expires_at: formatTimestamp(expiresAtMs) }),
      secured: security !== undefined,
    };
    return Response.json(answer);
  }

  async function canI(call: Call): Promise<Response> {
    const query = new Query(call.request.url, Object.keys(CAN_I_PARAMETERS));
    const [action] = query.choices("action", Object.keys(ACTIONS) as Action[]) ?? [];
    if (action === undefined) throw new TransporterError("INVALID_QUERY", "action is missing: what shall be allowed?");
    const agentId = query.text("agent");
    const eventType = query.choices("type", EventTypeSchema.options)?.[0];
    const { principal } = call;
    const types = principal.scope?.event_types;
    const typed = eventType ?? types?.[0];
    if (agentId === undefined) {
      const verdict = judge(principal, action);
      if (!verdict.allowed) return said({ allowed: false, reason: verdict.reason });
      if (action.startsWith("events:") && eventType !== undefined && types?.includes(eventType) === false)
        return said({ allowed: false, reason: "the event type is not of the scope" });
      return said({ allowed: true, reason: `the role ${principal.role} includes ${action}` });
    }
    const target: Target = {
      agentId,
      ...(typed === undefined ? {} : { eventType: typed }),
      ...(needsLabels(principal) ? { agentLabels: await permits.labelsOf(principal.tenant, agentId) } : {}),
    };
    const verdict = judge(principal, action, target);
    return said(verdict.allowed ? { allowed: true, reason: "role and scope include it" } : { allowed: false, reason: verdict.reason });
  }

  return [
    {
      method: "GET",
      path: "/v1/whoami",
      access: "authenticated",
      summary: "Who asks, as this control plane sees it.",
      answers: { 200: { description: "The principal, its role and its scope.", schema: WhoamiSchema } },
      handler: whoami,
    },
    {
      method: "GET",
      path: "/v1/can-i",
      access: "authenticated",
      summary: "Whether whoever asks may do something.",
      query: CAN_I_PARAMETERS,
      answers: { 200: { description: "Whether, and why.", schema: CanISchema } },
      handler: canI,
    },
    {
      method: "POST",
      path: "/v1/challenges",
      access: "public",
      summary: "A nonce, to be signed with the key of a client certificate.",
      answers: { 200: { description: "It counts once, for a minute.", schema: NonceSchema } },
      errors: ["NOT_FOUND"],
      handler: () => Response.json(securityOf(context).authenticator.challenge()),
    },
    {
      method: "POST",
      path: "/v1/certificate-logins",
      access: "public",
      summary: "A client certificate and the signature of a challenge become a bearer token for some minutes.",
      body: CertificateLoginSchema,
      answers: { 200: { description: "The token.", schema: ShortTokenSchema } },
      errors: ["UNSUPPORTED_MEDIA_TYPE", "INVALID_REQUEST", "UNAUTHENTICATED", "TOO_MANY_ATTEMPTS", "NOT_FOUND"],
      handler: async (call) => {
        const { authenticator } = securityOf(context);
        return Response.json(await authenticator.certificateLogin(await jsonBody(call, LoginSchema), call.origin));
      },
    },
    {
      method: "POST",
      path: "/v1/session",
      access: "authenticated",
      summary: "A bearer token becomes a cookie, for browsers.",
      answers: {
        200: {
          description: "What changes something has to carry `csrf_token` as X-CSRF-Token.",
          schema: BrowserSessionSchema,
          headers: { "Set-Cookie": "HttpOnly, Secure, SameSite=Strict." },
        },
      },
      errors: ["ACCESS_DENIED", "NOT_FOUND"],
      handler: async (call) => {
        const { session, cookie } = await securityOf(context).browserSessions.begin(call.principal, call.origin);
        return Response.json(session, { headers: { "set-cookie": cookie } });
      },
    },
    {
      method: "DELETE",
      path: "/v1/session",
      access: "authenticated",
      summary: "End the session of the cookie.",
      answers: { 204: { description: "It is over.", headers: { "Set-Cookie": "Removes the cookie." } } },
      errors: ["NOT_FOUND"],
      handler: async (call) => {
        const { browserSessions } = securityOf(context);
        const cookie = await browserSessions.end(call.request.headers.get("cookie"), call.origin);
        return new Response(null, { status: 204, headers: { "set-cookie": cookie } });
      },
    },
  ];
}
