import { X509Certificate, createHash } from "node:crypto";
import { type Client, type Fetch, createClient } from "../client/mod.ts";
import { type Ports, TransporterError } from "../kit/mod.ts";
import { fetchTrusting, fetchUnchecked } from "./trusting.ts";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The pins of the certificates in a text, in order; what is no certificate is left out. */
export function pinsOf(pem: string): readonly { readonly pin: string; readonly pem: string }[] {
  return [...pem.matchAll(CERTIFICATE)].flatMap(([text]) => {
    try {
      const key = new X509Certificate(text).publicKey.export({ type: "spki", format: "der" });
      return [{ pin: `sha256:${createHash("sha256").update(key).digest("hex")}`, pem: text }];
    } catch {
      return [];
    }
  });
}

type Ask = { readonly url: string; readonly ports: Pick<Ports, "timers" | "random">; readonly signal: AbortSignal };

/**
 * What to trust of a control plane of which only the hash of its CA is known. Its bundle is asked for without checking anybody, and of it
 * only the certificate that has the hash counts; with that, the bundle is asked for again. Nothing secret is sent before. CA_MISMATCH.
 */
export async function pinnedBundle(hash: string, { url, ports, signal }: Ask): Promise<string> {
  const asking = (by: Fetch): Client => createClient({ baseUrl: url, timers: ports.timers, random: ports.random, fetch: by });
  const told = await asking(fetchUnchecked).ca({ signal });
  const pinned = pinsOf(told.trust_bundle).filter(({ pin }) => pin === hash.toLowerCase());
  const [first] = pinned;
  if (first === undefined)
    throw new TransporterError("CA_MISMATCH", `${url} has another CA than the one with the hash ${hash.toLowerCase()}`);
  const { trust_bundle } = await asking(fetchTrusting(first.pem)).ca({ signal });
  return trust_bundle;
}
