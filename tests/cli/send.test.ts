import { describe, expect, test } from "bun:test";
import { join, resolve } from "node:path";
import { startCp } from "../support/cp.ts";
import { runCli, startCli, temporaryDirectory } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { dialAgent, protocol2 } from "../support/wire-agent.ts";

const ROOT = resolve(import.meta.dir, "../..");
const NAMESPACE = join(ROOT, "examples/manifests/namespace.yaml");

/** The only event there is. */
async function onlyEvent(
  cp: Awaited<ReturnType<typeof startCp>>,
): Promise<{ id: string; payload: { manifests: string[] }; [key: string]: unknown }> {
  const { items } = await cp.json<{ items: { id: string }[] }>("/v1/events");
  expect(items).toHaveLength(1);
  return cp.json(`/v1/events/${encodeURIComponent(items[0]?.id ?? "")}?payload=true`);
}

describe("send k8s", () => {
  test("says what 0.1's producer said, and gives the id on standard output", async () => {
    await using cp = await startCp();
    const run = await runCli([
      "send",
      "k8s",
      "--agent",
      "agent-1",
      "--manifest",
      NAMESPACE,
      "--cp-url",
      cp.url,
      "--mode",
      "http",
      "--created-by=me",
      "--ttl=1h30m",
      "--priority=5",
    ]);
    expect(run.code).toBe(0);
    const event = await onlyEvent(cp);
    expect(run.out).toBe(`${event.id}\n`);
    expect(run.err).toBe(
      [
        `Publishing event ${event.id} to agent agent-1`,
        `Sending event to Control Plane at ${cp.url}/events...`,
        "Event accepted by Control Plane",
        "   Event routed to agent",
        "Event published successfully!",
        "",
        "Event Details:",
        `  ID:           ${event.id}`,
        "  Type:         k8s_resource",
        "  Target Agent: agent-1",
        "  Created By:   me",
        `  Created At:   ${String(event["created_at"]).replace(/\.\d+/, "")}`,
        "  TTL:          1h30m0s",
        "  Manifests:    1 file(s)",
        "",
      ].join("\n"),
    );
    expect(event).toMatchObject({ created_by: "me", priority: 5, ttl: 5_400_000_000_000, target_agent: "agent-1" });
    expect(event.payload.manifests).toEqual([await Bun.file(NAMESPACE).text()]);
  });

  test("gathers files, directories, standard input and commas, in the order named", async () => {
    await using cp = await startCp();
    await using files = await temporaryDirectory();
    const a = await files.file("a.yaml", "kind: A");
    const b = await files.file("b.yaml", "kind: B");
    await files.file("dir/2.json", '{"kind":"D2"}');
    await files.file("dir/1.yml", "kind: D1");
    await files.file("dir/notes.txt", "not a manifest");
    await files.file("dir/below/3.yaml", "kind: D3");
    const run = await runCli(
      ["send", "k8s", "--agent=x", "-m", `${a},${b}`, "-f", join(files.path, "dir"), "-f", "-", "--cp-url", cp.url, "-o", "name"],
      { stdin: "kind: S" },
    );
    expect(run.code).toBe(0);
    const event = await onlyEvent(cp);
    expect(event.payload.manifests).toEqual(["kind: A", "kind: B", "kind: D1", '{"kind":"D2"}', "kind: S"]);
    expect(run.out).toBe(`event/${event.id}\n`);
    const deep = await runCli(["send", "k8s", "--agent=x", "-R", "-f", join(files.path, "dir"), "--dry-run=client", "-o", "json"]);
    expect(deep.err).toContain("apiVersion");
    expect(deep.code).toBe(2);
  });

  test("builds a kustomization by kubectl, and says so where it cannot", async () => {
    await using files = await temporaryDirectory();
    const run = await runCli(["send", "k8s", "--agent=x", "-k", files.path], { env: { PATH: "/nonexistent" } });
    expect(run.code).toBe(2);
    expect(run.err).toContain("kubectl could not be started");
    expect(run.err).toContain("hint:  Install kubectl");
  });

  test("reads addresses, follows their redirects, and nothing but http", async () => {
    await using cp = await startCp();
    await using server = Object.assign(
      Bun.serve({
        port: 0,
        hostname: "127.0.0.1",
        fetch: (request) => {
          const { pathname } = new URL(request.url);
          if (pathname === "/moved") return Response.redirect("/ns.yaml", 302);
          if (pathname === "/evil") return new Response(null, { status: 302, headers: { location: "file:///etc/passwd" } });
          if (pathname === "/metadata") return Response.redirect("http://169.254.169.254/latest", 302);
          if (pathname === "/loop") return Response.redirect("/loop", 302);
          return pathname === "/ns.yaml" ? new Response("kind: U") : new Response("no", { status: 404 });
        },
      }),
      { [Symbol.asyncDispose]: () => Promise.resolve() },
    );
    const base = server.url.href;
    expect((await runCli(["send", "k8s", "--agent=x", "-f", `${base}moved`, "--cp-url", cp.url])).code).toBe(0);
    expect((await onlyEvent(cp)).payload.manifests).toEqual(["kind: U"]);
    for (const [path, words] of [
      [`${base}evil`, "not followed"],
      [`${base}loop`, "more than 5 redirects"],
      [`${base}none`, "HTTP 404"],
      ["file:///etc/passwd", "only http and https"],
    ] as const) {
      const run = await runCli(["send", "k8s", "--agent=x", "-f", path]);
      expect(run).toMatchObject({ code: 2, out: "" });
      expect(run.err).toContain(words);
    }
    // Neither by name nor led there by somebody else.
    for (const path of ["http://169.254.169.254/latest", `${base}metadata`]) {
      const run = await runCli(["send", "k8s", "--agent=x", "-f", path]);
      expect(run).toMatchObject({ code: 3, out: "" });
      expect(run.err).toContain("ADDRESS_REFUSED");
    }
    await server.stop(true);
  });

  test("sends nothing on a dry run, and names the file of a broken manifest", async () => {
    await using files = await temporaryDirectory();
    const good = await runCli([
      "send",
      "k8s",
      "--agent=x",
      "-f",
      NAMESPACE,
      "--dry-run=client",
      "-o",
      "json",
      "--id",
      "mine",
      "--name",
      "n",
      "-l",
      "a=b",
      "--force-conflicts",
      "--verify-timeout",
      "30s",
      "--deadline",
      "10m",
    ]);
    expect(good.code).toBe(0);
    expect(JSON.parse(good.out)).toMatchObject({
      id: "mine",
      labels: { a: "b", name: "n" },
      deadline: 600_000_000_000,
      payload: { force_conflicts: true, verify_timeout: 30_000_000_000 },
    });
    expect(good.err).toContain("dry run: nothing was sent; the manifests hold 1 object");
    const broken = await files.file("broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [x\n");
    const bad = await runCli(["send", "k8s", "--agent=x", "-f", broken, "--dry-run=client"]);
    expect(bad).toMatchObject({ code: 2, out: "" });
    expect(bad.err).toContain(broken);
    expect(bad.err).toContain("code:  INVALID_MANIFEST");
  });
});

describe("waiting", () => {
  test("shows every phase and then the objects, and ends in 0 when it completed", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    const running = startCli(["send", "k8s", "--agent", "agent-1", "-f", NAMESPACE, "--cp-url", cp.url, "--id", "w1", "--wait"]);
    await agent.event("w1");
    agent.report("w1");
    const { code, out, err } = await running.ended;
    expect(code).toBe(0);
    expect(out).toBe(
      "KIND        NAMESPACE   NAME   STATUS    MESSAGE\nNamespace   -           x      created   Resource created successfully\n",
    );
    const steps = err.split("\n").flatMap((line) => /^\d\d:\d\d:\d\d {2}(\w+)/.exec(line)?.[1] ?? []);
    expect(steps.slice(-5)).toEqual(["received", "validating", "applying", "verifying", "completed"]);
  });

  test("is what a terminal gets without asking: the lines are redrawn there, and nothing else is", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    const running = startCli(["send", "k8s", "--agent", "agent-1", "-f", NAMESPACE, "--cp-url", cp.url, "--id", "w2"], { terminal: 60 });
    await agent.event("w2");
    agent.report("w2");
    const { code, out, err } = await running.ended;
    expect(code).toBe(0);
    expect(err).toContain("\r\u001b[2K");
    expect(err).toContain("✔");
    const plain = err.replace(/\u001b\[[0-9;]*[A-Za-z]/g, "");
    for (const line of plain.split(/[\n\r]/).slice(14)) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(60);
    expect(out).not.toContain("\u001b");
    const dull = startCli(["send", "k8s", "--agent", "agent-1", "-f", NAMESPACE, "--cp-url", cp.url, "--id", "w3"], {
      terminal: 60,
      env: { NO_COLOR: "1" },
    });
    await agent.event("w3");
    agent.report("w3");
    expect((await dull.ended).err).not.toContain("\u001b[3");
  });

  test("ends in 1 with the agent's words when it failed, in 6 when it expired, in 8 when it takes too long", async () => {
    await using cp = await startCp();
    await using agent = await dialAgent(cp.wsUrl, protocol2());
    const failing = startCli([
      "send",
      "k8s",
      "--agent",
      "agent-1",
      "-f",
      NAMESPACE,
      "--cp-url",
      cp.url,
      "--id",
      "f1",
      "--wait",
      "-o",
      "json",
    ]);
    await agent.event("f1");
    agent.report("f1", "failed");
    const failed = await failing.ended;
    expect(failed.code).toBe(1);
    expect(failed.err).toContain("error: event f1 failed: Manifest validation failed\ncode:  EVENT_FAILED");
    expect(JSON.parse(failed.out)).toMatchObject({ id: "f1", state: "failed" });
    const late = await runCli([
      "send",
      "k8s",
      "--agent",
      "absent",
      "-f",
      NAMESPACE,
      "--cp-url",
      cp.url,
      "--wait",
      "--wait-timeout",
      "50ms",
    ]);
    expect(late.code).toBe(8);
    expect(late.err).toContain("code:  WAIT_TIMEOUT");
    const expired = await runCli(["send", "k8s", "--agent", "absent", "-f", NAMESPACE, "--cp-url", cp.url, "--wait", "--ttl", "100ms"]);
    expect(expired.code).toBe(6);
  });

  test("Ctrl-C leaves the event going and says how to find it again", async () => {
    await using cp = await startCp();
    const running = startCli(["send", "k8s", "--agent", "absent", "-f", NAMESPACE, "--cp-url", cp.url, "--id", "c1", "--wait"]);
    await eventually(() => /^\d\d:\d\d:\d\d {2}queued/m.test(running.err()));
    running.signal("SIGINT");
    const { code, err } = await running.ended;
    expect(code).toBe(130);
    expect(err).toContain("transporter watch c1");
    expect((await cp.json<{ state: string }>("/v1/events/c1")).state).toBe("queued");
  });
});

describe("send from-file", () => {
  const YAML = "id: file-1\ntype: k8s_resource\ntargetagent: agent-9\nttl: 24h\npayload:\n  manifests:\n    - |\n      kind: X\n";

  test("takes 0.1's files, YAML and JSON", async () => {
    await using cp = await startCp();
    await using files = await temporaryDirectory();
    const path = await files.file("event.yaml", YAML);
    expect(await runCli(["send", "from-file", "--file", path, "--cp-url", cp.url])).toMatchObject({ code: 0, out: "file-1\n" });
    expect(await onlyEvent(cp)).toMatchObject({ id: "file-1", target_agent: "agent-9", ttl: 86_400_000_000_000 });
    const sample = await runCli([
      "send",
      "from-file",
      "-f",
      join(ROOT, "examples/events/sample-k8s-event.yaml"),
      "--dry-run=client",
      "-o",
      "name",
    ]);
    expect(sample.code).toBe(0);
  });

  test("the same file again is the same event; with other content it is a conflict", async () => {
    await using cp = await startCp();
    await using files = await temporaryDirectory();
    const send = (content: string): Promise<{ code: number; err: string }> =>
      files.file("e.yaml", content).then((path) => runCli(["send", "from-file", "-f", path, "--cp-url", cp.url]));
    expect((await send(YAML)).code).toBe(0);
    expect((await send(YAML)).code).toBe(0);
    const other = await send(YAML.replace("kind: X", "kind: Y"));
    expect(other.code).toBe(5);
    expect(other.err).toContain("code:  EVENT_CONFLICT");
    expect(other.err).toMatch(/request: \S+/);
  });

  test("never goes to another agent than the file says", async () => {
    const run = await runCli(["send", "from-file", "-f", "-", "--agent", "agent-1"], { stdin: YAML });
    expect(run.code).toBe(2);
    expect(run.err).toContain('target_agent "agent-9", --agent says "agent-1"');
  });
});

describe("what goes wrong before anything is sent", () => {
  test.each([
    [["send", "k8s", "-f", NAMESPACE], "--agent is required"],
    [["send", "k8s", "--agent", "x"], "no manifest was given"],
    [["send", "k8s", "--agent", "x", "-f", "/nonexistent/x.yaml"], "/nonexistent/x.yaml: no such file or directory"],
    [["send", "k8s", "--agent", "x", "-f", "-", "-f", "-"], "standard input (-) can be read only once"],
    [["send", "k8s", "--agent", "x", "-f", "-"], "standard input is empty"],
    [["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--ttl", "0s"], "flag --ttl"],
    [["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--ttl", "-1h"], "flag --ttl"],
    [["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--ttl", "999999h"], "flag --ttl"],
    [["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--mode", "memphis"], "without a connection token and without a password"],
    [["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--mode", "nats"], "--mode nats needs the address of the queue"],
    [["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--mode", "nats", "--queue", "redis://h"], "contradict each other"],
    [["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--queue", "kafka://h"], "flag --queue"],
    [["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--queue", "redis://h?no=1"], 'parameter "no"'],
    [["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--queue", "redis://h", "--idempotency-key", "k"], "a queue asks none"],
    [["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--cp-url", "ftp://cp"], "cannot be used as the control plane's address"],
    [["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--id", "a\nb"], "flag --id"],
    [["send", "from-file"], "--file is required"],
  ])("%j", async (argv, words) => {
    const run = await runCli(argv);
    expect(run).toMatchObject({ code: 2, out: "" });
    expect(run.err).toContain(words);
    expect(run.err).toContain("hint:");
  });

  test("a file that is no text", async () => {
    await using files = await temporaryDirectory();
    await Bun.write(join(files.path, "x.yaml"), new Uint8Array([0xff, 0xfe, 0x00]));
    expect((await runCli(["send", "k8s", "--agent", "x", "-f", join(files.path, "x.yaml")])).err).toContain("not UTF-8 text");
  });

  test("a control plane that is not there is exit 7 with its address", async () => {
    const run = await runCli(["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--cp-url", "http://127.0.0.1:1"]);
    expect(run.code).toBe(7);
    expect(run.err).toContain("the control plane at http://127.0.0.1:1 cannot be reached");
    expect(run.err).toContain("doctor send");
  });

  test("something else that answers there is told apart", async () => {
    await using cp = Object.assign(
      Bun.serve({
        port: 0,
        hostname: "127.0.0.1",
        fetch: () => new Response("<h1>hello</h1>", { headers: { "content-type": "text/html" } }),
      }),
      {
        [Symbol.asyncDispose]: () => Promise.resolve(),
      },
    );
    const run = await runCli(["send", "k8s", "--agent", "x", "-f", NAMESPACE, "--cp-url", cp.url.href]);
    expect(run.code).toBe(1);
    expect(run.err).toContain("is not JSON");
    await cp.stop(true);
  });
});

test("Ctrl-C ends it even while it waits for standard input", async () => {
  const asked = Promise.withResolvers<void>();
  const running = startCli(["send", "k8s", "--agent", "x", "-f", "-"], {
    // A pipe that nobody writes into.
    stdin: () => ({
      [Symbol.asyncIterator]: () => ({
        next: () => {
          asked.resolve();
          return new Promise<never>(() => undefined);
        },
      }),
    }),
  });
  await asked.promise;
  running.signal("SIGINT");
  expect(await running.ended).toEqual({ code: 130, out: "", err: "" });
});
