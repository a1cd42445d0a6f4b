import {
  QUEUE_SETTINGS,
  type QueueTarget,
  COMMON_SETTINGS,
  integerOr,
  memphisQueue,
  queueOfUrl,
  queueUrlSetting,
} from "../../config/mod.ts";
import { TransporterError, silentLogger } from "../../kit/mod.ts";
import { LIMITS, formatTimestamp } from "../../protocol/mod.ts";
import type { DeadLetter, DeadLetters, QueueInfo, QueueObserver, QueueStatus } from "../../queues/mod.ts";
import { age } from "../age.ts";
import { type Call, command } from "../command.ts";
import { forEach } from "../each.ts";
import { EXIT } from "../exit.ts";
import { statusOf } from "../queue-status.ts";
import { OUTPUT_SETTINGS, type Shape, outputOf, printList, printOne } from "../output.ts";
import { safeLine } from "../text.ts";

const SETTINGS = {
  queue: queueUrlSetting("Queue to look at, as `transporter cp` is given it; without it the Memphis that the --memphis flags name"),
  ...QUEUE_SETTINGS,
  ...COMMON_SETTINGS,
} as const;

function targetOf(call: Call<typeof SETTINGS>): QueueTarget {
  const { values, origins } = call;
  if (values.queue !== undefined) return queueOfUrl(values.queue, values, undefined);
  if (origins["memphis-host"].from !== "default") return memphisQueue(values, origins);
  throw new TransporterError("USAGE", "--queue is required: it names the queue", {
    remedy: "Give --queue URL, TRANSPORTER_QUEUE, or queue in the configuration file.",
  });
}

async function withQueue(call: Call<typeof SETTINGS>, use: (queue: QueueObserver) => Promise<number>): Promise<number> {
  const { url, secrets } = targetOf(call);
  const { openQueueObserver } = await import("../../queues/mod.ts");
  const queue = await openQueueObserver(url, { log: silentLogger, ports: call.ports, secrets });
  try {
    return await use(queue);
  } finally {
    await queue.close();
  }
}

interface StatusView {
  readonly driver: QueueInfo["driver"];
  readonly location: string;
  readonly name: string;
  readonly waiting: QueueStatus["waiting"];
  readonly in_hand: number;
  readonly dead?: number;
  readonly oldest_waiting_since?: string;
  readonly max_message_bytes: number;
}

function statusShape(nowMs: number): Shape<StatusView> {
  return {
    name: (view) => `queue/${view.name}`,
    columns: [
      { head: "NAME", cell: (view) => view.name },
      { head: "DRIVER", cell: (view) => view.driver, wide: true },
      { head: "ADDRESS", cell: (view) => view.location },
      { head: "URGENT", cell: (view) => String(view.waiting.urgent) },
      { head: "NORMAL", cell: (view) => String(view.waiting.normal) },
      { head: "LOW", cell: (view) => String(view.waiting.low) },
      { head: "IN HAND", cell: (view) => String(view.in_hand) },
      { head: "DEAD", cell: (view) => (view.dead === undefined ? "" : String(view.dead)) },
      { head: "OLDEST", cell: (view) => age(view.oldest_waiting_since, nowMs) },
      { head: "MAX BYTES", cell: (view) => String(view.max_message_bytes), wide: true },
    ],
  };
}

export const queueStatus = command({
  summary: "Show how many messages wait in a queue by urgency, how many are in hand and how many are dead",
  description:
    "It asks the queue itself, so it needs no control plane. URGENT has the events of a priority above 0, LOW those below; DEAD is empty where the queue does not tell.",
  settings: { ...SETTINGS, ...OUTPUT_SETTINGS },
  examples: ["transporter queue status --queue nats://nats:4222/transporter", "transporter queue status -o json"],
  run: (call) =>
    withQueue(call, async (queue) => {
      const { dead, inHand, oldestMs, waiting } = await statusOf(queue, call);
      const nowMs = call.ports.clock.now();
      const { driver, location, name, maxMessageBytes } = queue.info;
      const view: StatusView = {
        driver,
        location,
        name,
        waiting,
        in_hand: inHand,
        ...(dead === undefined ? {} : { dead }),
        ...(oldestMs === undefined ? {} : { oldest_waiting_since: formatTimestamp(nowMs - oldestMs) }),
        max_message_bytes: maxMessageBytes,
      };
      await printOne(call.host.out, outputOf(call.values), statusShape(nowMs), view);
      return EXIT.ok;
    }),
});

function lettersOf(queue: QueueObserver): DeadLetters {
  if (queue.deadLetters !== undefined) return queue.deadLetters;
  throw new TransporterError(
    "QUEUE_INVALID",
    `the dead letters of ${queue.info.name} at ${queue.info.location} can only be seen with the broker's own tools`,
    {
      remedy: "Memphis shows and resends them on the page of the station.",
    },
  );
}

interface LetterView {
  readonly id: string;
  readonly event_id?: string;
  readonly code: string;
  readonly reason: string;
  readonly band: string;
  readonly deliveries?: number;
  readonly bytes: number;
  readonly at: string;
}

function letterView(letter: DeadLetter): LetterView {
  const { id, eventId, code, reason, band, deliveries, bytes, atMs } = letter;
  return {
    id,
    ...(eventId === undefined ? {} : { event_id: eventId }),
    code,
    reason,
    band,
    ...(deliveries === undefined ? {} : { deliveries }),
    bytes,
    at: formatTimestamp(atMs),
  };
}

function letterShape(nowMs: number): Shape<LetterView> {
  return {
    name: (letter) => `letter/${letter.id}`,
    columns: [
      { head: "LETTER", cell: (letter) => letter.id },
      { head: "EVENT", cell: (letter) => letter.event_id ?? "" },
      { head: "CODE", cell: (letter) => letter.code },
      { head: "BAND", cell: (letter) => letter.band, wide: true },
      { head: "DELIVERIES", cell: (letter) => (letter.deliveries === undefined ? "" : String(letter.deliveries)), wide: true },
      { head: "BYTES", cell: (letter) => String(letter.bytes), wide: true },
      { head: "AGE", cell: (letter) => age(letter.at, nowMs) },
      { head: "REASON", cell: (letter) => letter.reason },
    ],
  };
}

export const queueDead = command({
  summary: "List what was given up from a queue, with the reason, newest first",
  description: "What no repetition can help goes to the dead letters, and so does what was handed out too often.",
  settings: {
    limit: integerOr(LIMITS.pageDefault, { describe: "How many at most", min: 1, max: 10_000, flagOnly: true }),
    ...SETTINGS,
    ...OUTPUT_SETTINGS,
  },
  examples: ["transporter queue dead --queue nats://nats:4222/transporter", "transporter queue dead -o wide --limit 10"],
  run: (call) =>
    withQueue(call, async (queue) => {
      const letters = await lettersOf(queue).list(call.values.limit);
      const output = outputOf(call.values);
      await printList(call.host.out, output, letterShape(call.ports.clock.now()), letters.map(letterView));
      if (letters.length === 0 && (output.format === "table" || output.format === "wide")) call.note("No dead letters.");
      return EXIT.ok;
    }),
});

export const queueResend = command({
  summary: "Put dead letters back into the queue that they came from",
  description: "Each goes behind what waits there and is out of the dead letters then. `transporter queue dead` shows their ids.",
  settings: SETTINGS,
  positional: { name: "LETTER", describe: "ids of the dead letters", min: 1, max: 1000 },
  examples: [
    "transporter queue resend --queue nats://nats:4222/transporter 17",
    "transporter queue resend $(transporter queue dead -o name | cut -d/ -f2)",
  ],
  run: (call) =>
    withQueue(call, (queue) => {
      const letters = lettersOf(queue);
      return forEach(call, async (id) => {
        if (!(await letters.resend(id)))
          throw new TransporterError("NOT_FOUND", `there is no dead letter ${JSON.stringify(id)} of ${queue.info.name}`, {
            remedy: "`transporter queue dead` lists them.",
          });
        call.host.out.write(`letter/${safeLine(id)} is in the queue again\n`);
      });
    }),
});
