import { expect, test } from "bun:test";
import { manualPorts } from "../kit/mod.ts";
import { Pulse } from "./pulse.ts";

test("what joins within one beat runs together, in order, and once", async () => {
  const time = manualPorts();
  const pulse = new Pulse(time.ports.timers, 4);
  const ran: string[] = [];
  pulse.join(() => ran.push("a"));
  await time.advance(3);
  pulse.join(() => ran.push("b"));
  expect(ran).toEqual([]);
  await time.advance(1);
  expect(ran).toEqual(["a", "b"]);
  await time.advance(100);
  expect(ran).toEqual(["a", "b"]);
});

test("one that joins during a beat waits for the next", async () => {
  const time = manualPorts();
  const pulse = new Pulse(time.ports.timers, 4);
  let beats = 0;
  const again = (): void => {
    beats += 1;
    if (beats < 3) pulse.join(again);
  };
  pulse.join(again);
  await time.advance(4);
  expect(beats).toBe(1);
  await time.advance(8);
  expect(beats).toBe(3);
});

test("a beat asked for leaves nothing waiting and no timer behind", () => {
  const time = manualPorts();
  const pulse = new Pulse(time.ports.timers, 4);
  let ran = 0;
  pulse.join(() => (ran += 1));
  pulse.beat();
  expect(ran).toBe(1);
  expect(time.pending).toBe(0);
});
