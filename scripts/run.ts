import { join, resolve } from "node:path";

export const ROOT: string = resolve(import.meta.dir, "..");

/** This very Bun: `bun` need not be on PATH when npx brought it. */
export const BUN: string = process.execPath;

/** A command of node_modules/.bin, run by this Bun so that no Node is needed, and never fetched from anywhere. */
export function tool(name: string, ...args: readonly string[]): string[] {
  return [BUN, "x", "--bun", "--no-install", name, ...args];
}

/** Runs with our own terminal and gives the exit code. */
export async function run(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<number> {
  const child = Bun.spawn([...command], { cwd: ROOT, env: { ...process.env, ...env }, stdio: ["inherit", "inherit", "inherit"] });
  return child.exited;
}

export interface Captured {
  readonly exitCode: number;
  /** Standard output and standard error, each whole. */
  readonly output: string;
}

export async function capture(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Captured> {
  const child = Bun.spawn([...command], { cwd: ROOT, env: { ...process.env, ...env }, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { exitCode, output: [stdout.trimEnd(), stderr.trimEnd()].filter((text) => text !== "").join("\n") };
}

export const EXECUTABLE: string = join(ROOT, "transporter");

export function seconds(sinceMs: number): string {
  return `${((performance.now() - sinceMs) / 1000).toFixed(1)} s`;
}
