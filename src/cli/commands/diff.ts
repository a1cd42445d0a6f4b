import { choice, duration, integer, text } from "../../config/mod.ts";
import { type TimerHandle, TransporterError } from "../../kit/mod.ts";
import { buildK8sEvent, errorOfOutcome, type Outcome, submitEvent, waitForEvent } from "../../producer/mod.ts";
import { LIMITS } from "../../protocol/mod.ts";
import type { Client } from "../../client/mod.ts";
import { type Call, command, Interrupted } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { diffText, type DiffView, diffView, remarks } from "../diff-view.ts";
import { tellError } from "../errors.ts";
import { EXIT } from "../exit.ts";
import { BrokenPipe, wantsColor } from "../host.ts";
import { collectManifests, MANIFEST_SETTINGS } from "../manifest-sources.ts";
import { TREATMENT_SETTINGS, treatmentPayload } from "../operation-settings.ts";
import { printData } from "../output.ts";
import { Progress } from "../progress.ts";
import { SEND_SETTINGS } from "../send-settings.ts";
import { painter } from "../text.ts";

/** Somebody waits for it: what is not begun by then is not wanted any more. */
const TTL_MS = 10 * 60_000;

const SETTINGS = {
  agent: SEND_SETTINGS.agent,
  ...MANIFEST_SETTINGS,
  ...TREATMENT_SETTINGS,
  output: choice(["diff", "json", "yaml"], {
    short: "o",
    describe: "Form of the output; diff on a terminal, and json elsewhere, when nothing is said",
    flagOnly: true,
  }),
  ttl: duration({
    describe: "How long it may wait for its start; 10m when nothing is said",
    flagOnly: true,
    min: LIMITS.ttlMinMs,
    max: LIMITS.ttlMaxMs,
  }),
  "wait-timeout": duration({ describe: "How long to wait at most", min: 1, max: LIMITS.ttlMaxMs, flagOnly: true }),
  priority: integer({
    describe: "Higher goes first; 0 when nothing is said",
    min: -LIMITS.priorityAbs,
    max: LIMITS.priorityAbs,
    flagOnly: true,
  }),
  "created-by": text({ describe: "Who asks, a claim for the record; `cli` when nothing is said", hint: "NAME", flagOnly: true }),
  ...CLIENT_SETTINGS,
} as const;
type DiffCall = Call<typeof SETTINGS>;

export const diff = command({
  summary: "Show what an apply would change, and change nothing",
  description:
    "The agent has its API server try every object (a strict server-side dry run), and compares with what stands. The exit code is 0 when nothing would change, 1 when something would, and more when it cannot be told, as kubectl diff has it. Values of Secrets are masked.\n\nThe answer names a plan; `transporter send k8s --plan PLAN` with the same manifests applies them only if the cluster is as it was then.",
  settings: SETTINGS,
  examples: [
    "transporter diff --agent agent-1 -f examples/manifests/",
    "transporter diff --agent agent-1 -k overlays/prod -o diff > prod.patch",
    "transporter diff --agent agent-1 -f app.yaml -o json | jq -r .plan",
  ],
  run: async (call) => {
    try {
      return await runDiff(call);
    } catch (error) {
      if (error instanceof Interrupted || error instanceof BrokenPipe || call.signal.aborted) throw error;
      const code = tellError(error, call.host, call.values.debug);
      // 1 says that there are differences.
      return code === EXIT.failed ? EXIT.invalid : code;
    }
  },
});

async function runDiff(call: DiffCall): Promise<number> {
  const { values, ports, signal } = call;
  if (values.agent === undefined)
    throw new TransporterError("USAGE", "--agent is required: it names the agent that is to look", {
      remedy: "`transporter get agents` lists them.",
    });
  const manifests = await collectManifests(call);
  const event = buildK8sEvent(
    {
      agent: values.agent,
      manifests: manifests.map((one) => one.text),
      operation: { operation: "diff", ...treatmentPayload(values) },
      forceConflicts: values["force-conflicts"],
      ttlMs: values.ttl ?? TTL_MS,
      priority: values.priority,
      createdBy: values["created-by"],
    },
    ports,
  );
  const client = await connect(call);
  const accepted = await submitEvent(client, event, ports, { signal, onRetry: (why) => call.note(`${why.message}; trying again`) });
  const outcome = await awaitEnd(call, client, accepted.event_id);
  const view = diffView(accepted.event_id, values.agent, outcome.result);
  const fault = errorOfOutcome(outcome);
  if (fault === undefined || view.resource_status.length > 0) await print(call, view);
  if (fault !== undefined) throw fault;
  if (view.resource_status.some(({ status }) => status === "unknown"))
    throw new TransporterError("APPLY_FAILED", "what would become of some objects cannot be told", {
      remedy: "The lines above say why, object by object.",
    });
  return view.differences === 0 ? EXIT.ok : EXIT.failed;
}

/** After how long somebody may wonder why nothing happens. */
const TELL_AFTER_MS = 3_000;

async function awaitEnd(call: DiffCall, client: Client, eventId: string): Promise<Outcome> {
  const { host, ports, signal, values } = call;
  const live = host.err.isTerminal;
  const progress = new Progress(host, ports.timers, () => ports.clock.monotonic());
  const patience: TimerHandle | undefined = live
    ? undefined
    : ports.timers.after(TELL_AFTER_MS, () => call.note(`event ${eventId} is not answered yet; waiting`), { background: true });
  try {
    return await waitForEvent(client, eventId, {
      timers: ports.timers,
      signal,
      timeoutMs: values["wait-timeout"],
      patient: true,
      onEntry: (entry) => (live ? progress.entry(entry) : undefined),
      onInterruption: (why) => progress.interruption(why === undefined ? undefined : `${why.message}; waiting for it to come back`),
    });
  } catch (error) {
    // Nobody waits for the answer any more, and looking changes nothing.
    await client.cancelEvent(eventId).catch(() => undefined);
    throw error;
  } finally {
    patience?.cancel();
    progress.stop();
  }
}

async function print(call: DiffCall, view: DiffView): Promise<void> {
  const { host, values } = call;
  const form = values.output ?? (host.out.isTerminal ? "diff" : "json");
  if (form !== "diff") {
    await printData(host.out, form, view);
    return;
  }
  if (host.err.isTerminal && host.out.isTerminal) host.err.write("\n");
  host.out.write(diffText(view.resource_status, painter(wantsColor(host.out, host.env))));
  for (const remark of remarks(view.resource_status)) call.note(remark);
  if (view.plan === undefined) return;
  call.note(`plan: ${view.plan}`);
}
