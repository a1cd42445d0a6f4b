import { AGENT_SETTINGS, ENROLMENT_TOKEN_VARIABLE, agentConfig, apiUrl } from "../../config/mod.ts";
import { messageOf, silentLogger } from "../../kit/mod.ts";
import { clusterAccess } from "../cluster-source.ts";
import { command } from "../command.ts";
import { clientFor } from "../connect.ts";
import { DOCTOR_SETTINGS, type Finding, examine, fail, ok, warn } from "../doctor.ts";
import { clockFinding, controlPlaneFiles, directoryFinding, environmentCheck, reach } from "../doctor-checks.ts";
import { identityChecks, keptIdentity } from "../doctor-identity.ts";
import { caText } from "../trusting.ts";

const SETTINGS = { ...AGENT_SETTINGS, ...DOCTOR_SETTINGS } as const;

export const doctorAgent = command({
  summary: "Check what an agent needs, with the settings it would be started with",
  settings: SETTINGS,
  examples: [
    "transporter doctor agent --agent-id agent-1 --cp-url wss://cp.example.com/ws --kubeconfig ~/.kube/config",
    "transporter doctor agent --agent-id agent-1 --cp-url https://cp.example.com:8080",
    "transporter doctor agent --agent-id agent-1 --in-cluster --bundle report.tar.gz",
  ],
  run: async (call) => {
    const { ports, signal, host } = call;
    const config = agentConfig(call, call.places);
    let clockOffsetMs: number | undefined;
    let reached: string | undefined;
    const kept = await keptIdentity(config);
    const hasToken = config.enrolmentTokenFile !== undefined || (host.env[ENROLMENT_TOKEN_VARIABLE] ?? "") !== "";
    // An agent that has or gets an identity dials another listener than one without.
    const withoutIdentity = kept === undefined && !hasToken && "directory" in config.identityHome;
    const ca = config.caFile === undefined ? undefined : await caText(config.caFile);
    return examine(
      call,
      SETTINGS,
      [
        {
          name: "settings",
          run: async () => ok(`agent ${config.id} of cluster ${config.clusterName}, control plane ${config.cpUrls.join(", ")}`),
        },
        environmentCheck(host.env, config.insecure),
        { name: "state", run: () => directoryFinding(config.stateDir, ports) },
        ...(withoutIdentity && config.cpUrls.every((url) => url.startsWith("ws:"))
          ? []
          : identityChecks(config, kept, { ca, hasToken, ports, signal })),
        ...(withoutIdentity ? config.cpUrls : []).map((cpUrl) => ({
          name: "control plane",
          run: async () => {
            const dialled = cpUrl.replace(/^ws/, "http");
            const answer = await reach(dialled, config.caFile, ports, signal).catch((error: unknown) => {
              signal.throwIfAborted();
              return messageOf(error);
            });
            if (typeof answer === "string")
              return fail(
                `${cpUrl} cannot be reached: ${answer}`,
                "Check the address and the CA (--ca-file). A control plane that is secured takes agents that enrolled, by https:// or wss:// only.",
              );
            const { status, tookMs, clockOffsetMs: offset } = answer;
            clockOffsetMs ??= offset;
            // A plain GET where a WebSocket is expected: a control plane says so (426; 0.1: 400).
            if (status === 426 || status === 400) {
              reached ??= apiUrl(cpUrl);
              return ok(`${cpUrl} speaks WebSocket (${Math.round(tookMs)} ms)`);
            }
            return fail(
              `${dialled} answers ${status}, which no control plane would`,
              "Check --cp-url: its path is /ws. A proxy or load balancer on the way must let WebSocket pass.",
            );
          },
        })),
        { name: "clock", run: async () => clockFinding(clockOffsetMs) },
        { name: "cluster", run: () => clusterFinding() },
      ],
      async () => {
        const client =
          reached === undefined ? undefined : await clientFor({ url: reached, caFile: config.caFile, credential: undefined }, call);
        return controlPlaneFiles(client, signal);
      },
    );

    async function clusterFinding(): Promise<Finding> {
      const { createKubeClient, loadKubeAccess } = await import("../../k8s/mod.ts");
      const access = await loadKubeAccess({ ...clusterAccess(config, host.env), ports });
      const kube = createKubeClient(access, { ports, log: silentLogger, retryBudgetMs: 5000, requestTimeoutMs: 10_000 });
      const version = await kube.send({ method: "GET", path: "/version", signal });
      if (version.status !== 200)
        return fail(
          `${access.server} answers ${version.status} (${access.source})`,
          "Check the kubeconfig's server and the account it uses.",
        );
      const gitVersion = /"gitVersion":\s*"([^"]+)"/.exec(version.text)?.[1] ?? "of an unknown version";
      const allowed = await kube.send({ method: "GET", path: "/api/v1/namespaces?limit=1", signal });
      const where = `Kubernetes ${gitVersion} at ${access.server} (${access.source})`;
      if (config.requireImpersonation) {
        if (access.identity !== undefined)
          return fail(
            `${where} acts as ${access.identity.user} by its kubeconfig, so that it can act as nobody whom an event names`,
            "Take `as` out of the kubeconfig, or start the agent without --require-impersonation.",
          );
        if (allowed.status === 403) return ok(`${where}; the account has few rights or none, and acts as whom an event names`);
      }
      return allowed.status === 200
        ? ok(where)
        : warn(`${where}, where this account may not list namespaces (${allowed.status})`, "Give the account the rights its work needs.");
    }
  },
});
