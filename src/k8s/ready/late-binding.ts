import type { KubeClient } from "../http/client.ts";
import { parseRecord, recordOf, recordsOf, textOf, type Json } from "../http/json.ts";

/**
 * True for a claim that will stay Pending until some pod uses it, by the wish of its storage class: waiting for it would be waiting for
 * the pod's author. Once a pod has been given a node the claim is on its way, and can be waited for. An account that may not read storage
 * classes learns it from the claim's events.
 * Source: https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode
 */
export async function claimWaitsForConsumer(client: KubeClient, claim: Json, signal: AbortSignal): Promise<boolean> {
  const metadata = recordOf(claim["metadata"]);
  if (recordOf(metadata["annotations"])["volume.kubernetes.io/selected-node"] !== undefined) return false;
  const className = textOf(recordOf(claim["spec"])["storageClassName"]) ?? "";
  if (className === "") return false;
  const answer = await client.send({
    method: "GET",
    path: `/apis/storage.k8s.io/v1/storageclasses/${encodeURIComponent(className)}`,
    signal,
  });
  if (answer.status === 200) return parseRecord(answer.text)["volumeBindingMode"] === "WaitForFirstConsumer";
  if (answer.status !== 403) return false;
  const selector = new URLSearchParams({ fieldSelector: `involvedObject.uid=${textOf(metadata["uid"]) ?? ""}` });
  const events = await client.send({
    method: "GET",
    path: `/api/v1/namespaces/${encodeURIComponent(textOf(metadata["namespace"]) ?? "")}/events?${selector.toString()}`,
    signal,
  });
  return events.status === 200 && recordsOf(parseRecord(events.text)["items"]).some((event) => event["reason"] === "WaitForFirstConsumer");
}
