import { liveStream } from "../../src/cp/http/live.ts";
import { isTerminal } from "../../src/protocol/mod.ts";
import type { ControlPlaneProcess } from "./control-plane.ts";
import type { Dice } from "./random.ts";
import type { Life, World } from "./world.ts";

/** A stream says something every five seconds; whoever reads it comes again where it has not for this long. */
const SILENT_MS = 20_000;
const decoder = new TextDecoder();

export interface FollowersOptions {
  readonly world: World;
  readonly controlPlanes: readonly ControlPlaneProcess[];
  readonly dice: Dice;
  /** Nobody knows of this event any more, as its store has lost it. */
  readonly isLost: (eventId: string) => boolean;
}

/** Those who wait for the end of an event, at any control plane: whoever is cut off comes to another and goes on where it was. */
export class Followers {
  readonly #options: FollowersOptions;
  /** Who still waits. */
  readonly waiting = new Set<string>();

  constructor(options: FollowersOptions) {
    this.#options = options;
  }

  follow(eventId: string): void {
    if (this.waiting.has(eventId)) return;
    this.waiting.add(eventId);
    this.#attempt(eventId, { afterSeq: 0 });
  }

  #attempt(eventId: string, at: { afterSeq: number }): void {
    const { world, dice, controlPlanes, isLost } = this.#options;
    if (isLost(eventId)) {
      this.waiting.delete(eventId);
      return;
    }
    const controlPlane = dice.pick(controlPlanes);
    const { life } = controlPlane;
    let over = false;
    const abort = new AbortController();
    const end = (done: boolean): void => {
      if (over) return;
      over = true;
      if (life !== undefined && !life.dead) world.asSoon(life, "follower gone", () => abort.abort());
      if (done) this.waiting.delete(eventId);
      else world.after(dice.long(100, 3_000), undefined, "follow again", () => this.#attempt(eventId, at));
    };
    if (life === undefined || !controlPlane.listening) {
      end(false);
      return;
    }
    const heard = { atMs: world.nowMs };
    const watch = (): void => {
      if (over) return;
      if (life.dead || world.nowMs - heard.atMs > SILENT_MS) end(false);
      else world.after(5_000, undefined, "follower watches", watch);
    };
    watch();
    world.asSoon(life, "follow", () => {
      void this.#read(controlPlane, life, eventId, { at, heard, signal: abort.signal }).then(end, () => end(false));
    });
  }

  /** True when the end came. */
  async #read(
    controlPlane: ControlPlaneProcess,
    life: Life,
    eventId: string,
    how: { readonly at: { afterSeq: number }; readonly heard: { atMs: number }; readonly signal: AbortSignal },
  ): Promise<boolean> {
    const { core, store, ports } = controlPlane;
    if (core === undefined || store === undefined || ports === undefined) return false;
    const stored = await store.getEvent("default", eventId, { payload: false, log: false });
    if (stored === undefined) return false;
    const reader = liveStream({
      store,
      bell: core.bell,
      ports,
      tenant: "default",
      eventId,
      afterSeq: how.at.afterSeq,
      revision: stored.delivery.revision,
      finished: isTerminal(stored.delivery.state),
      isStopping: () => life.dead,
      signal: how.signal,
      forgets: store.info.shared,
    }).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (life.dead || done) return false;
      const text = decoder.decode(value);
      how.heard.atMs = this.#options.world.nowMs;
      for (const [, seq] of text.matchAll(/^id: (\d+)$/gm)) how.at.afterSeq = Number(seq);
      if (text.includes("event: end")) return true;
    }
  }
}
