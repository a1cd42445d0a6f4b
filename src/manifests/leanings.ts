import { dependenciesOf } from "./annotations.ts";
import { backendsOf, type Backends } from "./backends.ts";
import type { Dependency } from "./depends-on.ts";
import type { KubeObject, ObjectRef } from "./object.ts";
import { crdProvides, providedKindKey } from "./provides.ts";

/** An object as far as its order goes. */
export interface Arrangeable {
  /** As the cluster means it: with a namespace where its kind has one, and only there. */
  readonly ref: ObjectRef;
  /** Undefined for an object that is only named. */
  readonly object: KubeObject | undefined;
  /** By which webhooks name what they are about: `widgets`. */
  readonly plural: string | undefined;
}

interface Reason {
  /** True where it cannot be otherwise, because the API server or the sender says so; a guess of ours gives way to those. */
  readonly hard: boolean;
  /** To stand there is not enough. */
  readonly ready: boolean;
  /** Of what is ready at once when it is applied: it can be waited for between two stages. */
  readonly quick: boolean;
  /** Goes on from the name of what is leaned on. */
  readonly words: string;
}

/** Why one object is not to be applied before another. Those that give way first come last. */
export const REASONS = {
  depends_on: { hard: true, ready: true, quick: false, words: "which it depends on" },
  namespace: { hard: true, ready: true, quick: true, words: "which it is in" },
  definition: { hard: true, ready: true, quick: true, words: "which defines its kind" },
  service: { hard: false, ready: false, quick: true, words: "by which the API server calls it" },
  backend: { hard: false, ready: true, quick: false, words: "which answers for it" },
  conversion: { hard: false, ready: true, quick: false, words: "which converts its kind" },
  aggregated_api: { hard: false, ready: true, quick: false, words: "which brings its kind" },
  webhook: { hard: false, ready: true, quick: false, words: "which judges its kind" },
} as const satisfies Record<string, Reason>;
export type LeaningReason = keyof typeof REASONS;

/** On which object of the same list one leans, by its place there, and why. */
export interface Leaning {
  readonly on: number;
  readonly why: LeaningReason;
}

export interface Leanings {
  readonly of: (readonly Leaning[])[];
  /** What an object depends on and the list does not have, by the object's place. */
  readonly outside: ReadonlyMap<number, readonly Dependency[]>;
}

/** Which object a dependency means, whatever its version. */
export function dependencyKey(one: Dependency): string {
  return `${one.group}/${one.kind}/${one.namespace ?? ""}/${one.name}`;
}

/** The places of the namespaces by their name, and of the definitions by the kind that they bring. */
function providersOf(items: readonly Arrangeable[]): {
  readonly namespaces: Map<string, number>;
  readonly definitions: Map<string, number>;
} {
  const namespaces = new Map<string, number>();
  const definitions = new Map<string, number>();
  for (const [index, { ref, object }] of items.entries()) {
    if (ref.group === "" && ref.kind === "Namespace") namespaces.set(ref.name, index);
    if (ref.kind !== "CustomResourceDefinition" || object === undefined) continue;
    for (const key of crdProvides([{ ref, object }]).keys()) definitions.set(key, index);
  }
  return { namespaces, definitions };
}

/** Who leans on whom: what objects say themselves, what the API server demands, and what webhooks and aggregated APIs need to answer. Pure. */
export function leaningsOf(items: readonly Arrangeable[]): Leanings {
  const { namespaces, definitions } = providersOf(items);
  const backends: Backends = backendsOf(items, definitions);
  let places: Map<string, number> | undefined;
  const placeOf = (dependency: Dependency): number | undefined => {
    places ??= new Map(items.map(({ ref }, index) => [dependencyKey(ref), index]));
    return places.get(dependencyKey(dependency));
  };
  const outside = new Map<number, Dependency[]>();
  const of = items.map(({ ref, object }, index): readonly Leaning[] => {
    const own: Leaning[] = [];
    for (const dependency of object === undefined ? [] : dependenciesOf(object)) {
      const on = placeOf(dependency);
      if (on !== undefined) own.push({ on, why: "depends_on" });
      else if (outside.get(index)?.push(dependency) === undefined) outside.set(index, [dependency]);
    }
    const namespace = ref.namespace === undefined ? undefined : namespaces.get(ref.namespace);
    if (namespace !== undefined) own.push({ on: namespace, why: "namespace" });
    const definition = definitions.size === 0 ? undefined : definitions.get(providedKindKey(ref.group, ref.kind));
    if (definition !== undefined) own.push({ on: definition, why: "definition" });
    const guessed = backends(index);
    // Shared where there is nothing else: thousands of resources of one kind lean on the same.
    return own.length === 0 ? guessed : [...own, ...guessed];
  });
  return { of, outside };
}
