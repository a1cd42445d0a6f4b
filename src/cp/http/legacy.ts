import type { Legacy } from "../legacy.ts";
import type { Endpoint } from "./endpoint.ts";

const CALLS: ReadonlySet<string> = new Set(["POST /events", "GET /health", "GET /metrics"]);

/** What 0.1 knew, of all endpoints; how often it is used is counted, so that somebody sees when nobody needs it any more. */
export function legacyEndpoints(endpoints: readonly Endpoint[], legacy: Pick<Legacy, "accepted">): Endpoint[] {
  return endpoints
    .filter(({ method, path }) => CALLS.has(`${method} ${path}`))
    .map((endpoint) =>
      endpoint.method === "GET"
        ? endpoint
        : {
            ...endpoint,
            handler: async (call) => {
              const response = await endpoint.handler(call);
              if (response?.ok === true) legacy.accepted();
              return response;
            },
          },
    );
}
