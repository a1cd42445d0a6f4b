import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { parseRedisUrl } from "../../src/redis/mod.ts";
import { openRedisStore } from "../../src/stores/drivers/redis/store.ts";
import type { RedisFlavor } from "../../sandbox/mod.ts";
import { PROVE } from "../support/prove.ts";
import { asDocumentedUser, HAS_VALKEY, SKIP_REDIS, sharedRedis } from "../support/redis.ts";
import { storeContract } from "./store.ts";

let prefixes = 0;

/**
 * Each test has keys of its own in one server: quicker than a server each, and one that is emptied would empty those of other tests. The user is
 * the one of docs/redis.md, so that nothing is used that the page does not name.
 */
function contractOn(flavor: RedisFlavor): void {
  storeContract({
    name: `${flavor}://`,
    durable: true,
    veryMany: 20_000,
    async start() {
      const url = await asDocumentedUser(await sharedRedis(flavor));
      prefixes += 1;
      const address = parseRedisUrl(`${url}?prefix=contract-${process.pid}-${prefixes}`);
      const open = () => openRedisStore({ address, ports: systemPorts, log: silentLogger });
      let store = await open();
      return {
        store,
        async reopen() {
          await store.close();
          store = await open();
          return store;
        },
        async [Symbol.asyncDispose]() {
          await store.close();
        },
      };
    },
  });
}

if (!SKIP_REDIS) contractOn("redis");
if (HAS_VALKEY && PROVE) contractOn("valkey");
