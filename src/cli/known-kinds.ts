/** `API_VERSION KIND SHORT…`: what people write of kinds that every cluster has. Others are written with their API version. */
const TABLE = `
v1 ConfigMap cm
v1 Endpoints ep
v1 LimitRange limits
v1 Namespace ns
v1 Node no
v1 PersistentVolume pv
v1 PersistentVolumeClaim pvc
v1 Pod po
v1 PodTemplate
v1 ReplicationController rc
v1 ResourceQuota quota
v1 Secret
v1 Service svc
v1 ServiceAccount sa
admissionregistration.k8s.io/v1 MutatingWebhookConfiguration
admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy
admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding
admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration
apiextensions.k8s.io/v1 CustomResourceDefinition crd crds
apiregistration.k8s.io/v1 APIService
apps/v1 ControllerRevision
apps/v1 DaemonSet ds
apps/v1 Deployment deploy
apps/v1 ReplicaSet rs
apps/v1 StatefulSet sts
autoscaling/v2 HorizontalPodAutoscaler hpa
batch/v1 CronJob cj
batch/v1 Job
certificates.k8s.io/v1 CertificateSigningRequest csr
coordination.k8s.io/v1 Lease
discovery.k8s.io/v1 EndpointSlice
networking.k8s.io/v1 Ingress ing
networking.k8s.io/v1 IngressClass
networking.k8s.io/v1 NetworkPolicy netpol
node.k8s.io/v1 RuntimeClass
policy/v1 PodDisruptionBudget pdb
rbac.authorization.k8s.io/v1 ClusterRole
rbac.authorization.k8s.io/v1 ClusterRoleBinding
rbac.authorization.k8s.io/v1 Role
rbac.authorization.k8s.io/v1 RoleBinding
scheduling.k8s.io/v1 PriorityClass pc
storage.k8s.io/v1 CSIDriver
storage.k8s.io/v1 StorageClass sc
`;

export interface KnownKind {
  readonly apiVersion: string;
  readonly kind: string;
}

/** As the API server makes the plural of its own kinds. */
function pluralOf(kind: string): string {
  if (kind.endsWith("endpoints")) return kind;
  if (/(?:s|x|ch|sh)$/.test(kind)) return `${kind}es`;
  return kind.endsWith("y") ? `${kind.slice(0, -1)}ies` : `${kind}s`;
}

const KINDS: ReadonlyMap<string, KnownKind> = new Map(
  TABLE.trim()
    .split("\n")
    .flatMap((line) => {
      const [apiVersion = "", kind = "", ...short] = line.split(" ");
      const lower = kind.toLowerCase();
      return [lower, pluralOf(lower), ...short].map((word) => [word, { apiVersion, kind }] as const);
    }),
);

/** The kind that a word names, as kubectl takes it: in any case, singular, plural or short. Undefined for kinds that not every cluster has. */
export function knownKind(word: string): KnownKind | undefined {
  return KINDS.get(word.toLowerCase());
}
