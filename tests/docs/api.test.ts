import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ApiReference, type OpenApi } from "../support/api-reference.ts";
import { anEvent, startCp, type TestControlPlane } from "../support/cp.ts";
import { generatedParts, partsMarked } from "../support/generated.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";
import { readText } from "./markdown.ts";
import { followPage } from "./steps.ts";

const PAGE = "docs/api.md";

async function documentOf(cp: TestControlPlane | SecureControlPlane): Promise<OpenApi> {
  return cp.json<OpenApi>("/openapi.json");
}

describe("docs/api.md", () => {
  test("says every endpoint, field and error as /openapi.json of a running control plane has them (UPDATE_DOCS=1 writes them)", async () => {
    await using cp = await startCp();
    const reference = new ApiReference(await documentOf(cp));
    const parts = reference.parts();
    for (const { name, stands, wanted } of await generatedParts(PAGE, parts)) expect(stands, name).toBe(wanted);
    expect(partsMarked(await readText(PAGE)).toSorted()).toEqual(Object.keys(parts).toSorted());
    // Every endpoint has its part, every field its words, and no words are left over from a field that went.
    expect({ homeless: reference.homeless, unsaid: reference.unsaid, unused: reference.unused }).toEqual({
      homeless: [],
      unsaid: [],
      unused: [],
    });
  });

  test("has examples that do and print what it says", async () => {
    await using cp = await startSecureCp();
    await using _agent = await cp.dial(await cp.enrol("shop-1"));
    const home = await mkdtemp(join(tmpdir(), "transporter-api-"));
    try {
      const ca = join(home, "ca.crt");
      await Bun.write(ca, cp.ca);
      const env = { PATH: process.env["PATH"] ?? "/usr/bin:/bin", CP: cp.url, CA: ca, TOKEN: cp.tokens.admin };
      expect(await followPage(PAGE, { home, cwd: home, env })).toBeGreaterThan(7);
      expect(((await Bun.file(join(home, "paused.json")).json()) as { paused: boolean }).paused).toBe(true);
      expect(((await Bun.file(join(home, "resumed.json")).json()) as { paused: boolean }).paused).toBe(false);
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  }, 30_000);
});

/** A request, and the code that it is refused with. `path` may have a concrete id where the document has {id}. */
type Refusal = readonly [operation: string, path: string, code: string, init?: RequestInit & { readonly token?: string | undefined }];

const JSON_TYPE = { "content-type": "application/json" };
const post = (body: unknown, headers: Record<string, string> = JSON_TYPE): RequestInit => ({
  method: "POST",
  headers,
  body: typeof body === "string" ? body : JSON.stringify(body),
});

/** The codes that the document names for an operation, with their status. */
function codesOf(document: OpenApi, operation: string): Map<string, number> {
  const [method = "", path = ""] = operation.split(" ");
  const found = document.paths[path]?.[method.toLowerCase()];
  if (found === undefined) throw new Error(`there is no ${operation}`);
  return new Map(
    Object.entries(found.responses).flatMap(([status, { "x-transporter-codes": codes = [] }]) =>
      codes.map((code) => [code, Number(status)] as const),
    ),
  );
}

describe("the errors that /openapi.json names", () => {
  test("are those that come", async () => {
    await using cp = await startSecureCp();
    const { admin, producer, viewer, operator } = cp.tokens;
    const ended = anEvent({ target_agent: "shop-9" });
    const waiting = anEvent({ target_agent: "shop-9" });
    for (const event of [ended, waiting]) await cp.json("/v1/events", { ...post(event), token: admin }, 202);
    await cp.json(`/v1/events/${ended.id}`, { method: "DELETE", token: admin });
    const enrolment = await cp.token({ kind: "enrolment", agent: "shop-1", ttl: 60_000_000_000 });
    const refusals: readonly Refusal[] = [
      ["POST /events", "/events", "UNAUTHENTICATED", post(anEvent())],
      ["POST /events", "/events", "ACCESS_DENIED", { ...post(anEvent()), token: viewer }],
      ["POST /events", "/events", "INVALID_JSON", { ...post("{"), token: producer }],
      ["POST /events", "/events", "MISSING_TARGET_AGENT", { ...post({ ...anEvent(), target_agent: "" }), token: producer }],
      ["POST /events", "/events", "EMPTY_MANIFESTS", { ...post({ ...anEvent(), payload: {} }), token: producer }],
      [
        "POST /events",
        "/events",
        "INVALID_CLOUDEVENT",
        { ...post({ specversion: "0.3" }, { "content-type": "application/cloudevents+json" }), token: producer },
      ],
      [
        "POST /events",
        "/events",
        "UNSUPPORTED_MEDIA_TYPE",
        { ...post([], { "content-type": "application/cloudevents-batch+json" }), token: producer },
      ],
      ["POST /events", "/events", "UNKNOWN_EVENT_TYPE", { ...post({ ...anEvent(), type: "helm" }), token: producer }],
      [
        "POST /v1/events",
        "/v1/events",
        "UNSUPPORTED_MEDIA_TYPE",
        { ...post(anEvent(), { "content-type": "text/plain" }), token: producer },
      ],
      ["POST /v1/events", "/v1/events", "INVALID_TTL", { ...post({ ...anEvent(), ttl: 1 }), token: producer }],
      ["POST /v1/events", "/v1/events", "EVENT_CONFLICT", { ...post({ ...waiting, priority: 7 }), token: producer }],
      [
        "POST /v1/events",
        "/v1/events",
        "EVENT_EXPIRED",
        { ...post({ ...anEvent(), created_at: "2020-01-01T00:00:00Z", ttl: "1h" }), token: producer },
      ],
      ["GET /v1/events", "/v1/events?colour=red", "INVALID_QUERY", { token: viewer }],
      ["GET /v1/events", "/v1/events?cursor=mine", "INVALID_CURSOR", { token: viewer }],
      ["GET /v1/events/{id}", "/v1/events/nobody", "EVENT_NOT_FOUND", { token: viewer }],
      ["GET /v1/events/{id}", `/v1/events/${waiting.id}?payload=true`, "ACCESS_DENIED", { token: viewer }],
      ["DELETE /v1/events/{id}", "/v1/events/nobody", "EVENT_NOT_FOUND", { method: "DELETE", token: producer }],
      ["POST /v1/events/{id}/retry", `/v1/events/${waiting.id}/retry`, "EVENT_NOT_RETRYABLE", { method: "POST", token: producer }],
      ["GET /v1/events/{id}/stream", "/v1/events/nobody/stream", "EVENT_NOT_FOUND", { token: viewer }],
      ["GET /v1/stream", "/v1/stream", "INVALID_QUERY", { headers: { "last-event-id": "mine" }, token: viewer }],
      ["GET /v1/agents/{id}", "/v1/agents/nobody", "AGENT_NOT_FOUND", { token: viewer }],
      ["DELETE /v1/agents/{id}", "/v1/agents/nobody", "AGENT_NOT_FOUND", { method: "DELETE", token: operator }],
      ["POST /v1/agents/{id}/pause", "/v1/agents/nobody/pause", "ACCESS_DENIED", { method: "POST", token: producer }],
      ["GET /v1/audit", "/v1/audit", "ACCESS_DENIED", { token: producer }],
      ["GET /readyz", "/readyz?verbose", "UNAUTHENTICATED"],
      ["GET /metrics", "/metrics", "UNAUTHENTICATED"],
      ["GET /v1/whoami", "/v1/whoami", "UNAUTHENTICATED"],
      ["GET /v1/whoami", "/v1/whoami", "FOREIGN_ORIGIN", { headers: { origin: "https://elsewhere.example" }, token: viewer }],
      ["GET /v1/can-i", "/v1/can-i", "INVALID_QUERY", { token: viewer }],
      ["POST /v1/certificate-logins", "/v1/certificate-logins", "INVALID_REQUEST", post({})],
      ["POST /v1/tokens", "/v1/tokens", "INVALID_REQUEST", { ...post({ kind: "user" }), token: admin }],
      ["POST /v1/tokens", "/v1/tokens", "ACCESS_DENIED", { ...post({ kind: "user", role: "viewer" }), token: operator }],
      ["GET /v1/tokens/{id}", "/v1/tokens/nobody", "TOKEN_NOT_FOUND", { token: admin }],
      ["POST /v1/enrolments", "/v1/enrolments", "UNAUTHENTICATED", post({ agent_id: "shop-1", csr: "x" })],
      ["POST /v1/enrolments", "/v1/enrolments", "INVALID_CSR", { ...post({ agent_id: "shop-1", csr: "x" }), token: enrolment.token }],
      ["POST /v1/enrolments", "/v1/enrolments", "ENROLMENT_REFUSED", { ...post({ agent_id: "shop-1", csr: "x" }), token: viewer }],
      ["POST /v1/enrolments/{id}/approve", "/v1/enrolments/nobody/approve", "ENROLMENT_NOT_FOUND", { method: "POST", token: operator }],
      ["GET /v1/identities/{id}", "/v1/identities/nobody", "IDENTITY_NOT_FOUND", { token: viewer }],
      ["GET /ws", "/ws", "ACCESS_DENIED"],
    ];
    const document = await documentOf(cp);
    const found: string[] = [];
    for (const [operation, path, code, init] of refusals) {
      const response = await cp.fetch(path, init);
      const problem = (await response.json()) as { code?: string };
      const named = codesOf(document, operation).get(code);
      if (problem.code !== code || response.status !== named)
        found.push(`${operation} ${path}: ${response.status} ${String(problem.code)}, the document has ${code} with ${String(named)}`);
    }
    expect(found).toEqual([]);
  }, 30_000);

  test("say so where nobody is asked who they are", async () => {
    await using cp = await startCp();
    const document = await documentOf(cp);
    for (const path of ["/v1/ca", "/v1/tokens", "/v1/identities", "/v1/enrolments"]) {
      const response = await cp.get(path);
      expect(((await response.json()) as { code: string }).code).toBe("NOT_FOUND");
      expect(codesOf(document, `GET ${path}`).get("NOT_FOUND")).toBe(response.status);
    }
  });
});
