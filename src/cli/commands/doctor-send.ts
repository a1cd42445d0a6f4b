import { text } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import { command } from "../command.ts";
import { CLIENT_SETTINGS, bypassProxyForLoopback, clientFor, findTarget } from "../connect.ts";
import { DOCTOR_SETTINGS, examine, fail, ok, warn } from "../doctor.ts";
import { clockFinding, controlPlaneFiles, environmentCheck, reach, readinessFinding, versionFinding } from "../doctor-checks.ts";
import { scopeText } from "../security-shapes.ts";

const SETTINGS = {
  agent: text({ describe: "Also check that this agent is there", hint: "ID", flagOnly: true, completes: "agent" }),
  ...DOCTOR_SETTINGS,
  ...CLIENT_SETTINGS,
} as const;

const SOON_MS = 7 * 86_400_000;

export const doctorSend = command({
  summary: "Check the way to the control plane, and whether somebody is there to do the work",
  settings: SETTINGS,
  examples: [
    "transporter doctor send",
    "transporter doctor send --cp-url https://cp.example.com --agent agent-1",
    "transporter doctor send --bundle report.tar.gz",
  ],
  run: async (call) => {
    const { values, ports, signal, host } = call;
    const target = await findTarget(call);
    const client = await clientFor(target, call);
    bypassProxyForLoopback(target.url, host);
    let clockOffsetMs: number | undefined;
    let reached = false;
    const whenReached =
      <T>(run: () => Promise<T>): (() => Promise<T | undefined>) =>
      async () =>
        reached ? run() : undefined;
    return examine(
      call,
      SETTINGS,
      [
        { name: "address", run: async () => ok(`${target.url}, from ${target.from}`) },
        environmentCheck(host.env, false),
        {
          name: "reachable",
          run: async () => {
            const start = ports.clock.monotonic();
            const answer = await client.text("/livez", { signal });
            const tookMs = Math.round(ports.clock.monotonic() - start);
            if (answer.status !== 200)
              return fail(
                `${target.url}/livez answers ${answer.status}`,
                "Check the address: this may not be a Transporter control plane, or a proxy is in between.",
              );
            reached = true;
            clockOffsetMs = (await reach(`${target.url}/livez`, target.caFile, ports, signal)).clockOffsetMs;
            return ok(`answered in ${tookMs} ms`);
          },
        },
        {
          name: "identity",
          run: whenReached(async () => {
            let known: Awaited<ReturnType<typeof client.whoami>>;
            try {
              known = await client.whoami({ signal });
            } catch (error) {
              // One of an earlier version asks nobody who they are, and cannot be asked.
              if (error instanceof TransporterError && error.code === "CP_ANSWER") return undefined;
              // What comes next would be refused as well.
              reached = false;
              throw error;
            }
            const { secured, name, role, scope, expires_at: ends } = known;
            if (!secured) return ok("nobody has to show who they are");
            const who = `${name}, role ${role}, for ${scopeText(scope)}`;
            if (ends !== undefined && Date.parse(ends) - ports.clock.now() < SOON_MS)
              return warn(`${who}; it ends at ${ends}`, "Have a new token made with `transporter token create`, and log in with it.");
            return ok(who);
          }),
        },
        { name: "ready", run: whenReached(() => readinessFinding(client, signal)) },
        { name: "version", run: whenReached(() => versionFinding(client, signal)) },
        { name: "clock", run: whenReached(async () => clockFinding(clockOffsetMs)) },
        {
          name: "agents",
          run: whenReached(async () => {
            if (values.agent !== undefined) {
              const agent = await client.getAgent(values.agent, { signal });
              if (agent.status !== "connected")
                return warn(
                  `agent ${agent.id} is ${agent.status}`,
                  "Events for it wait until it connects, or until their TTL; see its log.",
                );
              if (agent.paused) return warn(`agent ${agent.id} is paused`, `\`transporter resume agent ${agent.id}\` lets it work again.`);
              return ok(`agent ${agent.id} is connected (${agent.version}, cluster ${agent.cluster_name})`);
            }
            const { items } = await client.listAgents({ limit: 500 }, { signal });
            const connected = items.filter((agent) => agent.status === "connected").length;
            return connected > 0
              ? ok(`${connected} connected`)
              : warn("no agent is connected", "Start one with `transporter agent --agent-id ID`; events wait for it until their TTL.");
          }),
        },
        {
          name: "kubectl",
          run: async () => {
            const path = Bun.which("kubectl", { PATH: host.env["PATH"] ?? "" });
            return path === null ? warn("not found on PATH", "Only `send k8s -k DIR` needs it.") : ok(path);
          },
        },
      ],
      () => controlPlaneFiles(reached ? client : undefined, signal),
    );
  },
});
