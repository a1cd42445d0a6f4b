import type { KubeClient } from "../http/client.ts";
import { cut, type Subject } from "./parts.ts";

/** Of a container that does not do what it should. */
export interface LogLines {
  readonly pod: string;
  readonly container: string;
  /** The last ones, the last at the end; empty when it wrote nothing. */
  readonly lines: readonly string[];
  /** Of the container before this one, which has ended. */
  readonly previous: boolean;
}

const LINES = 10;
/** More are asked for, as empty ones do not count. */
const TAIL = 3 * LINES;
const LINE_CHARS = 300;
/** Of the answer, so that one line of megabytes is no trouble. */
const LIMIT_BYTES = 32 * 1024;

/** Colours and other control characters mean nothing in a message, and can do harm on a terminal. */
function plain(line: string): string {
  return line.replaceAll(/\u001B\[[0-9;?]*[ -/]*[@-~]/g, "").replaceAll(/[\u0000-\u0008\u000B-\u001F\u007F-\u009F]/g, "");
}

/**
 * The last lines that a container wrote; of the one before where that is asked for and there is one. Undefined where logs may not be
 * read or the node does not answer.
 */
export async function lastLines(
  client: KubeClient,
  pod: Subject,
  container: string,
  previous: boolean,
  signal: AbortSignal | undefined,
): Promise<LogLines | undefined> {
  const query = new URLSearchParams({ container, tailLines: String(TAIL), limitBytes: String(LIMIT_BYTES) });
  if (previous) query.set("previous", "true");
  const path = `/api/v1/namespaces/${encodeURIComponent(pod.namespace)}/pods/${encodeURIComponent(pod.name)}/log?${query.toString()}`;
  const answer = await client.send({ method: "GET", path, accept: "text/plain, */*", signal });
  if (answer.status === 400 && previous) return lastLines(client, pod, container, false, signal);
  if (answer.status !== 200) return undefined;
  const lines = answer.text
    .split("\n")
    .map((line) => cut(plain(line), LINE_CHARS))
    .filter((line) => line !== "");
  return { pod: pod.name, container, lines: lines.slice(-LINES), previous };
}
