import { isDeepStrictEqual } from "node:util";
import { toTransporterError, TransporterError } from "../../kit/mod.ts";
import { stringifyObject } from "../../manifests/mod.ts";
import { awaitGone, type Leaving } from "../ready/await-gone.ts";
import type { KubeClient } from "../http/client.ts";
import { readExact, recordOf, type Json } from "../http/json.ts";
import { forEachLimited } from "../http/limiter.ts";
import { errorOfAnswer } from "../http/status-error.ts";
import type { KubeAnswer } from "../http/transport.ts";
import { isIrreplaceable } from "../ownership/treatment.ts";
import { putBack } from "../apply/put-back.ts";
import {
  contentOperations,
  differingFields,
  guarded,
  isEnding,
  isMadeByOthers,
  isTouchedBy,
  managersOf,
  managersOperation,
  managersToRestore,
  refuseRemaking,
  uidOf,
  versionOf,
  wasWritten,
  withOwners,
} from "./restore-content.ts";
import { type Kept, readPiece, restoreRank } from "./snapshot.ts";
import { pathOf, type Target } from "../apply/target.ts";

/**
 * What became of one object.
 * - `restored`: it is as it was before, or was made again so.
 * - `removed`: it was not there before, and is not there now.
 * - `left`: the event had not changed it.
 */
export interface PutBack {
  readonly target: Target;
  readonly status: "restored" | "removed" | "left";
  /** What a person should know of it. */
  readonly note?: string;
  /** Why it is not as it was. */
  readonly error?: TransporterError;
}

export interface RestoreOptions {
  /** By which the event's own writes are known. */
  readonly fieldManager: string;
  /** Whether the event may have deleted objects: only then is one that is gone made again. */
  readonly mayDelete: boolean;
  /** What the event is known to have made; of the rest the API server's bookkeeping tells. */
  readonly wasMade: (target: Target) => boolean;
  /** What an object is to become: as it was before, but for what the event leaves to others. */
  readonly aim?: (target: Target, before: Json, live: Json) => Promise<Json>;
  readonly signal: AbortSignal;
  readonly pieces: number;
  readonly piece: (nth: number) => Promise<string>;
  /** For what was deleted to be gone; a minute when nothing is said. */
  readonly goneMs?: number;
  readonly onPutBack: (one: PutBack) => void;
  readonly onWaiting?: (text: string) => void;
}

/** Others may write to an object while it is put back; each time it is read again. */
const MAX_TRIES = 8;
const GONE_MS = 60_000;
const PAUSE_MS = 250;

function groupsByRank(kept: readonly Kept[]): Kept[][] {
  const groups: Kept[][] = [];
  for (const one of kept) {
    const last = groups.at(-1);
    if (last?.[0] !== undefined && restoreRank(last[0].target.ref) === restoreRank(one.target.ref)) last.push(one);
    else groups.push([one]);
  }
  return groups;
}

function hasOwner({ before }: Kept): boolean {
  return before?.includes('"ownerReferences"') === true;
}

/** One run of `restoreSnapshot`. */
class Restoring {
  readonly #client: KubeClient;
  readonly #options: RestoreOptions;
  /** Of objects that were made again: what names their old uid as its owner has to name the new one. */
  readonly #uids = new Map<string, string>();

  constructor(client: KubeClient, options: RestoreOptions) {
    this.#client = client;
    this.#options = options;
  }

  async all(): Promise<void> {
    const absent: Kept[] = [];
    for (let nth = 0; nth < this.#options.pieces; nth += 1) {
      for (const group of groupsByRank(readPiece(await this.#options.piece(nth)))) {
        const [first] = group;
        const there = group.filter((kept) => kept.before !== undefined);
        const missing = group.filter((kept) => kept.before === undefined);
        // A webhook or policy that the event brought would judge everything else that is put back.
        if (first !== undefined && restoreRank(first.target.ref) < 0) await this.#removeAll(missing);
        else absent.push(...missing);
        // What names its owner by uid comes after it, as the owner may get another.
        for (const some of [there.filter((kept) => !hasOwner(kept)), there.filter(hasOwner)])
          await forEachLimited(some, this.#client.maxInFlight, (kept) => this.#told(kept.target, () => this.#restore(kept)));
      }
    }
    // What leans on others goes before them.
    for (const group of groupsByRank(absent).toReversed()) await this.#removeAll(group);
  }

  /** Whatever goes wrong with one object does not keep the others from being put back. */
  async #told(target: Target, run: () => Promise<Omit<PutBack, "target">>): Promise<void> {
    let one: Omit<PutBack, "target">;
    try {
      one = await run();
    } catch (error) {
      this.#options.signal.throwIfAborted();
      one = { status: "left", error: toTransporterError(error) };
    }
    this.#options.onPutBack({ target, ...one });
  }

  async #read(target: Target): Promise<Json | undefined> {
    const answer = await this.#client.send({ method: "GET", path: pathOf(target), signal: this.#options.signal });
    if (answer.status === 404) return undefined;
    return this.#object(answer, target);
  }

  #object(answer: KubeAnswer, target: Target): Json {
    if (answer.status >= 300) throw errorOfAnswer(answer, target.label);
    return recordOf(readExact(answer.text));
  }

  async #restore(kept: Kept): Promise<Omit<PutBack, "target">> {
    const { fieldManager, mayDelete } = this.#options;
    const { target } = kept;
    const was = recordOf(readExact(kept.before ?? "{}"));
    let differing: string[] = [];
    for (let tries = 1; tries <= MAX_TRIES; tries += 1) {
      if (tries > 1) await this.#pause();
      const live = await this.#read(target);
      if (live === undefined) return this.#remake(target, was);
      const before = (await this.#options.aim?.(target, was, live)) ?? was;
      const replaced = uidOf(live) !== uidOf(before);
      if (replaced && (await this.#wasRemade(target, live, before))) return { status: "restored", note: "made again" };
      if (replaced && !(mayDelete && isTouchedBy(live, fieldManager) && !isIrreplaceable(target.ref, live)))
        throw this.#notOurs(target, "is another object by now");
      if (replaced || (isEnding(live) && !isEnding(before))) {
        if (mayDelete) await this.#delete(target, live);
        else if (!wasWritten(live, before, kept.seenAtMs, fieldManager))
          return { status: "left", note: "it is being deleted by somebody else" };
        else throw this.#notOurs(target, "is being deleted");
        continue;
      }
      if (!wasWritten(live, before, kept.seenAtMs, fieldManager)) return { status: "left" };
      const ended = await this.#writeBack(target, live, before);
      if (ended === "done") return { status: "restored" };
      if (ended === "immutable") await this.#delete(target, live);
      else differing = ended;
    }
    throw new TransporterError(
      "APPLY_FAILED",
      `${target.label}: ${differing.length === 0 ? "somebody else keeps changing it" : `${differing.join(", ")} will not become what it was`}`,
      { details: { object: target.label, fields: differing } },
    );
  }

  #notOurs(target: Target, what: string): TransporterError {
    return new TransporterError("APPLY_FAILED", `${target.label} ${what}, which was not this event's doing; it was left alone`, {
      details: { object: target.label },
    });
  }

  async #patch(target: Target, operations: readonly object[]): Promise<KubeAnswer> {
    return this.#client.send({
      method: "PATCH",
      path: `${pathOf(target)}?fieldManager=${encodeURIComponent(this.#options.fieldManager)}`,
      contentType: "application/json-patch+json",
      body: stringifyObject(operations),
      // Guarded by the resourceVersion: a second arrival is refused, and then read again.
      repeatable: true,
      signal: this.#options.signal,
    });
  }

  /** First what it says, then who wrote it, as the first request is booked on us. Otherwise: the fields that are still others. */
  async #writeBack(target: Target, live: Json, before: Json): Promise<"done" | "immutable" | string[]> {
    const { fieldManager, mayDelete } = this.#options;
    const operations = contentOperations(live, before, fieldManager);
    let now = live;
    if (operations.length > 0) {
      const answer = await this.#patch(target, guarded(operations, versionOf(live)));
      if (answer.status === 409) return [];
      const replaceable = mayDelete && !isIrreplaceable(target.ref, live);
      if (answer.status === 422 && replaceable && errorOfAnswer(answer, target.label).code === "IMMUTABLE_FIELD") return "immutable";
      now = this.#object(answer, target);
      const differing = differingFields(now, before, fieldManager);
      if (differing.length > 0) return differing;
    }
    return this.#restoreManagers(target, now, before);
  }

  async #restoreManagers(target: Target, written: Json, before: Json): Promise<"done" | string[]> {
    let now: Json | undefined = written;
    for (let tries = 1; tries <= MAX_TRIES; tries += 1) {
      const entries = managersToRestore(now, before);
      if (isDeepStrictEqual(managersOf(now), entries)) return "done";
      const answer = await this.#patch(target, guarded([managersOperation(entries)], versionOf(now)));
      if (answer.status < 300) return "done";
      if (answer.status !== 409) throw errorOfAnswer(answer, target.label);
      // A controller writes to its status.
      now = await this.#read(target);
      if (now === undefined) return [];
    }
    return [];
  }

  async #remake(target: Target, before: Json): Promise<Omit<PutBack, "target">> {
    if (isEnding(before)) return { status: "left", note: "it was being deleted before the event already" };
    const { fieldManager, mayDelete, signal } = this.#options;
    if (!mayDelete) return { status: "left", note: "somebody else has deleted it since" };
    const why = refuseRemaking(before);
    if (why !== undefined)
      throw new TransporterError("APPLY_FAILED", `${target.label} is gone and was not made again: ${why}`, {
        details: { object: target.label },
      });
    const made = await putBack(this.#client, target, withOwners(before, this.#uids), fieldManager, signal);
    this.#uids.set(uidOf(before), uidOf(made));
    return { status: "restored", note: "made again" };
  }

  /** An earlier run may have made it again already, and ended before it could say so. */
  async #wasRemade(target: Target, live: Json, before: Json): Promise<boolean> {
    if (!this.#options.mayDelete || isEnding(live)) return false;
    const renewed = withOwners(before, this.#uids);
    if (differingFields(live, renewed, this.#options.fieldManager).length > 0) return false;
    this.#uids.set(uidOf(before), uidOf(live));
    return (await this.#restoreManagers(target, live, before)) === "done";
  }

  /** Deletes the very object that was read, and waits until it is gone. */
  async #delete(target: Target, live: Json): Promise<void> {
    const leaving = await this.#sendDelete(target, live);
    if (leaving === undefined) return;
    const staying = (await this.#gone([leaving])).get(target);
    if (staying !== undefined) throw staying;
  }

  async #sendDelete(target: Target, live: Json): Promise<Leaving | undefined> {
    const uid = uidOf(live);
    if (isEnding(live)) return { target, uid };
    const answer = await this.#client.send({
      method: "DELETE",
      path: pathOf(target),
      contentType: "application/json",
      body: JSON.stringify({ apiVersion: "v1", kind: "DeleteOptions", propagationPolicy: "Background", preconditions: { uid } }),
      repeatable: true,
      signal: this.#options.signal,
    });
    // 409: another object has the name by now, so this one is gone.
    if (answer.status === 404 || answer.status === 409) return undefined;
    if (answer.status >= 300) throw errorOfAnswer(answer, target.label);
    return { target, uid };
  }

  async #gone(leaving: readonly Leaving[]): Promise<ReadonlyMap<Target, TransporterError>> {
    const { signal, onWaiting, goneMs = GONE_MS } = this.#options;
    const ending = await awaitGone(this.#client, leaving, {
      timeoutMs: goneMs,
      signal,
      onWaiting: (staying) =>
        onWaiting?.(
          `waiting for ${staying
            .map(({ target }) => target.label)
            .slice(0, 3)
            .join(", ")} to be gone`,
        ),
    });
    if (ending.status === "gone") return new Map();
    return new Map(
      ending.staying.map(({ target, object }) => {
        const finalizers = recordOf(object?.["metadata"])["finalizers"];
        const held = Array.isArray(finalizers) && finalizers.length > 0 ? `, held by the finalizers ${finalizers.join(", ")}` : "";
        const text = `${target.label} is being deleted and is not gone after ${goneMs / 1000} s${held}`;
        return [target, new TransporterError("VERIFY_TIMEOUT", text, { details: { object: target.label } })];
      }),
    );
  }

  /** Removes what was not there before. */
  async #removeAll(absent: readonly Kept[]): Promise<void> {
    const leaving: Leaving[] = [];
    await forEachLimited(absent, this.#client.maxInFlight, async ({ target }) => {
      let going: Leaving | undefined;
      await this.#told(target, async () => {
        const live = await this.#read(target);
        if (live === undefined) return { status: "left" };
        if (!this.#options.wasMade(target) && isMadeByOthers(live, this.#options.fieldManager))
          return { status: "left", note: "somebody else has made it since, and it was left alone" };
        going = await this.#sendDelete(target, live);
        return { status: "removed" };
      });
      if (going !== undefined) leaving.push(going);
    });
    const staying = await this.#gone(leaving);
    for (const [target, error] of staying) this.#options.onPutBack({ target, status: "left", error });
  }

  async #pause(): Promise<void> {
    await this.#client.ports.timers.sleep(PAUSE_MS, this.#options.signal);
  }
}

/**
 * Puts back what a snapshot says: objects that the event wrote to are made what they were, new ones are removed, deleted ones are made
 * again. What the event did not write to is left alone, whoever has changed it. Tells of every object, the last word counts; may be run again.
 * Throws only the signal's reason, and what reading the snapshot throws.
 */
export async function restoreSnapshot(client: KubeClient, options: RestoreOptions): Promise<void> {
  await new Restoring(client, options).all();
}
