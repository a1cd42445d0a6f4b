import { join } from "node:path";
import { type Logger, type Ports, type TimerHandle, TransporterError, messageOf, toTransporterError } from "../kit/mod.ts";
import type { TlsMaterial, TrustService } from "./gate.ts";
import { checkServerNames } from "./init-trust.ts";
import { type Certificate, readCertificates } from "./pki/certificate.ts";
import { findingsOf } from "./pki/findings.ts";
import type { EnrolmentTokenHash, TokenHash } from "./pki/token-hashes.ts";
import { renewedServer } from "./pki/renew-server.ts";
import { FILES, type FoundFiles, findFiles, keptPath } from "./pki/trust-files.ts";
import { type TrustState, readTrust, staleness } from "./pki/trust-state.ts";
import { replaceFile } from "./pki/write-files.ts";
import type { TrustFiles } from "./security.ts";
import { inRounds } from "./trust-vault.ts";

/** The files that say whom to trust, watched. */
export interface Trust extends TrustService {
  /** What they say now. */
  state(): TrustState;
  /** Of administrators, made by `initTrust`: to be taken into the store unless they are there, revoked or not. */
  adminTokens(): readonly TokenHash[];
  /** Of agents, made by `initTrust`: likewise. */
  enrolmentTokens(): readonly EnrolmentTokenHash[];
  /** Who is trusted for people's and programs' certificates; empty where there are none. */
  clientCas(): readonly Certificate[];
  /** Gives the server's certificate the names that it lacks, before anybody sees it; where it cannot, that is a finding. Throws as `createTrust`. */
  named(): Promise<void>;
  /** Begins to look at the files every two seconds. */
  start(): void;
  stop(): void;
  /** Resolves when a look that has begun is over. */
  settled(): Promise<void>;
}

const WATCH_MS = 2_000;
/** After a certificate that was written, or could not be, or that somebody else wrote. */
const RENEW_AGAIN_MS = 3_600_000;

export interface TrustParts {
  readonly files: TrustFiles;
  readonly ports: Ports;
  readonly log: Logger;
  /** What the server's certificate must name. */
  readonly names?: readonly string[];
}

/** Reads the files. Throws CONFIG_INVALID, FILE_UNREADABLE. */
export async function createTrust(of: TrustParts): Promise<Trust> {
  checkServerNames(of.names ?? []);
  const first = await findFiles(of.files);
  return new WatchedTrust(of, first, readTrust(first));
}

class WatchedTrust implements Trust {
  readonly #files: TrustFiles;
  readonly #ports: Ports;
  readonly #log: Logger;
  readonly #names: readonly string[];
  readonly #listeners = new Set<() => void>();
  #found: FoundFiles;
  #state: TrustState;
  /** Of what was not good, and whether that was told. */
  #bad: { readonly digest: string; told: boolean } | undefined;
  #looking: Promise<void> | undefined;
  #renewAfterMs = 0;
  #timer: TimerHandle | undefined;

  constructor(of: TrustParts, found: FoundFiles, state: TrustState) {
    this.#files = of.files;
    this.#ports = of.ports;
    this.#log = of.log;
    this.#names = of.names ?? [];
    this.#found = found;
    this.#state = state;
  }

  state(): TrustState {
    return this.#state;
  }

  bundle(): { readonly pem: string; readonly pins: readonly string[] } {
    return this.#state.bundle;
  }

  tls(): TlsMaterial {
    const { tls } = this.#state;
    if (tls !== undefined) return tls;
    throw new TransporterError("CONFIG_INVALID", "there is no server certificate with its key", {
      remedy:
        "Put `server.crt` and `server.key` back from the backup of the directory, or give --tls-cert-file and --tls-key-file; where there is no CA yet, `transporter cp init` makes all of it.",
    });
  }

  adminTokens(): readonly TokenHash[] {
    return this.#state.adminTokens;
  }

  enrolmentTokens(): readonly EnrolmentTokenHash[] {
    return this.#state.enrolmentTokens;
  }

  clientCas(): readonly Certificate[] {
    return this.#state.clientCas;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  findings(): ReturnType<TrustService["findings"]> {
    const found = findingsOf(this.#state, this.#found, {
      nowMs: this.#ports.clock.now(),
      leftAsTheyWere: this.#bad !== undefined,
      names: this.#names,
    });
    const ofPlace = this.#files.kept?.finding();
    return ofPlace === undefined ? found : [...found, ofPlace];
  }

  start(): void {
    for (const { level, name, message } of this.findings()) {
      if (level === "error") this.#log.error("trust is not as it should be", { part: name, finding: message });
      if (level === "warning") this.#log.warn("trust is not as it should be", { part: name, finding: message });
    }
    this.#files.kept?.start();
    this.#timer ??= this.#ports.timers.every(WATCH_MS, () => void this.#look(false), { background: true });
  }

  stop(): void {
    this.#files.kept?.stop();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  async settled(): Promise<void> {
    await this.#looking;
  }

  async reload(): Promise<void> {
    // One that has begun may have read before whoever asks wrote.
    await this.#looking;
    await this.#files.kept?.refresh();
    await this.#look(true);
  }

  async #look(asked: boolean): Promise<void> {
    this.#looking ??= this.#readAgain(asked).finally(() => {
      this.#looking = undefined;
    });
    await this.#looking;
  }

  async #readAgain(asked: boolean): Promise<void> {
    let digest = "unreadable";
    await this.#renewServer();
    try {
      const found = await findFiles(this.#files);
      digest = found.digest;
      if (digest === this.#found.digest) {
        this.#found = found;
        this.#bad = undefined;
        return;
      }
      const state = readTrust(found);
      const stale = staleness(state, this.#ports.clock.now());
      if (stale !== undefined) throw new TransporterError("CONFIG_INVALID", stale);
      this.#found = found;
      this.#state = state;
      this.#bad = undefined;
      this.#log.info("certificates were read anew", { cas: state.cas.length, revoked: state.revocations.size });
      for (const listener of this.#listeners) listener();
    } catch (error) {
      this.#leave(digest, asked, toTransporterError(error));
    }
  }

  async named(): Promise<void> {
    // As often as somebody else is quicker, who may have other names.
    await inRounds(async () => {
      this.#renewAfterMs = 0;
      if ((await this.#renewServer()) === "left") return true;
      this.#found = await findFiles(this.#files);
      this.#state = readTrust(this.#found);
      return undefined;
    });
  }

  /** A certificate that was made by `initTrust` is made anew in time: nobody has to remember it. */
  async #renewServer(): Promise<"left" | "written" | "changed"> {
    const nowMs = this.#ports.clock.now();
    if (nowMs < this.#renewAfterMs) return "left";
    const write = this.#serverWriter();
    if (write === undefined) return "left";
    const text = await renewedServer(this.#state, nowMs, this.#names);
    if (text === undefined) return "left";
    try {
      // Not at each look, where what is there is not good, and so not used.
      this.#renewAfterMs = nowMs + RENEW_AGAIN_MS;
      // Somebody else has written meanwhile: perhaps this very certificate.
      if (!(await write(text))) return "changed";
      this.#log.info("the server's certificate was renewed", { names: readCertificates(text)?.[0]?.names ?? [] });
      return "written";
    } catch (error) {
      this.#log.warn("the server's certificate could not be renewed", { reason: messageOf(error) });
      return "left";
    }
  }

  /** Puts another certificate in the place of the server's; undefined where that is somebody else's to do. */
  #serverWriter(): ((text: string) => Promise<boolean>) | undefined {
    const { directory, kept } = this.#files;
    const { files, version } = this.#found;
    if (kept !== undefined) {
      if (files.cert?.path !== keptPath(FILES.cert, kept.location)) return undefined;
      // Over what this certificate was judged by: it may belong to another CA by now.
      return (text) => kept.write({ [FILES.cert]: text }, version ?? "");
    }
    if (directory === undefined) return undefined;
    const path = join(directory, FILES.cert);
    if (files.cert?.path !== path) return undefined;
    return async (text) => {
      await replaceFile(path, text);
      return true;
    };
  }

  /** Whoever copies files by hand is between two of them now and then: only what is still so at the next look is told. */
  #leave(digest: string, asked: boolean, error: TransporterError): void {
    const before = this.#bad?.digest === digest ? this.#bad : undefined;
    this.#bad = { digest, told: before?.told ?? false };
    if (this.#bad.told || (before === undefined && !asked)) return;
    this.#bad.told = true;
    this.#log.error("certificates are left as they were: the files are not good", { reason: error.message });
  }
}
