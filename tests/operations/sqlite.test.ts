import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, uniqueName } from "../support/kube.ts";
import { completed, configMapEvent, hand, load, startSite, stateOf } from "./site.ts";

const HEADING = "### SQLite";
const TIMEOUT_MS = 120_000;

kubeTest(
  "a backup under load, put back by the commands of docs/operations.md: events, tokens, identities and agents are there, and nothing is done twice",
  async () => {
    await using namespace = await freshNamespace();
    await using site = await startSite();
    await site.startCp();
    const agentId = uniqueName("agent");
    const agent = await site.startAgent(agentId, namespace.kube.kubeconfigPath);
    await using _agent = agent;
    const viewer = await site.json<{ token: string }>("/v1/tokens", { method: "POST", body: '{"kind":"user","role":"viewer"}' }, 201);

    const early = await hand(site, configMapEvent("early", agentId, namespace.name));
    await completed(site, early);
    await site.json(`/v1/agents/${agentId}/pause`, { method: "POST" });
    const open = await hand(site, configMapEvent("open", agentId, namespace.name));
    const running = load(site, uniqueName("load"));
    await eventually(() => running.accepted.length >= 50, { what: "some load", timeoutMs: 30_000 });
    const before = [...running.accepted];
    await site.follow(HEADING, 0);
    const accepted = await running.stop();
    expect(accepted.length).toBeGreaterThan(before.length);
    expect((await stat(join(site.home, "cp-backup.db"))).mode & 0o777).toBe(0o600);

    // What happens after the backup: an event ends that was open in it, another comes and ends, and a token is made.
    await site.json(`/v1/agents/${agentId}/resume`, { method: "POST" });
    await completed(site, open);
    const late = await hand(site, configMapEvent("late", agentId, namespace.name));
    await completed(site, late);
    const newer = await site.json<{ token: string }>("/v1/tokens", { method: "POST", body: '{"kind":"user","role":"viewer"}' }, 201);
    // Whoever carries it out again brings it back.
    await namespace.kubectl(["delete", "configmap", "open"]);
    await site.stopCp();
    await site.follow(HEADING, 1);
    await site.startCp();
    await eventually(async () => (await site.json<{ status: string }>(`/v1/agents/${agentId}`)).status === "connected", {
      what: "the agent, by the identity that it had",
      timeoutMs: 40_000,
    });

    expect(await stateOf(site, early)).toBe("completed");
    for (const id of before) expect(await stateOf(site, id)).toBe("queued");
    // In the backup the agent was paused; it is resumed, and answers from its ledger what it has done since.
    await site.json(`/v1/agents/${agentId}/resume`, { method: "POST" });
    await completed(site, open);
    expect(await namespace.get("configmap", "open")).toBeUndefined();
    // Accepted after the backup: not known any more, and can be sent again.
    expect(await site.status(`/v1/events/${late}`)).toBe(404);
    expect(await namespace.get("configmap", "late")).toBeDefined();
    await hand(site, configMapEvent("late", agentId, namespace.name));
    await completed(site, late);
    expect(await site.status("/v1/whoami", { token: viewer.token })).toBe(200);
    expect(await site.status("/v1/whoami", { token: newer.token })).toBe(401);
    expect((await site.json<{ items: { agent_id: string }[] }>("/v1/identities")).items.map(({ agent_id: id }) => id)).toEqual([agentId]);
  },
  TIMEOUT_MS,
);

kubeTest(
  "a machine that is lost: store and security directory from backups make it anew, and agents come back as they are",
  async () => {
    await using namespace = await freshNamespace();
    await using site = await startSite();
    await site.startCp();
    const agentId = uniqueName("agent");
    await using _agent = await site.startAgent(agentId, namespace.kube.kubeconfigPath);
    const early = await hand(site, configMapEvent("early", agentId, namespace.name));
    await completed(site, early);
    await site.follow(HEADING, 0);
    await site.follow("### The security directory", 0);
    await site.stopCp("SIGKILL");
    await rm(site.state, { recursive: true });
    expect(existsSync(join(site.state, "security"))).toBe(false);

    await site.follow("### The security directory", 1);
    expect((await stat(join(site.state, "security/ca.key"))).mode & 0o777).toBe(0o600);
    await site.follow(HEADING, 1);
    await site.startCp();
    await eventually(async () => (await site.json<{ status: string }>(`/v1/agents/${agentId}`)).status === "connected", {
      what: "the agent, by the identity that it had",
      timeoutMs: 40_000,
    });
    expect(await stateOf(site, early)).toBe("completed");
    const next = await hand(site, configMapEvent("next", agentId, namespace.name));
    await completed(site, next);
  },
  TIMEOUT_MS,
);

kubeTest(
  "an agent that lost its ledger and kept its identity is given again what is not finished",
  async () => {
    await using namespace = await freshNamespace();
    await using site = await startSite();
    await site.startCp();
    const agentId = uniqueName("agent");
    const agent = await site.startAgent(agentId, namespace.kube.kubeconfigPath);
    await completed(site, await hand(site, configMapEvent("first", agentId, namespace.name)));
    await agent.kill("SIGKILL");
    const ledger = join(site.home, `agent-${agentId}`, ".local/state/transporter/agents", agentId);
    const files = (await readdir(ledger)).filter((name) => name.startsWith(`agent-${agentId}.db`));
    expect(files).not.toEqual([]);
    for (const file of files) await rm(join(ledger, file));
    expect(existsSync(join(ledger, "identity"))).toBe(true);
    const second = await hand(site, configMapEvent("second", agentId, namespace.name));
    await using _again = await site.startAgent(agentId, namespace.kube.kubeconfigPath);
    await completed(site, second);
  },
  TIMEOUT_MS,
);

test("restore refuses what is no backup, what is damaged, and a store that is served, and changes nothing then", async () => {
  await using site = await startSite();
  await site.startCp();
  const id = await hand(site, configMapEvent("kept", "nobody", "default"));
  const backup = join(site.home, "cp-backup.db");
  expect((await site.run(["backup", "--output", backup])).exitCode).toBe(0);
  const served = await site.run(["restore", "--input", backup]);
  expect([served.exitCode, served.stderr]).toEqual([5, expect.stringContaining("STORE_LOCKED")]);
  await site.stopCp();

  const other = join(site.home, "other");
  await writeFile(other, "");
  const whole = await readFile(backup);
  for (const [bytes, code] of [
    [Buffer.alloc(0), "STORE_INVALID"],
    [Buffer.from("no database at all, ".repeat(20)), "STORE_INVALID"],
    [await readFile(join(site.state, "cp.db-lock")), "STORE_INVALID"],
    [whole.subarray(0, whole.length - 8192), "STORE_CORRUPT"],
    [Buffer.concat([whole.subarray(0, 8192), Buffer.alloc(8192, 7), whole.subarray(16_384)]), "STORE_CORRUPT"],
  ] as const) {
    await writeFile(other, bytes);
    const refused = await site.run(["restore", "--input", other]);
    expect(refused.stderr).toContain(code);
    expect(refused.exitCode).not.toBe(0);
  }
  const absent = await site.run(["restore", "--input", join(site.home, "absent")]);
  expect([absent.exitCode, absent.stderr]).toEqual([2, expect.stringContaining("FILE_UNREADABLE")]);
  expect((await site.run(["restore"])).exitCode).toBe(2);
  expect((await site.run(["restore", "--store", "redis://localhost", "--input", backup])).stderr).toContain("docs/operations.md");
  await site.startCp();
  expect(await stateOf(site, id)).toBe("queued");
}, 60_000);

test("restore keeps what was there beside it, its log included", async () => {
  await using site = await startSite();
  await site.startCp();
  const first = await hand(site, configMapEvent("first", "nobody", "default"));
  const backup = join(site.home, "cp-backup.db");
  expect((await site.run(["backup", "--output", backup])).exitCode).toBe(0);
  const second = await hand(site, configMapEvent("second", "nobody", "default"));
  // A crash leaves the log beside the file: it must not be read into what takes its place.
  await site.stopCp("SIGKILL");
  const store = join(site.state, "cp.db");
  expect((await stat(`${store}-wal`)).size).toBeGreaterThan(0);
  const restored = await site.run(["restore", "--input", "-"], { input: await Bun.file(backup).text() });
  // Text is no way for a file: what was changed on the way is seen.
  expect(restored.exitCode).not.toBe(0);
  const piped = await site.run(["restore", "--input", backup]);
  expect([piped.exitCode, piped.stderr]).toEqual([0, expect.stringContaining(`${store}.before-restore`)]);
  await site.startCp();
  expect(await stateOf(site, first)).toBe("queued");
  expect(await site.status(`/v1/events/${second}`)).toBe(404);
  await site.stopCp();

  for (const suffix of ["", "-wal", "-shm"]) await rm(`${store}${suffix}`, { force: true });
  for (const suffix of ["", "-wal", "-shm"])
    if (existsSync(`${store}.before-restore${suffix}`)) await rename(`${store}.before-restore${suffix}`, `${store}${suffix}`);
  await site.startCp();
  expect(await stateOf(site, second)).toBe("queued");
}, 60_000);
