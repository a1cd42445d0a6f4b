import { createPrivateKey, createPublicKey } from "node:crypto";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { systemPorts } from "../../src/kit/mod.ts";
import { initTrust, makeKey, readCertificates } from "../../src/security/mod.ts";
import { issueAgent, type Issuer } from "../../src/security/pki/issue.ts";

/** What one of many agents shows. PEM. */
export interface FleetIdentity {
  readonly agentId: string;
  readonly key: string;
  readonly certificate: string;
}

/** What a process that is many agents needs to know. */
export interface FleetFile {
  readonly ca: string;
  readonly identities: readonly FleetIdentity[];
}

export interface Fleet {
  /** For `--security-dir`. Without the CA's key: the certificates are then taken as those of a CA elsewhere, and need no enrolment each. */
  readonly directory: string;
  readonly adminToken: string;
  readonly ca: string;
  readonly identities: readonly FleetIdentity[];
  /** A FleetFile as JSON; what is in it may be taken in parts by `from` and `count` of whoever reads it. */
  readonly path: string;
}

/** A security directory and certificates for so many agents: by the room's own issuing, without asking a control plane for each. */
export async function makeFleet(directory: string, count: number, prefix = "agent"): Promise<Fleet> {
  const made = await initTrust(directory, { ports: systemPorts, names: ["127.0.0.1", "localhost"] });
  const ca = await Bun.file(join(directory, "ca.crt")).text();
  const keyPath = join(directory, "ca.key");
  const [certificate] = readCertificates(ca, 1) ?? [];
  if (certificate === undefined) throw new Error("the CA cannot be read");
  const by: Issuer = { certificate, key: createPrivateKey(await Bun.file(keyPath).text()), chain: [] };
  const nowMs = Date.now();
  const identities: FleetIdentity[] = [];
  for (let at = 0; at < count; at += 1) {
    const key = makeKey();
    const agentId = `${prefix}-${at}`;
    const issued = await issueAgent(by, { publicKey: createPublicKey(createPrivateKey(key)), agentId, nowMs, ttlMs: 86_400_000 });
    identities.push({ agentId, key, certificate: issued.pem });
  }
  await rename(keyPath, join(directory, "..", "ca.key.apart"));
  const path = join(directory, "..", "fleet.json");
  await Bun.write(path, JSON.stringify({ ca, identities } satisfies FleetFile));
  return { directory, adminToken: made.adminToken, ca, identities, path };
}
