import { describe, expect, test } from "bun:test";
import { anEvent, startCp } from "../support/cp.ts";
import { runCli, startCli } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { runTransporter, startTransporter } from "../support/process.ts";
import { dialAgent, protocol2 } from "../support/wire-agent.ts";

const HOSTILE = "line\u001b]0;owned\u0007\u202e";

describe("get events", () => {
  test("lists in every form, filtered, with data alone on standard output", async () => {
    await using cp = await startCp();
    const old = anEvent({ id: "one", labels: { team: "shop", name: "first" }, created_by: "me" });
    await cp.post("/v1/events", old);
    await cp.post("/v1/events", anEvent({ id: "two", target_agent: "agent-2" }));
    const get = (...args: string[]): ReturnType<typeof runCli> => runCli(["get", "events", "--cp-url", cp.url, ...args]);

    const table = await get();
    expect(table.out).toMatch(/^ID +AGENT +STATE +PHASE +AGE +MESSAGE\ntwo +agent-2 +queued .*\none +agent-1 +queued .*\n$/);
    expect((await get("--no-headers")).out).toMatch(/^two /);
    expect((await get("-o", "wide")).out).toContain("team=shop");
    expect((await get("-o", "name")).out).toBe("event/two\nevent/one\n");
    const page = JSON.parse((await get("-o", "json", "--limit", "1")).out) as { items: unknown[]; next_cursor: string };
    expect(page.items).toHaveLength(1);
    expect(page.next_cursor).toBeString();
    expect((await get("-o", "yaml")).out).toMatch(/^items:\n {2}- id: two\n/);
    for (const filter of [
      ["--agent", "agent-1"],
      ["-l", "team=shop"],
      ["--created-by", "me"],
      ["--state", "queued,failed", "-l", "name=first"],
    ])
      expect((await get("-o", "name", ...filter)).out).toBe("event/one\n");
    expect(await get("--state", "completed")).toMatchObject({ code: 0, out: "", err: "No events found.\n" });
    expect((await get("--since", "1h", "-o", "name")).out).toBe("event/two\nevent/one\n");
    expect((await get("--until", "1h", "-o", "name")).out).toBe("");
    expect((await get("--limit", "1")).err).toContain("There are more");
    expect((await get("--limit", "1", "--all", "-o", "name")).out).toBe("event/two\nevent/one\n");
    expect((await get("one", "-o", "json")).out).toContain('"id": "one"');
    expect((await get("nope")).code).toBe(4);
    expect((await get("--state", "qeued")).err).toContain("flag --state");
    expect((await get("--since", "yesterday")).code).toBe(2);
  });

  test("keeps what strangers wrote from the terminal", async () => {
    await using cp = await startCp();
    await cp.post("/v1/events", anEvent({ id: "x", created_by: HOSTILE, labels: { name: HOSTILE } }));
    for (const form of ["table", "wide", "json", "yaml", "name"]) {
      const { out } = await runCli(["get", "events", "--cp-url", cp.url, "-o", form]);
      expect(out).toContain("x");
      expect(out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    }
    expect(JSON.parse((await runCli(["get", "events", "x", "--cp-url", cp.url, "-o", "json"])).out)).toMatchObject({ created_by: HOSTILE });
    const { out } = await runCli(["describe", "event", "x", "--cp-url", cp.url]);
    expect(out).toContain("\\x1b]0;owned\\x07\\u202e");
  });

  test("watches without missing what happens meanwhile, over a restart of the stream", async () => {
    await using cp = await startCp();
    await cp.post("/v1/events", anEvent({ id: "before" }));
    const watching = startCli(["get", "events", "-w", "-o", "name", "--cp-url", cp.url, "--agent", "agent-1"]);
    await eventually(() => watching.out().includes("event/before"));
    await cp.post("/v1/events", anEvent({ id: "other", target_agent: "agent-2" }));
    await cp.post("/v1/events", anEvent({ id: "after" }));
    await eventually(() => watching.out().includes("event/after"));
    watching.signal("SIGINT");
    const { code, out } = await watching.ended;
    expect(code).toBe(130);
    expect(out).not.toContain("event/other");
  });
});

describe("agents", () => {
  test("are listed, described, paused, resumed and removed", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(
      cp.wsUrl,
      protocol2({ id: "agent-1", labels: { zone: "a" }, sent_at: new Date(Date.now() + 3_600_000).toISOString() }),
    );
    const cli = (...args: string[]): ReturnType<typeof runCli> => runCli([...args, "--cp-url", cp.url]);
    expect((await cli("get", "agents")).out).toMatch(
      /^ID +CLUSTER +STATUS +VERSION +LAST SEEN +CLOCK +QUEUED +IN FLIGHT\nagent-1 +cluster-1 +connected +0\.2\.0 +0s +\+3[56]\d\ds +0 +0\n$/,
    );
    expect((await cli("get", "agent", "agent-1", "-o", "name")).out).toBe("agent/agent-1\n");
    expect((await cli("get", "agents", "-o", "wide")).out).toContain("zone=a");
    expect((await cli("get", "agents", "--cluster", "other")).err).toBe("No agents found.\n");
    expect((await cli("describe", "agent", "agent-1")).out).toMatch(/^Agent: +agent-1$/m);
    expect((await cli("pause", "agent", "agent-1")).out).toBe("agent/agent-1 paused (0 in flight, 0 queued)\n");
    expect((await cli("get", "agents")).out).toContain("connected,paused");
    await cp.post("/v1/events", anEvent({ id: "waits" }));
    expect((await cli("resume", "agent", "agent-1")).out).toBe("agent/agent-1 resumed\n");
    await agent.event("waits");
    agent.report("waits");
    const watching = startCli(["get", "agents", "-w", "-o", "json", "--cp-url", cp.url]);
    await eventually(() => watching.out().endsWith("\n"));
    watching.signal("SIGTERM");
    expect((await watching.ended).code).toBe(143);
    expect(JSON.parse(watching.out())).toMatchObject({ id: "agent-1" });
    expect(await cli("delete", "agent", "agent-1", "nobody")).toMatchObject({ code: 4, out: "agent/agent-1 deleted\n" });
  });
});

describe("one event", () => {
  test("is described with its log and objects, followed to its end, and its secrets stay unless asked for", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    await cp.post("/v1/events", anEvent({ id: "e1" }));
    const watching = startCli(["watch", "e1", "--cp-url", cp.url]);
    await agent.event("e1");
    agent.report("e1");
    const watched = await watching.ended;
    expect(watched.code).toBe(0);
    expect(watched.out.split("\n").map((line) => line.split(/ {2,}/)[3])).toEqual([
      "STEP",
      "assigned",
      "received",
      "validating",
      "applying",
      "verifying",
      "completed",
      undefined,
    ]);
    const { out } = await runCli(["describe", "event", "e1", "--cp-url", cp.url]);
    for (const words of [
      /^State: +completed$/m,
      /^Objects:$/m,
      /Namespace .* x .* created/,
      /^Log:$/m,
      /validating +info +Validating event payload/,
    ])
      expect(out).toMatch(words);
    const masked = await runCli(["describe", "event", "e1", "--cp-url", cp.url, "-o", "yaml"]);
    expect(masked.out).not.toContain("kind: Namespace\\n");
    expect(JSON.parse((await runCli(["describe", "event", "e1", "--cp-url", cp.url, "-o", "json", "--payload"])).out)).toMatchObject({
      payload: { manifests: [expect.stringContaining("Namespace")] },
    });
    expect((await runCli(["watch", "nope", "--cp-url", cp.url])).code).toBe(4);
  });

  test("is cancelled while it waits, and not after", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    await cp.post("/v1/events", anEvent({ id: "running" }));
    await agent.event("running");
    await cp.post("/v1/events", anEvent({ id: "waiting", target_agent: "absent" }));
    const run = await runCli(["cancel", "waiting", "running", "--cp-url", cp.url]);
    expect(run).toMatchObject({ code: 5, out: "event/waiting cancelled\n" });
    expect(run.err).toContain("code:  EVENT_NOT_CANCELLABLE");
    const watched = await runCli(["watch", "waiting", "--cp-url", cp.url]);
    expect(watched.code).toBe(1);
    expect(watched.err).toContain("event waiting was cancelled");
  });
});

test("audit says who did what", async () => {
  await using cp = await startCp();
  await cp.post("/v1/events", anEvent({ id: "a1", created_by: "me" }));
  const { out } = await runCli(["audit", "--cp-url", cp.url, "--event", "a1"]);
  expect(out).toMatch(/event_received_http +a1 +agent-1 +me /);
  expect((await runCli(["audit", "--cp-url", cp.url, "--action", "none", "-o", "json"])).out).toBe('{\n  "items": []\n}\n');
});

test("the server's version comes beside ours, and ours even when there is none", async () => {
  await using cp = await startCp();
  const both = await runCli(["version", "--cp-url", cp.url]);
  expect(both.out).toMatch(/^Client: .*\nServer: 0\.0\.0-test /);
  const alone = await runCli(["version", "--server", "--cp-url", "http://127.0.0.1:1", "-o", "json"]);
  expect(alone.code).toBe(7);
  expect(JSON.parse(alone.out)).toHaveProperty("client");
});

describe("where nobody reads any more", () => {
  test("a list ends in silence, as if by SIGPIPE", async () => {
    await using cp = await startCp();
    for (let count = 0; count < 3; count++) await cp.post("/v1/events", anEvent({ labels: { filler: "x".repeat(1000) } }));
    const script = `set -o pipefail; ${process.execPath} bin/transporter.ts get events -o json --cp-url ${cp.url} | true; echo "\${PIPESTATUS[0]}"`;
    const child = Bun.spawn(["bash", "-c", script], { cwd: `${import.meta.dir}/../..`, stdout: "pipe", stderr: "pipe" });
    const [status, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    expect({ status: ["0", "141"].includes(status.trim()), errors }).toEqual({ status: true, errors: "" });
  });

  test("a watch ends at the next line", async () => {
    await using cp = await startCp();
    const watching = Bun.spawn(
      [
        "bash",
        "-c",
        `${process.execPath} bin/transporter.ts watch --no-headers --cp-url ${cp.url} | head -n 1; echo "ended \${PIPESTATUS[0]}"`,
      ],
      {
        cwd: `${import.meta.dir}/../..`,
        stdout: "pipe",
        stderr: "inherit",
      },
    );
    let text = "";
    void (async () => {
      for await (const chunk of watching.stdout) text += new TextDecoder().decode(chunk);
    })();
    await eventually(async () => {
      await cp.post("/v1/events", anEvent());
      return text.includes("ended");
    });
    expect(text).toMatch(/\nended 141\n$/);
  });
});

test("the address comes from flag, variable, file, context and default, in that order", async () => {
  await using cp = await startCp();
  await using running = await startTransporter(["completion", "bash"]);
  await running.exited;
  const home = running.home;
  const cli = (args: string[], env: Record<string, string> = {}): ReturnType<typeof runTransporter> => runTransporter(args, { home, env });
  const dead = "http://127.0.0.1:1";
  expect((await cli(["context", "add", "dead", "--cp-url", dead])).stdout).toBe("context/dead added (current)\n");
  expect((await cli(["context", "add", "live", "--cp-url", cp.wsUrl])).stdout).toBe("context/live added\n");
  expect((await cli(["get", "agents"])).exitCode).toBe(7);
  expect((await cli(["get", "agents", "--context", "live"])).exitCode).toBe(0);
  expect((await cli(["context", "use", "live"])).exitCode).toBe(0);
  expect((await cli(["get", "agents"])).exitCode).toBe(0);
  await Bun.write(`${home}/.transporter.yaml`, `cp_url: ${dead}\n`);
  expect((await cli(["get", "agents"])).exitCode).toBe(7);
  expect((await cli(["get", "agents"], { TRANSPORTER_CP_URL: cp.url })).exitCode).toBe(0);
  expect((await cli(["get", "agents", "--cp-url", dead], { TRANSPORTER_CP_URL: cp.url })).exitCode).toBe(7);
  expect((await cli(["get", "agents", "--context", "live"], { TRANSPORTER_CP_URL: dead })).exitCode).toBe(0);
  // Proxies are for the world outside.
  expect((await cli(["get", "agents", "--cp-url", cp.url], { HTTP_PROXY: dead, http_proxy: dead })).exitCode).toBe(0);
}, 60_000);
