import { connect, type Socket } from "node:net";
import { type Figure } from "./figures.ts";
import type { OpenResult } from "./load.ts";
import { percentile } from "./proc.ts";
import type { Service, Workbench } from "./workbench.ts";

const PART = "Agents that stopped reading, beside 100 that work (200 events/s to those)";
const STUCK = 10;
/** Under the size at which a payload is fetched instead of sent, so that it fills the socket. */
const PAYLOAD_BYTES = 200 * 1024;

/** An agent that registers and never reads again: its socket stands, the kernel's buffers fill, then the control plane's. */
async function stuckAgent(url: string, id: string): Promise<Socket> {
  const { hostname, port, host } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  socket.write(
    `GET /ws HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  await new Promise<void>((resolve) => socket.once("data", () => resolve()));
  const body = Buffer.from(
    JSON.stringify({
      id,
      name: id,
      cluster_name: "bench",
      version: "0.2.0",
      capabilities: ["k8s_crud"],
      protocol: 2,
      features: ["ack"],
      boot_id: `boot-${id}`,
      labels: {},
    }),
  );
  socket.write(Buffer.concat([Buffer.from([0x81, 0xfe, body.length >> 8, body.length & 0xff, 0, 0, 0, 0]), body]));
  await new Promise<void>((resolve) => socket.once("data", () => resolve()));
  socket.pause();
  return socket;
}

async function fill(url: string, agentId: string, events: number): Promise<void> {
  const text = "x".repeat(PAYLOAD_BYTES);
  for (let at = 0; at < events; at += 1) {
    const manifest = `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: stuck-${at}\ndata:\n  text: ${text}\n`;
    const body = JSON.stringify({
      id: `${agentId}-${at}`,
      type: "k8s_resource",
      target_agent: agentId,
      payload: { manifests: [manifest] },
    });
    const answer = await fetch(`${url}/events`, { method: "POST", body });
    if (answer.status !== 202) throw new Error(`an event for a stuck agent was answered with ${answer.status}`);
    await answer.arrayBuffer();
  }
}

/** What agents that take nothing any more cost the others: latency and CPU, with them and without, in turns. */
export async function stuck(bench: Workbench): Promise<Figure[]> {
  const measure = async (target: Service): Promise<OpenResult> =>
    bench.load<OpenResult>(target, {
      mode: "open",
      agents: 100,
      wire: "protocol-2",
      phaseMs: 2,
      perSecond: 200,
      seconds: bench.count(8, 2),
      warmUp: bench.count(3_000, 300),
    });
  const pools = { without: [] as OpenResult[], beside: [] as OpenResult[] };
  for (let round = 0; round < bench.count(2, 1); round += 1) {
    const ids = Array.from({ length: STUCK }, (_, at) => `stuck-${at}`);
    // The same events lie in both stores, so that only the agents differ, and not what the disk has to do.
    const quiet = await bench.startControlPlane();
    await Promise.all(ids.map((id) => fill(quiet.url, id, bench.count(80, 20))));
    pools.without.push(await measure(quiet));
    await quiet.stop();
    const cp = await bench.startControlPlane();
    const sockets = await Promise.all(ids.map((id) => stuckAgent(cp.url, id)));
    await Promise.all(ids.map((id) => fill(cp.url, id, bench.count(80, 20))));
    pools.beside.push(await measure(cp));
    for (const socket of sockets) socket.destroy();
    await cp.stop();
  }
  const of = (results: readonly OpenResult[], at: number): number =>
    percentile(
      results.flatMap((one) => one.latenciesMs),
      at,
    );
  const cpu = (results: readonly OpenResult[]): number => results.reduce((sum, one) => sum + one.serverCpuUs, 0) / results.length;
  const figures: Figure[] = [];
  for (const [name, at] of [
    ["p50", 0.5],
    ["p99", 0.99],
  ] as const) {
    const [without, beside] = [of(pools.without, at), of(pools.beside, at)];
    figures.push({
      part: PART,
      name: `${name} beside ${STUCK} stuck agents`,
      value: beside,
      unit: "ms",
      note: `absent instead ${without.toFixed(2)}, so ${(beside / without).toFixed(2)} times that`,
    });
  }
  figures.push({
    part: PART,
    name: "CPU per event",
    value: cpu(pools.beside),
    unit: "µs",
    note: `absent instead ${cpu(pools.without).toFixed(0)}; for each of the ${STUCK} there are ${bench.count(80, 20)} events of ${PAYLOAD_BYTES / 1024} KiB`,
  });
  return figures;
}
