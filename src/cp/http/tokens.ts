import * as v from "valibot";
import { TransporterError } from "../../kit/mod.ts";
import {
  CreatedTokenSchema,
  ScopeSchema,
  type TokenKind,
  TokenKindSchema,
  TokenRequestSchema,
  type TokenRequest,
  TokensSchema,
  type TokenView,
  TokenViewSchema,
} from "../../protocol/mod.ts";
import { allows, isScoped, needsLabels } from "../../security/mod.ts";
import type { Page } from "../../stores/mod.ts";
import { securityOf } from "./asking.ts";
import type { HttpContext } from "./context.ts";
import { type Call, type Endpoint, hidden } from "./endpoint.ts";
import { jsonBody } from "./json-body.ts";
import { Query } from "./query.ts";
import { SealedCursors } from "./sealed-cursors.ts";
import { pageFor } from "./visible-page.ts";

const LIST_PARAMETERS = {
  kind: `One of ${TokenKindSchema.options.join(", ")}.`,
  limit: "How many at most, 1 to 500; 50 when absent.",
  cursor: "`next_cursor` of the page before.",
};
/** A field with a typing error, left out silently, would be a token that may more than was meant. */
const RequestSchema = v.strictObject({ ...TokenRequestSchema.entries, scope: v.optional(v.strictObject(ScopeSchema.entries)) });

function missing(id: string, isThere: boolean): TransporterError {
  return hidden("TOKEN_NOT_FOUND", `there is no token ${id}`, isThere);
}

function seesToken(call: Call, token: TokenView): boolean | Promise<boolean> {
  if (token.kind === "user") return allows(call.principal, "tokens:manage");
  return call.sees({ agentId: token.agent ?? "", agentLabels: token.labels ?? {} });
}

async function onlySeen(call: Call, items: readonly TokenView[]): Promise<TokenView[]> {
  const seen: TokenView[] = [];
  for (const token of items) if (await seesToken(call, token)) seen.push(token);
  return seen;
}

/** Tokens that let an agent in are for whoever manages enrolments, each over the agents of their scope; all others for administrators alone. */
export function tokenEndpoints(context: HttpContext): Endpoint[] {
  const cursors = new SealedCursors(context.store);

  async function create(call: Call): Promise<Response> {
    const { tokens } = securityOf(context);
    const request = await jsonBody(call, RequestSchema);
    // Whoever makes tokens looks at who may make which; of agents that are there already it knows nothing.
    call.scopeSeen();
    if (request.kind === "enrolment") await checkLabels(call, request);
    return Response.json(await tokens.create(request, call.principal, call.origin), { status: 201 });
  }

  /**
   * Whoever may enrol the agents of certain labels can give a token any of them; so the labels that the agent has are asked for as well, or it
   * would make anybody's agent theirs. One that has none is none of theirs either. Of a pattern nobody knows them.
   */
  async function checkLabels(call: Call, { agent = "" }: Pick<TokenRequest, "agent">): Promise<void> {
    const { principal } = call;
    if (!needsLabels(principal)) return;
    if (agent.includes("*"))
      throw new TransporterError(
        "ACCESS_DENIED",
        `${principal.name} may enrol agents by their labels only; a pattern may fit agents of others`,
      );
    const { tenant } = principal;
    const isThere =
      (await context.store.getAgent(tenant, agent)) !== undefined || (await securityOf(context).identities.get(agent)) !== undefined;
    if (isThere) await call.permit({ agentId: agent, agentLabels: await context.permits.labelsOf(tenant, agent) });
  }

  async function list(call: Call): Promise<Response> {
    const { tokens } = securityOf(context);
    const query = new Query(call.request.url, Object.keys(LIST_PARAMETERS));
    const kinds = query.choices("kind", TokenKindSchema.options);
    // Whoever may not see user tokens need not have them looked through.
    const kind: TokenKind | undefined = kinds?.[0] ?? (allows(call.principal, "tokens:manage") ? undefined : "enrolment");
    const given = query.cursor();
    const fetch = async (limit: number, after: string | undefined): Promise<Page<TokenView>> => {
      const items = await tokens.list({ ...(kind === undefined ? {} : { kind }), ...(after === undefined ? {} : { after }), limit });
      return { items, nextCursor: items.length < limit ? undefined : items.at(-1)?.id };
    };
    const page = await pageFor(call, {
      limit: query.limit(),
      cursor: given === undefined ? undefined : await cursors.open(given),
      fetch,
      sees: (token) => seesToken(call, token),
    });
    // An operator without a scope is no administrator either.
    const items = isScoped(call.principal.scope) ? page.items : await onlySeen(call, page.items);
    return Response.json({ items, ...(page.nextCursor === undefined ? {} : { next_cursor: await cursors.seal(page.nextCursor) }) });
  }

  async function found(call: Call): Promise<TokenView> {
    const id = call.param("id");
    const token = await securityOf(context).tokens.get(id);
    call.scopeSeen();
    if (token === undefined || !(await seesToken(call, token))) throw missing(id, token !== undefined);
    return token;
  }

  return [
    {
      method: "POST",
      path: "/v1/tokens",
      access: "enrolments:manage",
      summary: "Make a token; this answer is the one time that it is shown. A user token needs `tokens:manage`.",
      body: RequestSchema,
      answers: { 201: { description: "The token.", schema: CreatedTokenSchema } },
      errors: ["UNSUPPORTED_MEDIA_TYPE", "INVALID_REQUEST", "NOT_FOUND"],
      handler: create,
    },
    {
      method: "GET",
      path: "/v1/tokens",
      access: "enrolments:manage",
      summary: "List tokens, by id; user tokens with `tokens:manage` only.",
      query: LIST_PARAMETERS,
      answers: { 200: { description: "A page of tokens, without themselves.", schema: TokensSchema } },
      errors: ["NOT_FOUND"],
      handler: list,
    },
    {
      method: "GET",
      path: "/v1/tokens/:id",
      access: "enrolments:manage",
      summary: "One token, without itself.",
      answers: { 200: { description: "The token.", schema: TokenViewSchema } },
      errors: ["TOKEN_NOT_FOUND", "NOT_FOUND"],
      handler: async (call) => Response.json(await found(call)),
    },
    {
      method: "DELETE",
      path: "/v1/tokens/:id",
      access: "enrolments:manage",
      summary: "Revoke a token: it counts no more, and what it opened is closed.",
      answers: { 200: { description: "The token.", schema: TokenViewSchema } },
      errors: ["TOKEN_NOT_FOUND", "NOT_FOUND"],
      handler: async (call) => {
        const { id } = await found(call);
        return Response.json(await securityOf(context).tokens.revoke(id, call.principal, call.origin));
      },
    },
  ];
}
