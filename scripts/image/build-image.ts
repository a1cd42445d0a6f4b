import { copyFile, link, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DebianArch } from "../../sandbox/mod.ts";
import { source, type Source } from "../build-target.ts";
import { DIST } from "../build-all.ts";
import { EXECUTABLE, ROOT } from "../run.ts";
import { type ImageSizes, measureArchive } from "./archive.ts";
import { writeBase } from "./base.ts";
import { type EngineName, openEngine } from "./engine.ts";

export const HOST_ARCH: DebianArch = process.arch === "arm64" ? "arm64" : "amd64";

export interface BuildImageOptions {
  /** The image's name in full, such as `localhost/transporter:e2e`. */
  readonly tag: string;
  /** This machine's by default. */
  readonly arch?: DebianArch;
  /** buildah, podman or docker; by default the first that is there, else buildah from the distribution's packages. */
  readonly engine?: EngineName;
  /** ./transporter by default, which `build()` makes; for another machine dist/transporter-linux-ARCH. */
  readonly executable?: string;
  /** dist/transporter-image-ARCH.tar by default. */
  readonly archivePath?: string;
  /** Compresses the layers to tell their sizes, which takes most of a minute. */
  readonly compressed?: boolean;
  readonly say?: (line: string) => void;
}

export interface BuiltImage {
  /** For `ctr images import`, `podman load`, `docker load`, `kind load image-archive`. */
  readonly archivePath: string;
  readonly reference: string;
  readonly sizes: ImageSizes;
}

/**
 * The image from the repository's Dockerfile, with nothing from a registry: on a base made of Debian's packages, with an executable that is built
 * already. The same sources and packages give the same bytes.
 */
export async function buildImage(options: BuildImageOptions): Promise<BuiltImage> {
  const { tag, arch = HOST_ARCH, engine: wanted, say } = options;
  const archivePath = options.archivePath ?? join(DIST, `transporter-image-${arch}.tar`);
  const onProgress = say ?? ((): void => undefined);
  const from = await source();
  const work = await mkdtemp(join(tmpdir(), "transporter-context-"));
  try {
    await using engine = await openEngine({ ...(wanted === undefined ? {} : { engine: wanted }), onProgress });
    const base = join(work, "base");
    await mkdir(base);
    await writeBase({ arch, directory: base, onProgress });
    await engine.build({ context: base, tag: `${BASE}:${arch}`, arch, epoch: from.epoch });
    const context = join(work, "context");
    await writeContext(context, arch, options.executable ?? (arch === HOST_ARCH ? EXECUTABLE : join(DIST, `transporter-linux-${arch}`)));
    await engine.build({
      context,
      tag,
      arch,
      epoch: from.epoch,
      args: { ...(await argumentsOf(from)), TARGETARCH: arch, BASE_IMAGE: `${BASE}:${arch}` },
    });
    await mkdir(join(archivePath, ".."), { recursive: true });
    await engine.save(tag, archivePath);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return { archivePath, reference: tag, sizes: await measureArchive(archivePath, options.compressed ?? false) };
}

const BASE = "localhost/transporter-base";

async function argumentsOf({ commit, epoch }: Source): Promise<Readonly<Record<string, string>>> {
  const { version } = (await Bun.file(join(ROOT, "package.json")).json()) as { readonly version: string };
  return {
    EXECUTABLE: "prebuilt",
    VERSION: version,
    REVISION: commit,
    CREATED: new Date(epoch * 1000).toISOString().replace(".000Z", "Z"),
  };
}

/** Only what the Dockerfile takes: the repository's dist/ may hold another build. */
async function writeContext(context: string, arch: DebianArch, executable: string): Promise<void> {
  await mkdir(join(context, "dist"), { recursive: true });
  for (const name of ["Dockerfile", "LICENSE"]) await copyFile(join(ROOT, name), join(context, name));
  const placed = join(context, "dist", `transporter-linux-${arch}`);
  if (!(await Bun.file(executable).exists())) throw new Error(`There is no ${executable}: build it first.`);
  await link(executable, placed).catch(() => copyFile(executable, placed));
}
