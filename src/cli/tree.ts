import type { Command } from "./command.ts";

/** A command that is loaded only when it is called. */
export interface Leaf {
  readonly kind: "leaf";
  readonly name: string;
  readonly aliases: readonly string[];
  readonly summary: string;
  readonly load: () => Promise<Command>;
  /** Commands below one that runs by itself, as `cp init` below `cp`; such a command takes no arguments of its own. */
  readonly children: readonly Node[];
}

export interface Group {
  readonly kind: "group";
  readonly name: string;
  readonly aliases: readonly string[];
  readonly summary: string;
  readonly children: readonly Node[];
}

export type Node = Leaf | Group;

function leaf(
  name: string,
  summary: string,
  load: () => Promise<Command>,
  aliases: readonly string[] = [],
  children: readonly Node[] = [],
): Leaf {
  return { kind: "leaf", name, aliases, summary, load, children };
}

function group(name: string, summary: string, children: readonly Node[], aliases: readonly string[] = []): Group {
  return { kind: "group", name, aliases, summary, children };
}

/** Every command there is. Light: it is read at every start, by help and by completion; what a command needs is loaded by `load`. */
export const ROOT: Group = group("transporter", "Manage Kubernetes clusters that nobody can reach from outside", [
  leaf(
    "cp",
    "Run the control plane",
    async () => (await import("./commands/cp.ts")).cp,
    ["control-plane"],
    [
      leaf("init", "Make a CA, a server certificate and the first admin token", async () => (await import("./commands/cp-init.ts")).cpInit),
      group("ca", "Change the CA that agents and people trust", [
        leaf("show", "Show which CAs are trusted, with their hashes", async () => (await import("./commands/cp-ca.ts")).cpCaShow),
        leaf("rotate", "Begin with a new CA beside the old one", async () => (await import("./commands/cp-ca.ts")).cpCaRotate),
        leaf("retire", "Stop trusting the old CA", async () => (await import("./commands/cp-ca.ts")).cpCaRetire),
      ]),
    ],
  ),
  leaf(
    "agent",
    "Run the agent of one cluster",
    async () => (await import("./commands/agent.ts")).agent,
    [],
    [leaf("rbac", "Print the rights that an agent needs in its cluster", async () => (await import("./commands/rbac.ts")).agentRbac)],
  ),
  group("send", "Send work to an agent", [
    leaf("k8s", "Send Kubernetes manifests", async () => (await import("./commands/send-k8s.ts")).sendK8s),
    leaf("from-file", "Send an event file", async () => (await import("./commands/send-file.ts")).sendFile),
  ]),
  leaf("diff", "Show what an apply would change, and change nothing", async () => (await import("./commands/diff.ts")).diff),
  group("get", "List events, agents, identities or control planes", [
    leaf("events", "List events, newest first", async () => (await import("./commands/get-events.ts")).getEvents, ["event", "ev"]),
    leaf("agents", "List agents", async () => (await import("./commands/get-agents.ts")).getAgents, ["agent"]),
    leaf("replicas", "List the control planes that share a store", async () => (await import("./commands/get-replicas.ts")).getReplicas, [
      "replica",
    ]),
    leaf("enrolments", "List agents that ask for a certificate", async () => (await import("./commands/get-security.ts")).getEnrolments, [
      "enrolment",
    ]),
    leaf("identities", "List agents that have an identity", async () => (await import("./commands/get-security.ts")).getIdentities, [
      "identity",
    ]),
  ]),
  group("describe", "Show everything about one event or agent", [
    leaf("event", "Show an event with its log and its objects", async () => (await import("./commands/describe.ts")).describeEvent, [
      "events",
    ]),
    leaf("agent", "Show an agent", async () => (await import("./commands/describe.ts")).describeAgent, ["agents"]),
  ]),
  leaf("watch", "Follow one event, or all of them", async () => (await import("./commands/watch.ts")).watch),
  leaf("cancel", "Cancel events", async () => (await import("./commands/cancel.ts")).cancel),
  leaf("retry", "Try events again that have ended", async () => (await import("./commands/retry.ts")).retry),
  group("pause", "Stop handing events to an agent", [
    leaf("agent", "Stop handing events to agents", async () => (await import("./commands/agents.ts")).pauseAgent, ["agents"]),
  ]),
  group("resume", "Hand events to a paused agent again", [
    leaf("agent", "Hand events to paused agents again", async () => (await import("./commands/agents.ts")).resumeAgent, ["agents"]),
  ]),
  group("delete", "Remove an agent", [
    leaf("agent", "Remove agents and cancel what waits for them", async () => (await import("./commands/agents.ts")).deleteAgent, [
      "agents",
    ]),
  ]),
  leaf("login", "Show a control plane who you are, and keep what shows it", async () => (await import("./commands/login.ts")).login),
  leaf("logout", "Forget what shows a control plane who you are", async () => (await import("./commands/login.ts")).logout),
  leaf("whoami", "Show who you are, and what you may", async () => (await import("./commands/whoami.ts")).whoami),
  leaf("can-i", "Ask whether you may do something", async () => (await import("./commands/can-i.ts")).canI),
  group("auth", "Ask who you are and what you may", [
    leaf("whoami", "Show who you are, and what you may", async () => (await import("./commands/whoami.ts")).authWhoami),
    leaf("can-i", "Ask whether you may do something", async () => (await import("./commands/can-i.ts")).authCanI),
  ]),
  group("token", "Make, list and end tokens", [
    leaf("create", "Make a token for an agent, or for people and programs", async () => (await import("./commands/token.ts")).tokenCreate),
    leaf("list", "List tokens", async () => (await import("./commands/token.ts")).tokenList, ["ls"]),
    leaf("revoke", "End tokens, at once", async () => (await import("./commands/token.ts")).tokenRevoke),
  ]),
  group("agents", "Let agents in, and keep them out", [
    leaf("approve", "Let agents in that wait for approval", async () => (await import("./commands/agents-identity.ts")).approveEnrolment),
    leaf("deny", "Refuse agents that wait for approval", async () => (await import("./commands/agents-identity.ts")).denyEnrolment),
    leaf("revoke", "End the identity of agents, at once", async () => (await import("./commands/agents-identity.ts")).revokeIdentity),
  ]),
  leaf("audit", "List who did what, newest first", async () => (await import("./commands/audit.ts")).audit),
  group("queue", "Look at the queue in front of the control planes", [
    leaf("status", "Show how much waits, is in hand and is dead", async () => (await import("./commands/queue.ts")).queueStatus),
    leaf("dead", "List the dead letters with their reasons", async () => (await import("./commands/queue.ts")).queueDead),
    leaf("resend", "Put dead letters back into the queue", async () => (await import("./commands/queue.ts")).queueResend),
  ]),
  leaf("backup", "Copy the control plane's store while it runs", async () => (await import("./commands/backup.ts")).backup),
  leaf("restore", "Put a backup into the place of the control plane's store", async () => (await import("./commands/restore.ts")).restore),
  leaf(
    "migrate",
    "Bring what lies in a Redis of Transporter 0.1 into a store",
    async () => (await import("./commands/migrate.ts")).migrate,
  ),
  group("doctor", "Check what a command needs, with a remedy for each fault", [
    leaf("cp", "Check what the control plane needs", async () => (await import("./commands/doctor-cp.ts")).doctorCp, ["control-plane"]),
    leaf("agent", "Check what an agent needs", async () => (await import("./commands/doctor-agent.ts")).doctorAgent),
    leaf("send", "Check the way to the control plane", async () => (await import("./commands/doctor-send.ts")).doctorSend),
  ]),
  group("healthcheck", "Ask whether a control plane or an agent on this machine is well, for probes", [
    leaf("cp", "Ask whether the control plane answers", async () => (await import("./commands/healthcheck.ts")).healthcheckCp, [
      "control-plane",
    ]),
    leaf(
      "agent",
      "Ask whether the agent turns, and whether it is connected",
      async () => (await import("./commands/healthcheck.ts")).healthcheckAgent,
    ),
  ]),
  group("context", "Keep the addresses of control planes by name", [
    leaf("add", "Add or change a context", async () => (await import("./commands/context.ts")).contextAdd),
    leaf("use", "Make a context the current one", async () => (await import("./commands/context.ts")).contextUse),
    leaf("list", "List contexts", async () => (await import("./commands/context.ts")).contextList, ["ls"]),
    leaf("remove", "Remove a context", async () => (await import("./commands/context.ts")).contextRemove, ["rm"]),
  ]),
  leaf("completion", "Print a completion script for bash, zsh or fish", async () => (await import("./commands/completion.ts")).completion),
  leaf("version", "Print the version", async () => (await import("./commands/version.ts")).version),
]);

/** The child that a word names, by name or alias. */
export function childOf(node: Node, word: string): Node | undefined {
  return node.children.find((child) => child.name === word || child.aliases.includes(word));
}

/** Every leaf with the words that lead to it, in the tree's order. */
export function leaves(node: Node = ROOT, path: readonly string[] = []): { readonly path: readonly string[]; readonly leaf: Leaf }[] {
  return node.children.flatMap((child) => {
    const here = [...path, child.name];
    return [...(child.kind === "leaf" ? [{ path: here, leaf: child }] : []), ...leaves(child, here)];
  });
}
