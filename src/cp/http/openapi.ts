import { toJsonSchema } from "@valibot/to-json-schema";
import type { GenericSchema } from "valibot";
import { CODES, httpStatusOf, type ErrorCode, ProblemSchema } from "../../protocol/mod.ts";
import type { Endpoint } from "./endpoint.ts";

type Json = Record<string, unknown>;

function schemaOf(schema: GenericSchema): Json {
  const { $schema: _dialect, ...rest } = toJsonSchema(schema, { errorMode: "ignore" }) as Json;
  return rest;
}

const SECURITY_SCHEMES = {
  bearer: { type: "http", scheme: "bearer", description: "A token of this control plane, or of the issuer that it trusts." },
  cookie: {
    type: "apiKey",
    in: "cookie",
    name: "__Host-transporter-session",
    description: "Of `POST /v1/session`; what changes something needs X-CSRF-Token too.",
  },
};

/** The OpenAPI 3.1 document, made from the endpoints themselves and the schemas they check with. */
export function openApiDocument(endpoints: readonly Endpoint[], version: string): Json {
  const paths: Record<string, Json> = {};
  for (const endpoint of endpoints) {
    const path = endpoint.path.replaceAll(/:(\w+)/g, "{$1}");
    paths[path] = { ...paths[path], [endpoint.method.toLowerCase()]: operationOf(endpoint) };
  }
  const codes = (Object.keys(CODES) as ErrorCode[]).map(
    (code) => `- \`${code}\` (${httpStatusOf(code)}): ${CODES[code].title}. ${CODES[code].remedy}`,
  );
  return {
    openapi: "3.1.0",
    info: {
      title: "Transporter control plane",
      version,
      license: { name: "MIT", identifier: "MIT" },
      description: `Events in, and what becomes of them. Errors are problem+json (RFC 9457) with one of these codes:\n\n${codes.join("\n")}`,
    },
    paths,
    components: { schemas: { Problem: schemaOf(ProblemSchema) }, securitySchemes: SECURITY_SCHEMES },
  };
}

/** What an endpoint refuses with: its own codes, and those that come of who may call it, of its query and of its body. */
export function errorsOf({ access, method, query, body, errors = [] }: Endpoint): ErrorCode[] {
  const found: ErrorCode[] = ["FOREIGN_ORIGIN"];
  if (access !== "public") found.push("UNAUTHENTICATED", "TOO_MANY_ATTEMPTS");
  if (access !== "public" && method !== "GET") found.push("CSRF_REQUIRED");
  if (access !== "public" && access !== "authenticated") found.push("ACCESS_DENIED");
  if (query !== undefined) found.push("INVALID_QUERY");
  if (query !== undefined && Object.hasOwn(query, "cursor")) found.push("INVALID_CURSOR");
  if (body !== undefined) found.push("INVALID_JSON", "BODY_TOO_LARGE");
  return [...new Set([...found, ...errors])];
}

function problemsOf(endpoint: Endpoint): Record<string, Json> {
  const byStatus = Map.groupBy(errorsOf(endpoint), httpStatusOf);
  const content = { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } };
  return Object.fromEntries(
    [...byStatus]
      .toSorted(([one], [other]) => one - other)
      .map(([status, codes]) => [
        String(status),
        { description: codes.map((code) => `${code}: ${CODES[code].title}.`).join(" "), "x-transporter-codes": codes, content },
      ]),
  );
}

function bodiesOf(body: GenericSchema, others: Endpoint["otherBodies"] = {}): Json {
  const all = Object.entries({ "application/json": body, ...others });
  return Object.fromEntries(all.map(([mediaType, schema]) => [mediaType, { schema: schemaOf(schema) }]));
}

function operationOf(endpoint: Endpoint): Json {
  const parameters: Json[] = [];
  for (const [, name] of endpoint.path.matchAll(/:(\w+)/g))
    parameters.push({ name, in: "path", required: true, schema: { type: "string" } });
  for (const [name, description] of Object.entries(endpoint.query ?? {}))
    parameters.push({ name, in: "query", description, schema: { type: "string" } });
  for (const [name, description] of Object.entries(endpoint.requestHeaders ?? {}))
    parameters.push({ name, in: "header", description, schema: { type: "string" } });
  const responses: Record<string, Json> = {
    ...problemsOf(endpoint),
    default: {
      description: "Another problem.",
      content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
    },
  };
  for (const [status, answer] of Object.entries(endpoint.answers)) {
    const content =
      answer.schema === undefined
        ? { [answer.mediaType ?? "text/plain"]: {} }
        : { [answer.mediaType ?? "application/json"]: { schema: schemaOf(answer.schema) } };
    const headers = Object.entries(answer.headers ?? {}).map(([name, description]) => [name, { description, schema: { type: "string" } }]);
    responses[status] = {
      description: answer.description,
      content,
      ...(headers.length === 0 ? {} : { headers: Object.fromEntries(headers) as Json }),
    };
  }
  return {
    summary: endpoint.summary,
    operationId: `${endpoint.method.toLowerCase()}${endpoint.path.replaceAll(/[/:]+(\w)/g, (_all, letter: string) => letter.toUpperCase()).replaceAll(/\W/g, "")}`,
    // Who may, where it is asked: everybody, whoever is known, or those with this among the actions of their role.
    "x-transporter-access": endpoint.access,
    security: endpoint.access === "public" ? [] : [{ bearer: [] }, { cookie: [] }],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(endpoint.body === undefined ? {} : { requestBody: { required: true, content: bodiesOf(endpoint.body, endpoint.otherBodies) } }),
    responses,
  };
}
