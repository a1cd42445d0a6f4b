import { afterEach, beforeEach, describe } from "bun:test";
import type { Store } from "../../src/stores/mod.ts";
import { agentContract } from "./store-agents.ts";
import { deliveryContract } from "./store-deliveries.ts";
import { documentContract } from "./store-documents.ts";
import { endingContract } from "./store-endings.ts";
import { eventContract } from "./store-events.ts";
import { listingContract } from "./store-listings.ts";
import { ownerContract } from "./store-owners.ts";
import { payloadContract } from "./store-payloads.ts";
import { revisionContract } from "./store-revisions.ts";
import { sharingContract } from "./store-sharing.ts";
import { waitingContract } from "./store-waiting.ts";

/** A store of its own for one test. */
export interface StoreHarness extends AsyncDisposable {
  readonly store: Store;
  /** Closes the store and opens what it left behind. */
  reopen(): Promise<Store>;
}

export interface StoreDriver {
  readonly name: string;
  /** Whether anything is left to open again. */
  readonly durable: boolean;
  /** How many deliveries are very many: a hundred thousand unless it is said otherwise, where each takes longer to make. */
  readonly veryMany?: number;
  start(): Promise<StoreHarness>;
}

/** What the tests of one driver share: the store of the test that runs. */
export interface Subject {
  readonly durable: boolean;
  readonly veryMany: number;
  readonly store: Store;
  reopen(): Promise<Store>;
  /** As `reopen` where there is anything to open again, and the same store otherwise. */
  reopenIfDurable(): Promise<Store>;
}

/** The conformance suite of the store port: every driver runs it against the real thing. */
export function storeContract(driver: StoreDriver): void {
  describe(`store ${driver.name}`, () => {
    let harness: StoreHarness | undefined;
    let store: Store | undefined;
    beforeEach(async () => {
      harness = await driver.start();
      store = harness.store;
    });
    afterEach(async () => {
      await harness?.[Symbol.asyncDispose]();
      harness = undefined;
      store = undefined;
    });
    const subject: Subject = {
      durable: driver.durable,
      veryMany: driver.veryMany ?? 100_000,
      get store() {
        if (store === undefined) throw new Error("no test runs");
        return store;
      },
      async reopen() {
        if (harness === undefined) throw new Error("no test runs");
        store = await harness.reopen();
        return store;
      },
      reopenIfDurable: () => (driver.durable ? subject.reopen() : Promise.resolve(subject.store)),
    };
    eventContract(subject);
    deliveryContract(subject);
    endingContract(subject);
    waitingContract(subject);
    revisionContract(subject);
    payloadContract(subject);
    listingContract(subject);
    agentContract(subject);
    ownerContract(subject);
    sharingContract(subject);
    documentContract(subject);
  });
}
