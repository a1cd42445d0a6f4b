import { stat } from "node:fs/promises";
import { EXECUTABLE_PATH, transporterCommand } from "../support/process.ts";
import type { Figure } from "./figures.ts";
import { median } from "./proc.ts";
import type { Workbench } from "./workbench.ts";

function startsMs(command: readonly string[], times: number): number[] {
  return Array.from({ length: times }, () => {
    const startedMs = performance.now();
    const { exitCode } = Bun.spawnSync([...command], { stdout: "ignore", stderr: "ignore" });
    if (exitCode !== 0) throw new Error(`${command.join(" ")} ended with ${exitCode}`);
    return performance.now() - startedMs;
  });
}

/** How long the program takes to say its version, and how big it is. */
export async function program(bench: Workbench): Promise<Figure[]> {
  const part = "The program";
  const command = transporterCommand(["--version"], bench.compiled);
  const times = bench.count(30, 5);
  // The first starts read the file from disk.
  startsMs(command, 3);
  const samples = startsMs(command, times);
  const nothing = median(startsMs(["/bin/true"], times));
  const how = bench.compiled ? "compiled" : "from source";
  const figures: Figure[] = [
    {
      part,
      name: `--version, ${how}`,
      value: median(samples),
      unit: "ms",
      note: `median of ${times}, best ${Math.min(...samples).toFixed(1)}; starting /bin/true takes ${nothing.toFixed(1)}`,
    },
  ];
  if (bench.compiled) figures.push({ part, name: "size of the executable", value: (await stat(EXECUTABLE_PATH)).size / 1e6, unit: "MB" });
  return figures;
}
