import { parseArgs } from "node:util";
import { join, relative } from "node:path";
import { ROOT, seconds } from "./run.ts";
import { AGENT_ID, Stack } from "./stack.ts";
import type { Choice } from "./target.ts";

const HELP = `Shows Transporter at work: a cluster, a control plane, an agent, and a first event, followed to its end.

Usage: bun run quickstart [options]

  --once           End and clean up when it has been shown, instead of at Ctrl-C
  --context NAME   Use the cluster of this context of your kubeconfig; namespace transporter-test is made there and removed at the end
  --sandbox        Simulated nodes also where kind could make a cluster with real ones
  --help           Show this

Without --context no cluster of yours is touched. The cluster is then one of its own: by kind where kind, kubectl and Docker or podman
work, else a real Kubernetes API server on 127.0.0.1 with simulated nodes.`;

interface Options {
  readonly once: boolean;
  readonly choice: Choice;
}

function readOptions(): Options | undefined {
  const { values } = parseArgs({
    args: process.argv.slice(2),
    options: {
      once: { type: "boolean" },
      context: { type: "string" },
      sandbox: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help === true) return undefined;
  if (values.context === "") throw new Error("--context needs the name of a context");
  if (values.context !== undefined && values.sandbox === true) throw new Error("--context and --sandbox contradict each other");
  return {
    once: values.once === true,
    choice:
      values.context === undefined ? { kind: "own", sandboxOnly: values.sandbox === true } : { kind: "context", name: values.context },
  };
}

function say(line: string): void {
  console.log(line);
}

async function send(stack: Stack, manifest: string): Promise<void> {
  const shown = relative(ROOT, manifest);
  say(`\n$ transporter send k8s --agent ${AGENT_ID} --manifest ${shown} --wait`);
  const { command, env } = stack.transporter("send", "k8s", "--agent", AGENT_ID, "--manifest", manifest, "--cp-url", stack.cpUrl, "--wait");
  const code = await Bun.spawn([...command], { cwd: ROOT, env, stdio: ["ignore", "inherit", "inherit"] }).exited;
  if (code !== 0) throw new Error(`sending ${shown} ended with ${code}`);
}

async function show(stack: Stack, ...args: readonly string[]): Promise<void> {
  say(`\n$ kubectl ${args.join(" ")}`);
  const code = await Bun.spawn([...stack.target.kubectl, ...args], { stdio: ["ignore", "inherit", "inherit"] }).exited;
  if (code !== 0) throw new Error(`kubectl ${args.join(" ")} ended with ${code}`);
}

function whatNext(stack: Stack): string {
  const bun = Bun.which("bun", { PATH: pathOfTheUser() }) === null ? `npx -y bun@${Bun.version}` : "bun";
  const transporter = `${bun} bin/transporter.ts`;
  const at = `--cp-url ${stack.cpUrl}`;
  return `
Try next, in another terminal, from ${ROOT}:

  ${transporter} get events ${at}
  ${transporter} get agents ${at}
  ${transporter} watch ${at}
  ${transporter} send k8s --agent ${AGENT_ID} --manifest YOUR.yaml ${at}
  ${stack.target.kubectl.join(" ")} get all --namespace transporter-test
  curl -s ${stack.cpUrl}/metrics

Logs: ${stack.logPath("cp")} and ${stack.logPath("agent")}`;
}

/** PATH without what npx and `bun run` put before it: a pasted command will not have that. */
function pathOfTheUser(): string {
  return (process.env["PATH"] ?? "")
    .split(":")
    .filter((part) => !part.includes("node_modules") && !part.includes("/bun-node-"))
    .join(":");
}

async function demonstrate(stack: Stack, startedMs: number): Promise<void> {
  await stack.start();
  const manifests = join(ROOT, "examples", "manifests");
  await send(stack, join(manifests, "namespace.yaml"));
  await send(stack, join(manifests, "nginx-deployment.yaml"));
  say("\nWhat the API server has:");
  await show(stack, "get", "namespace", "transporter-test", "--show-labels");
  await show(stack, "get", "deployments,services,pods", "--namespace", "transporter-test");
  say(`\nDone in ${seconds(startedMs)}.`);
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) {
    say(HELP);
    return 0;
  }
  const startedMs = performance.now();
  const interrupted = Promise.withResolvers<"interrupted">();
  // Once: a second Ctrl-C ends us at once, and the watchdogs then end the rest.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.resolve("interrupted"));
  await using stack = await Stack.create({ choice: options.choice, debug: false, say });
  const shown = demonstrate(stack, startedMs);
  // When Ctrl-C wins the race, what it interrupts fails too, and that is nobody's news.
  shown.catch(() => undefined);
  const first = await Promise.race([shown, interrupted.promise]).catch(async (error: unknown) => {
    // Before the cleaning up, which takes the logs away.
    console.error(await stack.lastWords());
    throw error;
  });
  if (first !== "interrupted" && !options.once) {
    say(whatNext(stack));
    say("\nRunning until Ctrl-C.");
    await interrupted.promise;
  }
  say("\nCleaning up.");
  await stack.stop();
  if (first === "interrupted") return 130;
  say("Everything that was started has ended.");
  return 0;
}

try {
  process.exit(await main());
} catch (error) {
  console.error(`\nThe quickstart failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}
