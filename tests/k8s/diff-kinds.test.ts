import { expect } from "bun:test";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { freshNamespace, kubeTest } from "../support/kube.ts";
import { agree } from "./kubectl-diff.ts";
import { clientOf, parsed, walk } from "./walk.ts";

const POD = {
  containers: [
    {
      name: "main",
      image: "images.invalid/x:1",
      env: [
        { name: "A", value: "1" },
        { name: "B", value: "2" },
      ],
    },
  ],
};
const template = (pod: unknown): unknown => ({ metadata: { labels: { app: "x" } }, spec: pod });
const selector = { matchLabels: { app: "x" } };

/** Of many kinds something that is there, and what is to become of it. */
const KINDS: readonly (readonly [apiVersion: string, kind: string, before: Record<string, unknown>, after: Record<string, unknown>])[] = [
  [
    "v1",
    "Service",
    {
      spec: {
        selector: { app: "x" },
        ports: [
          { name: "dns", port: 53, protocol: "UDP" },
          { name: "dns-tcp", port: 53 },
        ],
      },
    },
    {
      spec: {
        selector: { app: "y" },
        ports: [
          { name: "dns-tcp", port: 53, targetPort: "dns" },
          { name: "web", port: 80 },
        ],
      },
    },
  ],
  ["v1", "ServiceAccount", { automountServiceAccountToken: false }, { imagePullSecrets: [{ name: "registry" }] }],
  [
    "v1",
    "ResourceQuota",
    { spec: { hard: { pods: "10", "limits.cpu": "1500m" } } },
    { spec: { hard: { pods: 12, "limits.memory": "1Gi" } } },
  ],
  [
    "v1",
    "LimitRange",
    { spec: { limits: [{ type: "Container", max: { cpu: "2" } }] } },
    { spec: { limits: [{ type: "Container", max: { cpu: "2000m" } }] } },
  ],
  [
    "v1",
    "PersistentVolumeClaim",
    { spec: { accessModes: ["ReadWriteOnce"], storageClassName: "none", resources: { requests: { storage: "1Gi" } } } },
    {
      metadata: { labels: { tier: "data" } },
      spec: { accessModes: ["ReadWriteOnce"], storageClassName: "none", resources: { requests: { storage: "1Gi" } } },
    },
  ],
  [
    "apps/v1",
    "StatefulSet",
    { spec: { serviceName: "x", replicas: 0, selector, template: template(POD) } },
    {
      spec: {
        serviceName: "x",
        replicas: 0,
        selector,
        template: template({
          containers: [
            {
              ...POD.containers[0],
              env: [
                { name: "B", value: "3" },
                { name: "C", value: "4" },
              ],
            },
          ],
        }),
      },
    },
  ],
  [
    "apps/v1",
    "DaemonSet",
    { spec: { selector, template: template({ ...POD, nodeSelector: { none: "such" } }) } },
    {
      spec: {
        selector,
        updateStrategy: { type: "OnDelete" },
        template: template({ ...POD, nodeSelector: { none: "such", other: "yes" } }),
      },
    },
  ],
  [
    "batch/v1",
    "CronJob",
    { spec: { schedule: "*/5 * * * *", suspend: true, jobTemplate: { spec: { template: { spec: { ...POD, restartPolicy: "Never" } } } } } },
    {
      spec: {
        schedule: "@hourly",
        suspend: true,
        jobTemplate: { spec: { backoffLimit: 2, template: { spec: { ...POD, restartPolicy: "OnFailure" } } } },
      },
    },
  ],
  [
    "autoscaling/v2",
    "HorizontalPodAutoscaler",
    {
      spec: {
        maxReplicas: 3,
        scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "x" },
        metrics: [{ type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 50 } } }],
      },
    },
    { spec: { maxReplicas: 5, minReplicas: 2, scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "x" } } },
  ],
  [
    "networking.k8s.io/v1",
    "NetworkPolicy",
    {
      spec: {
        podSelector: {},
        policyTypes: ["Ingress"],
        ingress: [{ from: [{ podSelector: { matchLabels: { a: "b" } } }], ports: [{ port: 80 }] }],
      },
    },
    {
      spec: {
        podSelector: {},
        policyTypes: ["Ingress", "Egress"],
        ingress: [{ from: [{ namespaceSelector: {} }], ports: [{ port: 80 }, { port: "web" }] }],
      },
    },
  ],
  [
    "networking.k8s.io/v1",
    "Ingress",
    { spec: { defaultBackend: { service: { name: "x", port: { number: 80 } } } } },
    {
      spec: {
        ingressClassName: "nginx",
        rules: [
          {
            host: "x.example",
            http: { paths: [{ path: "/", pathType: "Prefix", backend: { service: { name: "x", port: { name: "web" } } } }] },
          },
        ],
      },
    },
  ],
  ["policy/v1", "PodDisruptionBudget", { spec: { minAvailable: 1, selector } }, { spec: { maxUnavailable: "50%", selector } }],
  [
    "rbac.authorization.k8s.io/v1",
    "Role",
    { rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get", "list"] }] },
    {
      rules: [
        { apiGroups: [""], resources: ["pods", "secrets"], verbs: ["get"] },
        { apiGroups: ["*"], resources: ["*"], verbs: ["*"] },
      ],
    },
  ],
  [
    "coordination.k8s.io/v1",
    "Lease",
    { spec: { holderIdentity: "a", leaseDurationSeconds: 15 } },
    { spec: { holderIdentity: "y", leaseTransitions: 3 } },
  ],
  [
    "v1",
    "ConfigMap",
    { data: { yes: "no", crlf: "a\r\nb", empty: "", unicode: "grüße 🎉", long: "a b ".repeat(60) }, binaryData: { bytes: "AAEC" } },
    { data: { yes: "on", crlf: "a\nb\n", "1.5": "1e3", unicode: "grüße\u00a0漢字", long: `${"a b ".repeat(60)}c: d` }, immutable: true },
  ],
];

kubeTest(
  "a diff agrees with kubectl diff of many kinds, and makes of what kubectl has seen what kubectl says that it would become",
  async () => {
    await using space = await freshNamespace();
    const client = await clientOf(space.kube);
    const made = (which: 2 | 3): KubeObject[] =>
      KINDS.map((one) => ({
        apiVersion: one[0],
        kind: one[1],
        ...one[which],
        metadata: { name: "one", ...(one[which]["metadata"] as object | undefined) },
      }));
    await agree(client, space, made(2));
    await walk(client, parsed(...made(2)), { defaultNamespace: space.name });
    expect(await agree(client, space, made(2))).toBe("");
    const told = await agree(client, space, made(3));
    // Two processors are 2,000 thousandths of one.
    expect(told).not.toContain("LimitRange");
    for (const [, kind] of KINDS.filter((one) => one[1] !== "LimitRange"))
      expect(told).toMatch(new RegExp(`^--- LIVE/\\S+\\.${kind}\\.`, "m"));
  },
  240_000,
);
