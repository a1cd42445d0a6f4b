import { TransporterError } from "../../kit/mod.ts";
import type { FoundFile } from "./trust-files.ts";

/** A token that was made before there was a store to keep it in. Only its digest is here. */
export interface TokenHash {
  readonly id: string;
  /** Hex SHA-256 of the whole token. */
  readonly sha256: string;
}

export interface EnrolmentTokenHash extends TokenHash {
  readonly expiresAtMs: number;
  /** The id that the agent must have. */
  readonly agent: string;
}

const LINE = /^([0-9A-Za-z]{12}):([0-9a-f]{64})$/;
const ENROLMENT_LINE = /^([0-9A-Za-z]{12}):([0-9a-f]{64}):(\d{1,15}):(\S+)$/;

function lines<T>(file: FoundFile | undefined, read: (line: string) => T | undefined): readonly T[] {
  if (file === undefined) return [];
  const found: T[] = [];
  for (const [index, line] of file.text.split("\n").entries()) {
    const text = line.trim();
    if (text === "" || text.startsWith("#")) continue;
    const value = read(text);
    // The line itself is not told: somebody may have put a token there.
    if (value === undefined) throw new TransporterError("CONFIG_INVALID", `line ${index + 1} of ${file.path} is not the hash of a token`);
    found.push(value);
  }
  return found;
}

/** Lines of `id:sha256`. Throws CONFIG_INVALID. */
export function readAdminTokens(file: FoundFile | undefined): readonly TokenHash[] {
  return lines(file, (line) => {
    const [, id, sha256 = ""] = LINE.exec(line) ?? [];
    return id === undefined ? undefined : { id, sha256 };
  });
}

/** Lines of `id:sha256:expires_at_ms:agent`, the agent's id as in a URI. Throws CONFIG_INVALID. */
export function readEnrolmentTokens(file: FoundFile | undefined): readonly EnrolmentTokenHash[] {
  return lines(file, (line) => {
    const [, id, sha256 = "", expires, agent = ""] = ENROLMENT_LINE.exec(line) ?? [];
    if (id === undefined) return undefined;
    try {
      return { id, sha256, expiresAtMs: Number(expires), agent: decodeURIComponent(agent) };
    } catch {
      return undefined;
    }
  });
}

export function adminTokenLine(of: TokenHash): string {
  return `${of.id}:${of.sha256}\n`;
}

export function enrolmentTokenLine(of: EnrolmentTokenHash): string {
  return `${of.id}:${of.sha256}:${of.expiresAtMs}:${encodeURIComponent(of.agent)}\n`;
}
