import { queueConformance } from "./conformance.ts";
import { type Memphis, startMemphis } from "../support/memphis.ts";
import { SKIP_NATS } from "../support/nats.ts";

/** The reason as the driver writes it into the broker's list. */
function readReason(text: string): { readonly code: string; readonly reason: string; readonly eventId: string | undefined } {
  const [, code = "", reason = "", eventId] = /^(\w+): ([\s\S]*?)(?: \[event (.*)\])?$/.exec(text) ?? [];
  return { code, reason, eventId };
}

function deadLettersOf(memphis: Memphis, name: string) {
  return memphis.letters
    .filter(({ station }) => station === name || station.startsWith(`${name}.`))
    .map(({ kind, reason, headers, body }) =>
      kind === "nacked"
        ? { ...readReason(reason), body }
        : { code: "QUEUE_DELIVERIES_EXHAUSTED", reason: "unacked", eventId: headers["msg-id"]?.[0], body },
    );
}

queueConformance("Memphis", {
  skip: SKIP_NATS,
  ackWaitMs: 1_000,
  tooLargeBytes: 2 * 1_048_576,
  async start() {
    const memphis = await startMemphis();
    return {
      port: memphis.port,
      url: (port, name, { ackWaitMs, maxDeliveries }) =>
        memphis.url(name, { "ack-wait-ms": ackWaitMs, ...(maxDeliveries === undefined ? {} : { "max-deliveries": maxDeliveries }) }, port),
      deadLetters: async (name) => deadLettersOf(memphis, name),
      stop: () => memphis.nats.stop(),
      start: () => memphis.nats.start(),
      [Symbol.asyncDispose]: () => memphis[Symbol.asyncDispose](),
    };
  },
});
