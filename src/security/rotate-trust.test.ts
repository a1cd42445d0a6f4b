import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { manualPorts } from "../kit/mod.ts";
import { initTrust } from "./init-trust.ts";
import { codeOf } from "./parts-for-tests.ts";
import { type Certificate, SERVER_AUTH, pinOf, readCertificates } from "./pki/certificate.ts";
import { verifyChain } from "./pki/chain.ts";
import { NO_REVOCATIONS } from "./pki/crl.ts";
import { findFiles } from "./pki/trust-files.ts";
import { type TrustState, readTrust } from "./pki/trust-state.ts";
import { makeCertificate, makeTestCa } from "./pki/certificates-for-tests.ts";
import { retireTrust, retiringCas, rotateTrust } from "./rotate-trust.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
const { ports } = manualPorts();
let root: string;
let count = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "transporter-rotate-"));
});
afterAll(() => rm(root, { recursive: true }));

async function made(): Promise<{ readonly directory: string; readonly old: Certificate }> {
  const directory = join(root, `${(count += 1)}`);
  await initTrust(directory, { ports, names: ["cp.example.com", "127.0.0.1"] });
  const [old] = (await read(directory)).cas;
  if (old === undefined) throw new Error("no CA");
  return { directory, old };
}

const read = async (directory: string): Promise<TrustState> => readTrust(await findFiles({ directory }));

/** Whether somebody who trusts these takes the server for what it is. */
function believes({ server }: TrustState, anchors: readonly Certificate[]): boolean {
  const [leaf, ...others] = server;
  if (leaf === undefined) return false;
  return verifyChain({ leaf, others, anchors, revocations: NO_REVOCATIONS, nowMs: NOW_MS, usage: SERVER_AUTH }).ok;
}

describe("a new CA", () => {
  test("issues from then on, and who trusts the old, the new or both believes the server", async () => {
    const { directory, old } = await made();
    const before = await read(directory);
    const { pin, oldPin } = await rotateTrust(directory, { ports });
    const state = await read(directory);
    const [next, other] = state.cas;
    if (next === undefined) throw new Error("no CA");
    expect([pinOf(next), other?.sha256, oldPin]).toEqual([pin, old.sha256, pinOf(old)]);
    expect(pin).not.toBe(oldPin);
    expect(state.issuer?.certificate).toBe(next);
    for (const anchors of [[old], [next], [old, next]]) expect(believes(state, anchors)).toBe(true);
    expect(believes(before, [next])).toBe(false);
    expect(state.server[0]?.names).toEqual(["cp.example.com", "127.0.0.1"]);
    expect(state.server[0]?.keySha256).toBe(before.server[0]?.keySha256 ?? "");
    // What it issues leads to the old one as well, for control planes that do not know the new one yet.
    const crossed = readCertificates(state.issuer?.chain.join("") ?? "") ?? [];
    expect(crossed.map(({ keySha256, pathLength, ca }) => [keySha256, pathLength, ca])).toEqual([[next.keySha256, 0, true]]);
    for (const file of ["ca.crt", "ca.key", "server.crt"]) expect((await stat(join(directory, file))).mode & 0o777).toBe(0o600);
  });

  test("leaves somebody else's server certificate as it is", async () => {
    const { directory } = await made();
    const foreign = await makeTestCa(NOW_MS);
    const server = await makeCertificate({ by: foreign, fromMs: NOW_MS, untilMs: NOW_MS + 1000, usages: [SERVER_AUTH], names: ["cp"] });
    await writeFile(join(directory, "server.crt"), server.pem);
    await writeFile(join(directory, "server.key"), server.keyPem);
    await rotateTrust(directory, { ports });
    expect(await readFile(join(directory, "server.crt"), "utf8")).toBe(server.pem);
  });

  test("needs no server certificate, and makes none when the old one is retired", async () => {
    const { directory } = await made();
    for (const file of ["server.crt", "server.key"]) await rm(join(directory, file));
    await rotateTrust(directory, { ports });
    expect(await retireTrust(directory)).toHaveLength(1);
    expect((await readdir(directory)).toSorted()).toEqual(["admin-token.hash", "ca.crt", "ca.key"]);
  });

  test("fits together with the old key, as it is while the files are being replaced", async () => {
    const { directory, old } = await made();
    const oldKey = await readFile(join(directory, "ca.key"), "utf8");
    await rotateTrust(directory, { ports });
    await writeFile(join(directory, "ca.key"), oldKey);
    const state = await read(directory);
    expect(state.issuer?.certificate.sha256).toBe(old.sha256);
    expect(state.cas[0]?.sha256).toBe(old.sha256);
    expect(state.issuer?.chain).toEqual([]);
  });

  test("is not begun while another change is under way", async () => {
    const { directory } = await made();
    await rotateTrust(directory, { ports });
    const before = await readFile(join(directory, "ca.crt"), "utf8");
    expect(await codeOf(() => rotateTrust(directory, { ports }))).toBe("CONFIG_INVALID");
    expect(await readFile(join(directory, "ca.crt"), "utf8")).toBe(before);
  });

  test("is not begun without the old one's key", async () => {
    const { directory } = await made();
    await rm(join(directory, "ca.key"));
    expect(await codeOf(() => rotateTrust(directory, { ports }))).toBe("CONFIG_INVALID");
  });

  test("is not begun where the old one must not vouch for another", async () => {
    const { directory } = await made();
    const ca = await makeTestCa(NOW_MS, { ca: 0 });
    await writeFile(join(directory, "ca.crt"), ca.pem);
    await writeFile(join(directory, "ca.key"), ca.keyPem);
    expect(await codeOf(() => rotateTrust(directory, { ports }))).toBe("CONFIG_INVALID");
    expect(await readFile(join(directory, "ca.crt"), "utf8")).toBe(ca.pem);
  });
});

describe("an old CA", () => {
  test("is trusted no more when it is retired, nor is what it signed", async () => {
    const { directory, old } = await made();
    await rotateTrust(directory, { ports });
    expect((await retiringCas(directory)).map(({ sha256 }) => sha256)).toEqual([old.sha256]);
    expect(await retireTrust(directory)).toEqual([pinOf(old)]);
    const state = await read(directory);
    expect([state.cas.length, state.server.length, state.issuer?.chain]).toEqual([1, 1, []]);
    expect(believes(state, [old])).toBe(false);
    expect(believes(state, state.cas)).toBe(true);
    await rotateTrust(directory, { ports });
    expect((await read(directory)).cas).toHaveLength(2);
  });

  test("is not retired where it is the only one", async () => {
    const { directory } = await made();
    expect(await retiringCas(directory)).toEqual([]);
    expect(await codeOf(() => retireTrust(directory))).toBe("CONFIG_INVALID");
  });

  test("is not retired where nobody knows which one issues", async () => {
    const { directory } = await made();
    await rotateTrust(directory, { ports });
    await rm(join(directory, "ca.key"));
    expect(await codeOf(() => retireTrust(directory))).toBe("CONFIG_INVALID");
  });

  test("is none where it stands above the one that issues", async () => {
    const { directory } = await made();
    const [above, gone] = await Promise.all([makeTestCa(NOW_MS), makeTestCa(NOW_MS)]);
    const ca = await makeTestCa(NOW_MS, { by: above });
    await writeFile(join(directory, "ca.crt"), `${ca.pem}${gone.pem}${above.pem}`);
    await writeFile(join(directory, "ca.key"), ca.keyPem);
    expect(await retireTrust(directory)).toEqual([pinOf(gone.certificate)]);
    expect((await read(directory)).cas.map(({ sha256 }) => sha256)).toEqual([ca.certificate.sha256, above.certificate.sha256]);
  });
});
