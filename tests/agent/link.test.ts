import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { X509Certificate } from "node:crypto";
import { readCaFile } from "../../src/net/mod.ts";
import { configMap, eventFrame, fastPorts, MapCluster, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { connectProxy, flakyProxy } from "../support/flaky-proxy.ts";
import { scriptedCp } from "../support/scripted-cp.ts";

const TLS = join(import.meta.dir, "../fixtures/tls");
const server = { cert: await Bun.file(join(TLS, "server.pem")).text(), key: await Bun.file(join(TLS, "server-key.pem")).text() };
const stranger = await Bun.file(join(TLS, "stranger.pem")).text();

const mapped = (): { resources: MapCluster["resources"] } => ({ resources: new MapCluster().resources });

describe("a link that fails", () => {
  test("cut in the middle of an event, it comes back and every status arrives, in order", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await using proxy = await flakyProxy({ targetPort: cp.port });
    const cluster = new MapCluster();
    const gate = Promise.withResolvers<void>();
    cluster.gates.set("slow", gate.promise);
    await using running = await startTestAgent({ cpUrl: `ws://127.0.0.1:${proxy.port}/ws`, cluster: { resources: cluster.resources } });
    (await cp.connection()).send(eventFrame("e", [configMap("slow")]));
    await eventually(() => cluster.history.includes("start slow"));
    proxy.accepting = false;
    proxy.cut();
    await eventually(() => running.said("Disconnected from Control Plane").length > 0);
    gate.resolve();
    await eventually(() => running.said("Event completed successfully").length > 0);
    expect(cp.statuses("e").some((status) => status["state"] === "completed")).toBe(false);
    proxy.accepting = true;
    await cp.ended("e");
    const seqs = cp.statuses("e").map((status) => Number(status["seq"]));
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
    expect(cluster.objects.get("slow")).toBe(1);
    await eventually(() => running.agent.state().unacknowledged === 0);
  });

  test("cut again and again while events arrive, each is done once and its end is told", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await using proxy = await flakyProxy({ targetPort: cp.port });
    const cluster = new MapCluster();
    await using running = await startTestAgent({
      cpUrl: `ws://127.0.0.1:${proxy.port}/ws`,
      cluster: { resources: cluster.resources },
      ports: fastPorts(5),
    });
    const open = new Set(Array.from({ length: 40 }, (_, at) => `e${at}`));
    let sentOn = -1;
    await eventually(
      async () => {
        for (const id of open) if (cp.statuses(id).some((status) => status["state"] === "completed")) open.delete(id);
        const count = running.agent.state().registrations;
        const connection = cp.connections.at(-1);
        if (count > sentOn && connection?.closed === undefined && running.agent.state().link === "registered") {
          sentOn = count;
          // As a control plane does: what was never acknowledged or not finished goes again, a few at a time.
          for (const id of [...open].slice(0, 8)) connection?.send(eventFrame(id, [configMap(id)]));
          await Bun.sleep(sentOn % 12);
          proxy.cut();
        }
        return open.size === 0;
      },
      { timeoutMs: 25_000 },
    );
    expect([...cluster.objects.values()].every((times) => times === 1)).toBe(true);
    expect(cluster.objects.size).toBe(40);
  });

  test("half-open, it is seen within 30 s and replaced", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await using proxy = await flakyProxy({ targetPort: cp.port });
    await using running = await startTestAgent({ cpUrl: `ws://127.0.0.1:${proxy.port}/ws`, cluster: mapped(), ports: fastPorts(20) });
    await cp.connection();
    proxy.freeze();
    const frozenAt = performance.now();
    await eventually(() => running.said("The link to the Control Plane is dead").length > 0, { timeoutMs: 5_000 });
    expect((performance.now() - frozenAt) * 20).toBeLessThan(30_000);
    proxy.thaw();
    await cp.connection(1);
    await eventually(() => running.agent.state().link === "registered");
  });

  test("slow but alive, it is kept", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await using proxy = await flakyProxy({ targetPort: cp.port });
    proxy.delayMs = 50;
    await using running = await startTestAgent({ cpUrl: `ws://127.0.0.1:${proxy.port}/ws`, cluster: mapped(), ports: fastPorts(20) });
    const connection = await cp.connection();
    connection.send(eventFrame("e", [configMap("x")]));
    await cp.ended("e");
    // Forty seconds of the agent's time: more than any silence it stands.
    await eventually(() => cp.frames("heartbeat").length >= 4);
    expect(running.agent.state().registrations).toBe(1);
  });

  test("nobody listens: it tries for ever, and is there soon after somebody does", async () => {
    const free = await scriptedCp({ protocol: 2 });
    const { port } = free;
    await free[Symbol.asyncDispose]();
    await using running = await startTestAgent({ cpUrl: `ws://127.0.0.1:${port}/ws`, cluster: mapped(), ports: fastPorts(20) });
    await eventually(() => running.said("Cannot connect to Control Plane").length >= 5);
    await using cp = await scriptedCp({ protocol: 2, port });
    await cp.connection();
  });

  test("told that it was removed it stays away for half a minute to a minute, then comes again; replaced, only where that goes on", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await using running = await startTestAgent({ cpUrl: cp.url, cluster: mapped(), ports: fastPorts(50) });
    const awayAfter = async (code: number, nth: number): Promise<number> => {
      const connection = await cp.connection(nth);
      const closedAt = performance.now();
      connection.close(code, "another connection has this id");
      await cp.connection(nth + 1);
      return (performance.now() - closedAt) * 50;
    };
    for (const [nth, code] of [4005, 4001, 4001].entries()) {
      const away = await awayAfter(code, nth);
      if (nth === 1) expect(away).toBeLessThan(29_000);
      else expect(away).toBeGreaterThan(29_000);
      expect(away).toBeLessThan(70_000);
    }
    const told = running.lines.filter((line) => line.level === "warn").map((line) => line.fields["code"]);
    expect(told.filter((code) => code === 4001 || code === 4005)).toEqual([4005, 4001, 4001]);
  });

  test("a refused registration is told with its reason and tried again", async () => {
    await using cp = await scriptedCp({ protocol: 0 });
    cp.reply = '{"error":"cluster_name is required"}\n';
    await using running = await startTestAgent({ cpUrl: cp.url, cluster: mapped(), ports: fastPorts(10) });
    await eventually(() => running.said("The Control Plane refused the registration").length >= 2);
    expect(running.said("The Control Plane refused the registration")[0]?.fields["error"]).toBe("cluster_name is required");
    cp.reply = undefined;
    await eventually(() => running.agent.state().link === "registered");
  });

  test("a control plane that never answers the registration is given up", async () => {
    await using cp = await scriptedCp({ protocol: 0 });
    cp.reply = null;
    await using running = await startTestAgent({ cpUrl: cp.url, cluster: mapped(), ports: fastPorts(50) });
    await eventually(() => running.said("The Control Plane did not answer the registration in time").length >= 1);
    cp.reply = undefined;
    await eventually(() => running.agent.state().link === "registered");
  });
});

describe("a link through TLS and proxies", () => {
  test("wss with a private authority from a file; without it, or with another, the control plane is refused", async () => {
    const directory = await mkdtemp(join(tmpdir(), "transporter-ca-"));
    try {
      const path = join(directory, "ca.pem");
      await Bun.write(path, `some words before\n${server.cert}`);
      const caPem = await readCaFile(path);
      expect(new X509Certificate(caPem).subject).toBe("CN=cp.internal");
      await using cp = await scriptedCp({ protocol: 2, tls: server });
      await using _trusting = await startTestAgent({ cpUrl: cp.url, cluster: mapped(), caPem });
      await cp.connection();
      await using system = await startTestAgent({ cpUrl: cp.url, cluster: mapped() });
      await using wrong = await startTestAgent({ cpUrl: cp.url, cluster: mapped(), caPem: stranger });
      for (const refused of [system, wrong]) {
        const line = await eventually(() => refused.said("Cannot connect to Control Plane")[0]);
        expect(String(line.fields["error"])).toMatch(/certificate|self.signed|TLS/i);
        expect(refused.agent.state().registrations).toBe(0);
      }
      await using insecure = await startTestAgent({ cpUrl: cp.url, cluster: mapped(), insecureTls: true });
      await eventually(() => insecure.agent.state().registrations === 1);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  test("a CA file that is missing, empty or broken is an error that names it", async () => {
    const directory = await mkdtemp(join(tmpdir(), "transporter-ca-"));
    try {
      const path = join(directory, "ca.pem");
      await expect(readCaFile(path)).rejects.toMatchObject({ code: "FILE_UNREADABLE", message: expect.stringContaining(path) });
      await Bun.write(path, "nothing here");
      await expect(readCaFile(path)).rejects.toMatchObject({ code: "CONFIG_INVALID" });
      await Bun.write(path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
      await expect(readCaFile(path)).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("certificate 1") });
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  test.each(["ws", "wss"] as const)("%s through a proxy by CONNECT, with its credentials", async (scheme) => {
    await using cp = await scriptedCp({ protocol: 2, ...(scheme === "wss" ? { tls: server } : {}) });
    await using proxy = await connectProxy();
    const name = scheme === "wss" ? "HTTPS_PROXY" : "http_proxy";
    await using running = await startTestAgent({
      cpUrl: `${scheme}://cp.internal:${cp.port}/ws`,
      cluster: mapped(),
      caPem: server.cert,
      proxyEnv: { [name]: `http://user:p%40ss@127.0.0.1:${proxy.port}`, NO_PROXY: "elsewhere.example" },
    });
    const connection = await cp.connection();
    connection.send(eventFrame("e", [configMap("x")]));
    await cp.ended("e");
    expect(proxy.requests[0]).toEqual({
      line: `CONNECT cp.internal:${cp.port} HTTP/1.1`,
      authorization: `Basic ${Buffer.from("user:p@ss").toString("base64")}`,
    });
    expect(JSON.stringify(running.lines)).not.toContain("p%40ss");
  });

  test("a proxy that cannot be used stops the start; NO_PROXY goes around it", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    expect(
      startTestAgent({ cpUrl: "wss://cp.example/ws", cluster: mapped(), proxyEnv: { HTTPS_PROXY: "socks5://127.0.0.1:1" } }),
    ).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    await using _running = await startTestAgent({
      cpUrl: cp.url,
      cluster: mapped(),
      proxyEnv: { ALL_PROXY: "http://127.0.0.1:1", NO_PROXY: "127.0.0.1" },
    });
    await cp.connection();
  });
});
