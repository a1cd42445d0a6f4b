import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect as dial } from "node:net";
import { join } from "node:path";
import { createInbox, headers as newHeaders, type Msg, type NatsConnection } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openQueue, type Settlement } from "../../src/queues/mod.ts";
import { eventually } from "../support/eventually.ts";
import { type Memphis, PASSWORD, startMemphis, TOKEN } from "../support/memphis.ts";
import type { Frame } from "../support/memphis-gateway.ts";
import { natsTest, SKIP_NATS } from "../support/nats.ts";

type Json = Readonly<Record<string, unknown>>;
interface Recorded {
  readonly from: "client" | "server";
  readonly op: string;
  readonly subject?: string;
  readonly reply?: string;
  readonly args?: string;
  readonly headers?: Readonly<Record<string, readonly string[]>>;
  readonly json?: Json;
  readonly payload?: string;
}
interface ControlVector {
  readonly what: string;
  readonly subject: string;
  readonly request: Json | string;
  readonly replies: readonly { readonly text?: string; readonly json?: Json }[];
}
interface Observed<T> {
  readonly what: string;
  readonly result: T;
}

const FIXTURES = join(import.meta.dir, "../fixtures/memphis");
const linesOf = async <T>(name: string): Promise<T[]> =>
  (await Bun.file(join(FIXTURES, name)).text())
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as T);
const recorded = await linesOf<Recorded>("frames.jsonl");
const recordedWithPassword = await linesOf<Recorded>("password-mode.jsonl");
const controlVectors = await linesOf<ControlVector>("control.jsonl");
const vectors = (await Bun.file(join(FIXTURES, "vectors.json")).json()) as {
  readonly connect_vectors: Readonly<Record<"token_mode" | "user_password_mode", readonly Observed<string>[]>>;
  readonly publish_vectors: readonly Observed<string | { readonly stream: string; readonly seq: number; readonly duplicate: boolean }>[];
  readonly stream_configs: readonly Observed<{ readonly config: Json; readonly messages: number }>[];
  readonly consumer_configs: readonly Observed<string | Json>[];
  readonly partition_key_vectors: { readonly observed: Readonly<Record<string, number>> };
  readonly dead_letter_observed: { readonly resend: { readonly headers: Json }; readonly resend_ack: { readonly json: Json } };
};

/** The first operation of the recorded client that is one of these. */
function theirs(op: string, subject: string): Recorded {
  const found = recorded.find(
    (frame) => frame.from === "client" && frame.op === op && (frame.subject ?? frame.args ?? "").startsWith(subject),
  );
  if (found === undefined) throw new Error(`nothing recorded of ${op} ${subject}`);
  return found;
}

const jsonOf = (frame: { readonly payload: Buffer }): Json => JSON.parse(frame.payload.toString("utf8")) as Json;
const encoder = new TextEncoder();

describe("our client says what the recorded client said", () => {
  let frames: readonly Frame[] = [];
  beforeAll(async () => {
    if (SKIP_NATS) return;
    await using memphis = await startMemphis({ record: true });
    const parameters = {
      producer: "transporter",
      consumer: "transporter.group",
      "retention-seconds": 3_600,
      "ack-wait-ms": 2_000,
      "max-deliveries": 2,
    };
    const queue = await openQueue(memphis.url("Transporter-Events", parameters), { log: silentLogger, ports: systemPorts });
    for (const id of ["id-0", "id-1"]) await queue.publish({ id, body: encoder.encode("{}"), priority: 0 });
    const dead: Settlement = { kind: "dead", code: "INVALID_EVENT", reason: "cannot parse", eventId: undefined };
    const consumption = await queue.consume({
      window: 10,
      onState: () => undefined,
      take: async ({ id }) => (id === "id-0" ? { kind: "done" } : dead),
    });
    await eventually(() => memphis.letters.length === 1);
    const [letter] = memphis.letters;
    await eventually(async () => (await queue.status()).inHand === 0);
    // Waiting at all three stations by now; the letter comes back, and is done with it.
    if (letter !== undefined) await memphis.responder.resend({ ...letter, headers: { ...letter.headers, "msg-id": ["id-0"] } });
    await eventually(() => memphis.letters.length === 0);
    await eventually(() => memphis.frames.some((frame) => frame.op === "PUB" && frame.payload.includes('"expires"')));
    await consumption.stop(1_000);
    await queue.close();
    frames = [...memphis.frames];
  }, 30_000);

  const ours = (op: string, subject: string): Frame[] =>
    frames.filter((frame) => frame.from === "client" && frame.op === op && frame.args[0]?.startsWith(subject) === true);
  const first = (op: string, subject: string): Frame => {
    const found = ours(op, subject)[0];
    if (found === undefined) throw new Error(`we sent no ${op} ${subject}`);
    return found;
  };

  test.skipIf(SKIP_NATS)("CONNECT, in connection-token mode", () => {
    const said = jsonOf(frames.find(({ op }) => op === "CONNECT") as Frame);
    const { name, lang: _lang, version: _version, echo: _echo, tls_required: _tls, auth_token, ...same } = theirs("CONNECT", "").json ?? {};
    expect(auth_token).toBeString();
    expect(said).toMatchObject({ ...same, auth_token: TOKEN });
    expect(String(said["name"])).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}::root$/);
    expect(String(name)).toMatch(/^[0-9a-f-]{36}::root$/);
    // Left out means yes, and no TLS.
    expect([said["echo"] ?? true, said["tls_required"] ?? false]).toEqual([true, false]);
    for (const absent of ["user", "pass"]) expect(said[absent]).toBeUndefined();
  });

  natsTest("CONNECT, in user/password mode", async () => {
    await using memphis = await startMemphis({ auth: "password", record: true });
    const queue = await openQueue(memphis.url("one"), { log: silentLogger, ports: systemPorts });
    await queue.publish({ id: "id", body: encoder.encode("{}"), priority: 0 });
    await queue.close();
    const said = jsonOf(memphis.frames.find(({ op }) => op === "CONNECT") as Frame);
    const theirs = recordedWithPassword.find(({ op }) => op === "CONNECT")?.json ?? {};
    expect(said).toMatchObject({ user: theirs["user"], pass: PASSWORD });
    expect(said["auth_token"]).toBeUndefined();
    expect(String(said["name"])).toMatch(/^[0-9a-f-]{36}::root$/);
  });

  /** What has to be of our own, and is a text in the recording too. */
  const own = (body: Json, names: readonly string[]): Json =>
    Object.fromEntries(
      names.map((name) => {
        expect(body[name]).toBeString();
        return [name, body[name]];
      }),
    );

  test.skipIf(SKIP_NATS)("the creation of a station", () => {
    const recordedBody = recorded.filter(({ subject }) => subject === "$memphis_station_creations")[1]?.json ?? {};
    expect(recordedBody["name"]).toBe("transporter-events");
    expect(jsonOf(first("PUB", "$memphis_station_creations"))).toEqual(recordedBody);
    expect(ours("PUB", "$memphis_station_creations").map((frame) => jsonOf(frame)["name"])).toContain("transporter-events.urgent");
  });

  test.skipIf(SKIP_NATS)("the creation of a producer", () => {
    const said = jsonOf(first("PUB", "$memphis_producer_creations"));
    const { json = {} } = theirs("PUB", "$memphis_producer_creations");
    expect(said).toEqual({ ...json, ...own(said, ["connection_id", "app_id"]), sdk_lang: "node.js" });
    expect(Object.keys(json)).toEqual(Object.keys(said));
  });

  test.skipIf(SKIP_NATS)("the creation of a consumer", () => {
    const said = jsonOf(
      ours("PUB", "$memphis_consumer_creations").find((frame) => jsonOf(frame)["station_name"] === "transporter-events") as Frame,
    );
    const { json = {} } = theirs("PUB", "$memphis_consumer_creations");
    expect(said).toEqual({ ...json, ...own(said, ["connection_id", "app_id"]), sdk_lang: "node.js", name: "transporter.group" });
    expect(Object.keys(json)).toEqual(Object.keys(said));
  });

  test.skipIf(SKIP_NATS)("the look at a durable", () => {
    const subject = theirs("PUB", "$JS.API.CONSUMER.INFO.").subject ?? "";
    expect(first("PUB", subject)).toMatchObject({ args: [subject, expect.any(String)], payload: Buffer.alloc(0) });
  });

  test.skipIf(SKIP_NATS)("a message", () => {
    const { subject = "", headers } = theirs("HPUB", "transporter-events$1.final");
    const said = first("HPUB", subject);
    expect(said.args).toEqual([subject, expect.stringMatching(/^_INBOX\./)]);
    const { "x-transporter-kind": _theirOwn, ...same } = headers ?? {};
    expect(said.headers).toEqual({ ...same, $memphis_connectionId: [said.headers?.["$memphis_connectionId"]?.[0] ?? ""] });
    expect(said.headers?.["msg-id"]).toEqual(["id-0"]);
    // The same as in the connection's name, which is what ties the two together.
    expect(said.headers?.["$memphis_connectionId"]).toEqual([
      String(jsonOf(frames.find(({ op }) => op === "CONNECT") as Frame)["name"]).split("::")[0] ?? "",
    ]);
  });

  test.skipIf(SKIP_NATS)("pulls: waiting as the recorded client does, and asking for what is there as nats-server has it", () => {
    const { subject = "", json = {} } = theirs("PUB", "$JS.API.CONSUMER.MSG.NEXT.");
    const pulls = ours("PUB", subject).map(jsonOf);
    const waiting = pulls.filter((body) => "expires" in body);
    expect(waiting.length).toBeGreaterThan(0);
    for (const body of waiting) expect(body).toEqual({ ...json, expires: 5_000_000_000, batch: 1 });
    for (const body of pulls.filter((body) => !("expires" in body))) expect(body).toEqual({ batch: expect.any(Number), no_wait: true });
  });

  test.skipIf(SKIP_NATS)("what becomes of a message", () => {
    const words = recorded.filter(({ op, subject }) => op === "PUB" && subject?.startsWith("$JS.ACK.transporter-events$1.") === true);
    const shape = (subject: string): string => subject.replace(/(\.\d+){5}$/, ".N");
    const said = frames.filter(
      ({ from, op, args }) => from === "client" && op === "PUB" && args[0]?.startsWith("$JS.ACK.transporter-events$1") === true,
    );
    const known = new Map(words.map(({ subject = "", payload }) => [payload ?? "", shape(subject)]));
    for (const word of ["+ACK", "+TERM"]) {
      const frame = said.find(({ payload }) => payload.toString() === word);
      expect(shape(frame?.args[0] ?? "")).toBe(known.get(word) ?? "nothing recorded");
      // Ours wants to hear that it was heard.
      expect(frame?.args[1]).toStartWith("_INBOX.");
    }
    expect(frames.some(({ from, payload }) => from === "client" && payload.toString().startsWith("-NAK"))).toBe(false);
  });

  test.skipIf(SKIP_NATS)("the notice of a dead letter", () => {
    const { json = {} } = theirs("PUB", "$memphis_nacked_dls");
    const said = first("PUB", "$memphis_nacked_dls");
    expect(said.args).toEqual(["$memphis_nacked_dls"]);
    expect(jsonOf(said)).toEqual({ ...json, error: "INVALID_EVENT: cannot parse", seq: 2 });
  });

  test.skipIf(SKIP_NATS)("listening for dead letters that are sent again, and saying that one is done", () => {
    const subscribed = frames.filter(
      ({ from, op, args }) => from === "client" && op === "SUB" && args[0]?.startsWith("$memphis_dls_transporter-events.transporter"),
    );
    const withoutNumber = (args: string): string => args.replace(/ +\d+$/, "");
    expect(subscribed.map(({ args }) => withoutNumber(args[0] ?? ""))).toEqual([withoutNumber(theirs("SUB", "$memphis_dls_").args ?? "")]);
    const acks = ours("PUB", "$memphis_pm_acks");
    expect(acks).toHaveLength(1);
    const said = jsonOf(acks[0] as Frame);
    expect(said).toEqual({ id: 1, cg_name: "transporter.group" });
    expect(Object.keys(said)).toEqual(Object.keys(vectors.dead_letter_observed.resend_ack.json));
  });

  test.skipIf(SKIP_NATS)("nothing that would lose the group's position", () => {
    expect(frames.filter(({ args }) => args[0]?.includes("_destructions") === true)).toEqual([]);
  });
});

describe.skipIf(SKIP_NATS)("the double answers what the real broker answered", () => {
  let memphis: Memphis;
  let client: NatsConnection;
  beforeAll(async () => {
    memphis = await startMemphis();
    client = await connect({ servers: `127.0.0.1:${memphis.port}`, token: TOKEN, name: "19fc1963::root" });
  }, 30_000);
  afterAll(async () => {
    await client.close();
    await memphis[Symbol.asyncDispose]();
  });

  /** All replies to one request, once as many came as are wanted. More are found by `surplus`. */
  const inboxes: { readonly what: string; readonly wanted: number; readonly replies: Msg[] }[] = [];
  async function ask(what: string, subject: string, body: string, wanted: number): Promise<Msg[]> {
    const replies: Msg[] = [];
    const inbox = createInbox();
    client.subscribe(inbox, { callback: (_error, message) => void replies.push(message) });
    client.publish(subject, body, { reply: inbox });
    await eventually(() => replies.length >= wanted, { what });
    inboxes.push({ what, wanted, replies });
    return replies;
  }
  const contentOf = (reply: Msg): { text?: string; json?: unknown } => {
    const text = reply.string();
    return text.startsWith("{") ? { json: JSON.parse(text) } : { text };
  };

  test("control requests, their refusals and traps, in order; messages, streams and durables in between", async () => {
    const durables = async (from: number, to: number): Promise<void> => {
      for (const { what, result } of vectors.consumer_configs.slice(from, to)) {
        const info = await client.request(`$JS.API.CONSUMER.INFO.probe$1.${what.split(" ")[0]}`, "", { timeout: 10_000 });
        const { config, error } = info.json<{ config?: Json; error?: { description: string } }>();
        if (typeof result === "object") expect(config, what).toMatchObject(result);
        else if (result === "consumer not found") expect(error?.description, what).toBe(result);
        else expect(config?.["durable_name"], what).toBe(result);
      }
    };
    for (const [index, { what, subject, request, replies }] of controlVectors.entries()) {
      const before = controlVectors[index - 1];
      if (subject.endsWith("producer_destructions") && before?.subject.endsWith("consumer_creations") === true) {
        await publishing();
        for (const { what, result } of vectors.stream_configs) {
          const info = (await client.request(`$JS.API.STREAM.INFO.${what}`, "", { timeout: 10_000 })).json<{ config: Json; state: Json }>();
          // A word of Memphis's own that a plain nats-server does not know.
          const { tiered_storage_enabled: _unknown, ...config } = result.config;
          expect(info.config, what).toMatchObject(config);
          expect(info.state["messages"], what).toBe(result.messages);
        }
        await durables(0, 7);
      }
      const body = typeof request === "string" ? request : JSON.stringify(request);
      const came = await ask(`${subject}: ${what}`, subject, body, replies.length);
      expect(came.map(contentOf), `${subject}: ${what}`).toEqual(replies.map((reply) => ({ ...reply })));
      if (what === "one of several members") await durables(7, 8);
      if (what === "member cc4") await durables(8, 9);
    }
    await client.flush();
    expect(inboxes.filter(({ wanted, replies }) => replies.length !== wanted).map(({ what }) => what)).toEqual([]);
    expect(inboxes.length).toBeGreaterThanOrEqual(controlVectors.length);
  });

  async function publishing(): Promise<void> {
    const sent: Readonly<Record<string, { readonly subject: string; readonly header?: readonly [string, string] }>> = {
      "no headers at all": { subject: "probe$1.final" },
      "no producer header, station with no producer": { subject: "probe-min$1.final", header: ["x", "y"] },
      "msg-id first": { subject: "probe$1.final", header: ["msg-id", "m1"] },
      "msg-id again": { subject: "probe$1.final", header: ["msg-id", "m1"] },
      "Nats-Msg-Id first": { subject: "probe$1.final", header: ["Nats-Msg-Id", "n1"] },
      "Nats-Msg-Id again": { subject: "probe$1.final", header: ["Nats-Msg-Id", "n1"] },
      "subject without .final (x.other)": { subject: "probe$1.other" },
      "no such partition": { subject: "probe$2.final" },
    };
    for (const { what, result } of vectors.publish_vectors) {
      const { subject, header } = sent[what] ?? { subject: "unknown" };
      const made = newHeaders();
      if (header !== undefined) made.set(...header);
      const reply = client.request(subject, "x", { timeout: 10_000, ...(header === undefined ? {} : { headers: made }) });
      if (typeof result === "string") await expect(reply, what).rejects.toThrow("no responders");
      else {
        const { stream, seq, duplicate } = (await reply).json<{ stream: string; seq: number; duplicate?: boolean }>();
        expect({ stream, seq, duplicate: duplicate === true }, what).toEqual(result);
      }
    }
  }

  test("the control requests of the recorded connection", async () => {
    const [, ...frames] = recorded;
    for (const [index, { from, subject = "", reply = "", json }] of frames.entries()) {
      if (from !== "client" || !subject.startsWith("$memphis_") || reply === "") continue;
      const replies = frames.slice(index).filter((frame) => frame.from === "server" && frame.subject === reply);
      const came = await ask(subject, subject, JSON.stringify(json), replies.length);
      expect(came.map(contentOf), JSON.stringify(json)).toEqual(
        replies.map((frame) => (frame.json === undefined ? { text: frame.payload ?? "" } : { json: frame.json })),
      );
    }
  });

  const uuid = "19fc1963-c358-4b71-8649-4ab21d3ccc45";
  const asked: Readonly<Record<"token_mode" | "user_password_mode", Readonly<Record<string, Json>>>> = {
    token_mode: {
      "token, name <uuid>::root": { auth_token: TOKEN, name: `${uuid}::root` },
      "token, name <uuid>::ROOT (case)": { auth_token: TOKEN, name: `${uuid}::ROOT` },
      "token, name without '::'": { auth_token: TOKEN, name: uuid },
      "token 'root::memphis', name without '::'": { auth_token: `root::${TOKEN}`, name: uuid },
      "token 'root$1::memphis', name without '::'": { auth_token: `root$1::${TOKEN}`, name: uuid },
      "token 'root::memphis', no name": { auth_token: `root::${TOKEN}` },
      "token, name <uuid>::nosuchuser": { auth_token: TOKEN, name: `${uuid}::nosuchuser` },
      "token, name a::root::x": { auth_token: TOKEN, name: "a::root::x" },
      "wrong token": { auth_token: "wrong", name: `${uuid}::root` },
      "no token": { name: `${uuid}::root` },
      "user/password in token mode": { user: "root$1", pass: PASSWORD, name: `${uuid}::root` },
    },
    user_password_mode: {
      "root$1/password, name ::root": { user: "root$1", pass: PASSWORD, name: `${uuid}::root` },
      "root (no $1)/password": { user: "root", pass: PASSWORD, name: `${uuid}::root` },
      "root$1/password, plain name": { user: "root$1", pass: PASSWORD, name: "plain" },
      "root$2/password": { user: "root$2", pass: PASSWORD, name: `${uuid}::root` },
      "wrong password": { user: "root$1", pass: "wrong", name: `${uuid}::root` },
      "token in user/pass mode": { auth_token: TOKEN, name: `${uuid}::root` },
    },
  };
  test.each([["token_mode"], ["user_password_mode"]] as const)("who is let in: %s", async (mode) => {
    await using place = await startMemphis({ auth: mode === "token_mode" ? "token" : "password" });
    for (const { what, result } of vectors.connect_vectors[mode]) {
      const said = asked[mode][what];
      if (said === undefined) throw new Error(`not tried: ${what}`);
      expect(await answerTo(place.port, said), what).toBe(result === "ok" ? "PONG" : "-ERR 'Authorization Violation'");
    }
  });

  test("a dead letter that is sent again", async () => {
    const body = { name: "dls.src", username: "root", partitions_number: 1 };
    await client.request("$memphis_station_creations", JSON.stringify(body), { timeout: 10_000 });
    const made = newHeaders();
    made.set("x-kind", "slow");
    await client.request("dls#src$1.final", '{"slow":1}', { timeout: 10_000, headers: made });
    client.publish(
      "$memphis_nacked_dls",
      JSON.stringify({ station_name: "dls#src", error: "x", partition: 1, cg_name: "dls.group", seq: 1 }),
    );
    const letter = await eventually(() => memphis.letters[0]);
    const came: Msg[] = [];
    for (const subject of ["$memphis_dls_dls#src.dls#group", "$memphis_dls_dls#src_dls#group"])
      client.subscribe(subject, { callback: (_error, message) => void came.push(message) });
    await client.flush();
    await memphis.responder.resend(letter);
    await eventually(() => came.length === 2);
    const { headers } = vectors.dead_letter_observed.resend;
    for (const { reply, data, headers: given } of came) {
      expect(reply ?? "").toBe("");
      expect(Buffer.from(data).toString()).toBe('{"slow":1}');
      const names = given?.keys() ?? [];
      expect(names.toSorted()).toEqual(
        Object.keys(headers)
          .filter((name) => name !== "$memphis_connectionId")
          .toSorted(),
      );
      expect(given?.get("$memphis_producedBy")).toBe(String(headers["$memphis_producedBy"]));
      expect(given?.get("$memphis_pm_cg_name")).toBe("dls.group");
    }
    client.publish("$memphis_pm_acks", JSON.stringify({ id: letter.id, cg_name: "dls.group" }));
    await eventually(() => memphis.letters.length === 0);
  });
});

/** The first that a server says to a CONNECT followed by a PING. */
async function answerTo(port: number, said: Json): Promise<string> {
  const answer = Promise.withResolvers<string>();
  const socket = dial(port, "127.0.0.1");
  let text = "";
  socket.on("data", (data: Buffer) => {
    const greeted = text !== "";
    text += data.toString("utf8");
    if (!greeted)
      socket.write(`CONNECT ${JSON.stringify({ verbose: false, pedantic: false, protocol: 1, headers: true, ...said })}\r\nPING\r\n`);
    const line = text.split("\r\n").find((one) => one.startsWith("PONG") || one.startsWith("-ERR"));
    if (line !== undefined) answer.resolve(line);
  });
  socket.on("error", (error) => answer.reject(error));
  socket.on("close", () => answer.resolve("closed"));
  try {
    return await answer.promise;
  } finally {
    socket.destroy();
  }
}
