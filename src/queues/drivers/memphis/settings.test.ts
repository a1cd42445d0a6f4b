import { expect, test } from "bun:test";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readMemphisUrl } from "./settings.ts";

test("a URL with nothing but a host and a token has 0.1's names", async () => {
  expect(await readMemphisUrl("memphis://broker", { token: "t" })).toEqual({
    servers: ["broker:6666"],
    auth: { kind: "token", token: "t" },
    username: "root",
    station: "transporter-events",
    consumer: "transporter-cp-consumer",
    producer: "transporter-cp",
    partitions: 1,
    replicas: 1,
    retentionSeconds: 604_800,
    idempotencyWindowMs: 120_000,
    ackWaitMs: 10_000,
    maxDeliveries: 10,
    tls: undefined,
    location: "memphis://broker:6666",
    secretInUrl: false,
  });
});

test("everything can be said, with what stands beside the URL before what stands in it", async () => {
  const url =
    "memphis://App%40x:p%3Aw@h1:7000,[::1]/My.Station?account=7&consumer=C&producer=P&partitions=3&replicas=3&retention-seconds=3600&idempotency-ms=500&ack-wait-ms=2000&max-deliveries=2&tls=1";
  const read = await readMemphisUrl(url);
  expect(read).toMatchObject({
    servers: ["h1:7000", "[::1]:6666"],
    auth: { kind: "password", account: 7, password: "p:w" },
    username: "app@x",
    station: "my.station",
    consumer: "c",
    producer: "p",
    partitions: 3,
    tls: {},
    location: "memphis://h1:7000,[::1]:6666",
    secretInUrl: true,
  });
  expect(await readMemphisUrl(url, { password: "other", user: "Somebody" })).toMatchObject({
    auth: { password: "other" },
    username: "somebody",
  });
  // Whoever gives both has a broker in token mode.
  expect(await readMemphisUrl(url, { token: "t" })).toMatchObject({ auth: { kind: "token", token: "t" } });
});

test("secrets come out of files, without their last newline", async () => {
  const directory = await mkdtemp(join(tmpdir(), "transporter-memphis-"));
  const [token, empty] = [join(directory, "token"), join(directory, "empty")];
  await writeFile(token, "from-file\n");
  await writeFile(empty, "\n");
  expect(await readMemphisUrl(`memphis://h/s?token-file=${token}`)).toMatchObject({ auth: { token: "from-file" }, secretInUrl: false });
  await expect(readMemphisUrl(`memphis://h/s?token-file=${empty}`)).rejects.toThrow("empty");
  await expect(readMemphisUrl(`memphis://h/s?token-file=${directory}/none`)).rejects.toMatchObject({ code: "FILE_UNREADABLE" });
  await expect(readMemphisUrl(`memphis://h/s?token=t&ca=${token}`)).rejects.toThrow("PEM");
});

test.each([
  ["memphis://", "is not one"],
  ["memphis://h/s#x?token=t", "is not one"],
  ["memphis://h:99999/s?token=t", "HOST:PORT"],
  ["memphis://h,/s?token=t", "HOST:PORT"],
  ["memphis://h/s", "without a connection token and without a password"],
  ["memphis://h/bad name?token=t", "cannot be used"],
  ["memphis://h/s?token=t&consumer=-x", "cannot be used"],
  ["memphis://h/s?token=t&tokn=u", "tokn"],
  ["memphis://h/s?token=t&token=u", "twice"],
  ["memphis://h/s?token=t&partitions=0", "partitions"],
  ["memphis://h/s?token=t&max-deliveries=11", "max-deliveries"],
  ["memphis://h/s?token=t&ack-wait-ms=1.5", "ack-wait-ms"],
  ["memphis://h/s?token=%zz", "%"],
  ["memphis://h/s?token=t&tls=yes", "tls"],
])("%s is refused, and says why", async (url, why) => {
  await expect(readMemphisUrl(url)).rejects.toMatchObject({ code: "QUEUE_INVALID", message: expect.stringContaining(why) });
});

test("no secret is repeated in what a refusal says", async () => {
  const refused = await readMemphisUrl("memphis://u:hunter2@h/s?partitions=0&token=hunter3").catch((error: unknown) => error);
  expect(JSON.stringify([String(refused), (refused as { remedy?: string }).remedy])).not.toContain("hunter");
});
