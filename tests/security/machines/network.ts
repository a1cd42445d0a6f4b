import { mkdir, mkdtemp, realpath, rm, symlink, unlink } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EXECUTABLE_PATH, type ProcessOptions, type RunningProcess, type RunResult, startProcess } from "../../support/process.ts";

const CARRIER = join(import.meta.dir, "carrier.ts");

function ip(...args: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["ip", ...args], { stdout: "ignore", stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr.toString().trim()}`);
}

/** Why this machine cannot pretend to be several; undefined when it can. */
export function noNetworks(): string | undefined {
  if (process.platform !== "linux") return "network namespaces are Linux's";
  if (process.getuid?.() !== 0) return "only root may make network namespaces";
  if (Bun.which("ip") === null) return "there is no `ip`";
  const name = `transporter-try-${process.pid}`;
  try {
    ip("netns", "add", name);
    ip("netns", "delete", name);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** A machine with a network, a home and a PATH of its own; on the disk of this one. */
export class Machine {
  readonly address: string;
  readonly home: string;
  readonly #namespace: string;
  readonly #bin: string;

  constructor(namespace: string, address: string, home: string, bin: string) {
    this.#namespace = namespace;
    this.address = address;
    this.home = home;
    this.#bin = bin;
  }

  /** Starts what somebody types there. */
  type(lines: string, options: Pick<ProcessOptions, "input" | "env"> = {}): Promise<RunningProcess> {
    return this.start(["sh", "-e", "-c", lines], options);
  }

  start(command: readonly string[], options: Pick<ProcessOptions, "input" | "env"> = {}): Promise<RunningProcess> {
    return startProcess(["ip", "netns", "exec", this.#namespace, ...command], {
      ...options,
      home: this.home,
      env: { ...options.env, PATH: `${this.#bin}:${process.env["PATH"] ?? ""}` },
    });
  }

  /** The same to its end. */
  async run(lines: string, options: Pick<ProcessOptions, "input" | "env"> = {}): Promise<RunResult> {
    await using running = await this.type(lines, options);
    const timer = setTimeout(() => void running.kill("SIGKILL"), 60_000);
    const exitCode = await running.exited;
    clearTimeout(timer);
    return { exitCode, stdout: running.stdout(), stderr: running.stderr() };
  }
}

/** Machines on one wire that leads nowhere else. */
export class Network implements AsyncDisposable {
  readonly #prefix = `tr${process.pid}-`;
  readonly #hub = `${this.#prefix}hub`;
  readonly #directory: string;
  readonly #namespaces: string[] = [];
  readonly #carriers: AsyncDisposable[] = [];
  #bin = "";

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async open(): Promise<Network> {
    const network = new Network(await mkdtemp(join(await realpath(tmpdir()), "transporter-machines-")));
    network.#bin = join(network.#directory, "bin");
    await mkdir(network.#bin);
    await symlink(EXECUTABLE_PATH, join(network.#bin, "transporter"));
    network.#add(network.#hub);
    ip("-n", network.#hub, "link", "add", "br0", "type", "bridge");
    ip("-n", network.#hub, "link", "set", "br0", "up");
    return network;
  }

  #add(namespace: string): void {
    ip("netns", "add", namespace);
    this.#namespaces.push(namespace);
    ip("-n", namespace, "link", "set", "lo", "up");
  }

  async machine(name: string): Promise<Machine> {
    const namespace = this.#prefix + name;
    const address = `10.78.0.${this.#namespaces.length + 1}`;
    this.#add(namespace);
    const port = `p${this.#namespaces.length}`;
    ip("-n", this.#hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace);
    ip("-n", this.#hub, "link", "set", port, "master", "br0", "up");
    ip("-n", namespace, "address", "add", `${address}/24`, "dev", "eth0");
    ip("-n", namespace, "link", "set", "eth0", "up");
    const home = join(this.#directory, name);
    await mkdir(home);
    return new Machine(namespace, address, home, this.#bin);
  }

  /** Lets `machine` reach what listens on 127.0.0.1:`port` here, at the same address there. Sockets in the file system know no networks. */
  async carry(machine: Machine, port: number): Promise<void> {
    const path = join(this.#directory, `${port}.sock`);
    const open = new Set<Socket>();
    const server = createServer((from) => {
      const to = connect(port, "127.0.0.1");
      for (const [socket, other] of [
        [from, to],
        [to, from],
      ] as const) {
        open.add(socket);
        socket.on("error", () => other.destroy());
        socket.on("close", () => {
          open.delete(socket);
          other.destroy();
        });
        socket.pipe(other);
      }
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const carrier = await machine.start([process.execPath, CARRIER, String(port), path]);
    await carrier.line(/^READY$/);
    this.#carriers.push(carrier, {
      async [Symbol.asyncDispose]() {
        for (const socket of open) socket.destroy();
        server.close();
        await unlink(path).catch(() => undefined);
      },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const carrier of this.#carriers) await carrier[Symbol.asyncDispose]();
    for (const namespace of this.#namespaces.toReversed()) ip("netns", "delete", namespace);
    await rm(this.#directory, { recursive: true, force: true });
  }
}
