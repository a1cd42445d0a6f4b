import { expect } from "bun:test";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { type RunningProcess, startProcess } from "../support/process.ts";
import { type MapAgentConfig } from "../wires/map-agent.ts";

const MIB = 1024 * 1024;

/** A process that is fuzzed. */
export class Subject implements AsyncDisposable {
  readonly process: RunningProcess;
  #memories = 0;

  private constructor(running: RunningProcess) {
    this.process = running;
  }

  static async controlPlane(storePath: string): Promise<{ readonly subject: Subject; readonly url: string }> {
    const subject = new Subject(await startProcess([process.execPath, join(import.meta.dir, "cp-process.ts"), storePath]));
    return { subject, url: (await subject.process.line(/^READY (\S+)/))[1] ?? "" };
  }

  static async agent(config: MapAgentConfig): Promise<Subject> {
    const path = join(import.meta.dir, "../wires/map-agent.ts");
    return new Subject(await startProcess([process.execPath, path, JSON.stringify(config)]));
  }

  /** What it holds in memory once its garbage is gone, in bytes. */
  async memory(): Promise<number> {
    this.#memories += 1;
    const wanted = this.#memories;
    process.kill(this.process.pid, "SIGUSR2");
    return eventually(
      () => {
        const said = [...this.process.stdout().matchAll(/^MEMORY (\d+)$/gm)];
        return said.length >= wanted ? Number(said.at(-1)?.[1]) : undefined;
      },
      { timeoutMs: 20_000, everyMs: 50, what: "the size of its memory" },
    );
  }

  /** It lives, and nothing happened in it that nobody caught. */
  expectWell(): void {
    const said = this.process.stdout();
    const at = said.search(/UNHANDLEDREJECTION|UNCAUGHTEXCEPTION|"code":"INTERNAL"|an unexpected fault/);
    expect(at === -1 ? "" : said.slice(Math.max(0, at - 200), at + 1000)).toBe("");
    expect(this.process.stderr()).toBe("");
    // Throws when there is no such process.
    process.kill(this.process.pid, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process[Symbol.asyncDispose]();
  }
}

/** Fails when memory grew by more than this from after the warm-up to the end. */
export function expectNoGrowth(what: string, cases: number, warmBytes: number, endBytes: number, allowedMib: number): void {
  const grown = (endBytes - warmBytes) / MIB;
  console.log(`  ${what}: ${cases} cases; RSS ${(warmBytes / MIB).toFixed(0)} MiB warm, ${(endBytes / MIB).toFixed(0)} MiB at the end`);
  expect(grown).toBeLessThan(allowedMib);
}
