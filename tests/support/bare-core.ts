import { createCore, type CoreOptions } from "../../src/cp/mod.ts";
import { prepareEvent } from "../../src/cp/prepare.ts";
import { type ManualPorts, manualPorts, silentLogger, toTransporterError } from "../../src/kit/mod.ts";
import type { Peer, SendOptions } from "../../src/net/mod.ts";
import { ANONYMOUS } from "../../src/security/mod.ts";
import { openStore, type Store, type StoredEvent } from "../../src/stores/mod.ts";
import { anEvent } from "./cp.ts";
import { SharedStore, type Way } from "./shared-store.ts";
import { REGISTRATION_0_1 } from "./wire-agent.ts";

type Json = Record<string, unknown>;

const NO_METRICS = {
  http: () => undefined,
  frame: () => undefined,
  render: () => Promise.resolve({ body: "", contentType: "text/plain" }),
};

/** A manifest of an object of this name; two of the same name touch the same object. */
export function configMap(name: string): string {
  return `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  namespace: web\n`;
}

/** The registration of an agent that can do everything. */
export function ableAgent(parts: Json = {}): Json {
  return {
    protocol: 2,
    features: ["ack", "credit", "cancel", "chunk", "resync"],
    boot_id: "boot-1",
    version: "0.3.0",
    ...parts,
  };
}

export interface BareAgent {
  readonly frames: readonly Json[];
  readonly closedWith: number | undefined;
  /** Whether its socket takes no more for the moment; the next frame that is sent still goes. */
  congested: boolean;
  ofType(type: string): Json[];
  /** Ids of the events it was given, in order, repeated ones too. */
  events(): string[];
  send(frame: Json): void;
  ack(id: string, revision?: number): void;
  /** Tells the state of a delivery as a protocol 2 agent does; `seq` counts up by itself. */
  status(id: string, state: string, parts?: Json): void;
  complete(id: string): void;
  drained(): void;
  hangUp(): void;
}

/** What several control planes without doors have in common. */
export interface Site {
  readonly manual: ManualPorts;
  readonly shared: SharedStore;
}

export async function startSite(): Promise<Site> {
  const manual = manualPorts();
  const real = await openStore("memory:", { ports: manual.ports, log: silentLogger });
  return { manual, shared: new SharedStore(real, manual.ports) };
}

/** A control plane without doors over a real store in memory, whose time passes when the test says so. */
export async function startBareCore(
  options: Partial<CoreOptions> & {
    readonly around?: (store: Store) => Store;
    /** Beside others: with their time, and over the same store. */
    readonly site?: Site;
  } = {},
) {
  const { site, around, ...coreOptions } = options;
  const manual = site?.manual ?? manualPorts();
  const { ports } = manual;
  /** Lets time pass until it is settled. */
  const during = async <T>(promise: Promise<T>): Promise<T> => {
    const state = { settled: false };
    const mark = (): void => {
      state.settled = true;
    };
    promise.then(mark, mark);
    for (let turn = 0; turn < 20_000 && !state.settled; turn += 1) await manual.advance(1);
    return promise;
  };
  const way = site?.shared.way();
  const real = way?.store ?? (await openStore("memory:", { ports, log: silentLogger }));
  const store = around?.(real) ?? real;
  const core = createCore({
    version: "test",
    heartbeatTimeoutMs: 3_600_000,
    eventRetryMax: 3,
    maxInFlight: 16,
    retention: { eventsMs: 1e12, auditMs: 1e12 },
    metrics: () => NO_METRICS,
    // Without its thread, which real time would have to pass for.
    parser: {
      prepare: (body, rule) => prepareEvent(typeof body === "string" ? body : new TextDecoder().decode(Buffer.concat([body].flat())), rule),
      stop: () => undefined,
    },
    offLoopChars: Number.POSITIVE_INFINITY,
    ports,
    log: silentLogger,
    ...coreOptions,
    store,
  });
  await during(core.begin());
  core.start();

  const connect = async (registration: Json = ableAgent()): Promise<BareAgent> => {
    const frames: Json[] = [];
    const state = { closedWith: undefined as number | undefined, seq: 0 };
    const peer = {
      remoteAddress: "127.0.0.1",
      congested: false as boolean,
      send(text: string, _options?: SendOptions) {
        if (state.closedWith !== undefined) return false;
        frames.push(JSON.parse(text) as Json);
        return true;
      },
      close(code: number) {
        if (state.closedWith !== undefined) return;
        state.closedWith = code;
        ports.timers.soon(() => socket.closed(code, ""));
      },
    } satisfies Peer;
    const socket = core.gateway.accept(peer, { requestId: "request", door: { kind: "open" } });
    const send = (frame: Json): void => {
      if (state.closedWith === undefined) socket.message(JSON.stringify(frame));
    };
    send({ ...REGISTRATION_0_1, ...registration });
    await manual.advance(50);
    const ofType = (type: string): Json[] => frames.filter((frame) => frame["type"] === type);
    const status = (id: string, phaseState: string, parts: Json = {}): void => {
      state.seq += 1;
      const phase = phaseState === "completed" || phaseState === "failed" ? phaseState : "received";
      send({
        type: "status_update",
        event_id: id,
        state: phaseState,
        phase,
        message: phaseState,
        revision: 1,
        boot_id: registration["boot_id"],
        seq: state.seq,
        ...parts,
      });
    };
    return {
      frames,
      get closedWith() {
        return state.closedWith;
      },
      get congested() {
        return peer.congested;
      },
      set congested(value: boolean) {
        peer.congested = value;
      },
      ofType,
      events: () => ofType("event").map((frame) => (frame["event"] as { id: string }).id),
      send,
      ack: (id, revision = 1) => send({ type: "event_ack", event_id: id, revision }),
      status,
      complete: (id) => status(id, "completed", { result: { success: true } }),
      drained: () => socket.drained(),
      hangUp: () => peer.close(1006),
    };
  };

  const submitting = (parts: Json): Promise<unknown> =>
    core.intake.submit(new TextEncoder().encode(JSON.stringify(anEvent({ created_at: undefined, ...parts }))), {
      principal: ANONYMOUS,
      remoteAddress: "127.0.0.1",
      requestId: "request",
      traceparent: undefined,
    });

  return {
    ...manual,
    core,
    store,
    /** To the store that it shares with others; only with a `site`. */
    way: way as Way,
    during,
    connect,
    /** Hands an event in without waiting for it. */
    submitting,
    /** Hands events in, one after the other, each durable before the next; events of one name touch the same object. */
    async submit(...all: (Json & { readonly id: string; readonly object?: string })[]): Promise<void> {
      for (const { object, ...parts } of all)
        await during(submitting({ payload: { manifests: [configMap(object ?? parts.id)] }, ...parts }));
    },
    async event(id: string): Promise<StoredEvent> {
      const stored = await during(store.getEvent("default", id, { payload: false, log: true }));
      if (stored === undefined) throw new Error(`there is no event ${id}`);
      return stored;
    },
    /** The refusal's code, or "accepted". */
    async codeOf(promise: Promise<unknown>): Promise<string> {
      return during(
        promise.then(
          () => "accepted",
          (error: unknown) => toTransporterError(error).code,
        ),
      );
    },
  };
}
