import { headers as newHeaders, type Msg, type NatsConnection } from "@nats-io/nats-core";
import { connect, type NodeConnectionOptions } from "@nats-io/transport-node";

type Body = Readonly<Record<string, unknown>>;
/** What is sent to whoever asked, one message each. */
export type Replies = readonly (string | Body)[];

export interface StoredLetter {
  readonly id: number;
  readonly station: string;
  readonly group: string;
  readonly partition: number;
  readonly sequence: number;
  /** `nacked`: a consumer said so; `unacked`: its deliveries were used up. */
  readonly kind: "nacked" | "unacked";
  readonly reason: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly body: Uint8Array;
}

interface Station {
  readonly name: string;
  readonly partitions: readonly number[];
  readonly dlsStation: string;
  /** Group to its members and what they last asked for. */
  readonly groups: Map<string, { readonly members: Set<string>; ackWaitMs: number; deliveries: number }>;
}

const CONTROL = [
  "$memphis_station_creations",
  "$memphis_station_destructions",
  "$memphis_producer_creations",
  "$memphis_producer_destructions",
  "$memphis_consumer_creations",
  "$memphis_consumer_destructions",
] as const;
type Control = (typeof CONTROL)[number];

const SCHEMA = {
  schema_name: "",
  active_version: { version_number: 0, descriptor: "", schema_content: "", message_struct_name: "" },
  type: "",
};
const internal = (name: string): string => name.replaceAll(".", "#");
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const number = (value: unknown): number => (typeof value === "number" ? value : 0);

function nameFault(what: string, name: string): string | undefined {
  if (name === "") return `${what} name can not be empty`;
  if (!/^[a-z0-9_.-]*$/.test(name)) return `Only alphanumeric and the '_', '-', '.' characters are allowed in ${what}`;
  if (!/^[a-z0-9].*[a-z0-9]$|^[a-z0-9]$/.test(name)) return `${what} name can not start or end with non alphanumeric character`;
  return undefined;
}

/** Answers the control subjects of a Memphis broker on a plain nats-server, as a real one was seen to. */
export class Responder implements AsyncDisposable {
  /** Who exists in the broker. */
  readonly users = new Set(["root"]);
  readonly letters: StoredLetter[] = [];
  /** Takes over an answer: undefined for the usual one, nothing at all for silence. */
  intercept: ((subject: string, body: Body) => Replies | undefined) | undefined;
  /** Every control request that came. */
  readonly asked: { readonly subject: string; readonly body: Body }[] = [];
  readonly #stations = new Map<string, Station>();
  readonly #connection: NatsConnection;
  #letterId = 0;
  /** One request after the other, so that whoever is told of a station finds its streams. */
  #previous: Promise<unknown> = Promise.resolve();

  private constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  static async start(options: NodeConnectionOptions): Promise<Responder> {
    const connection = await connect({ maxReconnectAttempts: -1, reconnectTimeWait: 50, ignoreAuthErrorAbort: true, ...options });
    const responder = new Responder(connection);
    for (const subject of CONTROL) responder.#serve(subject, (message) => responder.#control(subject, message));
    responder.#serve("$memphis_nacked_dls", (message) => responder.#nacked(message));
    responder.#serve("$memphis_pm_acks", async (message) => responder.#resolved(message));
    responder.#serve("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", (message) => responder.#exhausted(message));
    await connection.flush();
    return responder;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
  }

  /** As the button in the broker's user interface: a plain message to the group, in both forms of the subject. */
  async resend(letter: StoredLetter): Promise<void> {
    const made = newHeaders();
    for (const [name, values] of Object.entries(letter.headers)) for (const value of values) made.append(name, value);
    made.set("$memphis_producedBy", "$memphis_dls");
    made.set("$memphis_pm_id", String(letter.id));
    made.set("$memphis_pm_cg_name", letter.group);
    for (const separator of [".", "_"])
      this.#connection.publish(`$memphis_dls_${internal(letter.station)}${separator}${internal(letter.group)}`, letter.body, {
        headers: made,
      });
    await this.#connection.flush();
  }

  /** As the broker's clean-up does with groups that nobody was in for hours. */
  forgetGroups(station: string): void {
    this.#stations.get(station)?.groups.clear();
  }

  /** A request to JetStream; what it says is an error is thrown. */
  async api(subject: string, body?: Body): Promise<Body> {
    const reply = await this.#connection.request(`$JS.API.${subject}`, body === undefined ? "" : JSON.stringify(body), { timeout: 15_000 });
    const json = reply.json<Body>();
    if (json["error"] !== undefined) throw new Error(`${subject}: ${JSON.stringify(json["error"])}`);
    return json;
  }

  #serve(subject: string, serve: (message: Msg) => Promise<void>): void {
    const serveOne = async (message: Msg): Promise<void> => {
      try {
        await serve(message);
      } catch {
        // A server that is killed in the middle takes the answer with it, as a broker does.
      }
    };
    this.#connection.subscribe(subject, {
      callback: (error, message) => {
        if (error === null) void serveOne(message);
      },
    });
  }

  async #control(subject: Control, message: Msg): Promise<void> {
    let body: Body | undefined;
    try {
      body = message.json<Body>();
    } catch {
      message.respond("invalid character 'o' in literal null (expecting 'u')");
      return;
    }
    this.asked.push({ subject, body });
    const turn = this.#previous.then(() => this.intercept?.(subject, body) ?? this.#answer(subject, body));
    this.#previous = turn.catch(() => undefined);
    for (const reply of await turn) message.respond(typeof reply === "string" ? reply : JSON.stringify(reply));
  }

  async #answer(subject: Control, body: Body): Promise<Replies> {
    switch (subject) {
      case "$memphis_station_creations":
        return [await this.#createStation(body)];
      case "$memphis_station_destructions":
        return [await this.#destroyStation(text(body["station_name"]).toLowerCase())];
      case "$memphis_producer_creations":
        return [await this.#createProducer(body)];
      case "$memphis_producer_destructions":
        return [""];
      case "$memphis_consumer_creations":
        return this.#createConsumer(body);
      case "$memphis_consumer_destructions":
        return [await this.#destroyConsumer(body)];
    }
  }

  async #createStation(body: Body): Promise<string> {
    if (number(body["partitions_number"]) === 0) return "you are using an old SDK, make sure to update your SDK";
    const name = text(body["name"]).toLowerCase();
    const fault = nameFault("Station", name);
    if (fault !== undefined) return fault;
    // The trap of the real one: nothing is made, and nothing is said.
    if (!this.users.has(text(body["username"]).toLowerCase())) return "";
    if (this.#stations.has(name)) return "";
    const count = number(body["partitions_number"]);
    if (count < 1 || count > 10_000) return `cannot create station with ${count} partitions (max:10000 min:1): Station -  ${name}, `;
    const retention = text(body["retention_type"]) || "message_age_sec";
    const value = body["retention_type"] === undefined ? 3_600 : number(body["retention_value"]);
    if (!["message_age_sec", "messages", "bytes", "ack_based"].includes(retention))
      return "retention type can be one of the following message_age_sec/messages/bytes/ack_based";
    const storage = text(body["storage_type"]) || "file";
    if (storage !== "file" && storage !== "memory") return "storage type can be one of the following file/memory";
    if (number(body["replicas"]) > 1) return "station can not be created, probably since replicas count is larger than the cluster size";
    const windowMs = number(body["idempotency_window_in_ms"]) || 120_000;
    if (retention === "message_age_sec" && windowMs > value * 1_000)
      return "idempotency window cannot be greater than the station retention";
    await this.#makeStation(name, count, retention, value, storage, windowMs, text(body["dls_station"]));
    return "";
  }

  async #makeStation(
    name: string,
    count = 1,
    retention = "message_age_sec",
    value = 3_600,
    storage = "file",
    windowMs = 120_000,
    dlsStation = "",
  ): Promise<Station> {
    const partitions = Array.from({ length: count }, (_, index) => index + 1);
    const station: Station = { name, partitions, dlsStation, groups: new Map() };
    this.#stations.set(name, station);
    for (const partition of partitions) {
      const stream = `${internal(name)}$${partition}`;
      await this.api(`STREAM.CREATE.${stream}`, {
        name: stream,
        subjects: [`${stream}.>`],
        retention: retention === "ack_based" ? "interest" : "limits",
        max_consumers: -1,
        max_msgs: retention === "messages" ? value : -1,
        max_bytes: retention === "bytes" ? value : -1,
        max_age: retention === "message_age_sec" ? value * 1_000_000_000 : 0,
        max_msgs_per_subject: -1,
        max_msg_size: -1,
        discard: "old",
        storage,
        num_replicas: 1,
        duplicate_window: windowMs * 1_000_000,
      });
    }
    if (dlsStation !== "" && !this.#stations.has(dlsStation)) await this.#makeStation(dlsStation);
    return station;
  }

  async #destroyStation(name: string): Promise<string> {
    const station = this.#stations.get(name);
    if (station === undefined) return "Station  does not exist";
    this.#stations.delete(name);
    for (const partition of station.partitions) await this.api(`STREAM.DELETE.${internal(name)}$${partition}`);
    return "";
  }

  async #createProducer(body: Body): Promise<Body> {
    const refuse = (error: string): Body => ({
      schema_update: SCHEMA,
      partitions_update: { partitions_list: null },
      schemaverse_to_dls: false,
      send_notification: false,
      station_version: 0,
      station_partitions_first_functions: null,
      error,
    });
    const user = text(body["username"]).toLowerCase();
    const fault = nameFault("Producer", text(body["name"]).toLowerCase()) ?? nameFault("Station", text(body["station_name"]).toLowerCase());
    if (fault !== undefined) return refuse(fault);
    if (number(body["req_version"]) < 2) return refuse("to produce to this station please upgrade your SDK version");
    if (!["application", "connector"].includes(text(body["producer_type"])))
      return refuse("producer type has to be one of the following application/connector");
    if (!this.users.has(user)) return refuse(`User ${user} does not exist`);
    const name = text(body["station_name"]).toLowerCase();
    const station = this.#stations.get(name) ?? (await this.#makeStation(name));
    return {
      schema_update: SCHEMA,
      partitions_update: { partitions_list: station.partitions },
      schemaverse_to_dls: true,
      send_notification: false,
      station_version: 2,
      station_partitions_first_functions: {},
      error: "",
    };
  }

  async #createConsumer(body: Body): Promise<Replies> {
    // Another trap: what was refused is answered a second time, as if it were not.
    const twice = (error: string): Replies => [error, { schema_update: SCHEMA, partitions_update: { partitions_list: [] }, error: "" }];
    const name = text(body["name"]).toLowerCase();
    const group = text(body["consumers_group"]).toLowerCase() || name;
    const fault =
      nameFault("Consumer", name) ?? nameFault("Consumer", group) ?? nameFault("Station", text(body["station_name"]).toLowerCase());
    if (fault !== undefined) return twice(fault);
    if (number(body["req_version"]) < 2) return twice("to consume from this station please upgrade your SDK version");
    const type = text(body["consumer_type"]);
    if (!["application", "connector"].includes(type))
      return twice(`consumer type has to be one of the following application/connector and not ${type}`);
    if (!this.users.has(text(body["username"]).toLowerCase())) return twice("user does not exist");
    const [start, last] = [number(body["start_consume_from_sequence"]), number(body["last_messages"])];
    if (start < 1) return ["startConsumeFromSequence has to be a positive number"];
    if (last < -1) return ["min value for LastMessages is -1"];
    if (start > 1 && last > -1) return ["consumer creation options can't contain both startConsumeFromSequence and lastMessages"];

    const stationName = text(body["station_name"]).toLowerCase();
    const station = this.#stations.get(stationName) ?? (await this.#makeStation(stationName));
    const asked = number(body["max_msg_deliveries"]);
    const deliveries = asked <= 0 || asked > 10 ? 10 : asked;
    const ackWaitMs = number(body["max_ack_time_ms"]) <= 0 ? 30_000 : number(body["max_ack_time_ms"]);
    const known = station.groups.get(group);
    if (known === undefined || known.ackWaitMs !== ackWaitMs || known.deliveries !== deliveries)
      for (const partition of station.partitions)
        await this.#makeDurable(`${internal(stationName)}$${partition}`, internal(group), known === undefined, {
          start,
          last,
          deliveries,
          ackWaitMs,
        });
    const entry = known ?? { members: new Set<string>(), ackWaitMs, deliveries };
    entry.members.add(name);
    Object.assign(entry, { ackWaitMs, deliveries });
    station.groups.set(group, entry);
    return [{ schema_update: SCHEMA, partitions_update: { partitions_list: station.partitions }, error: "" }];
  }

  async #makeDurable(
    stream: string,
    durable: string,
    fresh: boolean,
    ask: { readonly start: number; readonly last: number; readonly deliveries: number; readonly ackWaitMs: number },
  ): Promise<void> {
    const subject = `CONSUMER.DURABLE.CREATE.${stream}.${durable}`;
    let policy: Body = { deliver_policy: "all" };
    if (!fresh) {
      const { deliver_policy, opt_start_seq } = (await this.api(`CONSUMER.INFO.${stream}.${durable}`))["config"] as Body;
      policy = { deliver_policy, ...(opt_start_seq === undefined ? {} : { opt_start_seq }) };
    } else if (ask.last === 0) policy = { deliver_policy: "new" };
    else if (ask.last > 0) {
      const state = (await this.api(`STREAM.INFO.${stream}`))["state"] as Body;
      policy = { deliver_policy: "by_start_sequence", opt_start_seq: Math.max(1, number(state["last_seq"]) - ask.last + 1) };
    } else if (ask.start > 1) policy = { deliver_policy: "by_start_sequence", opt_start_seq: ask.start };
    await this.api(subject, {
      stream_name: stream,
      config: {
        durable_name: durable,
        ...policy,
        ack_policy: "explicit",
        ack_wait: ask.ackWaitMs * 1_000_000,
        max_deliver: ask.deliveries,
        filter_subject: `${stream}.final`,
        replay_policy: "instant",
        max_waiting: 512,
        max_ack_pending: -1,
      },
    });
  }

  async #destroyConsumer(body: Body): Promise<string> {
    const [name, stationName] = [text(body["name"]).toLowerCase(), text(body["station_name"]).toLowerCase()];
    const station = this.#stations.get(stationName);
    for (const [group, { members }] of station?.groups ?? []) {
      if (!members.delete(name)) continue;
      if (members.size === 0) {
        station?.groups.delete(group);
        for (const partition of station?.partitions ?? [])
          await this.api(`CONSUMER.DELETE.${internal(stationName)}$${partition}.${internal(group)}`);
      }
      return "";
    }
    return `Consumer ${name} at station ${stationName} does not exist`;
  }

  async #nacked(message: Msg): Promise<void> {
    const body = message.json<Body>();
    if (number(body["partition"]) < 1) return;
    const place = { partition: number(body["partition"]), sequence: number(body["seq"]), group: text(body["cg_name"]) };
    await this.#keep(text(body["station_name"]), place, "nacked", text(body["error"]));
  }

  async #exhausted(message: Msg): Promise<void> {
    const { stream, consumer, stream_seq } = message.json<Body>();
    const [name = "", partition = "1"] = text(stream).split("$");
    const place = { partition: Number(partition), sequence: number(stream_seq), group: text(consumer).replaceAll("#", ".") };
    await this.#keep(name, place, "unacked", "");
  }

  /** Once for each message and group, whoever says it how often. */
  async #keep(
    internalStation: string,
    place: { readonly partition: number; readonly sequence: number; readonly group: string },
    kind: StoredLetter["kind"],
    reason: string,
  ): Promise<void> {
    const station = internalStation.replaceAll("#", ".");
    const { message } = (await this.api(`STREAM.MSG.GET.${internalStation}$${place.partition}`, { seq: place.sequence })) as {
      readonly message: { readonly data?: string; readonly hdrs?: string };
    };
    const same = (letter: StoredLetter): boolean =>
      letter.station === station &&
      letter.partition === place.partition &&
      letter.sequence === place.sequence &&
      letter.group === place.group;
    if (this.letters.some(same)) return;
    const headers: Record<string, string[]> = {};
    for (const line of Buffer.from(message.hdrs ?? "", "base64")
      .toString("utf8")
      .split("\r\n")
      .slice(1)) {
      const colon = line.indexOf(":");
      if (colon > 0 && !/^nats-msg-id:/i.test(line)) (headers[line.slice(0, colon)] ??= []).push(line.slice(colon + 1).trim());
    }
    this.#letterId += 1;
    this.letters.push({ ...place, id: this.#letterId, station, kind, reason, headers, body: Buffer.from(message.data ?? "", "base64") });
  }

  #resolved(message: Msg): void {
    const { id } = message.json<Body>();
    const index = this.letters.findIndex((letter) => letter.id === id);
    if (index !== -1) this.letters.splice(index, 1);
  }
}
