import { silentLogger, systemPorts, TransporterError } from "../../src/kit/mod.ts";
import {
  applyPlan,
  createKubeClient,
  loadKubeAccess,
  planObjects,
  validatePlan,
  verifyPlan,
  type ApplyPlanOptions,
  type KubeClient,
  type KubeClientOptions,
  type Plan,
  type ResourceOutcome,
  type Validation,
  type VerifyOptions,
} from "../../src/k8s/mod.ts";
import { refOf, type KubeObject, type ParsedObject } from "../../src/manifests/mod.ts";
import type { Cluster } from "../support/kube.ts";

/** A client of the cluster, as whoever the kubeconfig names (the administrator by default). */
export async function clientOf(
  kube: Cluster,
  kubeconfig = kube.kubeconfigPath,
  options: Partial<KubeClientOptions> = {},
): Promise<KubeClient> {
  const access = await loadKubeAccess({ kubeconfig, ports: systemPorts });
  return createKubeClient(access, { ports: systemPorts, log: silentLogger, ...options });
}

/** Objects as an event has them; a missing apiVersion or kind is the test's own fault. */
export function parsed(...objects: readonly KubeObject[]): ParsedObject[] {
  return objects.map((object, index) => ({ object, ref: refOf(object), source: { manifest: index, document: 1, line: 1 } }));
}

export const APPLY: ApplyPlanOptions = { fieldManager: "transporter", forceConflicts: false };

export interface Walked {
  readonly plan: Plan;
  readonly validation: Validation;
  readonly outcomes: readonly ResourceOutcome[];
  /** `created ConfigMap web/settings`, in the event's order. */
  readonly told: readonly string[];
}

/** Plan, validate and apply. */
export async function walk(
  client: KubeClient,
  objects: readonly ParsedObject[],
  options: Partial<ApplyPlanOptions> & { readonly defaultNamespace?: string } = {},
): Promise<Walked> {
  const { defaultNamespace = "default", ...rest } = options;
  const plan = await planObjects(client, objects, { defaultNamespace });
  const validation = await validatePlan(client, plan, { ...APPLY, ...rest });
  const outcomes = await applyPlan(client, plan, validation, { ...APPLY, ...rest });
  return { plan, validation, outcomes, told: outcomes.map(({ status, planned }) => `${status} ${planned.label}`) };
}

/** Plan, validate, apply and verify. */
export async function walkAll(
  client: KubeClient,
  objects: readonly ParsedObject[],
  verify: VerifyOptions,
  defaultNamespace = "default",
): Promise<Walked> {
  const walked = await walk(client, objects, { defaultNamespace });
  await verifyPlan(client, walked.plan, walked.outcomes, verify);
  return walked;
}

/** The error that the attempt ends with; fails when it does not. */
export async function refusal(attempt: Promise<unknown>): Promise<TransporterError> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof TransporterError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

export function configMap(name: string, data: Readonly<Record<string, unknown>>, namespace?: string): KubeObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, data };
}

export function deployment(name: string, image: string, podLabels: Readonly<Record<string, string>> = {}, replicas = 1): KubeObject {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name, ...podLabels } },
        spec: { containers: [{ name: "main", image, ports: [{ containerPort: 80 }] }] },
      },
    },
  };
}
