import { Backoff, type Logger, type Ports, toTransporterError, TransporterError } from "../kit/mod.ts";
import type { EnrolmentAnswer } from "../protocol/mod.ts";
import { type EnrolmentApi, mayPass } from "./enrolment-api.ts";
import { keySha256 } from "./identity-record.ts";
import { IDENTITY_TIMES } from "./identity-times.ts";

export interface EnrolmentOptions {
  readonly agentId: string;
  readonly api: Pick<EnrolmentApi, "enrol">;
  /** PEM of what to trust; undefined for the system's. */
  readonly ca: string | undefined;
  /** The key to ask with, kept already; undefined where another process of this agent was enrolled meanwhile. */
  readonly key: () => Promise<string | undefined>;
  /** Somebody said no to a request with this key. */
  readonly denied: () => Promise<void>;
  /** Enrolment token, or a ServiceAccount's. */
  readonly bearer: string;
  /** The same anew: an account's token is another one after some time. */
  readonly token: () => Promise<string | undefined>;
  readonly ports: Ports;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

export interface Enrolled {
  readonly key: string;
  readonly answer: EnrolmentAnswer;
}

/** Does something until it is done or can never be, with pauses. Throws what no waiting cures, and the signal's reason. */
export async function patiently<T>(
  { ports, log, signal }: Pick<EnrolmentOptions, "ports" | "log" | "signal">,
  what: string,
  run: () => Promise<T>,
): Promise<T> {
  const backoff = new Backoff({ firstMs: IDENTITY_TIMES.retryFirst, maxMs: IDENTITY_TIMES.retryMax }, ports.random);
  for (;;) {
    try {
      return await run();
    } catch (thrown) {
      signal.throwIfAborted();
      const error = toTransporterError(thrown);
      if (!mayPass(error)) throw error;
      const waitMs = askedMs(error) + backoff.next();
      log.warn(what, { error: error.message, code: error.code, retry_in_ms: Math.round(waitMs) });
      await ports.timers.sleep(waitMs, signal);
    }
  }
}

/** Milliseconds that the control plane asked to be left alone, within reason. */
export function askedMs(error: TransporterError): number {
  const asked = error.details["retry_after_ms"];
  return typeof asked === "number" ? Math.min(Math.max(asked, 0), IDENTITY_TIMES.askedMax) : 0;
}

/** Asks for a certificate until there is one; waits where somebody has to approve. Throws what ends that for good, ENROLMENT_REFUSED among it. */
export async function enrol(options: EnrolmentOptions): Promise<Enrolled | undefined> {
  const { agentId, api, ca, token, ports, log, signal } = options;
  const pause = new Backoff({ firstMs: IDENTITY_TIMES.pendingFirst, maxMs: IDENTITY_TIMES.pendingMax }, ports.random);
  let { bearer } = options;
  let told: string | undefined;
  const { makeCsr } = await import("../security/mod.ts");
  for (;;) {
    const key = await options.key();
    if (key === undefined) return undefined;
    const answer = await patiently(options, "The agent cannot be enrolled yet", async () => {
      bearer = (await token().catch(() => undefined)) ?? bearer;
      return api.enrol({ agent_id: agentId, csr: makeCsr(key) }, bearer, ca, signal);
    });
    switch (answer.status) {
      case "issued":
        return { key, answer };
      case "denied":
        await options.denied();
        throw new TransporterError("ENROLMENT_REFUSED", `the enrolment of ${agentId} was denied`, { details: { enrolment: answer.id } });
      case "pending":
        if (told !== answer.id)
          log.warn("The agent's enrolment waits for somebody to approve it", {
            enrolment: answer.id,
            key_sha256: keySha256(key),
            remedy: `Compare the key with that of \`transporter get enrolments\`, then \`transporter agents approve ${answer.id}\`.`,
          });
        told = answer.id;
        await ports.timers.sleep(IDENTITY_TIMES.pendingFirst / 2 + pause.next(), signal);
    }
  }
}
