import { TransporterError } from "../../kit/mod.ts";
import { refKey } from "../../manifests/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { recordOf, textOf } from "../http/json.ts";
import { forEachLimited } from "../http/limiter.ts";
import type { ApplyOptions } from "../apply/apply-request.ts";
import { type Differences, lookOne } from "./diff.ts";
import { isClusterFault } from "../apply/faults.ts";
import type { Pin, WriteGuard } from "./pin.ts";
import type { Plan, PlannedObject } from "../apply/plan.ts";
import { printOf, wantedOf } from "./plan-sight.ts";
import { comparePlan, planToken } from "./plan-token.ts";
import { readObject } from "../apply/put-back.ts";

/** Others may write to the object in ways that do not matter between a look and a write; each time it is looked at again. */
const MAX_TRIES = 5;
const NAMED = 5;

/** The plan that stands for what a diff saw; undefined where not everything could be read. */
export function planOf(plan: Plan, { seen }: Differences, options: ApplyOptions): string | undefined {
  const prints = plan.objects.map((planned) => seen.get(planned)?.print).filter((print) => print !== undefined);
  if (prints.length < plan.objects.length) return undefined;
  return planToken({ wanted: plan.objects.map((planned) => wantedOf(planned, options)), prints });
}

/** `exactly`: each of them has moved; otherwise one of them at least has. */
function staleError(moved: readonly PlannedObject[], total: number, because: string, exactly = true): TransporterError {
  const rest = moved.length - NAMED;
  const named = moved.slice(0, NAMED).map(({ label }) => label);
  const which = moved.length === 0 ? "" : `: ${named.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
  const faults = moved.slice(0, 100).map(({ label }) => ({
    object: label,
    code: "PLAN_STALE",
    message: exactly ? "is not as the plan saw it" : "is not as the plan saw it, or a neighbour in the event is not",
  }));
  return new TransporterError("PLAN_STALE", `${because}${which}`, {
    details: { moved: "cluster", object_count: total, objects: moved.slice(0, 100).map(({ label }) => label), faults },
  });
}

/** Whether a write was refused because the object is another, or another version, than the one it was meant for. */
function isMoved(error: unknown): boolean {
  if (!(error instanceof TransporterError)) return false;
  const { http_status, fields, not_pinned } = error.details;
  if (not_pinned === true || (http_status === 409 && error.code === "APPLY_FAILED")) return true;
  return http_status === 422 && Array.isArray(fields) && fields.includes("metadata.uid");
}

/** Somebody who came in between may have taken fields as well, which is refused first. */
function mayBeMoved(error: unknown): boolean {
  return isMoved(error) || (error instanceof TransporterError && (error.code === "FIELD_CONFLICT" || error.code === "IMMUTABLE_FIELD"));
}

interface Look {
  readonly print: string;
  readonly pin: Pin;
}

/** Holds an event to the plan that it names: nothing is written to what is not as the plan saw it. */
export class PlanGuard implements WriteGuard {
  readonly #client: KubeClient;
  readonly #token: string;
  readonly #options: ApplyOptions;
  /** By `refKey`, as the plan saw them; undefined before the first check. */
  #prints: ReadonlyMap<string, string> | undefined;
  /** An earlier process may have written some of it. */
  readonly #resumed: boolean;
  readonly #pins = new Map<string, Pin>();
  /** By this event: what the plan saw is over there. */
  readonly #written = new Set<string>();

  /** `prints`: what an earlier process has kept of this. */
  constructor(client: KubeClient, token: string, options: ApplyOptions, prints?: Readonly<Record<string, string>>) {
    this.#client = client;
    this.#token = token;
    this.#options = options;
    this.#prints = prints === undefined ? undefined : new Map(Object.entries(prints));
    this.#resumed = prints !== undefined;
  }

  /** To be kept over a restart, from the first check on. */
  get prints(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#prints ?? []);
  }

  /** Before anything is touched, in every attempt. Throws PLAN_STALE. */
  async check(plan: Plan): Promise<void> {
    const looks = new Map<PlannedObject, Look>();
    await forEachLimited(plan.objects, this.#client.maxInFlight, async (planned) => {
      looks.set(planned, await this.#look(planned));
    });
    for (const [planned, { pin }] of looks) this.#pins.set(refKey(planned.ref), pin);
    if (this.#prints === undefined) this.#begin(plan, looks);
    else await this.#goOn(plan, looks, this.#prints);
  }

  async write<T>(planned: PlannedObject, write: (pin: Pin | undefined) => Promise<T>): Promise<T> {
    const key = refKey(planned.ref);
    for (let attempt = 1; ; attempt += 1) {
      // What its own namespace or definition was missing for was not there, and is nobody's but the event's.
      const free = planned.deferral !== undefined || this.#written.has(key);
      try {
        const written = await write(free ? undefined : this.#pins.get(key));
        this.#written.add(key);
        return written;
      } catch (error) {
        if (error instanceof TransporterError && error.details["maybe_done"] === true) this.#written.add(key);
        if (free || !mayBeMoved(error) || attempt >= MAX_TRIES) throw error;
        await this.#lookAgain(planned);
        if (!isMoved(error)) throw error;
      }
    }
  }

  #begin(plan: Plan, looks: ReadonlyMap<PlannedObject, Look>): void {
    const prints = plan.objects.map((planned) => looks.get(planned)?.print ?? "");
    const verdict = comparePlan(this.#token, { wanted: plan.objects.map((one) => wantedOf(one, this.#options)), prints });
    switch (verdict.kind) {
      case "holds":
        this.#prints = new Map(plan.objects.map((planned, at) => [refKey(planned.ref), prints[at] ?? ""]));
        return;
      case "unreadable":
        throw new TransporterError("PLAN_STALE", "payload.plan is not a plan that this agent can read", {
          remedy: "Give the plan whole, as `transporter diff` prints it.",
        });
      case "other-manifests":
        throw new TransporterError(
          "PLAN_STALE",
          "the plan stands for other manifests, or for another treatment of them, than the event has",
          {
            details: { moved: "manifests" },
            remedy:
              "Send what `transporter diff` was given, with the same --force-conflicts, --ignore-field and --on-immutable; or look at a new diff.",
          },
        );
      case "moved": {
        const moved = verdict.objects.flatMap((at) => plan.objects[at] ?? []);
        const among = verdict.exactly ? "" : ", somewhere among";
        throw staleError(moved, plan.objects.length, `the cluster has moved since the plan${among}`, verdict.exactly);
      }
    }
  }

  async #goOn(plan: Plan, looks: ReadonlyMap<PlannedObject, Look>, prints: ReadonlyMap<string, string>): Promise<void> {
    const moved: PlannedObject[] = [];
    for (const [planned, { print }] of looks) {
      const key = refKey(planned.ref);
      if (print === prints.get(key) || this.#written.has(key)) continue;
      // What stands as it should may have been written by the process that died, and will not be written again.
      if (this.#resumed && (await this.#standsAsWanted(planned))) this.#written.add(key);
      else moved.push(planned);
    }
    if (moved.length === 0) return;
    const before = this.#resumed ? "; the agent was restarted in the middle, and this event itself may have changed some of it" : "";
    throw staleError(moved, plan.objects.length, `the cluster has moved since the plan${before}`);
  }

  async #standsAsWanted(planned: PlannedObject): Promise<boolean> {
    try {
      return (await lookOne(this.#client, planned, this.#options)).would === "unchanged";
    } catch (error) {
      if (this.#options.signal?.aborted === true || isClusterFault(error)) throw error;
      return false;
    }
  }

  async #look(planned: PlannedObject): Promise<Look> {
    const live = await readObject(this.#client, planned, this.#options.signal);
    const { uid, resourceVersion } = recordOf(live?.["metadata"]);
    return {
      print: await printOf(this.#client, planned, live, this.#options),
      pin: { uid: textOf(uid), resourceVersion: textOf(resourceVersion) },
    };
  }

  async #lookAgain(planned: PlannedObject): Promise<void> {
    const key = refKey(planned.ref);
    const { print, pin } = await this.#look(planned);
    if (print !== this.#prints?.get(key)) throw staleError([planned], 1, "the cluster has moved since the plan, at the last moment");
    this.#pins.set(key, pin);
  }
}
