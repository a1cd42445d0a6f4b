import { Backoff, messageOf, TransporterError } from "../../kit/mod.ts";
import { boundedLines, boundedText } from "./bounded.ts";
import type { KubeClient } from "./client.ts";
import { collectionPath, type ResourceType } from "./discovery.ts";
import { numberOf, parseRecord, recordOf, recordsOf, textOf, type Json } from "./json.ts";
import { retryAfterMs } from "./retry-after.ts";
import { errorOfAnswer } from "./status-error.ts";
import type { KubeAnswer } from "./transport.ts";

export interface WatchTarget {
  readonly type: ResourceType;
  readonly namespace: string | undefined;
  /** Only this object: needs permission for no other. */
  readonly name?: string;
}

export type WatchEvent =
  /** Everything there is; whatever was known before and is not in it is gone. */
  | { readonly type: "snapshot"; readonly objects: readonly Json[] }
  | { readonly type: "changed"; readonly object: Json }
  | { readonly type: "gone"; readonly object: Json };

export interface WatchOptions {
  readonly signal: AbortSignal;
  /** Told when the API server cannot be asked at the moment; the watch goes on trying until the signal ends it. */
  readonly onTrouble?: (what: string) => void;
}

const PAGE = 500;
/** The server ends a watch after this; shorter than what proxies and the runtime let be quiet. */
const WATCH_SECONDS = 60;
/** A watch that the server has not ended by then hangs on a dead connection. */
const OVERDUE_MS = 15_000;
/** Refused watches after listings that were allowed: more than this and the account may list but not watch. */
const MAX_REFUSALS = 2;

function query(target: WatchTarget, more: Readonly<Record<string, string>>): string {
  const parameters = new URLSearchParams(more);
  if (target.name !== undefined) parameters.set("fieldSelector", `metadata.name=${target.name}`);
  return `${collectionPath(target.type, target.namespace)}?${parameters.toString()}`;
}

function describe(target: WatchTarget): string {
  return `${target.type.plural}${target.namespace === undefined ? "" : ` in namespace ${target.namespace}`}`;
}

function actorOf({ identity }: KubeClient): Pick<KubeAnswer, "actor"> {
  return identity === undefined ? {} : { actor: identity };
}

interface Listing {
  readonly objects: readonly Json[];
  readonly resourceVersion: string;
}

/** All objects with their kind written in, which lists leave out. `expired` when the pages ran out of date between two requests. */
async function list(client: KubeClient, target: WatchTarget, signal: AbortSignal): Promise<Listing | "expired"> {
  const objects: Json[] = [];
  let next = "";
  for (;;) {
    const path = query(target, { limit: String(PAGE), ...(next === "" ? {} : { continue: next }) });
    const answer = await client.send({ method: "GET", path, signal });
    if (answer.status === 410) return "expired";
    if (answer.status !== 200) throw errorOfAnswer(answer, describe(target));
    const root = parseRecord(answer.text);
    const apiVersion = target.type.group === "" ? target.type.version : `${target.type.group}/${target.type.version}`;
    for (const item of recordsOf(root["items"])) objects.push({ ...item, apiVersion, kind: target.type.kind });
    const metadata = recordOf(root["metadata"]);
    next = textOf(metadata["continue"]) ?? "";
    if (next === "") return { objects, resourceVersion: textOf(metadata["resourceVersion"]) ?? "" };
  }
}

/** The error of a watch that was not opened; it says how long the API server wants to be left alone. */
function refusedWatch(answer: KubeAnswer, target: WatchTarget): TransporterError {
  const { code, message, details, remedy } = errorOfAnswer(answer, describe(target));
  const askedMs = retryAfterMs(answer);
  return new TransporterError(code, message, {
    remedy,
    details: { ...details, ...(askedMs === undefined ? {} : { retry_after_ms: askedMs }) },
  });
}

/** How one stream ended: the next may go on from `resourceVersion`, or all has to be listed again. */
interface Position {
  resourceVersion: string;
  expired: boolean;
}

async function* stream(client: KubeClient, target: WatchTarget, position: Position, signal: AbortSignal): AsyncGenerator<WatchEvent> {
  const abort = new AbortController();
  const onAbort = (): void => abort.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  const overdue = client.ports.timers.after(WATCH_SECONDS * 1000 + OVERDUE_MS, () => abort.abort());
  try {
    const path = query(target, {
      watch: "true",
      allowWatchBookmarks: "true",
      resourceVersion: position.resourceVersion,
      timeoutSeconds: String(WATCH_SECONDS),
    });
    const response = await client.open({ method: "GET", path, signal }, abort);
    if (response.status === 410) {
      position.expired = true;
      return;
    }
    if (response.status !== 200 || response.body === null)
      throw refusedWatch(
        { status: response.status, headers: response.headers, text: await boundedText(response.body), ...actorOf(client) },
        target,
      );
    for await (const line of boundedLines(response.body)) {
      const event = parseRecord(line);
      const object = recordOf(event["object"]);
      if (event["type"] === "ERROR") {
        // 410: the server no longer has the changes since our last; any other fault: do not trust the position either.
        position.expired = true;
        if (numberOf(object["code"]) !== 410)
          throw new TransporterError(
            "KUBE_UNAVAILABLE",
            `watching ${describe(target)}: ${textOf(object["message"]) ?? "the stream reported a fault"}`,
          );
        return;
      }
      position.resourceVersion = textOf(recordOf(object["metadata"])["resourceVersion"]) ?? position.resourceVersion;
      if (event["type"] === "ADDED" || event["type"] === "MODIFIED") yield { type: "changed", object };
      else if (event["type"] === "DELETED") yield { type: "gone", object };
    }
  } finally {
    overdue.cancel();
    signal.removeEventListener("abort", onAbort);
    abort.abort();
  }
}

/** What asking again cannot mend: permissions, and what the server does not serve. */
function isFinal(error: unknown): boolean {
  return error instanceof TransporterError && error.kind !== "unavailable" && error.kind !== "timeout" && error.code !== "APPLY_FAILED";
}

/**
 * What is there, and then every change, until the signal ends it: list and watch with bookmarks, resumed where a stream ended, listed anew
 * when the server has forgotten that place. Lives through API servers that restart. Throws FORBIDDEN and other refusals that will not
 * change, and the signal's reason.
 * Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 */
export async function* watchObjects(client: KubeClient, target: WatchTarget, options: WatchOptions): AsyncGenerator<WatchEvent> {
  const { signal } = options;
  const backoff = new Backoff({ firstMs: 200, maxMs: 5_000 }, client.ports.random);
  let position: Position | undefined;
  let refusals = 0;
  for (;;) {
    signal.throwIfAborted();
    const startedAt = client.ports.clock.monotonic();
    let askedMs = 0;
    try {
      if (position === undefined || position.expired) {
        const listing = await list(client, target, signal);
        if (listing === "expired") continue;
        yield { type: "snapshot", objects: listing.objects };
        position = { resourceVersion: listing.resourceVersion, expired: false };
      }
      yield* stream(client, target, position, signal);
      backoff.reset();
      refusals = 0;
    } catch (error) {
      signal.throwIfAborted();
      // A token that rotated under a watch, or a server that is starting: the listing asks properly, and gives up if refused too.
      const refused = error instanceof TransporterError && (error.code === "KUBE_UNAUTHORIZED" || error.code === "FORBIDDEN");
      if (refused && position?.expired === false && refusals < MAX_REFUSALS) {
        refusals += 1;
        position.expired = true;
      } else if (isFinal(error)) {
        throw error;
      }
      askedMs = error instanceof TransporterError ? (numberOf(error.details["retry_after_ms"]) ?? 0) : 0;
      options.onTrouble?.(messageOf(error));
    }
    // A stream that ends as soon as it opens must not make a busy loop, and one that ran its time costs no wait.
    if (askedMs > 0 || client.ports.clock.monotonic() - startedAt < 1_000)
      await client.ports.timers.sleep(Math.max(askedMs, 100) + backoff.next(), signal);
  }
}
