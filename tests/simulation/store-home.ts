import type { Logger, Ports } from "../../src/kit/mod.ts";
import type { Store } from "../../src/stores/mod.ts";
import { openSqliteStore } from "../../src/stores/drivers/sqlite/store.ts";
import { surround, type Around } from "./around.ts";
import type { Disk } from "./disk.ts";
import type { Life } from "./world.ts";

/** Where a control plane gets its store from. */
export interface StoreHome {
  open(name: string, life: Life, ports: Ports): Store;
  /** This run of the control plane is over, whatever it was doing. */
  left(life: Life): void;
  /** Without anything around it, for looking at; undefined while nobody has it open. */
  readonly looked: { readonly store: Store; readonly life: Life } | undefined;
}

/** A store that lies in the process of its only control plane. */
export class OwnStore implements StoreHome {
  readonly #disk: Disk;
  readonly #log: Logger;
  readonly #around: readonly Around[];
  #looked: { readonly store: Store; readonly life: Life } | undefined;

  /** `around` is around the store, the innermost first. */
  constructor(disk: Disk, log: Logger, around: readonly Around[]) {
    this.#disk = disk;
    this.#log = log;
    this.#around = around;
  }

  get looked(): { readonly store: Store; readonly life: Life } | undefined {
    return this.#looked;
  }

  open(_name: string, life: Life, { clock, timers }: Ports): Store {
    let store = openSqliteStore({ path: ":memory:", database: this.#disk.open(), clock, timers, log: this.#log });
    this.#looked = { store, life };
    for (const around of this.#around) store = surround(store, around);
    return store;
  }

  left(): void {
    this.#looked = undefined;
    this.#disk.crash();
  }
}
