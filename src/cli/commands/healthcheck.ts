import {
  apiUrl,
  COMMON_SETTINGS,
  CP_SETTINGS,
  controlPlaneConfig,
  durationOr,
  HEALTH_FILE_SETTINGS,
  healthFileOf,
  type ListenAddress,
  text,
  toggle,
} from "../../config/mod.ts";
import { messageOf } from "../../kit/mod.ts";
import { type Call, command } from "../command.ts";
import { bypassProxyForLoopback } from "../connect.ts";
import { EXIT } from "../exit.ts";
import { healthLine, type HealthVerdict, judgeHealthFile } from "../health-verdict.ts";
import type { Host } from "../host.ts";
import { seenSecurity } from "../security-place.ts";
import { fetchUnchecked } from "../trusting.ts";

const LIVE = toggle(false, { describe: "Only whether it is alive, not whether it can do its work", flagOnly: true });
/** Of an answer, which is one line when all is well. */
const MAX_ANSWER_BYTES = 4096;

function tell(host: Host, live: boolean, verdict: HealthVerdict): number {
  host.out.write(healthLine(live ? "live" : "ready", verdict));
  return verdict.ok ? EXIT.ok : EXIT.failed;
}

const AGENT = { ...HEALTH_FILE_SETTINGS, live: LIVE, ...COMMON_SETTINGS } as const;

export const healthcheckAgent = command({
  summary: "Ask whether the agent turns, and whether it is connected",
  description:
    "Reads the file that the agent writes every few seconds. It is live while its event loop turns, and ready while it is registered with a control plane and its ledger can be written. To be run where the agent runs, in the same container.",
  settings: AGENT,
  examples: [
    "transporter healthcheck agent --agent-id agent-1",
    "transporter healthcheck agent --health-file /run/transporter/health.json --live",
  ],
  run: ({ values, host, ports, places }) =>
    Promise.resolve(
      tell(host, values.live, judgeHealthFile(healthFileOf(values, places), values.live ? "live" : "ready", ports.clock.now())),
    ),
});

const CP = {
  ...CP_SETTINGS,
  url: text({
    describe: "Address to ask; without it the listener for probes, and where there is none the API's, with the control plane's settings",
    hint: "URL",
    flagOnly: true,
    check: (url) => (apiUrl(url) === undefined ? "an http:// or https:// URL without user, query or fragment" : undefined),
  }),
  timeout: durationOr(3_000, { describe: "How long to wait for the answer", min: 1, max: 600_000, flagOnly: true }),
  live: LIVE,
} as const;

/** Wildcards are listened on, not connected to. */
function urlOf({ host, port }: ListenAddress): string {
  const reached = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `http://${reached.includes(":") ? `[${reached}]` : reached}:${port}`;
}

function addressOf(call: Call<typeof CP>): string {
  if (call.values.url !== undefined) return apiUrl(call.values.url) ?? call.values.url;
  // Where its store would be without a home does not matter here.
  const places = { ...call.places, state: call.places.state ?? "/" };
  const { security, listeners } = controlPlaneConfig(call, places, seenSecurity(call));
  if (listeners.probes !== undefined) return urlOf(listeners.probes);
  const api = urlOf(listeners.api);
  return security === undefined || listeners.tls.byProxy ? api : api.replace(/^http:/, "https:");
}

export const healthcheckCp = command({
  summary: "Ask whether the control plane answers",
  description:
    "Asks /readyz, or /livez with --live, as a kubelet would: a certificate is not checked, nothing is shown and no redirect is followed. Without --url it asks the listener that a control plane with these settings has for probes.",
  settings: CP,
  examples: ["transporter healthcheck cp", "transporter healthcheck cp --url http://127.0.0.1:9090 --live --timeout 1s"],
  run: async (call) => {
    const { values, host, signal } = call;
    const url = `${addressOf(call)}${values.live ? "/livez" : "/readyz"}`;
    bypassProxyForLoopback(url, host);
    return tell(host, values.live, await ask(url, values.timeout, call.ports.timers, signal));
  },
});

async function ask(
  url: string,
  timeoutMs: number,
  timers: Call<typeof CP>["ports"]["timers"],
  signal: AbortSignal,
): Promise<HealthVerdict> {
  const late = new AbortController();
  const timer = timers.after(timeoutMs, () => late.abort(new Error(`no answer within ${timeoutMs} ms`)));
  try {
    const answer = await fetchUnchecked(url, { redirect: "manual", signal: AbortSignal.any([late.signal, signal]) });
    const said = await firstBytes(answer);
    const fault = said.split("\n").find((line) => line.startsWith("[-]"));
    return answer.status === 200
      ? { ok: true, text: `${url} answers` }
      : { ok: false, text: `${url} answers ${answer.status}${fault === undefined ? "" : `: ${fault.slice(3)}`}` };
  } catch (error) {
    signal.throwIfAborted();
    return { ok: false, text: `${url}: ${messageOf(late.signal.aborted ? late.signal.reason : error)}` };
  } finally {
    timer.cancel();
  }
}

/** Whoever answers there, not more than a line's worth of it is read. */
async function firstBytes(answer: Response): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of answer.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length >= MAX_ANSWER_BYTES) break;
  }
  return text.slice(0, MAX_ANSWER_BYTES);
}
