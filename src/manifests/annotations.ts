import { type Dependency, dependenciesProblem, parseDependencies } from "./depends-on.ts";
import type { KubeObject } from "./object.ts";
import { pointerProblem } from "./pointer.ts";

/** What an object itself says about how it is to be treated. Names are an agreement with people: they never change their meaning. */
export const DEPENDS_ON_ANNOTATION = "config.kubernetes.io/depends-on";
export const WAVE_ANNOTATION = "transporter.dev/wave";
export const FORCE_CONFLICTS_ANNOTATION = "transporter.dev/force-conflicts";
export const IGNORE_FIELDS_ANNOTATION = "transporter.dev/ignore-fields";
export const ON_IMMUTABLE_ANNOTATION = "transporter.dev/on-immutable";

export interface AnnotationProblem {
  readonly annotation: string;
  /** Goes on from the annotation's name: `is "maybe", …`. */
  readonly problem: string;
  readonly remedy: string;
}

/** The value without blanks around it; undefined when there is none. Rendered charts leave empty ones behind: they say nothing. */
export function annotationOf(object: KubeObject, name: string): string | undefined {
  const value = object.metadata.annotations?.[name];
  const text = typeof value === "string" ? value.trim() : "";
  return text === "" ? undefined : text;
}

/** Waves that a 32 bit number holds, as Helm and Argo CD have them. */
const MAX_WAVE = 2 ** 31 - 1;

function readWave(text: string): number | undefined {
  const wave = /^[+-]?\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return Math.abs(wave) <= MAX_WAVE ? wave : undefined;
}

/** In which wave an object goes; 0 when it does not say. */
export function waveOf(object: KubeObject): number {
  return readWave(annotationOf(object, WAVE_ANNOTATION) ?? "0") ?? 0;
}

/** Whether it takes fields from other managers; undefined when it does not say. */
export function forcesConflicts(object: KubeObject): boolean | undefined {
  const text = annotationOf(object, FORCE_CONFLICTS_ANNOTATION);
  return text === undefined ? undefined : text === "true";
}

/** What is to happen where a field cannot be changed; undefined when it does not say. */
export function onImmutableOf(object: KubeObject): "fail" | "recreate" | undefined {
  const text = annotationOf(object, ON_IMMUTABLE_ANNOTATION);
  return text === "fail" || text === "recreate" ? text : undefined;
}

/** JSON pointers to the fields that it leaves to others. */
export function ignoredPointers(object: KubeObject): readonly string[] {
  const text = annotationOf(object, IGNORE_FIELDS_ANNOTATION);
  return text === undefined
    ? []
    : text
        .split(",")
        .map((pointer) => pointer.trim())
        .filter((pointer) => pointer !== "");
}

/** The objects that have to be ready before it is applied, as it names them itself. */
export function dependenciesOf(object: KubeObject): readonly Dependency[] {
  const text = annotationOf(object, DEPENDS_ON_ANNOTATION);
  return text === undefined ? [] : parseDependencies(text);
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}

function choiceProblem(object: KubeObject, annotation: string, choices: readonly string[]): AnnotationProblem | undefined {
  const text = annotationOf(object, annotation);
  if (text === undefined || choices.includes(text)) return undefined;
  const words = choices.map((choice) => JSON.stringify(choice)).join(" or ");
  return { annotation, problem: `is ${quoted(text)}, neither ${words.replace(" or ", " nor ")}`, remedy: `Write ${words}.` };
}

function waveProblem(object: KubeObject): AnnotationProblem | undefined {
  const text = annotationOf(object, WAVE_ANNOTATION);
  if (text === undefined || readWave(text) !== undefined) return undefined;
  return {
    annotation: WAVE_ANNOTATION,
    problem: `is ${quoted(text)}, not a whole number`,
    remedy: 'Write a whole number in quotes, like "-1" or "5".',
  };
}

function pointersProblem(object: KubeObject): AnnotationProblem | undefined {
  for (const pointer of ignoredPointers(object)) {
    const problem = pointerProblem(pointer);
    if (problem === undefined) continue;
    return {
      annotation: IGNORE_FIELDS_ANNOTATION,
      problem: `has ${quoted(pointer)}, which ${problem}`,
      remedy: "Write JSON pointers with commas between them, like /spec/replicas.",
    };
  }
  return undefined;
}

function dependsOnProblem(object: KubeObject): AnnotationProblem | undefined {
  const text = annotationOf(object, DEPENDS_ON_ANNOTATION);
  const problem = text === undefined ? undefined : dependenciesProblem(text);
  if (problem === undefined) return undefined;
  return {
    annotation: DEPENDS_ON_ANNOTATION,
    problem,
    remedy: "Write GROUP/namespaces/NAMESPACE/KIND/NAME, or GROUP/KIND/NAME for what lives in no namespace, with commas between them.",
  };
}

/** The first annotation of ours whose value cannot be meant; undefined when there is none. Pure. */
export function annotationProblem(object: KubeObject): AnnotationProblem | undefined {
  return (
    waveProblem(object) ??
    dependsOnProblem(object) ??
    choiceProblem(object, FORCE_CONFLICTS_ANNOTATION, ["true", "false"]) ??
    choiceProblem(object, ON_IMMUTABLE_ANNOTATION, ["recreate", "fail"]) ??
    pointersProblem(object)
  );
}
