import { describe, expect, test } from "bun:test";
import { manualPorts } from "../kit/mod.ts";
import { buildK8sEvent, completeEvent } from "./build-event.ts";
import { parseEventFile } from "./event-file.ts";

const { ports } = manualPorts({ startMs: Date.parse("2026-02-10T10:00:00Z") });
const MANIFEST = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\n";

describe("an event of manifests", () => {
  test("has 0.1's fields and defaults, and durations as nanoseconds", () => {
    const { wire, json } = buildK8sEvent({ agent: "agent-1", manifests: [MANIFEST], ttlMs: 90_000 }, ports);
    expect(wire).toEqual({
      id: expect.stringMatching(/./),
      type: "k8s_resource",
      target_agent: "agent-1",
      payload: { manifests: [MANIFEST] },
      created_at: "2026-02-10T10:00:00.000Z",
      created_by: "cli",
      ttl: 90_000_000_000,
      priority: 0,
    });
    expect(JSON.parse(json)).toEqual(wire);
    expect(buildK8sEvent({ agent: "a", manifests: [MANIFEST] }, ports).wire.ttl).toBe(86_400_000_000_000);
  });

  test("carries what else was asked for", () => {
    const { wire } = buildK8sEvent(
      {
        agent: "a",
        manifests: [MANIFEST],
        forceConflicts: true,
        verifyTimeoutMs: 5000,
        deadlineMs: 60_000,
        labels: { team: "shop" },
        id: "mine",
        priority: 7,
        createdBy: "ci",
      },
      ports,
    );
    expect(wire).toMatchObject({
      id: "mine",
      payload: { force_conflicts: true, verify_timeout: 5_000_000_000 },
      deadline: 60_000_000_000,
      labels: { team: "shop" },
      priority: 7,
      created_by: "ci",
    });
  });

  test("that the control plane would refuse is refused before it is sent", () => {
    expect(() => buildK8sEvent({ agent: "a", manifests: ["  \n"] }, ports)).toThrow("at least one manifest");
    expect(() => buildK8sEvent({ agent: "a\u001b[2J", manifests: [MANIFEST] }, ports)).toThrow("control character");
  });
});

describe("an event file", () => {
  test("may be YAML with 0.1's spellings or the wire's, or JSON", async () => {
    const old = await parseEventFile(
      `type: k8s_resource\ntargetagent: a\ncreatedby: me\nttl: 1h30m\npayload:\n  manifests:\n    - "kind: X"\n`,
      "e.yaml",
    );
    expect(completeEvent(old, {}, ports).wire).toMatchObject({ target_agent: "a", created_by: "me", ttl: 5_400_000_000_000 });
    const json = await parseEventFile(
      JSON.stringify({ id: "1", type: "k8s_resource", target_agent: "a", payload: { manifests: ["kind: X"] } }),
      "e.json",
    );
    expect(completeEvent(json, {}, ports).wire).toMatchObject({ id: "1", target_agent: "a", ttl: 86_400_000_000_000 });
  });

  test("keeps what it says unless a flag says otherwise, and what nobody knows", async () => {
    const raw = await parseEventFile(
      "type: policy\ntarget_agent: a\nlabels: {a: '1', b: '2'}\npriority: 3\nx_note: kept\npayload:\n  policyrules:\n    - {name: r, type: required_label}\n",
      "e",
    );
    const { wire } = completeEvent(raw, { labels: { b: "3" }, ttlMs: 1000 }, ports);
    expect(wire).toMatchObject({
      labels: { a: "1", b: "3" },
      priority: 3,
      x_note: "kept",
      ttl: 1_000_000_000,
      payload: { policy_rules: [{ name: "r" }] },
    });
  });

  test("Go's zero time means that nobody set it", () => {
    const { wire } = completeEvent(
      { type: "script", target_agent: "a", created_at: "0001-01-01T00:00:00Z", payload: { script: "x" } },
      {},
      ports,
    );
    expect(wire.created_at).toBe("2026-02-10T10:00:00.000Z");
  });

  test("says where it breaks, and what it is when it is something else", async () => {
    await expect(parseEventFile("type: [", "e.yaml")).rejects.toThrow(/^e\.yaml:1:\d+: neither JSON nor YAML/);
    await expect(parseEventFile("- a\n", "e.yaml")).rejects.toThrow("holds one map");
    await expect(parseEventFile(MANIFEST, "ns.yaml")).rejects.toThrow("ns.yaml is a Kubernetes manifest (Namespace), not an event");
    await expect(parseEventFile("target_agent: a\ntargetagent: b\n", "e")).rejects.toThrow("are the same field");
  });

  test("cannot smuggle a prototype", async () => {
    const raw = await parseEventFile(
      '{"id":"1","type":"script","target_agent":"a","payload":{"script":"x"},"__proto__":{"admin":true}}',
      "e",
    );
    expect(() => completeEvent(raw, {}, ports)).toThrow("__proto__");
  });

  test("with a bad duration is refused with the field's name", () => {
    const raw = { type: "script", target_agent: "a", ttl: "soon", payload: { script: "x" } };
    expect(() => completeEvent(raw, {}, ports)).toThrow('ttl "soon" is not a duration');
  });
});
