import { ACTIONS } from "../../src/security/mod.ts";
import type { ErrorCode } from "../../src/protocol/mod.ts";
import { FIELD_WORDS } from "./api-words.ts";
import { markdownTable } from "./generated.ts";

interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly enum?: readonly string[];
  readonly const?: unknown;
  readonly additionalProperties?: Schema | boolean;
  readonly $ref?: string;
}

interface Answer {
  readonly description: string;
  readonly headers?: Readonly<Record<string, { readonly description: string }>>;
  readonly content?: Readonly<Record<string, { readonly schema?: Schema }>>;
  readonly "x-transporter-codes"?: readonly ErrorCode[];
}

export interface Operation {
  readonly summary: string;
  readonly "x-transporter-access": string;
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly description?: string }[];
  readonly requestBody?: { readonly content: { readonly "application/json": { readonly schema: Schema } } };
  readonly responses: Readonly<Record<string, Answer>>;
}

export interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

/** The parts of docs/api.md, and which paths stand in each. */
const GROUPS: Readonly<Record<string, readonly string[]>> = {
  events: ["/events", "/v1/events"],
  streams: ["/v1/events/{id}/stream", "/v1/stream"],
  agents: ["/v1/agents"],
  "the control plane": ["/livez", "/readyz", "/health", "/metrics", "/v1/version", "/v1/replicas", "/v1/audit", "/openapi.json"],
  "who asks": ["/v1/whoami", "/v1/can-i", "/v1/challenges", "/v1/certificate-logins", "/v1/session"],
  tokens: ["/v1/tokens"],
  identities: ["/v1/ca", "/v1/enrolments", "/v1/identities"],
  "the socket of agents": ["/ws"],
};

/** Objects that come up more than once: where each stands in the document. "body" is what is sent. */
const SHAPES: readonly (readonly [name: string, operation: string, answer: string, field: string])[] = [
  ["NewEvent", "POST /events", "body", ""],
  ["LogEntry", "GET /v1/events/{id}", "200", "log"],
  ["Result", "GET /v1/events/{id}", "200", "result"],
  ["Event", "GET /v1/events", "200", "items"],
  ["Agent", "GET /v1/agents/{id}", "200", ""],
  ["AuditEntry", "GET /v1/audit", "200", "items"],
  ["Replica", "GET /v1/replicas", "200", "items"],
  ["Scope", "GET /v1/whoami", "200", "scope"],
  ["Token", "GET /v1/tokens/{id}", "200", ""],
  ["EnrolmentAnswer", "POST /v1/enrolments", "200", ""],
  ["Enrolment", "POST /v1/enrolments/{id}/approve", "200", ""],
  ["Identity", "GET /v1/identities/{id}", "200", ""],
];

/** Null, and strictness about fields that are not known, are no part of what an object is. */
function bare(schema: Schema): Schema {
  const kept = (schema.anyOf ?? []).filter(({ type }) => type !== "null");
  const [only] = kept;
  if (schema.anyOf !== undefined && only !== undefined && kept.length === 1) return bare(only);
  if (schema.additionalProperties !== false) return schema;
  const { additionalProperties: _strict, ...rest } = schema;
  return rest;
}

const itemOf = (schema: Schema): Schema => (bare(schema).type === "array" ? bare(bare(schema).items ?? {}) : bare(schema));
const same = (one: Schema | undefined, other: Schema | undefined): boolean =>
  one !== undefined && other !== undefined && JSON.stringify(bare(one)) === JSON.stringify(bare(other));

/** What the page says of the document. `unsaid`: fields without words; `unused`: words without a field. */
export class ApiReference {
  readonly #operations = new Map<string, Operation>();
  readonly #shapes: { readonly name: string; readonly schema: Schema }[] = [];
  readonly #used = new Set<string>();
  readonly unsaid: string[] = [];

  constructor(document: OpenApi) {
    for (const [path, methods] of Object.entries(document.paths))
      for (const [method, operation] of Object.entries(methods)) this.#operations.set(`${method.toUpperCase()} ${path}`, operation);
    for (const [name, key, answer, field] of SHAPES) {
      const operation = this.#operations.get(key);
      const schema = answer === "body" ? bodyOf(operation) : jsonOf(operation?.responses[answer]);
      const found = field === "" ? schema : schema?.properties?.[field];
      if (found === undefined) throw new Error(`${key} has no ${answer} ${field} for ${name}`);
      this.#shapes.push({ name, schema: itemOf(found) });
    }
    const problem = document.components.schemas["Problem"];
    if (problem === undefined) throw new Error("the document has no Problem");
    this.#shapes.push({ name: "Problem", schema: problem });
  }

  get unused(): string[] {
    return Object.keys(FIELD_WORDS).filter((key) => !this.#used.has(key));
  }

  /** The generated parts by the names of their marks. */
  parts(): Record<string, string> {
    const groups = Object.entries(GROUPS).map(([name, paths]) => [
      name,
      [...this.#operations]
        .filter(([key]) => groupOf(key.split(" ")[1] ?? "") === name)
        .map(([key, operation]) => this.#operation(key, operation))
        .join("\n\n"),
      paths,
    ]);
    const objects = this.#shapes
      .map(({ name, schema }) => `### ${name}\n\n${this.#fields(name, schema, name === "NewEvent")}`)
      .join("\n\n");
    return { ...Object.fromEntries(groups.map(([name, text]) => [`api of ${String(name)}`, String(text)])), "api objects": objects };
  }

  /** What belongs to no part: an endpoint that nobody put anywhere. */
  get homeless(): string[] {
    return [...this.#operations.keys()].filter((key) => groupOf(key.split(" ")[1] ?? "") === undefined);
  }

  #operation(key: string, operation: Operation): string {
    // Those of the path stand in the heading.
    const parameters = (operation.parameters ?? []).filter((one) => one.in !== "path");
    const body = bodyOf(operation);
    return [
      `### ${key}`,
      operation.summary,
      accessOf(operation["x-transporter-access"]),
      ...(parameters.length === 0
        ? []
        : [
            markdownTable(
              ["parameter", "in", "meaning"],
              parameters.map(({ name, in: place, description }) => [`\`${name}\``, place, description ?? ""]),
            ),
          ]),
      ...(body === undefined ? [] : [`Body: ${this.#object(key, body, true)}`.replace(": \n", ":\n")]),
      ...this.#answers(key, operation),
      errorsOf(operation),
    ].join("\n\n");
  }

  #answers(key: string, { responses }: Operation): string[] {
    const out: string[] = [];
    let before: { readonly status: string; readonly schema: Schema } | undefined;
    for (const [status, answer] of Object.entries(responses)) {
      if (status === "default" || answer["x-transporter-codes"] !== undefined) continue;
      const headers = Object.entries(answer.headers ?? {}).map(([name, { description }]) => ` \`${name}\`: ${description}`);
      const schema = jsonOf(answer);
      const [mediaType = ""] = Object.keys(answer.content ?? {});
      const told = /[.:]$/.test(answer.description) ? answer.description : `${answer.description}.`;
      const isNothing = status === "101" || status === "204";
      const start = `**${status}**${schema === undefined && !isNothing ? ` (\`${mediaType}\`)` : ""}: ${told}${headers.join("")}`;
      if (schema === undefined) out.push(start);
      else if (before !== undefined && same(before.schema, schema)) out.push(`${start} The same object as with ${before.status}.`);
      else out.push(`${start} ${this.#object(key, schema, false)}`.replace(" \n", "\n"));
      if (schema !== undefined) before = { status, schema };
    }
    return out;
  }

  /** By the name of a shape where it is one or adds to one, else field by field. */
  #object(key: string, schema: Schema, isBody: boolean): string {
    const known = this.#shapes.find((shape) => same(shape.schema, schema));
    if (known !== undefined) return `${linkOf(known.name)}.`;
    const page = bare(schema).properties?.["items"];
    const item = page === undefined ? undefined : this.#shapes.find((shape) => same(shape.schema, itemOf(page)));
    if (item !== undefined) {
      for (const name of Object.keys(bare(schema).properties ?? {})) this.#words(key, name);
      return `\`items\`: ${linkOf(item.name)} each${bare(schema).properties?.["next_cursor"] === undefined ? "" : "; `next_cursor` where there are more"}.`;
    }
    const properties = bare(schema).properties ?? {};
    const base = this.#shapes.find(
      ({ schema: { properties: theirs = {} } }) =>
        Object.keys(theirs).length > 3 && Object.keys(theirs).every((name) => Object.hasOwn(properties, name)),
    );
    const theirs = base?.schema.properties ?? {};
    const own = Object.fromEntries(
      Object.entries(properties).filter(
        ([name, field]) => base === undefined || !same(theirs[name], field) || isRequired(base.schema, name) !== isRequired(schema, name),
      ),
    );
    const table = this.#fields(key, { ...bare(schema), properties: own }, isBody);
    return base === undefined ? `\n\n${table}` : `All of ${linkOf(base.name)}, and:\n\n${table}`;
  }

  #fields(owner: string, schema: Schema, isBody: boolean): string {
    const rows = this.#rows(owner, "", schema);
    return markdownTable(["field", "type", isBody ? "needed" : "always", "meaning"], rows);
  }

  #rows(owner: string, path: string, schema: Schema): string[][] {
    return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
      const here = `${path}${name}`;
      const inner = itemOf(field);
      const shape = this.#shapes.find((one) => one.name !== owner && same(one.schema, inner));
      const row = [`\`${here}\``, this.#type(field, shape?.name), isRequired(schema, name) ? "yes" : "", this.#words(owner, here)];
      const isNested = shape === undefined && inner.properties !== undefined;
      return [row, ...(isNested ? this.#rows(owner, `${here}${bare(field).type === "array" ? "[]." : "."}`, inner) : [])];
    });
  }

  #type(field: Schema, shape: string | undefined): string {
    const schema = bare(field);
    if (schema.type === "array") return `list of ${shape === undefined ? this.#type(schema.items ?? {}, undefined) : linkOf(shape)}`;
    if (shape !== undefined) return linkOf(shape);
    if (schema.anyOf !== undefined) {
      const types = schema.anyOf.filter(({ type }) => type !== "null").map((one) => this.#type(one, undefined));
      // The two forms of a duration.
      return types.join(" or ") === "integer or string" ? "nanoseconds, or as `1h30m`" : types.join(" or ");
    }
    if (schema.enum !== undefined) return schema.enum.map((word) => `\`${word}\``).join(", ");
    if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
    if (schema.type !== "object" || schema.properties !== undefined) return schema.type ?? "anything";
    return typeof schema.additionalProperties === "object" && schema.additionalProperties.type === "string" ? "texts by name" : "object";
  }

  #words(owner: string, path: string): string {
    const last = path.split(/\.|\[\]\./).at(-1) ?? "";
    const key = [`${owner}.${path}`, last].find((one) => Object.hasOwn(FIELD_WORDS, one));
    if (key === undefined) this.unsaid.push(`${owner}.${path}`);
    else this.#used.add(key);
    return key === undefined ? "" : (FIELD_WORDS[key] ?? "");
  }
}

/** The longest beginning decides: streams are not events. */
function groupOf(path: string): string | undefined {
  const fits = Object.entries(GROUPS).flatMap(([name, paths]) =>
    paths
      .filter((beginning) => path === beginning || path.startsWith(`${beginning}/`))
      .map((beginning) => ({ name, length: beginning.length })),
  );
  return fits.toSorted((one, other) => other.length - one.length)[0]?.name;
}

function bodyOf(operation: Operation | undefined): Schema | undefined {
  return operation?.requestBody?.content["application/json"].schema;
}

function jsonOf(answer: Answer | undefined): Schema | undefined {
  const schema = answer?.content?.["application/json"]?.schema;
  return schema?.properties === undefined ? undefined : schema;
}

function isRequired(schema: Schema, name: string): boolean {
  return bare(schema).required?.includes(name) ?? false;
}

function linkOf(shape: string): string {
  return `[${shape}](#${shape.toLowerCase()})`;
}

function accessOf(access: string): string {
  if (access === "public") return "Access: everybody.";
  if (access === "authenticated") return "Access: whoever is known, with any role.";
  const action = Object.entries(ACTIONS).find(([name]) => name === access)?.[1];
  if (action === undefined) throw new Error(`${access} is no action`);
  const roles = action.roles.map((role) => (role === "agent" && action.over === "agents" ? "agent (its own)" : role));
  const over = { agents: " The scope decides besides.", installation: " Nobody with a scope.", status: "" }[action.over];
  return `Access: \`${access}\`, which these roles have: ${roles.join(", ")}.${over}`;
}

function errorsOf({ responses }: Operation): string {
  const codes = Object.entries(responses).flatMap(([status, answer]) =>
    answer["x-transporter-codes"] === undefined
      ? []
      : [`${status} ${answer["x-transporter-codes"].map((code) => `\`${code}\``).join(", ")}`],
  );
  return `Errors: ${codes.join("; ")}.`;
}
