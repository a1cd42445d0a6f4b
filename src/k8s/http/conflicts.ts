/** What another manager has of the fields that an apply wanted. */
export interface Conflict {
  readonly manager: string;
  /** The first ones. */
  readonly fields: readonly string[];
  readonly field_count: number;
  /** Through which it writes, like `scale`. */
  readonly subresource?: string | undefined;
  /** When it last wrote; undefined where the API server does not say. */
  readonly time?: string | undefined;
}

interface Cause {
  readonly message: string;
  readonly field: string;
}

const MAX_FIELDS = 50;
const NAMED_FIELDS = 3;
/** As `conflict with "kube-controller-manager" with subresource "scale" using apps/v1 at 2026-01-01T00:00:00Z`; the end is of updates only. */
const WORDS = /^conflict with "((?:[^"\\]|\\.)*)"(?: with subresource "([^"]*)")?(?: using [^ ]+(?: at (\S+))?)?/;

function unescaped(quoted: string): string {
  try {
    return String(JSON.parse(`"${quoted}"`));
  } catch {
    return quoted;
  }
}

/** Conflicts by manager, without those whose fields are `ours` to take: these write to the object itself, never through a subresource. */
export function conflictsIn(causes: readonly Cause[], ours: ReadonlySet<string>): Conflict[] {
  const found = new Map<string, Conflict & { readonly fields: string[] }>();
  for (const { message, field } of causes) {
    const [, quoted, subresource, time] = WORDS.exec(message) ?? [];
    const manager = quoted === undefined ? message : unescaped(quoted);
    if (subresource === undefined && ours.has(manager)) continue;
    const key = JSON.stringify([manager, subresource]);
    const known = found.get(key);
    const fields = known?.fields ?? [];
    if (fields.length < MAX_FIELDS) fields.push(field);
    found.set(key, { manager, fields, field_count: (known?.field_count ?? 0) + 1, subresource, time: time ?? known?.time });
  }
  return [...found.values()];
}

/** For people: `.spec.replicas belongs to field manager "hpa" (through scale, as autoscalers do)`. */
export function conflictText(conflicts: readonly Conflict[]): string {
  const texts = conflicts.map(({ manager, fields, field_count, subresource, time }) => {
    const named = fields.slice(0, NAMED_FIELDS);
    const rest = field_count - named.length;
    const notes = [
      ...(subresource === undefined ? [] : [`through ${subresource}${subresource === "scale" ? ", as autoscalers do" : ""}`]),
      ...(time === undefined ? [] : [`last changed ${time}`]),
    ];
    const note = notes.length === 0 ? "" : ` (${notes.join(", ")})`;
    return `${named.join("; ")}${rest > 0 ? `; and ${rest} more` : ""} belongs to field manager ${JSON.stringify(manager)}${note}`;
  });
  return texts.join("; ");
}
