/** The journey on two real clusters with real pods that this machine makes itself. */
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { podClustersProblem } from "../sandbox/pods/mod.ts";
import { build } from "./build.ts";
import { buildImage } from "./image/build-image.ts";
import { Journey } from "./journey/journey.ts";
import { natsQueue, openPodsGround } from "./journey/pods-ground.ts";
import { reachText } from "./journey/reach.ts";
import { JOURNEY } from "./journey/steps.ts";
import { walk } from "./journey/walk.ts";
import { EXECUTABLE, seconds } from "./run.ts";

const HELP = `Two real clusters with real pods on this machine, both charts installed, events across: all that e2e-kind does, without images to pull.

Usage: bun scripts/e2e-local.ts [options]

  --keep          Leave the clusters up when it is over, also when it failed, until Ctrl-C
  --built         Take ./transporter and the image as they are in the cache, if they are there
  --help          Show this

Needs Linux and root. Ends with 2 where it cannot run, with 1 when a step failed.`;

function say(line: string): void {
  console.log(line);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    args: process.argv.slice(2),
    options: { keep: { type: "boolean" }, built: { type: "boolean" }, help: { type: "boolean", short: "h" } },
  });
  if (values.help === true) {
    say(HELP);
    return 0;
  }
  const problem = await podClustersProblem();
  if (problem !== undefined) {
    console.error(`This cannot start: it ${problem}.`);
    return 2;
  }
  const startedMs = performance.now();
  const broken = new AbortController();
  // Once: a second Ctrl-C ends us at once, and what was started ends with us.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => broken.abort());
  const directory = await mkdtemp(join(await realpath(tmpdir()), "transporter-journey-"));
  try {
    return await go(directory, { keep: values.keep === true, built: values.built === true }, startedMs, broken.signal);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function go(
  directory: string,
  { keep, built }: { readonly keep: boolean; readonly built: boolean },
  startedMs: number,
  broken: AbortSignal,
): Promise<number> {
  if (!built) await build();
  // The clusters come up while the image is made.
  const opening = openPodsGround(directory, say);
  const image = await buildImage({ tag: "localhost/transporter:e2e", archivePath: join(directory, "image.tar"), say }).catch(
    async (error: unknown) => {
      await (await opening.catch(() => undefined))?.[Symbol.asyncDispose]();
      throw error;
    },
  );
  await using opened = await opening;
  const { ground } = opened;
  say(`Ground: ${ground.description}. Image: ${image.reference}. Ready after ${seconds(startedMs)}.`);
  const options = {
    ground,
    image: image.reference,
    imageArchive: image.archivePath,
    executable: EXECUTABLE,
    directory,
    queue: natsQueue(directory, say),
  };
  const journey = new Journey(options);
  const good = await walk(journey, keep ? JOURNEY.slice(0, -1) : JOURNEY, say, broken);
  if (keep && !broken.aborted) {
    say(reachText(journey, opened.kubeconfigs));
    say("\nUp until Ctrl-C.");
    await new Promise<void>((resolve) => broken.addEventListener("abort", () => resolve()));
  }
  say(
    `${good ? "Everything went well" : broken.aborted ? "Broken off" : "A step failed"} after ${seconds(startedMs)}. Taking the clusters down.`,
  );
  return broken.aborted ? (keep && good ? 0 : 130) : good ? 0 : 1;
}

try {
  process.exit(await main());
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
