import { type Logger, type Ports, RUNTIME_VARIABLES, TransporterError, createLogger, messageOf } from "../kit/mod.ts";
import { EXIT } from "./exit.ts";
import { type Host, wantsColor } from "./host.ts";

const STOP_BUDGET_MS = 10_000;

/**
 * Refuses a service whose environment weakens it. ENVIRONMENT_REFUSED: what makes something else of this program. INSECURE_REFUSED: NODE_TLS_REJECT_UNAUTHORIZED=0 is an order to the runtime to check no certificate, as
 * a client and, worse, as a server; only that may be, where insecurity was asked for.
 */
export function refuseEnvironment(env: Host["env"], insecure: boolean): void {
  for (const name of RUNTIME_VARIABLES)
    if ((env[name] ?? "") !== "")
      throw new TransporterError("ENVIRONMENT_REFUSED", `environment variable ${name} changes what this program is`, {
        remedy: `Unset ${name}; no setting of Transporter needs it.`,
      });
  if (env["NODE_TLS_REJECT_UNAUTHORIZED"] !== "0" || insecure) return;
  throw new TransporterError(
    "INSECURE_REFUSED",
    "environment variable NODE_TLS_REJECT_UNAUTHORIZED=0 switches off every check of certificates",
    {
      remedy: "Unset it and name the CA with --ca-file; --insecure starts all the same.",
    },
  );
}

export interface ServiceLog {
  readonly log: Logger;
  /** Writes what is still held back. */
  readonly flush: () => void;
}

/** The log of a service: on a terminal for people, else JSON lines. Lines of one turn are written together, in one call of the system. */
export function serviceLog(
  host: Host,
  ports: Ports,
  options: { readonly debug: boolean; readonly format: "text" | "json" | undefined },
): ServiceLog {
  let held: string[] = [];
  const flush = (): void => {
    const lines = held;
    held = [];
    if (lines.length > 0) host.err.write(`${lines.join("\n")}\n`);
  };
  const log = createLogger({
    format: options.format ?? (host.err.isTerminal ? "text" : "json"),
    debug: options.debug,
    color: wantsColor(host.err, host.env),
    now: () => ports.clock.now(),
    write(line) {
      if (held.length === 0) ports.timers.soon(flush);
      held.push(line);
    },
  });
  return { log, flush };
}

export interface Service {
  stop(): Promise<void>;
  /** How long that may take; ten seconds where nothing is said. */
  readonly stopBudgetMs?: number;
  /** Settles only when it cannot go on. */
  readonly ended?: Promise<unknown>;
}

/**
 * Runs a service until a signal: the first stops it cleanly, within ten seconds or what it asks for, the second ends the process at once. Signals are heeded
 * while it starts, too. Answers the exit code: 0 after a clean stop.
 */
export async function runService(host: Host, ports: Ports, { log, flush }: ServiceLog, start: () => Promise<Service>): Promise<number> {
  const asked = Promise.withResolvers<"asked">();
  let signals = 0;
  const forget = host.onSignal((signal) => {
    signals += 1;
    if (signals > 1) {
      flush();
      host.exitNow(signal === "SIGINT" ? EXIT.interrupted : EXIT.terminated);
      return;
    }
    log.info("Stopping", { signal });
    asked.resolve("asked");
  });
  try {
    const service = await start();
    const why = await Promise.race([asked.promise, service.ended ?? asked.promise]);
    const budgetMs = service.stopBudgetMs ?? STOP_BUDGET_MS;
    const stopped = service.stop().then(() => "stopped" as const);
    const late = new AbortController();
    const inTime = await Promise.race([stopped, ports.timers.sleep(budgetMs, late.signal).then(() => "late" as const)]);
    late.abort(new Error("stopped in time"));
    if (inTime === "late") log.error("It did not stop in time and is ended", { budget_ms: budgetMs });
    if (why !== "asked") throw why instanceof Error ? why : new Error(messageOf(why));
    log.info("Stopped");
    return inTime === "late" ? EXIT.failed : EXIT.ok;
  } finally {
    forget();
    flush();
  }
}
