import type { ServerWebSocket } from "bun";
import type { Ports, TimerHandle } from "../../kit/mod.ts";
import { BoundedPeer } from "../../net/mod.ts";
import { CLOSE } from "../../protocol/mod.ts";
import type { Arrival } from "../agent-door.ts";
import type { AgentSocket, Gateway } from "../gateway.ts";

/** Bytes that may wait for a slow agent; it is closed beyond, and gets what it missed on its next connection. */
const PEER_QUEUE_BYTES = 64 * 1024 * 1024;

/**
 * Nothing heard for this long, neither a frame nor a ping or its answer: the link is dead towards here. Agents say something every 10 s. Bun's
 * own idle time does not see it, as it begins anew with everything that is sent, and the agent does not either while it still hears us.
 */
const SILENCE_MS = 27_000;
const WATCH_MS = 1_000;

/** What hangs on each socket of Bun's. Kept small: there may be many thousands. */
export interface SocketData {
  readonly arrival: Arrival;
  peer: BoundedPeer | undefined;
  agent: AgentSocket | undefined;
  /** By the monotonic clock. */
  heardMs: number;
}

/** Hands the sockets that Bun.serve opens to the gateway, and drops those from which nothing is heard. */
export function agentSockets(
  gateway: Gateway,
  { clock, timers }: Pick<Ports, "clock" | "timers">,
): Pick<Bun.WebSocketHandler<SocketData>, "open" | "message" | "ping" | "pong" | "drain" | "close"> {
  const open = new Set<ServerWebSocket<SocketData>>();
  let watching: TimerHandle | undefined;
  const watch = (): void => {
    const deadlineMs = clock.monotonic() - SILENCE_MS;
    for (const socket of open) if (socket.data.heardMs < deadlineMs) socket.terminate();
  };
  const heard = ({ data }: ServerWebSocket<SocketData>): void => {
    data.heardMs = clock.monotonic();
  };
  return {
    open(socket) {
      heard(socket);
      open.add(socket);
      watching ??= timers.every(WATCH_MS, watch, { background: true });
      const peer = new BoundedPeer(socket, { maxQueuedBytes: PEER_QUEUE_BYTES, tooSlowCode: CLOSE.tooSlow });
      socket.data.peer = peer;
      socket.data.agent = gateway.accept(peer, socket.data.arrival);
    },
    message(socket, message) {
      heard(socket);
      socket.data.agent?.message(typeof message === "string" ? message : message.toString("utf8"));
    },
    ping: heard,
    pong: heard,
    drain(socket) {
      const { peer, agent } = socket.data;
      peer?.drained();
      if (peer?.congested === false) agent?.drained();
    },
    close(socket, code, reason) {
      open.delete(socket);
      if (open.size === 0) {
        watching?.cancel();
        watching = undefined;
      }
      socket.data.peer?.closed();
      socket.data.agent?.closed(code, reason);
    },
  };
}
