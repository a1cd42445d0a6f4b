import { choice, list, textOr } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import { command } from "../command.ts";
import { EXIT } from "../exit.ts";
import { RBAC_PRESETS, rbacManifests } from "../rbac-presets.ts";

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;
const label = (text: string): string | undefined =>
  LABEL.test(text) ? undefined : "lower-case letters, digits and dashes, at most 63, as names in Kubernetes are";
const subdomain = (text: string): string | undefined =>
  text.length <= 253 && SUBDOMAIN.test(text) ? undefined : "lower-case letters, digits, dashes and dots, at most 253";

export const agentRbac = command({
  summary: "Print the rights that an agent needs in its cluster",
  description:
    "Prints a ServiceAccount, its roles and their bindings as YAML, for `kubectl apply -f -`; nothing is changed. Each preset may read and write the Secret that holds the agent's own identity, and no other.\n\nreadOnly: looks at everything but Secrets and changes nothing, for `agent --read-only`. It sees which objects there are. What an apply would change, and whether it would be refused, only a dry run can tell, and Kubernetes gives dry runs to nobody who may not do the thing itself: such objects are reported as not judged.\n\nnamespaced: applies the usual kinds in the namespaces of --namespace, and sees no other. Whoever may make pods in a namespace can use every account and Secret of it.\n\nclusterAdmin: may do everything. Whoever can send events to this agent then owns the cluster.",
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
  },
  examples: [
    "transporter agent rbac --preset readOnly | kubectl apply -f -",
    "transporter agent rbac --preset namespaced --namespace shop --namespace shop-jobs",
    "transporter agent rbac --preset clusterAdmin --agent-namespace transporter",
  ],
  run: async ({ values, host }) => {
    const { preset, namespace: namespaces } = values;
    if (preset === undefined)
      throw new TransporterError("USAGE", "--preset is required: nothing is granted that nobody asked for", {
        remedy: `Give --preset ${RBAC_PRESETS.join(", --preset ")}.`,
      });
    if (preset === "namespaced" && namespaces.length === 0)
      throw new TransporterError("USAGE", "--preset namespaced needs the namespaces that the agent works in", {
        remedy: "Give --namespace NAME, for each of them.",
      });
    if (preset === "clusterAdmin" && namespaces.length > 0)
      throw new TransporterError("USAGE", "--preset clusterAdmin may do everything everywhere, so --namespace means nothing with it", {
        remedy: "Give --preset namespaced to stay within namespaces.",
      });
    host.out.write(
      rbacManifests({
        preset,
        namespaces: [...new Set(namespaces)],
        agentNamespace: values["agent-namespace"],
        account: values.account,
        identitySecret: values["identity-secret"],
        groups: [...new Set(values.group)],
      }),
    );
    return EXIT.ok;
  },
});
