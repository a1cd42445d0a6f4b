import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { hasDebianPackages } from "../../sandbox/mod.ts";
import { readTar, type TarEntry } from "../../scripts/image/archive.ts";
import { startCp } from "../support/cp.ts";
import { EXECUTABLE_PATH } from "../support/process.ts";
import { type ImageRoom, openImageRoom } from "./container.ts";
import { KUBECONFIG_OF_NOBODY } from "./kubeconfig.ts";

const MIB = 1024 * 1024;
/** As OpenShift gives one to each namespace. */
const ANY_UID = 1_000_680_000;

const IN_CI = !["", "0", "false"].includes(process.env["CI"] ?? "");
// Containers are made by the kernel's means alone, which only root may use.
const POSSIBLE = process.platform === "linux" && process.getuid?.() === 0 && hasDebianPackages();
const SKIP = !POSSIBLE || (!existsSync(EXECUTABLE_PATH) && !IN_CI);
if (SKIP) console.warn("\nSKIPPED: tests of the image. They need Linux, root, Debian's packages and the executable.\n");

describe.skipIf(SKIP)("the image", () => {
  let room: ImageRoom;
  let entries: readonly TarEntry[];
  beforeAll(async () => {
    room = await openImageRoom();
    entries = room.archive.layers.flatMap((layer) => [...readTar(layer)]);
  }, 240_000);
  afterAll(async () => {
    await room[Symbol.asyncDispose]();
  });

  const port = (stderr: string): string => /"message":"Control plane is listening","address":"127\.0\.0\.1:(\d+)"/.exec(stderr)?.[1] ?? "";

  test("says what it is: entrypoint, a user in numbers, the labels that registries show", async () => {
    const { version } = await Bun.file("package.json").json();
    const { config, architecture, created } = room.archive.config;
    expect(room.archive.reference).toBe("localhost/transporter:tested");
    expect(architecture).toBe(process.arch === "arm64" ? "arm64" : "amd64");
    expect(config).toMatchObject({ Entrypoint: ["/app/transporter"], User: "65532:65532", WorkingDir: "/" });
    expect(config.Labels).toMatchObject({
      "org.opencontainers.image.title": "transporter",
      "org.opencontainers.image.licenses": "MIT",
      "org.opencontainers.image.version": version,
      "org.opencontainers.image.source": expect.stringMatching(/^https:\/\//),
      "org.opencontainers.image.revision": expect.stringMatching(/^([0-9a-f]{12}(-dirty)?|unknown)$/),
    });
    // Not when somebody built it: when what it was built from was committed.
    expect(Date.parse(config.Labels["org.opencontainers.image.created"] ?? "")).toBe(Date.parse(created));
  });

  test("holds the executable, its licence, and no other program: no shell, nothing that gives rights", () => {
    const files = entries.filter(({ type }) => type === "file");
    const own = files.filter(({ name }) => name.startsWith("app/")).map(({ name, mode }) => `${name} ${(mode & 0o7777).toString(8)}`);
    expect(own.toSorted()).toEqual(["app/LICENSE 644", "app/transporter 755"]);
    const programs = files.filter(({ name, mode }) => (mode & 0o111) !== 0 && !/(^|\/)(lib|ld-linux)[^/]*\.so\.\d+$/.test(name));
    expect(programs.map(({ name }) => name)).toEqual(["app/transporter"]);
    expect(entries.filter(({ mode }) => (mode & 0o6000) !== 0).map(({ name }) => name)).toEqual([]);
    expect(entries.filter(({ name }) => /(^|\/)(sh|bash|dash|busybox|apt|dpkg)$/.test(name))).toEqual([]);
    // The same sources give the same bytes: no time of building inside.
    const times = new Set(entries.map(({ mtime }) => mtime));
    expect([...times]).toEqual([Date.parse(room.archive.config.created) / 1000]);
  });

  test("starts as whatever user, read-only, without a home, a place for temporary files, capabilities or time zones", async () => {
    for (const uid of [ANY_UID, 65_532, 1]) {
      const { code, stdout, stderr } = await room.run({ args: ["version", "-o", "json"], uid, env: { TZ: "Europe/Berlin" } });
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(JSON.parse(stdout)).toMatchObject({
        client: { version: room.archive.config.config.Labels["org.opencontainers.image.version"] },
      });
    }
    expect(await room.run({ args: ["no-such-command"] })).toMatchObject({ code: 2, stdout: "" });
    // Whatever would be done about it, it is said, and no stack trace is shown.
    const homeless = await room.run({ args: ["cp"], uid: ANY_UID });
    expect(homeless.code).toBe(7);
    expect(homeless.stderr).toContain("error: the store /.local/state/transporter/cp.db cannot be made or written: EROFS");
  });

  test("a control plane within 128 MiB takes a load, answers its probe, and is gone soon after SIGTERM", async () => {
    await using cp = await room.start({
      args: ["cp", "--ws-port=0", "--store=sqlite:/data/cp.db"],
      uid: ANY_UID,
      writable: ["/data"],
      memoryBytes: 128 * MIB,
    });
    await cp.line(/Control plane is listening/);
    const url = `http://127.0.0.1:${port(cp.stderr())}`;
    expect(await cp.exec(["/app/transporter", "healthcheck", "cp", "--url", url])).toMatchObject({
      code: 0,
      stdout: `ready: ${url}/readyz answers\n`,
    });
    const padding = "y".repeat(20_000);
    const post = async (id: string): Promise<number> => {
      const manifest = JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: id }, data: { padding } });
      const body = JSON.stringify({ id, type: "k8s_resource", target_agent: "nobody", payload: { manifests: [manifest] } });
      const answer = await fetch(`${url}/events`, { method: "POST", body });
      await answer.text();
      return answer.status;
    };
    // 40 MB in all, from eight at once.
    const statuses = await Promise.all(
      Array.from({ length: 8 }, async (_, lane) => {
        const seen = new Set<number>();
        for (let at = 0; at < 250; at += 1) seen.add(await post(`image-${lane}-${at}`));
        return [...seen];
      }),
    );
    expect(new Set(statuses.flat())).toEqual(new Set([202]));
    const memory = await cp.memory();
    if (memory !== undefined) {
      expect(memory.kills).toBe(0);
      expect(memory.peak).toBeLessThanOrEqual(128 * MIB);
      expect(memory.anonymous).toBeLessThan(120 * MIB);
    }
    const startedMs = performance.now();
    cp.signal("SIGTERM");
    expect(await cp.exited).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(8_000);
  }, 120_000);

  test("an agent within 96 MiB connects, answers probes that are run inside, and is gone soon after SIGINT", async () => {
    await using plane = await startCp();
    await using agent = await room.start({
      args: ["agent", "--agent-id", "boxed", "--cp-url", plane.wsUrl, "--kubeconfig", "/etc/kubeconfig", "--state-dir", "/state"],
      env: { TRANSPORTER_HEALTH_FILE: "/state/health.json" },
      uid: ANY_UID,
      writable: ["/state"],
      files: { "/etc/kubeconfig": KUBECONFIG_OF_NOBODY },
      memoryBytes: 96 * MIB,
    });
    await agent.line(/Agent registered successfully/);
    expect(await agent.exec(["/app/transporter", "healthcheck", "agent", "--live"])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^live: process 1 wrote /),
    });
    expect(await agent.exec(["/app/transporter", "healthcheck", "agent"])).toMatchObject({ code: 0 });
    process.kill(agent.pid, "SIGSTOP");
    expect(await agent.exec(["/app/transporter", "healthcheck", "agent", "--live"])).toMatchObject({
      code: 1,
      stdout: "not live: process 1 is stopped\n",
    });
    process.kill(agent.pid, "SIGCONT");
    const status = await readFile(`/proc/${agent.pid}/status`, "utf8");
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^CapEff:\t0+$/m);
    expect((await agent.memory())?.kills ?? 0).toBe(0);
    const startedMs = performance.now();
    agent.signal("SIGINT");
    expect(await agent.exited).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(8_000);
  }, 60_000);

  test("what needs more memory than it may have is ended by the kernel, with the code that says so", async () => {
    await using cp = await room.start({ args: ["cp", "--ws-port=0", "--store=memory:"], memoryBytes: 6 * MIB });
    expect(await cp.exited).toBe(137);
  }, 60_000);
});
