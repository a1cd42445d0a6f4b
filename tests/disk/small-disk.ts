import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "bun:test";

const IN_CI = !["", "0", "false"].includes(process.env["CI"] ?? "");

function mount(directory: string, bytes: number): boolean {
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", directory], { stderr: "ignore" });
  return mounted.exitCode === 0;
}

function canMount(): boolean {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return false;
  const directory = join(tmpdir(), `transporter-mount-${process.pid}`);
  try {
    mkdirSync(directory);
    const mounted = mount(directory, 1024 * 1024);
    if (mounted) Bun.spawnSync(["umount", directory]);
    return mounted;
  } catch {
    // No `mount` on this machine.
    return false;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const mountable = canMount();
if (!mountable) console.warn("\nSKIPPED: tests of a full disk. They mount a small tmpfs, which needs root on Linux.\n");

/** `test` for what needs a disk that is soon full; under CI a machine that may not mount one is a failure. */
export function diskTest(name: string, run: () => Promise<void>, timeoutMs = 60_000): void {
  test.skipIf(!mountable && !IN_CI)(name, run, timeoutMs);
}

/** A file system of its own that is soon full. */
export class SmallDisk implements AsyncDisposable {
  /** Where it is mounted. */
  readonly path: string;
  readonly #directory: string;

  static async mount(bytes: number): Promise<SmallDisk> {
    const directory = await mkdtemp(join(await realpath(tmpdir()), "transporter-disk-"));
    const path = join(directory, "disk");
    mkdirSync(path);
    if (mount(path, bytes)) return new SmallDisk(directory, path);
    await rm(directory, { recursive: true, force: true });
    throw new Error("this process may not mount a tmpfs");
  }

  private constructor(directory: string, path: string) {
    this.#directory = directory;
    this.path = path;
  }

  /** Takes the space that is left, to the last byte or but for `leaveBytes`. */
  fill(leaveBytes = 0): void {
    const filler = openSync(this.#filler, "w");
    const piece = Buffer.alloc(4096);
    try {
      // A short write is the end, too; the error is that there is no room at all.
      while (writeSync(filler, piece) === piece.length);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    } finally {
      closeSync(filler);
    }
    if (leaveBytes > 0) Bun.spawnSync(["truncate", "-s", `-${leaveBytes}`, this.#filler]);
  }

  /** Gives it back. */
  free(): void {
    rmSync(this.#filler, { force: true });
  }

  get #filler(): string {
    return join(this.path, "filler");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    Bun.spawnSync(["umount", "-l", this.path]);
    await rm(this.#directory, { recursive: true, force: true });
  }
}
