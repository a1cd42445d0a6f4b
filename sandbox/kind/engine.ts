import { rm } from "node:fs/promises";

/** Turns directories into images of a container engine. */
export class Engine implements AsyncDisposable {
  readonly #name: "docker" | "podman";
  /** Removed from the engine at the end: only the node is wanted there. */
  readonly #passing: string[] = [];

  constructor(name: "docker" | "podman") {
    this.#name = name;
  }

  /** What a command prints. Throws with its words when it fails. */
  async output(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    const child = Bun.spawn([...command], {
      env: { ...process.env, ...env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}:\n${(errors || output).trim()}`);
    return output;
  }

  /** An image with the directory as its only layer. */
  async importTree(tree: string, image: string, changes: readonly string[]): Promise<void> {
    const flags = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"].map((variable) => `ENV ${variable}`);
    const tar = Bun.spawn(["tar", "--directory", tree, "--numeric-owner", "--create", "."], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const changed = [...flags, ...changes].flatMap((change) => ["--change", change]);
    const made = Bun.spawn([this.#name, "import", ...changed, "-", image], {
      stdin: tar.stdout,
      stdout: "pipe",
      stderr: "pipe",
    });
    const [errors, code, tarErrors, tarCode] = await Promise.all([made.stderr.text(), made.exited, tar.stderr.text(), tar.exited]);
    if (tarCode !== 0) throw new Error(`tar of ${tree} ended with ${tarCode}:\n${tarErrors.trim()}`);
    if (code !== 0) throw new Error(`${this.#name} import of ${image} ended with ${code}:\n${errors.trim()}`);
  }

  /** The same, in an archive that containerd imports, and gone from the engine at the end. */
  async archiveTree(tree: string, image: string, changes: readonly string[], path: string): Promise<string> {
    await this.importTree(tree, image, changes);
    this.#passing.push(image);
    await rm(path, { force: true });
    await this.output([this.#name, "save", "--output", path, image]);
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const image of this.#passing) await this.output([this.#name, "rmi", "--force", image]).catch(() => undefined);
  }
}
