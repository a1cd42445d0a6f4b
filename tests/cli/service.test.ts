import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { temporaryDirectory } from "../support/cli.ts";
import { type RunningProcess, runTransporter, startTransporter } from "../support/process.ts";

const LISTENING = /"message":"Control plane is listening","address":"([^"]+)"/;

async function address(running: RunningProcess): Promise<string> {
  const [, found = ""] = await running.line(LISTENING);
  return `http://${found}`;
}

describe("transporter cp", () => {
  for (const name of ["cp", "control-plane"]) {
    test(`${name} runs with 0.1's flags until SIGTERM, and keeps its store where XDG says`, async () => {
      await using running = await startTransporter([
        name,
        "--ws-addr",
        "127.0.0.1",
        "--ws-port=0",
        "--heartbeat-timeout",
        "30s",
        "--event-retry-max",
        "3",
        "--memphis-enabled=false",
        "--debug",
      ]);
      const url = await address(running);
      expect(await (await fetch(`${url}/health`)).json()).toMatchObject({ status: "healthy", agent_count: 0 });
      expect(await Bun.file(join(running.home, ".local/state/transporter/cp.db")).exists()).toBe(true);
      expect(running.stdout()).toBe("");
      for (const line of running.stderr().trim().split("\n")) expect(JSON.parse(line)).toHaveProperty("message");
      const startedMs = performance.now();
      expect(await running.kill("SIGTERM")).toBe(0);
      expect(performance.now() - startedMs).toBeLessThan(10_000);
      expect(running.stderr()).toContain('"message":"Stopped"');
    });
  }

  test("is stopped by Ctrl-C as well", async () => {
    await using running = await startTransporter(["cp", "--ws-port=0", "--store=memory:"]);
    await address(running);
    expect(await running.kill("SIGINT")).toBe(0);
  });

  test("takes its settings from flag over variable over file, and says where a bad one came from", async () => {
    await using files = await temporaryDirectory();
    const file = await files.file("cp.yaml", "ws-port: 99999\nstore: 'memory:'\nlog_format: text\n");
    const bad = await runTransporter(["cp", "--config", file]);
    expect(bad.exitCode).toBe(2);
    expect(bad.stderr).toContain(`error: ${file}:1 (ws-port): the value 99999 cannot be used; allowed: a whole number from 0 to 65535`);
    await using running = await startTransporter(["cp"], {
      env: { TRANSPORTER_CONFIG: file, TRANSPORTER_WS_PORT: "0", TRANSPORTER_LOG_FORMAT: "json" },
    });
    await address(running);
    expect(running.stderr()).toContain('"store":":memory:"');
  });

  test("reads $HOME/.transporter.yaml where there is one, and refuses what it does not know there", async () => {
    await using home = await temporaryDirectory();
    await home.file(".transporter.yaml", "agent-id: shared with the agent\nws-prot: 1\n");
    const run = await runTransporter(["cp"], { home: home.path });
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toContain('.transporter.yaml:2: unknown key "ws-prot". Did you mean ws-port?');
  });

  test("warns in its log about variables that nobody knows, and about secrets in sight of everybody", async () => {
    await using running = await startTransporter(["cp", "--ws-port=0", "--store=memory:", "--memphis-password", "hunter2"], {
      env: { TRANSPORTER_WS_PROT: "1", TRANSPORTER_CP_PORT: "tcp://10.96.0.7:8080", TRANSPORTER_CP_SERVICE_HOST: "10.96.0.7" },
    });
    await address(running);
    const log = running.stderr();
    expect(log).toContain("TRANSPORTER_WS_PROT is not known and has no effect. Did you mean TRANSPORTER_WS_PORT?");
    expect(log).toContain("Kubernetes service links");
    expect(log).toContain("use TRANSPORTER_MEMPHIS_PASSWORD instead");
    expect(log).not.toContain("hunter2");
  });

  test.each([
    [["--ws-addr", "0.0.0.0"], 3, "INSECURE_REFUSED"],
    [["--redis-addr", "127.0.0.1:1"], 7, "STORE_UNAVAILABLE"],
    [["--memphis-enabled"], 2, "without a connection token and without a password"],
    [["--store", "postgres://x"], 2, "flag --store"],
    [["--queue", "redis://h?no=1", "--store=memory:"], 2, "QUEUE_INVALID"],
    [["--heartbeat-timeout", "30"], 2, "flag --heartbeat-timeout"],
    [["--no-such-flag"], 2, "unknown flag --no-such-flag"],
    [["--config", "/nonexistent.yaml"], 2, "flag --config: /nonexistent.yaml: no such file"],
    [["extra"], 2, 'unexpected argument "extra"'],
  ])("refuses %j", async (args, code, words) => {
    const run = await runTransporter(["cp", "--ws-port=0", ...args]);
    expect(run.exitCode).toBe(code);
    expect(run.stderr).toContain(words);
  });

  test("does not start while certificates go unchecked", async () => {
    const env = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };
    for (const command of [
      ["cp", "--ws-port=0"],
      ["agent", "--agent-id", "x"],
    ]) {
      const run = await runTransporter(command, { env });
      expect(run.exitCode).toBe(3);
      expect(run.stderr).toContain("NODE_TLS_REJECT_UNAUTHORIZED=0");
    }
    await using running = await startTransporter(["cp", "--ws-port=0", "--store=memory:", "--insecure"], { env });
    await address(running);
  });

  test("is backed up while it runs, to a file and to standard output", async () => {
    await using files = await temporaryDirectory();
    const store = `sqlite:${join(files.path, "cp.db")}`;
    await using running = await startTransporter(["cp", "--ws-port=0", "--store", store]);
    const url = await address(running);
    const sent = await fetch(`${url}/events`, {
      method: "POST",
      body: JSON.stringify({ id: "kept", type: "script", target_agent: "a", payload: { script: "true" } }),
    });
    expect(sent.status).toBe(202);
    const copy = join(files.path, "copy.db");
    expect(await runTransporter(["backup", "--store", store, "--output", copy])).toMatchObject({ exitCode: 0, stdout: "" });
    expect((await runTransporter(["backup", "--store", store, "--output", copy])).exitCode).not.toBe(0);
    const piped = Bun.spawn(
      [process.execPath, join(import.meta.dir, "../../bin/transporter.ts"), "backup", "--store", store, "--output", "-"],
      {
        env: { PATH: process.env["PATH"] ?? "", HOME: files.path },
        stdout: "pipe",
        stderr: "inherit",
      },
    );
    const bytes = await new Response(piped.stdout).bytes();
    expect(new TextDecoder().decode(bytes.slice(0, 15))).toBe("SQLite format 3");
    await using restored = await startTransporter(["cp", "--ws-port=0", "--store", `sqlite:${copy}`]);
    expect((await fetch(`${await address(restored)}/v1/events/kept`)).status).toBe(200);
    expect((await runTransporter(["backup", "--store", "memory:", "--output", "x"])).exitCode).toBe(2);
  });
});

describe("transporter agent", () => {
  test.each([
    [[], 2, "--agent-id is required"],
    [["--agent-id", "a", "--in-cluster"], 2, "KUBERNETES_SERVICE_HOST is not set"],
    [["--agent-id", "a"], 2, "no cluster to work on"],
    [["--agent-id", "a", "--context", "kind"], 2, "there is no kubeconfig"],
    [["--agent-id", "a", "--kubeconfig", "/nonexistent"], 2, "/nonexistent"],
    [["--agent-id", "a", "--cp-url", "file:///x"], 2, "flag --cp-url"],
    [["--agent-id", "a", "--label", "x"], 2, "key=value"],
  ])("refuses %j", async (args, code, words) => {
    const run = await runTransporter(["agent", ...args]);
    expect(run.stderr).toContain(words);
    expect(run.exitCode).toBe(code);
  });
});
