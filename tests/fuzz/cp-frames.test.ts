import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Arbitrary,
  array,
  assert,
  asyncProperty,
  boolean,
  constant,
  constantFrom,
  nat,
  oneof,
  option,
  record,
  uint8Array,
} from "fast-check";
import { anEvent } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { count } from "../support/prove.ts";
import { dialAgent, protocol2, REGISTRATION_0_1, type WireAgent } from "../support/wire-agent.ts";
import { dialRaw, encodeFrame, type RawFrame } from "./raw-socket.ts";
import { expectNoGrowth, Subject } from "./subject.ts";
import { asText, mutated, nastyText, oddJson, rawBytes, textOf } from "./values.ts";

const FRAMES = 25;
const AGENTS = 50;
let home = "";
let subject: Subject;
let url = "";
let wsUrl = "";
let good: WireAgent;

beforeAll(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), "transporter-fuzz-")));
  ({ subject, url } = await Subject.controlPlane(join(home, "cp.db")));
  wsUrl = `${url.replace("http", "ws")}/ws`;
  good = await dialAgent(wsUrl, protocol2({ id: "good" }));
});
afterAll(async () => {
  await good?.[Symbol.asyncDispose]();
  await subject?.[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

async function submit(parts: Record<string, unknown>): Promise<string> {
  const event = anEvent(parts);
  const response = await fetch(`${url}/events`, { method: "POST", body: JSON.stringify(event) });
  expect(response.status).toBe(202);
  return event.id;
}

async function stateOf(id: string): Promise<string> {
  return ((await (await fetch(`${url}/v1/events/${encodeURIComponent(id)}`)).json()) as { state: string }).state;
}

async function goodEvent(): Promise<void> {
  const id = await submit({ target_agent: "good" });
  await good.event(id);
  good.report(id);
  await eventually(async () => (await stateOf(id)) === "completed", { what: "the end of a good event" });
}

const features = ["ack", "credit", "cancel", "chunk", "resync"];
const BOOT = "0a8e2a52-6b1c-4a3e-8a3e-000000000001";
const registration = {
  ...REGISTRATION_0_1,
  id: "fuzz",
  protocol: 2,
  features,
  boot_id: BOOT,
  sent_at: "2026-11-22T02:14:57Z",
  credit: { deliveries: 4, bytes: 1_000_000 },
};
const status = {
  type: "status_update",
  event_id: "held",
  agent_id: "fuzz",
  state: "in_progress",
  phase: "applying",
  message: "m",
  log_level: "info",
  details: { a: 1 },
  result: null,
  timestamp: "2026-11-22T02:14:57.027312785Z",
  boot_id: BOOT,
  seq: 1,
  revision: 1,
  nth: 0,
};
const final = {
  ...status,
  state: "completed",
  phase: "completed",
  seq: 2,
  nth: 1,
  result: {
    success: true,
    resource_status: [{ kind: "Namespace", name: "x", api_version: "v1", status: "created", message: "m" }],
    completed_at: "2026-11-22T02:14:57Z",
    duration: 5,
  },
};
const DIGEST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const frames = [
  status,
  final,
  { type: "event_ack", event_id: "held", revision: 1 },
  { type: "heartbeat", timestamp: "2026-11-22T02:14:57Z", metrics: {}, open: { count: 1, digest: "00" } },
  { type: "credit", deliveries: 3, bytes: 1000 },
  { type: "payload_get", digest: DIGEST, offset: 0 },
  { type: "open", deliveries: [{ event_id: "held", revision: 1, state: "running" }] },
];

type Said = string | Uint8Array | { readonly deep: string };

const anything: Arbitrary<Said> = oneof(
  { arbitrary: asText(mutated(...frames)), weight: 400 },
  { arbitrary: asText(constantFrom(...frames)), weight: 100 },
  { arbitrary: oddJson, weight: 50 },
  { arbitrary: nastyText, weight: 50 },
  { arbitrary: rawBytes, weight: 50 },
  { arbitrary: record({ deep: constant("huge") }), weight: 1 },
);

interface Talk {
  readonly registration: Said | undefined;
  readonly frames: readonly Said[];
}

const talk: Arbitrary<Talk> = record({
  // Mostly a good one, or nothing behind it would be read.
  registration: oneof(
    { arbitrary: constant(undefined), weight: 6 },
    { arbitrary: asText(mutated(registration, REGISTRATION_0_1)), weight: 3 },
    { arbitrary: oddJson, weight: 1 },
  ),
  frames: array(anything, { minLength: FRAMES, maxLength: FRAMES }),
});

let talks = 0;

function bytesOf(said: Said): string | Uint8Array {
  if (said instanceof Uint8Array || typeof said === "string") return said;
  // Larger than any frame may be.
  return said.deep === "huge" ? "x".repeat(17 * 1024 * 1024) : textOf(said);
}

/** Registers and says it all, on new connections as often as it is thrown out, but not for ever. */
async function say({ registration: first, frames: rest }: Talk): Promise<void> {
  talks += 1;
  const id = `fuzz-${talks % AGENTS}`;
  let at = 0;
  for (let tries = 0; at < rest.length && tries < 8; tries += 1) {
    const socket = new WebSocket(wsUrl);
    const closed = new Promise<"closed">((resolve) => socket.addEventListener("close", () => resolve("closed")));
    const heard = new Promise<"heard">((resolve) => socket.addEventListener("message", () => resolve("heard")));
    const opened = new Promise<"opened">((resolve) => socket.addEventListener("open", () => resolve("opened")));
    socket.addEventListener("error", () => undefined);
    if ((await Promise.race([opened, closed])) === "closed") {
      // Turned away at the door for a moment: too many register at once.
      await Bun.sleep(50);
      continue;
    }
    socket.send(first === undefined || tries > 0 ? JSON.stringify({ ...registration, id }) : bytesOf(first));
    if ((await Promise.race([heard, closed, Bun.sleep(200)])) === undefined) socket.close();
    while (at < rest.length && socket.readyState === WebSocket.OPEN) {
      const said = rest[at];
      at += 1;
      // Half of what is said about an event is about one that this agent was given.
      if (typeof said === "string" && at % 2 === 0) socket.send(said.replaceAll('"held"', `"own-${id}"`));
      else if (said !== undefined) socket.send(bytesOf(said));
    }
    // What was sent has been read when a ping is answered, or it was too much.
    const pong = new Promise<"pong">((resolve) => socket.addEventListener("pong" as "message", () => resolve("pong")));
    if (socket.readyState === WebSocket.OPEN) (socket as unknown as { ping(): void }).ping();
    await Promise.race([pong, closed, Bun.sleep(500)]);
    socket.close();
    await Promise.race([closed, Bun.sleep(200)]);
  }
}

describe("whatever an agent says", () => {
  test(
    "the control plane stays well, other agents' events are not touched, and a good event goes on as before",
    async () => {
      for (let at = 0; at < 3; at += 1) await goodEvent();
      // Handed over and open: nobody but its agent may say anything about it.
      const victim = await submit({ id: "held", target_agent: "good" });
      await good.event(victim);
      for (let at = 0; at < AGENTS; at += 1) await submit({ id: `own-fuzz-${at}`, target_agent: `fuzz-${at}` });
      let cases = 0;
      const AT_ONCE = 4;
      const some = (batches: number): Promise<void> =>
        assert(
          asyncProperty(array(talk, { minLength: AT_ONCE, maxLength: AT_ONCE }), async (all) => {
            cases += all.length * FRAMES;
            await Promise.all(all.map(say));
            subject.expectWell();
          }),
          { numRuns: batches },
        );
      const batches = Math.ceil(count(2_500, 25_000) / (AT_ONCE * FRAMES));
      await some(Math.ceil(batches / 3));
      await goodEvent();
      const warm = await subject.memory();
      await some(batches);
      await goodEvent();
      expect(await stateOf(victim)).toBe("assigned");
      good.report(victim);
      await eventually(async () => (await stateOf(victim)) === "completed");
      // Frames of 17 MiB were read on the way; what they took is given back in pieces.
      expectNoGrowth("frames to the control plane", cases, warm, await subject.memory(), count(96, 128));
      subject.expectWell();
    },
    count(60_000, 600_000),
  );

  test(
    "frames that no library would send",
    async () => {
      const frame: Arbitrary<RawFrame> = record({
        fin: boolean(),
        rsv: constantFrom(0, 0, 0, 1, 4, 7),
        opcode: constantFrom(0, 1, 1, 1, 2, 3, 7, 8, 9, 10, 11, 15),
        masked: constantFrom(true, true, true, false),
        payload: oneof(
          asText(oneof(constantFrom<unknown>(registration, ...frames), mutated(...frames))).map(
            (text) => new Uint8Array(Buffer.from(text)),
          ),
          uint8Array({ maxLength: 200 }),
        ),
        length: option(oneof(nat({ max: 70_000 }), constantFrom(2 ** 31, 2 ** 40, 16 * 1024 * 1024 + 1)), { freq: 8, nil: undefined }),
      }).map(({ length, ...rest }) => (length === undefined ? rest : { ...rest, length }));
      const hello = encodeFrame({
        fin: true,
        rsv: 0,
        opcode: 1,
        masked: true,
        payload: Buffer.from(JSON.stringify({ ...registration, id: "raw" })),
      });
      const AT_ONCE = 10;
      await assert(
        asyncProperty(array(array(frame, { minLength: 5, maxLength: 5 }), { minLength: AT_ONCE, maxLength: AT_ONCE }), async (all) => {
          await Promise.all(
            all.map(async (said, at) => {
              const { socket, closed } = await dialRaw(wsUrl);
              if (at % 3 > 0) socket.write(hello);
              for (const one of said) socket.write(encodeFrame(one));
              await Promise.race([closed, Bun.sleep(30)]);
              socket.destroy();
            }),
          );
          subject.expectWell();
        }),
        { numRuns: Math.ceil(count(1_000, 10_000) / (AT_ONCE * 5)) },
      );
      await goodEvent();
      subject.expectWell();
    },
    count(30_000, 300_000),
  );
});
