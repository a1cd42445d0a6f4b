import { parseArgs } from "node:util";
import type { QueueKind } from "../journey/queue.ts";

export type Engine = "docker" | "podman";
const COMMANDS = ["e2e", "up", "down", "all"] as const;
export type KindCommand = (typeof COMMANDS)[number];

export const HELP = `Transporter on kind clusters of its own, made, used and taken down.

Usage: bun scripts/kind.ts COMMAND [options]

  e2e    Two clusters talking: charts installed, an agent enrolled, events sent, trouble made, everything taken down
  up     Two clusters with control plane and agent, which stay
  all    One cluster with both, which stays
  down   Takes down what the others left

  --keep             e2e: leave the clusters when it is over, also when it failed
  --engine ENGINE    docker or podman; without it KIND_EXPERIMENTAL_PROVIDER, or whichever answers, docker first
  --queue KIND       A queue in front as well: nats (JetStream), or memphis for who has its image
  --node-image IMAGE What kind makes nodes of, instead of its own choice; also KIND_NODE_IMAGE
  --archive FILE     An image archive of Transporter made elsewhere (localhost/transporter:e2e), instead of building one
  --help             Show this`;

export interface KindOptions {
  readonly command: KindCommand;
  readonly keep: boolean;
  readonly engine: Engine | undefined;
  readonly queue: QueueKind | undefined;
  readonly nodeImage: string | undefined;
  readonly archive: string | undefined;
}

/** What was asked for; undefined where somebody asked for help. Throws with what is wrong. */
export function readKindOptions(args: readonly string[], env: Readonly<Record<string, string | undefined>>): KindOptions | undefined {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      keep: { type: "boolean" },
      engine: { type: "string" },
      queue: { type: "string" },
      "node-image": { type: "string" },
      archive: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help === true) return undefined;
  const [command, ...rest] = positionals;
  if (!isCommand(command) || rest.length > 0) throw new Error(`one of ${COMMANDS.join(", ")} is needed; --help says more`);
  if (values.keep === true && command !== "e2e") throw new Error("--keep goes with e2e; up and all stay anyway");
  return {
    command,
    keep: values.keep === true,
    engine: engineOf(values.engine, "--engine") ?? engineOf(env["KIND_EXPERIMENTAL_PROVIDER"], "KIND_EXPERIMENTAL_PROVIDER"),
    queue: queueOf(values.queue),
    nodeImage: values["node-image"] ?? nonEmpty(env["KIND_NODE_IMAGE"]),
    archive: values.archive,
  };
}

function nonEmpty(word: string | undefined): string | undefined {
  return word === "" ? undefined : word;
}

function isCommand(word: string | undefined): word is KindCommand {
  return COMMANDS.some((command) => command === word);
}

function engineOf(word: string | undefined, source: string): Engine | undefined {
  if (word === undefined || word === "") return undefined;
  if (word !== "docker" && word !== "podman") throw new Error(`${source} is ${word}; docker and podman are known here`);
  return word;
}

function queueOf(word: string | undefined): QueueKind | undefined {
  if (word === undefined) return undefined;
  if (word !== "nats" && word !== "memphis") throw new Error(`--queue is ${word}; nats and memphis are known here`);
  return word;
}
