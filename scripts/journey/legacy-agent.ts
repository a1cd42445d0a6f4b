/** The frames of an agent of 0.1, and no more: no protocol number, no challenge, no acknowledgement. */
const REGISTRATION = {
  name: "old-1",
  cluster_name: "old-cluster",
  cluster_provider: "kind",
  region: "local",
  version: "0.1.0",
  capabilities: ["k8s_crud"],
  hostname: "old-host",
  namespace: "default",
};

type Frame = Readonly<Record<string, unknown>>;

export interface LegacyAgent extends Disposable {
  /** Everything that came. */
  readonly frames: readonly Frame[];
  /** The five statuses with which 0.1 carried an event out. */
  report(eventId: string): void;
}

/** Dials and registers; resolves once the socket is open and the registration sent. */
export async function dialLegacyAgent(url: string, id: string): Promise<LegacyAgent> {
  const socket = new WebSocket(url);
  const frames: Frame[] = [];
  socket.addEventListener("message", ({ data }) => frames.push(JSON.parse(String(data)) as Frame));
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener("open", () => resolve());
    socket.addEventListener("error", () => reject(new Error(`cannot connect to ${url}`)));
  });
  socket.send(JSON.stringify({ ...REGISTRATION, id }));
  const status = (eventId: string, state: string, phase: string, result: Frame | null = null): void => {
    const common = { log_level: "info", details: null, timestamp: new Date().toISOString() };
    socket.send(
      JSON.stringify({ type: "status_update", event_id: eventId, agent_id: id, state, phase, message: phase, result, ...common }),
    );
  };
  return {
    frames,
    report(eventId) {
      for (const phase of ["received", "validating", "applying", "verifying"]) status(eventId, "in_progress", phase);
      status(eventId, "completed", "completed", {
        success: true,
        resource_status: [],
        completed_at: new Date().toISOString(),
        duration: 5_505_706,
      });
    },
    [Symbol.dispose]() {
      socket.close();
    },
  };
}
