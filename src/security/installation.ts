import { randomBytes } from "node:crypto";
import * as v from "valibot";
import { type Ports, TransporterError } from "../kit/mod.ts";
import { DOCUMENT_KINDS, type Documents } from "./documents.ts";
import { DEFAULT_TENANT } from "./principal.ts";
import { SharedRecords } from "./shared-record.ts";

const InstallationSchema = v.object({
  id: v.pipe(v.string(), v.nonEmpty()),
  /** Hex, 32 bytes: with it every control plane knows a nonce that another gave out. */
  nonceKey: v.pipe(v.string(), v.length(64), v.hexadecimal()),
});
export type Installation = v.InferOutput<typeof InstallationSchema>;

const ID = "main";

/** What all control planes of one store are together; made by the first. */
export async function openInstallation(documents: Documents, ports: Ports, tenant: string): Promise<Installation> {
  const records = new SharedRecords({
    documents,
    tenant,
    kind: DOCUMENT_KINDS.installation,
    schema: InstallationSchema,
    expiresAtMs: () => undefined,
  });
  const made: Installation = { id: ports.ids.uuid(), nonceKey: randomBytes(32).toString("hex") };
  if (await records.make(ID, made)) return made;
  const held = await records.get(ID);
  if (held === undefined) throw new TransporterError("STORE_CORRUPT", "what the store says of the installation cannot be read");
  return held.record;
}

/** Whether a control plane of this store was secured before. */
export async function hasInstallation(documents: Documents): Promise<boolean> {
  return (await documents.getDocument({ tenant: DEFAULT_TENANT, kind: DOCUMENT_KINDS.installation, id: ID })) !== undefined;
}
