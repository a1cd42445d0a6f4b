import { list, toggle, duration } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import { LIMITS } from "../../protocol/mod.ts";
import { type ManifestText, buildK8sEvent, buildKustomization, readManifests } from "../../producer/mod.ts";
import { type Call, command } from "../command.ts";
import { SEND_SETTINGS } from "../send-settings.ts";
import { checkMode, fieldsOf, printDryRun, sendEvent } from "../send-run.ts";

const SETTINGS = {
  manifest: list({
    short: "m",
    describe: "Manifest file; repeatable, or separated by commas",
    hint: "FILE",
    flagOnly: true,
    completes: "file",
  }),
  filename: list({
    short: "f",
    aliases: ["file"],
    describe: "Manifest file, directory, http(s) address, or - for standard input; repeatable",
    hint: "FILE|DIR|URL|-",
    flagOnly: true,
    completes: "file",
  }),
  recursive: toggle(false, { short: "R", describe: "With -f DIR: the directories below it too", flagOnly: true }),
  kustomize: list({
    short: "k",
    describe: "Build this kustomization by kubectl and send what comes out",
    hint: "DIR",
    flagOnly: true,
    completes: "dir",
  }),
  "force-conflicts": toggle(false, {
    describe: "Take fields over from other field managers instead of reporting a conflict",
    flagOnly: true,
  }),
  "verify-timeout": duration({
    describe: "How long the objects may take to become ready; 2m when nothing is said",
    min: 1,
    max: LIMITS.ttlMaxMs,
    flagOnly: true,
  }),
  ...SEND_SETTINGS,
} as const;

export const sendK8s = command({
  summary: "Send Kubernetes manifests to an agent",
  description:
    "Every document of every manifest is applied by server-side apply and verified until it is ready. On a terminal the phases are shown as they happen, then the objects; the exit code is 0 only if the event completed.",
  settings: SETTINGS,
  examples: [
    "transporter send k8s --agent agent-1 -f examples/manifests/",
    "transporter send k8s --agent agent-1 --manifest ns.yaml,app.yaml --wait",
    "helm template web ./chart | transporter send k8s --agent agent-1 -f - --ttl 10m",
    "transporter send k8s --agent agent-1 -k overlays/prod --dry-run=client -o yaml",
  ],
  run: async (call) => {
    const { values, ports } = call;
    checkMode(call);
    if (values.agent === undefined)
      throw new TransporterError("USAGE", "--agent is required: it names the agent that is to do it", {
        remedy: "`transporter get agents` lists them.",
      });
    const manifests = await collect(call);
    const event = buildK8sEvent(
      {
        agent: values.agent,
        manifests: manifests.map(({ text }) => text),
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

async function collect(call: Call<typeof SETTINGS>): Promise<ManifestText[]> {
  const { values, host, ports, signal } = call;
  const sources = [...values.manifest, ...values.filename];
  if (sources.length === 0 && values.kustomize.length === 0)
    throw new TransporterError("USAGE", "no manifest was given", { remedy: "Give -f FILE (or DIR, URL, -), --manifest FILE, or -k DIR." });
  const manifests = await readManifests(sources, {
    recursive: values.recursive,
    stdin: host.stdin,
    fetch: async (url, { signal: ending, timeoutMs, maxBytes }) => {
      const { guardedFetch } = await import("../../net/mod.ts");
      return guardedFetch(url, { headers: { accept: "*/*" }, signal: ending }, { proxyEnv: host.env, timeoutMs, maxBytes });
    },
    timers: ports.timers,
    signal,
  });
  for (const directory of values.kustomize) manifests.push(await buildKustomization(directory, host.env, signal));
  for (const { from, text } of manifests)
    if (text.trim() === "")
      throw new TransporterError("EMPTY_MANIFESTS", `${from} is empty`, { remedy: "Leave it out, or put a manifest into it." });
  return manifests;
}

/** Parses every manifest as the agent will, so that a fault names its file. */
async function countObjects(manifests: readonly ManifestText[]): Promise<number> {
  const { parseManifests } = await import("../../manifests/mod.ts");
  let count = 0;
  for (const { from, text } of manifests) {
    try {
      count += parseManifests([text]).length;
    } catch (error) {
      if (!(error instanceof TransporterError)) throw error;
      throw new TransporterError(error.code, `${from}: ${error.message}`, { details: error.details, cause: error, remedy: error.remedy });
    }
  }
  return count;
}
