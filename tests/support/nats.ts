import { mkdtemp, realpath, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "bun:test";
import { type Child, Children, freePorts, missingBinaries, prepareBinaries } from "../../sandbox/mod.ts";
import { eventually } from "./eventually.ts";

const IN_CI = !["", "0", "false"].includes(process.env["CI"] ?? "");
const MISSING = (await missingBinaries(["nats-server"])).length > 0;
if (MISSING && !IN_CI)
  console.warn("\nSKIPPED: tests against a real nats-server. `bun run test` builds it once; then they run everywhere.\n");

/** Whether to leave out what needs a nats-server. Never under CI: there a missing server is a failure. */
export const SKIP_NATS: boolean = MISSING && !IN_CI;

/** `test` for what needs a real nats-server. */
export function natsTest(name: string, run: () => Promise<void>, timeoutMs = 60_000): void {
  test.skipIf(SKIP_NATS)(name, run, timeoutMs);
}

export interface NatsOptions {
  /** More of the server's configuration file, such as `authorization { token: x }`; JetStream and the address are there already. */
  readonly config?: string | ((directory: string) => string);
  /** Written into the server's directory first; for certificates that the configuration names. */
  readonly files?: Readonly<Record<string, string>>;
  readonly jetstream?: boolean;
}

/** A real nats-server on a free port of 127.0.0.1. Ends with `await using`, and with the test process whatever happens. */
export interface Nats extends AsyncDisposable {
  readonly port: number;
  /** Of the running server. */
  readonly pid: number;
  /** `nats://127.0.0.1:PORT`. */
  readonly url: string;
  /** Where its configuration, its files and its JetStream store are. */
  readonly directory: string;
  /** Ends it, at once by default; what JetStream had written stays. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** On the same port, with the same store. */
  start(): Promise<void>;
  /** It stands still, with its connections open, until `resume`. */
  pause(): void;
  resume(): void;
  /** Replaces `config` from the next start on. */
  reconfigure(config: string): Promise<void>;
  lastLines(): Promise<string>;
}

export async function startNats(options: NatsOptions = {}): Promise<Nats> {
  if (MISSING) throw new Error("no nats-server; `bun run test` builds it");
  const program = await prepareBinaries({ names: ["nats-server"] })["nats-server"];
  const directory = await mkdtemp(join(await realpath(tmpdir()), "transporter-nats-"));
  const children = new Children(directory);
  try {
    for (const [name, text] of Object.entries(options.files ?? {})) await writeFile(join(directory, name), text, { mode: 0o600 });
    const configPath = join(directory, "server.conf");
    const state = { port: 0, server: undefined as Child | undefined };
    const configure = async (more: string): Promise<void> => {
      const jetstream = options.jetstream === false ? "" : `jetstream { store_dir: ${JSON.stringify(join(directory, "store"))} }\n`;
      await writeFile(configPath, `listen: "127.0.0.1:${state.port}"\n${jetstream}${more}\n`);
    };
    const start = async (): Promise<void> => {
      const server = await children.spawn("nats-server", [program, "--config", configPath]);
      state.server = server;
      await eventually(() => !server.running || answers(state.port), { timeoutMs: 15_000, what: "nats-server" });
      if (!server.running) throw new Error(`nats-server ended:\n${await server.lastLines()}`);
    };
    const more = typeof options.config === "function" ? options.config(directory) : (options.config ?? "");
    for (let attempt = 1; ; attempt += 1) {
      state.port = freePorts(1)[0] ?? 0;
      await configure(more);
      try {
        await start();
        break;
      } catch (error) {
        // Somebody else may have taken the port meanwhile.
        if (attempt === 3) throw error;
      }
    }
    return {
      port: state.port,
      get pid() {
        return state.server?.pid ?? 0;
      },
      url: `nats://127.0.0.1:${state.port}`,
      directory,
      async stop(signal = "SIGKILL") {
        state.server?.kill(signal);
        await state.server?.exited;
      },
      start,
      pause: () => state.server?.kill("SIGSTOP"),
      resume: () => state.server?.kill("SIGCONT"),
      reconfigure: configure,
      lastLines: async () => (await state.server?.lastLines(40)) ?? "",
      [Symbol.asyncDispose]: () => children.stop(),
    };
  } catch (error) {
    await children.stop();
    throw error;
  }
}

/** Whether the server says its INFO line, which it does as soon as it serves. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const end = (good: boolean): void => {
      socket.destroy();
      resolve(good);
    };
    socket.once("data", (data: Buffer) => end(data.toString("latin1").startsWith("INFO ")));
    socket.once("error", () => end(false));
    socket.once("close", () => end(false));
  });
}
