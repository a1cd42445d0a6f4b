/**
 * Many agents with identities in one process: `bun secure-agents.ts '{"wsUrl":…,"path":…,"spreadMs":…}'`. Each has the agent's own connection
 * and dials with a certificate of its own, answers the challenge, and does nothing else. Says `ALL n AT ms` whenever all are registered.
 */
import * as v from "valibot";
import { X509Certificate } from "node:crypto";
import { Connection } from "../../src/agent/connection.ts";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { dial } from "../../src/net/mod.ts";
import { agentStatement, type Proof } from "../../src/protocol/mod.ts";
import { signText } from "../../src/security/mod.ts";
import type { FleetFile } from "../support/fleet.ts";
import { REGISTRATION_0_1 } from "../support/wire-agent.ts";

const Task = v.object({ wsUrl: v.string(), path: v.string(), spreadMs: v.number() });
const { wsUrl, path, spreadMs } = v.parse(Task, JSON.parse(process.argv[2] ?? "{}"));
const { ca, identities } = (await Bun.file(path).json()) as FleetFile;
let here = 0;
let refusals = 0;

const connections = identities.map(({ agentId: id, key, certificate }) => {
  const bootId = crypto.randomUUID();
  const certificateSha256 = new Bun.CryptoHasher("sha256").update(new X509Certificate(certificate).raw).digest("hex");
  return new Connection({
    urls: [wsUrl],
    admit: () => Promise.resolve(true),
    dialer: dial,
    dialOptions: () => ({ ca, client: { certificate, key } }),
    prover: () => (challenge, channel) => {
      const { audience, nonce } = challenge;
      const statement = agentStatement({ audience, nonce, agentId: id, certificateSha256, channel });
      return { certificate, nonce, channel, signature: signText(statement, key) } satisfies Proof;
    },
    register: (proof) =>
      JSON.stringify({
        ...REGISTRATION_0_1,
        id,
        name: id,
        version: "0.2.0",
        protocol: 2,
        features: ["ack", "credit", "cancel", "chunk", "resync"],
        boot_id: bootId,
        credit: { deliveries: 16, bytes: 8 * 1024 * 1024 },
        sent_at: new Date().toISOString(),
        proof,
      }),
    heartbeatIntervalMs: 10_000,
    heartbeat: () => ({}),
    ports: systemPorts,
    log: silentLogger,
    onUnwelcome: (code, reason) => {
      refusals += 1;
      if (refusals < 10) console.log(`REFUSED ${id}: ${code ?? ""} ${reason}`);
    },
    onRegistered: () => {
      here += 1;
      if (here === identities.length) console.log(`ALL ${here} AT ${Date.now()}`);
    },
    onFrame: () => undefined,
    onLost: () => {
      here -= 1;
    },
  });
});
console.log(`BEGIN AT ${Date.now()}`);
for (const [at, connection] of connections.entries()) setTimeout(() => connection.start(), (at * spreadMs) / identities.length);
setInterval(() => console.log(`HERE ${here}`), 1_000);
