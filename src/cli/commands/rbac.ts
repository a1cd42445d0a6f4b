import { choice, list, textOr } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import { command } from "../command.ts";
import { EXIT } from "../exit.ts";
import { grantOf, grantProblem } from "../rbac-impersonation.ts";
import { RBAC_PRESETS, type RbacPreset, rbacManifests } from "../rbac-presets.ts";

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;
const label = (text: string): string | undefined =>
  LABEL.test(text) ? undefined : "lower-case letters, digits and dashes, at most 63, as names in Kubernetes are";
const subdomain = (text: string): string | undefined =>
  text.length <= 253 && SUBDOMAIN.test(text) ? undefined : "lower-case letters, digits, dashes and dots, at most 253";

interface Bounds {
  readonly namespaces: readonly string[];
  readonly groups: readonly string[];
  readonly impersonate: readonly string[];
}

/** What a preset needs, and what would mean nothing with it. */
function checkBounds(preset: RbacPreset, { namespaces, groups, impersonate }: Bounds): void {
  if (preset === "namespaced" && namespaces.length === 0)
    throw new TransporterError("USAGE", "--preset namespaced needs the namespaces that the agent works in", {
      remedy: "Give --namespace NAME, for each of them.",
    });
  if (preset === "clusterAdmin" && namespaces.length > 0)
    throw new TransporterError("USAGE", "--preset clusterAdmin may do everything everywhere, so --namespace means nothing with it", {
      remedy: "Give --preset namespaced to stay within namespaces.",
    });
  if (preset === "impersonator" && impersonate.length === 0)
    throw new TransporterError("USAGE", "--preset impersonator needs those whom the agent may act as", {
      remedy: "Give --impersonate NAMESPACE/ACCOUNT, for each of them; user:NAME and group:NAME for people.",
    });
  if (preset === "impersonator" && namespaces.length + groups.length > 0)
    throw new TransporterError("USAGE", "--preset impersonator may do nothing itself, so --namespace and --group mean nothing with it", {
      remedy: "Give those whom it acts as the rights that they need.",
    });
  if (preset !== "impersonator" && impersonate.length > 0)
    throw new TransporterError("USAGE", `--preset ${preset} acts as nobody else, so --impersonate means nothing with it`, {
      remedy: "Give --preset impersonator.",
    });
}

export const agentRbac = command({
  summary: "Print the rights that an agent needs in its cluster",
  description:
    "Prints a ServiceAccount, its roles and their bindings as YAML, for `kubectl apply -f -`; nothing is changed. Each preset may read and write the Secret that holds the agent's own identity, and no other.\n\nreadOnly: looks at everything but Secrets and changes nothing, for `agent --read-only`. It sees which objects there are. What an apply would change, and whether it would be refused, only a dry run can tell, and Kubernetes gives dry runs to nobody who may not do the thing itself: such objects are reported as not judged.\n\nnamespaced: applies, deletes and restores the usual kinds in the namespaces of --namespace, and sees no other. Whoever may make pods in a namespace can use every account and Secret of it.\n\nclusterAdmin: may do everything. Whoever can send events to this agent then owns the cluster.\n\nimpersonator: may do nothing as itself, and act as those of --impersonate, for `agent --require-impersonation`. What it can do is what they may do.",
  settings: {
    preset: choice(RBAC_PRESETS, { describe: "How much the agent may do (required)", flagOnly: true }),
    namespace: list({
      describe: "Namespace that it works in; for readOnly all when absent. Repeatable",
      hint: "NAME",
      flagOnly: true,
      check: label,
    }),
    "agent-namespace": textOr("transporter-system", {
      describe: "Namespace of the agent's account and identity",
      hint: "NAME",
      flagOnly: true,
      check: label,
    }),
    account: textOr("transporter-agent", {
      describe: "Name of the account, and of what belongs to it",
      hint: "NAME",
      flagOnly: true,
      check: label,
    }),
    "identity-secret": textOr("transporter-agent-identity", {
      describe: "Name of the Secret that the agent keeps its identity in, with `agent --identity-secret`",
      hint: "NAME",
      flagOnly: true,
      check: subdomain,
    }),
    group: list({
      describe: "API group of custom resources that it works on too; repeatable",
      hint: "GROUP",
      flagOnly: true,
      check: subdomain,
    }),
    impersonate: list({
      describe:
        "Whom it may act as, for impersonator: NAMESPACE/ACCOUNT, NAMESPACE/*, user:NAME, group:NAME, uid:ID or extra:KEY=VALUE; repeatable",
      hint: "WHO",
      flagOnly: true,
      check: grantProblem,
    }),
  },
  examples: [
    "transporter agent rbac --preset readOnly | kubectl apply -f -",
    "transporter agent rbac --preset namespaced --namespace shop --namespace shop-jobs",
    "transporter agent rbac --preset clusterAdmin --agent-namespace transporter",
    "transporter agent rbac --preset impersonator --impersonate shop/deployer --impersonate group:release-managers",
  ],
  run: async ({ values, host }) => {
    const { preset, namespace: namespaces } = values;
    if (preset === undefined)
      throw new TransporterError("USAGE", "--preset is required: nothing is granted that nobody asked for", {
        remedy: `Give --preset ${RBAC_PRESETS.join(", --preset ")}.`,
      });
    const groups = [...new Set(values.group)];
    const impersonate = [...new Set(values.impersonate)];
    checkBounds(preset, { namespaces, groups, impersonate });
    host.out.write(
      rbacManifests({
        preset,
        namespaces: [...new Set(namespaces)],
        agentNamespace: values["agent-namespace"],
        account: values.account,
        identitySecret: values["identity-secret"],
        groups,
        grants: impersonate.flatMap((text) => grantOf(text) ?? []),
      }),
    );
    return EXIT.ok;
  },
});
