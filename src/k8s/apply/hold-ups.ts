import { type ParsedObject, REASONS } from "../../manifests/mod.ts";
import type { Plan, PlannedObject } from "./plan.ts";

/** Goes on from an object's name. */
export type BrokenHow = "failed" | "is not ready" | "was not tried";

interface Broken {
  readonly label: string;
  readonly how: BrokenHow;
}

/** What went wrong in a walk, and who cannot be applied because of it. */
export class HoldUps {
  readonly #plan: Plan;
  readonly #broken = new Map<ParsedObject, Broken>();
  /** The first thing that went wrong in the lowest wave where something did. */
  #wave: { readonly wave: number; readonly broken: Broken } | undefined;

  constructor(plan: Plan) {
    this.#plan = plan;
  }

  note(planned: PlannedObject, wave: number, how: BrokenHow): void {
    this.noteParsed(planned.parsed, { label: planned.label, how }, wave);
  }

  /** For what is not in the plan, too: refused while it was made. */
  noteParsed(parsed: ParsedObject, broken: Broken, wave: number): void {
    if (!this.#broken.has(parsed)) this.#broken.set(parsed, broken);
    if (this.#wave === undefined || wave < this.#wave.wave) this.#wave = { wave, broken };
  }

  isBroken(planned: PlannedObject): boolean {
    return this.#broken.has(planned.parsed);
  }

  /** Why this object cannot be applied, going on from `because`; undefined when nothing of what it leans on went wrong. */
  reason(planned: PlannedObject, wave: number): string | undefined {
    for (const { on, why } of this.#plan.leansOn(planned.parsed)) {
      const broken = this.#broken.get(on);
      if (broken !== undefined) return `${broken.label}, ${REASONS[why].words}, ${broken.how}`;
    }
    const first = this.#wave;
    return first === undefined || first.wave >= wave ? undefined : `${first.broken.label} of wave ${first.wave} ${first.broken.how}`;
  }
}
