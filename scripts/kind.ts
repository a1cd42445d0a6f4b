/** Transporter on kind clusters: `just e2e-kind`, `kind-up`, `kind-all` and `kind-down`. */
import { mkdir, mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sandboxCache } from "../sandbox/mod.ts";
import { build } from "./build.ts";
import { Journey } from "./journey/journey.ts";
import { reachText } from "./journey/reach.ts";
import { type QueueInFront, queueOf } from "./journey/queue.ts";
import { BRING_UP, JOURNEY } from "./journey/steps.ts";
import { type Step, walk } from "./journey/walk.ts";
import { bringImage, buildByEngine, IMAGE, kubeconfigsOf, makeClusters, removeClusters } from "./kind/clusters.ts";
import { HELP, type Engine, type KindOptions, readKindOptions } from "./kind/options.ts";
import { faultsText, preflight } from "./kind/preflight.ts";
import { EXECUTABLE, seconds } from "./run.ts";

/** Nothing has been touched yet. */
const CANNOT_START = 2;

function say(line: string): void {
  console.log(line);
}

async function main(): Promise<number> {
  let options: KindOptions | undefined;
  try {
    options = readKindOptions(process.argv.slice(2), process.env);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return CANNOT_START;
  }
  if (options === undefined) {
    say(HELP);
    return 0;
  }
  const { engine, faults, hints } = await preflight(options);
  for (const hint of hints) say(`Note: ${hint}`);
  if (engine === undefined || faults.length > 0) {
    console.error(faultsText(faults));
    return CANNOT_START;
  }
  if (options.command === "down") {
    await removeClusters(engine);
    await rm(keptDirectory(), { recursive: true, force: true });
    say("No kind cluster of ours is left.");
    return 0;
  }
  const startedMs = performance.now();
  const broken = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => broken.abort());
  const stays = options.keep || options.command !== "e2e";
  // What stays is found again by its place; what does not has a place of its own.
  const directory = stays ? keptDirectory() : await mkdtemp(join(await realpath(tmpdir()), "transporter-kind-"));
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const done = await go({ ...options, command: options.command }, engine, directory, broken.signal).catch((error: unknown) => {
    // Said before the taking down, which takes a while.
    if (!broken.signal.aborted) console.error(error instanceof Error ? error.message : String(error));
    return false;
  });
  if (stays && !broken.signal.aborted && (done || options.keep)) {
    say(`${done ? "Up" : "A step failed; everything is left as it is"} after ${seconds(startedMs)}. It stays until: just kind-down`);
    return done ? 0 : 1;
  }
  say(
    `${done ? "Everything went well" : broken.signal.aborted ? "Broken off" : "A step failed"} after ${seconds(startedMs)}. Taking the clusters down.`,
  );
  await removeClusters(engine);
  await rm(directory, { recursive: true, force: true });
  return done ? 0 : broken.signal.aborted ? 130 : 1;
}

/** For the kubeconfigs of what stays, and for whom the command line has logged in. */
function keptDirectory(): string {
  return join(sandboxCache(), "kind");
}

async function go(
  options: KindOptions & { readonly command: "e2e" | "up" | "all" },
  engine: Engine,
  directory: string,
  broken: AbortSignal,
): Promise<boolean> {
  await build();
  const imageArchive = options.archive ?? (await buildByEngine(engine, directory));
  if (broken.aborted) return false;
  const ground = await makeClusters(options, engine, directory, say);
  if (broken.aborted) return false;
  say(`Ground: ${ground.description}.`);
  const journey = new Journey({
    ground,
    image: IMAGE,
    imageArchive,
    executable: EXECUTABLE,
    directory,
    queue: queueFor(options, engine, directory),
  });
  const good = await walk(journey, stepsOf(options), say, broken);
  if (options.keep || options.command !== "e2e") say(reachText(journey, kubeconfigsOf(options.command, directory)));
  return good;
}

function queueFor(options: KindOptions, engine: Engine, directory: string): QueueInFront | undefined {
  if (options.queue === undefined) return undefined;
  return { ...queueOf(options.queue), bring: (image, cluster) => bringImage(engine, image, cluster, directory) };
}

/** The last step of the journey takes the charts away. */
function stepsOf({ command, keep }: KindOptions): readonly Step[] {
  return command !== "e2e" ? BRING_UP : keep ? JOURNEY.slice(0, -1) : JOURNEY;
}

try {
  process.exit(await main());
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
