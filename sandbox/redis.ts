import { join } from "node:path";
import { debianTreePath, hasDebianPackages, librariesOf, prepareDebianTree } from "./debian.ts";
import { isExecutable, runToEnd } from "./program.ts";

export type RedisFlavor = "redis" | "valkey";

/** A server and its command line, as commands to be followed by arguments, with what they need in their environment. */
export interface RedisPrograms {
  readonly flavor: RedisFlavor;
  /** Such as 7.0.15. */
  readonly version: string;
  readonly server: string;
  readonly cli: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface PrepareRedisOptions {
  readonly flavor?: RedisFlavor;
  /** Receives one line at a time for people; called only when there is something to wait for. */
  readonly onProgress?: (line: string) => void;
}

const OLDEST_MAJOR = 7;
const PACKAGES: Readonly<Record<RedisFlavor, readonly string[]>> = {
  redis: ["redis-server", "redis-tools"],
  valkey: ["valkey-server", "valkey-tools"],
};
/** Where Debian and Ubuntu keep libraries whose package is not named as the library is. */
const LIBRARY_PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "liblua5.1-bitop.so.0": ["lua-bitop"],
  "liblua5.1-cjson.so.0": ["lua-cjson"],
};

/**
 * A server of version 7 or later that is there already: where REDIS_SERVER or VALKEY_SERVER points (its command line beside it), on PATH, or
 * in the cache. Undefined when there is none.
 */
export async function findRedis(flavor: RedisFlavor = "redis"): Promise<RedisPrograms | undefined> {
  const named = process.env[`${flavor.toUpperCase()}_SERVER`];
  if (named !== undefined && named !== "") {
    const programs = await programsIn(flavor, named, join(named, "..", `${flavor}-cli`), {});
    if (programs === undefined)
      throw new Error(`${flavor.toUpperCase()}_SERVER is ${named}, which is no ${flavor}-server of version 7 or later`);
    return programs;
  }
  const onPath = Bun.which(`${flavor}-server`);
  const cli = Bun.which(`${flavor}-cli`);
  if (onPath !== null && cli !== null) {
    const programs = await programsIn(flavor, onPath, cli, {});
    if (programs !== undefined) return programs;
  }
  return inTree(flavor, debianTreePath({ name: flavor }));
}

/**
 * Finds a server, or on Debian and Ubuntu unpacks the distribution's packages into the cache, which needs no root and installs nothing.
 * Throws with what to do where neither is possible.
 */
export async function prepareRedis(options: PrepareRedisOptions = {}): Promise<RedisPrograms> {
  const flavor = options.flavor ?? "redis";
  const present = await findRedis(flavor);
  if (present !== undefined) return present;
  const missing = (why: string, more?: ErrorOptions): Error =>
    new Error(
      `The tests against a real ${flavor}-server need one of version ${OLDEST_MAJOR} or later: ${why}\n` +
        `Install it (brew install ${flavor}, apt install ${PACKAGES[flavor].join(" ")}), or point ${flavor.toUpperCase()}_SERVER at one.`,
      more,
    );
  if (!hasDebianPackages()) throw missing("there is none on PATH, and only on Debian and Ubuntu it can be fetched without root.");
  let tree: string;
  try {
    tree = await prepareDebianTree({
      name: flavor,
      packages: PACKAGES[flavor],
      programs: [join("usr/bin", `${flavor}-server`)],
      libraries: LIBRARY_PACKAGES,
      accept: async (candidate) => (await inTree(flavor, candidate)) !== undefined,
      ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
    });
  } catch (error) {
    throw missing(`fetching it did not work: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  const programs = await inTree(flavor, tree);
  if (programs === undefined) throw missing("what was fetched does not run.");
  return programs;
}

async function programsIn(
  flavor: RedisFlavor,
  server: string,
  cli: string,
  env: Readonly<Record<string, string>>,
): Promise<RedisPrograms | undefined> {
  for (const path of [server, cli]) if (!(await isExecutable(path))) return undefined;
  const { output, code } = await runToEnd([server, "--version"], { env });
  const version = /v=(\d+\.\d+\.\d+)/.exec(output)?.[1];
  return code === 0 && version !== undefined && Number.parseInt(version, 10) >= OLDEST_MAJOR
    ? { flavor, version, server, cli, env }
    : undefined;
}

async function inTree(flavor: RedisFlavor, tree: string): Promise<RedisPrograms | undefined> {
  return programsIn(flavor, join(tree, "usr/bin", `${flavor}-server`), join(tree, "usr/bin", `${flavor}-cli`), {
    LD_LIBRARY_PATH: await librariesOf(tree),
  });
}
