import { messageOf } from "../../kit/mod.ts";
import { hasBeenPatched, type KubeClient, type Located, type PatchFinding, type PatchTrace, readTrace } from "../../k8s/mod.ts";
import type { ParsedObject } from "../../manifests/mod.ts";
import type { Keep } from "../keep.ts";

/** Under which name the agent's ledger has how the objects were before the first of them was patched. */
const UNPATCHED = "unpatched";

interface Kept {
  /** When the first attempt at a restart was made. */
  readonly restartAtMs?: number | undefined;
  /** By the object's place in the event. */
  readonly before: Readonly<Record<string, PatchTrace>>;
}

/**
 * What was patched already, over attempts and over a crash of the agent: a JSON patch must not be carried out twice, a further attempt at a
 * restart must be the same restart, and what an earlier attempt changed must not be told as unchanged.
 */
export class PatchMemory {
  readonly #client: KubeClient;
  readonly #keep: Keep;
  readonly #fieldManager: string;
  readonly #before = new Map<ParsedObject, PatchTrace>();
  readonly #done = new Set<ParsedObject>();
  #recalled = false;
  restartAtMs: number | undefined;

  constructor(client: KubeClient, keep: Keep, fieldManager: string) {
    this.#client = client;
    this.#keep = keep;
    this.#fieldManager = fieldManager;
  }

  /** Reads, once, what an earlier process kept. */
  async recall(objects: readonly ParsedObject[]): Promise<void> {
    if (this.#recalled) return;
    const text = await this.#keep.get(UNPATCHED);
    this.#recalled = true;
    if (text === undefined) return;
    const kept = JSON.parse(text) as Kept;
    this.restartAtMs = kept.restartAtMs;
    for (const [place, trace] of Object.entries(kept.before)) {
      const parsed = objects[Number(place)];
      if (parsed !== undefined) this.#before.set(parsed, trace);
    }
  }

  /** Durable before the first patch. `must`: there are patches among them that must not be carried out twice. */
  async remember(objects: readonly ParsedObject[], findings: ReadonlyMap<Located, PatchFinding>, must: boolean): Promise<void> {
    const fresh = [...findings].filter(([{ parsed }]) => !this.#before.has(parsed));
    if (fresh.length === 0) return;
    for (const [{ parsed }, { uid, resourceVersion, own, content, expected }] of fresh)
      this.#before.set(parsed, { uid, resourceVersion, own, content, expected });
    const before = objects.flatMap((parsed, place) => {
      const trace = this.#before.get(parsed);
      return trace === undefined ? [] : [[place, trace] as const];
    });
    const kept: Kept = { restartAtMs: this.restartAtMs, before: Object.fromEntries(before) };
    await this.#keep.set(UNPATCHED, JSON.stringify(kept)).catch((error: unknown) => {
      if (must) throw error;
      this.#client.log.warn("What is going to be patched could not be kept", { error: messageOf(error) });
    });
  }

  markDone(parsed: ParsedObject): void {
    this.#done.add(parsed);
  }

  /** By what this attempt's trial saw, or a patch of an earlier one answered. */
  isDone(parsed: ParsedObject, seen?: PatchTrace): boolean {
    const before = this.#before.get(parsed);
    return this.#done.has(parsed) || (before !== undefined && seen !== undefined && hasBeenPatched(before, seen));
  }

  /** Whether an object was patched before; looks at it where only that can tell. */
  async wasDone(target: Located, signal: AbortSignal): Promise<boolean> {
    const { parsed } = target;
    if (this.#done.has(parsed) || !this.#before.has(parsed)) return this.#done.has(parsed);
    const now = await readTrace(this.#client, target, { fieldManager: this.#fieldManager, signal });
    const done = now !== undefined && this.isDone(parsed, now);
    if (done) this.#done.add(parsed);
    return done;
  }
}
