import { existsSync, readFileSync, statSync } from "node:fs";

/*
 * The other end of the file that an agent writes (src/agent/health-file.ts). A kubelet asks every few seconds for as long as the pod lives,
 * within the pod's limits: so this loads nothing of the program, and half a second of its start is saved where there is a tenth of a processor.
 */

export interface HealthVerdict {
  readonly ok: boolean;
  readonly text: string;
}

/** What the file at `path` says; `live` asks only whether who writes it still turns. */
export function judgeHealthFile(path: string, asked: "live" | "ready", nowMs: number): HealthVerdict {
  let text: string;
  let touchedMs: number;
  try {
    text = readFileSync(path, "utf8");
    touchedMs = statSync(path).mtimeMs;
  } catch (error) {
    return no(
      isAbsent(error)
        ? `${path} is not there: nothing has started that writes it`
        : `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  const record = recordOf(text);
  if (record === undefined) return no(`${path} is no health file`);
  const there = processAt(record.pid);
  if (there === "gone" || (there !== "unknown" && there.started !== record.started))
    return no(`${path} is of an earlier start: process ${record.pid} of then has ended`);
  if (there !== "unknown" && /^[TtZXx]$/.test(there.state))
    return no(`process ${record.pid} ${/^[Tt]$/.test(there.state) ? "is stopped" : "has ended"}`);
  // The clock may have been set, and a file system of elsewhere has one of its own.
  const aliveMs = touchedMs <= nowMs ? Math.max(touchedMs, record.writtenAtMs) : record.writtenAtMs;
  const ageMs = nowMs - aliveMs;
  if (ageMs < -record.staleAfterMs) return no(`${path} was written ${seconds(-ageMs)} from now: the clock was set back`);
  if (ageMs > record.staleAfterMs) return no(`process ${record.pid} hangs: it last wrote ${path} ${seconds(ageMs)} ago`);
  if (asked === "live") return { ok: true, text: `process ${record.pid} wrote ${path} ${seconds(Math.max(0, ageMs))} ago` };
  return { ok: record.ready, text: record.summary };
}

/** The line that is printed. What came from a file is no reason to let a terminal be steered. */
export function healthLine(asked: "live" | "ready", { ok, text }: HealthVerdict): string {
  return `${ok ? "" : "not "}${asked}: ${text.replaceAll(/\p{C}/gu, "?").slice(0, 1000)}\n`;
}

/** The file of a call that says it by flag or variable and nothing else but --live; any other takes the long way, which comes to the same. */
export function quickHealthcheck(
  argv: readonly string[],
  named: string | undefined,
): { readonly path: string; readonly asked: "live" | "ready" } | undefined {
  if (argv[0] !== "healthcheck" || argv[1] !== "agent") return undefined;
  const live = argv.length === 3 && argv[2] === "--live";
  return (live || argv.length === 2) && named !== undefined && named.trim() === named && named !== ""
    ? { path: named, asked: live ? "live" : "ready" }
    : undefined;
}

function no(text: string): HealthVerdict {
  return { ok: false, text };
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}

function isAbsent(error: unknown): boolean {
  return typeof error === "object" && error !== null && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}

interface HealthRecord {
  readonly pid: number;
  readonly started: string;
  readonly writtenAtMs: number;
  readonly staleAfterMs: number;
  readonly ready: boolean;
  readonly summary: string;
}

function recordOf(text: string): HealthRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const {
    pid,
    started,
    written_at_ms: writtenAtMs,
    stale_after_ms: staleAfterMs,
    ready,
    summary,
  } = value as Readonly<Record<string, unknown>>;
  return typeof pid === "number" &&
    Number.isSafeInteger(pid) &&
    typeof started === "string" &&
    typeof writtenAtMs === "number" &&
    typeof staleAfterMs === "number" &&
    typeof ready === "boolean" &&
    typeof summary === "string"
    ? { pid, started, writtenAtMs, staleAfterMs, ready, summary }
    : undefined;
}

interface SeenProcess {
  /** One letter, as /proc has it. */
  readonly state: string;
  /** Ticks since the machine started: in a container every start is process 1, but no two began in the same moment. */
  readonly started: string;
}

function processAt(pid: number): SeenProcess | "gone" | "unknown" {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // Behind the name, which stands in parentheses and may hold any.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0] ?? "", started: fields[19] ?? "" };
  } catch {
    // Only Linux tells.
    return existsSync("/proc/self/stat") ? "gone" : "unknown";
  }
}
