import { TransporterError } from "../kit/mod.ts";
import type { Places } from "./places.ts";
import { contradiction } from "./queue.ts";
import { type Resolved, describeOrigin } from "./resolve.ts";
import { isRedisUrl, joinServerUrl, splitServerUrl, withoutSecrets } from "./server-url.ts";
import { integer, text } from "./setting.ts";

const FORMS = "sqlite:PATH, memory:, redis://HOST:PORT/DB (rediss:// by TLS), redis+sentinel://HOST,HOST/NAME or redis+cluster://HOST,HOST";

/** Where events are kept: an address, or 0.1's three flags for a Redis. */
export const STORE_SETTINGS = {
  store: text({
    describe:
      "Where events are kept: sqlite:PATH, memory: (lost at exit), or redis://HOST:PORT/DB, rediss://, redis+sentinel:// or redis+cluster:// for several control planes; without it a file in the state directory",
    hint: "URL",
    check: (url) => (/^(sqlite|memory):/.test(url) || isRedisUrl(url) ? undefined : FORMS),
    shown: withoutSecrets,
  }),
  "redis-addr": text({
    describe: "Redis to keep events in (0.1); the same as --store redis://HOST:PORT",
    hint: "HOST:PORT",
    // Scripts and charts of 0.1 give it empty where there is no Redis.
    check: (address) =>
      /^$|^(?:\[[0-9a-f:.]+\]|[^\s:/?#@[\]]+)(?::\d{1,5})?$/i.test(address) ? undefined : "HOST:PORT, such as redis:6379",
  }),
  "redis-password": text({
    describe: "Password of the Redis that events are kept in, where its address has none",
    hint: "SECRET",
    secret: true,
  }),
  "redis-db": integer({ describe: "Database number in that Redis, where its address has none", min: 0, max: 1_000_000 }),
} as const;

type StoreResolved = Pick<Resolved<typeof STORE_SETTINGS>, "values" | "origins">;

/** The URL of the store that is used when none is named. */
export function defaultStoreUrl(where: Places): string {
  if (where.state === undefined)
    throw new TransporterError("CONFIG_INVALID", "there is no place for the store: neither HOME nor XDG_STATE_HOME is set", {
      remedy: "Give --store sqlite:PATH.",
    });
  return `sqlite:${where.state}/cp.db`;
}

/** The store that is to be used, and how to get in. */
export interface StoreTarget {
  /** May hold a password: show `withoutSecrets` of it. */
  readonly url: string;
  /** For a URL that has none itself. */
  readonly password: string | undefined;
  /** For people, one line each. */
  readonly warnings: readonly string[];
}

/**
 * The store that the settings name. `--redis-addr`, given anywhere, selects Redis as it did in 0.1. CONFIG_INVALID where `--store` says
 * otherwise.
 */
export function storeTarget({ values, origins }: StoreResolved, where: Places): StoreTarget {
  const address = values["redis-addr"] === "" ? undefined : values["redis-addr"];
  const named = values.store ?? (address === undefined ? defaultStoreUrl(where) : redisUrl(address));
  if (values.store !== undefined && address !== undefined) {
    const store = splitServerUrl(values.store);
    if (!isRedisUrl(values.store) || withPort(store?.hosts ?? "") !== withPort(address))
      throw contradiction(
        origins.store,
        origins["redis-addr"],
        `events are kept either in ${JSON.stringify(withoutSecrets(values.store))} or in the Redis at ${address}`,
      );
  }
  if (!isRedisUrl(named))
    return {
      url: named,
      password: undefined,
      warnings: (["redis-password", "redis-db"] as const)
        .filter((name) => values[name] !== undefined && values[name] !== "")
        .map((name) => `${describeOrigin(origins[name])} has no effect: events are not kept in Redis`),
    };
  const url = withDatabase(named, { values, origins });
  const own = splitServerUrl(url)?.password ?? "";
  const password = values["redis-password"] === "" ? undefined : values["redis-password"];
  return { url, password: own === "" ? password : undefined, warnings: [] };
}

const withPort = (host: string): string => (/:\d+$/.test(host) ? host : `${host}:6379`).toLowerCase();
const redisUrl = (address: string): string => `redis://${withPort(address)}`;

/** Puts `--redis-db` into an address that names no database. */
function withDatabase(url: string, { values, origins }: StoreResolved): string {
  const database = values["redis-db"];
  const parts = splitServerUrl(url);
  if (database === undefined || parts === undefined) return url;
  const at = parts.rest.search(/[?#]|$/);
  const path = parts.rest.slice(0, at).replace(/\/+$/, "");
  // Behind a Sentinel's hosts the first part of the path is the name of the master.
  const said = parts.scheme.endsWith("+sentinel") ? (/^\/[^/]*\/(.+)$/.exec(path)?.[1] ?? "") : path.slice(1);
  if (said !== "" && said !== String(database))
    throw contradiction(
      values.store === undefined ? origins["redis-addr"] : origins.store,
      origins["redis-db"],
      `database ${said} or ${database}`,
    );
  return said === "" ? joinServerUrl({ ...parts, rest: `${path}/${database}${parts.rest.slice(at)}` }) : url;
}
