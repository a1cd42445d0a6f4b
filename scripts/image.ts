/**
 * Makes dist/transporter-image-ARCH.tar from the Dockerfile without any registry: `just image [--tag NAME] [--arch amd64|arm64] [--engine NAME]
 * [--output FILE] [--sizes]`. Executables are compiled first; --sizes compresses the layers to tell how large they are.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { build } from "./build.ts";
import { buildAll, DIST } from "./build-all.ts";
import { buildImage, HOST_ARCH } from "./image/build-image.ts";
import { ENGINES } from "./image/engine.ts";
import { EXECUTABLE, seconds } from "./run.ts";

function mb(bytes: number | undefined): string {
  return bytes === undefined ? "" : `${(bytes / 1e6).toFixed(1)} MB`;
}

function say(line: string): void {
  console.log(line);
}

try {
  const { values } = parseArgs({
    options: {
      tag: { type: "string", default: "localhost/transporter:dev" },
      arch: { type: "string", default: HOST_ARCH },
      engine: { type: "string" },
      output: { type: "string" },
      sizes: { type: "boolean", default: false },
    },
  });
  const { tag, output, sizes: compressed } = values;
  const arch = values.arch === "amd64" || values.arch === "arm64" ? values.arch : undefined;
  if (arch === undefined) throw new Error(`--arch is ${values.arch}; there are amd64 and arm64.`);
  const engine = ENGINES.find((name) => name === values.engine);
  if (values.engine !== undefined && engine === undefined)
    throw new Error(`--engine is ${values.engine}; there are ${ENGINES.join(", ")}.`);
  if (arch === HOST_ARCH) await build();
  else await buildAll([`linux-${arch}`], say);
  const startedMs = performance.now();
  const { archivePath, reference, sizes } = await buildImage({
    tag,
    arch,
    compressed,
    say,
    executable: arch === HOST_ARCH ? EXECUTABLE : join(DIST, `transporter-linux-${arch}`),
    ...(engine === undefined ? {} : { engine }),
    ...(output === undefined ? {} : { archivePath: output }),
  });
  const row = (name: string, { bytes, gzip, zstd }: { readonly bytes: number; readonly gzip?: number; readonly zstd?: number }): void => {
    say(
      `  ${name.padEnd(40)} ${mb(bytes).padStart(9)}${compressed ? ` ${mb(gzip).padStart(9)} gzip ${mb(zstd).padStart(9)} zstd -19` : ""}`,
    );
  };
  say(`${archivePath}: ${reference} for linux/${arch} in ${seconds(startedMs)}`);
  for (const layer of sizes.layers) row(`layer with ${layer.holds}`, layer);
  row("the image", sizes);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
