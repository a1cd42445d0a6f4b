import { expect, test } from "bun:test";
import type { Accepted, Effect, Mark, Story } from "./journal.ts";
import { delaysMs, judge, resumptions } from "./verdict.ts";

const took = (id: string, atMs = 0, parts: Partial<Accepted> = {}): Accepted => ({
  atMs,
  id,
  agent: "agent",
  object: "chain",
  n: Number(id),
  via: "1",
  ...parts,
});
const did = (id: string, atMs = 0, parts: Partial<Effect> = {}): Effect => ({
  atMs,
  id,
  agent: "agent",
  object: "chain",
  n: Number(id),
  ...parts,
});
const states = (...ids: readonly string[]): Map<string, string> => new Map(ids.map((id) => [id, "completed"]));
const clean = { lost: [], doubled: [], backwards: [], unasked: [] };

test("what was asked, once each and in order, is clean", () => {
  expect(judge({ accepted: [took("1"), took("2")], effects: [did("1"), did("2")] }, states("1", "2"))).toEqual(clean);
  // Whose order nobody knows.
  const queued = [took("1", 0, { n: 0 }), took("2", 0, { n: 0 })];
  expect(judge({ accepted: queued, effects: [did("2", 0, { n: 0 }), did("1", 0, { n: 0 })] }, states("1", "2"))).toEqual(clean);
});

test("each thing that must not be is seen", () => {
  const accepted = [took("1"), took("2")];
  expect(judge({ accepted, effects: [did("1")] }, states("1", "2")).lost).toHaveLength(1);
  expect(judge({ accepted, effects: [did("1"), did("2")] }, states("1")).lost).toHaveLength(1);
  expect(judge({ accepted, effects: [did("1"), did("2")] }, states("1").set("2", "failed")).lost).toHaveLength(1);
  expect(judge({ accepted, effects: [did("1"), did("1"), did("2")] }, states("1", "2")).doubled).toHaveLength(1);
  expect(judge({ accepted, effects: [did("2"), did("1")] }, states("1", "2")).backwards).toHaveLength(1);
  expect(judge({ accepted, effects: [did("1"), did("2"), did("3")] }, states("1", "2")).unasked).toHaveLength(1);
  expect(judge({ accepted, effects: [did("1"), did("2", 0, { agent: "other" })] }, states("1", "2")).unasked).toHaveLength(1);
});

const kill: Mark = { atMs: 1_000, what: "kill", whom: "1" };
function story(parts: Partial<Story>): Story {
  return { accepted: [], effects: [], registered: [], marks: [kill], faults: [], ...parts };
}
const at = (atMs: number, port: string, agent = "agent"): Story["registered"][number] => ({ atMs, agent, port });

test("how long routing was gone counts from the kill for what waited, and leaves out the time in which there was nothing", () => {
  const registered = [at(0, "1"), at(1_500, "2"), at(0, "2", "elsewhere")];
  const waited = story({ registered, accepted: [took("1", 900)], effects: [did("1", 1_700)] });
  expect(resumptions(waited, "kill")).toEqual([{ kill, agents: 1, registeredMs: 500, routedMs: 700, acceptedMs: undefined }]);
  const later = story({ registered, accepted: [took("1", 9_000)], effects: [did("1", 9_100)] });
  expect(resumptions(later, "kill")[0]).toMatchObject({ registeredMs: 500, routedMs: 600, acceptedMs: 8_000 });
  const never = story({ registered: registered.slice(0, 1) });
  expect(resumptions(never, "kill")[0]?.routedMs).toBe(Number.POSITIVE_INFINITY);
});

test("what was accepted and never done has waited for ever", () => {
  expect(delaysMs(story({ accepted: [took("1", 5), took("2", 6)], effects: [did("1", 9)] }), 0, 6)).toEqual([{ id: "1", ms: 4 }]);
  expect(delaysMs(story({ accepted: [took("1", 5)] }), 0, 6)[0]?.ms).toBe(Number.POSITIVE_INFINITY);
});
