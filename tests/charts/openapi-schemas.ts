import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Cluster } from "../support/kube.ts";
import { json, recordAt } from "./chart-cluster.ts";
import { at, isRecord, type Json, text } from "./helm-tools.ts";

/**
 * Schemas for kubeconform, made of what this very API server says of its kinds: `KIND-GROUP-VERSION.json` in `directory`. Strict: a field that no
 * schema knows is a fault.
 */
export async function writeSchemas(kube: Cluster, directory: string): Promise<number> {
  await mkdir(directory, { recursive: true });
  const paths = Object.values(recordAt(await json(kube, "/openapi/v3"), "paths"));
  let written = 0;
  for (const path of paths) {
    const url = at(path, "serverRelativeURL");
    if (typeof url !== "string") continue;
    const schemas = recordAt(await json(kube, url), "components", "schemas");
    const strict = Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, strictly(schema)]));
    for (const [name, schema] of Object.entries(schemas)) {
      const kinds = at(schema, "x-kubernetes-group-version-kind");
      // Others (DeleteOptions, Status) are of every group, and nobody writes them into a manifest.
      if (!Array.isArray(kinds) || kinds.length !== 1) continue;
      const [group, version, kind] = ["group", "version", "kind"].map((key) => text(at(kinds, 0, key)));
      await Bun.write(
        join(directory, fileOf(group ?? "", version ?? "", kind ?? "")),
        JSON.stringify({
          $schema: "http://json-schema.org/draft-07/schema#",
          $ref: `#/components/schemas/${name}`,
          components: { schemas: strict },
        }),
      );
      written += 1;
    }
  }
  return written;
}

function fileOf(group: string, version: string, kind: string): string {
  // kubeconform takes the core's version for its group.
  return `${kind.toLowerCase()}-${group === "" ? version : group}-${version}.json`;
}

/** The same names, as kubeconform makes them. */
export function schemaLocation(directory: string): string {
  return join(directory, "{{ .ResourceKind }}-{{ .Group }}-{{ .ResourceAPIVersion }}.json");
}

function strictly(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strictly);
  if (!isRecord(schema)) return schema;
  const result: Json = {};
  for (const [key, value] of Object.entries(schema)) {
    if (key === "properties" && isRecord(value))
      result[key] = Object.fromEntries(Object.entries(value).map(([name, property]) => [name, strictly(property)]));
    // Defaults and examples are data.
    else result[key] = key === "default" || key === "enum" || key === "example" ? value : strictly(value);
  }
  const isOpen = schema["x-kubernetes-preserve-unknown-fields"] === true || schema["x-kubernetes-embedded-resource"] === true;
  if (isRecord(schema["properties"]) && schema["additionalProperties"] === undefined && !isOpen) result["additionalProperties"] = false;
  return result;
}
