export interface CommandOptions {
  readonly env: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Until it is killed. */
  readonly timeoutMs?: number;
}

/** Runs a command to its end; fails with what it wrote unless it ends with 0. */
export async function run(command: readonly string[], { env, input, timeoutMs = 60_000 }: CommandOptions): Promise<string> {
  const child = Bun.spawn([...command], {
    env: { ...env },
    stdin: input === undefined ? "ignore" : Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.slice(0, 6).join(" ")} … ended with ${code}: ${(stderr + stdout).trim().slice(-2000)}`);
  return stdout;
}
