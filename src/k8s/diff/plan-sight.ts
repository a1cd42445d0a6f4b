import type { KubeClient } from "../http/client.ts";
import type { Json } from "../http/json.ts";
import type { ApplyOptions } from "../apply/apply-request.ts";
import { ignoredOf } from "../ownership/ignore-fields.ts";
import { livePrint } from "./live-print.ts";
import type { PlannedObject } from "../apply/plan.ts";
import { treatmentOf } from "../ownership/treatment.ts";

/** The print of an object as it stands; what is left to others may become whatever they like. */
export async function printOf(client: KubeClient, planned: PlannedObject, live: Json | undefined, options: ApplyOptions): Promise<string> {
  if (live === undefined) return livePrint(undefined);
  const ignored = await ignoredOf(client, planned, treatmentOf(planned, options), options.signal);
  return livePrint(ignored === undefined ? live : ignored.withoutThem(live));
}

/** All that says what is to become of an object: its manifest as it is sent, and how it is to be treated. */
export function wantedOf(planned: PlannedObject, options: ApplyOptions): string {
  const { forceConflicts, recreate, ignored } = treatmentOf(planned, options);
  return JSON.stringify([planned.body, options.fieldManager, forceConflicts, recreate, [...ignored].toSorted()]);
}
