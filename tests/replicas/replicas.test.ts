import { existsSync } from "node:fs";
import { describe, expect, test } from "bun:test";
import { SKIP_NATS } from "../support/nats.ts";
import { count, PROVE } from "../support/prove.ts";
import { EXECUTABLE_PATH } from "../support/process.ts";
import { SKIP_REDIS } from "../support/redis.ts";
import { faultLines, prove, type ProofOptions, report } from "./proof.ts";

/** A number from the environment, for a machine that carries more or less. */
function sized(name: string, usual: number): number {
  return Number(process.env[`TRANSPORTER_REPLICAS_${name}`] ?? usual);
}

const seconds = sized("SECONDS", count(9, 180));
const options: ProofOptions = {
  replicas: 3,
  agents: sized("AGENTS", count(50, 1_000)),
  agentProcesses: sized("AGENT_PROCESSES", count(1, 2)),
  perSecond: sized("PER_SECOND", count(60, 500)),
  queuePercent: 40,
  compiled: existsSync(EXECUTABLE_PATH),
  appendfsync: process.env["TRANSPORTER_REPLICAS_APPENDFSYNC"] === "everysec" ? "everysec" : "always",
  ledgers: process.env["TRANSPORTER_REPLICAS_LEDGERS"] !== "memory",
  chaos: {
    seconds,
    killEveryMs: count(3_000, 5_000),
    redisRestarts: count(1, 2),
    natsRestarts: count(1, 2),
  },
  stops: count(0, 3),
  stopMs: 8_000,
  rolling: true,
  warmUpMs: count(1_000, 5_000),
  settleMs: count(500, 5_000),
  patienceMs: count(30_000, 120_000),
  // As it ships where the proof is in full.
  cpFlags: PROVE ? [] : ["--drain", "1s"],
  say: (line) => void (PROVE && console.log(`  ${line}`)),
};

describe("three control planes in reality", () => {
  test.skipIf(SKIP_NATS || SKIP_REDIS)(
    "killed, stopped, without Redis and NATS for a while, and replaced one after the other, they lose nothing and do nothing twice",
    async () => {
      const result = await prove(options);
      console.log(
        report(result)
          .split("\n")
          .map((line) => `  ${line}`)
          .join("\n"),
      );
      expect(faultLines(result)).toEqual([]);
      expect(result.story.accepted.length).toBeGreaterThan(seconds * 10);
      expect(result.kills.length).toBeGreaterThan(0);
      // Figures are held where nothing else runs beside.
      const undisturbed = result.kills.filter((kill) => !result.disturbed.has(kill)).map(({ routedMs }) => routedMs);
      expect(Math.max(...undisturbed)).toBeLessThan(count(30_000, 5_000));
      expect(Math.max(...result.rollingDelaysMs)).toBeLessThan(count(20_000, 2_000));
    },
    count(120_000, 1_500_000),
  );

  test.skipIf(SKIP_NATS || SKIP_REDIS)(
    "an effect that is missing, and one that is there twice, are seen",
    async () => {
      const small = { ...options, agents: 5, agentProcesses: 1, perSecond: 40, rolling: false, warmUpMs: 1_500, patienceMs: 1_500 };
      const chaos = { ...options.chaos, seconds: 0, redisRestarts: 0, natsRestarts: 0 };
      for (const what of ["lost", "doubled"] as const) {
        const { verdict } = await prove({ ...small, chaos, plant: { what, perThousand: 200 } });
        expect({ what, seen: verdict[what].length > 0 }).toEqual({ what, seen: true });
        const other = what === "lost" ? "doubled" : "lost";
        expect(verdict[other]).toEqual([]);
      }
    },
    90_000,
  );
});
