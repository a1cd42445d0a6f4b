import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { storeContract } from "./store.ts";

const open = (url: string): Promise<Store> => openStore(url, { ports: systemPorts, log: silentLogger });

storeContract({
  name: "sqlite:",
  durable: true,
  async start() {
    const directory = await mkdtemp(join(tmpdir(), "transporter-store-"));
    const url = `sqlite:${join(directory, "store.db")}`;
    let store = await open(url);
    return {
      store,
      async reopen() {
        await store.close();
        store = await open(url);
        return store;
      },
      async [Symbol.asyncDispose]() {
        await store.close();
        await rm(directory, { recursive: true, force: true });
      },
    };
  },
});

storeContract({
  name: "memory:",
  durable: false,
  async start() {
    const store = await open("memory:");
    return {
      store,
      reopen: () => Promise.reject(new Error("a store in memory leaves nothing behind")),
      [Symbol.asyncDispose]: () => store.close(),
    };
  },
});
