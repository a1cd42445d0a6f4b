import { TransporterError } from "../kit/mod.ts";
import type { TrustVault, VaultContent } from "./trust-vault.ts";

export interface MemoryVault extends TrustVault {
  /** What is in it; undefined: there is none. */
  entries: Record<string, string> | undefined;
  readonly version: () => string;
  readonly reads: () => number;
  readonly writes: () => number;
  /** Thrown by whoever asks. */
  fault: TransporterError | undefined;
  /** Thrown by whoever writes. */
  writeFault: TransporterError | undefined;
  /** Held by whoever reads. */
  hold: Promise<void> | undefined;
  /** Runs before the next write is judged: somebody else is quicker. */
  between: (() => void) | undefined;
  /** As somebody else does. */
  put(changes: Readonly<Record<string, string | null>>): void;
}

export const UNREACHABLE = new TransporterError("KUBE_UNAVAILABLE", "nobody answers");

/** A vault in memory that judges versions as an API server does. */
export function memoryVault(entries?: Record<string, string>): MemoryVault {
  let version = 1;
  let reads = 0;
  let writes = 0;
  const content = (): VaultContent | undefined =>
    vault.entries === undefined ? undefined : { entries: { ...vault.entries }, version: String(version) };
  const vault: MemoryVault = {
    location: "Secret ns/trust",
    entries,
    fault: undefined,
    writeFault: undefined,
    hold: undefined,
    between: undefined,
    version: () => String(version),
    reads: () => reads,
    writes: () => writes,
    put(changes) {
      const next = { ...vault.entries };
      for (const [name, text] of Object.entries(changes)) {
        if (text === null) delete next[name];
        else next[name] = text;
      }
      vault.entries = next;
      version += 1;
    },
    async read() {
      reads += 1;
      await vault.hold;
      if (vault.fault !== undefined) throw vault.fault;
      return content();
    },
    async write(changes, expect) {
      const { between } = vault;
      vault.between = undefined;
      between?.();
      await Promise.resolve();
      writes += 1;
      const fault = vault.fault ?? vault.writeFault;
      if (fault !== undefined) throw fault;
      if (expect !== content()?.version) return undefined;
      vault.put(changes);
      return content();
    },
  };
  return vault;
}
