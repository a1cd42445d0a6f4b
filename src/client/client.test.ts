import { describe, expect, test } from "bun:test";
import { type ManualPorts, TransporterError, manualPorts, systemPorts } from "../kit/mod.ts";
import type { LogEntry } from "../protocol/mod.ts";
import { type Client, createClient } from "./client.ts";
import { errorOfAnswer } from "./problem.ts";
import { type Fetch, isPassing } from "./transport.ts";

function clientOf(fetch: Fetch, hands: ManualPorts = manualPorts(), more: { maxAnswerBytes?: number } = {}): Client {
  return createClient({ baseUrl: "http://cp.test", timers: hands.ports.timers, random: hands.ports.random, fetch, ...more });
}

async function thrown(promise: Promise<unknown>): Promise<TransporterError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof TransporterError)) throw new Error(`expected a TransporterError, got ${String(error)}`);
  return error;
}

const entry = (seq: number, state: LogEntry["state"] = "in_progress"): LogEntry => ({
  seq,
  event_id: "e",
  agent_id: "a",
  revision: 1,
  timestamp: "2026-01-01T00:00:00Z",
  state,
  phase: "applying",
  level: "info",
  message: `step ${seq}`,
});
const frame = (item: LogEntry): string => `event: status\nid: ${item.seq}\ndata: ${JSON.stringify(item)}\n\n`;
const END = "event: end\ndata: {}\n\n";

function streamOf(...texts: string[]): Response {
  return new Response(texts.join(""), { headers: { "content-type": "text/event-stream" } });
}

test("an event that says more than 0.1 knows is handed in where 0.1 has nothing, as it would apply what is to be deleted", async () => {
  const paths: string[] = [];
  const client = clientOf(async (url) => {
    paths.push(new URL(url).pathname);
    return new Response("404 page not found\n", { status: 404, headers: { "content-type": "text/plain" } });
  });
  const error = await thrown(client.submit("{}", { saysMore: true }));
  expect(error).toMatchObject({ code: "CP_ANSWER", remedy: expect.stringContaining("one of 0.1") });
  await thrown(client.submit("{}"));
  expect(paths).toEqual(["/v1/events", "/events"]);
});

describe("an answer that is no success", () => {
  const problem = {
    type: "about:blank",
    title: "t",
    status: 409,
    detail: "taken",
    code: "EVENT_CONFLICT",
    request_id: "r1",
    remedy: "use another",
  };
  test("becomes the same error with its words, its remedy and its request id", () => {
    const error = errorOfAnswer(409, "application/problem+json", JSON.stringify(problem), "submitting");
    expect(error).toMatchObject({ code: "EVENT_CONFLICT", kind: "conflict", message: "taken", remedy: "use another" });
    expect(error.details).toEqual({ status: 409, request_id: "r1" });
  });
  test("with a code of a later version keeps its words", () => {
    const error = errorOfAnswer(409, "application/problem+json", JSON.stringify({ ...problem, code: "NEW_ONE" }), "submitting");
    expect(error).toMatchObject({ code: "CP_ANSWER", message: "taken (NEW_ONE)" });
  });
  test("in somebody else's words is CP_ANSWER with as much of them as helps", () => {
    expect(errorOfAnswer(502, "text/html", `<html>${"x".repeat(5000)}`, "listing").message.length).toBeLessThan(600);
    expect(errorOfAnswer(500, "application/json", "{", "listing").code).toBe("CP_ANSWER");
    expect(errorOfAnswer(404, "text/plain", "", "listing")).toMatchObject({ message: "listing: HTTP 404" });
  });
});

describe("a request", () => {
  test("that nobody answers is CP_UNREACHABLE with the address", async () => {
    const error = await thrown(clientOf(() => Promise.reject(new Error("connection refused"))).version());
    expect(error.code).toBe("CP_UNREACHABLE");
    expect(error.message).toBe("the control plane at http://cp.test cannot be reached: connection refused");
  });

  test("that hangs ends after its time", async () => {
    const hands = manualPorts();
    const hang: Fetch = (_url, init) =>
      new Promise((_resolve, reject) => init.signal?.addEventListener("abort", () => reject(new Error("aborted"))));
    const waiting = thrown(clientOf(hang, hands).version());
    await hands.advance(30_000);
    expect((await waiting).message).toContain("no answer within 30 s");
    expect(hands.pending).toBe(0);
  });

  test("is never redirected", async () => {
    let asked: RequestInit = {};
    const error = await thrown(
      clientOf((_url, init) => {
        asked = init;
        return Promise.resolve(new Response(null, { status: 302, headers: { location: "http://evil.test/" } }));
      }).version(),
    );
    expect(asked.redirect).toBe("manual");
    expect(error).toMatchObject({ code: "CP_ANSWER" });
    expect(error.message).toContain("redirects to http://evil.test/");
  });

  test("reads no more than it is willing to", async () => {
    const big = (): Promise<Response> => Promise.resolve(new Response("x".repeat(2000)));
    expect((await thrown(clientOf(big, manualPorts(), { maxAnswerBytes: 1000 }).version())).message).toContain("larger than 1000 bytes");
  });

  test("checks what comes back, and says where it is wrong", async () => {
    const odd = (): Promise<Response> => Promise.resolve(Response.json({ version: 1 }));
    expect((await thrown(clientOf(odd).version())).message).toBe("asking for the version: the answer is not as expected at version");
    const html = (): Promise<Response> => Promise.resolve(new Response("<html>"));
    expect((await thrown(clientOf(html).version())).message).toContain("is not JSON");
  });

  test("escapes ids and sends filters as the API names them", async () => {
    const urls: string[] = [];
    const client = clientOf((url) => {
      urls.push(url);
      return Promise.resolve(Response.json({ items: [] }));
    });
    await client.listEvents({
      states: ["queued", "failed"],
      agent: "a&b",
      labels: { team: "shop", "x=y": "1" },
      createdBy: "me",
      limit: 5,
    });
    await client.getEvent("../a?b#c").catch(() => undefined);
    await client.getEvent("..").catch(() => undefined);
    expect(urls).toEqual([
      "http://cp.test/v1/events?state=queued%2Cfailed&agent=a%26b&label=team%3Dshop&label=x%3Dy%3D1&created_by=me&limit=5",
      "http://cp.test/v1/events/..%2Fa%3Fb%23c",
      "http://cp.test/v1/events/%2E%2E",
    ]);
  });

  test("goes to http and https alone", () => {
    expect(() => createClient({ baseUrl: "file:///etc", timers: manualPorts().ports.timers, random: manualPorts().ports.random })).toThrow(
      "not an http",
    );
  });
});

describe("a live stream", () => {
  async function gather(client: Client, hands: ManualPorts, options = {}): Promise<{ seqs: number[]; error: unknown }> {
    const seqs: number[] = [];
    let error: unknown;
    const reading = (async () => {
      for await (const item of client.followEvent("e", options)) seqs.push(item.seq);
    })().catch((reason: unknown) => {
      error = reason;
    });
    const ending = { over: false };
    void reading.then(() => (ending.over = true));
    while (!ending.over) {
      await hands.advance(1000);
      // The runtime's streams need turns of the real loop between the steps of the clock.
      await new Promise<void>((resolve) => systemPorts.timers.soon(resolve));
    }
    return { seqs, error };
  }

  test("goes on after a break where it left off, each entry once, and tells of it", async () => {
    const hands = manualPorts();
    const asked: (string | null)[] = [];
    const told: (string | undefined)[] = [];
    const answers = [
      () => Promise.resolve(streamOf(frame(entry(1)), frame(entry(2)))),
      () => Promise.reject(new Error("connection refused")),
      () => Promise.resolve(new Response("busy", { status: 503 })),
      () => Promise.resolve(streamOf(frame(entry(2)), frame(entry(3, "completed")), END)),
    ];
    const client = clientOf((_url, init) => {
      asked.push(new Headers(init.headers).get("last-event-id"));
      return (answers[asked.length - 1] ?? (() => Promise.reject(new Error("asked too often"))))();
    }, hands);
    const { seqs, error } = await gather(client, hands, { onInterruption: (why?: Error) => told.push(why?.message) });
    expect(error).toBeUndefined();
    expect(seqs).toEqual([1, 2, 3]);
    expect(asked).toEqual([null, "2", "2", "2"]);
    expect(told).toEqual(["http://cp.test ended the stream", undefined]);
  });

  test("ends with what the control plane refuses", async () => {
    const hands = manualPorts();
    const problem = { type: "t", title: "t", status: 404, detail: "no such event", code: "EVENT_NOT_FOUND", request_id: "r", remedy: "m" };
    const client = clientOf(
      () => Promise.resolve(Response.json(problem, { status: 404, headers: { "content-type": "application/problem+json" } })),
      hands,
    );
    expect((await gather(client, hands)).error).toMatchObject({ code: "EVENT_NOT_FOUND" });
  });

  test("that never was there is an error, unless patience was asked for", async () => {
    const hands = manualPorts();
    const refused: Fetch = () => Promise.reject(new Error("connection refused"));
    expect((await gather(clientOf(refused, hands), hands)).error).toMatchObject({ code: "CP_UNREACHABLE" });
    let calls = 0;
    const late: Fetch = () =>
      ++calls < 4 ? Promise.reject(new Error("connection refused")) : Promise.resolve(streamOf(frame(entry(1, "completed")), END));
    expect(await gather(clientOf(late, hands), hands, { patient: true })).toEqual({ seqs: [1], error: undefined });
  });

  test("that falls silent is taken up anew", async () => {
    const hands = manualPorts();
    let calls = 0;
    const client = clientOf((_url, init) => {
      calls += 1;
      if (calls > 1) return Promise.resolve(streamOf(frame(entry(2, "completed")), END));
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(new TextEncoder().encode(frame(entry(1))));
          init.signal?.addEventListener("abort", () => controller.error(new Error("aborted")));
        },
      });
      return Promise.resolve(new Response(body, { headers: { "content-type": "text/event-stream" } }));
    }, hands);
    expect((await gather(client, hands)).seqs).toEqual([1, 2]);
  });

  test("skips what only a later version would understand", async () => {
    const hands = manualPorts();
    const odd = `event: status\nid: 9\ndata: ${JSON.stringify({ ...entry(9), state: "pondering" })}\n\n`;
    const client = clientOf(() => Promise.resolve(streamOf(odd, "event: hint\ndata: {}\n\n", frame(entry(10, "completed")), END)), hands);
    expect((await gather(client, hands)).seqs).toEqual([10]);
  });

  test("stops at once when asked to", async () => {
    const hands = manualPorts();
    const stop = new AbortController();
    const client = clientOf(
      (_url, init) => new Promise((_resolve, reject) => init.signal?.addEventListener("abort", () => reject(new Error("aborted")))),
      hands,
    );
    const reading = client.followEvent("e", { signal: stop.signal }).next();
    const reason = new Error("enough");
    stop.abort(reason);
    expect(await reading.catch((error: unknown) => error)).toBe(reason);
    expect(hands.pending).toBe(0);
  });
});

describe("a credential", () => {
  const denied = (code: string, status: number, headers: Record<string, string> = {}): Response =>
    new Response(
      JSON.stringify({
        type: "about:blank",
        title: "t",
        status,
        detail: "the token is not known",
        code,
        request_id: "r",
        remedy: "log in",
      }),
      { status, headers: { "content-type": "application/problem+json", ...headers } },
    );
  function shown(answer: () => Response): { client: Client; sent: (string | null)[]; refused: () => number } {
    const sent: (string | null)[] = [];
    let refusals = 0;
    const hands = manualPorts();
    const client = createClient({
      baseUrl: "https://cp.test",
      timers: hands.ports.timers,
      random: hands.ports.random,
      credential: { describe: "the token in X", token: async () => "secret", refused: () => void (refusals += 1) },
      fetch: async (_url, init) => {
        sent.push(new Headers(init.headers).get("authorization"));
        return answer();
      },
    });
    return { client, sent, refused: () => refusals };
  }

  test("goes with every request, and with none that anybody may make", async () => {
    const { client, sent } = shown(() => new Response("{}", { headers: { "content-type": "application/json" } }));
    await client.listAgents({}).catch(() => undefined);
    await client.submit("{}").catch(() => undefined);
    await client
      .followAll()
      .next()
      .catch(() => undefined);
    expect(sent).toEqual(["Bearer secret", "Bearer secret", "Bearer secret"]);
    sent.length = 0;
    await client.ca().catch(() => undefined);
    await client.challenge().catch(() => undefined);
    await client.certificateLogin({ nonce: "n", certificate: "c", signature: "s" }).catch(() => undefined);
    expect(sent).toEqual([null, null, null]);
  });

  test("that is not taken is named, never shown, and told to whoever made it", async () => {
    const { client, refused } = shown(() => denied("UNAUTHENTICATED", 401));
    const error = await thrown(client.whoami());
    expect(error.message).toBe("the token is not known (the token in X was shown)");
    expect(error.remedy).toContain("transporter login");
    expect(JSON.stringify([error.message, error.remedy, error.details])).not.toContain("secret");
    expect(refused()).toBe(1);
    const stream = await thrown(client.followAll().next());
    expect(stream.message).toContain("the token in X was shown");
  });

  test("that may not do it is no wrong credential, and too many attempts are not tried again", async () => {
    const { client, refused } = shown(() => denied("ACCESS_DENIED", 403));
    expect((await thrown(client.listTokens({}))).message).toBe("the token is not known");
    expect(refused()).toBe(0);
    const busy = await thrown(shown(() => denied("TOO_MANY_ATTEMPTS", 429, { "retry-after": "7" })).client.whoami());
    expect(busy.details["retry_after_ms"]).toBe(7000);
    expect(isPassing(busy)).toBe(false);
  });
});

test("what the certificate lacks is said with what to do about it", async () => {
  const failing = (code: string, baseUrl = "https://cp.test"): Promise<TransporterError> => {
    const hands = manualPorts();
    const fetch: Fetch = async () => {
      throw Object.assign(new Error("unable to verify"), { code });
    };
    return thrown(createClient({ baseUrl, timers: hands.ports.timers, random: hands.ports.random, fetch }).version());
  };
  expect((await failing("UNABLE_TO_VERIFY_LEAF_SIGNATURE")).remedy).toContain("--ca-hash");
  expect((await failing("ERR_TLS_CERT_ALTNAME_INVALID")).remedy).toContain("other names");
  expect((await failing("CERT_HAS_EXPIRED")).remedy).toContain("clock");
  expect((await failing("EPROTO")).remedy).toContain("listener for agents");
  expect((await failing("ECONNRESET", "http://cp.test")).remedy).toContain("https://");
  expect((await failing("ECONNRESET")).remedy).not.toContain("https://");
});
