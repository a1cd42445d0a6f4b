import { describe, expect } from "bun:test";
import { join } from "node:path";
import { headers as newHeaders } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";
import { createLogger, silentLogger, systemPorts, TransporterError } from "../../src/kit/mod.ts";
import type { ConsumeOptions, Queue, QueueMessage, Settlement } from "../../src/queues/mod.ts";
import { openMemphisQueue } from "../../src/queues/drivers/memphis/queue.ts";
import { messageBytes, messageHeaders } from "../../src/queues/drivers/memphis/headers.ts";
import { partitionForKey } from "../../src/queues/drivers/memphis/partition-key.ts";
import { type Tuning, TUNING } from "../../src/queues/drivers/memphis/tuning.ts";
import { eventually } from "../support/eventually.ts";
import { PASSWORD, startMemphis, TOKEN } from "../support/memphis.ts";
import { Responder } from "../support/memphis-responder.ts";
import { natsTest, startNats } from "../support/nats.ts";

const encoder = new TextEncoder();
const DONE: Settlement = { kind: "done" };
/** Shorter, so that a test can wait for the end; never so short that a busy machine gets there. */
const QUICK: Tuning = {
  ...TUNING,
  connectMs: 5_000,
  pingMs: 500,
  reconnectFirstMs: 30,
  reconnectMaxMs: 150,
  answerMs: 2_000,
  publishMs: 6_000,
  pullMs: 1_000,
  graceMs: 1_000,
  againMs: 300,
};
/** Where silence is what is tested. */
const IMPATIENT: Tuning = { ...QUICK, controlMs: 300, answerMs: 700, publishMs: 1_500 };

const open = (url: string, tuning: Tuning = QUICK, log = silentLogger): Promise<Queue> =>
  openMemphisQueue(url, { log, ports: systemPorts, role: "control-plane" }, tuning);
const publish = (queue: Queue, id: string, priority = 0) => queue.publish({ id, body: encoder.encode(`body of ${id}`), priority });

/** What it was refused with. */
async function refusal(work: Promise<unknown>): Promise<TransporterError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof TransporterError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

async function consume(queue: Queue, take: ConsumeOptions["take"] = async () => DONE, window = 16) {
  const messages: QueueMessage[] = [];
  const states: string[] = [];
  const consumption = await queue.consume({
    window,
    onState: (state, why) => states.push(why === undefined ? state : `${state}: ${why}`),
    take: (message) => {
      messages.push(message);
      return take(message);
    },
  });
  return { consumption, messages, states, ids: () => messages.map(({ id }) => id ?? "") };
}

describe.concurrent("credentials", () => {
  natsTest("are taken in both modes, and refused by name in the wrong one, with what to do", async () => {
    await using byToken = await startMemphis();
    await using byPassword = await startMemphis({ auth: "password" });
    for (const memphis of [byToken, byPassword]) {
      const queue = await open(memphis.url("one"));
      expect(await publish(queue, "a")).toEqual({ duplicate: false });
      await queue.close();
    }
    for (const url of [
      `memphis://root@127.0.0.1:${byToken.port}/one?token=wrong`,
      `memphis://nobody@127.0.0.1:${byToken.port}/one?token=${TOKEN}`,
      `memphis://root:${PASSWORD}@127.0.0.1:${byToken.port}/one`,
      `memphis://root:wrong@127.0.0.1:${byPassword.port}/one`,
      `memphis://root:${PASSWORD}@127.0.0.1:${byPassword.port}/one?account=2`,
      `memphis://root@127.0.0.1:${byPassword.port}/one?token=${TOKEN}`,
    ]) {
      const queue = await open(url);
      for (const work of [
        publish(queue, "a"),
        queue.consume({ window: 1, take: async () => DONE, onState: () => undefined }),
        queue.status(),
      ]) {
        const refused = await refusal(work);
        expect(refused.code).toBe("QUEUE_DENIED");
        expect(refused.message).toContain("Authorization Violation");
        expect(refused.remedy).toContain("account id");
        expect(refused.message + refused.remedy).not.toContain(TOKEN);
      }
      await queue.close();
    }
  });

  natsTest("a user that the broker forgot meanwhile is refused, though a station's creation says yes", async () => {
    await using memphis = await startMemphis();
    const queue = await open(memphis.url("one"));
    memphis.responder.users.clear();
    memphis.responder.users.add("root");
    await queue.status();
    memphis.responder.users.clear();
    const refused = await refusal(publish(queue, "a"));
    expect(refused).toMatchObject({ code: "QUEUE_DENIED" });
    expect(refused.message).toContain("User root does not exist");
    await queue.close();
  });

  natsTest("and frames go over TLS where it is wanted, with the certificate checked", async () => {
    const tls = join(import.meta.dir, "../fixtures/tls");
    await using nats = await startNats({
      config: `authorization { token: "${TOKEN}" }\ntls { cert_file: "${tls}/server.pem", key_file: "${tls}/server-key.pem" }`,
    });
    const ca = await Bun.file(join(tls, "server.pem")).text();
    await using _responder = await Responder.start({ servers: `127.0.0.1:${nats.port}`, token: TOKEN, tls: { ca } });
    const url = (more: string): string => `memphis://root@127.0.0.1:${nats.port}/secure?token=${TOKEN}${more}`;
    const queue = await open(url(`&ca=${tls}/server.pem`));
    await publish(queue, "over-tls");
    const consumer = await consume(queue);
    await eventually(() => consumer.ids().includes("over-tls"));
    await queue.close();
    for (const wrong of ["&tls=1", `&ca=${tls}/stranger.pem`]) {
      const stranger = await open(url(wrong), { ...QUICK, publishMs: 100 });
      expect(await refusal(publish(stranger, "a"))).toMatchObject({ code: "QUEUE_UNAVAILABLE" });
      await stranger.close();
    }
  });
});

describe.concurrent("stations", () => {
  natsTest("have as many partitions as wanted, an id always in the same one", async () => {
    await using memphis = await startMemphis();
    const queue = await open(memphis.url("parts.3", { partitions: 3 }));
    const ids = Array.from({ length: 60 }, (_, index) => `tenant/${index}`);
    await Promise.all(ids.map((id) => publish(queue, id)));
    for (const id of ids.slice(0, 10)) expect(await publish(queue, id)).toEqual({ duplicate: true });
    for (const partition of [1, 2, 3]) {
      const { state } = (await memphis.responder.api(`STREAM.INFO.parts#3$${partition}`)) as {
        readonly state: { readonly messages: number };
      };
      expect(state.messages).toBe(ids.filter((id) => partitionForKey([1, 2, 3], id) === partition).length);
    }
    expect((await queue.status()).waiting.normal).toBe(60);
    const consumer = await consume(queue);
    await eventually(() => consumer.messages.length === 60);
    expect(consumer.ids().toSorted()).toEqual(ids.toSorted());
    await eventually(async () => (await queue.status()).inHand === 0);
    // Another who does not know of them learns from the broker.
    const other = await open(memphis.url("parts.3"));
    await publish(other, ids[1] ?? "");
    await publish(other, "new");
    await eventually(() => consumer.ids().includes("new"));
    expect(consumer.messages).toHaveLength(61);
    await other.close();
    await queue.close();
  });

  natsTest("of an old broker have none, and are filled and emptied all the same, resent dead letters too", async () => {
    await using memphis = await startMemphis();
    await memphis.responder.api("STREAM.CREATE.old#one", {
      name: "old#one",
      subjects: ["old#one.>"],
      retention: "limits",
      storage: "file",
    });
    const durable = {
      durable_name: "transporter-cp-consumer",
      ack_policy: "explicit",
      ack_wait: 1_000_000_000,
      filter_subject: "old#one.final",
    };
    await memphis.responder.api("CONSUMER.DURABLE.CREATE.old#one.transporter-cp-consumer", { stream_name: "old#one", config: durable });
    memphis.responder.intercept = (subject, body) => {
      const name = String(body["station_name"] ?? body["name"]);
      if (name !== "old.one") return ["user does not exist", { partitions_update: { partitions_list: [] }, error: "" }];
      // Producers got no more than an empty answer.
      if (subject === "$memphis_consumer_creations") return [{ partitions_update: { partitions_list: null }, error: "" }];
      return [""];
    };
    const queue = await open(memphis.url("old.one"));
    await publish(queue, "a", 7);
    const consumer = await consume(queue);
    await eventually(() => consumer.ids().includes("a"));
    // Bands that cannot be had: all goes one way.
    expect(consumer.messages[0]?.band).toBe("normal");
    const stranger = await connect({ servers: `127.0.0.1:${memphis.nats.port}` });
    const letter = newHeaders();
    letter.set("$memphis_pm_id", "5");
    letter.set("msg-id", "resent");
    const confirmed = stranger.subscribe("$memphis_pm_acks", { max: 1 });
    await stranger.flush();
    stranger.publish("$memphis_dls_old#one_transporter-cp-consumer", "{}", { headers: letter });
    for await (const message of confirmed) expect(message.json<unknown>()).toEqual({ id: 5, cg_name: "transporter-cp-consumer" });
    expect(consumer.ids()).toEqual(["a", "resent"]);
    await stranger.close();
    await queue.close();
  });

  natsTest(
    "of the bands may be refused: everything goes to the plain one, which is said once, and they are used when they can be",
    async () => {
      await using memphis = await startMemphis();
      const lines: string[] = [];
      const log = createLogger({ format: "text", debug: false, color: false, write: (line) => lines.push(line), now: () => 0 });
      const denied = { error: "permission denied for the user", partitions_update: { partitions_list: null } };
      let refusing = true;
      memphis.responder.intercept = (_subject, body) =>
        refusing && /"station_name":"one\.(urgent|low)"/.test(JSON.stringify(body)) ? [denied] : undefined;
      const queue = await open(memphis.url("one"), QUICK, log);
      for (const [id, priority] of [
        ["urgent-1", 5],
        ["urgent-2", 5],
        ["low-1", -5],
        ["normal-1", 0],
      ] as const)
        await publish(queue, id, priority);
      const consumer = await consume(queue);
      await eventually(() => consumer.messages.length === 4);
      expect(consumer.messages.every(({ band }) => band === "normal")).toBe(true);
      expect(lines.filter((line) => line.includes("go to the normal one"))).toHaveLength(2);
      expect(lines.filter((line) => line.includes("cannot be consumed from"))).toHaveLength(2);
      refusing = false;
      const other = await open(memphis.url("one"));
      await publish(other, "urgent-3", 5);
      await eventually(() => consumer.ids().includes("urgent-3"), { timeoutMs: 5_000 });
      expect(consumer.messages.find(({ id }) => id === "urgent-3")?.band).toBe("urgent");
      expect(lines.filter((line) => line.includes("cannot be consumed from"))).toHaveLength(2);
      await other.close();
      await queue.close();
    },
  );

  natsTest("of the bands: an urgent message gets through a window that is full of others", async () => {
    await using memphis = await startMemphis();
    const queue = await open(memphis.url("one"));
    const held = Promise.withResolvers<Settlement>();
    const consumer = await consume(queue, ({ band }) => (band === "urgent" ? Promise.resolve(DONE) : held.promise), 16);
    await Promise.all(Array.from({ length: 40 }, (_, index) => publish(queue, `normal-${index}`)));
    await eventually(() => consumer.messages.length === 14);
    for (const id of ["urgent-1", "urgent-2", "urgent-3"]) {
      await publish(queue, id, 1);
      await eventually(() => consumer.ids().includes(id));
    }
    expect(consumer.messages).toHaveLength(14 + 3);
    held.resolve(DONE);
    await eventually(() => consumer.messages.length === 43);
    await queue.close();
  });

  natsTest(
    "take what is just as large as the broker takes, headers counted, and no byte more; and tell how old the oldest is",
    async () => {
      await using memphis = await startMemphis();
      const queue = await open(memphis.url("one"));
      const most =
        1_048_576 -
        messageBytes(
          messageHeaders({ id: "id-1", body: new Uint8Array(), priority: 0 }, "-".repeat(36), "transporter-cp"),
          new Uint8Array(),
        );
      const refused = await refusal(queue.publish({ id: "id-0", body: new Uint8Array(most + 1), priority: 0 }));
      expect(refused).toMatchObject({ code: "QUEUE_MESSAGE_TOO_LARGE", details: { bytes: 1_048_577, most: 1_048_576 } });
      expect((await queue.status()).oldestMs).toBeUndefined();
      const beforeMs = Date.now();
      await queue.publish({ id: "id-1", body: new Uint8Array(most), priority: 0 });
      await eventually(() => Date.now() - beforeMs > 300);
      await publish(queue, "id-2");
      expect((await queue.status()).oldestMs).toBeWithin(200, Date.now() - beforeMs + 50);
      const consumer = await consume(queue, ({ id }) => (id === "id-1" ? Promise.resolve(DONE) : new Promise(() => undefined)), 1);
      await eventually(() => consumer.messages.length === 2);
      expect(consumer.messages[0]?.body.byteLength).toBe(most);
      await publish(queue, "id-3");
      await eventually(async () => (await queue.status()).waiting.normal === 1);
      expect((await queue.status()).oldestMs).toBeWithin(-50, 5_000);
      await queue.close();
    },
  );

  natsTest("refused for good are an error of whoever wants to consume, said once though it is answered twice", async () => {
    await using memphis = await startMemphis();
    memphis.responder.intercept = (subject) =>
      subject === "$memphis_consumer_creations"
        ? ["to consume from this station please upgrade your SDK version", { partitions_update: { partitions_list: [] }, error: "" }]
        : undefined;
    const queue = await open(memphis.url("one"));
    const refused = await refusal(queue.consume({ window: 1, take: async () => DONE, onState: () => undefined }));
    expect(refused).toMatchObject({ code: "QUEUE_INVALID" });
    expect(refused.message).toContain("upgrade your SDK");
    await queue.close();
  });

  natsTest("that 0.1's producers filled give their messages as they are", async () => {
    await using memphis = await startMemphis();
    const body = '{"id":"event-1","target_agent":"edge","type":"script","payload":{"script":"true"}}';
    const old = await connect({ servers: `127.0.0.1:${memphis.port}`, token: TOKEN, name: "cafe::root" });
    const creation = {
      name: "Transporter-Events",
      username: "root",
      partitions_number: 1,
      retention_type: "message_age_sec",
      retention_value: 3_600,
    };
    await old.request("$memphis_station_creations", JSON.stringify(creation), { timeout: 5_000 });
    const made = newHeaders();
    made.set("$memphis_connectionId", "cafe");
    made.set("$memphis_producedBy", "transporter-producer");
    made.set("msg-id", "event-1");
    await old.request("transporter-events$1.final", body, { timeout: 5_000, headers: made });
    await old.request("transporter-events$1.final", body, { timeout: 5_000 });
    const queue = await open(memphis.url(""));
    const consumer = await consume(queue);
    await eventually(() => consumer.messages.length === 2);
    expect(consumer.messages[0]).toMatchObject({ id: "event-1", band: "normal", producer: "transporter-producer", traceparent: undefined });
    expect(consumer.messages[1]).toMatchObject({ id: undefined, producer: undefined });
    for (const message of consumer.messages) expect(Buffer.from(message.body).toString()).toBe(body);
    await old.close();
    await queue.close();
  });
});

describe.concurrent("dead letters", () => {
  natsTest("sent again by somebody are taken again: what is done leaves them, what is refused again stays", async () => {
    await using memphis = await startMemphis();
    const queue = await open(memphis.url("one", { "ack-wait-ms": 1_000 }));
    let mended = false;
    const consumer = await consume(queue, async ({ id }) =>
      id === "hopeless" || !mended ? { kind: "dead", code: "AGENT_NOT_FOUND", reason: "no such agent", eventId: id } : DONE,
    );
    for (const id of ["mendable", "hopeless"]) await publish(queue, id);
    await eventually(() => memphis.letters.length === 2);
    expect(memphis.letters.map(({ reason }) => reason).toSorted()).toEqual([
      "AGENT_NOT_FOUND: no such agent [event hopeless]",
      "AGENT_NOT_FOUND: no such agent [event mendable]",
    ]);
    mended = true;
    await Promise.all(memphis.letters.map((letter) => memphis.responder.resend(letter)));
    await eventually(() => memphis.letters.length === 1 && consumer.messages.length === 4);
    expect(memphis.letters[0]?.reason).toContain("hopeless");
    expect(consumer.messages.slice(2).every(({ producer }) => producer === "$memphis_dls")).toBe(true);
    await eventually(async () => (await queue.status()).inHand === 0);
    await queue.close();
  });
});

describe.concurrent("a broker that fails", () => {
  natsTest("because it is none, or nobody answers: said so, and gone on with as soon as somebody does", async () => {
    await using nats = await startNats();
    const queue = await open(`memphis://root@127.0.0.1:${nats.port}/one?token=any`, { ...QUICK, publishMs: 300 });
    const refused = await refusal(publish(queue, "a"));
    expect(refused).toMatchObject({ code: "QUEUE_UNAVAILABLE" });
    expect(refused.message).toContain("nobody to answer");
    const consumer = await consume(queue);
    expect(consumer.states).toEqual([expect.stringContaining("away: Memphis has nobody to answer")]);
    await using _responder = await Responder.start({ servers: `127.0.0.1:${nats.port}` });
    await eventually(() => consumer.states.at(-1) === "connected");
    await publish(queue, "a");
    await eventually(() => consumer.ids().includes("a"));
    await queue.close();
  });

  natsTest("to answer control requests in time is asked again", async () => {
    await using memphis = await startMemphis();
    const silenced = new Set<string>();
    memphis.responder.intercept = (subject) => {
      if (silenced.has(subject)) return undefined;
      silenced.add(subject);
      return [];
    };
    const queue = await open(memphis.url("one"), { ...IMPATIENT, publishMs: 8_000 });
    expect(await publish(queue, "a")).toEqual({ duplicate: false });
    const consumer = await consume(queue);
    await eventually(() => consumer.ids().includes("a"));
    expect(silenced.size).toBe(3);
    await queue.close();
  });

  natsTest(
    "by kill -9, twice, under those who produce and consume: nothing is lost, and only a kill makes a message come again",
    async () => {
      await using memphis = await startMemphis();
      const parameters = { "ack-wait-ms": 1_000, partitions: 2 };
      const [producer, consuming] = [await open(memphis.url("one", parameters)), await open(memphis.url("one", parameters))];
      const kept = new Set<string>();
      let next = 0;
      const producing = { on: true };
      const produce = async (): Promise<void> => {
        while (producing.on) {
          const id = `event-${next}`;
          next += 1;
          // As whoever may not lose an event: again, with the same id, until it is kept.
          await eventually(() => publish(producer, id, (next % 3) - 1), { timeoutMs: 20_000, everyMs: 50, what: `event ${id}` });
          kept.add(id);
        }
      };
      const producers = Promise.all([produce(), produce(), produce(), produce()]);
      const consumer = await consume(consuming, async () => DONE);
      const enough = (count: number): Promise<boolean> =>
        eventually(() => consumer.messages.length >= count, { timeoutMs: 15_000, what: `${count} messages` });
      await enough(100);
      await memphis.nats.stop();
      await eventually(() => consumer.states.at(-1)?.startsWith("away") === true);
      await memphis.nats.start();
      await enough(consumer.messages.length + 100);
      await memphis.nats.stop();
      await memphis.nats.start();
      await enough(consumer.messages.length + 100);
      producing.on = false;
      await producers;
      await eventually(() => [...kept].every((id) => consumer.ids().includes(id)), {
        timeoutMs: 15_000,
        everyMs: 100,
        what: "all that was kept",
      });
      await eventually(async () => (await consuming.status()).inHand === 0, { timeoutMs: 10_000 });
      // A killed broker also forgets what it had confirmed a moment before; so each kill may bring a message again, and nothing else does.
      const times = Map.groupBy(consumer.ids(), (id) => id);
      expect(Math.max(...[...times.values()].map(({ length }) => length))).toBeLessThanOrEqual(3);
      expect(Math.max(...consumer.messages.map(({ deliveries }) => deliveries))).toBeLessThanOrEqual(3);
      expect(memphis.letters).toEqual([]);
      await producer.close();
      await consuming.close();
    },
    60_000,
  );

  natsTest(
    "by standing still with its connections open: all that is asked ends in time, and all goes on afterwards",
    async () => {
      await using memphis = await startMemphis();
      const queue = await open(memphis.url("one", { "ack-wait-ms": 1_000 }), IMPATIENT);
      const held = Promise.withResolvers<Settlement>();
      const consumer = await consume(queue, ({ id }) => (id === "held" ? held.promise : Promise.resolve(DONE)));
      const patient = await open(memphis.url("one"));
      await publish(patient, "held");
      await patient.close();
      await eventually(() => consumer.ids().includes("held"));
      memphis.nats.pause();
      const startedMs = performance.now();
      // One may slip through before all of its threads stand.
      const during = await eventually(async () => refusal(publish(queue, `during-${performance.now()}`)));
      expect(during).toMatchObject({ code: "QUEUE_UNAVAILABLE" });
      expect(await refusal(queue.status())).toMatchObject({ code: "QUEUE_UNAVAILABLE" });
      await eventually(() => consumer.states.at(-1)?.startsWith("away") === true);
      expect(performance.now() - startedMs).toBeLessThan(8_000);
      // Settled while nobody listens.
      held.resolve(DONE);
      memphis.nats.resume();
      await eventually(() => consumer.states.at(-1) === "connected", { timeoutMs: 10_000 });
      await eventually(() => publish(queue, "after"), { timeoutMs: 10_000 });
      await eventually(() => consumer.ids().includes("after"), { timeoutMs: 10_000 });
      await eventually(async () => (await queue.status()).inHand === 0, { timeoutMs: 10_000 });
      expect(consumer.ids().filter((id) => id === "held")).toHaveLength(1);
      expect(memphis.letters).toEqual([]);
      await queue.close();
    },
    60_000,
  );

  natsTest("by saying nothing to who asks a durable that is gone: it is made again, and nobody else is disturbed", async () => {
    await using memphis = await startMemphis();
    const queue = await open(memphis.url("one"));
    const consumer = await consume(queue);
    await publish(queue, "before");
    await eventually(() => consumer.ids().includes("before"));
    // Old servers do so, newer ones say that nobody serves the subject.
    memphis.gateway.swallow = (subject) => subject.startsWith("$JS.API.CONSUMER.MSG.NEXT.one$1.");
    await memphis.responder.api("CONSUMER.DELETE.one$1.transporter-cp-consumer");
    const asked = memphis.responder.asked.length;
    memphis.responder.intercept = (subject) => {
      if (subject === "$memphis_consumer_creations") memphis.gateway.swallow = undefined;
      return undefined;
    };
    memphis.responder.forgetGroups("one");
    await publish(queue, "after");
    await eventually(() => consumer.ids().includes("after"), { timeoutMs: 15_000 });
    const again = memphis.responder.asked.slice(asked).filter(({ subject }) => subject === "$memphis_consumer_creations");
    expect(again.map(({ body }) => body["station_name"])).toEqual(["one"]);
    await queue.close();
  });

  natsTest("by losing the station: it is made again, by whoever produces and by whoever consumes", async () => {
    await using memphis = await startMemphis();
    const queue = await open(memphis.url("one"));
    const consumer = await consume(queue);
    await publish(queue, "before");
    await eventually(() => consumer.ids().includes("before"));
    const ask = await connect({ servers: `127.0.0.1:${memphis.port}`, token: TOKEN, name: "cafe::root" });
    await ask.request("$memphis_station_destructions", JSON.stringify({ station_name: "one", username: "root" }), { timeout: 5_000 });
    await publish(queue, "after");
    await eventually(() => consumer.ids().includes("after"), { timeoutMs: 10_000 });
    await ask.close();
    await queue.close();
  });
});

describe.concurrent("what is in hand", () => {
  natsTest("is never more than there is room for, also while paused: the rest is left to others", async () => {
    await using memphis = await startMemphis();
    const queue = await open(memphis.url("one"));
    const held = Promise.withResolvers<Settlement>();
    const consumer = await consume(queue, () => held.promise, 2);
    await publish(queue, "first");
    await eventually(() => consumer.messages.length === 1);
    consumer.consumption.pause();
    // Room for one, and for none after it: nothing of these may come before there is.
    for (const priority of [1, 0, -1]) await publish(queue, `paused-${priority}`, priority);
    await eventually(async () => (await queue.status()).waiting.low === 1);
    expect(await queue.status()).toMatchObject({ waiting: { urgent: 1, normal: 1, low: 1 }, inHand: 1 });
    consumer.consumption.resume();
    await eventually(() => consumer.messages.length === 2);
    expect(consumer.ids()).toEqual(["first", "paused-1"]);
    expect(await queue.status()).toMatchObject({ waiting: { urgent: 0, normal: 1, low: 1 }, inHand: 2 });
    await publish(queue, "full", 1);
    await eventually(async () => (await queue.status()).waiting.urgent === 1);
    const other = await open(memphis.url("one"));
    const heir = await consume(other);
    await eventually(() => heir.messages.length === 3);
    expect(heir.ids()[0]).toBe("full");
    let stopped = false;
    const stopping = consumer.consumption.stop(20_000).then(() => (stopped = true));
    await publish(other, "afterwards");
    await eventually(() => heir.ids().includes("afterwards"));
    expect(stopped).toBe(false);
    held.resolve(DONE);
    await stopping;
    expect((await queue.status()).inHand).toBe(0);
    expect(consumer.messages).toHaveLength(2);
    await other.close();
    await queue.close();
  });

  natsTest("and cannot be taken comes again by itself, after the ack wait, and is not given back", async () => {
    await using memphis = await startMemphis({ record: true });
    const queue = await open(memphis.url("one", { "ack-wait-ms": 1_000 }));
    const consumer = await consume(queue, ({ deliveries }) =>
      deliveries === 1 ? Promise.reject(new Error("a bug")) : Promise.resolve(DONE),
    );
    await publish(queue, "a");
    await eventually(() => consumer.messages.length === 2);
    expect(consumer.messages.map(({ deliveries }) => deliveries)).toEqual([1, 2]);
    await eventually(async () => (await queue.status()).inHand === 0);
    expect(memphis.frames.filter(({ payload }) => payload.toString().startsWith("-NAK"))).toEqual([]);
    await queue.close();
  });
});

describe.concurrent("a store that is away", () => {
  natsTest(
    "for longer than the ack wait costs no delivery: nothing is given back, nothing comes twice",
    async () => {
      await using memphis = await startMemphis({ record: true });
      const ackWaitMs = 1_000;
      const queue = await open(memphis.url("one", { "ack-wait-ms": ackWaitMs }));
      const ids = Array.from({ length: 40 }, (_, index) => `event-${index}`);
      const back = Promise.withResolvers<void>();
      // As the control plane does: what it has in hand it tries until the store is there, and asks for no more.
      const consumer = await consume(
        queue,
        async () => {
          await back.promise;
          return DONE;
        },
        8,
      );
      await Promise.all(ids.map((id, index) => publish(queue, id, (index % 3) - 1)));
      await eventually(() => consumer.messages.length === 8);
      consumer.consumption.pause();
      const untilMs = performance.now() + 2.5 * ackWaitMs;
      await eventually(() => performance.now() > untilMs, { timeoutMs: 10_000 });
      expect(consumer.messages).toHaveLength(8);
      const status = await queue.status();
      expect(status.inHand).toBeLessThanOrEqual(8 + 3);
      expect(status.inHand + status.waiting.urgent + status.waiting.normal + status.waiting.low).toBe(40);
      back.resolve();
      consumer.consumption.resume();
      await eventually(() => consumer.messages.length === 40);
      await eventually(async () => (await queue.status()).inHand === 0);
      expect(consumer.ids().toSorted()).toEqual(ids.toSorted());
      expect(consumer.messages.map(({ deliveries }) => deliveries)).toEqual(ids.map(() => 1));
      const said = memphis.frames.filter(({ from, args }) => from === "client" && args[0]?.startsWith("$JS.ACK.") === true);
      expect(said.filter(({ payload }) => payload.toString().startsWith("-NAK"))).toEqual([]);
      expect(said.filter(({ payload }) => payload.toString() === "+WPI").length).toBeGreaterThanOrEqual(8 * 2);
      expect(memphis.letters).toEqual([]);
      await queue.close();
    },
    30_000,
  );
});
