import { existsSync } from "node:fs";
import { describe, expect, test } from "bun:test";
import { EXECUTABLE_PATH } from "../support/process.ts";
import { count, PROVE } from "../support/prove.ts";
import { livezP99, storm } from "./storm.ts";

const MIB = 2 ** 20;

describe("a reconnect storm", () => {
  test(
    "all agents are back after a kill -9 of the control plane, and it answers all the while",
    async () => {
      const agents = count(500, 10_000);
      const result = await storm({ agents, compiled: PROVE && existsSync(EXECUTABLE_PATH) });
      const p99 = livezP99(result);
      console.log(
        `  ${agents} agents: down ${result.downMs} ms, all back ${result.backMs} ms later; /livez p99 ${p99.toFixed(1)} ms of ${result.livezMs.length}, ` +
          `most ${Math.max(...result.livezMs).toFixed(1)} ms; at most ${(result.peakBytes / MIB).toFixed(0)} MiB`,
      );
      expect(result.livezFaults).toEqual([]);
      expect(result.livezMs.length).toBeGreaterThan(0);
      expect(result.counted).toBe(agents);
      // Figures are held where nothing else runs beside.
      expect(result.backMs).toBeLessThan(count(60_000, 10_000));
      expect(p99).toBeLessThan(count(5_000, 250));
      expect(result.peakBytes / MIB).toBeLessThan(400);
    },
    count(120_000, 300_000),
  );
});
