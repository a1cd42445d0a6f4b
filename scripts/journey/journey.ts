import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ROOT } from "../run.ts";
import { runProgram, type Ground, type GroundCluster, type Ran } from "./ground.ts";
import { listAt, textAt } from "./json.ts";
import type { QueueInFront } from "./queue.ts";
import { AGENT_ID, agentValues, cpValues, merged, SYSTEM, type Values } from "./values.ts";

export interface JourneyOptions {
  readonly ground: Ground;
  /** Name of the image as pods have it, `REPOSITORY:TAG`. */
  readonly image: string;
  readonly imageArchive: string;
  /** The compiled executable of this machine. */
  readonly executable: string;
  /** A directory of ours: what is written there is the caller's to remove. */
  readonly directory: string;
  readonly queue?: QueueInFront | undefined;
}

export interface TransporterOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Where the command line keeps whom it has logged in. */
  readonly home?: string;
}

const CHARTS = { cp: join(ROOT, "helm", "transporter-cp"), agent: join(ROOT, "helm", "transporter-agent") } as const;

/** What the steps share: two clusters, their tools, and what earlier steps found out. */
export class Journey {
  readonly ground: Ground;
  readonly image: string;
  readonly imageArchive: string;
  readonly directory: string;
  readonly queue: QueueInFront | undefined;
  readonly executable: string;
  #files = 0;
  /** `sha256:…` of the control plane's CA, once it is known. */
  caHash = "";
  /** As it stood in the Secret; whoever logs in takes it away there. */
  adminToken = "";
  /** Digest of the agent's public key and its certificate's, by which a second enrolment would show. */
  agentKey = "";
  /** Everything that was in the clusters before the charts came. */
  before: ReadonlyMap<GroundCluster, ReadonlySet<string>> = new Map();

  constructor(options: JourneyOptions) {
    this.ground = options.ground;
    this.image = options.image;
    this.imageArchive = options.imageArchive;
    this.directory = options.directory;
    this.executable = options.executable;
    this.queue = options.queue;
  }

  /** The one cluster, or both. */
  get clusters(): readonly GroundCluster[] {
    return this.ground.cp === this.ground.agent ? [this.ground.cp] : [this.ground.cp, this.ground.agent];
  }

  /** kubectl that must succeed; gives what it wrote. */
  async kubectl(cluster: GroundCluster, args: readonly string[], input?: string): Promise<string> {
    return written(`kubectl ${args.join(" ")} in ${cluster.name}`, await cluster.kubectl(args, input));
  }

  async json(cluster: GroundCluster, args: readonly string[]): Promise<unknown> {
    return JSON.parse(await this.kubectl(cluster, [...args, "--output=json"]));
  }

  /** The objects as YAML or JSON, made or changed. */
  async apply(cluster: GroundCluster, manifest: string): Promise<void> {
    await this.kubectl(cluster, ["apply", "--filename=-"], manifest);
  }

  async exists(cluster: GroundCluster, ...object: readonly string[]): Promise<boolean> {
    return (await this.kubectl(cluster, ["get", ...object, "--ignore-not-found", "--output=name"])).trim() !== "";
  }

  async helm(cluster: GroundCluster, args: readonly string[]): Promise<string> {
    return written(`helm ${args.join(" ")} in ${cluster.name}`, await cluster.helm(args));
  }

  /** What all releases of the control plane have, and these values over it. */
  cpValues(over: Values): Values {
    return merged(cpValues(this.image, this.ground.cp.nodeAddress, this.queue?.values ?? {}), over);
  }

  /** The same of the agent. */
  agentValues(over: Values): Values {
    return agentValues(this.image, this.ground.cp.nodeAddress, this.caHash, over);
  }

  /** `helm upgrade --install` of one of our charts under the name of the chart, waited for. */
  async install(chart: "cp" | "agent", values: Values): Promise<string> {
    const cluster = chart === "cp" ? this.ground.cp : this.ground.agent;
    const path = await this.file(`${chart}-values.json`, JSON.stringify(values, undefined, 2));
    const name = `transporter-${chart}`;
    const words = ["upgrade", "--install", name, CHARTS[chart], "--namespace", SYSTEM, "--values", path];
    return this.helm(cluster, [...words, "--wait", "--timeout", "180s"]);
  }

  /** A file of the journey's own; what a step wrote stays to be looked at. */
  async file(name: string, content: string): Promise<string> {
    this.#files += 1;
    const path = join(this.directory, "files", `${this.#files}-${name}`);
    await mkdir(join(this.directory, "files"), { recursive: true });
    await writeFile(path, content, { mode: 0o600 });
    return path;
  }

  /** The compiled executable, as somebody on this machine runs it, whatever the exit code. */
  async tryTransporter(args: readonly string[], options: TransporterOptions = {}): Promise<Ran> {
    const home = options.home ?? join(this.directory, "home");
    await mkdir(home, { recursive: true });
    return runProgram([this.executable, ...args], { home, env: options.env ?? {}, input: options.input });
  }

  async transporter(args: readonly string[], options: TransporterOptions = {}): Promise<string> {
    return written(`transporter ${args.join(" ")}`, await this.tryTransporter(args, options));
  }

  async transporterJson(args: readonly string[]): Promise<unknown> {
    return JSON.parse(await this.transporter([...args, "--output", "json"]));
  }

  /** Hands manifests over for the agent and goes on at once. */
  async send(id: string, manifest: string, ...flags: readonly string[]): Promise<void> {
    const path = await this.file(`${id}.yaml`, manifest);
    await this.transporter(["send", "k8s", "--agent", AGENT_ID, "--id", id, "-f", path, "--output", "json", ...flags]);
  }

  /** The event as the control plane has it. */
  event(id: string): Promise<unknown> {
    return this.transporterJson(["describe", "event", id]);
  }

  /** Waits for the end of an event and gives it, however it ended. */
  ended(id: string, timeoutMs = 60_000): Promise<unknown> {
    return this.until(
      `the end of event ${id}`,
      async () => {
        const event = await this.event(id);
        return ["completed", "failed", "expired", "cancelled"].includes(textAt(event, "state")) ? event : undefined;
      },
      timeoutMs,
    );
  }

  /** Waits until the event has completed; fails at once, with its log, when it ended otherwise. */
  async completed(id: string, timeoutMs = 60_000): Promise<unknown> {
    const event = await this.ended(id, timeoutMs);
    if (textAt(event, "state") !== "completed") throw new Error(`event ${id} ended otherwise:\n${logOf(event)}`);
    return event;
  }

  /** Asks until there is an answer. A throw counts as "not yet"; the last one is told when time is up. */
  async until<T>(what: string, ask: () => Promise<T | undefined | false>, timeoutMs = 60_000): Promise<T> {
    const deadlineMs = performance.now() + timeoutMs;
    let last: unknown;
    for (;;) {
      try {
        const answer = await ask();
        if (answer !== undefined && answer !== false) return answer;
        last = undefined;
      } catch (error) {
        last = error;
      }
      if (performance.now() > deadlineMs)
        throw new Error(`${what} did not come within ${timeoutMs / 1000} s${last instanceof Error ? `: ${last.message}` : ""}`);
      await Bun.sleep(150);
    }
  }
}

function written(what: string, ran: Ran): string {
  if (ran.exitCode !== 0) throw new Error(`${what} ended with ${ran.exitCode}:\n${ran.stderr.trim()}\n${ran.stdout.trim()}`.trim());
  return ran.stdout;
}

/** One line for each entry of an event's log. */
export function logOf(event: unknown): string {
  return listAt(event, "log")
    .map((entry) => `  ${textAt(entry, "state")} ${textAt(entry, "phase")}: ${textAt(entry, "message")}`)
    .join("\n");
}
