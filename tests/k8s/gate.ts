import type { KubeObject } from "../../src/manifests/mod.ts";
import { eventually } from "../support/eventually.ts";
import { type Namespace, uniqueName } from "../support/kube.ts";
import { deployment } from "./walk.ts";

export interface Gate {
  /** A Deployment whose pod no node takes until the gate is opened. */
  readonly deployment: KubeObject;
  open(): Promise<void>;
}

/** Something that gets ready when the test says so. */
export async function gated(space: Namespace, name: string): Promise<Gate> {
  const label = `${uniqueName("gate")}.transporter.test/open`;
  const made = deployment(name, "none");
  const spec = made["spec"] as { template: { spec: Record<string, unknown> } };
  spec.template.spec["nodeSelector"] = { [label]: "yes" };
  (made.metadata as { namespace?: string }).namespace = space.name;
  const node = await eventually(
    async () => (await space.kubectl(["get", "nodes", "--output=jsonpath={.items[0].metadata.name}"])) || undefined,
  );
  return {
    deployment: made,
    async open() {
      await space.kubectl(["label", "node", node, `${label}=yes`]);
    },
  };
}

/** The object with these annotations. */
export function annotated(object: KubeObject, annotations: Readonly<Record<string, string>>): KubeObject {
  return { ...object, metadata: { ...object.metadata, annotations } };
}

export function inWave(object: KubeObject, wave: number): KubeObject {
  return annotated(object, { "transporter.dev/wave": String(wave) });
}

export function dependingOn(object: KubeObject, ...on: readonly string[]): KubeObject {
  return annotated(object, { "config.kubernetes.io/depends-on": on.join(",") });
}
