import type { Failpoint } from "../../src/kit/mod.ts";
import type { RunningProcess } from "../support/process.ts";

export interface Kill {
  readonly service: string;
  readonly atMs: number;
  /** The point at which it killed itself; undefined when we killed it. */
  readonly failpoint: Failpoint | undefined;
}

export interface ServiceOptions {
  readonly name: string;
  readonly start: (env: Readonly<Record<string, string>>) => Promise<RunningProcess>;
  readonly onKill: (kill: Kill) => void;
}

/** One process that is killed and started again. Ends that nobody asked for are kept and thrown at the next step. */
export class Service implements AsyncDisposable {
  readonly name: string;
  readonly #options: ServiceOptions;
  #running: RunningProcess | undefined;
  #fault: Error | undefined;

  constructor(options: ServiceOptions) {
    this.name = options.name;
    this.#options = options;
  }

  async start(env: Readonly<Record<string, string>> = {}): Promise<RunningProcess> {
    const running = await this.#options.start(env);
    this.#running = running;
    if (env["TRANSPORTER_FAILPOINT"] === undefined) void this.#watch(running);
    return running;
  }

  /** Nobody but we ends what runs without a failpoint. */
  async #watch(running: RunningProcess): Promise<void> {
    const code = await running.exited;
    if (this.#running === running) this.#fault = new Error(`${this.name} ended by itself (${code}):\n${trouble(running.stderr())}`);
  }

  /** Throws when it ended although nobody killed it. */
  check(): void {
    if (this.#fault !== undefined) throw this.#fault;
  }

  /** Kills it as it stands. */
  async kill(): Promise<void> {
    this.check();
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    const atMs = Date.now();
    await running.kill("SIGKILL");
    this.#options.onKill({ service: this.name, atMs, failpoint: undefined });
  }

  /** What is worth reading of what it said since it was last started. */
  trouble(): string {
    return `--- ${this.name}\n${this.#running === undefined ? "is not running" : trouble(this.#running.stderr())}`;
  }

  /**
   * Restarts it so that it kills itself at the `nth` time it comes to this point, and waits until it has. Where it does not come there in time
   * it is started afresh: an agent whose control plane dies every second waits ever longer before it comes back.
   */
  async dieAt(failpoint: Failpoint, nth: number, { patienceMs, attempts }: { patienceMs: number; attempts: number }): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      await this.kill();
      const running = await this.start({ TRANSPORTER_FAILPOINT: `${failpoint}@${nth}` });
      const ended = await within(patienceMs, running.exited);
      const said = running.stderr();
      if (ended === undefined) {
        if (attempt < attempts) continue;
        throw new Error(`${this.name} did not come to ${failpoint}@${nth} within ${patienceMs} ms, ${attempts} times\n${trouble(said)}`);
      }
      if (running.signal() !== "SIGKILL" || !said.includes(failpoint))
        throw new Error(`${this.name} ended otherwise than at ${failpoint}@${nth} (${running.signal() ?? ended}):\n${trouble(said)}`);
      this.#running = undefined;
      this.#options.onKill({ service: this.name, atMs: Date.now(), failpoint });
      return;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    await running?.[Symbol.asyncDispose]();
  }
}

/** What is worth reading of a log: what is no line of the log (a crash's own words), what is not all well, and the end. */
function trouble(log: string): string {
  const lines = log.split("\n").filter((line) => line !== "");
  const telling = lines.filter(
    (line) =>
      !line.startsWith("{") ||
      !/"level":"info"|"message":"(?:Event (?:failed|expired)|Attempt \d|Status came after|Cannot connect)/.test(line),
  );
  return [...telling.slice(-12), "…", ...lines.slice(-5)].map((line) => line.slice(0, 400)).join("\n");
}

/** The answer, or undefined when it took longer. */
async function within<T>(ms: number, answer: Promise<T>): Promise<T | undefined> {
  const timer = Promise.withResolvers<undefined>();
  const handle = setTimeout(() => timer.resolve(undefined), ms);
  try {
    return await Promise.race([answer, timer.promise]);
  } finally {
    clearTimeout(handle);
  }
}
