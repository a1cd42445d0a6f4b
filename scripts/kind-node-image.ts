/** An image for kind's nodes where none can be pulled: `just kind-node-image`, then `just e2e-kind --node-image NAME`. Needs Linux, root, Go and Debian's packages. */
import { makeNodeImage, prepareKind } from "../sandbox/kind/mod.ts";
import { seconds } from "./run.ts";

function onProgress(line: string): void {
  console.log(line);
}

const startedMs = performance.now();
const engine = process.argv[2] ?? (Bun.which("docker") === null ? "podman" : "docker");
if (engine !== "docker" && engine !== "podman") {
  console.error(`docker or podman is needed, not ${engine}`);
  process.exit(2);
}
try {
  const image = await makeNodeImage({ engine, onProgress });
  if (Bun.which("kind") === null) console.log(`kind is not on PATH; it is built here: ${await prepareKind(onProgress)}`);
  console.log(
    `${image} is in ${engine}'s storage after ${seconds(startedMs)}. Use it: just e2e-kind --engine ${engine} --node-image ${image}`,
  );
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
