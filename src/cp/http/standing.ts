import { type Logger, messageOf, type Ports, type TimerHandle } from "../../kit/mod.ts";
import type { Principal, Security } from "../../security/mod.ts";

/** A timer reaches no further than some weeks ahead. */
const LOOK_AGAIN_MS = 86_400_000;

/** That whoever follows a stream may go on following it. */
export interface Standing {
  /** Aborted when they may not any more: their token was revoked, or its time is up. */
  readonly ended: AbortSignal;
  release(): void;
}

export interface StandingParts {
  readonly security: Pick<Security, "authenticator" | "onEnded"> | undefined;
  readonly ports: Pick<Ports, "clock" | "timers">;
  readonly log: Logger;
}

/**
 * Watches over somebody for as long as a stream of theirs stands. Whoever cannot be asked about, because the store is away, is taken for
 * ended: they come again, and are asked who they are.
 */
export function stand(principal: Principal, { security, ports, log }: StandingParts): Standing {
  const controller = new AbortController();
  if (security === undefined) return { ended: controller.signal, release: () => undefined };
  const end = (): void => controller.abort(new Error("whoever follows may not any more"));
  const lookAgain = async (): Promise<void> => {
    try {
      if (!(await security.authenticator.isCurrent(principal))) end();
    } catch (error) {
      log.debug("Nobody can say whether a stream's reader may go on", { principal: principal.name, error: messageOf(error) });
      end();
    }
  };
  const stopListening = security.onEnded((credential) => {
    if (credential === undefined) void lookAgain();
    else if (credential === principal.credential) end();
  });
  const { expiresAtMs } = principal;
  let timer: TimerHandle | undefined;
  const wait = (until: number): void => {
    const leftMs = until - ports.clock.now();
    if (leftMs <= 0) end();
    else timer = ports.timers.after(Math.min(leftMs, LOOK_AGAIN_MS), () => wait(until), { background: true });
  };
  if (expiresAtMs !== undefined) wait(expiresAtMs);
  // What ended between the request and now was told to nobody here.
  void lookAgain();
  return {
    ended: controller.signal,
    release: () => {
      stopListening();
      timer?.cancel();
    },
  };
}
