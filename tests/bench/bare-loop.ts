/**
 * What the same work costs when nothing but the work is done: parse, validate, commit in groups, route. The measure for the control
 * plane, run on the same disk in the same run: `bun bare-loop.ts PATH` prints its address. No audit, no log lines, no duplicates, no expiry,
 * no window, no recovery, no guard: not a control plane, a floor.
 */
import { Database } from "bun:sqlite";
import type { ServerWebSocket } from "bun";
import * as v from "valibot";

const EventSchema = v.looseObject({
  id: v.pipe(v.string(), v.nonEmpty()),
  type: v.picklist(["k8s_resource", "script", "policy"]),
  target_agent: v.pipe(v.string(), v.nonEmpty()),
  payload: v.looseObject({ manifests: v.array(v.string()) }),
  created_at: v.string(),
  created_by: v.string(),
  ttl: v.pipe(v.number(), v.integer()),
  priority: v.pipe(v.number(), v.integer()),
  labels: v.record(v.string(), v.string()),
});
const StatusSchema = v.looseObject({
  type: v.literal("status_update"),
  event_id: v.pipe(v.string(), v.nonEmpty()),
  state: v.picklist(["in_progress", "completed", "failed"]),
  phase: v.string(),
  message: v.string(),
  timestamp: v.string(),
  boot_id: v.string(),
  seq: v.pipe(v.number(), v.integer()),
});

interface Peer {
  agentId: string;
  ackedSeq: number;
}
type Operation = { readonly run: () => void; readonly done: () => void };

const path = process.argv[2];
if (path === undefined) throw new Error("the path of the database is missing");
const db = new Database(path, { create: true });
db.run("PRAGMA journal_mode = WAL");
db.run("PRAGMA synchronous = FULL");
db.run(
  "CREATE TABLE event (no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, agent TEXT NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL)",
);
db.run(
  "CREATE TABLE log (seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL, state TEXT NOT NULL, phase TEXT NOT NULL, message TEXT NOT NULL, at TEXT NOT NULL)",
);
const insertEvent = db.prepare("INSERT INTO event (id, agent, state, body) VALUES (?, ?, 'assigned', ?)");
const insertLog = db.prepare("INSERT INTO log (event_id, state, phase, message, at) VALUES (?, ?, ?, ?, ?)");
const setState = db.prepare("UPDATE event SET state = ? WHERE id = ?");
const begin = db.prepare("BEGIN");
const commit = db.prepare("COMMIT");

let queue: Operation[] = [];

function enqueue(operation: Operation): void {
  if (queue.length === 0) setImmediate(flush);
  queue.push(operation);
}

function flush(): void {
  const operations = queue;
  queue = [];
  begin.run();
  for (const { run } of operations) run();
  commit.run();
  for (const { done } of operations) done();
}

const agents = new Map<string, ServerWebSocket<Peer>>();

async function submit(request: Request): Promise<Response> {
  const text = await request.text();
  const checked = v.safeParse(EventSchema, JSON.parse(text));
  if (!checked.success) return new Response("bad event", { status: 400 });
  const event = checked.output;
  await new Promise<void>((resolve) => {
    enqueue({ run: () => insertEvent.run(event.id, event.target_agent, text), done: resolve });
  });
  agents.get(event.target_agent)?.sendText(`{"type":"event","event":${text},"revision":1}`);
  return Response.json({ event_id: event.id, message: "Event routed to agent", status: "accepted" }, { status: 202 });
}

function receive(socket: ServerWebSocket<Peer>, text: string): void {
  const frame: unknown = JSON.parse(text);
  if (socket.data.agentId === "") {
    const { id } = v.parse(v.looseObject({ id: v.string() }), frame);
    socket.data.agentId = id;
    agents.set(id, socket);
    socket.sendText('{"status":"registered","message":"registered"}');
    return;
  }
  const status = v.safeParse(StatusSchema, frame);
  // Acknowledgements of events and heartbeats ask for nothing.
  if (!status.success) return;
  const { event_id, state, phase, message, timestamp, boot_id, seq } = status.output;
  enqueue({
    run: () => {
      insertLog.run(event_id, state, phase, message, timestamp);
      setState.run(state, event_id);
    },
    done: () => {
      socket.data.ackedSeq = seq;
      socket.sendText(`{"type":"status_ack","boot_id":"${boot_id}","seq":${seq}}`);
    },
  });
}

const server = Bun.serve<Peer>({
  hostname: "127.0.0.1",
  port: 0,
  routes: { "/events": { POST: submit } },
  fetch: (request, self) =>
    self.upgrade(request, { data: { agentId: "", ackedSeq: 0 } }) ? undefined : new Response("not here", { status: 404 }),
  websocket: { message: (socket, message) => receive(socket, String(message)) },
});
console.log(`listening on http://127.0.0.1:${server.port}`);
