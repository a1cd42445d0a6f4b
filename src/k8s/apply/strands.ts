import type { PlannedBatch, PlannedObject } from "./plan.ts";
import type { Target } from "./target.ts";

/** Objects of one section that wait for the same, and need not wait for what others of the section wait for. */
export interface Strand {
  /** What is not seen to be ready yet. */
  readonly needs: Set<Target>;
  /** One after the other; within each nothing leans on anything. */
  readonly batches: { readonly wave: number; readonly objects: PlannedObject[] }[];
}

/** The batches of each section, in order. */
export function sectionsOf(batches: readonly PlannedBatch[]): PlannedBatch[][] {
  const sections: PlannedBatch[][] = [];
  for (const batch of batches) {
    const last = sections.at(-1);
    if (last?.[0]?.section === batch.section) last.push(batch);
    else sections.push([batch]);
  }
  return sections;
}

/** The objects of a section by what they wait for. */
export function strandsOf(section: readonly PlannedBatch[], needsOf: (planned: PlannedObject) => readonly Target[]): Strand[] {
  const numbers = new Map<Target, number>();
  const numberOf = (target: Target): number => {
    const known = numbers.get(target) ?? numbers.size;
    numbers.set(target, known);
    return known;
  };
  const strands = new Map<string, Strand>();
  for (const { objects, wave } of section) {
    const begun = new Set<Strand>();
    for (const planned of objects) {
      const needs = needsOf(planned);
      const key = [...new Set(needs.map(numberOf))].toSorted((a, b) => a - b).join(",");
      const strand: Strand = strands.get(key) ?? { needs: new Set(needs), batches: [] };
      strands.set(key, strand);
      const last = strand.batches.at(-1);
      if (begun.has(strand) && last !== undefined) last.objects.push(planned);
      else strand.batches.push({ wave, objects: [planned] });
      begun.add(strand);
    }
  }
  return [...strands.values()];
}
