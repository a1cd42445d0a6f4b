import type { EventResult, ResourceStatus } from "../protocol/mod.ts";
import { type Paint, safeText } from "./text.ts";

/** What a diff told, as JSON and YAML have it. */
export interface DiffView {
  readonly event_id: string;
  readonly target_agent: string;
  /** For `send --plan`; absent where not everything could be read. */
  readonly plan?: string;
  readonly differences: number;
  readonly resource_status: readonly ResourceStatus[];
}

export function isDifferent({ status }: ResourceStatus): boolean {
  return status.startsWith("would_");
}

export function diffView(eventId: string, agent: string, result: EventResult | undefined): DiffView {
  const resources = result?.resource_status ?? [];
  const plan = result?.plan ?? undefined;
  return {
    event_id: eventId,
    target_agent: agent,
    ...(plan === undefined ? {} : { plan }),
    differences: resources.filter(isDifferent).length,
    resource_status: resources,
  };
}

function painted(line: string, paint: Paint): string {
  if (line.startsWith("--- ") || line.startsWith("+++ ")) return paint("bold", line);
  if (line.startsWith("@@")) return paint("cyan", line);
  if (line.startsWith("+")) return paint("green", line);
  if (line.startsWith("-")) return paint("red", line);
  return line.startsWith("\\") ? paint("dim", line) : line;
}

/** The diffs one after the other, as a patch has them; ends with a line end, or is empty. */
export function diffText(resources: readonly ResourceStatus[], paint: Paint): string {
  return resources
    .map(({ diff }) => diff ?? "")
    .filter((diff) => diff !== "")
    .map((diff) =>
      safeText(diff.endsWith("\n") ? diff.slice(0, -1) : diff)
        .split("\n")
        .map((line) => `${painted(line, paint)}\n`)
        .join(""),
    )
    .join("");
}

function nameOf({ kind, namespace, name }: ResourceStatus): string {
  return `${kind} ${(namespace ?? "") === "" ? "" : `${namespace}/`}${name}`;
}

/** What a diff cannot show, one line for each object: those that are made anew or cannot be judged, and those without a text. */
export function remarks(resources: readonly ResourceStatus[]): string[] {
  return resources
    .filter(
      (one) =>
        one.status === "would_recreate" || one.status === "unknown" || one.status === "failed" || / written; /.test(one.message ?? ""),
    )
    .map((one) => {
      const [name, message] = [nameOf(one), one.message ?? one.status];
      return message.startsWith(`${name}: `) ? message : `${name}: ${message}`;
    });
}
