import { expect } from "bun:test";
import { FAILPOINTS, type Failpoint } from "../../src/kit/mod.ts";
import { eventually } from "../support/eventually.ts";
import { compiledKubeTest } from "../support/process.ts";
import { count } from "../support/prove.ts";
import { Dice } from "./dice.ts";
import { type Mix } from "./events.ts";
import { AGENTS, Installation, NAMESPACE } from "./installation.ts";
import { type Accepted, Load, storyOf } from "./load.ts";
import { type Reckoning, reckon, summaryLine } from "./reckoning.ts";
import type { Service } from "./service.ts";

/** Much of what is rare in life. */
const RARE_THINGS: Mix = {
  chain: 40,
  own: 10,
  large: 6,
  hook: 8,
  recalled: 8,
  dropped: 8,
  again: 6,
  late: 4,
  nobody: 6,
  unreadable: 4,
  read: 8,
};
const DAILY_LIFE: Mix = {
  chain: 100,
  own: 12,
  large: 0.4,
  hook: 1,
  recalled: 0.5,
  dropped: 4,
  again: 3,
  late: 3,
  nobody: 1,
  unreadable: 30,
  read: 20,
};

const POINT_PATIENCE = { patienceMs: 15_000, attempts: 8 };
const END_TIMEOUT_MS = 120_000;

/** Takes away the object of an event that was told as ended: whoever carries it out again brings it back, and is seen. */
function takeAway(installation: Installation): (accepted: Accepted) => Promise<void> {
  return async ({ made }) => {
    if (made.kind !== "own" && made.kind !== "recalled") return;
    const response = await installation.kube.request("DELETE", `/api/v1/namespaces/${NAMESPACE}/configmaps/${made.id}`);
    await response.text();
  };
}

/** Tells all about a few of the events with which something is wrong, then fails for it. */
async function judge(reckoning: Reckoning, installation: Installation, load: Load): Promise<void> {
  for (const fault of [...reckoning.wrong, ...Object.values(reckoning.verdict).flat()].slice(0, 4)) {
    const id = [...load.accepted.keys()].find((known) => fault.includes(known));
    const changes = installation.effects.changes.filter(
      ({ object, event }) => event === id || (fault.startsWith(`${object} `) && id !== undefined),
    );
    console.error(fault, "\n", id === undefined ? "" : storyOf(await load.detail(id)), "\n", changes.slice(-12));
  }
  expect(reckoning.wrong.slice(0, 5)).toEqual([]);
  const { lost, doubled, backwards, unasked } = reckoning.verdict;
  expect({ lost: lost.slice(0, 5), doubled: doubled.slice(0, 5), backwards: backwards.slice(0, 5), unasked: unasked.slice(0, 5) }).toEqual({
    lost: [],
    doubled: [],
    backwards: [],
    unasked: [],
  });
  expect(reckoning.idleKills).toEqual([]);
}

/** Waits until so many are accepted, or the time has come; fails at once when something is wrong, and when there is no way forward for a minute. */
async function until(installation: Installation, load: Load, accepted: number, latestMs: number = Number.POSITIVE_INFINITY): Promise<void> {
  let before = load.accepted.size;
  let deadlineMs = performance.now() + STANDSTILL_MS;
  while (load.accepted.size < accepted && performance.now() < latestMs) {
    load.check();
    for (const service of installation.services) service.check();
    if (load.accepted.size > before) deadlineMs = performance.now() + STANDSTILL_MS;
    if (performance.now() > deadlineMs) throw new Error(`nothing was accepted for ${STANDSTILL_MS} ms`);
    before = load.accepted.size;
    await Bun.sleep(3);
  }
}
const STANDSTILL_MS = 60_000;

/** Points of one process, each at a random hit among its first few. */
async function dieAtEach(service: Service, points: readonly Failpoint[], dice: Dice, load: Load): Promise<void> {
  for (const point of points) {
    load.check();
    await service.dieAt(point, dice.between(1, OFTEN.has(point) ? 25 : 2), POINT_PATIENCE);
  }
  await service.start();
}

/** Points that one event comes to, or every second one. */
const OFTEN: ReadonlySet<Failpoint> = new Set<Failpoint>([
  "cp.intake.checked",
  "cp.intake.committed",
  "cp.store.before-commit",
  "cp.store.after-commit",
  "cp.dispatch.sent",
  "cp.session.status-received",
  "cp.session.status-stored",
  "cp.session.before-ack",
  "agent.inbound.received",
  "agent.inbound.recorded",
  "agent.inbound.acknowledged",
  "agent.run.before-started",
  "agent.run.started",
  "agent.run.validated",
  "agent.run.object-applied",
  "agent.run.applied",
  "agent.finish.before-ledger",
  "agent.finish.after-ledger",
  "agent.outbound.sent",
  "agent.outbound.acknowledged",
]);

/** `transporter send`, killed at a point and run again with the same event, as a pipeline does. */
async function sendTwice(installation: Installation, load: Load, point: Failpoint): Promise<void> {
  const id = `own-sent-${crypto.randomUUID().slice(0, 13)}`;
  const manifest = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: id, namespace: NAMESPACE }, data: { event: id, n: "0" } };
  const event = { id, type: "k8s_resource", target_agent: AGENTS.writer, payload: { manifests: [JSON.stringify(manifest)] } };
  const body = JSON.stringify({ ...event, created_at: new Date().toISOString(), created_by: "proof" });
  const command = ["send", "from-file", "-f", "-", "--wait=false"];
  // The control plane may be down for as long as it takes; a pipeline would try again as well.
  await eventually(
    async () => {
      const killed = await installation.run(command, body, { TRANSPORTER_FAILPOINT: point });
      if (killed.exitCode === SIGKILLED) installation.kills.push({ service: "producer", atMs: Date.now(), failpoint: point });
      return killed.exitCode === SIGKILLED;
    },
    { timeoutMs: 60_000, everyMs: 200, what: `a producer that dies at ${point}` },
  );
  await eventually(async () => (await installation.run(command, body)).exitCode === 0, {
    timeoutMs: 60_000,
    everyMs: 200,
    what: "the producer's second run",
  });
  load.adopt({ id, kind: "own", agent: AGENTS.writer, writes: [{ object: id, n: 0 }], body });
}
const SIGKILLED = 137;

compiledKubeTest(
  "a kill at every failpoint, under load: nothing is lost and nothing is done twice",
  async () => {
    const startedMs = performance.now();
    const dice = new Dice();
    await using installation = await Installation.start({ maxInFlight: 32, maxConcurrent: 8 });
    const load = new Load({
      url: installation.url,
      dice,
      mix: RARE_THINGS,
      workers: 24,
      maxOpen: 120,
      onEnded: takeAway(installation),
    });
    load.start();
    installation.hook.start();
    const of = (part: string): Failpoint[] => FAILPOINTS.filter((point) => point.startsWith(`${part}.`));
    const rounds = count(1, 5);
    try {
      await until(installation, load, 40);
      for (let round = 0; round < rounds; round += 1) {
        await Promise.all([
          dieAtEach(installation.cp, dice.shuffled(of("cp")), dice, load),
          dieAtEach(installation.writer, dice.shuffled(of("agent")), dice, load),
          ...dice.shuffled(of("producer")).map(async (point) => sendTwice(installation, load, point)),
        ]);
      }
      await installation.hook.stop();
      await load.finish(END_TIMEOUT_MS);
    } catch (error) {
      throw new Error(`${String(error)}\n${await load.oldest()}\n${installation.trouble()}`, { cause: error });
    } finally {
      await load.stop();
    }
    for (const service of installation.services) service.check();
    const reckoning = await reckon(installation, load);
    const { kills } = installation;
    const seconds = (performance.now() - startedMs) / 1000;
    console.log(summaryLine({ what: "Every failpoint", seed: dice.seed, seconds, reckoning, kills, resubmitted: load.resubmitted }));
    await judge(reckoning, installation, load);
    // By the list itself, so that a point that nobody reaches fails here.
    // Those of a rollback and of making anew have proofs of their own: tests/agent/rollback-crash.test.ts, tests/agent/recreate-crash.test.ts.
    for (const point of FAILPOINTS.filter((one) => !one.startsWith("rollback.") && !one.startsWith("recreate.")))
      expect({ point, kills: kills.filter(({ failpoint }) => failpoint === point).length }).toEqual({
        point,
        kills: rounds,
      });
  },
  count(240_000, 1_200_000),
);

/** More or less than a run's own, for whoever has more or less time. */
const RANDOM_KILLS = Number(process.env["TRANSPORTER_CRASH_KILLS"] ?? count(6, 300));
const RANDOM_EVENTS = Number(process.env["TRANSPORTER_CRASH_EVENTS"] ?? count(800, 50_000));
/** The kills are through by then, however slow the machine is; what was counted until then is told, and fails where it is too little. */
const RANDOM_MINUTES = Number(process.env["TRANSPORTER_CRASH_MINUTES"] ?? count(5, 60));

compiledKubeTest(
  "kills at random times, under load: nothing is lost and nothing is done twice",
  async () => {
    const startedMs = performance.now();
    const dice = new Dice();
    await using installation = await Installation.start({ maxInFlight: 128, maxConcurrent: 32 });
    const load = new Load({
      url: installation.url,
      dice,
      mix: DAILY_LIFE,
      workers: 64,
      maxOpen: 400,
      onEnded: takeAway(installation),
    });
    load.start();
    installation.hook.start();
    try {
      for (let kill = 0; kill < RANDOM_KILLS; kill += 1) {
        if (kill % 25 === 24) console.log(`kill ${kill + 1} of ${RANDOM_KILLS}: ${load.accepted.size} accepted, ${load.open} open`);
        // Spread over the events that are still to come, so that the work is spread over the kills.
        const mean = Math.max(1, (RANDOM_EVENTS - load.accepted.size) / (RANDOM_KILLS - kill + 1));
        const next = load.accepted.size + dice.between(1, Math.round(mean * 2));
        const leftMs = startedMs + RANDOM_MINUTES * 60_000 - performance.now();
        await until(installation, load, next, performance.now() + dice.float() * 2 * (leftMs / (RANDOM_KILLS - kill)));
        await Bun.sleep(dice.between(0, 40));
        const victims = VICTIMS[dice.pick({ cp: 4, writer: 5, reader: 1, both: 3 })].map((name) => installation[name]);
        await Promise.all(victims.map(async (service) => service.kill()));
        await Promise.all(victims.map(async (service) => service.start()));
      }
      await until(installation, load, RANDOM_EVENTS, startedMs + RANDOM_MINUTES * 60_000);
      await installation.hook.stop();
      await load.finish(END_TIMEOUT_MS);
    } catch (error) {
      throw new Error(`${String(error)}\n${await load.oldest()}\n${installation.trouble()}`, { cause: error });
    } finally {
      await load.stop();
    }
    for (const service of installation.services) service.check();
    const reckoning = await reckon(installation, load);
    const seconds = (performance.now() - startedMs) / 1000;
    console.log(
      summaryLine({ what: "Random times", seed: dice.seed, seconds, reckoning, kills: installation.kills, resubmitted: load.resubmitted }),
    );
    await judge(reckoning, installation, load);
    expect(installation.kills.length).toBeGreaterThanOrEqual(RANDOM_KILLS);
    expect(reckoning.accepted).toBeGreaterThanOrEqual(RANDOM_EVENTS);
    // Most of them are to be seen by somebody who is not us.
    expect(reckoning.counted).toBeGreaterThan(reckoning.accepted / 2);
  },
  RANDOM_MINUTES * 60_000 + 300_000,
);

const VICTIMS = { cp: ["cp"], writer: ["writer"], reader: ["reader"], both: ["cp", "writer"] } as const;
