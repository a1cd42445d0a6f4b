import type { KubeClient } from "../http/client.ts";
import { recordOf, textOf, type Json } from "../http/json.ts";
import { cut, items, madeAt, type Subject } from "./parts.ts";

export interface Warning {
  readonly reason: string;
  readonly message: string;
}

/** Ordinary events that say why something does not go on all the same. */
const TELLING = new Set(["FailedBinding", "ExternalProvisioning", "ProvisioningFailed"]);

function lastSeen(event: Json): string {
  const series = textOf(recordOf(event["series"])["lastObservedTime"]);
  return series ?? textOf(event["lastTimestamp"]) ?? textOf(event["eventTime"]) ?? madeAt(event);
}

/** What events of one object warn of, the newest first, each but once. None where events may not be read. */
export async function warningsOf(client: KubeClient, subject: Subject, signal: AbortSignal | undefined): Promise<Warning[]> {
  if (subject.uid === "") return [];
  // Events of what has no namespace are kept in the default one.
  const namespace = subject.namespace === "" ? "default" : subject.namespace;
  const query = new URLSearchParams({ fieldSelector: `involvedObject.uid=${subject.uid}`, limit: "200" });
  const events = await items(client, `/api/v1/namespaces/${encodeURIComponent(namespace)}/events?${query.toString()}`, signal);
  const seen = new Set<string>();
  return events
    .filter((event) => event["type"] === "Warning" || TELLING.has(textOf(event["reason"]) ?? ""))
    .toSorted((a, b) => lastSeen(b).localeCompare(lastSeen(a)))
    .flatMap((event): Warning[] => {
      const warning = { reason: textOf(event["reason"]) ?? "Warning", message: cut(textOf(event["message"]) ?? "") };
      const key = `${warning.reason} ${warning.message}`;
      if (warning.message === "" || seen.has(key)) return [];
      seen.add(key);
      return [warning];
    });
}
