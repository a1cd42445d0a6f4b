/**
 * The cluster, by corners: `access` (how to reach it, as whom), `http` (requests, watches, what it serves), `apply` (plan, try, walk, write), `ownership`
 * (whose fields are whose), `change` (delete, patch, restart), `diff` (what would change, and plans), `undo` (what was, and putting it back), `ready` and `why`
 * (whether things are ready, and why not); and Secrets that the program itself keeps.
 *
 * It refuses before it touches: every kind and namespace is looked up and every object is judged by the API server itself first; what cannot
 * be judged yet, because its namespace or definition comes with the event, is judged just before its own apply. It refuses to take fields from
 * other managers unless told to, to follow redirects, and to run a program that the operator's own kubeconfig does not name.
 *
 * It promises to send each object exactly as it was parsed, as whom the event says and nobody else, to tell truly what became of it, to wait by
 * watching, to say why something is not ready in words that help, to keep few requests in flight, and to wait as a throttling API server tells it.
 */
export type { InClusterOptions, KubeAccess, KubeAccessOptions, KubeCredentials, KubeTls } from "./access/access.ts";
export { applyPlan, type ApplyPlanOptions, type ResourceOutcome } from "./apply/apply.ts";
export type { ApplyOptions } from "./apply/apply-request.ts";
export { describeIdentity } from "./http/actor-error.ts";
export { canHeal } from "./http/can-heal.ts";
export { createKubeClient, type KubeClient, type KubeClientOptions } from "./http/client.ts";
export type { ResourceType } from "./http/discovery.ts";
export type { ListMerge, MergeKey, Schema } from "./http/schema.ts";
export { loadKubeAccess } from "./access/load-access.ts";
export { type Differences, diffPlan, type DiffOptions, type Seen } from "./diff/diff.ts";
export { PlanGuard, planOf } from "./diff/plan-guard.ts";
export { planObjects, type Deferral, type Plan, type PlannedObject, type PlanOptions } from "./apply/plan.ts";
export { type Located, locateObjects } from "./change/locate.ts";
export { type PutBack, restoreSnapshot } from "./undo/restore.ts";
export { demandRights } from "./undo/rights.ts";
export { takeSnapshot } from "./undo/snapshot.ts";
export { patchAll, type PatchOutcome, tryPatches } from "./change/patch.ts";
export { hasBeenPatched, type PatchFinding, type PatchOrder, type PatchTrace, readTrace } from "./change/patch-request.ts";
export { planRestarts, type RestartPlan } from "./change/restart.ts";
export { maySecret, readSecret, type SecretContent, type SecretName, writeSecret } from "./secret.ts";
export type { Target } from "./apply/target.ts";
export { ignoredOf } from "./ownership/ignore-fields.ts";
export { idleIgnoring, ignoredFieldsOf } from "./ownership/treatment.ts";
export type { Finding } from "./apply/finding.ts";
export { deleteBatches, type DeletionOutcome, tryDeletions } from "./change/delete.ts";
export type { DeleteFinding } from "./change/delete-request.ts";
export { faultDetails, faultsError } from "./apply/faults.ts";
export { validatePlan, type ValidateOptions, type Validation } from "./apply/validate.ts";
export type { Awaited } from "./ready/await-ready.ts";
export { type ReadyRules, readyRules } from "./ready/ready-when.ts";
export { verifyEach } from "./apply/verify-each.ts";
export { verifyPlan, verifyTargets, type NotReady, type VerifyOptions } from "./ready/verify.ts";
