import { BoundedPeer } from "../../net/mod.ts";
import { CLOSE } from "../../protocol/mod.ts";
import type { AgentSocket, Gateway } from "../gateway.ts";

/** Bytes that may wait for a slow agent; it is closed beyond, and gets what it missed on its next connection. */
const PEER_QUEUE_BYTES = 64 * 1024 * 1024;

/** What hangs on each socket of Bun's. Kept small: there may be many thousands. */
export interface SocketData {
  readonly requestId: string;
  peer: BoundedPeer | undefined;
  agent: AgentSocket | undefined;
}

/** Hands the sockets that Bun.serve opens to the gateway. */
export function agentSockets(gateway: Gateway): Pick<Bun.WebSocketHandler<SocketData>, "open" | "message" | "drain" | "close"> {
  return {
    open(socket) {
      const peer = new BoundedPeer(socket, { maxQueuedBytes: PEER_QUEUE_BYTES, tooSlowCode: CLOSE.tooSlow });
      socket.data.peer = peer;
      socket.data.agent = gateway.accept(peer, socket.data.requestId);
    },
    message(socket, message) {
      socket.data.agent?.message(typeof message === "string" ? message : message.toString("utf8"));
    },
    drain(socket) {
      const { peer, agent } = socket.data;
      peer?.drained();
      if (peer?.congested === false) agent?.drained();
    },
    close(socket, code, reason) {
      socket.data.peer?.closed();
      socket.data.agent?.closed(code, reason);
    },
  };
}
