import { TransporterError } from "../kit/mod.ts";
import type { Scope } from "../protocol/mod.ts";
import type { Target } from "./access.ts";
import { parseSelector, type Selector, selects } from "./selector.ts";

const MAX_PATTERNS = 100;
const MAX_PATTERN_CHARS = 300;

/**
 * Whether `*` for any characters makes the pattern fit. By hand, piece by piece from the left: a pattern of a stranger must never become a
 * regular expression, and no pattern may take longer than its length times that of the id.
 */
export function matchesPattern(pattern: string, id: string): boolean {
  const pieces = pattern.split("*");
  const first = pieces[0] ?? "";
  const last = pieces.at(-1) ?? "";
  if (pieces.length === 1) return pattern === id;
  if (id.length < first.length + last.length || !id.startsWith(first) || !id.endsWith(last)) return false;
  let at = first.length;
  const end = id.length - last.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = id.indexOf(piece, at);
    if (found < 0 || found + piece.length > end) return false;
    at = found + piece.length;
  }
  return true;
}

/** Whether `inner` fits nothing that `outer` does not: a `*` in it can only be taken by one of `outer`, so it is read like every other character. */
export function patternWithin(inner: string, outer: string): boolean {
  return matchesPattern(outer, inner);
}

/** Whether anything is restricted. */
export function isScoped(scope: Scope | undefined): scope is Scope {
  return scope !== undefined && (scope.agents !== undefined || scope.selector !== undefined || scope.event_types !== undefined);
}

/** Selectors read already, by scope: the same principal asks again and again. */
const selectors = new WeakMap<Scope, Selector | null>();

function selectorOf(scope: Scope): Selector | null {
  let selector = selectors.get(scope);
  if (selector === undefined) {
    try {
      selector = parseSelector(scope.selector ?? "");
    } catch {
      // Nothing gets in that cannot be read; should it be here all the same, it lets nobody through.
      selector = null;
    }
    selectors.set(scope, selector);
  }
  return selector;
}

/** What of a scope speaks against this; undefined: nothing. `typed`: it is about an event, so that its type has to be known. */
export function outsideScope(scope: Scope, target: Target, typed: boolean): "agent" | "labels" | "event type" | undefined {
  if (scope.agents !== undefined && !scope.agents.some((pattern) => matchesPattern(pattern, target.agentId))) return "agent";
  if (scope.selector !== undefined) {
    const selector = selectorOf(scope);
    if (selector === null || target.agentLabels === undefined || !selects(selector, target.agentLabels)) return "labels";
  }
  if (scope.event_types !== undefined) {
    const known = target.eventType;
    if (known === undefined ? typed : !scope.event_types.some((type) => type === known)) return "event type";
  }
  return undefined;
}

function refuse(message: string): never {
  throw new TransporterError("INVALID_REQUEST", message, { details: { pointer: "/scope" } });
}

/** Throws INVALID_REQUEST for a scope that cannot be used. An empty list is one: it would look like no restriction and be the strictest. */
export function checkScope(scope: Scope): void {
  for (const [name, list] of [
    ["agents", scope.agents],
    ["event_types", scope.event_types],
  ] as const) {
    if (list?.length === 0) refuse(`scope.${name} is an empty list; leave it out where it shall restrict nothing`);
  }
  if ((scope.agents?.length ?? 0) > MAX_PATTERNS) refuse(`scope.agents names more than ${MAX_PATTERNS}`);
  for (const pattern of scope.agents ?? []) checkPattern(pattern);
  if (scope.selector !== undefined) parseSelector(scope.selector);
}

/** Throws INVALID_REQUEST for an id or pattern that no agent's id can fit. */
export function checkPattern(pattern: string): void {
  if (pattern === "" || pattern.length > MAX_PATTERN_CHARS || /[\u0000-\u001f\u007f]/.test(pattern)) {
    throw new TransporterError("INVALID_REQUEST", `${JSON.stringify(pattern.slice(0, 80))} is no agent's id and no pattern of one`);
  }
}
