import { expect } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { findRedis } from "../../sandbox/mod.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, uniqueName } from "../support/kube.ts";
import { SKIP_REDIS, startRedis } from "../support/redis.ts";
import { completed, configMapEvent, hand, load, startSite, stateOf } from "./site.ts";

const HEADING = "### Redis";
/** The page's port for the server that makes the file; it may be taken here. */
const PAGE_PORT = "6390";

if (!SKIP_REDIS)
  kubeTest(
    "a snapshot under load, put into a new server by the commands of docs/operations.md: events, tokens, identities and agents are there",
    async () => {
      const programs = await findRedis("redis");
      if (programs === undefined) throw new Error("no redis-server");
      await using namespace = await freshNamespace();
      await using server = await startRedis();
      const withEnv = (program: string): string[] => [
        "env",
        ...Object.entries(programs.env).map(([name, value]) => `${name}=${value}`),
        program,
      ];
      await using site = await startSite({
        env: { TRANSPORTER_STORE: server.url, REDIS: server.url },
        programs: { "redis-cli": withEnv(programs.cli), "redis-server": withEnv(programs.server) },
      });
      await site.startCp();
      const agentId = uniqueName("agent");
      await using _agent = await site.startAgent(agentId, namespace.kube.kubeconfigPath);
      const viewer = await site.json<{ token: string }>("/v1/tokens", { method: "POST", body: '{"kind":"user","role":"viewer"}' }, 201);
      const early = await hand(site, configMapEvent("early", agentId, namespace.name));
      await completed(site, early);
      await site.json(`/v1/agents/${agentId}/pause`, { method: "POST" });
      const open = await hand(site, configMapEvent("open", agentId, namespace.name));
      const running = load(site, uniqueName("load"));
      await eventually(() => running.accepted.length >= 50, { what: "some load", timeoutMs: 30_000 });
      const before = [...running.accepted];
      await site.follow(HEADING, 0);
      await running.stop();
      await site.json(`/v1/agents/${agentId}/resume`, { method: "POST" });
      await completed(site, open);
      const late = await hand(site, configMapEvent("late", agentId, namespace.name));
      await completed(site, late);
      await namespace.kubectl(["delete", "configmap", "open"]);
      await site.stopCp();
      await server.kill();

      // A new server with the usual settings, of which only the data directory is prepared.
      await using other = await startRedis();
      await other.kill("SIGTERM");
      const data = join(other.directory, "data");
      await Array.fromAsync(new Bun.Glob("**/*").scan({ cwd: data, onlyFiles: true }), (path) => Bun.file(join(data, path)).delete());
      await mkdir(data, { recursive: true });
      await site.follow(HEADING, 1, { env: { DATA: data }, adapt: (text) => text.replaceAll(PAGE_PORT, String(other.port)) });
      await other.start();
      await site.startCp({ TRANSPORTER_STORE: other.url });

      await eventually(async () => (await site.json<{ status: string }>(`/v1/agents/${agentId}`)).status === "connected", {
        what: "the agent, by the identity that it had",
        timeoutMs: 40_000,
      });
      expect(await stateOf(site, early)).toBe("completed");
      for (const id of before) expect(await stateOf(site, id)).toBe("queued");
      await site.json(`/v1/agents/${agentId}/resume`, { method: "POST" });
      await completed(site, open);
      expect(await namespace.get("configmap", "open")).toBeUndefined();
      expect(await site.status(`/v1/events/${late}`)).toBe(404);
      expect(await site.status("/v1/whoami", { token: viewer.token })).toBe(200);
      // What the commands made is what the server reads at every start.
      await site.stopCp();
      await other.restart();
      await site.startCp({ TRANSPORTER_STORE: other.url });
      expect(await stateOf(site, early)).toBe("completed");
    },
    120_000,
  );
