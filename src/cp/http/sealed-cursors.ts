import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { TransporterError } from "../../kit/mod.ts";
import { DEFAULT_TENANT } from "../../security/mod.ts";
import type { Store } from "../../stores/mod.ts";

const KEY = { tenant: DEFAULT_TENANT, kind: "seal", id: "cursors" };
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CIPHER = "aes-256-gcm";

/**
 * Cursors of listings by name, for whoever may not see every name: where a page ends may be at one that they do not see. Sealed with a key
 * that all control planes of the store have, as the next page may be asked of another.
 */
export class SealedCursors {
  readonly #store: Pick<Store, "getDocument" | "writeDocument">;
  #key: Promise<Buffer> | undefined;

  constructor(store: Pick<Store, "getDocument" | "writeDocument">) {
    this.#store = store;
  }

  async seal(cursor: string): Promise<string> {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, await this.#keyOf(), nonce);
    const sealed = Buffer.concat([nonce, cipher.update(cursor, "utf8"), cipher.final(), cipher.getAuthTag()]);
    return sealed.toString("base64url");
  }

  /** Throws INVALID_CURSOR for what was not sealed here. */
  async open(sealed: string): Promise<string> {
    const bytes = Buffer.from(sealed, "base64url");
    if (bytes.length <= NONCE_BYTES + TAG_BYTES || bytes.length > 4096) throw invalid();
    const decipher = createDecipheriv(CIPHER, await this.#keyOf(), bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
    decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
    try {
      const text = decipher.update(bytes.subarray(NONCE_BYTES, bytes.length - TAG_BYTES));
      return Buffer.concat([text, decipher.final()]).toString();
    } catch (error) {
      throw invalid(error);
    }
  }

  #keyOf(): Promise<Buffer> {
    if (this.#key === undefined) {
      const key = this.#find();
      this.#key = key;
      // A store that is away is asked again.
      key.catch(() => (this.#key = undefined));
    }
    return this.#key;
  }

  async #find(): Promise<Buffer> {
    const known = await this.#store.getDocument(KEY);
    if (known !== undefined) return Buffer.from(known.value, "base64");
    const key = randomBytes(KEY_BYTES);
    const outcome = await this.#store.writeDocument({ ...KEY, expect: 0, value: key.toString("base64"), expiresAtMs: undefined });
    if (outcome.kind === "written") return key;
    if (outcome.current === undefined) throw new TransporterError("STORE_UNAVAILABLE", "the key of cursors could not be kept");
    return Buffer.from(outcome.current.value, "base64");
  }
}

function invalid(cause?: unknown): TransporterError {
  return new TransporterError("INVALID_CURSOR", "the cursor does not belong to this listing", { cause });
}
