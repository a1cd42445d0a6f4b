import { TransporterError } from "../../kit/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { objectPath, type ResourceType } from "../http/discovery.ts";
import { numberOf, parseRecord, recordOf, textOf, type Json } from "../http/json.ts";
import { claimWaitsForConsumer } from "./late-binding.ts";
import type { Target } from "../apply/target.ts";
import { readiness, type Readiness } from "./readiness.ts";
import type { ReadyRules } from "./ready-when.ts";
import { watchObjects, type WatchTarget } from "../http/watch.ts";
import { waitOver } from "./wait-over.ts";

export interface Awaited {
  readonly target: Target;
  /** Of the object after our apply: anything older says nothing. */
  readonly generation: number | undefined;
}

export interface Standing extends Readiness {
  readonly target: Target;
  /** As last seen; undefined before the first look. */
  readonly object: Json | undefined;
}

export type Ending =
  | { readonly status: "ready" }
  | { readonly status: "failed"; readonly standings: readonly Standing[] }
  | { readonly status: "timeout"; readonly standings: readonly Standing[]; readonly trouble: string | undefined };

export interface AwaitOptions {
  readonly timeoutMs: number;
  /** What the event says of readiness, in place of what the kinds say. */
  readonly rules?: ReadyRules | undefined;
  readonly signal?: AbortSignal;
  /** From time to time, with what is not ready. */
  readonly onWaiting?: (standings: readonly Standing[]) => void;
  /** As each is seen to be ready. */
  readonly onReady?: ((target: Target) => void) | undefined;
}

/** Failures come in clusters; one that is seen gets this long for the others of the same moment to be seen too. */
const GATHER_MS = 100;

class Waiting {
  readonly #client: KubeClient;
  readonly #rules: ReadyRules | undefined;
  readonly #onReady: AwaitOptions["onReady"];
  readonly #open = new Map<Target, Standing>();
  readonly #generations = new Map<Target, number | undefined>();
  readonly end = new AbortController();
  trouble: string | undefined;
  #gathering = false;

  constructor(client: KubeClient, awaited: readonly Awaited[], { rules, onReady }: AwaitOptions) {
    this.#client = client;
    this.#rules = rules;
    this.#onReady = onReady;
    for (const { target, generation } of awaited) {
      this.#generations.set(target, generation);
      this.#open.set(target, { target, object: undefined, status: "in_progress", reason: "Unseen", message: "it was not looked at yet" });
    }
  }

  get standings(): Standing[] {
    return [...this.#open.values()];
  }

  isOpen(target: Target): boolean {
    return this.#open.has(target);
  }

  async see(target: Target, object: Json): Promise<void> {
    if (!this.#open.has(target)) return;
    this.#note(target, object, await this.#judge(target, object));
  }

  gone(target: Target): void {
    const standing = this.#open.get(target);
    if (standing === undefined) return;
    this.#note(target, undefined, { status: "failed", reason: "Gone", message: "it was deleted while it was waited for" });
  }

  async #judge(target: Target, object: Json): Promise<Readiness> {
    const seen = numberOf(recordOf(object["metadata"])["generation"]);
    const applied = this.#generations.get(target);
    if (seen !== undefined && applied !== undefined && seen < applied)
      return { status: "in_progress", reason: "Outdated", message: "the change is not seen yet" };
    const ruled = await this.#rules?.judge(target, object);
    if (ruled !== undefined) return ruled;
    const found = readiness(object);
    const isClaim = target.type.group === "" && target.type.kind === "PersistentVolumeClaim";
    if (isClaim && found.status === "in_progress" && (await claimWaitsForConsumer(this.#client, object, this.end.signal)))
      return { status: "ready", reason: "WaitForFirstConsumer", message: "its volume comes with the first pod that uses it" };
    return found;
  }

  #note(target: Target, object: Json | undefined, found: Readiness): void {
    if (found.status === "ready") {
      if (this.#open.delete(target)) this.#onReady?.(target);
      if (this.#open.size === 0) this.end.abort();
      return;
    }
    this.#open.set(target, { target, object, ...found });
    if (found.status !== "failed" || this.#gathering) return;
    this.#gathering = true;
    this.#client.ports.timers.after(GATHER_MS, () => {
      if (this.standings.some((standing) => standing.status === "failed")) this.end.abort();
      else this.#gathering = false;
    });
  }
}

function nameOf(object: Json): string {
  return textOf(recordOf(object["metadata"])["name"]) ?? "";
}

interface Watched extends WatchTarget {
  readonly type: ResourceType;
  readonly objects: readonly Target[];
}

/** Follows one collection until every object of it that we wait for is ready, or the signal ends it. */
async function follow(client: KubeClient, group: Watched, waiting: Waiting): Promise<void> {
  const byName = new Map(group.objects.map((target) => [target.ref.name, target]));
  const events = watchObjects(client, group, {
    signal: waiting.end.signal,
    onTrouble: (what) => {
      waiting.trouble = what;
    },
  });
  for await (const event of events) {
    if (event.type === "snapshot") {
      const present = new Set(event.objects.map(nameOf));
      for (const target of group.objects) if (!present.has(target.ref.name)) waiting.gone(target);
    }
    const objects = event.type === "snapshot" ? event.objects : [event.object];
    for (const object of objects) {
      const target = byName.get(nameOf(object));
      if (target === undefined) continue;
      if (event.type === "gone") waiting.gone(target);
      else await waiting.see(target, object);
    }
    waiting.trouble = undefined;
    if (!group.objects.some((target) => waiting.isOpen(target))) return;
  }
}

/** An account that may not list the collection may still watch single objects by name, or read them once. */
async function followOne(client: KubeClient, target: Target, waiting: Waiting): Promise<void> {
  const group = { type: target.type, namespace: target.ref.namespace, name: target.ref.name, objects: [target] };
  try {
    await follow(client, group, waiting);
  } catch (error) {
    if (!(error instanceof TransporterError) || error.code !== "FORBIDDEN") throw error;
    const path = objectPath(target.type, target.ref.namespace, target.ref.name);
    const answer = await client.send({ method: "GET", path, signal: waiting.end.signal });
    if (answer.status === 200) await waiting.see(target, parseRecord(answer.text));
    if (waiting.isOpen(target))
      throw new TransporterError(
        "FORBIDDEN",
        `${target.label} was applied, but whether it becomes ready cannot be seen: ${error.message}`,
        {
          cause: error,
          remedy: `Grant the agent's account list and watch on ${target.type.plural}.`,
        },
      );
  }
}

async function followGroup(client: KubeClient, group: Watched, waiting: Waiting): Promise<void> {
  const [only] = group.objects;
  if (group.objects.length === 1 && only !== undefined) return followOne(client, only, waiting);
  try {
    await follow(client, group, waiting);
  } catch (error) {
    if (!(error instanceof TransporterError) || error.code !== "FORBIDDEN") throw error;
    await Promise.all(group.objects.map((target) => followOne(client, target, waiting)));
  }
}

/**
 * Waits, by watching, until every object is ready, one has failed for good, or the time is over. Throws FORBIDDEN when it may not look,
 * or the signal's reason.
 */
export async function awaitReady(client: KubeClient, awaited: readonly Awaited[], options: AwaitOptions): Promise<Ending> {
  if (awaited.length === 0) return { status: "ready" };
  const waiting = new Waiting(client, awaited, options);
  const { timeoutMs, signal } = options;
  const onWaiting = (): void => options.onWaiting?.(waiting.standings);
  const targets = awaited.map(({ target }) => target);
  const { late, refused } = await waitOver(client, targets, waiting.end, { timeoutMs, signal, onWaiting }, (group) =>
    followGroup(client, group, waiting),
  );
  const { standings } = waiting;
  if (standings.length === 0) return { status: "ready" };
  if (standings.some((standing) => standing.status === "failed")) return { status: "failed", standings };
  if (late) return { status: "timeout", standings, trouble: waiting.trouble };
  throw refused();
}
