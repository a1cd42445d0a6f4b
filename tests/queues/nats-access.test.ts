import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { nkeys } from "@nats-io/nats-core";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { openOutlet, openQueue, openQueueWriter, type QueueSecrets } from "../../src/queues/mod.ts";
import { eventually } from "../support/eventually.ts";
import { natsTest, startNats } from "../support/nats.ts";
import { codeOf } from "../support/store-inputs.ts";
import { natsAccount } from "./nats-account.ts";

const TLS = join(import.meta.dir, "../fixtures/tls");
const text = (name: string): Promise<string> => readFile(join(TLS, name), "utf8");

/** Whether a message can be put in and taken out; else the code of why not. */
async function tried(url: string, secrets: QueueSecrets = {}): Promise<string> {
  const queue = await openQueue(url, { log: silentLogger, ports: systemPorts, secrets });
  try {
    const code = await codeOf(queue.publish({ id: crypto.randomUUID(), body: new TextEncoder().encode("{}"), priority: 0 }));
    if (code !== "none") return code;
    const taken: string[] = [];
    const consumption = await queue.consume({
      window: 1,
      onState: () => undefined,
      take: (message) => {
        taken.push(new TextDecoder().decode(message.body));
        return Promise.resolve({ kind: "done" });
      },
    });
    await eventually(() => taken.length > 0);
    await consumption.stop(1_000);
    return "works";
  } finally {
    await queue.close();
  }
}

natsTest("user and password: in the URL, in a file, from the environment; a wrong one is refused by name", async () => {
  await using nats = await startNats({
    config: "authorization { user: cp, password: 's3cret/@:' }",
    files: { password: "s3cret/@:\n" },
  });
  const host = `127.0.0.1:${nats.port}`;
  expect(await tried(`nats://cp:${encodeURIComponent("s3cret/@:")}@${host}`)).toBe("works");
  expect(await tried(`nats://cp@${host}/?password-file=${join(nats.directory, "password")}`)).toBe("works");
  expect(await tried(`nats://cp@${host}`, { password: "s3cret/@:" })).toBe("works");
  expect(await tried(`nats://cp:wrong@${host}`)).toBe("QUEUE_DENIED");
  expect(await tried(`nats://${host}?timeout=1s`)).toBe("QUEUE_DENIED");
});

natsTest("a token, and the seed of an nkey", async () => {
  const user = nkeys.createUser();
  await using tokens = await startNats({ config: "authorization { token: t0ken }", files: { token: "t0ken\n" } });
  const host = `127.0.0.1:${tokens.port}`;
  expect(await tried(`nats://t0ken@${host}`)).toBe("works");
  expect(await tried(`nats://${host}?token-file=${join(tokens.directory, "token")}`)).toBe("works");
  expect(await tried(`nats://${host}`, { token: "t0ken" })).toBe("works");
  expect(await tried(`nats://other@${host}`)).toBe("QUEUE_DENIED");
  await using keys = await startNats({
    config: `authorization { users: [ { nkey: ${user.getPublicKey()} } ] }`,
    files: { seed: new TextDecoder().decode(user.getSeed()), stranger: new TextDecoder().decode(nkeys.createUser().getSeed()) },
  });
  expect(await tried(`nats://127.0.0.1:${keys.port}?nkey=${join(keys.directory, "seed")}`)).toBe("works");
  expect(await tried(`nats://127.0.0.1:${keys.port}?nkey=${join(keys.directory, "stranger")}`)).toBe("QUEUE_DENIED");
});

natsTest("a credentials file of an operator's account", async () => {
  const account = natsAccount();
  await using nats = await startNats({ config: account.config, files: { "user.creds": account.creds } });
  expect(await tried(`nats://127.0.0.1:${nats.port}?creds=${join(nats.directory, "user.creds")}`)).toBe("works");
  expect(await tried(`nats://127.0.0.1:${nats.port}`)).toBe("QUEUE_DENIED");
});

natsTest("TLS with an authority of one's own and certificates of clients; nothing goes out in the clear", async () => {
  const files = { "server.pem": await text("server.pem"), "server-key.pem": await text("server-key.pem") };
  await using nats = await startNats({
    files,
    config: (directory) =>
      `tls { cert_file: ${directory}/server.pem, key_file: ${directory}/server-key.pem, ca_file: ${directory}/server.pem, verify: true }`,
  });
  const host = `127.0.0.1:${nats.port}`;
  const [ca, key] = [join(TLS, "server.pem"), join(TLS, "server-key.pem")];
  expect(await tried(`tls://${host}?ca=${ca}&cert=${ca}&key=${key}`)).toBe("works");
  expect(await tried(`tls://${host}?ca=${ca}&timeout=1s`)).not.toBe("works");
  expect(await tried(`tls://${host}?ca=${join(TLS, "stranger.pem")}&cert=${ca}&key=${key}&timeout=1s`)).toBe("QUEUE_UNAVAILABLE");
  await using plain = await startNats();
  expect(await tried(`tls://127.0.0.1:${plain.port}?ca=${ca}&timeout=1s`)).toBe("QUEUE_UNAVAILABLE");
});

natsTest("without JetStream, and without a stream for a producer, it is said so", async () => {
  await using bare = await startNats({ jetstream: false });
  const off = await openQueue(`${bare.url}?timeout=1s`, { log: silentLogger, ports: systemPorts });
  const fault = await off.status().then(
    () => "none",
    (error: unknown) => String(error),
  );
  expect(fault).toContain("JetStream");
  await off.close();
  await using nats = await startNats();
  const writer = await openQueueWriter(`${nats.url}/NOBODY?timeout=1s`, { log: silentLogger, ports: systemPorts });
  expect(await codeOf(writer.publish({ id: "x", body: new Uint8Array(1), priority: 0 }))).toBe("QUEUE_UNAVAILABLE");
  await writer.close();
});

/** The subjects that docs/queues.md names for somebody, as the server's configuration wants them. */
async function rightsOf(who: string): Promise<string> {
  const page = await readFile(join(import.meta.dir, "../../docs/queues.md"), "utf8");
  const block = page.split(`# A ${who}.\n`)[1]?.split(/^(?:#|```)/m)[0] ?? "";
  const listed = (verb: string): string => {
    const subjects = new RegExp(`^${verb}:((?:.|\\n )*)`, "m").exec(block)?.[1] ?? "";
    return `[${subjects
      .split(",")
      .map((subject) => JSON.stringify(subject.trim()))
      .join(", ")}]`;
  };
  return `{ publish: ${listed("publish")}, subscribe: ${listed("subscribe")} }`;
}

natsTest("the rights that the page names are enough for a control plane and for a producer, and the least are for one band", async () => {
  await using nats = await startNats({
    config: `authorization { users: [
      { user: cp, password: cp, permissions: ${await rightsOf("control plane")} }
      { user: ci, password: ci, permissions: ${await rightsOf("producer")} }
      { user: low, password: low, permissions: { publish: ["transporter.events.low"], subscribe: ["_INBOX.>"] } }
    ] }`,
  });
  const host = `127.0.0.1:${nats.port}`;
  const queue = await openQueue(`nats://cp:cp@${host}`, { log: silentLogger, ports: systemPorts });
  const taken: string[] = [];
  await queue.consume({
    window: 4,
    onState: () => undefined,
    take: ({ id = "" }) => {
      taken.push(id);
      return Promise.resolve(id === "one" ? { kind: "done" } : { kind: "dead", code: "INVALID_EVENT", reason: "as told", eventId: id });
    },
  });
  const options = { log: silentLogger, ports: systemPorts };
  const [ci, low] = [await openQueueWriter(`nats://ci:ci@${host}`, options), await openQueueWriter(`nats://low:low@${host}`, options)];
  const body = new TextEncoder().encode("{}");
  expect(await ci.publish({ id: "one", body, priority: 0 })).toEqual({ duplicate: false });
  expect(await low.publish({ id: "two", body, priority: -1 })).toEqual({ duplicate: false });
  expect(await codeOf(low.publish({ id: "three", body, priority: 1 }))).toBe("QUEUE_DENIED");
  await eventually(() => taken.length === 2);
  await eventually(async () => {
    expect(await queue.status()).toMatchObject({ inHand: 0, dead: 1 });
    return true;
  });
  const outlet = await openOutlet(`nats://cp:cp@${host}`, options);
  await outlet.emit([
    { id: "status-1", kind: "status", agentId: "a", body: "{}" },
    { id: "audit-1", kind: "audit", agentId: undefined, body: "{}" },
  ]);
  await Promise.all([ci, low, queue, outlet].map((one) => one.close()));
});

describe("the URL of NATS", () => {
  const refused = (url: string): Promise<string> => codeOf(openQueue(url, { log: silentLogger, ports: systemPorts }));

  test("is refused when something in it is not understood, and never repeated with its secrets", async () => {
    expect(await refused("nats://")).toBe("QUEUE_INVALID");
    expect(await refused("nats://host:99999")).toBe("QUEUE_INVALID");
    expect(await refused("nats://host/a.b")).toBe("QUEUE_INVALID");
    expect(await refused("nats://host?unknown=1")).toBe("QUEUE_INVALID");
    expect(await refused("nats://host?ack-wait=10ms")).toBe("QUEUE_INVALID");
    expect(await refused("nats://host?max-deliver=2")).toBe("QUEUE_INVALID");
    expect(await refused("nats://host?replicas=9")).toBe("QUEUE_INVALID");
    expect(await refused("nats://host?subject=a.*")).toBe("QUEUE_INVALID");
    expect(await refused("nats://host?cert=x")).toBe("QUEUE_INVALID");
    expect(await refused("nats://host?creds=/nowhere/at/all")).toBe("FILE_UNREADABLE");
    expect(await refused("amqp://host")).toBe("QUEUE_INVALID");
    const queue = await openQueue("nats://user:hush@127.0.0.1:1,127.0.0.1:2/ORDERS", { log: silentLogger, ports: systemPorts });
    expect(queue.info).toMatchObject({ driver: "nats", name: "ORDERS", location: "nats://127.0.0.1:1,127.0.0.1:2/ORDERS" });
    await queue.close();
  });
});
