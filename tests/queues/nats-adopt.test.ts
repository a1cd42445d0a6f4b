import { afterAll, beforeAll, expect } from "bun:test";
import { AckPolicy, type ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, type StreamConfig } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openQueue, type Queue, type QueueMessage } from "../../src/queues/mod.ts";
import { eventually } from "../support/eventually.ts";
import { uniqueName } from "../support/kube.ts";
import { type Nats, natsTest, SKIP_NATS, startNats } from "../support/nats.ts";
import { codeOf } from "../support/store-inputs.ts";
import { plainNats } from "./plain-nats.ts";

let nats: Nats;
let plain: Awaited<ReturnType<typeof plainNats>>;
beforeAll(async () => {
  if (SKIP_NATS) return;
  nats = await startNats();
  plain = await plainNats(nats.port);
});
afterAll(async () => {
  await plain?.[Symbol.asyncDispose]();
  await nats?.[Symbol.asyncDispose]();
});

function open(name: string, query = "ack-wait=1s"): Promise<Queue> {
  return openQueue(`${nats.url}/${name}?${query}`, { log: silentLogger, ports: systemPorts });
}

/** What the queue says when it is to be consumed; "works" when it can be. */
async function verdict(name: string): Promise<string> {
  const queue = await open(name);
  try {
    const consumption = await queue.consume({ window: 1, onState: () => undefined, take: () => Promise.resolve({ kind: "done" }) });
    await consumption.stop(0);
    return "works";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await queue.close();
  }
}

natsTest("a stream that cannot keep the promise is refused with the reason, and left as it is", async () => {
  const cases: readonly (readonly [Partial<StreamConfig>, string])[] = [
    [{ storage: StorageType.Memory }, "is kept in memory"],
    [{ retention: RetentionPolicy.Interest }, "has retention `interest`"],
    [{ no_ack: true }, "has `no_ack`"],
    [{ max_msgs: 10, discard: DiscardPolicy.Old }, "discards the oldest waiting messages"],
  ];
  for (const [config, why] of cases) {
    const name = uniqueName("odd");
    await plain.manager.streams.add({ name, subjects: [`${name}.events.*`], ...config });
    const before = (await plain.manager.streams.info(name)).config;
    expect(await verdict(name)).toContain(why);
    expect((await plain.manager.streams.info(name)).config).toEqual(before);
  }
  const other = uniqueName("elsewhere");
  await plain.manager.streams.add({ name: other, subjects: [`${other}.events.normal`] });
  expect(await verdict(other)).toContain(`does not take the subject ${other}.events.urgent`);
});

natsTest("a consumer that cannot keep the promise is refused with the reason", async () => {
  const cases: readonly (readonly [Partial<ConsumerConfig>, string])[] = [
    [{ ack_policy: AckPolicy.None, ack_wait: 0 }, "does not want each message acknowledged by itself"],
    [{ max_deliver: 3 }, "hands out a message 3 times at most"],
    [{ ack_wait: nanos(500) }, "has an ack wait of less than a second"],
    [{ mem_storage: true }, "is kept in memory"],
    [{ filter_subject: "FILTER.normal" }, "does not filter for"],
    [{ headers_only: true }, "hands out headers only"],
  ];
  for (const [config, why] of cases) {
    const name = uniqueName("odd");
    await plain.manager.streams.add({ name, subjects: [`${name}.events.*`] });
    await plain.manager.consumers.add(name, {
      durable_name: "transporter-cp-urgent",
      ack_policy: AckPolicy.Explicit,
      filter_subject: `${name}.events.urgent`,
      ...config,
      ...(config.filter_subject === undefined ? {} : { filter_subject: config.filter_subject.replace("FILTER", `${name}.events`) }),
    });
    expect(await verdict(name)).toContain(why);
  }
});

natsTest("a stream and consumers of somebody else's making are used as they are", async () => {
  const name = uniqueName("theirs");
  await plain.manager.streams.add({ name, subjects: [`${name}.>`, `other.${name}`], retention: RetentionPolicy.Limits });
  await plain.manager.consumers.add(name, {
    durable_name: "transporter-cp-normal",
    ack_policy: AckPolicy.Explicit,
    filter_subject: `${name}.events.normal`,
    ack_wait: nanos(1_500),
    max_deliver: 7,
  });
  const queue = await open(name, `dead-stream=${name}&ack-wait=20s`);
  const deaths: QueueMessage[] = [];
  await queue.publish({ id: "x", body: new TextEncoder().encode("x"), priority: 0 });
  const consumption = await queue.consume({
    window: 4,
    onState: () => undefined,
    take: (message) => {
      deaths.push(message);
      return Promise.resolve(
        message.deliveries === 1 ? { kind: "dead", code: "INVALID_EVENT", reason: "because", eventId: "x" } : { kind: "done" },
      );
    },
  });
  await eventually(async () => (await plain.messages(name)).some(({ subject }) => subject === `${name}.dead`));
  await eventually(async () => (await queue.status()).inHand === 0);
  expect((await plain.manager.consumers.info(name, "transporter-cp-normal")).config).toMatchObject({
    ack_wait: nanos(1_500),
    max_deliver: 7,
  });
  expect(deaths).toHaveLength(1);
  await consumption.stop(0);
  await queue.close();
});

natsTest("what the server itself gives up on goes to the dead letters once, by one of the control planes that listen", async () => {
  const name = uniqueName("given-up");
  const queues = [await open(name), await open(name)];
  await queues[0]?.publish({ id: "stubborn", body: new TextEncoder().encode("stubborn body"), priority: 0 });
  await Promise.all(queues.map((queue) => queue.status()));
  await plain.manager.consumers.update(name, "transporter-cp-normal", { max_deliver: 1, ack_wait: nanos(200) });
  // Somebody takes it from the same consumer and never answers.
  const { consumers } = plain.manager.jetstream();
  const taken = await (await consumers.get(name, "transporter-cp-normal")).next({ expires: 2_000 });
  expect(taken?.string()).toBe("stubborn body");
  // The server says so when somebody asks for more.
  await eventually(
    async () => {
      await (await consumers.get(name, "transporter-cp-normal")).next({ expires: 1_000 });
      return (await plain.deadLetters(name)).length > 0;
    },
    { timeoutMs: 15_000 },
  );
  expect(await plain.deadLetters(name)).toMatchObject([{ code: "QUEUE_DELIVERIES_EXHAUSTED", eventId: "stubborn" }]);
  await eventually(async () => (await plain.messages(name)).length === 0);
  await Promise.all(queues.map((queue) => queue.close()));
});

natsTest("a stream that is full refuses what is published, pushes nothing out, and takes more when there is room", async () => {
  const name = uniqueName("full");
  const queue = await open(name, "max-bytes=4000&timeout=300ms");
  const body = new Uint8Array(1_000).fill(97);
  const published: string[] = [];
  let code = "none";
  for (let at = 0; at < 10 && code === "none"; at += 1) {
    code = await codeOf(queue.publish({ id: `event-${at}`, body, priority: 0 }));
    if (code === "none") published.push(`event-${at}`);
  }
  expect(code).toBe("QUEUE_UNAVAILABLE");
  expect(published.length).toBeGreaterThan(1);
  const taken: string[] = [];
  const consumption = await queue.consume({
    window: 4,
    onState: () => undefined,
    take: ({ id = "" }) => {
      taken.push(id);
      return Promise.resolve({ kind: "done" });
    },
  });
  await eventually(() => taken.length === published.length);
  expect(taken.toSorted()).toEqual(published.toSorted());
  await eventually(async () => (await codeOf(queue.publish({ id: "later", body, priority: 0 }))) === "none");
  await consumption.stop(1_000);
  await queue.close();
});

natsTest("a stream that somebody deletes is made again, and what comes then is not taken for what is in hand", async () => {
  const name = uniqueName("deleted");
  const queue = await open(name, "ack-wait=1s&timeout=15s");
  const body = new TextEncoder().encode("{}");
  await queue.publish({ id: "before", body, priority: 0 });
  const taken: string[] = [];
  const before = Promise.withResolvers<void>();
  const consumption = await queue.consume({
    window: 4,
    onState: () => undefined,
    async take({ id = "" }) {
      taken.push(id);
      if (id === "before") await before.promise;
      return { kind: "done" };
    },
  });
  await eventually(() => taken.length === 1);
  await plain.manager.streams.delete(name);
  // The first message of the new stream has the number of the one that is still in hand.
  await queue.publish({ id: "after", body, priority: 0 });
  await eventually(() => taken.includes("after"), { timeoutMs: 15_000 });
  before.resolve();
  await eventually(async () => (await queue.status()).inHand === 0);
  expect(taken).toEqual(["before", "after"]);
  await consumption.stop(1_000);
  await queue.close();
});
