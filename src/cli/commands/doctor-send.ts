import { text } from "../../config/mod.ts";
import { command } from "../command.ts";
import { CLIENT_SETTINGS, bypassProxyForLoopback, clientFor, findTarget } from "../connect.ts";
import { DOCTOR_SETTINGS, examine, fail, ok, warn } from "../doctor.ts";
import { clockFinding, controlPlaneFiles, environmentCheck, reach, readinessFinding, versionFinding } from "../doctor-checks.ts";

const SETTINGS = {
  agent: text({ describe: "Also check that this agent is there", hint: "ID", flagOnly: true, completes: "agent" }),
  ...DOCTOR_SETTINGS,
  ...CLIENT_SETTINGS,
} as const;

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
