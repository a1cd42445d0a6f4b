import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { MapCluster, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;
interface Recorded {
  readonly from: "agent" | "control-plane";
  readonly frame: string;
}

const RECORDED: readonly Recorded[] = (await Bun.file(join(import.meta.dir, "../fixtures/wire/frames-0.1.jsonl")).text())
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Recorded);
const ofAgent = RECORDED.filter((one) => one.from === "agent").map((one) => one.frame.trim());
const events = RECORDED.filter((one) => one.from === "control-plane" && one.frame.includes('"type":"event"')).map((one) => one.frame);

function recordedStatuses(eventId: string): Json[] {
  return ofAgent
    .map((text) => JSON.parse(text) as Json)
    .filter((frame) => frame["type"] === "status_update" && frame["event_id"] === eventId);
}

/** What differs from run to run, blanked. */
function blank(frame: Json): Json {
  const result = frame["result"] as Json | null;
  return {
    ...frame,
    timestamp: "T",
    result: result === null ? null : { ...result, completed_at: "T", duration: typeof result["duration"] },
  };
}

function withoutTime(text: string): string {
  return text.replace(/"timestamp":"[^"]*"/, '"timestamp":"T"');
}

describe("against a 0.1 control plane, played from its recorded frames", () => {
  test("the agent registers, beats and reports as 0.1's agent did, frame for frame", async () => {
    await using cp = await scriptedCp({ protocol: 0 });
    await using running = await startTestAgent({
      cpUrl: cp.url,
      cluster: { resources: new MapCluster().resources },
      heartbeatIntervalMs: 50,
    });
    const connection = await cp.connection();
    const first = ofAgent[0] ?? "";
    const { capabilities, ...said } = connection.registration as { readonly capabilities: readonly string[] };
    // One more than 0.1's agent had: a 0.1 control plane looks for the one that it needs, and knows no event that needs the other.
    expect(capabilities).toEqual(["k8s_crud", "k8s_operations"]);
    const registered = Object.keys(connection.registration).map((key) => [key, key === "capabilities" ? ["k8s_crud"] : said[key as never]]);
    expect(JSON.stringify(Object.fromEntries(registered)).startsWith(first.slice(0, -1))).toBe(true);
    for (const frame of events) {
      const { event } = JSON.parse(frame) as { event: { id: string } };
      connection.send(frame);
      await cp.ended(event.id);
    }
    await eventually(() => cp.frames("heartbeat").length > 1);
    const beat = ofAgent.find((text) => text.includes('"heartbeat"')) ?? "";
    const ours = connection.texts.find((text) => text.includes('"heartbeat"')) ?? "";
    expect(withoutTime(ours)).toBe(withoutTime(beat));

    for (const id of ["8cccc30c-a101-46e9-bc31-f39ce896d29f", "test-event-1770722316"]) {
      const statuses = cp.statuses(id);
      expect(statuses.map(blank)).toEqual(recordedStatuses(id).map(blank));
      // The order of fields too: 0.1 writes them sorted.
      for (const status of statuses) expect(Object.keys(status)).toEqual(Object.keys(status).toSorted());
    }
    expect(running.agent.state()).toMatchObject({ link: "registered", protocol: 0, unacknowledged: 0 });
    const types = new Set(connection.texts.map((text) => (JSON.parse(text) as Json)["type"]));
    expect(types).toEqual(new Set(["heartbeat", "status_update"]));
  });

  test("both documents of one manifest are carried out, of which 0.1 did the first only", async () => {
    await using cp = await scriptedCp({ protocol: 0 });
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: new MapCluster().resources } });
    const id = "3306b042-0307-4aaf-9119-38adac3d53fe";
    (await cp.connection()).send(events.find((frame) => frame.includes(id)) ?? "");
    const last = await cp.ended(id);
    const resources = (last["result"] as Json)["resource_status"] as Json[];
    expect(resources.map((one) => `${String(one["kind"])} ${String(one["name"])}`)).toEqual([
      "Deployment nginx-test",
      "Service nginx-service",
    ]);
  });

  test("a failure has 0.1's shape: no details, no result, the message says it all", async () => {
    await using cp = await scriptedCp({ protocol: 0 });
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: new MapCluster().resources } });
    const frame = JSON.parse(events.find((text) => text.includes('"bad-1"')) ?? "") as { event: { payload: { manifests: string[] } } };
    frame.event.payload.manifests = ["apiVersion: v1\nkind: [oops"];
    (await cp.connection()).send(frame);
    const failed = await cp.ended("bad-1");
    const recorded = recordedStatuses("bad-1").at(-1) ?? {};
    expect({ ...blank(failed), message: "M" }).toEqual({ ...blank(recorded), message: "M" });
    expect(Object.keys(failed)).toEqual(Object.keys(recorded));
    expect(failed["message"]).toMatch(/line 2/);
  });

  test("the same event again on another connection is done again, as 0.1's agent would", async () => {
    await using cp = await scriptedCp({ protocol: 0 });
    const cluster = new MapCluster();
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: cluster.resources } });
    const frame = events[0] ?? "";
    (await cp.connection()).send(frame);
    await eventually(() => cluster.objects.get("transporter-test") === 1);
    (await cp.connection()).terminate();
    const again = await cp.connection(1);
    again.send(frame);
    await eventually(() => cluster.objects.get("transporter-test") === 2);
  });

  test("dropped, it dials again at once", async () => {
    await using cp = await scriptedCp({ protocol: 0 });
    await using running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: new MapCluster().resources } });
    (await cp.connection()).terminate();
    await cp.connection(1);
    const [line] = running.said("Disconnected from Control Plane");
    expect(line?.fields["retry_in_ms"]).toBe(0);
  });
});
