import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LogFields, type Logger, type ManualPorts, TransporterError, manualPorts, silentLogger } from "../kit/mod.ts";
import { type KeptTrust, keepTrust, seeTrust } from "./kept-trust.ts";
import { codeOf } from "./parts-for-tests.ts";
import { channelOf } from "./pki/certificate.ts";
import { makeCertificate, makeTestCa } from "./pki/certificates-for-tests.ts";
import { rotateTrust } from "./rotate-trust.ts";
import { type Trust, createTrust } from "./trust.ts";
import { type MemoryVault, UNREACHABLE, memoryVault } from "./vault-for-tests.ts";

const DAY_MS = 86_400_000;
const ADVICE = "cp.example.com";
let root: string;
let count = 0;
let filled: Record<string, string>;

let vault: MemoryVault;
let manual: ManualPorts;
let lines: (readonly [level: string, message: string, fields: LogFields | undefined])[];
let log: Logger;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "transporter-kept-"));
  const first = memoryVault({});
  await keepTrust({ vault: first, ports: manualPorts().ports, log: silentLogger, names: [ADVICE] });
  filled = first.entries ?? {};
});
afterAll(() => rm(root, { recursive: true }));

beforeEach(() => {
  vault = memoryVault({ ...filled });
  manual = manualPorts();
  lines = [];
  const at = (level: string) => (message: string, fields?: LogFields) => void lines.push([level, message, fields]);
  log = { ...silentLogger, info: at("info"), warn: at("warn"), error: at("error") };
});

const keep = (more: { readonly names?: readonly string[]; readonly copyDirectory?: string } = {}): Promise<KeptTrust> =>
  keepTrust({ vault, ports: manual.ports, log, names: [], ...more });
const trustOf = (kept: KeptTrust, names: readonly string[] = []): Promise<Trust> =>
  createTrust({ files: { kept }, ports: manual.ports, log, names });
const told = (level: string): readonly string[] => lines.filter((line) => line[0] === level).map((line) => line[1]);
/** Half a minute of the look, of which each is between a quarter and a half, and two seconds of the watch. */
async function look(trust: Trust): Promise<void> {
  await manual.advance(30_000);
  await trust.settled();
  await manual.advance(2_000);
  await trust.settled();
}

describe("what is kept in a vault", () => {
  test("is made with the names that are given and those of the machine itself, and that is told without the token", async () => {
    vault = memoryVault();
    const kept = await keep({ names: ["cp.example.com", "192.0.2.1"] });
    const trust = await trustOf(kept);
    expect(trust.state().server[0]?.names).toEqual([
      "cp.example.com",
      "192.0.2.1",
      "localhost",
      "127.0.0.1",
      "0000:0000:0000:0000:0000:0000:0000:0001",
    ]);
    expect(lines).toEqual([
      [
        "info",
        "A CA, a server certificate and the first admin token were made; the token is in the entry that is named",
        { kept_in: "Secret ns/trust", ca_hash: trust.bundle().pins[0], entry: "admin-token" },
      ],
    ]);
    expect(kept.content().entries).not.toHaveProperty("admin-token");
    expect(await codeOf(() => keep({ names: ["not a name"] }))).toBe("CONFIG_INVALID");
  });

  test("is read, and nothing told, where it is there", async () => {
    const kept = await keep();
    const trust = await trustOf(kept);
    expect([lines, vault.writes(), kept.location, kept.finding()]).toEqual([[], 0, "Secret ns/trust", undefined]);
    expect(trust.tls().cert).toBe(filled["server.crt"] ?? "");
    // Nobody else on the machine can read it: it is in no file.
    expect(trust.findings().filter(({ level }) => level !== "ok")).toEqual([]);
  });

  test("is looked at between a quarter and half a minute, until it is stopped", async () => {
    for (const [random, waitMs] of [
      [0, 15_000],
      [0.999_999, 30_000],
    ] as const) {
      manual = manualPorts({ random: () => random });
      const kept = await keep();
      const before = vault.reads();
      kept.start();
      kept.start();
      await manual.advance(waitMs - 1);
      expect(vault.reads()).toBe(before);
      await manual.advance(1);
      expect(vault.reads()).toBe(before + 1);
      await manual.advance(2 * waitMs);
      expect(vault.reads()).toBe(before + 3);
      kept.stop();
      await manual.advance(300_000);
      expect(vault.reads()).toBe(before + 3);
    }
  });

  test("stays stopped when it is stopped while it looks", async () => {
    const kept = await keep();
    const { promise, resolve } = Promise.withResolvers<undefined>();
    vault.hold = promise.then(() => undefined);
    kept.start();
    await manual.advance(30_000);
    const before = vault.reads();
    kept.stop();
    resolve(undefined);
    await kept.refresh();
    await manual.advance(300_000);
    expect([before, vault.reads(), manual.pending]).toEqual([2, 3, 0]);
  });

  test("is taken up when somebody writes it, whole", async () => {
    const trust = await trustOf(await keep());
    trust.start();
    let changes = 0;
    trust.onChange(() => (changes += 1));
    const { pin, oldPin } = await rotateTrust(vault, { ports: manual.ports });
    await manual.advance(2_000);
    await trust.settled();
    expect([changes, trust.bundle().pins]).toEqual([0, [oldPin]]);
    await look(trust);
    expect([changes, trust.bundle().pins, told("error")]).toEqual([1, [pin, oldPin], []]);
    trust.stop();
  });

  test("is taken up at once when somebody asks", async () => {
    const trust = await trustOf(await keep());
    const { pin, oldPin } = await rotateTrust(vault, { ports: manual.ports });
    await trust.reload();
    expect(trust.bundle().pins).toEqual([pin, oldPin]);
  });

  test("is left aside where it is not good, as files are", async () => {
    const trust = await trustOf(await keep());
    trust.start();
    const before = trust.bundle();
    const other = memoryVault({});
    await keepTrust({ vault: other, ports: manual.ports, log: silentLogger, names: [] });
    vault.put({ "server.key": other.entries?.["server.key"] ?? "" });
    await look(trust);
    await look(trust);
    expect(trust.bundle()).toEqual(before);
    expect(told("error")).toEqual(["certificates are left as they were: the files are not good"]);
    trust.stop();
  });

  test("goes on while the vault cannot be reached, which is told once and found until it can be", async () => {
    const trust = await trustOf(await keep());
    trust.start();
    vault.fault = UNREACHABLE;
    await look(trust);
    await look(trust);
    expect(told("warn")).toEqual(["The installation's files cannot be read"]);
    expect(trust.findings().filter(({ level }) => level !== "ok")).toEqual([
      { level: "warning", name: "secret", message: "nobody answers; what was read before is used on" },
    ]);
    vault.fault = undefined;
    await look(trust);
    expect(told("info")).toEqual(["The installation's files can be read again"]);
    expect(trust.findings().filter(({ level }) => level !== "ok")).toEqual([]);
    trust.stop();
  });

  test.each([
    ["emptied", { "ca.crt": null, "ca.key": null }],
    ["gone", undefined],
  ] as const)("goes on when the vault is %s, and says what to do", async (_how, changes) => {
    const kept = await keep();
    const trust = await trustOf(kept);
    const before = trust.bundle();
    if (changes === undefined) vault.entries = undefined;
    else vault.put(changes);
    await trust.reload();
    expect(trust.bundle()).toEqual(before);
    expect(kept.finding()).toMatchObject({ level: "error", name: "secret" });
    expect(kept.finding()?.message).toContain("Secret ns/trust holds no CA any more: put it back");
    // What comes after is another fault, and told by itself.
    vault.fault = UNREACHABLE;
    await trust.reload();
    expect([told("error").length, told("warn").length, kept.finding()?.level]).toEqual([1, 1, "warning"]);
  });

  test("is written over what it was judged by, else what somebody else wrote is read", async () => {
    const kept = await keep();
    const { version } = kept.content();
    expect(await kept.write({ "crl.pem": "1" }, version)).toBe(true);
    expect([kept.content().entries["crl.pem"], kept.content().version, vault.reads()]).toEqual(["1", vault.version(), 1]);
    vault.put({ "crl.pem": "2" });
    expect(await kept.write({ "crl.pem": "3" }, kept.content().version)).toBe(false);
    expect([kept.content().entries["crl.pem"], vault.entries?.["crl.pem"]]).toEqual(["2", "2"]);
    vault.writeFault = new TransporterError("FORBIDDEN", "no");
    expect(await codeOf(() => kept.write({ "crl.pem": "4" }, kept.content().version))).toBe("FORBIDDEN");
    // A write that failed keeps nobody from what comes after it.
    vault.put({ "crl.pem": "5" });
    await kept.refresh();
    expect(kept.content().entries["crl.pem"]).toBe("5");
  });

  test("is of one time: what was asked for before a write is not taken for newer", async () => {
    const kept = await keep();
    const reading = kept.refresh();
    const writing = kept.write({ "crl.pem": "1" }, kept.content().version);
    await Promise.all([reading, writing]);
    expect(kept.content()).toMatchObject({ version: vault.version(), entries: { "crl.pem": "1" } });
  });

  test("may only be looked at", async () => {
    expect((await seeTrust(vault, { ports: manual.ports, log }))?.content().entries["ca.crt"]).toBe(filled["ca.crt"] ?? "");
    vault.entries = {};
    expect(await seeTrust(vault, { ports: manual.ports, log })).toBeUndefined();
    expect([vault.writes(), lines]).toEqual([0, []]);
  });
});

describe("the server's certificate in a vault", () => {
  test("is renewed there in the last third of its time, by one of all who try", async () => {
    const both = [await trustOf(await keep()), await trustOf(await keep())] as const;
    manual.setWallClock(manual.ports.clock.now() + 300 * DAY_MS);
    for (const trust of both) await trust.reload();
    for (const trust of both) await trust.reload();
    expect([vault.writes() > 0, vault.entries?.["server.crt"] === filled["server.crt"]]).toEqual([true, false]);
    const [first, second] = both.map((trust) => trust.tls().channel);
    expect(first).toBe(second ?? "");
    expect(told("info").filter((message) => message === "the server's certificate was renewed")).toHaveLength(1);
  });

  test("is not renewed by the CA that was there before another came", async () => {
    const kept = await keep();
    const trust = await trustOf(kept);
    const { pin, oldPin } = await rotateTrust(vault, { ports: manual.ports });
    const rotated = { ...vault.entries };
    // What was read is old by now, and ends.
    manual.setWallClock(manual.ports.clock.now() + 300 * DAY_MS);
    await kept.refresh();
    vault.put(rotated);
    await trust.reload();
    await trust.reload();
    expect([trust.bundle().pins, trust.state().server.length]).toEqual([[pin, oldPin], 2]);
  });

  test("gets the names that it lacks before anybody sees it, and none is taken away", async () => {
    const trust = await trustOf(await keep(), ["new.example.com", "CP.example.com"]);
    expect(vault.writes()).toBe(0);
    await trust.named();
    const [own] = trust.state().server;
    if (own === undefined) throw new Error("no certificate");
    expect(own.names.slice(0, 2)).toEqual([ADVICE, "localhost"]);
    expect(own.names.at(-1)).toBe("new.example.com");
    expect([own.names.length, vault.writes(), trust.tls().channel]).toEqual([5, 1, channelOf(own)]);
    expect(told("info")).toEqual(["the server's certificate was renewed"]);
    await trust.named();
    expect(vault.writes()).toBe(1);
    const other = await trustOf(await keep());
    await other.named();
    expect([vault.writes(), other.tls().channel]).toEqual([1, channelOf(own)]);
  });

  test("gets the names of all who begin at once", async () => {
    const all = await Promise.all(["a.example", "b.example", "c.example"].map(async (name) => trustOf(await keep(), [name])));
    await Promise.all(all.map((trust) => trust.named()));
    for (const trust of all) await trust.reload();
    const names = all.map((trust) => trust.state().server[0]?.names.toSorted());
    expect(names[0]).toEqual(expect.arrayContaining(["a.example", "b.example", "c.example"]));
    expect(names).toEqual([names[0], names[0], names[0]]);
  });

  test("is left as it is where it cannot be written, and that is found", async () => {
    const trust = await trustOf(await keep(), ["new.example.com"]);
    vault.writeFault = new TransporterError("FORBIDDEN", "no");
    await trust.named();
    expect(told("warn")).toEqual(["the server's certificate could not be renewed"]);
    expect(trust.findings().filter(({ level }) => level === "warning")).toEqual([
      {
        level: "warning",
        name: "server certificate",
        message: "it does not name new.example.com; whoever comes by that name will refuse it",
      },
    ]);
  });

  test("is left as it is where somebody else issued it, or it is in a file of its own", async () => {
    const nowMs = manual.ports.clock.now();
    const times = { fromMs: nowMs, untilMs: nowMs + 90 * DAY_MS };
    const by = await makeTestCa(nowMs);
    const theirs = await makeCertificate({ by, names: ["theirs.example.com"], ...times });
    const certFile = join(root, "theirs.crt");
    const keyFile = join(root, "theirs.key");
    await writeFile(certFile, theirs.pem);
    await writeFile(keyFile, theirs.keyPem);
    const kept = await keep();
    const trust = await createTrust({ files: { kept, certFile, keyFile }, ports: manual.ports, log, names: ["new.example.com"] });
    await trust.named();
    // One of our own CA, but brought as a file, is left alone as well.
    await writeFile(join(root, "ours.crt"), filled["server.crt"] ?? "");
    await writeFile(join(root, "ours.key"), filled["server.key"] ?? "");
    const ours = { kept, certFile: join(root, "ours.crt"), keyFile: join(root, "ours.key") };
    await (await createTrust({ files: ours, ports: manual.ports, log, names: ["new.example.com"] })).named();
    vault.put({ "server.crt": theirs.pem, "server.key": theirs.keyPem });
    await kept.refresh();
    const inVault = await trustOf(kept, ["new.example.com"]);
    await inVault.named();
    expect([vault.writes(), trust.tls().cert, inVault.tls().cert]).toEqual([0, theirs.pem, theirs.pem]);
    expect(trust.findings().some(({ message }) => message.includes("does not name new.example.com"))).toBe(true);
  });
});

describe("a copy of what is in a vault", () => {
  const place = (): string => join(root, `${(count += 1)}`, "copy");

  test("is for a start while nobody answers; its owner alone may read it, and the admin token is not in it", async () => {
    const copyDirectory = place();
    await keep({ copyDirectory });
    const [file = ""] = await readdir(copyDirectory);
    expect([(await stat(copyDirectory)).mode & 0o777, (await stat(join(copyDirectory, file))).mode & 0o777]).toEqual([0o700, 0o600]);
    expect(await readFile(join(copyDirectory, file), "utf8")).not.toContain((filled["admin-token"] ?? "").slice(17, 50));
    vault.fault = UNREACHABLE;
    const kept = await keep({ copyDirectory });
    expect(kept.content().entries["ca.key"]).toBe(filled["ca.key"] ?? "");
    expect([kept.finding()?.level, told("warn")]).toEqual(["warning", ["The installation's files cannot be read"]]);
    expect(await codeOf(() => keep())).toBe("KUBE_UNAVAILABLE");
    // As soon as somebody answers again, what is there counts.
    vault.fault = undefined;
    vault.put({ "crl.pem": "1" });
    await kept.refresh();
    expect([kept.content().entries["crl.pem"], kept.finding()]).toEqual(["1", undefined]);
    vault.fault = UNREACHABLE;
    expect((await keep({ copyDirectory })).content().entries["crl.pem"]).toBe("1");
  });

  test("does not count where the vault may not be read, is another, or nothing was kept", async () => {
    const copyDirectory = place();
    await keep({ copyDirectory });
    vault.fault = new TransporterError("FORBIDDEN", "no");
    expect(await codeOf(() => keep({ copyDirectory }))).toBe("FORBIDDEN");
    vault.fault = UNREACHABLE;
    const elsewhere = { ...vault, location: "Secret ns/other", read: () => vault.read() };
    expect(await codeOf(() => keepTrust({ vault: elsewhere, ports: manual.ports, log, names: [], copyDirectory }))).toBe(
      "KUBE_UNAVAILABLE",
    );
    expect(await codeOf(() => keep({ copyDirectory: place() }))).toBe("KUBE_UNAVAILABLE");
    expect(lines).toEqual([]);
  });

  test("is written when there is something new, and only then", async () => {
    const copyDirectory = place();
    const kept = await keep({ copyDirectory });
    const inode = async (): Promise<number> => (await stat(join(copyDirectory, "secret-copy.json"))).ino;
    const first = await inode();
    await kept.refresh();
    expect(await inode()).toBe(first);
    vault.put({ "crl.pem": "1" });
    await kept.refresh();
    expect(await inode()).not.toBe(first);
  });

  test.each([
    "no JSON",
    "null",
    "[]",
    '{"location":"Secret ns/trust","entries":{}}',
    '{"location":"Secret ns/trust","version":1,"entries":{}}',
    '{"location":"Secret ns/trust","version":"1"}',
    '{"location":"Secret ns/trust","version":"1","entries":null}',
    '{"location":"Secret ns/trust","version":"1","entries":"x"}',
    '{"location":"Secret ns/trust","version":"1","entries":{"ca.crt":1}}',
  ])("does not count where it is %s", async (text) => {
    const copyDirectory = place();
    await mkdir(copyDirectory, { recursive: true });
    await writeFile(join(copyDirectory, "secret-copy.json"), text);
    vault.fault = UNREACHABLE;
    expect(await codeOf(() => keep({ copyDirectory }))).toBe("KUBE_UNAVAILABLE");
    expect(told("warn")).toEqual(["The copy of the installation's files cannot be read"]);
  });

  test("that cannot be written is told, and keeps nothing from going on", async () => {
    const copyDirectory = join(root, `${(count += 1)}`);
    await writeFile(copyDirectory, "no directory");
    const kept = await keep({ copyDirectory });
    expect([kept.content().version, told("warn")]).toEqual([vault.version(), ["The copy of the installation's files cannot be written"]]);
  });
});
