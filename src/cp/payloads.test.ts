import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { manualPorts, silentLogger, TransporterError } from "../kit/mod.ts";
import { LIMITS, type PayloadGet, type PayloadRef } from "../protocol/mod.ts";
import { PAYLOAD_LIMITS, Payloads, type PieceTaker } from "./payloads.ts";

const PIECE = LIMITS.payloadPieceBytes;

/** Text that does not get smaller. */
function noise(bytes: number): string {
  let state = 7;
  const out = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    out[at] = state >>> 24;
  }
  return out.toString("base64");
}

interface Kept {
  readonly text: string;
  readonly ref: PayloadRef;
  readonly encoded: Uint8Array;
}
function kept(text: string): Kept {
  const encoded = zstdCompressSync(text);
  const digest = createHash("sha256").update(text).digest("hex");
  return { text, encoded, ref: { digest, bytes: Buffer.byteLength(text), encoding: "zstd", encoded_bytes: encoded.byteLength } };
}

interface Rig {
  readonly payloads: Payloads;
  /** How often a piece was read. */
  readonly reads: string[];
  /** How many are being read at this moment, at most so far. */
  most: number;
  gate: Promise<void>;
  failing: boolean;
  readonly agent: PieceTaker & { readonly sent: string[] };
  get(of: PayloadRef, offset: number): void;
  settle(): Promise<void>;
}

function rig(...all: readonly Kept[]): Rig {
  const time = manualPorts();
  let reading = 0;
  const one = {
    reads: [] as string[],
    most: 0,
    gate: Promise.resolve(),
    failing: false,
    settle: () => time.settle(),
    agent: {
      agentId: "a",
      congested: false,
      sent: [] as string[],
      send(frame: string): boolean {
        one.agent.sent.push(frame);
        return true;
      },
    },
  };
  const payloads = new Payloads({
    ports: time.ports,
    log: silentLogger,
    store: {
      async payloadPiece(digest, offset) {
        one.reads.push(`${digest.slice(0, 4)}@${offset}`);
        reading += 1;
        one.most = Math.max(one.most, reading);
        await one.gate;
        reading -= 1;
        if (one.failing) throw new TransporterError("STORE_UNAVAILABLE", "the store is away");
        const found = all.find((each) => each.ref.digest === digest);
        if (found === undefined || offset >= found.encoded.byteLength) return undefined;
        return found.encoded.slice(offset, offset + PIECE);
      },
    },
  });
  return Object.assign(one, {
    payloads,
    get: (of: PayloadRef, offset: number) =>
      payloads.piece(one.agent, { type: "payload_get", digest: of.digest, offset } satisfies PayloadGet),
  });
}

const big = kept(noise(300_000));
const small = kept('{"manifests":["ü"]}');

describe("a piece that is asked for", () => {
  test("is answered with what the store has, null where it has nothing", async () => {
    const one = rig(big);
    one.get(big.ref, PIECE);
    one.get(small.ref, 0);
    await one.settle();
    expect(one.agent.sent.map((text) => JSON.parse(text) as unknown)).toEqual([
      {
        type: "payload_piece",
        digest: big.ref.digest,
        offset: PIECE,
        data: Buffer.from(big.encoded.slice(PIECE, 2 * PIECE)).toString("base64"),
      },
      { type: "payload_piece", digest: small.ref.digest, offset: 0, data: null },
    ]);
  });

  test("is read two at a time for each agent; the same question while it waits counts once, and too many get no answer", async () => {
    const one = rig(big);
    const gate = Promise.withResolvers<void>();
    one.gate = gate.promise;
    for (let at = 0; at < 30; at += 1) {
      one.get(big.ref, at * PIECE);
      one.get(big.ref, at * PIECE);
    }
    await one.settle();
    expect(one.most).toBe(PAYLOAD_LIMITS.atOnce);
    gate.resolve();
    await one.settle();
    await one.settle();
    expect(one.most).toBe(PAYLOAD_LIMITS.atOnce);
    expect(one.agent.sent.length).toBeLessThanOrEqual(PAYLOAD_LIMITS.atOnce * 2 + PAYLOAD_LIMITS.waiting);
    expect(one.agent.sent.length).toBeGreaterThanOrEqual(PAYLOAD_LIMITS.waiting);
    one.agent.sent.length = 0;
    one.get(big.ref, 0);
    await one.settle();
    expect(one.agent.sent).toHaveLength(1);
  });

  test.each([
    ["no digest", "x", 0],
    ["a digest in capitals", "A".repeat(64), 0],
    ["an offset within a piece", big.ref.digest, 5],
  ])("with %s is not looked for", async (_what, digest, offset) => {
    const one = rig(big);
    one.get({ ...big.ref, digest }, offset);
    await one.settle();
    expect(one.reads).toEqual([]);
    expect(one.agent.sent).toEqual([]);
  });

  test("while the store is away gets no answer, rather than a wrong one", async () => {
    const one = rig(big);
    one.failing = true;
    one.get(big.ref, 0);
    await one.settle();
    expect(one.agent.sent).toEqual([]);
    one.failing = false;
    one.get(big.ref, 0);
    await one.settle();
    expect(one.agent.sent).toHaveLength(1);
  });
});

describe("a whole payload, for those who cannot fetch it", () => {
  test("is its text, large and small; many who want it at once cost one reading", async () => {
    const one = rig(big, small);
    const texts = await Promise.all([1, 2, 3].map(() => one.payloads.text(big.ref)));
    expect(texts).toEqual([big.text, big.text, big.text]);
    expect(one.reads).toHaveLength(Math.ceil(big.encoded.byteLength / PIECE));
    expect(await one.payloads.text(small.ref)).toBe(small.text);
  });

  test("is not there when it is gone, damaged, or larger than it claims to be", async () => {
    const one = rig(big);
    expect(await one.payloads.text(small.ref)).toBeUndefined();
    expect(await one.payloads.text({ ...big.ref, bytes: 1000 })).toBeUndefined();
    const cut = { ...big, encoded: big.encoded.slice(0, 2 * PIECE) };
    expect(await rig(cut).payloads.text({ ...big.ref, encoded_bytes: 2 * PIECE })).toBeUndefined();
    const wrong = { ...small, encoded: new Uint8Array(small.encoded).fill(1, 0, 4) };
    expect(await rig(wrong).payloads.text(small.ref)).toBeUndefined();
  });

  test("throws what the store throws", async () => {
    const one = rig(big);
    one.failing = true;
    await expect(one.payloads.text(big.ref)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });
});
