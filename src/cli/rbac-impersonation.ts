/** Whom an agent may act as. */
export type Grant =
  /** Without a name: every account of the namespace. */
  | { readonly kind: "account"; readonly namespace: string; readonly name: string | undefined }
  | { readonly kind: "user" | "group" | "uid"; readonly name: string }
  | { readonly kind: "extra"; readonly key: string; readonly value: string };

/** A rule without what RBAC calls it by. */
export interface ImpersonationRule {
  readonly groups: readonly string[];
  readonly resources: readonly string[];
  readonly names?: readonly string[];
  readonly verbs: readonly string[];
}

const ACCOUNT = /^([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\/(\*|[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)$/;
const PREFIXED = /^(user|group|uid):(.+)$/su;
const EXTRA = /^extra:([^=\p{Lu}]+)=(.+)$/su;
/** As the API server takes names from a request: nothing that a header would lose. */
const SAYABLE = /^(?! )\P{Cc}+(?<! )$/u;

/** What an argument of `--impersonate` grants; undefined where it is none. */
export function grantOf(text: string): Grant | undefined {
  const [, namespace, account] = ACCOUNT.exec(text) ?? [];
  if (namespace !== undefined && account !== undefined) return { kind: "account", namespace, name: account === "*" ? undefined : account };
  const [, kind, name] = PREFIXED.exec(text) ?? [];
  if (name !== undefined && SAYABLE.test(name) && (kind === "user" || kind === "group" || kind === "uid")) return { kind, name };
  const [, key, value] = EXTRA.exec(text) ?? [];
  return key !== undefined && value !== undefined && SAYABLE.test(key) && SAYABLE.test(value) ? { kind: "extra", key, value } : undefined;
}

/** Why nobody should be given that one by the way, or undefined: a name that stands for everybody, or for the cluster's owner. */
export function grantProblem(text: string): string | undefined {
  const grant = grantOf(text);
  if (grant === undefined)
    return "NAMESPACE/ACCOUNT, NAMESPACE/*, user:NAME, group:NAME, uid:ID or extra:KEY=VALUE (the key in lower case)";
  if (grant.kind === "account" || grant.kind === "extra") return undefined;
  if (grant.name === "*") return "a name; whoever may act as everybody owns the cluster";
  if (text === "group:system:masters" || text === "user:system:admin")
    return "somebody else: whoever may act as that one owns the cluster, and --preset clusterAdmin says so";
  return undefined;
}

function impersonate(group: string, resource: string, names: readonly string[]): ImpersonationRule {
  return { groups: [group], resources: [resource], ...(names.length === 0 ? {} : { names }), verbs: ["impersonate"] };
}

/** The rules for accounts, by namespace: a Role there is enough. */
export function accountRules(grants: readonly Grant[]): ReadonlyMap<string, ImpersonationRule> {
  const names = new Map<string, string[] | "all">();
  for (const grant of grants) {
    if (grant.kind !== "account") continue;
    const before = names.get(grant.namespace) ?? [];
    names.set(grant.namespace, before === "all" || grant.name === undefined ? "all" : [...before, grant.name]);
  }
  return new Map([...names].map(([namespace, list]) => [namespace, impersonate("", "serviceaccounts", list === "all" ? [] : list)]));
}

/** The rules for everybody else, who is in no namespace. */
export function personRules(grants: readonly Grant[]): readonly ImpersonationRule[] {
  const named = (kind: "user" | "group" | "uid"): string[] => grants.flatMap((grant) => (grant.kind === kind ? [grant.name] : []));
  const extras = new Map<string, string[]>();
  for (const grant of grants) if (grant.kind === "extra") extras.set(grant.key, [...(extras.get(grant.key) ?? []), grant.value]);
  const rules = [
    { group: "", resource: "users", names: named("user") },
    { group: "", resource: "groups", names: named("group") },
    { group: "authentication.k8s.io", resource: "uids", names: named("uid") },
    ...[...extras].map(([key, names]) => ({ group: "authentication.k8s.io", resource: `userextras/${key}`, names })),
  ];
  return rules.flatMap(({ group, resource, names }) => (names.length === 0 ? [] : [impersonate(group, resource, names)]));
}
