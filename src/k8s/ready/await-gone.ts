import { TransporterError } from "../../kit/mod.ts";
import { pathOf, type Target } from "../apply/target.ts";
import type { KubeClient } from "../http/client.ts";
import { type Json, parseRecord, recordOf, textOf } from "../http/json.ts";
import { watchObjects, type WatchTarget } from "../http/watch.ts";
import { waitOver } from "./wait-over.ts";

/** An object whose deletion the API server has accepted. */
export interface Leaving {
  readonly target: Target;
  /** Another object of the same name is not the one that is waited for. Undefined where it is not known: then any is. */
  readonly uid: string | undefined;
}

/** What is still there. */
export interface Staying {
  readonly target: Target;
  /** As last seen; undefined before the first look. */
  readonly object: Json | undefined;
}

export type GoneEnding =
  /** `remade`: something of the same name stands there by now. */
  | { readonly status: "gone"; readonly remade: ReadonlySet<Target> }
  | { readonly status: "timeout"; readonly staying: readonly Staying[]; readonly trouble: string | undefined };

export interface AwaitGoneOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** As each is gone. */
  readonly onGone?: (target: Target) => void;
  /** First after two seconds, then every few, with what is still there. */
  readonly onWaiting?: (staying: readonly Staying[]) => void;
}

/** How often an account that may neither list nor watch looks. */
const LOOK_MS = 1_000;

function uidOf(object: Json): string | undefined {
  return textOf(recordOf(object["metadata"])["uid"]);
}

class Leavers {
  readonly #open = new Map<Target, Staying>();
  readonly #uids = new Map<Target, string | undefined>();
  readonly #onGone: ((target: Target) => void) | undefined;
  readonly end = new AbortController();
  readonly remade = new Set<Target>();
  trouble: string | undefined;

  constructor(leaving: readonly Leaving[], onGone: ((target: Target) => void) | undefined) {
    this.#onGone = onGone;
    for (const { target, uid } of leaving) {
      this.#uids.set(target, uid);
      this.#open.set(target, { target, object: undefined });
    }
  }

  get staying(): Staying[] {
    return [...this.#open.values()];
  }

  isOpen(target: Target): boolean {
    return this.#open.has(target);
  }

  see(target: Target, object: Json): void {
    if (!this.#open.has(target)) return;
    const wanted = this.#uids.get(target);
    if (wanted === undefined || uidOf(object) === wanted) {
      this.#open.set(target, { target, object });
      return;
    }
    this.remade.add(target);
    this.gone(target);
  }

  gone(target: Target): void {
    if (!this.#open.delete(target)) return;
    this.#onGone?.(target);
    if (this.#open.size === 0) this.end.abort();
  }
}

interface Watched extends WatchTarget {
  readonly objects: readonly Target[];
}

function nameOf(object: Json): string {
  return textOf(recordOf(object["metadata"])["name"]) ?? "";
}

/** Follows one collection until everything of it that we wait for is gone, or the signal ends it. */
async function follow(client: KubeClient, group: Watched, leavers: Leavers): Promise<void> {
  const byName = new Map(group.objects.map((target) => [target.ref.name, target]));
  const events = watchObjects(client, group, {
    signal: leavers.end.signal,
    onTrouble: (what) => {
      leavers.trouble = what;
    },
  });
  for await (const event of events) {
    if (event.type === "snapshot") {
      const present = new Set(event.objects.map(nameOf));
      for (const target of group.objects) if (!present.has(target.ref.name)) leavers.gone(target);
    }
    for (const object of event.type === "snapshot" ? event.objects : [event.object]) {
      const target = byName.get(nameOf(object));
      if (target === undefined) continue;
      if (event.type === "gone") leavers.gone(target);
      else leavers.see(target, object);
    }
    leavers.trouble = undefined;
    if (!group.objects.some((target) => leavers.isOpen(target))) return;
  }
}

/** For an account that may read single objects and nothing else: the only way left is to ask again. */
async function look(client: KubeClient, target: Target, leavers: Leavers, refused: TransporterError): Promise<void> {
  while (leavers.isOpen(target)) {
    const answer = await client.send({ method: "GET", path: pathOf(target), signal: leavers.end.signal });
    if (answer.status === 404) leavers.gone(target);
    else if (answer.status === 200) leavers.see(target, parseRecord(answer.text));
    else
      throw new TransporterError(
        "FORBIDDEN",
        `${target.label} is being deleted, but whether it is gone cannot be seen: ${refused.message}`,
        {
          cause: refused,
          remedy: `Grant the agent's account get, list and watch on ${target.type.plural}.`,
        },
      );
    if (leavers.isOpen(target)) await client.ports.timers.sleep(LOOK_MS, leavers.end.signal);
  }
}

/** The end of a kind takes its objects along, and the API server then knows neither. */
function isKindGone(error: unknown): boolean {
  return error instanceof TransporterError && (error.code === "UNKNOWN_KIND" || error.details["http_status"] === 404);
}

async function followOne(client: KubeClient, target: Target, leavers: Leavers): Promise<void> {
  try {
    await follow(client, { type: target.type, namespace: target.ref.namespace, name: target.ref.name, objects: [target] }, leavers);
  } catch (error) {
    if (!(error instanceof TransporterError) || error.code !== "FORBIDDEN") throw error;
    await look(client, target, leavers, error);
  }
}

async function followGroup(client: KubeClient, group: Watched, leavers: Leavers): Promise<void> {
  const [only] = group.objects;
  try {
    if (group.objects.length === 1 && only !== undefined) await followOne(client, only, leavers);
    else await follow(client, group, leavers);
  } catch (error) {
    if (isKindGone(error)) {
      for (const target of group.objects) leavers.gone(target);
    } else if (error instanceof TransporterError && error.code === "FORBIDDEN" && group.objects.length > 1) {
      await Promise.all(group.objects.map((target) => followOne(client, target, leavers)));
    } else {
      throw error;
    }
  }
}

/**
 * Waits, by watching, until every object is gone or the time is over. Throws FORBIDDEN when it may not look, or the signal's reason.
 */
export async function awaitGone(client: KubeClient, leaving: readonly Leaving[], options: AwaitGoneOptions): Promise<GoneEnding> {
  const leavers = new Leavers(leaving, options.onGone);
  if (leaving.length === 0) return { status: "gone", remade: leavers.remade };
  const { timeoutMs, signal } = options;
  const onWaiting = (): void => options.onWaiting?.(leavers.staying);
  const targets = leaving.map(({ target }) => target);
  const { late, refused } = await waitOver(client, targets, leavers.end, { timeoutMs, signal, onWaiting }, (group) =>
    followGroup(client, group, leavers),
  );
  const { staying, remade, trouble } = leavers;
  if (staying.length === 0) return { status: "gone", remade };
  if (late) return { status: "timeout", staying, trouble };
  throw refused();
}
