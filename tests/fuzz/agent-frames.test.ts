import type { ServerWebSocket } from "bun";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readFile, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Arbitrary, array, assert, asyncProperty, constantFrom, oneof } from "fast-check";
import { configMap, eventFrame } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { count } from "../support/prove.ts";
import { expectNoGrowth, Subject } from "./subject.ts";
import { asText, mutated, nastyText, oddJson, rawBytes, textOf } from "./values.ts";

type Json = Record<string, unknown>;
type Said = string | Uint8Array | { readonly deep: string };

const FRAMES = 25;
const GOOD_REPLY = '{"message":"ok","status":"registered","protocol":"2","features":"ack,credit,cancel,chunk,resync"}';

/** A control plane that says anything at all, and acknowledges what a good one would. */
class AnyCp {
  readonly #ended = new Set<string>();
  socket: ServerWebSocket | undefined;
  /** Also one that was answered without sense: an agent may have taken that for good. */
  #latest: ServerWebSocket | undefined;
  registrations = 0;
  reply: string | Uint8Array = GOOD_REPLY;
  readonly #server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request, server) => (server.upgrade(request) ? undefined : new Response("no", { status: 400 })),
    websocket: {
      maxPayloadLength: 64 * 1024 * 1024,
      message: (socket, message) => this.#message(socket, JSON.parse(String(message)) as Json),
      close: (socket) => {
        if (this.socket === socket) this.socket = undefined;
      },
    },
  });
  readonly url = `ws://127.0.0.1:${this.#server.port}/ws`;

  #message(socket: ServerWebSocket, frame: Json): void {
    switch (frame["type"]) {
      case undefined:
        this.registrations += 1;
        this.#latest = socket;
        socket.send(this.reply);
        if (this.reply === GOOD_REPLY) this.socket = socket;
        return;
      case "status_update":
        if (["completed", "failed", "expired", "cancelled"].includes(String(frame["state"]))) this.#ended.add(String(frame["event_id"]));
        socket.send(JSON.stringify({ type: "status_ack", boot_id: frame["boot_id"], seq: frame["seq"] }));
        return;
      case "payload_get":
        // Or its event would keep its place in the schedule for ever.
        socket.send(JSON.stringify({ type: "payload_piece", digest: frame["digest"], offset: frame["offset"], data: null }));
    }
  }

  /** Ends the connection that there is. */
  hangUp(): void {
    this.#latest?.close();
    this.socket = undefined;
  }

  async connected(): Promise<ServerWebSocket> {
    return eventually(() => this.socket, { timeoutMs: 30_000, what: "a connection of the agent" });
  }

  /** Hands it over, on each new connection again as a control plane does, until it has ended. */
  async carryOut(id: string, frame: string): Promise<void> {
    let sentOn: ServerWebSocket | undefined;
    await eventually(
      () => {
        if (this.socket !== undefined && this.socket !== sentOn) {
          sentOn = this.socket;
          sentOn.send(frame);
        }
        return this.#ended.has(id);
      },
      { timeoutMs: 60_000, everyMs: 2, what: `the end of ${id}` },
    );
  }

  async ended(id: string): Promise<void> {
    await eventually(() => this.#ended.has(id), { timeoutMs: 20_000, what: `the end of ${id}` });
  }

  async stop(): Promise<void> {
    await this.#server.stop(true);
  }
}

let home = "";
let subject: Subject;
const cp = new AnyCp();
let goods = 0;

beforeAll(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), "transporter-fuzz-")));
  subject = await Subject.agent({
    id: "fuzzed",
    cpUrl: cp.url,
    stateDir: join(home, "state"),
    effectsPath: join(home, "effects"),
    quiet: true,
  });
  await cp.connected();
});
afterAll(async () => {
  await subject?.[Symbol.asyncDispose]();
  await cp.stop();
  await rm(home, { recursive: true, force: true });
});

async function goodEvent(): Promise<void> {
  goods += 1;
  const id = `good-${goods}`;
  await cp.carryOut(id, JSON.stringify(eventFrame(id, [configMap(id)])));
}

const DIGEST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const frames = [
  eventFrame("fuzz", [configMap("fuzz")], { event: { deadline: "1s", retry: { attempts: 2, backoff: "1ms" }, labels: { a: "b" } } }),
  eventFrame("fuzz-2", [configMap("fuzz"), configMap("other")], {
    payload: { verify_timeout: "1s", force_conflicts: true },
    event: { priority: 9 },
  }),
  eventFrame("fuzz-3", [], { frame: { payload: { digest: DIGEST, bytes: 10, encoding: "zstd", encoded_bytes: 20 } } }),
  { type: "status_ack", boot_id: "x", seq: 1 },
  { type: "status_resend" },
  { type: "cancel", event_id: "fuzz", revision: 1 },
  { type: "payload_piece", digest: DIGEST, offset: 0, data: "KLUv/QAAAQAA" },
  { type: "resync" },
];
const anything: Arbitrary<Said> = oneof(
  { arbitrary: asText(mutated(...frames)), weight: 8 },
  { arbitrary: asText(constantFrom<unknown>(...frames)), weight: 2 },
  { arbitrary: oddJson, weight: 1 },
  { arbitrary: nastyText, weight: 1 },
  { arbitrary: rawBytes, weight: 1 },
);

function bytesOf(said: Said): string | Uint8Array {
  return said instanceof Uint8Array ? said : textOf(said);
}

describe("whatever a control plane says", () => {
  test(
    "the agent stays well, and a good event goes on as before, once",
    async () => {
      for (let at = 0; at < 3; at += 1) await goodEvent();
      let cases = 0;
      const some = (batches: number): Promise<void> =>
        assert(
          asyncProperty(array(anything, { minLength: FRAMES, maxLength: FRAMES }), async (all) => {
            cases += all.length;
            const socket = await cp.connected();
            for (const said of all) socket.send(bytesOf(said));
            // It has read all of them when it has done this one.
            await goodEvent();
            subject.expectWell();
          }),
          // A case that fails takes its time, and making it smaller would take that time again and again.
          { numRuns: batches, endOnFailure: true },
        );
      const batches = Math.ceil(count(2_000, 20_000) / FRAMES);
      await some(Math.ceil(batches / 3));
      const warm = await subject.memory();
      await some(batches);
      const end = await subject.memory();
      const effects = (await readFile(join(home, "effects"), "utf8")).split("\n");
      for (let at = 1; at <= goods; at += 1) expect(effects.filter((line) => line === `good-${at}`)).toHaveLength(1);
      expectNoGrowth("frames to the agent", cases, warm, end, count(64, 128));
      subject.expectWell();
    },
    count(60_000, 600_000),
  );

  test("a rest of its TTL that no clock has is taken for one that is possible", async () => {
    const socket = await cp.connected();
    for (const [at, expires] of [2.9e69, 1_500_000.25, -5e-132, 0].entries())
      socket.send(JSON.stringify(eventFrame(`odd-${at}`, [configMap(`odd-${at}`)], { frame: { expires_in_ms: expires } })));
    for (let at = 0; at < 4; at += 1) await cp.ended(`odd-${at}`);
    await goodEvent();
    subject.expectWell();
  });

  test(
    "a reply to the registration that makes no sense is refused, and a good one is taken after it",
    async () => {
      const before = cp.registrations;
      const reply = oneof(asText(mutated(JSON.parse(GOOD_REPLY))), oddJson.map(textOf), nastyText);
      // Each costs a wait of its own before the agent comes again: up to 10 s for a reply that it does not see as one, and up to 15 s after that.
      await assert(
        asyncProperty(reply, async (text) => {
          cp.reply = text;
          const seen = cp.registrations;
          cp.hangUp();
          await eventually(() => cp.registrations > seen, { timeoutMs: 60_000, what: "another registration" });
          subject.expectWell();
        }),
        { numRuns: count(4, 15) },
      );
      cp.reply = GOOD_REPLY;
      cp.hangUp();
      await goodEvent();
      expect(cp.registrations).toBeGreaterThan(before);
      subject.expectWell();
    },
    count(240_000, 900_000),
  );
});
