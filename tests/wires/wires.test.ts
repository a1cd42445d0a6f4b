import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { type ConnectProxy, connectProxy } from "../support/flaky-proxy.ts";
import { type RunningProcess, startTransporter } from "../support/process.ts";
import { count } from "../support/prove.ts";
import { Line } from "./line.ts";

/** What is promised: a dead link is seen, and work goes on after it heals, within this. A second more is for our own looking. */
const PROMISED_MS = 30_000;
const SLACK_MS = 1_500;
const LINK_DEAD = "The link to the Control Plane is dead";
const LOST = "Disconnected from Control Plane";
const NO_REPLY = "The Control Plane did not answer the registration in time";

const running: RunningProcess[] = [];
let port = 0;
/** Of a control plane that takes other names than its own: an agent goes through an HTTP proxy only to a name that is not this machine's. */
let namedPort = 0;

async function controlPlane(...args: readonly string[]): Promise<number> {
  const cp = await startTransporter(["cp", "--ws-port", "0", "--log-format", "json", ...args]);
  running.push(cp);
  return Number((await cp.line(/"message":"Control plane is listening","address":"[^"]*:(\d+)"/))[1]);
}

beforeAll(async () => {
  [port, namedPort] = await Promise.all([controlPlane(), controlPlane("--ws-addr", "0.0.0.0", "--insecure")]);
});
afterAll(async () => {
  for (const cp of running) await cp[Symbol.asyncDispose]();
});

interface Wire {
  readonly name: string;
  /** Breaks it, waits until that is seen, and answers after how long; undefined where there is nothing to see. */
  readonly breaks: (line: Line) => Promise<number | undefined>;
  readonly heals: (line: Line) => void | Promise<void>;
  /** Milliseconds between events handed in meanwhile. */
  readonly everyMs?: number;
  readonly open?: () => Promise<Line>;
}

interface Seen {
  readonly name: string;
  readonly detectedMs: number | undefined;
  readonly recoveredMs: number;
  readonly events: number;
  readonly faults: readonly string[];
}

async function timed(until: () => boolean | Promise<boolean>, what: string, timeoutMs = PROMISED_MS + SLACK_MS): Promise<number> {
  const startedMs = performance.now();
  await eventually(until, { timeoutMs, everyMs: 20, what });
  return performance.now() - startedMs;
}

/** Freezes a wire; the agent must notice, or be told by a control plane that did. */
function halfOpen(...directions: ("up" | "down")[]): Wire["breaks"] {
  return (line) => {
    line.proxy.freeze(...directions);
    return timed(() => line.said(LINK_DEAD) + line.said(LOST) > 0, `${line.id}: the agent sees that its link is dead`);
  };
}

/** Does something to the wire again and again for a while. */
async function repeatedly(times: number, everyMs: number, act: (at: number) => void): Promise<undefined> {
  for (let at = 0; at < times; at += 1) {
    act(at);
    await Bun.sleep(everyMs);
  }
  return undefined;
}

const thaw = (line: Line): void => line.proxy.thaw();
const calm = (line: Line): void => {
  line.proxy.delayMs = 0;
  line.proxy.closeDelayMs = 0;
  line.proxy.trickle = undefined;
  line.proxy.cutAfterBytes = undefined;
  line.proxy.welcome = "relay";
};

function behindConnectProxy(): Pick<Wire, "breaks" | "heals" | "open"> {
  let through: ConnectProxy;
  let proxyPort = 0;
  return {
    async open() {
      through = await connectProxy();
      proxyPort = through.port;
      return Line.open({ port: namedPort, id: `connect-proxy-${crypto.randomUUID().slice(0, 8)}`, connectProxyPort: through.port });
    },
    async breaks(line) {
      await through[Symbol.asyncDispose]();
      const detectedMs = await timed(() => line.said(LOST) > 0, "the agent sees that its proxy is gone");
      await timed(() => line.said("Cannot connect to Control Plane") >= 3, "the agent tries again and again");
      return detectedMs;
    },
    async heals() {
      through = await connectProxy({ port: proxyPort });
    },
  };
}

const WIRES: readonly Wire[] = [
  { name: "half-open both ways, then it heals", breaks: halfOpen(), heals: thaw, everyMs: 500 },
  { name: "half-open towards the agent alone", breaks: halfOpen("down"), heals: thaw, everyMs: 500 },
  { name: "half-open towards the control plane alone, while events keep coming", breaks: halfOpen("up"), heals: thaw, everyMs: 500 },
  { name: "half-open towards the control plane alone, in silence", breaks: halfOpen("up"), heals: thaw },
  {
    name: "a router forgets the connection, new ones work",
    breaks: (line) => {
      line.proxy.forget();
      return timed(() => line.registrations > 1, `${line.id}: the agent sees that its link is dead, and is there again`);
    },
    heals: () => undefined,
    everyMs: 500,
  },
  {
    name: "half-open, as the control plane sees it",
    breaks: (line) => {
      line.proxy.freeze();
      return timed(async () => (await line.seenAs()) !== "connected", `${line.id}: the control plane sees that it hears nothing`);
    },
    heals: thaw,
  },
  {
    name: "cut again and again",
    breaks: (line) => repeatedly(count(8, 40), 700, () => line.proxy.cut()),
    heals: () => undefined,
    everyMs: 30,
  },
  {
    name: "cut in the middle of frames, both ways",
    breaks(line) {
      // Enough for the registration, then somewhere in what follows; a little further each time, so that it gets anywhere.
      line.proxy.cutAfterBytes = (connection) => ({ up: 900 + connection * 431, down: 700 + connection * 617 });
      line.proxy.cut();
      return repeatedly(count(8, 40), 1_000, () => undefined);
    },
    heals: calm,
    everyMs: 20,
  },
  {
    name: "half a second late in each direction",
    breaks(line) {
      line.proxy.delayMs = 500;
      return repeatedly(1, 8_000, () => undefined);
    },
    heals: calm,
    everyMs: 200,
  },
  {
    name: "a trickle of 64 bytes at a time",
    breaks(line) {
      line.proxy.trickle = { bytes: 64, pauseMs: 2 };
      return repeatedly(1, 10_000, () => undefined);
    },
    heals: calm,
    everyMs: 250,
  },
  {
    name: "closes that arrive five seconds late, on either side",
    breaks(line) {
      line.proxy.closeDelayMs = 5_000;
      return repeatedly(count(6, 20), 1_500, (at) => line.proxy.cut(at % 2 === 0 ? "client" : "target"));
    },
    heals: calm,
    everyMs: 100,
  },
  {
    name: "accepts and never answers",
    async breaks(line) {
      line.proxy.welcome = "mute";
      line.proxy.cut();
      return timed(() => line.said(NO_REPLY) > 0, "the agent gives up on a proxy that never answers");
    },
    heals: calm,
    everyMs: 200,
  },
  {
    name: "closes right after the upgrade",
    async breaks(line) {
      line.proxy.welcome = "close-after-first-answer";
      line.proxy.cut();
      const before = line.proxy.connections;
      return timed(() => line.proxy.connections >= before + 4, "the agent tries again and again");
    },
    heals: calm,
    everyMs: 200,
  },
  { name: "the HTTP proxy that it goes through dies", ...behindConnectProxy(), everyMs: 200 },
];

async function through(wire: Wire, at: number): Promise<Seen> {
  await using line = await (wire.open?.() ?? Line.open({ port, id: `wire-${at}` }));
  for (let n = 0; n < 3; n += 1) await line.submit();
  await line.settle(15_000);
  const stop = wire.everyMs === undefined ? undefined : line.steadily(wire.everyMs);
  const detectedMs = await wire.breaks(line);
  await stop?.();
  await line.submit();
  const healedMs = performance.now();
  await wire.heals(line);
  await line.settle(PROMISED_MS + SLACK_MS);
  return { name: wire.name, detectedMs, recoveredMs: performance.now() - healedMs, events: line.accepted, faults: await line.faults() };
}

function shown(ms: number | undefined): string {
  return ms === undefined ? "      -" : `${(ms / 1000).toFixed(1).padStart(5)} s`;
}

describe("wires that break", () => {
  test(
    "each is noticed and healed within 30 s, nothing is lost and nothing happens twice",
    async () => {
      for (let round = 0; round < count(1, 3); round += 1) {
        // All at once: most of the time is waiting for silence.
        const all = await Promise.allSettled(WIRES.map((wire, at) => through(wire, round * WIRES.length + at)));
        const problems: string[] = [];
        for (const [at, one] of all.entries()) {
          const name = WIRES[at]?.name ?? "";
          if (one.status === "rejected") {
            problems.push(`${name}: ${one.reason instanceof Error ? one.reason.message : String(one.reason)}`);
            continue;
          }
          const { detectedMs, recoveredMs, events, faults } = one.value;
          console.log(`  seen ${shown(detectedMs)}, well again ${shown(recoveredMs)}, ${String(events).padStart(4)} events: ${name}`);
          problems.push(...faults.slice(0, 5).map((fault) => `${name}: ${fault}`));
        }
        expect(problems).toEqual([]);
      }
      expect(
        running
          .map((cp) => cp.stderr())
          .join("")
          .split("\n")
          .filter((line) => line.includes('"level":"error"')),
      ).toEqual([]);
    },
    count(150_000, 600_000),
  );
});
