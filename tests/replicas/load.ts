/**
 * Who hands events in, a process of its own: `bun load.ts '{"journal":…}'`. Keeps to its pace whatever the answers do, as far as `maxPending` lets it. What
 * was not taken (503, no answer, a broken connection) is handed in again under the same id, at another door, until it is taken; from then on it
 * stands in the journal. On SIGTERM it makes no new ones, ends what it has begun, and says so as JSON in its last line.
 */
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openQueueWriter, type QueueWriter } from "../../src/queues/mod.ts";
import { Journal } from "./journal.ts";

export interface LoadConfig {
  readonly journal: string;
  /** Of the control planes. */
  readonly urls: readonly string[];
  readonly queueUrl?: string;
  /** Of a hundred events, so many go over the queue. */
  readonly queuePercent: number;
  readonly prefix: string;
  readonly agents: number;
  readonly perSecond: number;
  /** Not taken yet; more are not made, and the pace is lost. */
  readonly maxPending: number;
}

export interface LoadResult {
  readonly made: number;
  /** Events that the pace asked for and that were not made, as too many were not taken yet. */
  readonly heldBack: number;
  /** How often one was handed in again. */
  readonly again: number;
  /** By HTTP status, or `none` where nobody answered. */
  readonly answers: Readonly<Record<string, number>>;
}

const REQUEST_TIMEOUT_MS = 3_000;
const TICK_MS = 5;

const config = JSON.parse(process.argv[2] ?? "{}") as LoadConfig;
const journal = new Journal(config.journal);
const run = crypto.randomUUID().slice(0, 6);
const doors = config.urls.map((url) => ({ url: `${url}/v1/events`, port: new URL(url).port }));
const answers: Record<string, number> = {};
const busy = new Set<number>();
const links = new Map<number, number>();
let made = 0;
let heldBack = 0;
let again = 0;
const pending = new Set<Promise<void>>();
let stopping = false;

function bodyOf(id: string, agent: string, object: string, n: number): string {
  const data = { event: id, n: String(n), greeting: "hello", log_level: "info", retries: "3" };
  const manifest = JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: object, namespace: "default" }, data });
  return JSON.stringify({ id, type: "k8s_resource", target_agent: agent, payload: { manifests: [manifest] }, created_by: "proof" });
}

/** Undefined when nobody answered. */
async function post(url: string, body: string): Promise<{ readonly status: number; readonly text: string } | undefined> {
  try {
    const response = await fetch(url, {
      method: "POST",
      body,
      headers: { "content-type": "application/json" },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    return { status: response.status, text: await response.text() };
  } catch {
    return undefined;
  }
}

/** The next writer of its agent's chain: not before the one before it was taken, so that the order made is the order accepted. */
async function overHttp(at: number): Promise<void> {
  busy.add(at);
  const n = (links.get(at) ?? 0) + 1;
  links.set(at, n);
  const agent = `${config.prefix}-${at}`;
  const event = { id: `h-${run}-${made}`, agent, object: `chain-${agent}`, n };
  const body = bodyOf(event.id, event.agent, event.object, event.n);
  let door = Math.floor(Math.random() * doors.length);
  for (let attempt = 1; ; attempt += 1) {
    const { url, port } = doors[door % doors.length] ?? { url: "", port: "" };
    const answer = await post(url, body);
    const told = String(answer?.status ?? "none");
    answers[told] = (answers[told] ?? 0) + 1;
    if (answer?.status === 202) {
      journal.accepted({ atMs: Date.now(), ...event, via: port });
      break;
    }
    if (answer !== undefined && answer.status !== 503 && answer.status !== 429) {
      journal.fault(`${event.id} at attempt ${attempt}: ${answer.status} ${answer.text}`);
      break;
    }
    again += 1;
    door += 1;
    await Bun.sleep(20 + Math.random() * 20 * Math.min(attempt, 10));
  }
  busy.delete(at);
}

/** An object of its own: nobody knows in which order those of a queue are accepted. */
async function overQueue(queue: QueueWriter, at: number): Promise<void> {
  const id = `q-${run}-${made}`;
  const event = { id, agent: `${config.prefix}-${at}`, object: `own-${id}`, n: 0 };
  const body = new TextEncoder().encode(bodyOf(id, event.agent, event.object, 0));
  for (;;) {
    try {
      await queue.publish({ id, body, priority: 0 });
      journal.accepted({ atMs: Date.now(), ...event, via: "queue" });
      return;
    } catch {
      again += 1;
      await Bun.sleep(50 + Math.random() * 200);
    }
  }
}

const queue =
  config.queueUrl === undefined
    ? undefined
    : await openQueueWriter(config.queueUrl, { log: silentLogger, ports: systemPorts, clientName: "proof" });
let lastQueued = 0;
function makeOne(): void {
  made += 1;
  if (queue !== undefined && Math.floor((made * config.queuePercent) / 100) > lastQueued) {
    lastQueued += 1;
    count(overQueue(queue, Math.floor(Math.random() * config.agents)));
    return;
  }
  let at = Math.floor(Math.random() * config.agents);
  for (let tries = 0; busy.has(at) && tries < config.agents; tries += 1) at = (at + 1) % config.agents;
  if (busy.has(at)) heldBack += 1;
  else count(overHttp(at));
}

function count(work: Promise<void>): void {
  const counted = work.catch((error: unknown) => journal.fault(String(error))).finally(() => pending.delete(counted));
  pending.add(counted);
}

const startedMs = performance.now();
let due = 0;
const pace = setInterval(() => {
  const wanted = Math.floor(((performance.now() - startedMs) / 1_000) * config.perSecond);
  for (; due < wanted; due += 1)
    if (pending.size < config.maxPending) makeOne();
    else heldBack += 1;
}, TICK_MS);
console.log("LOADING");

process.on("SIGTERM", () => {
  if (stopping) return;
  stopping = true;
  clearInterval(pace);
  void ended();
});

async function ended(): Promise<void> {
  await Promise.all(pending);
  await queue?.close();
  const result: LoadResult = { made, heldBack, again, answers };
  console.log(JSON.stringify(result));
  process.exit(0);
}
