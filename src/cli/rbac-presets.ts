import { accountRules, type Grant, personRules } from "./rbac-impersonation.ts";

export const RBAC_PRESETS = ["readOnly", "namespaced", "clusterAdmin", "impersonator"] as const;
export type RbacPreset = (typeof RBAC_PRESETS)[number];

export interface RbacRequest {
  readonly preset: RbacPreset;
  /** Where it works; empty: everywhere. */
  readonly namespaces: readonly string[];
  readonly agentNamespace: string;
  readonly account: string;
  readonly identitySecret: string;
  /** Of custom resources. */
  readonly groups: readonly string[];
  /** Of the preset impersonator: whom it may act as. */
  readonly grants: readonly Grant[];
}

interface Rule {
  readonly why?: string;
  readonly groups: readonly string[];
  readonly resources: readonly string[];
  readonly names?: readonly string[];
  readonly verbs: readonly string[];
}

const READ = ["get", "list", "watch"];
/** To delete is for what an event deletes, makes anew, or takes back. */
const APPLY = [...READ, "create", "patch", "delete"];

/** Everything of a namespace but Secrets: reading them is having what they open. */
const CORE_TO_READ = [
  "configmaps",
  "endpoints",
  "events",
  "limitranges",
  "persistentvolumeclaims",
  "pods",
  "replicationcontrollers",
  "resourcequotas",
  "serviceaccounts",
  "services",
];
const GROUPS_TO_READ = ["apps", "autoscaling", "batch", "discovery.k8s.io", "events.k8s.io", "networking.k8s.io", "policy"];
const CORE_TO_APPLY = ["configmaps", "persistentvolumeclaims", "pods", "secrets", "serviceaccounts", "services"];

/** Words that YAML 1.1 takes for something else than a text are short, or one of these. */
const PLAIN = /^(?!true$|false$|null$)[a-z][a-z0-9.-]{3,}$/;
const flow = (items: readonly string[]): string => `[${items.map((item) => (PLAIN.test(item) ? item : JSON.stringify(item))).join(", ")}]`;

function rulesText(rules: readonly Rule[]): string {
  const lines = rules.flatMap(({ why, groups, resources, names, verbs }) => [
    ...(why === undefined ? [] : [`  # ${why}`]),
    `  - apiGroups: ${flow(groups)}`,
    `    resources: ${flow(resources)}`,
    ...(names === undefined ? [] : [`    resourceNames: ${flow(names)}`]),
    `    verbs: ${flow(verbs)}`,
  ]);
  return `rules:\n${lines.join("\n")}\n`;
}

function metadata(name: string, namespace?: string): string {
  return `metadata:\n  name: ${JSON.stringify(name)}\n${namespace === undefined ? "" : `  namespace: ${JSON.stringify(namespace)}\n`}`;
}

const RBAC = "rbac.authorization.k8s.io";

/** A role (of a namespace, or of the cluster) and what gives it to the agent's account. */
function granted(request: RbacRequest, name: string, rules: readonly Rule[], namespace: string | undefined): string[] {
  const kind = namespace === undefined ? "ClusterRole" : "Role";
  return [
    `apiVersion: ${RBAC}/v1\nkind: ${kind}\n${metadata(name, namespace)}${rulesText(rules)}`,
    bound(request, name, kind, name, namespace),
  ];
}

function bound(request: RbacRequest, name: string, kind: "Role" | "ClusterRole", role: string, namespace: string | undefined): string {
  return [
    `apiVersion: ${RBAC}/v1\nkind: ${namespace === undefined ? "ClusterRoleBinding" : "RoleBinding"}\n${metadata(name, namespace)}`,
    `roleRef:\n  apiGroup: ${RBAC}\n  kind: ${kind}\n  name: ${JSON.stringify(role)}\n`,
    `subjects:\n  - kind: ServiceAccount\n    name: ${JSON.stringify(request.account)}\n    namespace: ${JSON.stringify(request.agentNamespace)}\n`,
  ].join("");
}

function readRules(groups: readonly string[]): readonly Rule[] {
  return [
    { why: "Everything but Secrets.", groups: [""], resources: CORE_TO_READ, verbs: READ },
    { groups: [...GROUPS_TO_READ, ...groups], resources: ["*"], verbs: READ },
  ];
}

function applyRules(groups: readonly string[]): readonly Rule[] {
  return [
    {
      why: "What it is to work on: create and patch to apply, get, list and watch to see it become ready, delete for the operation of that name, for what is made anew, and for rollbacks.",
      groups: [""],
      resources: CORE_TO_APPLY,
      verbs: APPLY,
    },
    { groups: ["apps", "autoscaling", "batch", "networking.k8s.io", "policy", ...groups], resources: ["*"], verbs: APPLY },
    { why: "To tell a missing namespace early, and to say why something is not ready.", groups: [""], resources: ["events"], verbs: READ },
    { groups: [""], resources: ["pods/log"], verbs: ["get"] },
    { groups: [""], resources: ["namespaces"], verbs: ["get"] },
  ];
}

function impersonatorRights(request: RbacRequest): readonly string[] {
  const { account, grants } = request;
  const people = personRules(grants);
  return [
    ...[...accountRules(grants)].flatMap(([namespace, rule]) => granted(request, account, [rule], namespace)),
    ...(people.length === 0 ? [] : granted(request, account, people, undefined)),
  ];
}

function rightsOf(request: RbacRequest): readonly string[] {
  const { preset, namespaces, account, groups } = request;
  switch (preset) {
    case "clusterAdmin":
      return [bound(request, account, "ClusterRole", "cluster-admin", undefined)];
    case "impersonator":
      return impersonatorRights(request);
    case "namespaced":
      return namespaces.flatMap((namespace) => granted(request, account, applyRules(groups), namespace));
    case "readOnly":
      if (namespaces.length > 0)
        return namespaces.flatMap((namespace) =>
          granted(request, account, [...readRules(groups), { groups: [""], resources: ["namespaces"], verbs: ["get"] }], namespace),
        );
      return granted(
        request,
        account,
        [
          ...readRules(groups),
          { groups: [""], resources: ["namespaces", "nodes", "persistentvolumes"], verbs: READ },
          { groups: ["apiextensions.k8s.io", "scheduling.k8s.io", "storage.k8s.io"], resources: ["*"], verbs: READ },
        ],
        undefined,
      );
  }
}

const ABOUT: Readonly<Record<RbacPreset, string>> = {
  readOnly: "looks, and changes nothing. For `transporter agent --read-only`.",
  namespaced:
    "applies, deletes and restores the usual kinds in the namespaces below, and sees no other. Whoever may make pods there can use every account and Secret there.",
  clusterAdmin: "may do everything. Whoever can send events to this agent owns the cluster.",
  impersonator:
    "may do nothing as itself. It may act as those that are named below, and can do what they may do. For `transporter agent --require-impersonation`.",
};

/** The manifests of an agent's account and rights, as YAML. Names have to be checked before. */
export function rbacManifests(request: RbacRequest): string {
  const { preset, agentNamespace, account, identitySecret } = request;
  // There from the start, so that the agent needs no right to make Secrets; what it writes into it stays when this is applied again.
  const identity = `apiVersion: v1\nkind: Secret\n${metadata(identitySecret, agentNamespace)}type: Opaque\n`;
  const own = granted(
    request,
    `${account}-identity`,
    [
      {
        why: "Its own key and certificate, and no other Secret.",
        groups: [""],
        resources: ["secrets"],
        names: [identitySecret],
        verbs: ["get", "patch"],
      },
    ],
    agentNamespace,
  );
  const documents = [
    `apiVersion: v1\nkind: Namespace\n${metadata(agentNamespace)}`,
    `apiVersion: v1\nkind: ServiceAccount\n${metadata(account, agentNamespace)}`,
    identity,
    ...own,
    ...rightsOf(request),
  ];
  const more = preset === "impersonator" ? " --require-impersonation" : "";
  return `# An agent that ${ABOUT[preset]}\n# Start it with --in-cluster --identity-secret ${agentNamespace}/${identitySecret}${more}.\n${documents.join("---\n")}`;
}
