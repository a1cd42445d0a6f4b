import { readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import type { Child, Children } from "../children.ts";
import { run } from "./command.ts";
import type { PodPrograms } from "./programs.ts";
import { until } from "./until.ts";

const HUB_ADDRESS = "10.77.0.1";

/** Of the cluster with this index, from 0. */
export function addressOf(index: number): string {
  return `10.77.0.${index + 2}`;
}
export function podCidrOf(index: number): string {
  return `10.244.${index + 1}.0/24`;
}

/** What pods of every cluster call the node of the cluster of this name. */
export function hostnameOf(name: string): string {
  return `${name}.clusters.test`;
}

/**
 * A network namespace with a bridge and nothing else, to which every node has one link. No address of it exists outside, so several
 * hubs with the same addresses stand side by side, and nothing here can be mistaken for something in the machine's own network.
 */
export class Hub {
  readonly #children: Children;
  readonly #programs: PodPrograms;
  readonly #hub: Child;
  #relays = 0;

  private constructor(children: Children, programs: PodPrograms, hub: Child) {
    this.#children = children;
    this.#programs = programs;
    this.#hub = hub;
  }

  static async start(children: Children, programs: PodPrograms): Promise<Hub> {
    const { paths, env } = programs;
    const child = await children.spawn("hub", ["unshare", "--net", paths.pause], { env });
    const hub = new Hub(children, programs, child);
    const outside = await readlink("/proc/self/ns/net");
    await until("the hub's network namespace", children, async () => (await readlink(hub.namespace)) !== outside);
    await hub.#run(
      `echo 1 > /proc/sys/net/ipv4/ip_forward
      ip link set lo up
      ip link add hub type bridge
      ip address add ${HUB_ADDRESS}/24 dev hub
      ip link set hub up`,
    );
    return hub;
  }

  /** A file of the kernel's; another network namespace is entered through it. */
  get namespace(): string {
    return namespaceOf(this.#hub.pid);
  }

  /** Gives the network namespace of this process its link, its address and its way out. */
  async attach(index: number, pid: number, nftRules: string): Promise<void> {
    await this.#run(
      `ip link add ${linkOf(index)} type veth peer name eth0 netns ${pid}
      ip link set ${linkOf(index)} master hub
      ip link set ${linkOf(index)} up`,
    );
    await this.#run(
      `echo 1 > /proc/sys/net/ipv4/ip_forward
      ip link set lo up
      ip address add ${addressOf(index)}/24 dev eth0
      ip link set eth0 up
      ip route add default via ${HUB_ADDRESS}
      nft -f -`,
      { namespace: namespaceOf(pid), input: nftRules },
    );
  }

  async setLink(index: number, state: "up" | "down"): Promise<void> {
    await this.#run(`ip link set ${linkOf(index)} ${state}`);
  }

  /** A port of 127.0.0.1 that leads to this address as seen from that network namespace. */
  async relay(address: string, namespace: string): Promise<number> {
    const { paths, env } = this.#programs;
    this.#relays += 1;
    const name = `relay-${this.#relays}-${address.replace(":", "-")}`;
    const portFile = join(this.#children.directory, `${name}.port`);
    await this.#children.spawn(name, [paths.relay, namespace, address, portFile], { env });
    return until(`the relay to ${address}`, this.#children, async () => Number(await readFile(portFile, "utf8")));
  }

  async #run(script: string, { namespace = this.namespace, input }: { namespace?: string; input?: string } = {}): Promise<void> {
    const command = ["nsenter", `--net=${namespace}`, "sh", "-ec", script];
    await run(command, { env: this.#programs.env, ...(input === undefined ? {} : { input }) });
  }
}

export function namespaceOf(pid: number): string {
  return `/proc/${pid}/ns/net`;
}

function linkOf(index: number): string {
  return `node${index + 1}`;
}
