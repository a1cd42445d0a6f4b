import { TransporterError } from "../kit/mod.ts";
import { type InitTrustOptions, type MadeTrust, OWN_FILES, makeTrust } from "./init-trust.ts";
import { FILES, SECRET_CERT, SECRET_KEY, keptPath } from "./pki/trust-files.ts";

/** What a vault holds, and which version of it that is. */
export interface VaultContent {
  readonly entries: Readonly<Record<string, string>>;
  readonly version: string;
}

/** Where the files of an installation lie that has no directory of its own: all entries are read at once, and written at once or not at all. */
export interface TrustVault {
  /** For people. */
  readonly location: string;
  /** Undefined where there is none. Throws what keeps it from being read; KUBE_UNAVAILABLE where later may be better. */
  read(): Promise<VaultContent | undefined>;
  /**
   * Writes these entries and leaves the others; null removes one. `expect`: the version that it must still have; undefined: there is none, and it is
   * made. Undefined where somebody else was quicker: then nothing was written. Throws what keeps it from being written.
   */
  write(entries: Readonly<Record<string, string | null>>, expect: string | undefined): Promise<VaultContent | undefined>;
}

/** The first admin token in the clear. Whoever has it removes the entry, and it is never made again. */
export const ADMIN_TOKEN_ENTRY = "admin-token";
/** `sha256:…` of the CA that issues, for join lines and `login`. */
export const CA_HASH_ENTRY = "ca-hash";

/** Any of them without a CA is what is left of an installation. */
const SIGNS: readonly string[] = [...OWN_FILES.map((name) => FILES[name]), SECRET_CERT, SECRET_KEY, ADMIN_TOKEN_ENTRY, CA_HASH_ENTRY];
const KNOWN: readonly string[] = [...Object.values(FILES), SECRET_CERT, SECRET_KEY, CA_HASH_ENTRY];

/** Blank is what people make who want it filled. */
function isFilled(content: VaultContent | undefined, entry: string): boolean {
  return (content?.entries[entry] ?? "").trim() !== "";
}

/** What was read, unless there is no CA in it. */
export function withCa(content: VaultContent | undefined): VaultContent | undefined {
  return isFilled(content, FILES.ca) ? content : undefined;
}

/** Without what a control plane has no use for: the admin token in the clear is for people. */
export function ownEntries({ entries, version }: VaultContent): VaultContent {
  return { entries: Object.fromEntries(Object.entries(entries).filter(([name]) => KNOWN.includes(name))), version };
}

/** The first entry that tells of an installation; undefined where there is none, so that one may be begun. */
export function signOf(content: VaultContent | undefined): string | undefined {
  return SIGNS.find((entry) => isFilled(content, entry));
}

function entriesOf(made: MadeTrust): Record<string, string> {
  return { ...Object.fromEntries(made.files.map(([name, text]) => [FILES[name], text])), [CA_HASH_ENTRY]: made.pin };
}

/** How often somebody else may be quicker: more are not starting at once, but something writes there all the time. */
const ROUNDS = 20;

/** Throws KUBE_UNAVAILABLE where somebody else is quicker each time. */
export async function inRounds<T>(round: () => Promise<T | undefined>): Promise<T> {
  for (let count = 0; count < ROUNDS; count += 1) {
    const result = await round();
    if (result !== undefined) return result;
  }
  throw new TransporterError("KUBE_UNAVAILABLE", "the installation's files are changed by somebody else all the time", {
    remedy: "See what writes to the Secret, and leave it to Transporter.",
  });
}

export interface ReadyVault {
  readonly content: VaultContent;
  /** Undefined where somebody else has made it. */
  readonly made: MadeTrust | undefined;
}

export interface ReadyVaultOptions extends InitTrustOptions {
  /** Whether there is an installation already, so that an empty vault is one that lost its CA. */
  readonly begun?: (() => Promise<boolean>) | undefined;
}

/**
 * What is in the vault; where it is empty a CA, a server certificate and the first admin token are made, the token in an entry of its own. Of several
 * who begin at once one makes them, and the others read those. Throws CONFIG_INVALID where the CA is gone from what is there,
 * or from an installation that has begun: a new one would lock out all agents.
 */
export function readyVault(vault: TrustVault, { begun, ...options }: ReadyVaultOptions): Promise<ReadyVault> {
  let made: MadeTrust | undefined;
  let asked = false;
  return inRounds(async () => {
    const found = await vault.read();
    const whole = withCa(found);
    if (whole !== undefined) return { content: whole, made: undefined };
    const sign = signOf(found);
    if (sign !== undefined)
      throw new TransporterError("CONFIG_INVALID", `there is ${keptPath(sign, vault.location)}, and no ${FILES.ca} beside it`, {
        remedy: "Put the CA back from a backup. To begin anew, with all agents enrolled again, remove every entry.",
      });
    if (!asked) {
      asked = true;
      // What was read may be older than the answer: whoever begins fills the vault first.
      if (await begun?.()) return undefined;
    } else if (made === undefined)
      throw new TransporterError(
        "CONFIG_INVALID",
        `${vault.location} is empty, and the store is of an installation that has begun: a new CA would lock out all its agents`,
        {
          remedy:
            "Put the CA back from a backup of the Secret. Where it is lost, or another CA is meant, `transporter cp init --security-secret` makes a new one; all agents are enrolled again then.",
        },
      );
    made ??= await makeTrust(options);
    const content = await vault.write({ ...entriesOf(made), [ADMIN_TOKEN_ENTRY]: made.adminToken }, found?.version);
    return content === undefined ? undefined : { content, made };
  });
}

/** As `initTrust`, in a vault: the admin token is only answered. Throws ALREADY_INITIALISED. */
export async function initVault(vault: TrustVault, options: InitTrustOptions): Promise<MadeTrust> {
  const made = await makeTrust(options);
  const found = await vault.read();
  const sign = signOf(found);
  if (sign !== undefined) throw new TransporterError("ALREADY_INITIALISED", `${keptPath(sign, vault.location)} is there already`);
  if ((await vault.write(entriesOf(made), found?.version)) === undefined)
    throw new TransporterError("ALREADY_INITIALISED", `${vault.location} has just been written by somebody else`);
  return made;
}
