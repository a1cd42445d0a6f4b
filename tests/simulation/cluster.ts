import type { ResourceSteps, StepContext } from "../../src/agent/mod.ts";
import type { ScriptRunner } from "../../src/agent/script.ts";
import { failpoint, TransporterError } from "../../src/kit/mod.ts";
import type { ParsedObject } from "../../src/manifests/mod.ts";
import type { ResourceStatus } from "../../src/protocol/mod.ts";
import { type History, keyOf, type Plan } from "./history.ts";
import type { Dice } from "./random.ts";
import type { Life, World } from "./world.ts";

/** What an agent finds at its API server. It outlives the agent, and has no memory of who asked. */
export class Cluster {
  readonly agentId: string;
  /** Nobody reaches the API server; heals. */
  away = false;
  /** The revision of each event that the agent works on now, as its ledger was told last. */
  readonly revisions = new Map<string, number>();
  readonly #world: World;
  readonly #history: History;
  readonly #dice: Dice;
  /** What each object says: the event that wrote it last. */
  readonly #objects = new Map<string, string>();
  /** Attempts that have failed so far, by delivery. */
  readonly #failures = new Map<string, number>();

  constructor(world: World, history: History, agentId: string) {
    this.agentId = agentId;
    this.#world = world;
    this.#history = history;
    this.#dice = world.dice.fork();
  }

  /** The port between the agent's phases and its cluster, for one run of the agent. */
  resources(life: Life): (objects: readonly ParsedObject[], context: StepContext) => ResourceSteps {
    return (objects, context) => new Steps(this, life, objects, context);
  }

  /** Who runs scripts: each run counts, however it ends. */
  scripts(life: Life): ScriptRunner {
    return async (work, _payload, { signal }) => {
      if (life.dead) return new Promise<never>(() => undefined);
      const plan = this.#history.plans.get(work.eventId);
      if (plan === undefined) throw new TransporterError("INTERNAL", "nobody planned this script");
      const key = keyOf(work.eventId, work.revision ?? 0);
      this.#history.scriptRuns.set(key, (this.#history.scriptRuns.get(key) ?? 0) + 1);
      this.#effect("script", work.eventId, work.revision ?? 0, true);
      await this.wait(life, plan.fate.applyMs, signal);
      return { success: plan.fate.trouble !== "forbidden" };
    };
  }

  planOf(objects: readonly ParsedObject[]): Plan | undefined {
    const id = (objects[0]?.object["data"] as { event?: string } | undefined)?.event;
    return id === undefined ? undefined : this.#history.plans.get(id);
  }

  /** One more attempt at a delivery; true when it is to fail in a way that heals. */
  failsAgain(plan: Plan, key: string): boolean {
    if (plan.fate.trouble !== "flaky") return false;
    const before = this.#failures.get(key) ?? 0;
    this.#failures.set(key, before + 1);
    return before < plan.fate.failures;
  }

  /** A pause that belongs to the process which waits: it does not outlive it. */
  wait(life: Life, ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const timer = this.#world.after(ms * (0.5 + this.#dice.float()), life, "cluster", () => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      });
      const onAbort = (): void => {
        timer.cancel();
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  /**
   * A write on its way: it takes effect at the API server whether the agent lives to hear of it or not. One that is given up before it took
   * effect never does.
   */
  write(
    life: Life,
    object: string,
    plan: Plan,
    revision: number,
    ms: number,
    signal: AbortSignal,
  ): Promise<"created" | "updated" | "unchanged"> {
    const dice = this.#dice;
    return new Promise((resolve, reject) => {
      let outcome: "created" | "updated" | "unchanged" | undefined;
      // Longer than this no request is on its way, and no agent is back sooner: a write that comes after its agent has started again
      // and written something else is nothing that an agent could prevent.
      const effectMs = Math.min(40, ms * dice.float());
      const effect = this.#world.after(effectMs, undefined, "api", () => {
        outcome = this.#take(object, plan.id, revision);
      });
      const onAbort = (): void => {
        effect.cancel();
        answer.cancel();
        reject(signal.reason as Error);
      };
      const answer = this.#world.after(effectMs + ms, life, "api answer", () => {
        signal.removeEventListener("abort", onAbort);
        if (outcome === undefined) reject(new TransporterError("INTERNAL", "the write was lost"));
        else resolve(outcome);
      });
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  #take(object: string, eventId: string, revision: number): "created" | "updated" | "unchanged" {
    const before = this.#objects.get(object);
    this.#objects.set(object, eventId);
    const changed = before !== eventId;
    this.#effect(object, eventId, revision, changed);
    return before === undefined ? "created" : changed ? "updated" : "unchanged";
  }

  #effect(object: string, eventId: string, revision: number, changed: boolean): void {
    this.#history.effects.push({ atMs: this.#world.nowMs, agentId: this.agentId, object, eventId, revision, changed });
    this.#world.note(`effect ${this.agentId} ${object} <- ${keyOf(eventId, revision)}${changed ? "" : " (unchanged)"}`);
  }
}

class Steps implements ResourceSteps {
  readonly #cluster: Cluster;
  readonly #life: Life;
  readonly #objects: readonly ParsedObject[];
  readonly #context: StepContext;
  readonly #plan: Plan | undefined;
  readonly #statuses: ResourceStatus[] = [];

  constructor(cluster: Cluster, life: Life, objects: readonly ParsedObject[], context: StepContext) {
    this.#cluster = cluster;
    this.#life = life;
    this.#objects = objects;
    this.#context = context;
    this.#plan = cluster.planOf(objects);
  }

  async validate(): Promise<void> {
    const plan = this.#known();
    await this.#wait(plan.fate.validateMs);
    this.#reach();
    if (plan.fate.trouble === "invalid") throw new TransporterError("INVALID_OBJECT", "the object is not valid");
  }

  preview(): Promise<void> {
    return Promise.resolve();
  }

  async apply(): Promise<void> {
    const plan = this.#known();
    const revision = this.#cluster.revisions.get(plan.id) ?? 0;
    const fails = this.#cluster.failsAgain(plan, keyOf(plan.id, revision));
    for (const [at, parsed] of this.#objects.entries()) {
      this.#context.signal.throwIfAborted();
      this.#context.halt.throwIfAborted();
      this.#reach();
      if (plan.fate.trouble === "forbidden" && at === this.#objects.length - 1) throw new TransporterError("FORBIDDEN", "may not do that");
      const name = parsed.ref.name;
      const status = await this.#cluster.write(this.#life, name, plan, revision, plan.fate.applyMs, this.#context.signal);
      this.#statuses.push({ kind: "ConfigMap", name, status });
      failpoint("agent.run.object-applied");
      if (fails) throw new TransporterError("KUBE_UNAVAILABLE", "the API server went away");
    }
  }

  async verify(): Promise<void> {
    const plan = this.#known();
    if (plan.fate.trouble !== "never-ready") return this.#wait(plan.fate.verifyMs);
    this.#context.progress("waiting for what never comes");
    await this.#wait(this.#context.verifyTimeoutMs);
    throw new TransporterError("VERIFY_TIMEOUT", "it did not become ready");
  }

  resources(): readonly ResourceStatus[] {
    return this.#statuses;
  }

  #known(): Plan {
    if (this.#plan === undefined) throw new TransporterError("INTERNAL", "nobody planned this event");
    return this.#plan;
  }

  #reach(): void {
    if (this.#cluster.away) throw new TransporterError("KUBE_UNAVAILABLE", "the API server does not answer");
  }

  #wait(ms: number): Promise<void> {
    return this.#cluster.wait(this.#life, ms, this.#context.signal);
  }
}
