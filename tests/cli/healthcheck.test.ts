import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { HEALTH } from "../../src/agent/health-file.ts";
import { quickHealthcheck } from "../../src/cli/health-verdict.ts";
import { KUBECONFIG_OF_NOBODY } from "../image/kubeconfig.ts";
import { runCli, temporaryDirectory } from "../support/cli.ts";
import { startCp } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { compiledTest, type RunningProcess, runTransporter, startTransporter } from "../support/process.ts";

describe("transporter healthcheck agent", () => {
  compiledTest("tells an agent that works from one that is stopped, killed, started anew or cut off", async () => {
    await using files = await temporaryDirectory();
    const kubeconfig = await files.file("kubeconfig", KUBECONFIG_OF_NOBODY);
    await using cp = await startCp();
    const healthFile = join(files.path, "run", "health.json");
    const env = { TRANSPORTER_HEALTH_FILE: healthFile };
    const start = (): Promise<RunningProcess> =>
      startTransporter(
        ["agent", "--agent-id", "probed", "--cp-url", cp.wsUrl, "--kubeconfig", kubeconfig, "--state-dir", join(files.path, "state")],
        { compiled: true, env },
      );
    const ask = async (...args: string[]): Promise<string> => {
      const { exitCode, stdout, stderr } = await runTransporter(["healthcheck", "agent", ...args], { compiled: true, env });
      expect(stderr).toBe("");
      return `${exitCode} ${stdout}`;
    };
    const asks = (wanted: RegExp, ...args: string[]): Promise<string> =>
      eventually(
        async () => {
          const said = await ask(...args);
          expect(said).toMatch(wanted);
          return said;
        },
        { timeoutMs: 20_000 },
      );
    expect(await ask("--live")).toBe(`1 not live: ${healthFile} is not there: nothing has started that writes it\n`);
    await using first = await start();
    expect(await asks(/^0 /)).toStartWith(`0 ready: connected to ${cp.wsUrl} since `);
    expect(await ask("--live")).toStartWith(`0 live: process ${first.pid} wrote ${healthFile} `);
    // The long way comes to the same.
    expect(await ask("--health-file", healthFile)).toStartWith(`0 ready: connected to ${cp.wsUrl} since `);

    process.kill(first.pid, "SIGSTOP");
    expect(await asks(/^1 /, "--live")).toBe(`1 not live: process ${first.pid} is stopped\n`);
    process.kill(first.pid, "SIGCONT");
    expect(await asks(/^0 /, "--live")).toStartWith("0 live: ");

    await first.kill("SIGKILL");
    expect(await ask("--live")).toBe(`1 not live: ${healthFile} is of an earlier start: process ${first.pid} of then has ended\n`);
    await using second = await start();
    expect(await asks(/^0 /)).toStartWith("0 ready: ");
    expect(JSON.parse(await readFile(healthFile, "utf8")).pid).toBe(second.pid);

    await cp.stop();
    expect(await asks(/^1 /)).toStartWith(`1 not ready: not connected to ${cp.wsUrl}: `);
    expect(await ask("--live")).toStartWith("0 live: ");

    expect(await second.kill("SIGTERM")).toBe(0);
    expect(await readdir(join(files.path, "run"))).toEqual([]);
  });

  compiledTest("finds a loop that hangs, whose process runs on", async () => {
    await using files = await temporaryDirectory();
    // A program that is there, and never writes again.
    await using running = await startTransporter(["cp", "--ws-port=0", "--store=memory:"], { compiled: true });
    await running.line(/Control plane is listening/);
    const text = await readFile(`/proc/${running.pid}/stat`, "utf8");
    const old = Date.now() - 2 * HEALTH.staleMs;
    const record = {
      version: 1,
      pid: running.pid,
      started: text.slice(text.lastIndexOf(")") + 2).split(" ")[19],
      written_at_ms: old,
      stale_after_ms: HEALTH.staleMs,
      ready: true,
      summary: "connected",
    };
    const healthFile = join(files.path, "health.json");
    await writeFile(healthFile, JSON.stringify(record));
    const { utimes } = await import("node:fs/promises");
    await utimes(healthFile, old / 1000, old / 1000);
    const { exitCode, stdout } = await runTransporter(["healthcheck", "agent"], {
      compiled: true,
      env: { TRANSPORTER_HEALTH_FILE: healthFile },
    });
    expect(stdout).toMatch(/^not ready: process \d+ hangs: it last wrote .* 3\d s ago\n$/);
    expect(exitCode).toBe(1);
  });

  test("looks where the agent's own settings say", async () => {
    const gone = (path: string) => ({ code: 1, out: expect.stringContaining(`${path} is not there`), err: "" });
    expect(await runCli(["healthcheck", "agent", "--state-dir", "/none/state"])).toMatchObject(gone("/none/state/health.json"));
    expect(await runCli(["healthcheck", "agent"], { env: { HOME: "/none", TRANSPORTER_AGENT_ID: "a/b" } })).toMatchObject(
      gone("/none/.local/state/transporter/agents/a%2Fb/health.json"),
    );
    expect(
      await runCli(["healthcheck", "agent", "--health-file", "/none/h"], { env: { TRANSPORTER_HEALTH_FILE: "/other" } }),
    ).toMatchObject(gone("/none/h"));
    expect(await runCli(["healthcheck", "agent"])).toMatchObject({ code: 2, out: "", err: expect.stringContaining("nothing says where") });
  });

  test("takes the short way only where nothing else was said", () => {
    expect(quickHealthcheck(["healthcheck", "agent"], "/h")).toEqual({ path: "/h", asked: "ready" });
    expect(quickHealthcheck(["healthcheck", "agent", "--live"], "/h")).toEqual({ path: "/h", asked: "live" });
    for (const argv of [
      ["healthcheck"],
      ["healthcheck", "cp"],
      ["healthcheck", "agent", "--help"],
      ["healthcheck", "agent", "--live=false"],
      ["healthcheck", "agent", "--live", "--live"],
      ["agent", "healthcheck"],
    ])
      expect(quickHealthcheck(argv, "/h")).toBeUndefined();
    for (const named of [undefined, "", " /h"]) expect(quickHealthcheck(["healthcheck", "agent"], named)).toBeUndefined();
  });
});

describe("transporter healthcheck cp", () => {
  test("asks the control plane that its settings describe", async () => {
    await using cp = await startCp();
    const { port } = new URL(cp.url);
    for (const env of [{ TRANSPORTER_WS_PORT: port }, { TRANSPORTER_PROBE_PORT: port }])
      expect(await runCli(["healthcheck", "cp"], { env })).toEqual({
        code: 0,
        out: `ready: http://127.0.0.1:${port}/readyz answers\n`,
        err: "",
      });
    expect(await runCli(["healthcheck", "cp", "--url", cp.url, "--live"])).toMatchObject({
      code: 0,
      out: `live: ${cp.url}/livez answers\n`,
    });
  });

  test("says in one line why not: nobody there, no answer in time, something else", async () => {
    await using cp = await startCp();
    await cp.stop();
    const refused = await runCli(["healthcheck", "cp", "--url", cp.url]);
    expect(refused).toMatchObject({ code: 1, err: "" });
    expect(refused.out).toMatch(/^not ready: http:.*\/readyz: .+\n$/);
    using deaf = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
    expect(await runCli(["healthcheck", "cp", "--url", `http://127.0.0.1:${deaf.port}`, "--timeout", "50ms"])).toMatchObject({
      code: 1,
      out: `not ready: http://127.0.0.1:${deaf.port}/readyz: no answer within 50 ms\n`,
    });
    await using other = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () => new Response("[+]ping ok\n[-]store sqlite failed: disk\u001b[31m\n", { status: 503 }),
    });
    expect(await runCli(["healthcheck", "cp", "--url", other.url.href])).toMatchObject({
      code: 1,
      out: `not ready: http://127.0.0.1:${other.port}/readyz answers 503: store sqlite failed: disk?[31m\n`,
    });
    await using elsewhere = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => Response.redirect("http://127.0.0.1:1/", 302) });
    expect((await runCli(["healthcheck", "cp", "--url", elsewhere.url.href])).out).toContain("answers 302");
  });

  test("refuses addresses that are none", async () => {
    expect(await runCli(["healthcheck", "cp", "--url", "file:///etc/passwd"])).toMatchObject({ code: 2 });
  });
});
