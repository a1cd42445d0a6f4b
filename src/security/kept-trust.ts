import { join } from "node:path";
import * as v from "valibot";
import { type Logger, type Ports, type TimerHandle, messageOf, toTransporterError } from "../kit/mod.ts";
import type { TrustService } from "./gate.ts";
import { checkServerNames } from "./init-trust.ts";
import { type KeptEntries, readIfThere } from "./pki/trust-files.ts";
import { makeDirectory, replaceFile } from "./pki/write-files.ts";
import { ADMIN_TOKEN_ENTRY, type TrustVault, type VaultContent, withCa, ownEntries, readyVault } from "./trust-vault.ts";

type Finding = ReturnType<TrustService["findings"]>[number];

/** What is known of a vault, in memory: whoever reads it has one state of all entries. */
export interface KeptTrust extends KeptEntries {
  /** Writes over that version. False: somebody else was quicker, and `content` is theirs now. Throws what keeps it from being written. */
  write(entries: Readonly<Record<string, string>>, version: string): Promise<boolean>;
  /** Looks at the vault now. What keeps it from being read is told by `finding`. */
  refresh(): Promise<void>;
  /** What is wrong with the vault itself. */
  finding(): Finding | undefined;
  /** Begins to look at it now and then. */
  start(): void;
  stop(): void;
}

export interface KeepTrustOptions {
  readonly vault: TrustVault;
  readonly ports: Ports;
  readonly log: Logger;
  /** Of the server's certificate, where it is made; beside those of the machine itself. */
  readonly names: readonly string[];
  /** Whether there is an installation already, so that an empty vault is one that lost its CA. */
  readonly begun?: () => Promise<boolean>;
  /** Where a copy is kept for starts while the vault cannot be reached. */
  readonly copyDirectory?: string | undefined;
}

/** What a control plane is called by whoever is on the same machine. */
export const LOCAL_NAMES = ["localhost", "127.0.0.1", "::1"] as const;

/** Many control planes must not look at once. */
const LOOK_MS = 15_000;
const COPY = "secret-copy.json";
const COPIED = v.object({ location: v.string(), entries: v.record(v.string(), v.string()), version: v.string() });

/** Reads the vault, and fills it where it is empty. Throws CONFIG_INVALID and what the vault throws. */
export async function keepTrust(options: KeepTrustOptions): Promise<KeptTrust> {
  const { vault, ports, log, names, copyDirectory, begun } = options;
  checkServerNames(names);
  const copy = copyDirectory === undefined ? undefined : new Copy(copyDirectory, vault.location, log);
  try {
    const { content, made } = await readyVault(vault, { ports, names: [...names, ...LOCAL_NAMES], begun });
    if (made !== undefined)
      log.info("A CA, a server certificate and the first admin token were made; the token is in the entry that is named", {
        kept_in: vault.location,
        ca_hash: made.pin,
        entry: ADMIN_TOKEN_ENTRY,
      });
    await copy?.put(ownEntries(content));
    return new Kept(options, ownEntries(content), copy);
  } catch (error) {
    // Where it may not be read, or holds something else, what was there before counts no more.
    const before = toTransporterError(error).code === "KUBE_UNAVAILABLE" ? await copy?.get() : undefined;
    if (before === undefined) throw error;
    return new Kept(options, before, copy, messageOf(error));
  }
}

/** What is there, only to be looked at; undefined where there is no CA. Throws what the vault throws. */
export async function seeTrust(vault: TrustVault, of: { readonly ports: Ports; readonly log: Logger }): Promise<KeptTrust | undefined> {
  const content = withCa(await vault.read());
  return content === undefined ? undefined : new Kept({ ...of, vault }, ownEntries(content), undefined);
}

class Kept implements KeptTrust {
  readonly location: string;
  readonly #vault: TrustVault;
  readonly #ports: Ports;
  readonly #log: Logger;
  readonly #copy: Copy | undefined;
  #content: VaultContent;
  #finding: Finding | undefined;
  #timer: TimerHandle | undefined;
  /** What is read may be older than what was written meanwhile: one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    of: { readonly vault: TrustVault; readonly ports: Ports; readonly log: Logger },
    content: VaultContent,
    copy: Copy | undefined,
    unreachable?: string,
  ) {
    this.location = of.vault.location;
    this.#vault = of.vault;
    this.#ports = of.ports;
    this.#log = of.log;
    this.#content = content;
    this.#copy = copy;
    if (unreachable !== undefined) this.#tell("warning", unreachable);
  }

  content(): VaultContent {
    return this.#content;
  }

  write(entries: Readonly<Record<string, string>>, version: string): Promise<boolean> {
    return this.#inTurn(async () => {
      const written = await this.#vault.write(entries, version);
      if (written === undefined) {
        await this.#read();
        return false;
      }
      await this.#take(written);
      return true;
    });
  }

  refresh(): Promise<void> {
    return this.#inTurn(() => this.#read());
  }

  finding(): Finding | undefined {
    return this.#finding;
  }

  start(): void {
    const waitMs = LOOK_MS * (1 + this.#ports.random.float());
    this.#timer ??= this.#ports.timers.after(
      waitMs,
      () =>
        void this.refresh().finally(() => {
          if (this.#timer === undefined) return;
          this.#timer = undefined;
          this.start();
        }),
      { background: true },
    );
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  async #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(run);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #read(): Promise<void> {
    try {
      const found = withCa(await this.#vault.read());
      // An installation does not end while it runs because somebody emptied this.
      if (found !== undefined) await this.#take(found);
      else
        this.#tell("error", `${this.location} holds no CA any more: put it back from a backup before the control plane is started again`);
    } catch (error) {
      this.#tell("warning", messageOf(error));
    }
  }

  async #take(found: VaultContent): Promise<void> {
    const content = ownEntries(found);
    if (content.version !== this.#content.version) await this.#copy?.put(content);
    this.#content = content;
    if (this.#finding === undefined) return;
    this.#finding = undefined;
    this.#log.info("The installation's files can be read again", { kept_in: this.location });
  }

  #tell(level: "warning" | "error", reason: string): void {
    const isNew = this.#finding?.level !== level;
    this.#finding = { level, name: "secret", message: `${reason}; what was read before is used on` };
    if (isNew)
      this.#log[level === "error" ? "error" : "warn"]("The installation's files cannot be read", { kept_in: this.location, reason });
  }
}

/** One file, so that it is of one state or not there; for its owner alone. */
class Copy {
  readonly #directory: string;
  readonly #location: string;
  readonly #log: Logger;

  constructor(directory: string, location: string, log: Logger) {
    this.#directory = directory;
    this.#location = location;
    this.#log = log;
  }

  /** It is only a help: where it cannot be written everything else goes on. */
  async put({ entries, version }: VaultContent): Promise<void> {
    try {
      await makeDirectory(this.#directory);
      await replaceFile(join(this.#directory, COPY), JSON.stringify({ location: this.#location, entries, version }));
    } catch (error) {
      this.#log.warn("The copy of the installation's files cannot be written", { reason: messageOf(error) });
    }
  }

  /** Undefined unless it is of this very vault. */
  async get(): Promise<VaultContent | undefined> {
    try {
      const found = await readIfThere(join(this.#directory, COPY));
      if (found === undefined) return undefined;
      const copy = v.parse(COPIED, JSON.parse(found.text));
      return copy.location === this.#location ? ownEntries(copy) : undefined;
    } catch (error) {
      this.#log.warn("The copy of the installation's files cannot be read", { reason: messageOf(error) });
      return undefined;
    }
  }
}
