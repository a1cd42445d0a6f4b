import { join, resolve } from "node:path";
import { expect } from "bun:test";
import type { EventPage } from "../../src/protocol/mod.ts";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openQueue } from "../../src/queues/mod.ts";
import { runCli, temporaryDirectory } from "../support/cli.ts";
import { anEvent, startCp } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { startMemphis, TOKEN } from "../support/memphis.ts";
import { natsTest } from "../support/nats.ts";
import { startProcess } from "../support/process.ts";
import { dialAgent } from "../support/wire-agent.ts";

const NAMESPACE = join(resolve(import.meta.dir, "../.."), "examples/manifests/namespace.yaml");

natsTest("what 0.1's flags send goes through the station to the agent, and into the dead letters by name where it cannot", async () => {
  await using memphis = await startMemphis();
  const queue = await openQueue(memphis.url("transporter-events"), { log: silentLogger, ports: systemPorts });
  await using cp = await startCp({ queue, maxEventBytes: 500_000 });
  await using agent = await dialAgent(cp.wsUrl);
  const flags = ["--agent", "agent-1", "--mode", "memphis", "--memphis-host", `127.0.0.1:${memphis.port}`];
  const send = (...more: readonly string[]) =>
    runCli(["send", "k8s", ...flags, ...more], { env: { TRANSPORTER_MEMPHIS_CONNECTION_TOKEN: TOKEN } });

  const sent = await send("-f", NAMESPACE, "--id", "deploy-1");
  expect(sent).toMatchObject({ code: 0, out: "deploy-1\n" });
  expect(sent.err).toContain(`Sending event to queue transporter-events at memphis://127.0.0.1:${memphis.port}`);
  expect(sent.err).not.toContain(TOKEN);
  expect((await agent.event("deploy-1"))["event"]).toMatchObject({ id: "deploy-1", target_agent: "agent-1" });
  expect(await cp.json(`/v1/events/deploy-1`)).toMatchObject({ principal: "queue:memphis" });
  expect((await send("-f", NAMESPACE, "--id", "deploy-1")).err).toContain("The queue has this event already");

  await using directory = await temporaryDirectory();
  const manifest = (bytes: number): string => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {x: "${"x".repeat(bytes)}"}\n`;
  const refused = await send("-f", await directory.file("large.yaml", manifest(1_100_000)));
  expect(refused.code).not.toBe(0);
  expect(refused.err).toContain("QUEUE_MESSAGE_TOO_LARGE");

  expect((await send("-f", await directory.file("medium.yaml", manifest(600_000)), "--id", "beyond")).code).toBe(0);
  const body = new TextEncoder().encode(JSON.stringify(anEvent({ id: "late", created_at: "2020-01-01T00:00:00Z", ttl: 1e9 })));
  await queue.publish({ id: "late", body, priority: 0 });
  await eventually(() => memphis.letters.length === 2);
  expect(memphis.letters.map(({ reason }) => reason.replace(/:.*(?= \[)/, "")).toSorted()).toEqual([
    "BODY_TOO_LARGE [event beyond]",
    "EVENT_EXPIRED [event late]",
  ]);
  expect(await (await cp.get("/readyz?verbose")).text()).toContain("[+]queue memphis transporter-events ok");
});

natsTest("a control plane that is killed with messages in hand leaves each event to the next one, none lost, none doubled", async () => {
  await using memphis = await startMemphis();
  await using directory = await temporaryDirectory();
  const url = memphis.url("killed", { "ack-wait-ms": 1_000 });
  const queue = await openQueue(url, { log: silentLogger, ports: systemPorts });
  const events = Array.from({ length: 300 }, () => anEvent());
  const body = (event: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(event));
  await Promise.all(events.map((event, index) => queue.publish({ id: event.id, body: body(event), priority: (index % 3) - 1 })));

  const child = [process.execPath, join(import.meta.dir, "cp-child.ts"), `sqlite:${join(directory.path, "store.db")}`, url];
  // Between the store's commit and the acknowledgement, then between the check and the commit.
  for (const order of ["cp.intake.committed@40", "cp.intake.checked@90"]) {
    await using dying = await startProcess([...child, order]);
    await dying.exited;
    expect(dying.signal()).toBe("SIGKILL");
  }
  const before = await queue.status();
  expect(before.waiting.urgent + before.waiting.normal + before.waiting.low + before.inHand).toBeGreaterThan(0);

  await using heir = await startProcess(child);
  const [, address = ""] = await heir.line(/^listening (\S+)/);
  await eventually(
    async () => {
      const { waiting, inHand } = await queue.status();
      return waiting.urgent + waiting.normal + waiting.low + inHand === 0;
    },
    { timeoutMs: 20_000, what: "the station to be empty" },
  );
  const page = (await (await fetch(`${address}/v1/events?limit=500`)).json()) as EventPage;
  expect(page.items.map(({ id }) => id).toSorted()).toEqual(events.map(({ id }) => id).toSorted());
  expect(memphis.letters).toEqual([]);
  await queue.close();
});
