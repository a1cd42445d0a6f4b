import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { parseRedisUrl } from "../../src/redis/mod.ts";
import { openRedisStore } from "../../src/stores/drivers/redis/store.ts";
import { SKIP_REDIS, sharedRedis } from "../support/redis.ts";
import { storeContract } from "./store.ts";

let prefixes = 0;

// Each test has keys of its own in one server: quicker than a server each, and one that is emptied would empty those of other tests.
if (!SKIP_REDIS)
  storeContract({
    name: "redis://",
    durable: true,
    async start() {
      const server = await sharedRedis();
      prefixes += 1;
      const address = parseRedisUrl(`${server.url}?prefix=contract-${process.pid}-${prefixes}`);
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
