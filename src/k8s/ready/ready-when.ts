import { type Timers, TransporterError } from "../../kit/mod.ts";
import type { ReadyWhen } from "../../protocol/mod.ts";
import type { Target } from "../apply/target.ts";
import type { Json } from "../http/json.ts";
import type { Verdict } from "./cel.ts";
import { Expressions, quoted } from "./expressions.ts";
import { failed, inProgress, READY, type Readiness } from "./readiness-parts.ts";
import { unsettled } from "./readiness.ts";

/** So many expressions one event may bring. */
const MAX_EXPRESSIONS = 200;

/** What an event says of when its objects are ready, in place of what their kinds say. */
export interface ReadyRules {
  /** Whether any of them is for this object. */
  concerns(target: Target): boolean;
  /** Undefined for an object that none of them is for. Throws INVALID_EXPRESSION for one that takes too long or gives no answer of its kind. */
  judge(target: Target, object: Json): Promise<Readiness | undefined>;
  /** The selections, for people, that none of the objects matches. */
  idle(targets: readonly Target[]): readonly string[];
}

interface Rule {
  readonly selection: ReadyWhen;
  /** As a message names it: `payload.ready_when[0]`. */
  readonly where: string;
}

function matches(wanted: string | null | undefined, is: string | undefined): boolean {
  return (wanted ?? "") === "" || wanted === is;
}

function isFor({ selection }: Rule, { ref, apiVersion }: Target): boolean {
  return (
    matches(selection.api_version, apiVersion) &&
    matches(selection.kind, ref.kind) &&
    matches(selection.namespace, ref.namespace) &&
    matches(selection.name, ref.name)
  );
}

function describe({ selection: { api_version, kind, namespace, name }, where }: Rule): string {
  const parts = [api_version, kind, namespace, name].filter((part) => (part ?? "") !== "");
  return `${where} (${parts.length === 0 ? "any object" : parts.join(" ")})`;
}

function unusable(where: string, expression: string, why: string): TransporterError {
  return new TransporterError("INVALID_EXPRESSION", `${where} ${JSON.stringify(quoted(expression))}: ${why}`, { details: { where } });
}

/** What an event's rules make of the expressions' verdicts on one object: failed before ready, and ready when all say so. */
function readinessOf(rules: readonly Rule[], verdicts: ReadonlyMap<string, Verdict>): Readiness {
  const verdictOn = (where: string, expression: string): Verdict => {
    const verdict = verdicts.get(expression) ?? { kind: "unknown", why: "it was not evaluated" };
    if (verdict.kind === "unusable") throw unusable(where, expression, verdict.why);
    return verdict;
  };
  for (const { selection, where } of rules) {
    const expression = selection.failed ?? "";
    if (expression !== "" && verdictOn(`${where}.failed`, expression).kind === "true")
      return failed("FailedWhen", `it has failed by ${where}.failed: ${quoted(expression)}`);
  }
  for (const { selection, where } of rules) {
    const verdict = verdictOn(`${where}.ready`, selection.ready);
    if (verdict.kind === "false") return inProgress("ReadyWhen", `not yet so: ${quoted(selection.ready)}`);
    if (verdict.kind === "unknown") return inProgress("ReadyWhen", `cannot be told yet (${verdict.why}): ${quoted(selection.ready)}`);
  }
  return READY;
}

function expressionsOf(rules: readonly Rule[]): { readonly where: string; readonly expression: string }[] {
  return rules.flatMap(({ selection, where }) => [
    { where: `${where}.ready`, expression: selection.ready },
    ...((selection.failed ?? "") === "" ? [] : [{ where: `${where}.failed`, expression: selection.failed ?? "" }]),
  ]);
}

class CelRules implements ReadyRules {
  readonly #rules: readonly Rule[];
  readonly #expressions: Expressions;

  constructor(rules: readonly Rule[], expressions: Expressions) {
    this.#rules = rules;
    this.#expressions = expressions;
  }

  concerns(target: Target): boolean {
    return this.#rules.some((rule) => isFor(rule, target));
  }

  async judge(target: Target, object: Json): Promise<Readiness | undefined> {
    const rules = this.#rules.filter((rule) => isFor(rule, target));
    if (rules.length === 0) return undefined;
    const early = unsettled(object);
    if (early !== undefined) return early;
    const texts = [...new Set(expressionsOf(rules).map(({ expression }) => expression))];
    const verdicts = await this.#expressions.judge(texts, object);
    return readinessOf(rules, new Map(texts.flatMap((text, index) => (verdicts[index] === undefined ? [] : [[text, verdicts[index]]]))));
  }

  idle(targets: readonly Target[]): readonly string[] {
    return this.#rules.filter((rule) => !targets.some((target) => isFor(rule, target))).map(describe);
  }
}

/**
 * The rules of an event; undefined where it has none. Throws INVALID_EXPRESSION for an expression that is no CEL, that knows other names
 * than `self` and `object`, or that cannot be true or false.
 */
export async function readyRules(timers: Timers, readyWhen: readonly ReadyWhen[]): Promise<ReadyRules | undefined> {
  if (readyWhen.length === 0) return undefined;
  const rules = readyWhen.map((selection, index) => ({ selection, where: `payload.ready_when[${index}]` }));
  const all = expressionsOf(rules);
  if (all.length > MAX_EXPRESSIONS)
    throw new TransporterError(
      "INVALID_EXPRESSION",
      `payload.ready_when has ${all.length} expressions, and ${MAX_EXPRESSIONS} are the most`,
    );
  const expressions = new Expressions({ timers });
  const problems = await expressions.check(all.map(({ expression }) => expression));
  for (const [index, { where, expression }] of all.entries()) {
    const problem = problems[index];
    if (problem !== undefined) throw unusable(where, expression, problem);
  }
  return new CelRules(rules, expressions);
}
