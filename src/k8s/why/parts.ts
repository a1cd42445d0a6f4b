import type { KubeClient } from "../http/client.ts";
import { redactText } from "../../redaction/mod.ts";
import { parseRecord, recordOf, recordsOf, textOf, type Json } from "../http/json.ts";

const MESSAGE_CHARS = 500;

export interface Subject {
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

export function subjectOf(object: Json): Subject {
  const metadata = recordOf(object["metadata"]);
  return {
    kind: textOf(object["kind"]) ?? "",
    name: textOf(metadata["name"]) ?? "",
    namespace: textOf(metadata["namespace"]) ?? "",
    uid: textOf(metadata["uid"]) ?? "",
  };
}

/** One line of bearable length; without secrets, as half of one, or one in other spaces, nobody would know later. */
export function cut(text: string, most = MESSAGE_CHARS): string {
  const line = redactText(text).replaceAll(/\s+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most)}…` : line;
}

/** The items of a collection; none where it may not be read: an explanation is help, not a promise. */
export async function items(client: KubeClient, path: string, signal: AbortSignal | undefined): Promise<Json[]> {
  const answer = await client.send({ method: "GET", path, signal });
  return answer.status === 200 ? recordsOf(parseRecord(answer.text)["items"]) : [];
}

export function madeAt(object: Json): string {
  return textOf(recordOf(object["metadata"])["creationTimestamp"]) ?? "";
}

export function newestFirst(objects: readonly Json[]): Json[] {
  return objects.toSorted((a, b) => madeAt(b).localeCompare(madeAt(a)));
}

export function isOwnedBy(object: Json, uid: string): boolean {
  return recordsOf(recordOf(object["metadata"])["ownerReferences"]).some((owner) => owner["uid"] === uid);
}
