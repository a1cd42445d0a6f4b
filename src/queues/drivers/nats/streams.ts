import {
  AckPolicy,
  type ConsumerConfig,
  DeliverPolicy,
  DiscardPolicy,
  type JetStreamManager,
  ReplayPolicy,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { type Logger, TransporterError } from "../../../kit/mod.ts";
import { NS_PER_MS } from "../../../protocol/mod.ts";
import { type Band, BANDS } from "../../port.ts";
import { consumerOf, FEWEST_DELIVERIES, type NatsAddress, subjectOf, subjectsOf } from "./address.ts";
import { API_CODE, apiCodeOf } from "./fault.ts";

/** Of a consumer as it is, whoever made it. */
export interface ConsumerTraits {
  readonly ackWaitMs: number;
  /** Handed out this often, the message is dead. */
  readonly maxDeliver: number;
}

/** So often more does the server hand out what no control plane settles; it then says so, and the control planes put it apart. */
const SERVER_DELIVERIES_MORE = 10;
/** Over all control planes: more than their windows together. */
const MAX_ACK_PENDING = 20_000;
const FEWEST_ACK_PENDING = 256;

function invalid(message: string, remedy: string): TransporterError {
  return new TransporterError("QUEUE_INVALID", message, { remedy });
}

/** Whether a subject without wildcards falls under a pattern. */
export function covers(pattern: string, subject: string): boolean {
  const [wanted, tokens] = [pattern.split("."), subject.split(".")];
  for (const [index, token] of wanted.entries()) {
    if (token === ">") return tokens.length > index;
    if (tokens[index] === undefined || (token !== "*" && token !== tokens[index])) return false;
  }
  return wanted.length === tokens.length;
}

/** Whatever its type says, a stream that is fed by others alone has none. */
export function subjectsIn(config: Pick<Partial<StreamConfig>, "subjects">): readonly string[] {
  return config.subjects ?? [];
}

async function found<T>(asking: Promise<T>, codes: readonly number[]): Promise<T | undefined> {
  try {
    return await asking;
  } catch (error) {
    if (codes.includes(apiCodeOf(error) ?? 0)) return undefined;
    throw error;
  }
}

/** The stream as it is; made where it is not there. Two control planes that start at once both come here. */
async function streamOf(
  manager: JetStreamManager,
  wanted: Partial<StreamConfig> & { readonly name: string },
  log: Logger,
): Promise<StreamConfig> {
  const there = await found(manager.streams.info(wanted.name), [API_CODE.streamNotFound]);
  if (there !== undefined) return there.config;
  const made = await found(manager.streams.add(wanted), [API_CODE.streamNameInUse]);
  if (made === undefined) return (await manager.streams.info(wanted.name)).config;
  log.info("Made the stream", { stream: wanted.name, subjects: wanted.subjects?.join(" ") });
  return made.config;
}

/**
 * The stream of events: made, or adopted as it is. Its retention is that of a work queue: what is settled is gone, and two installations
 * cannot take the same messages by accident. It has no age limit of its own, for what nobody took in time must not vanish without a word:
 * it is taken one day, found expired, and put among the dead letters. Throws QUEUE_INVALID when what is there cannot keep the promise.
 */
export async function ensureStream(manager: JetStreamManager, address: NatsAddress, log: Logger): Promise<StreamConfig> {
  const config = await streamOf(
    manager,
    {
      name: address.stream,
      description: "Events on their way to Transporter's control planes",
      subjects: subjectsOf(address),
      retention: RetentionPolicy.Workqueue,
      storage: StorageType.File,
      // Whoever publishes is told when it is full; nothing that was taken in is pushed out.
      discard: DiscardPolicy.New,
      max_age: nanos(address.maxAgeMs),
      max_bytes: address.maxBytes,
      duplicate_window: nanos(address.maxAgeMs > 0 ? Math.min(address.dedupMs, address.maxAgeMs) : address.dedupMs),
      num_replicas: address.replicas,
    },
    log,
  );
  const fault = faultOf(config, address);
  if (fault !== undefined)
    throw invalid(
      `stream ${address.stream} is there already and ${fault}`,
      "Change the stream, or name another one in the queue's URL; Transporter makes one that fits when there is none.",
    );
  if (config.max_age > 0 && config.max_age !== nanos(address.maxAgeMs))
    log.warn("The stream drops messages by age, without a dead letter", {
      stream: address.stream,
      max_age_s: Math.round(config.max_age / NS_PER_MS / 1000),
    });
  if (config.num_replicas < address.replicas)
    log.warn("The stream has fewer replicas than asked for", { stream: address.stream, replicas: config.num_replicas });
  return config;
}

/** What about a stream that exists breaks the promise that what was published is handed out until it is settled. */
function faultOf(config: StreamConfig, address: NatsAddress): string | undefined {
  const subjects = subjectsIn(config);
  const missing = subjectsOf(address).find((subject) => !subjects.some((pattern) => covers(pattern, subject)));
  if (missing !== undefined) return `does not take the subject ${missing}`;
  if (config.storage !== StorageType.File) return "is kept in memory: a restart of the server would lose what waits";
  if (config.retention === RetentionPolicy.Interest)
    return "has retention `interest`: what is published while no consumer exists would be lost";
  if (config.no_ack === true) return "has `no_ack`: nobody is told that a message was stored";
  if (config.sealed) return "is sealed";
  if (config.mirror !== undefined) return "is a mirror";
  if (config.discard === DiscardPolicy.Old && (config.max_msgs > 0 || config.max_bytes > 0 || config.max_msgs_per_subject > 0))
    return "discards the oldest waiting messages when it is full";
  return undefined;
}

/** The stream of dead letters. One that exists only has to take their subject. */
export async function ensureDeadStream(manager: JetStreamManager, address: NatsAddress, log: Logger): Promise<void> {
  const config = await streamOf(
    manager,
    {
      name: address.deadStream,
      description: "Messages that Transporter's control planes could not take in, with the reason",
      subjects: [address.deadSubject],
      retention: RetentionPolicy.Limits,
      storage: StorageType.File,
      discard: DiscardPolicy.Old,
      max_age: nanos(address.deadMaxAgeMs),
      duplicate_window: nanos(address.deadMaxAgeMs > 0 ? Math.min(120_000, address.deadMaxAgeMs) : 120_000),
      num_replicas: address.replicas,
    },
    log,
  );
  if (!subjectsIn(config).some((pattern) => covers(pattern, address.deadSubject)))
    throw invalid(
      `stream ${address.deadStream} is there already and does not take the subject ${address.deadSubject}`,
      "Add the subject to the stream, or name another one by dead-stream in the queue's URL.",
    );
}

/** One durable consumer for each band, made or adopted as it is. */
export async function ensureConsumers(
  manager: JetStreamManager,
  address: NatsAddress,
  log: Logger,
): Promise<Readonly<Record<Band, ConsumerTraits>>> {
  const traits = await Promise.all(BANDS.map(async (band) => [band, await ensureConsumer(manager, address, band, log)] as const));
  return Object.fromEntries(traits) as Record<Band, ConsumerTraits>;
}

async function ensureConsumer(manager: JetStreamManager, address: NatsAddress, band: Band, log: Logger): Promise<ConsumerTraits> {
  const [name, subject] = [consumerOf(address, band), subjectOf(address, band)];
  const there = await found(manager.consumers.info(address.stream, name), [API_CODE.consumerNotFound]);
  const info =
    there ??
    // The same settings again are no fault: two control planes that start at once both make it.
    (await manager.consumers.add(address.stream, {
      durable_name: name,
      description: `Transporter's control planes, ${band} events`,
      filter_subject: subject,
      ack_policy: AckPolicy.Explicit,
      ack_wait: nanos(address.ackWaitMs),
      max_deliver: address.maxDeliver + SERVER_DELIVERIES_MORE,
      max_ack_pending: MAX_ACK_PENDING,
      deliver_policy: DeliverPolicy.All,
      replay_policy: ReplayPolicy.Instant,
      inactive_threshold: 0,
    }));
  if (there === undefined) log.info("Made the consumer", { stream: address.stream, consumer: name });
  const { config } = info;
  const fault = consumerFault(config, subject);
  if (fault !== undefined)
    throw invalid(
      `consumer ${name} of stream ${address.stream} is there already and ${fault}`,
      "Delete or change it, or name others by consumer=PREFIX in the queue's URL; Transporter makes those that fit when there are none.",
    );
  const ackWaitMs = Math.min(config.ack_wait ?? nanos(30_000), ...(config.backoff ?? [])) / NS_PER_MS;
  const served = config.max_deliver ?? -1;
  if (there !== undefined && Math.round(ackWaitMs) !== address.ackWaitMs)
    log.info("The consumer has an ack wait of its own, which is kept", { consumer: name, ack_wait_ms: Math.round(ackWaitMs) });
  if ((config.max_ack_pending ?? -1) > 0 && (config.max_ack_pending ?? 0) < FEWEST_ACK_PENDING)
    log.warn("The consumer allows few messages in hand, over all control planes", {
      consumer: name,
      max_ack_pending: config.max_ack_pending,
    });
  return { ackWaitMs, maxDeliver: served > 0 ? Math.min(address.maxDeliver, served) : address.maxDeliver };
}

function consumerFault(config: ConsumerConfig, subject: string): string | undefined {
  const filters =
    config.filter_subjects ?? (config.filter_subject === undefined || config.filter_subject === "" ? [] : [config.filter_subject]);
  if (filters.length !== 1 || filters[0] !== subject) return `does not filter for ${subject} alone`;
  if (config.ack_policy !== AckPolicy.Explicit) return "does not want each message acknowledged by itself (ack policy explicit)";
  if (config.deliver_subject !== undefined) return "pushes; a pull consumer is needed";
  if (config.deliver_policy !== DeliverPolicy.All) return "does not begin with the first message (deliver policy all)";
  if (config.headers_only === true) return "hands out headers only";
  if (config.mem_storage === true) return "is kept in memory: a restart would hand out again what is in hand, and forget how often it was";
  if (Math.min(config.ack_wait ?? nanos(30_000), ...(config.backoff ?? [])) < nanos(1_000)) return "has an ack wait of less than a second";
  const deliveries = config.max_deliver ?? -1;
  if (deliveries > 0 && deliveries < FEWEST_DELIVERIES)
    return `hands out a message ${deliveries} times at most: restarts of control planes would use them up; ${FEWEST_DELIVERIES} are needed`;
  return undefined;
}
