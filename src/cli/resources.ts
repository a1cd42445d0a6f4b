import type { EventResult, ResourceStatus } from "../protocol/mod.ts";
import type { Column } from "./table.ts";

export const RESOURCE_COLUMNS: readonly Column<ResourceStatus>[] = [
  { head: "KIND", cell: (item) => item.kind },
  { head: "NAMESPACE", cell: (item) => item.namespace ?? "" },
  { head: "NAME", cell: (item) => item.name },
  { head: "API VERSION", cell: (item) => item.api_version ?? "", wide: true },
  { head: "STATUS", cell: (item) => item.status },
  { head: "CODE", cell: (item) => item.code ?? "", wide: true },
  { head: "MESSAGE", cell: (item) => item.message ?? "" },
];

export function resourcesOf(result: EventResult | undefined): readonly ResourceStatus[] {
  return result?.resource_status ?? [];
}
