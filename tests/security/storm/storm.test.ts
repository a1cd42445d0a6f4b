/**
 * Certificates are renewed, a CA is rolled over and agents are revoked while events keep coming: nothing is lost, nothing is done twice, and
 * nobody comes anew who need not. Real control plane, real agents of the shipped rooms; a short form in ordinary runs.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { systemPorts } from "../../../src/kit/mod.ts";
import type { EventDetail } from "../../../src/protocol/mod.ts";
import { retireTrust, rotateTrust } from "../../../src/security/mod.ts";
import { configMap, MapCluster, type TestAgent } from "../../support/agent.ts";
import { eventually } from "../../support/eventually.ts";
import { freshDirectory, registered, startIdentityAgent } from "../../support/identity-agent.ts";
import { count } from "../../support/prove.ts";
import { type SecureControlPlane, startSecureCp } from "../../support/secure-cp.ts";

interface Ship {
  readonly id: string;
  readonly agent: TestAgent;
  readonly cluster: MapCluster;
}

/** As `cp.fetch`, with the CAs that are to be trusted by now. */
async function ask(cp: SecureControlPlane, path: string, token: string, init: RequestInit = {}): Promise<Response> {
  const ca = await Bun.file(join(cp.directory, "ca.crt")).text();
  const headers = { "content-type": "application/json", authorization: `Bearer ${token}` };
  return fetch(cp.url + path, { ...init, headers, tls: { ca } });
}

/** Hands events in, one after the other on each lane, and remembers what was accepted. */
class Traffic {
  readonly accepted = new Map<string, { readonly agentId: string; readonly name: string }>();
  /** Connections that broke before their answer. */
  broken = 0;
  /** Being handed in now, by agent. */
  readonly #underWay: string[] = [];
  readonly #stop = new AbortController();
  readonly #lanes: Promise<void>[];

  constructor(cp: SecureControlPlane, ids: () => readonly string[], lanes: number) {
    this.#lanes = Array.from({ length: lanes }, () => this.#send(cp, ids));
  }

  async #send(cp: SecureControlPlane, ids: () => readonly string[]): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const targets = ids();
      const agentId = targets[this.accepted.size % targets.length] ?? "";
      const name = `object-${crypto.randomUUID()}`;
      const id = crypto.randomUUID();
      const body = JSON.stringify({ id, type: "k8s_resource", target_agent: agentId, payload: { manifests: [configMap(name)] } });
      this.#underWay.push(agentId);
      await this.#submit(cp, body);
      this.accepted.set(id, { agentId, name });
      this.#underWay.splice(this.#underWay.indexOf(agentId), 1);
      await Bun.sleep(5);
    }
  }

  isUnderWayTo(agentId: string): boolean {
    return this.#underWay.includes(agentId);
  }

  /** As every producer does: the same event again where the connection broke before the answer. */
  async #submit(cp: SecureControlPlane, body: string): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      const response = await ask(cp, "/events", cp.tokens.producer, { method: "POST", body }).catch((error: unknown) => {
        if (tries > 3) throw error;
        this.broken += 1;
        return undefined;
      });
      if (response?.status === 202) return;
      if (response !== undefined) throw new Error(`an event was answered with ${response.status}: ${await response.text()}`);
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#lanes);
  }
}

async function hasOpen(cp: SecureControlPlane, filter: string): Promise<boolean> {
  const answer = await ask(cp, `/v1/events?${filter}state=queued,assigned,in_progress&limit=1`, cp.tokens.viewer);
  return ((await answer.json()) as { readonly items: readonly EventDetail[] }).items.length > 0;
}

async function until(what: string, ask: () => boolean | Promise<boolean>): Promise<void> {
  await eventually(ask, { what, timeoutMs: count(30_000, 240_000), everyMs: 50 });
}

test(
  "renewal, a new CA and revocation under load lose nothing and make nobody come anew",
  async () => {
    const fleet = count(6, 60);
    const rounds = count(1, 4);
    // Renewed at two thirds of it.
    const certificateTtlMs = count(6_000, 45_000);
    await using home = await freshDirectory();
    await using cp = await startSecureCp({ storeUrl: `sqlite:${join(home.path, "cp.db")}`, securityOptions: { certificateTtlMs } });
    const ships: Ship[] = [];
    let traffic: Traffic | undefined;
    try {
      for (let at = 0; at < fleet; at += 1) {
        const id = `ship-${at}`;
        const { token } = await cp.token({ kind: "enrolment", agent: id });
        const cluster = new MapCluster();
        const directory = join(home.path, id);
        const agent = await startIdentityAgent({
          id,
          directory,
          cp,
          token,
          identity: { caHash: cp.pin },
          cluster: { resources: cluster.resources },
        });
        ships.push({ id, agent, cluster });
      }
      await Promise.all(ships.map(({ agent }) => registered(agent)));
      const sailing = new Set(ships);
      const expiry = ({ agent }: Ship): number => agent.agent.state().certificateExpiresAtMs ?? 0;
      traffic = new Traffic(cp, () => [...sailing].map(({ id }) => id), count(2, 8));

      const { accepted: all } = traffic;
      const accepted = (): readonly { readonly agentId: string; readonly name: string }[] => [...all.values()];

      // Every agent's certificate is another, so many times.
      for (let round = 0; round < rounds; round += 1) {
        const before = new Map(ships.map((ship) => [ship, expiry(ship)]));
        await until("all are renewed", () => ships.every((ship) => expiry(ship) > (before.get(ship) ?? 0)));
      }
      const renewals = (await cp.audit("agent_renewed")).length;

      // A new CA, and then nothing but that.
      await rotateTrust(cp.directory, { ports: systemPorts });
      await cp.security.trust.reload();
      const rotatedMs = Date.now();
      const isOfNew = async ({ id }: Ship): Promise<boolean> => {
        const trust = await Bun.file(join(home.path, id, "trust.pem")).text();
        return trust.match(/BEGIN CERTIFICATE/g)?.length === 2;
      };
      await until("all trust the new CA", async () => (await Promise.all(ships.map(isOfNew))).every(Boolean));
      const afterRotation = new Map(ships.map((ship) => [ship, expiry(ship)]));
      await until("all have certificates of it", () => ships.every((ship) => expiry(ship) > (afterRotation.get(ship) ?? 0)));
      const rolledMs = Date.now() - rotatedMs;
      await retireTrust(cp.directory);
      await cp.security.trust.reload();

      // One in three has to go, at once.
      const revoked = ships.filter((_, at) => at % 3 === 0);
      for (const ship of revoked) sailing.delete(ship);
      // What was handed in for them before is done first: what waits for a revoked agent waits for ever.
      // Done means told: what an agent has carried out and not reported when it goes stays open.
      const handedIn = traffic;
      const isIdle = async ({ id }: Ship): Promise<boolean> => !handedIn.isUnderWayTo(id) && !(await hasOpen(cp, `agent=${id}&`));
      await until("what was sent to them is done", async () => (await Promise.all(revoked.map(isIdle))).every(Boolean));
      const revokedMs = Date.now();
      const answers = await Promise.all(
        revoked.map(({ id }) => ask(cp, `/v1/identities/${id}/revoke`, cp.tokens.operator, { method: "POST" })),
      );
      expect(answers.map(({ status }) => status)).toEqual(revoked.map(() => 200));
      await until("they are gone", () => revoked.every(({ agent }) => agent.agent.state().link !== "registered"));
      const goneMs = Date.now() - revokedMs;
      await Bun.sleep(count(1_000, 10_000));
      expect(revoked.map(({ agent }) => agent.agent.state().link)).not.toContain("registered");
      await traffic.stop();

      await until("everything is done", async () => !(await hasOpen(cp, "")));
      const done = new Map(ships.map(({ id, cluster }) => [id, cluster.objects] as const));
      const wrong = accepted().filter(({ agentId, name }) => done.get(agentId)?.get(name) !== 1);
      expect(wrong).toEqual([]);
      const registrations = ships.map(({ agent }) => agent.agent.state().registrations);
      console.log(
        `  ${fleet} agents, ${all.size} events; ${renewals} renewals, all over to a new CA in ${rolledMs} ms, ` +
          `${revoked.length} revoked and gone in ${goneMs} ms; registrations: ${registrations.reduce((sum, one) => sum + one, 0)}; ${traffic.broken} requests sent again`,
      );
      expect(all.size).toBeGreaterThan(count(100, 5_000));
      expect(renewals).toBeGreaterThanOrEqual(Math.min(500, fleet * rounds));
      // A certificate that runs out on a connection whose agent has another by then ends nothing.
      expect(Math.max(...registrations)).toBe(1);
    } finally {
      await traffic?.stop().catch(() => undefined);
      for (const { agent } of ships) await agent[Symbol.asyncDispose]();
    }
  },
  count(120_000, 900_000),
);
