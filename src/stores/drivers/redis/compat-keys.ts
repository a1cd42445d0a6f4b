import type { Logger, Ports } from "../../../kit/mod.ts";
import type { RedisAddress } from "../../../redis/mod.ts";
import type { Store } from "../../port.ts";

export interface CompatKeysOptions {
  readonly address: RedisAddress;
  readonly ports: Ports;
  readonly log: Logger;
}

/** PLACEHOLDER */
export async function keepCompatKeys(store: Store, _options: CompatKeysOptions): Promise<Store> {
  return store;
}
