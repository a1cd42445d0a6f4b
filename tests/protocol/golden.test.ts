import { describe, expect, test } from "bun:test";
import {
  type Checked,
  checkAgentFrame,
  checkControlPlaneFrame,
  checkEvent,
  checkRegistration,
  registrationReply,
} from "../../src/protocol/mod.ts";
import golden from "../fixtures/wire/golden.json" with { type: "json" };

interface Suite {
  readonly accepted: readonly { readonly name: string; readonly input: unknown }[];
  readonly refused: readonly { readonly name: string; readonly input: unknown; readonly code: string }[];
}

function hold(title: string, suite: Suite, check: (input: unknown) => Checked<unknown>): void {
  describe(title, () => {
    for (const { name, input } of suite.accepted) {
      test(`accepts ${name}`, () => {
        expect(check(input)).toMatchObject({ ok: true });
      });
    }
    for (const { name, input, code } of suite.refused) {
      test(`refuses ${name}`, () => {
        const checked = check(input);
        expect(checked).toMatchObject({ ok: false, code });
        expect(checked.ok ? "" : checked.message).not.toBe("");
      });
    }
  });
}

hold("an event", golden.events, checkEvent);
hold("a registration", golden.registrations, checkRegistration);
hold("a frame of an agent", golden.agent_frames, checkAgentFrame);
hold("a frame of a control plane", golden.control_plane_frames, checkControlPlaneFrame);

const lines = (await Bun.file(new URL("../fixtures/wire/frames-0.1.jsonl", import.meta.url)).text()).trim().split("\n");

describe("what 0.1 recorded", () => {
  const frames = lines.map((line) => JSON.parse(line) as { from: string; frame: string });

  test("every frame of its agent is accepted, the first as a registration", () => {
    const sent = frames.filter(({ from }) => from === "agent").map(({ frame }) => JSON.parse(frame) as unknown);
    expect(sent.length).toBeGreaterThan(10);
    expect(checkRegistration(sent[0])).toMatchObject({ ok: true });
    for (const frame of sent.slice(1)) expect(checkAgentFrame(frame)).toMatchObject({ ok: true });
  });

  test("every frame of its control plane is accepted, the first as the reply we would give", () => {
    const sent = frames.filter(({ from }) => from === "control-plane").map(({ frame }) => JSON.parse(frame) as unknown);
    const registration = checkRegistration(JSON.parse(frames[0]?.frame ?? ""));
    if (!registration.ok) throw new Error(registration.message);
    expect(sent[0]).toEqual(registrationReply(registration.value, 1));
    for (const frame of sent.slice(1)) expect(checkControlPlaneFrame(frame)).toMatchObject({ ok: true });
  });
});

test("an event keeps what it does not know, and never a key that reaches a prototype", () => {
  const base = { id: "a", type: "k8s_resource", target_agent: "t", payload: { manifests: ["x"], later: { deep: 1 } } };
  const checked = checkEvent({ ...base, mine: 7 });
  if (!checked.ok) throw new Error(checked.message);
  expect(checked.value.extra).toEqual({ mine: 7 });
  expect(checked.value.payload["later"]).toEqual({ deep: 1 });
  const hostile = checkEvent(
    JSON.parse('{"id":"a","type":"k8s_resource","target_agent":"t","payload":{"manifests":["x"],"__proto__":{"polluted":true}}}'),
  );
  expect(hostile).toMatchObject({ ok: false, code: "INVALID_EVENT", pointer: "/payload/__proto__" });
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
});
