import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Arbitrary, array, assert, asyncProperty, constant, constantFrom, nat, oneof, record, tuple } from "fast-check";
import { CODES } from "../../src/protocol/mod.ts";
import { anEvent } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { count } from "../support/prove.ts";
import { dialAgent, protocol2, type WireAgent } from "../support/wire-agent.ts";
import { expectNoGrowth, Subject } from "./subject.ts";
import { asText, mutated, nastyText, oddJson, rawBytes, textOf } from "./values.ts";

const AT_ONCE = 20;
let home = "";
let subject: Subject;
let url = "";
let agent: WireAgent;

beforeAll(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), "transporter-fuzz-")));
  ({ subject, url } = await Subject.controlPlane(join(home, "cp.db")));
  agent = await dialAgent(`${url.replace("http", "ws")}/ws`, protocol2({ id: "good" }));
  for (let at = 0; at < 5; at += 1) await goodEvent();
});
afterAll(async () => {
  await agent?.[Symbol.asyncDispose]();
  await subject?.[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

/** An event as they should be still gets to its end. */
async function goodEvent(): Promise<void> {
  const event = anEvent({ target_agent: "good" });
  const response = await fetch(`${url}/v1/events`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(event),
  });
  expect(response.status).toBe(202);
  await agent.event(event.id);
  agent.report(event.id);
  await eventually(async () => ((await (await fetch(`${url}/v1/events/${event.id}`)).json()) as { state: string }).state === "completed");
}

interface Case {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | { readonly deep: string };
}

const whole = {
  id: "fuzz",
  type: "k8s_resource",
  target_agent: "nobody",
  payload: { manifests: ["kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: x\n"], verify_timeout: "1m", force_conflicts: false },
  created_at: "2026-11-22T02:14:57.027312785Z",
  created_by: "fuzz",
  ttl: 3_600_000_000_000,
  deadline: "1h",
  delay: "5s",
  not_before: "2036-11-22T02:14:57Z",
  priority: 7,
  retry: { attempts: 3, backoff: "1s", max_backoff: "1m" },
  labels: { team: "a" },
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
};
/** The same as a CloudEvent, and with all that an event can say of its objects. */
const wrapped = {
  specversion: "1.0",
  id: "fuzz",
  source: "/fuzz",
  type: "dev.transporter.event.v1",
  subject: "a",
  time: "2026-11-22T02:14:57Z",
  datacontenttype: "application/json",
  traceparent: whole.traceparent,
  data: { ...whole, id: null },
};
const object = { api_version: "apps/v1", kind: "Deployment", namespace: "x", name: "x" };
const operations = {
  ...whole,
  payload: {
    operation: "delete",
    references: [object],
    patches: [{ ...object, type: "merge", patch: "{}" }],
    propagation_policy: "orphan",
    ignore_fields: [{ kind: "Deployment", pointers: ["/spec/replicas"] }],
    on_immutable: "recreate",
    on_failure: "rollback",
    ready_when: [{ ready: "true", failed: "false" }],
    service_account: "a/b",
    impersonate: { user: "u", groups: ["g"], uid: "1", extra: { a: ["b"] } },
    plan: "p1-0",
  },
};
const script = { id: "fuzz", type: "script", target_agent: "nobody", payload: { script: "echo", args: ["a"] } };
const policy = { id: "fuzz", type: "policy", target_agent: "nobody", payload: { policy_rules: [{ a: 1 }] } };

/** Header values that fetch lets through. */
const headerText: Arbitrary<string> = nastyText.map((text) => text.replaceAll(/[^\x20-\x7e]/g, "~").trim());

const binaryHeaders = record({
  "ce-specversion": constantFrom("1.0", "1.0", "0.3", ""),
  "ce-id": oneof(constant("fuzz"), constant("Euro%20%E2%82%AC"), headerText),
  "ce-source": oneof(constant("/fuzz"), headerText),
  "ce-type": oneof(constant("a"), headerText),
  "ce-fuzz": headerText,
});

const submissions: Arbitrary<Case> = record({
  method: constant("POST"),
  path: constantFrom("/events", "/v1/events"),
  headers: tuple(
    constantFrom(
      "application/json",
      "application/json; charset=utf-8",
      "text/plain",
      "application/yaml",
      "",
      "application/cloudevents+json",
      "application/cloudevents-batch+json",
    ),
    oneof(constant(undefined), headerText),
    constantFrom(undefined, undefined, undefined, "gzip", "br"),
    oneof(constant({}), binaryHeaders),
  ).map(([type, key, encoding, attributes]) => ({
    ...attributes,
    ...(type === "" ? {} : { "content-type": type }),
    ...(key === undefined ? {} : { "idempotency-key": key }),
    ...(encoding === undefined ? {} : { "content-encoding": encoding }),
  })),
  body: oneof(
    { arbitrary: asText(mutated(whole, wrapped, operations, script, policy)), weight: 6 },
    { arbitrary: oddJson, weight: 1 },
    { arbitrary: rawBytes, weight: 1 },
  ),
});

const names = [
  "state",
  "agent",
  "type",
  "label",
  "created_by",
  "since",
  "until",
  "limit",
  "cursor",
  "cluster",
  "action",
  "event",
  "payload",
  "verbose",
];
const queries: Arbitrary<Case> = record({
  method: constantFrom("GET", "GET", "GET", "HEAD"),
  path: tuple(
    constantFrom("/v1/events", "/v1/agents", "/v1/audit", "/readyz", "/v1/events/fuzz", "/metrics", "/openapi.json"),
    array(
      tuple(
        oneof(constantFrom(...names), nastyText),
        oneof(nastyText, constantFrom("failed", "queued,failed", "a=b", "=", "500", "501", "1")),
      ),
      {
        maxLength: 4,
      },
    ),
  ).map(([path, pairs]) => `${path}?${pairs.map(([key, value]) => `${enc(key)}=${enc(value)}`).join("&")}`),
  headers: constantFrom({}, { accept: "text/plain" }, { accept: "application/openmetrics-text;q=x" }),
});

const ids: Arbitrary<Case> = record({
  method: constantFrom("GET", "GET", "DELETE", "POST", "PUT", "PATCH", "OPTIONS"),
  path: tuple(
    constantFrom(
      "/v1/events/:id",
      "/v1/events/:id/stream",
      "/v1/events/:id/retry",
      "/v1/agents/:id",
      "/v1/agents/:id/pause",
      "/v1/agents/:id/resume",
      "/v1/stream",
      "/:id",
      "/v1/:id",
    ),
    oneof(nastyText.map(enc), constantFrom("fuzz", "%", "%zz", "%e0%a4%a", "..", ".", "%2e%2e%2f", "%00", "%ff%fe", "a%2fb")),
  ).map(([path, id]) => path.replace(":id", id)),
  headers: record({ "last-event-id": oneof(headerText, constantFrom("0", "1", "999999999999999", "1e3", "-1")) }),
});

function enc(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

async function check(one: Case): Promise<void> {
  const leave = new AbortController();
  const response = await fetch(url + one.path, {
    method: one.method,
    headers: one.headers,
    redirect: "manual",
    signal: leave.signal,
    ...(one.body === undefined ? {} : { body: (one.body instanceof Uint8Array ? one.body : textOf(one.body)) as string }),
  });
  const type = response.headers.get("content-type") ?? "";
  if (type === "text/event-stream") {
    // It may go on for ever.
    leave.abort();
    return;
  }
  const text = await response.text();
  const { status } = response;
  if (status < 400) return;
  if (status >= 500 && ![503, 504, 507].includes(status)) throw new Error(`answered ${status}: ${text.slice(0, 500)}`);
  if (one.path.startsWith("/readyz") && status === 503) return;
  if (one.method === "HEAD") return;
  if (type !== "application/problem+json") throw new Error(`answered ${status} as ${type}: ${text.slice(0, 500)}`);
  const { code } = JSON.parse(text) as { readonly code: string };
  if (!Object.hasOwn(CODES, code)) throw new Error(`answered ${status} with the code ${code}`);
}

describe("whatever comes over HTTP", () => {
  test(
    "is answered with a code of ours, and a good event goes on as before",
    async () => {
      const anything = oneof({ arbitrary: submissions, weight: 3 }, queries, ids);
      let cases = 0;
      const some = (batches: number): Promise<void> =>
        assert(
          asyncProperty(array(anything, { minLength: AT_ONCE, maxLength: AT_ONCE }), async (all) => {
            cases += all.length;
            await Promise.all(all.map(check));
            subject.expectWell();
          }),
          { numRuns: batches },
        );
      const batches = Math.ceil(count(3_000, 35_000) / AT_ONCE);
      await some(Math.ceil(batches / 3));
      await goodEvent();
      const warm = await subject.memory();
      await some(batches);
      await goodEvent();
      expectNoGrowth("HTTP", cases, warm, await subject.memory(), count(48, 96));
      subject.expectWell();
    },
    count(60_000, 600_000),
  );

  test(
    "bytes that are no HTTP at all, or only nearly",
    async () => {
      const head = constantFrom(
        "POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\n",
        "POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /v1/events/%zz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET http://evil.example/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99\r\nSec-WebSocket-Key: x\r\n\r\n",
        "HEAD / HTTP/0.9\r\n\r\n",
        "",
      );
      await assert(
        asyncProperty(array(tuple(head, rawBytes, nat({ max: 20 })), { minLength: AT_ONCE, maxLength: AT_ONCE }), async (all) => {
          await Promise.all(all.map(([text, bytes, at]) => raw(Buffer.concat([Buffer.from(text), bytes.subarray(at)]))));
          subject.expectWell();
        }),
        { numRuns: Math.ceil(count(400, 4_000) / AT_ONCE) },
      );
      await goodEvent();
      subject.expectWell();
    },
    count(30_000, 300_000),
  );
});

/** Writes the bytes and half-closes; waits until the other side has hung up, or a little. */
async function raw(bytes: Uint8Array): Promise<void> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.on("error", () => undefined);
  const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
  socket.on("data", (data: Buffer) => {
    const status = Number(/^HTTP\/1\.\d (\d{3})/.exec(data.toString("latin1"))?.[1] ?? 0);
    if (status >= 500 && status !== 503 && status !== 505) subject.process.kill("SIGKILL").catch(() => undefined);
  });
  socket.end(bytes);
  await Promise.race([closed, Bun.sleep(100)]);
  socket.destroy();
}
