import * as v from "valibot";
import { TransporterError } from "../kit/mod.ts";
import type { Transport } from "./transport.ts";

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

type Query = readonly (readonly [string, string | number | undefined])[];

function withQuery(path: string, query: Query): string {
  const params = new URLSearchParams();
  for (const [name, value] of query) if (value !== undefined) params.append(name, String(value));
  const text = params.toString();
  return text === "" ? path : `${path}?${text}`;
}

const segment = (id: string): string => {
  // A segment of dots would be taken for a step up; such ids are legal on the wire, so they are escaped by hand.
  if (/^\.{1,2}$/.test(id)) return id.replaceAll(".", "%2E");
  return encodeURIComponent(id);
};

export function checked<const S extends v.GenericSchema>(schema: S, value: unknown, what: string): v.InferOutput<S> {
  const parsed = v.safeParse(schema, value, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const where = parsed.issues[0].path?.map((item) => String(item.key)).join(".") ?? "";
  throw new TransporterError("CP_ANSWER", `${what}: the answer is not as expected${where === "" ? "" : ` at ${where}`}`, {
    remedy: "The control plane may be of another version; compare with `transporter version`.",
  });
}

type Ask = CallOptions & { readonly anonymous?: boolean };

/** What the typed calls are made of: ask, and check what comes against its schema. */
export interface Caller {
  readonly get: <const S extends v.GenericSchema>(schema: S, path: string, what: string, call?: Ask) => Promise<v.InferOutput<S>>;
  readonly change: <const S extends v.GenericSchema>(
    schema: S,
    method: "POST" | "DELETE",
    path: string,
    what: string,
    call?: Ask & { readonly body?: unknown },
  ) => Promise<v.InferOutput<S>>;
  readonly segment: (id: string) => string;
  readonly withQuery: (path: string, query: Query) => string;
}

export function callerOf(transport: Transport): Caller {
  return {
    get: async (schema, path, what, { signal, anonymous = false } = {}) =>
      checked(schema, await transport.json({ method: "GET", path, what, signal, anonymous }), what),
    change: async (schema, method, path, what, { signal, anonymous = false, body } = {}) =>
      checked(
        schema,
        await transport.json({ method, path, what, signal, anonymous, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }),
        what,
      ),
    segment,
    withQuery,
  };
}
