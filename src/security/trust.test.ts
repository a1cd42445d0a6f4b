import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmod, copyFile, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LogFields, type Logger, type ManualPorts, manualPorts, silentLogger } from "../kit/mod.ts";
import { initTrust } from "./init-trust.ts";
import { codeOf } from "./parts-for-tests.ts";
import { SERVER_AUTH, channelOf, pinOf } from "./pki/certificate.ts";
import { makeCertificate, makeCrl, makeTestCa } from "./pki/certificates-for-tests.ts";
import { rotateTrust } from "./rotate-trust.ts";
import type { TrustFiles } from "./security.ts";
import { type Trust, createTrust } from "./trust.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
let root: string;
let first: string;
let count = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "transporter-trust-"));
  first = join(root, "first");
  await initTrust(first, { ports: manualPorts().ports, names: ["localhost"], agents: ["a"] });
});
afterAll(() => rm(root, { recursive: true }));

interface Bench {
  readonly directory: string;
  readonly manual: ManualPorts;
  readonly trust: Trust;
  readonly lines: (readonly [string, LogFields | undefined])[];
  readonly changes: () => number;
  readonly put: (name: string, text: string) => Promise<void>;
}

async function copied(): Promise<string> {
  const directory = join(root, `${(count += 1)}`);
  await mkdir(directory);
  for (const file of ["ca.crt", "ca.key", "server.crt", "server.key", "admin-token.hash", "enrolment-token.hash"])
    await copyFile(join(first, file), join(directory, file));
  return directory;
}

async function bench(files: TrustFiles = {}): Promise<Bench> {
  const directory = await copied();
  const manual = manualPorts();
  const lines: (readonly [string, LogFields | undefined])[] = [];
  const note = (message: string, fields?: LogFields): void => void lines.push([message, fields]);
  const log: Logger = { ...silentLogger, info: note, warn: note, error: note };
  const trust = await createTrust({ files: { directory, ...files }, ports: manual.ports, log });
  let changes = 0;
  trust.onChange(() => (changes += 1));
  const put = async (name: string, text: string): Promise<void> => {
    await writeFile(join(directory, ".new"), text);
    await rename(join(directory, ".new"), join(directory, name));
  };
  return { directory, manual, trust, lines, changes: () => changes, put };
}

const text = (path: string): Promise<string> => Bun.file(path).text();
/** Two seconds of the watch, and until the files have been read. */
async function look({ manual, trust }: Bench): Promise<void> {
  await manual.advance(2_000);
  // What is read is read by the machine, in its own time; a look that is asked for waits for the one that runs.
  await trust.settled();
}

describe("trust by files", () => {
  test("says what is to be shown, whom to believe, and which tokens were made", async () => {
    const { trust, directory } = await bench();
    const { cas, server } = trust.state();
    const [ca] = cas;
    const [own] = server;
    if (ca === undefined || own === undefined) throw new Error("nothing was read");
    expect(trust.bundle()).toEqual({ pem: await text(join(directory, "ca.crt")), pins: [pinOf(ca)] });
    expect(trust.tls()).toEqual({
      cert: await text(join(directory, "server.crt")),
      key: await text(join(directory, "server.key")),
      clientCas: trust.bundle().pem,
      channel: channelOf(own),
    });
    expect(trust.adminTokens()).toHaveLength(1);
    expect(trust.enrolmentTokens()).toMatchObject([{ agent: "a", expiresAtMs: NOW_MS + 3_600_000 }]);
    expect(trust.clientCas()).toEqual([]);
  });

  test("takes the names that cert-manager gives its Secrets", async () => {
    const directory = await copied();
    await rename(join(directory, "server.crt"), join(directory, "tls.crt"));
    await rename(join(directory, "server.key"), join(directory, "tls.key"));
    await rm(join(directory, "ca.key"));
    const trust = await createTrust({ files: { directory }, ports: manualPorts().ports, log: silentLogger });
    expect(trust.tls().cert).toBe(await text(join(directory, "tls.crt")));
    expect(trust.state().issuer).toBeUndefined();
    await rm(join(directory, "tls.key"));
    expect(await codeOf(() => createTrust({ files: { directory }, ports: manualPorts().ports, log: silentLogger }))).toBe("CONFIG_INVALID");
  });

  test("takes files that are named by themselves before those of the directory", async () => {
    const other = await makeTestCa(NOW_MS);
    const caFile = join(root, "other-ca.crt");
    await writeFile(caFile, other.pem);
    const { trust } = await bench({ caFile });
    expect(trust.state().cas.map(({ sha256 }) => sha256)).toEqual([other.certificate.sha256]);
    // The key in the directory is of another CA than the one that was named.
    expect(trust.state().issuer).toBeUndefined();
    const caKeyFile = join(root, "other-ca.key");
    await writeFile(caKeyFile, other.keyPem);
    expect((await bench({ caFile, caKeyFile })).trust.state().issuer?.certificate.sha256).toBe(other.certificate.sha256);
  });

  test("is refused where a named file is not there, or half of a pair", async () => {
    const missing = join(root, "missing");
    expect(await codeOf(() => bench({ crlFile: missing }))).toBe("FILE_UNREADABLE");
    expect(await codeOf(() => bench({ certFile: join(first, "server.crt") }))).toBe("CONFIG_INVALID");
    expect(await codeOf(() => bench({ keyFile: join(first, "server.key") }))).toBe("CONFIG_INVALID");
  });

  test("has no TLS of its own where only a CA is named, and says so", async () => {
    const trust = await createTrust({ files: { caFile: join(first, "ca.crt") }, ports: manualPorts().ports, log: silentLogger });
    expect(() => trust.tls()).toThrow("there is no server certificate with its key");
    expect(trust.findings().every(({ level }) => level === "ok")).toBe(true);
    await trust.reload();
    expect(trust.findings().every(({ level }) => level === "ok")).toBe(true);
  });
});

describe("files that change", () => {
  test("are taken within two seconds, and whoever listens is told once", async () => {
    const here = await bench();
    here.trust.start();
    const before = here.trust.tls();
    await look(here);
    expect(here.changes()).toBe(0);
    await rotateTrust(here.directory, { ports: here.manual.ports });
    await look(here);
    expect(here.changes()).toBe(1);
    expect(here.trust.bundle().pins).toHaveLength(2);
    expect(here.trust.tls().channel).not.toBe(before.channel);
    expect(here.lines).toContainEqual(["certificates were read anew", { cas: 2, revoked: 0 }]);
    here.trust.stop();
    await here.put("ca.crt", await text(join(first, "ca.crt")));
    await look(here);
    expect(here.changes()).toBe(1);
  });

  test("are taken at once when somebody asks, and no listener is told that went away", async () => {
    const here = await bench();
    let told = 0;
    const stop = here.trust.onChange(() => (told += 1));
    await rotateTrust(here.directory, { ports: here.manual.ports });
    await here.trust.reload();
    expect([here.changes(), told]).toEqual([1, 1]);
    stop();
    await here.put("admin-token.hash", "");
    await here.trust.reload();
    expect([here.changes(), told]).toEqual([2, 1]);
  });

  test("and are not good are left, and it is said once, when they are still so at the next look", async () => {
    const here = await bench();
    here.trust.start();
    const before = here.trust.state();
    await here.put("server.key", "no key");
    await look(here);
    expect(here.lines).toEqual([]);
    await look(here);
    await look(here);
    expect(here.lines).toEqual([
      ["certificates are left as they were: the files are not good", { reason: expect.stringContaining("server.key") }],
    ]);
    expect(here.trust.state()).toBe(before);
    expect(here.changes()).toBe(0);
    expect(here.trust.findings()).toContainEqual(expect.objectContaining({ level: "error", name: "files" }));
    await here.put("server.key", await text(join(first, "server.key")));
    await look(here);
    expect(here.trust.findings().some(({ name }) => name === "files")).toBe(false);
    here.trust.stop();
  });

  test("and are not good are told at once to whoever asked", async () => {
    const here = await bench();
    await here.put("ca.crt", "hello");
    await here.trust.reload();
    await here.trust.reload();
    expect(here.lines).toHaveLength(1);
    await rm(join(here.directory, "ca.crt"));
    await here.trust.reload();
    expect(here.lines).toHaveLength(2);
  });

  test.each([
    ["have run out", -10_000, -5_000, "the CA has run out"],
    ["are not valid yet", 5_000, 10_000, "the CA is not valid yet"],
  ])("and %s do not take the place of those that are good", async (_name, fromMs, untilMs, reason) => {
    const here = await bench();
    const ca = await makeTestCa(NOW_MS, { fromMs: NOW_MS + fromMs, untilMs: NOW_MS + untilMs });
    await rm(join(here.directory, "ca.key"));
    await here.put("ca.crt", ca.pem);
    await here.trust.reload();
    expect(here.changes()).toBe(0);
    expect(here.lines).toEqual([["certificates are left as they were: the files are not good", { reason }]]);
  });

  test("bring a revocation list, and take it away", async () => {
    const here = await bench();
    const { issuer } = here.trust.state();
    if (issuer === undefined) throw new Error("no CA");
    const keyPem = await text(join(first, "ca.key"));
    const crl = await makeCrl(
      { certificate: issuer.certificate, pem: issuer.certificate.pem, keyPem },
      { serials: ["0a"], fromMs: NOW_MS },
    );
    await here.put("crl.pem", crl);
    await here.trust.reload();
    expect(here.trust.state().revocations.isRevoked(issuer.certificate.keySha256, "a")).toBe(true);
    await rm(join(here.directory, "crl.pem"));
    await here.trust.reload();
    expect(here.trust.state().revocations.size).toBe(0);
  });
});

test("what is wrong with the files stands in the log when it begins", async () => {
  const here = await bench();
  for (const [mode, who] of [
    [0o644, "everybody"],
    [0o640, "its group"],
  ] as const) {
    await chmod(join(here.directory, "ca.key"), mode);
    await here.trust.reload();
    here.trust.start();
    here.trust.stop();
    expect(here.lines.splice(0)).toEqual([["trust is not as it should be", { part: "ca key", finding: expect.stringContaining(who) }]]);
  }
});

describe("the server's certificate", () => {
  const DAY_MS = 86_400_000;
  const ISSUED_MS = NOW_MS - 300_000;

  test("is renewed in the last third of its time, for the same key and names, and shown from then on", async () => {
    const here = await bench();
    const [before] = here.trust.state().server;
    if (before === undefined) throw new Error("no certificate");
    const thirdMs = (before.notAfterMs - ISSUED_MS) / 3;
    await here.manual.advance(before.notAfterMs - thirdMs - 1 - NOW_MS);
    await here.trust.reload();
    expect(here.changes()).toBe(0);
    await here.manual.advance(2);
    await here.trust.reload();
    const [after] = here.trust.state().server;
    expect(here.changes()).toBe(1);
    expect(after).toMatchObject({ keySha256: before.keySha256, names: before.names });
    expect(after?.notAfterMs).toBeGreaterThan(before.notAfterMs + 100 * DAY_MS);
    await here.trust.reload();
    expect(here.changes()).toBe(1);
  });

  test("is renewed after it has run out, together with what goes along with it", async () => {
    const here = await bench();
    await rotateTrust(here.directory, { ports: here.manual.ports });
    await here.trust.reload();
    const crossed = here.trust.state().server[1];
    await here.manual.advance(500 * DAY_MS);
    await here.trust.reload();
    expect(here.trust.state().server[0]?.notAfterMs).toBeGreaterThan(here.manual.ports.clock.now());
    expect(here.trust.state().server[1]?.sha256).toBe(crossed?.sha256 ?? "");
  });

  test.each(["without the CA's key", "of another CA", "by another name", "without a name"])("is left alone %s", async (how) => {
    const directory = await copied();
    const untilMs = NOW_MS + 300_000;
    const ca = await makeTestCa(NOW_MS, { untilMs: NOW_MS + 100 * DAY_MS });
    const by = how === "of another CA" ? await makeTestCa(NOW_MS) : ca;
    const names = how === "without a name" ? [] : ["cp"];
    const made = await makeCertificate({ by, fromMs: ISSUED_MS, untilMs, usages: [SERVER_AUTH], names });
    await Promise.all([
      writeFile(join(directory, "ca.crt"), ca.pem),
      how === "without the CA's key" ? rm(join(directory, "ca.key")) : writeFile(join(directory, "ca.key"), ca.keyPem),
      writeFile(join(directory, how === "by another name" ? "tls.crt" : "server.crt"), made.pem),
      writeFile(join(directory, how === "by another name" ? "tls.key" : "server.key"), made.keyPem),
      ...(how === "by another name" ? ["server.crt", "server.key"].map((file) => rm(join(directory, file))) : []),
    ]);
    const manual = manualPorts();
    const trust = await createTrust({ files: { directory }, ports: manual.ports, log: silentLogger });
    await manual.advance(290_000);
    await trust.reload();
    expect(trust.state().server[0]?.sha256).toBe(made.certificate.sha256);
  });

  test("is left alone where it ends with its CA, and where it is named by itself", async () => {
    const here = await bench();
    await here.manual.advance(3649 * DAY_MS);
    await here.trust.reload();
    const [last] = here.trust.state().server;
    expect(last?.notAfterMs).toBe(here.trust.state().cas[0]?.notAfterMs ?? 0);
    await here.manual.advance(DAY_MS / 2);
    await here.trust.reload();
    expect(here.trust.state().server[0]?.sha256).toBe(last?.sha256 ?? "");
    const named = await bench({ certFile: join(first, "server.crt"), keyFile: join(first, "server.key") });
    await named.manual.advance(390 * DAY_MS);
    await named.trust.reload();
    expect(named.changes()).toBe(0);
  });

  test("that cannot be written is tried again after an hour, and said so", async () => {
    const here = await bench();
    await here.manual.advance(390 * DAY_MS);
    const hidden = `${here.directory}-hidden`;
    await rename(here.directory, hidden);
    await here.trust.reload();
    await here.trust.reload();
    const told = here.lines.filter(([message]) => message === "the server's certificate could not be renewed");
    expect(told).toHaveLength(1);
    await rename(hidden, here.directory);
    await here.manual.advance(3_599_999);
    await here.trust.reload();
    expect(here.changes()).toBe(0);
    await here.manual.advance(1);
    await here.trust.reload();
    expect(here.changes()).toBe(1);
  });
});
