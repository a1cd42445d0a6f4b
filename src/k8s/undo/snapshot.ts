import { TransporterError } from "../../kit/mod.ts";
import { type ObjectRef, splitApiVersion, stageOf, STAGES } from "../../manifests/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { forEachLimited } from "../http/limiter.ts";
import { parseRecord } from "../http/json.ts";
import { errorOfAnswer } from "../http/status-error.ts";
import { lossWith } from "../ownership/treatment.ts";
import { type Need, Needs } from "./rights.ts";
import { pathOf, type Target, targetOf } from "../apply/target.ts";

/** An object as it was before an event changed anything: all it takes to put it back. */
export interface Kept {
  readonly target: Target;
  /** JSON as the API server gave it; undefined where there was none. */
  readonly before: string | undefined;
  /** By the API server's clock, in milliseconds, to the second; undefined where it did not say. */
  readonly seenAtMs: number | undefined;
}

export interface SnapshotOptions {
  readonly signal?: AbortSignal;
  /** Takes a piece of the snapshot, in order; resolves when it cannot be lost any more. */
  readonly save: (piece: string, nth: number) => Promise<void>;
  readonly onProgress?: (done: number, total: number) => void;
  /** Whether the event may delete objects that are there. */
  readonly mayDelete: boolean;
  /** Of these it is certain. */
  readonly isDoomed?: (target: Target) => boolean;
}

export interface Snapshot {
  readonly pieces: number;
  /** What putting it back may take. */
  readonly needs: readonly Need[];
}

/** So many objects are read before they are written down: 10,000 of them must not lie in memory together. */
const BATCH = 64;
const PIECE_CHARS = 512 * 1024;

/**
 * In which order objects are put back: what judges others first, or a webhook that the event brought would refuse the rest; then what others
 * lean on before those.
 */
export function restoreRank({ group, kind }: Pick<ObjectRef, "group" | "kind">): number {
  const stage = stageOf(group, kind);
  return stage === "admission" ? -1 : STAGES.indexOf(stage);
}

interface Line {
  readonly r: ObjectRef;
  readonly t: { readonly version: string; readonly plural: string; readonly namespaced: boolean };
  readonly b?: string;
  readonly s?: number;
}

function lineOf({ target, before, seenAtMs }: Kept): string {
  const { ref, type } = target;
  const line: Line = {
    r: ref,
    t: { version: type.version, plural: type.plural, namespaced: type.namespaced },
    ...(before === undefined ? {} : { b: before }),
    ...(seenAtMs === undefined ? {} : { s: seenAtMs }),
  };
  return `${JSON.stringify(line)}\n`;
}

/** What a piece of a snapshot says. */
export function readPiece(piece: string): Kept[] {
  return piece
    .split("\n")
    .filter((line) => line !== "")
    .map((text) => {
      const { r: ref, t, b: before, s: seenAtMs } = JSON.parse(text) as Line;
      const type = { group: ref.group, kind: ref.kind, ...t, verbs: new Set<string>() };
      return { target: targetOf(ref, type), before, seenAtMs };
    });
}

/** The kind in another version, where one is served: what the event's own definition brings may be new, and its objects stand under another by now. */
async function inServedVersion(client: KubeClient, target: Target, signal: AbortSignal | undefined): Promise<Target> {
  const { ref } = target;
  for (const suggestion of client.discovery.suggestions(ref)) {
    const [apiVersion = "", kind = ""] = suggestion.split(" ");
    const served = splitApiVersion(apiVersion);
    if (served?.group !== ref.group || kind !== ref.kind) continue;
    const [type] = await client.discovery.resolve([{ ...served, kind }], signal);
    if (type !== undefined) return targetOf({ ...ref, version: type.version }, type);
  }
  return target;
}

async function served(client: KubeClient, targets: readonly Target[], signal: AbortSignal | undefined): Promise<Target[]> {
  const types = await client.discovery.resolve(
    targets.map(({ ref }) => ref),
    signal,
  );
  return Promise.all(targets.map(async (target, at) => (types[at] === undefined ? inServedVersion(client, target, signal) : target)));
}

async function look(client: KubeClient, target: Target, signal: AbortSignal | undefined): Promise<Kept> {
  const answer = await client.send({ method: "GET", path: pathOf(target), signal });
  const seenAtMs = Date.parse(answer.headers.get("date") ?? "");
  const seen = { target, seenAtMs: Number.isNaN(seenAtMs) ? undefined : seenAtMs };
  if (answer.status === 200) return { ...seen, before: answer.text };
  if (answer.status === 404) return { ...seen, before: undefined };
  const error = errorOfAnswer(answer, target.label);
  throw new TransporterError(error.code, `${error.message}; it has to be read first, so that it can be put back`, {
    details: error.details,
    remedy: error.remedy,
  });
}

function addNeeds(needs: Needs, { target, before }: Kept, mayDelete: boolean): void {
  if (before === undefined) needs.add("delete", target);
  else if (mayDelete) needs.add("create", target);
  else needs.add("patch", target);
}

/** What nobody sees by the name of a kind: with some objects goes what no snapshot of them holds. */
function refuseLoss({ target, before }: Kept): void {
  const loss = before === undefined || target.ref.kind !== "StatefulSet" ? undefined : lossWith(parseRecord(before));
  if (loss === undefined) return;
  throw new TransporterError(
    "INVALID_OBJECT",
    `${target.label} cannot be deleted with on_failure: rollback: with it would go ${loss}, which could not be brought back`,
    { details: { objects: [target.label] }, remedy: "Send what deletes it as an event of its own, without on_failure: rollback." },
  );
}

/** Reads every object and hands it over to be kept. Changes nothing. */
export async function takeSnapshot(client: KubeClient, targets: readonly Target[], options: SnapshotOptions): Promise<Snapshot> {
  const { signal, save, onProgress, mayDelete } = options;
  const needs = new Needs();
  const ordered = (await served(client, targets, signal)).toSorted((a, b) => restoreRank(a.ref) - restoreRank(b.ref));
  let pieces = 0;
  let piece = "";
  const flush = async (): Promise<void> => {
    await save(piece, pieces);
    pieces += 1;
    piece = "";
  };
  for (let at = 0; at < ordered.length; at += BATCH) {
    const batch = ordered.slice(at, at + BATCH);
    const lines = new Map<Target, string>();
    await forEachLimited(batch, client.maxInFlight, async (target) => {
      const kept = await look(client, target, signal);
      addNeeds(needs, kept, mayDelete);
      if (options.isDoomed?.(target) === true) refuseLoss(kept);
      lines.set(target, lineOf(kept));
    });
    for (const target of batch) {
      piece += lines.get(target) ?? "";
      if (piece.length >= PIECE_CHARS) await flush();
    }
    onProgress?.(Math.min(at + BATCH, ordered.length), ordered.length);
  }
  if (piece !== "") await flush();
  return { pieces, needs: needs.all };
}
