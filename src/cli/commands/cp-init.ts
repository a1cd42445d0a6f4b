import { hostname } from "node:os";
import { COMMON_SETTINGS, CP_SETTINGS, SECURITY_SETTINGS, durationOr, list } from "../../config/mod.ts";
import { LOCAL_NAMES, type TrustPlace, serverNameProblem } from "../../security/mod.ts";
import { command } from "../command.ts";
import { EXIT } from "../exit.ts";
import { CLUSTER, placeName, securityPlace } from "../security-secret.ts";
import { safeLine } from "../text.ts";

/** For a shell: nothing in it is more than text. */
function quoted(text: string): string {
  return /^[A-Za-z0-9_./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function urlOf(name: string, port: number): string {
  return `https://${name.includes(":") ? `[${name}]` : name}:${port}`;
}

function startFlags(values: { readonly "security-dir": string | undefined }, place: TrustPlace): string {
  if (typeof place !== "string") return ` --security-secret ${placeName(place).replace("Secret ", "")}`;
  return values["security-dir"] === undefined ? "" : ` --security-dir ${quoted(place)}`;
}

export const cpInit = command({
  summary: "Make a CA, a server certificate and the first admin token",
  description:
    "It shows the admin token this once, and for each --agent the two lines that enrol it; nothing but their hashes is kept. What is there is never overwritten. `transporter cp` finds the default directory by itself and is secured from then on.",
  settings: {
    name: list({
      describe:
        "What the control plane is called by others: DNS names and IP addresses of its certificate. Always in it: localhost, 127.0.0.1, ::1 and this machine's name",
      hint: "NAME",
      flagOnly: true,
      check: (name) => (serverNameProblem(name) === undefined ? undefined : "DNS names and IP addresses"),
    }),
    agent: list({ describe: "Id of an agent that gets a token to enrol with, good once", hint: "ID", flagOnly: true, completes: "agent" }),
    "token-ttl": durationOr(3_600_000, {
      describe: "How long the agents' tokens are good",
      min: 60_000,
      max: 30 * 86_400_000,
      flagOnly: true,
    }),
    "security-dir": {
      ...SECURITY_SETTINGS["security-dir"],
      describe: "Directory to make them in; without it `security` in the state directory",
    },
    "security-secret": {
      ...SECURITY_SETTINGS["security-secret"],
      describe:
        "Secret of the cluster to make them in instead; one that is there must be empty. NAMESPACE is that of the context when not given",
    },
    ...CLUSTER,
    "ws-port": CP_SETTINGS["ws-port"],
    ...COMMON_SETTINGS,
  },
  examples: [
    "transporter cp init --name cp.example.com --agent agent-1",
    "transporter cp init --name cp.example.com --security-secret transporter-system/transporter-cp-security --kube-context prod",
    "transporter cp init --name cp.example.com,192.0.2.10 --security-dir /etc/transporter/security",
  ],
  run: async (call) => {
    const { values, host, ports } = call;
    const place = await securityPlace(call);
    const machine = hostname().toLowerCase();
    const { initTrust, initVault } = await import("../../security/mod.ts");
    const inDirectory = typeof place === "string";
    // In a cluster it runs in pods, whose names nobody knows before.
    const own = [...LOCAL_NAMES, ...(inDirectory && serverNameProblem(machine) === undefined ? [machine] : [])];
    const options = { ports, names: [...values.name, ...own], agents: values.agent, enrolmentTokenTtlMs: values["token-ttl"] };
    const made = await (inDirectory ? initTrust(place, options) : initVault(place, options));
    const url = urlOf(values.name[0] ?? machine, values["ws-port"]);
    const line = (text = ""): void => {
      host.out.write(`${text}\n`);
    };
    line(`The CA and the server's certificate are in ${safeLine(placeName(place))}; start the control plane with:`);
    line();
    line(`  transporter cp${startFlags(values, place)}`);
    line();
    line("The admin token, shown this once:");
    line();
    line(`  ${made.adminToken}`);
    line();
    line("`login` asks for it:");
    line();
    line(`  transporter login --cp-url ${quoted(url)} --ca-hash ${made.pin}`);
    for (const { agent, token, expiresAtMs } of made.enrolmentTokens) {
      line();
      line(`Where the cluster of ${safeLine(agent)} can be reached, until ${new Date(expiresAtMs).toISOString()}:`);
      line();
      line(`  export TRANSPORTER_ENROLMENT_TOKEN=${token}`);
      line(`  transporter agent --agent-id ${quoted(agent)} --cp-url ${quoted(url)} --ca-hash ${made.pin}`);
    }
    if (values.agent.length === 0) call.note("`transporter token create --agent ID` makes the token that lets an agent in.");
    return EXIT.ok;
  },
});
