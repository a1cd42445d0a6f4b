import { afterAll, describe, expect, test } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openQueue } from "../../src/queues/mod.ts";
import { runCli } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { uniqueName } from "../support/kube.ts";
import { type Nats, SKIP_NATS, startNats } from "../support/nats.ts";
import { SKIP_REDIS, sharedRedis } from "../support/redis.ts";

async function redisQueue(name: string): Promise<string> {
  return `${(await sharedRedis()).url}/0?stream=${name}`;
}
let nats: Nats | undefined;
afterAll(async () => nats?.[Symbol.asyncDispose]());
async function natsQueue(name: string): Promise<string> {
  nats ??= await startNats();
  return `${nats.url}/${name}`;
}

describe.each([
  ["redis", SKIP_REDIS, redisQueue],
  ["nats", SKIP_NATS, natsQueue],
] as const)("queue on %s", (driver, skip, addressOf) => {
  test.skipIf(skip)("shows what waits and what is dead, and puts dead letters back", async () => {
    const name = uniqueName("queue");
    const address = await addressOf(name);
    // Looking makes nothing.
    const early = await runCli(["queue", "status", "--queue", address, "-o", "json"]);
    if (driver === "nats") expect(early).toMatchObject({ code: 2, out: "", err: expect.stringContaining("stream not found") });
    else expect(JSON.parse(early.out)).toMatchObject({ waiting: { urgent: 0, normal: 0, low: 0 }, in_hand: 0, dead: 0 });
    expect((await runCli(["queue", "dead", "--queue", address])).err).toBe("No dead letters.\n");
    const queue = await openQueue(address, { log: silentLogger, ports: systemPorts });
    try {
      for (const [id, priority] of [
        ["u", 1],
        ["n", 0],
        ["poison", 0],
        ["l", -1],
      ] as const)
        await queue.publish({ id, body: new TextEncoder().encode(`body of ${id}`), priority });
      const before = await runCli(["queue", "status", "--queue", address, "-o", "json"]);
      expect(before.code).toBe(0);
      expect(JSON.parse(before.out)).toMatchObject({
        driver,
        name,
        waiting: { urgent: 1, normal: 2, low: 1 },
        in_hand: 0,
        dead: 0,
      });
      const bodies: string[] = [];
      const consumption = await queue.consume({
        window: 4,
        onState: () => undefined,
        take: async ({ body }) => {
          const text = new TextDecoder().decode(body);
          bodies.push(text);
          return text === "body of poison" && bodies.length <= 4
            ? { kind: "dead", code: "INVALID_EVENT", reason: "no\nkind", eventId: "poison" }
            : { kind: "done" };
        },
      });
      await eventually(async () => (await queue.status()).dead === 1);
      const table = await runCli(["queue", "status"], { env: { TRANSPORTER_QUEUE: address } });
      expect(table.out).toMatch(/^NAME +ADDRESS +URGENT +NORMAL +LOW +IN HAND +DEAD +OLDEST\n/);
      expect(table.out).toMatch(/ 0 +0 +0 +0 +1 +-\n$/);
      const doctor = await runCli(["doctor", "cp", "--store=memory:", "--ws-port=0", "--queue", address, "--publish=status"]);
      expect(doctor.out).toMatch(new RegExp(`warn  queue +${name} at \\S+: 0 wait, 0 in hand, 1 dead`));
      expect(doctor.out).toMatch(/ok {4}publish +status to /);
      const dead = await runCli(["queue", "dead", "--queue", address]);
      expect(dead.out).toMatch(/poison +INVALID_EVENT +\d+s +no kind\n$/);
      const [letter = ""] = (await runCli(["queue", "dead", "--queue", address, "-o", "name"])).out.replace("letter/", "").split("\n");
      const resent = await runCli(["queue", "resend", "--queue", address, letter, "7777-0"]);
      expect(resent).toMatchObject({ code: 4, out: `letter/${letter} is in the queue again\n` });
      expect(resent.err).toContain('there is no dead letter "7777-0"');
      await eventually(() => bodies.length === 5);
      expect(bodies.at(-1)).toBe("body of poison");
      await consumption.stop(1000);
      expect(await queue.status()).toMatchObject({ inHand: 0, dead: 0, waiting: { normal: 0 } });
      expect((await runCli(["queue", "dead", "--queue", address])).err).toBe("No dead letters.\n");
    } finally {
      await queue.close();
    }
  });
});

test("queue commands say what is missing, and what is not there", async () => {
  expect((await runCli(["queue", "status"])).err).toContain("--queue is required");
  expect(await runCli(["queue", "status", "--queue", "redis://127.0.0.1:1"])).toMatchObject({ code: 7, out: "" });
});
