import { describe, expect, test } from "bun:test";
import { chmod, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { startCp } from "../support/cp.ts";
import { type CliRun, runCli, temporaryDirectory } from "../support/cli.ts";
import { runTransporter, startTransporter } from "../support/process.ts";
import { startSecureCp } from "../support/secure-cp.ts";
import { dialAgent } from "../support/wire-agent.ts";

const PATH = process.env["PATH"] ?? "";

describe("doctor send", () => {
  test("finds everything in order, one line each", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, { id: "agent-1" });
    expect(agent.frames.length).toBeGreaterThan(0);
    const run = await runCli(["doctor", "send", "--cp-url", cp.url, "--agent", "agent-1"], { env: { PATH } });
    expect(run.code).toBe(0);
    for (const name of ["address", "environment", "reachable", "ready", "clock", "agents"])
      expect(run.out).toMatch(new RegExp(`^ok +${name} `, "m"));
    const json = JSON.parse((await runCli(["doctor", "send", "--cp-url", cp.url, "-o", "json"], { env: { PATH } })).out) as {
      items: { check: string; status: string }[];
    };
    expect(json.items.map((item) => item.check)).toContain("version");
  });

  test("names the remedy of what is wrong, and ends in 1", async () => {
    const run = await runCli(["doctor", "send", "--cp-url", "http://127.0.0.1:1"], {
      env: { PATH: "", NODE_TLS_REJECT_UNAUTHORIZED: "0" },
    });
    expect(run.code).toBe(1);
    expect(run.out).toMatch(/^FAIL +environment +NODE_TLS_REJECT_UNAUTHORIZED=0: .*\n +Unset it/m);
    expect(run.out).toMatch(/^FAIL +reachable +the control plane at .* cannot be reached: .*\(CP_UNREACHABLE\)\n +Check --cp-url/m);
    expect(run.out).toMatch(/^warn +kubectl +not found/m);
    expect(run.out).not.toContain("ready");
  });

  test("packs a report without secrets, as tar.gz and as zip, that ordinary tools unpack", async () => {
    await using cp = await startCp();
    await using files = await temporaryDirectory();
    const env = {
      PATH,
      HOME: files.path,
      TRANSPORTER_MEMPHIS_PASSWORD: "canary-1",
      HTTPS_PROXY: "http://user:canary-2@proxy.invalid:1",
      MY_TOKEN: "canary-3",
    };
    for (const [name, unpack] of [
      ["report.tar.gz", ["tar", "-xzf"]],
      ["report.zip", ["python3", "-m", "zipfile", "-e"]],
    ] as const) {
      if (Bun.which(unpack[0]) === null) continue;
      const path = join(files.path, name);
      const run = await runCli(["doctor", "send", "--cp-url", cp.url, "--bundle", path], { env });
      expect(run.code).toBe(0);
      expect(run.err).toContain("look through it before you pass it on");
      expect((await stat(path)).mode & 0o777).toBe(0o600);
      const into = join(files.path, `${name}-unpacked`);
      await Bun.write(join(into, ".keep"), "");
      const child = Bun.spawn([...unpack, path, ...(name.endsWith("zip") ? [into] : ["-C", into])], {
        stdout: "ignore",
        stderr: "inherit",
      });
      expect(await child.exited).toBe(0);
      expect((await readdir(into)).filter((file) => file !== ".keep").toSorted()).toEqual(
        [
          "cp-agents.json",
          "cp-metrics.json",
          "cp-ready.txt",
          "cp-version.json",
          "environment.json",
          "report.json",
          "report.txt",
          "settings.json",
          "version.json",
        ].toSorted(),
      );
      let everything = "";
      for (const file of await readdir(into)) everything += await Bun.file(join(into, file)).text();
      expect(everything).not.toContain("canary");
      expect(everything).toContain(cp.url);
      expect(JSON.parse(await Bun.file(join(into, "settings.json")).text())).toHaveProperty("cp-url.from", "flag --cp-url");
      const again = await runCli(["doctor", "send", "--cp-url", cp.url, "--bundle", path], { env });
      expect(again.code).toBe(2);
    }
    expect((await runCli(["doctor", "send", "--bundle", "report.rar"])).err).toContain("ends in .tar.gz, .tgz or .zip");
  });
});

describe("doctor cp", () => {
  test("before the first start, with a running one, and with a port that is taken", async () => {
    const fresh = await runTransporter(["doctor", "cp", "--ws-port=0"]);
    expect(fresh).toMatchObject({ exitCode: 0, stderr: "" });
    expect(fresh.stdout).toContain("will be made at the first start");
    await using running = await startTransporter(["cp", "--ws-port=0"]);
    const [, port = ""] = await running.line(/"address":"127\.0\.0\.1:(\d+)"/);
    const beside = await runTransporter(["doctor", "cp", "--ws-port", port], { home: running.home });
    expect(beside.exitCode).toBe(0);
    expect(beside.stdout).toMatch(/^ok +running +.*store sqlite ok/m);
    await running.kill("SIGTERM");
    const stopped = await runTransporter(["doctor", "cp", "--ws-port", port], { home: running.home });
    expect(stopped.stdout).toMatch(/^ok +store +.* is whole \(schema \d+, 0 events so far\)/m);
    const other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("no", { status: 404 }) });
    const taken = await runTransporter(["doctor", "cp", "--ws-port", String(other.port)]);
    expect(taken.exitCode).toBe(1);
    expect(taken.stdout).toMatch(/^FAIL +address +.*cannot be listened on/m);
    await other.stop(true);
  }, 60_000);

  test("finds a damaged store", async () => {
    await using files = await temporaryDirectory();
    const path = await files.file("cp.db", `SQLite format 3\u0000${"garbage".repeat(2000)}`);
    const run = await runTransporter(["doctor", "cp", "--ws-port=0", "--store", `sqlite:${path}`]);
    expect(run.exitCode).toBe(1);
    expect(run.stdout).toMatch(/^FAIL +store +.*\(STORE_CORRUPT\)/m);
  });
});

describe("doctor agent", () => {
  test("looks at control plane and cluster each for itself", async () => {
    await using cp = await startCp();
    await using files = await temporaryDirectory();
    const kube = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) =>
        new URL(request.url).pathname === "/version"
          ? Response.json({ gitVersion: "v1.36.3" })
          : Response.json({ kind: "Status" }, { status: 403 }),
    });
    const kubeconfig = await files.file(
      "kubeconfig",
      `apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: "${kube.url.origin}"}}]\nusers: [{name: u, user: {token: t}}]\n`,
    );
    const args = ["doctor", "agent", "--agent-id", "a", "--kubeconfig", kubeconfig];
    const good = await runTransporter([...args, "--cp-url", cp.wsUrl]);
    expect(good.stdout).toMatch(/^ok +control plane +ws:\/\/\S+ speaks WebSocket/m);
    expect(good.stdout).toMatch(/^warn +cluster +Kubernetes v1\.36\.3 at .* may not list namespaces \(403\)/m);
    expect(good.exitCode).toBe(0);
    const forOthers = await runTransporter([...args, "--cp-url", cp.wsUrl, "--require-impersonation"]);
    expect(forOthers.stdout).toMatch(/^ok +cluster +Kubernetes v1\.36\.3 at .* acts as whom an event names/m);
    await Bun.write(kubeconfig, (await Bun.file(kubeconfig).text()).replace("{token: t}", "{token: t, as: dave}"));
    const bound = await runTransporter([...args, "--cp-url", cp.wsUrl, "--require-impersonation"]);
    expect(bound.exitCode).toBe(1);
    expect(bound.stdout).toMatch(/^FAIL +cluster +.*acts as dave by its kubeconfig/m);
    const bad = await runTransporter([...args, "--cp-url", `${cp.url}/elsewhere`]);
    expect(bad.exitCode).toBe(1);
    expect(bad.stdout).toMatch(/^FAIL +control plane +.*answers 404/m);
    await kube.stop(true);
  });
});

describe("doctor agent, of one that has enrolled", () => {
  test("looks at certificate and key, at the agents' listener as the agent would, and at the API", async () => {
    await using cp = await startSecureCp();
    await using state = await temporaryDirectory();
    const agent = await cp.enrol("agent-1");
    const identity = join(state.path, "identity");
    for (const [name, text] of [
      ["certificate.pem", agent.certificate],
      ["key.pem", agent.key],
      ["trust.pem", cp.ca],
      ["identity.json", JSON.stringify({ agent_urls: [cp.agentsUrl] })],
    ] as const) {
      await Bun.write(join(identity, name), text);
      await chmod(join(identity, name), 0o600);
    }
    const doctor = (): Promise<CliRun> =>
      runCli(["doctor", "agent", "--agent-id", "agent-1", "--state-dir", state.path, "--cp-url", cp.url, "--kubeconfig", "/nonexistent"], {
        env: { PATH },
      });
    const run = await doctor();
    for (const name of ["identity", "agents' port", "API"]) expect(run.out).toMatch(new RegExp(`^ok +${name} `, "m"));
    await chmod(join(identity, "key.pem"), 0o640);
    expect((await doctor()).out).toMatch(/^FAIL +identity .*key\.pem can be read by others/m);
    await rm(identity, { recursive: true });
    const none = await doctor();
    expect(none.out).toMatch(/^warn +identity +none, and no token to enrol with/m);
    expect(none.out).toContain("transporter token create --agent agent-1");
    expect(none.out).not.toContain("INTERNAL");
  });
});
