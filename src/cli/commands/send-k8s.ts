import { duration } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import { LIMITS } from "../../protocol/mod.ts";
import { buildK8sEvent, readTextFile } from "../../producer/mod.ts";
import { command } from "../command.ts";
import { collectManifests, countObjects, MANIFEST_SETTINGS } from "../manifest-sources.ts";
import { manifestRemedy, OPERATION_SETTINGS, operationPayload } from "../operation-settings.ts";
import { SEND_SETTINGS } from "../send-settings.ts";
import { checkMode, fieldsOf, printDryRun, sendEvent } from "../send-run.ts";

const SETTINGS = {
  ...MANIFEST_SETTINGS,
  ...OPERATION_SETTINGS,
  "verify-timeout": duration({
    describe: "How long the objects may take to become ready, or to be gone; 2m when nothing is said",
    min: 1,
    max: LIMITS.ttlMaxMs,
    flagOnly: true,
  }),
  ...SEND_SETTINGS,
} as const;

export const sendK8s = command({
  summary: "Send Kubernetes manifests to an agent",
  description:
    "Every document of every manifest is applied by server-side apply and verified until it is ready, unless --operation says otherwise. On a terminal the phases are shown as they happen, then the objects; the exit code is 0 only if the event completed.",
  settings: SETTINGS,
  examples: [
    "transporter send k8s --agent agent-1 -f examples/manifests/",
    "transporter send k8s --agent agent-1 --manifest ns.yaml,app.yaml --wait",
    "helm template web ./chart | transporter send k8s --agent agent-1 -f - --ttl 10m",
    "transporter send k8s --agent agent-1 -k overlays/prod --dry-run=client -o yaml",
    "transporter send k8s --agent agent-1 --operation delete -f examples/manifests/ --cascade foreground",
    "transporter send k8s --agent agent-1 --operation restart --ref deployment/nginx -n transporter-demo",
    `transporter send k8s --agent agent-1 --operation patch --ref deploy/nginx -n transporter-demo --type merge --patch '{"spec":{"replicas":3}}'`,
  ],
  run: async (call) => {
    const { values, ports } = call;
    checkMode(call);
    if (values.agent === undefined)
      throw new TransporterError("USAGE", "--agent is required: it names the agent that is to do it", {
        remedy: "`transporter get agents` lists them.",
      });
    const operation = await operationPayload(values, (path) => readTextFile(path));
    const manifests = await collectManifests(call, values.ref.length > 0, manifestRemedy(values.operation));
    const event = buildK8sEvent(
      {
        agent: values.agent,
        manifests: manifests.map(({ text }) => text),
        operation,
        forceConflicts: values["force-conflicts"],
        verifyTimeoutMs: values["verify-timeout"],
        ...fieldsOf(call),
      },
      ports,
    );
    if (values["dry-run"] === "client") return printDryRun(call, event, await countObjects(manifests));
    return sendEvent(call, event);
  },
});
