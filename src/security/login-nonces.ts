import { createHmac, randomBytes } from "node:crypto";
import type { Ports } from "../kit/mod.ts";
import { DOCUMENT_KINDS, type Documents } from "./documents.ts";
import { sameDigest, sha256Hex } from "./token-format.ts";

/** So long a challenge may be answered. */
const NONCE_MS = 60_000;
/** Control planes' clocks differ. */
const SKEW_MS = 10_000;
const RANDOM_BYTES = 24;
const NONCE = /^([0-9a-z]{1,12})\.([A-Za-z0-9_-]{32})\.([0-9a-f]{64})$/;

/**
 * Challenges that every control plane of an installation knows without anybody writing them down: they carry their time and a MAC. Only
 * that one was answered is written down, by whoever let somebody in for it.
 */
export class LoginNonces {
  readonly #documents: Documents;
  readonly #ports: Ports;
  readonly #tenant: string;
  /** Hex. */
  readonly #key: string;

  constructor(of: { readonly documents: Documents; readonly ports: Ports; readonly tenant: string; readonly key: string }) {
    this.#documents = of.documents;
    this.#ports = of.ports;
    this.#tenant = of.tenant;
    this.#key = of.key;
  }

  make(): { readonly nonce: string; readonly expiresAtMs: number } {
    const nowMs = this.#ports.clock.now();
    const body = `${nowMs.toString(36)}.${randomBytes(RANDOM_BYTES).toString("base64url")}`;
    return { nonce: `${body}.${this.#mac(body)}`, expiresAtMs: nowMs + NONCE_MS };
  }

  /** What is wrong with it; undefined for one that was made here or by another control plane within the last minute. */
  problem(nonce: string): "unknown challenge" | "late answer" | undefined {
    const match = NONCE.exec(nonce);
    if (match === null) return "unknown challenge";
    const [, time = "", random = "", mac = ""] = match;
    if (!sameDigest(mac, this.#mac(`${time}.${random}`))) return "unknown challenge";
    const ageMs = this.#ports.clock.now() - Number.parseInt(time, 36);
    return ageMs > NONCE_MS || ageMs < -SKEW_MS ? "late answer" : undefined;
  }

  /** True for the first that uses it, of all control planes. */
  async use(nonce: string): Promise<boolean> {
    const outcome = await this.#documents.writeDocument({
      tenant: this.#tenant,
      kind: DOCUMENT_KINDS.loginNonce,
      id: sha256Hex(nonce),
      expect: 0,
      value: "{}",
      // Well past the time that it counts, whatever the clocks say.
      expiresAtMs: this.#ports.clock.now() + 10 * NONCE_MS,
    });
    return outcome.kind === "written";
  }

  #mac(body: string): string {
    return createHmac("sha256", Buffer.from(this.#key, "hex")).update(`transporter login nonce 1 ${body}`).digest("hex");
  }
}
