import { openImageRoom } from "../image/container.ts";
import { startCp } from "../support/cp.ts";
import { KUBECONFIG_OF_NOBODY } from "../image/kubeconfig.ts";
import { atMost, type Figure } from "./figures.ts";
import { median } from "./proc.ts";
import type { Workbench } from "./workbench.ts";

const MIB = 1024 * 1024;

/** How large the image is, how soon what is in it answers, and what it takes of memory; run as clusters run it, by runc alone. */
export async function image(bench: Workbench): Promise<Figure[]> {
  const part = "The image";
  if (process.getuid?.() !== 0) throw new Error("the image is run by runc as root");
  await using room = await openImageRoom({ compressed: true });
  const { bytes, gzip = 0, zstd = 0, layers } = room.built.sizes;
  const own = layers.find(({ holds }) => holds === "app/transporter");
  const megabytes = (value: number): number => value / 1e6;
  const figures: Figure[] = [
    { part, name: "the image, uncompressed", value: megabytes(bytes), unit: "MB", note: "0.1: 42.1, a Go program without a runtime" },
    { part, name: "the image, gzip", value: megabytes(gzip), unit: "MB" },
    { part, name: "the image, zstd -19", value: megabytes(zstd), unit: "MB" },
    {
      part,
      name: "the executable's layer, zstd -19",
      value: megabytes(own?.zstd ?? 0),
      unit: "MB",
      bar: atMost(Math.round(megabytes(own?.zstd ?? 0) * 10) / 10, 42.1, "MB"),
      note: `${megabytes(own?.bytes ?? 0).toFixed(1)} uncompressed, ${megabytes(own?.gzip ?? 0).toFixed(1)} gzip`,
    },
  ];
  const times = bench.count(10, 3);
  const starts: number[] = [];
  for (let at = 0; at < times; at += 1) {
    const startedMs = performance.now();
    await using cp = await room.start({ args: ["cp", "--ws-port=0", "--store=memory:"], memoryBytes: 128 * MIB });
    await cp.line(/Control plane is listening/);
    starts.push(performance.now() - startedMs);
    if (at === times - 1) {
      const memory = await cp.memory();
      if (memory !== undefined)
        figures.push({ part, name: "control plane, idle, of its own", value: memory.anonymous / MIB, unit: "MiB", note: "limit 128 MiB" });
    }
    cp.signal("SIGTERM");
    await cp.exited;
  }
  figures.push({ part, name: "control plane listens after", value: median(starts), unit: "ms", note: `median of ${times}, runc included` });
  await using plane = await startCp();
  await using agent = await room.start({
    args: ["agent", "--agent-id", "measured", "--cp-url", plane.wsUrl, "--kubeconfig", "/etc/kubeconfig", "--state-dir", "/state"],
    writable: ["/state"],
    files: { "/etc/kubeconfig": KUBECONFIG_OF_NOBODY },
    memoryBytes: 96 * MIB,
  });
  await agent.line(/Agent registered successfully/);
  const memory = await agent.memory();
  if (memory !== undefined)
    figures.push({ part, name: "agent, connected, of its own", value: memory.anonymous / MIB, unit: "MiB", note: "limit 96 MiB" });
  return figures;
}
