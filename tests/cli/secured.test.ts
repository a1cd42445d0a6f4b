import { describe, expect, test } from "bun:test";
import { chmod, readFile } from "node:fs/promises";
import { join } from "node:path";
import { runCli, temporaryDirectory } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import {
  type RunResult,
  type RunningProcess,
  EXECUTABLE_PATH,
  compiledTest,
  runTransporter,
  startTransporter,
} from "../support/process.ts";

const SERVES = /Control plane is listening.*?"address":"127\.0\.0\.1:(\d+)"/;

/** A port that nobody uses at this moment. */
function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

interface Installed extends AsyncDisposable {
  readonly home: string;
  readonly flags: readonly string[];
  readonly port: number;
  readonly cp: RunningProcess;
  readonly token: string;
  readonly pin: string;
  readonly directory: string;
  run(
    args: readonly string[],
    options?: { readonly env?: Record<string, string>; readonly input?: string; readonly home?: string },
  ): Promise<RunResult>;
}

/** As whoever installs it does: `cp init`, then `cp` in the same home. */
async function installed(): Promise<Installed> {
  const compiled = true;
  const home = await temporaryDirectory();
  const init = await runTransporter(["cp", "init", "--name", "127.0.0.1", "--agent", "agent-1"], { home: home.path, compiled });
  expect([init.exitCode, init.stderr]).toEqual([0, ""]);
  const token = /\btpu_\w+/.exec(init.stdout)?.[0] ?? "";
  const pin = /sha256:[0-9a-f]{64}/.exec(init.stdout)?.[0] ?? "";
  const flags = [
    "--ws-addr",
    "127.0.0.1",
    "--ws-port",
    String(freePort()),
    "--agent-port",
    String(freePort()),
    "--probe-port",
    String(freePort()),
  ];
  const cp = await startTransporter(["cp", ...flags, "--log-format", "json"], { home: home.path, compiled });
  const port = Number((await cp.line(SERVES))[1]);
  return {
    home: home.path,
    flags,
    port,
    cp,
    token,
    pin,
    directory: join(home.path, ".local/state/transporter/security"),
    run: (args, options = {}) => runTransporter(args, { home: home.path, compiled, ...options }),
    async [Symbol.asyncDispose]() {
      await cp[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

describe("secured, as it is installed", () => {
  compiledTest("init, cp, login, and work: every command knows who it is, and nothing secret is told", async () => {
    await using at = await installed();
    const url = `https://127.0.0.1:${at.port}`;
    await using away = await temporaryDirectory();
    const elsewhere = { home: away.path };
    const login = await at.run(["login", "--cp-url", url, "--ca-hash", at.pin], { ...elsewhere, input: at.token });
    expect([login.exitCode, login.stderr]).toEqual([0, ""]);
    expect(login.stdout).toContain("role admin");
    expect((await at.run(["whoami", "-o", "name"], elsewhere)).stdout).toBe("principal/token:bootstrap-admin\n");
    const enrol = await at.run(["token", "create", "--agent", "agent-2", "-o", "table"], elsewhere);
    expect(enrol.stdout).toMatch(
      new RegExp(
        `^export TRANSPORTER_ENROLMENT_TOKEN=tpe_\\w+\ntransporter agent --agent-id agent-2 --cp-url ${url} --ca-hash ${at.pin}\n$`,
      ),
    );
    expect((await at.run(["can-i", "tokens:manage"], elsewhere)).exitCode).toBe(0);
    const viewer = (await at.run(["token", "create", "--role", "viewer"], elsewhere)).stdout.trim();
    expect((await at.run(["can-i", "events:create"], { ...elsewhere, env: { TRANSPORTER_TOKEN: viewer } })).exitCode).toBe(1);
    const stranger = await at.run(["get", "agents", "--cp-url", url, "--ca-file", join(at.directory, "ca.crt")], { home: at.home });
    expect([stranger.exitCode, stranger.stdout]).toEqual([3, ""]);
    expect(stranger.stderr).toContain("UNAUTHENTICATED");
    expect(at.cp.stderr() + at.cp.stdout()).not.toContain(at.token.slice(17));

    const doctor = await at.run(["doctor", "cp", ...at.flags]);
    expect([doctor.exitCode, doctor.stderr]).toEqual([0, ""]);
    for (const name of ["address", "security", "certificates", "agents' port", "probes' port", "running"])
      expect(doctor.stdout).toMatch(new RegExp(`^ok +${name} `, "m"));
    expect(doctor.stdout).toContain("speaks TLSv1.3");

    await chmod(join(at.directory, "ca.key"), 0o644);
    await chmod(at.directory, 0o755);
    const open = await at.run(["doctor", "cp", ...at.flags]);
    expect(open.exitCode).toBe(1);
    expect(open.stdout).toMatch(/^warn +security .*entered by everybody on this machine\n +`chmod 700/m);
    expect(open.stdout).toMatch(/^FAIL +keys .*ca\.key can be read by everybody/m);
  });

  compiledTest("a SIGHUP looks at the files anew and ends nothing", async () => {
    await using at = await installed();
    process.kill(at.cp.pid, "SIGHUP");
    await at.cp.line(/as SIGHUP asks/);
    const answer = await fetch(`https://127.0.0.1:${at.port}/livez`, { tls: { ca: await readFile(join(at.directory, "ca.crt"), "utf8") } });
    expect(answer.status).toBe(200);
    expect(await at.cp.kill("SIGTERM")).toBe(0);
  });

  test("it says what is wrong before it starts", async () => {
    await using home = await temporaryDirectory();
    const refused = async (...args: string[]): Promise<string> => {
      const run = await runCli(["cp", "--ws-port=0", "--store=memory:", ...args], { env: { HOME: home.path } });
      expect(run.code).toBe(2);
      return run.err;
    };
    expect(await refused("--security-dir", "/nonexistent")).toContain("transporter cp init");
    expect(await refused("--agent-port", "1")).toContain("flag --agent-port needs security, and there is none");
  });
});

describe("the environment", () => {
  test("that makes something else of the program is refused by what runs as a service", async () => {
    const runs = [
      ["BUN_OPTIONS", "--smol", ["cp", "--ws-port=0"]],
      ["BUN_INSPECT", "127.0.0.1:0", ["cp", "--ws-port=0", "--insecure"]],
      ["BUN_OPTIONS", "--smol", ["agent", "--agent-id", "x"]],
    ] as const;
    await Promise.all(
      runs.map(async ([name, value, command]) => {
        const run = await runTransporter(command, { env: { [name]: value } });
        expect(run.exitCode).toBe(3);
        expect(run.stderr).toContain(`environment variable ${name} changes what this program is`);
        expect(run.stderr).toContain("ENVIRONMENT_REFUSED");
      }),
    );
  });
  compiledTest("BUN_OPTIONS is refused by the executable as well, and --insecure does not help", async () => {
    const run = await runTransporter(["cp", "--ws-port=0", "--insecure"], { env: { BUN_OPTIONS: "--smol" }, compiled: true });
    expect(run.exitCode).toBe(3);
    expect(run.stderr).toContain("ENVIRONMENT_REFUSED");
  });
});

compiledTest("on a terminal the token is asked for and not shown, neither typed nor corrected", async () => {
  await using at = await installed();
  await using me = await temporaryDirectory();
  const line = `${EXECUTABLE_PATH} login --cp-url https://127.0.0.1:${at.port} --ca-hash ${at.pin}`;
  // A terminal of its own, as a person has it.
  const child = Bun.spawn(["script", "-qec", line, "/dev/null"], {
    env: { PATH: process.env["PATH"] ?? "", HOME: me.path, TERM: "dumb" },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "ignore",
  });
  let screen = "";
  const read = (async () => {
    for await (const chunk of child.stdout) screen += new TextDecoder().decode(chunk);
  })();
  await eventually(() => (screen.includes("(not shown): ") ? true : undefined), { what: "the question" });
  await child.stdin.write(`${at.token.slice(0, -1)}?\u007f${at.token.slice(-1)}\r`);
  await child.stdin.flush();
  expect(await child.exited).toBe(0);
  await read;
  expect(screen).toContain("Logged in to");
  expect(screen).not.toContain("tpu_");
});
