import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { manualPorts } from "../kit/mod.ts";
import { initTrust, serverNameProblem } from "./init-trust.ts";
import { codeOf } from "./parts-for-tests.ts";
import { SERVER_AUTH, pinOf, readCertificates } from "./pki/certificate.ts";
import { verifyChain } from "./pki/chain.ts";
import { NO_REVOCATIONS } from "./pki/crl.ts";
import { findFiles } from "./pki/trust-files.ts";
import { readTrust } from "./pki/trust-state.ts";
import { parseToken } from "./token-format.ts";

const NOW_MS = Date.parse("2026-01-01T00:00:00Z");
const { ports } = manualPorts();
let root: string;
let count = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "transporter-init-"));
});
afterAll(() => rm(root, { recursive: true }));

const fresh = (): string => join(root, `${(count += 1)}`, "security");
const names = ["cp.example.com", "192.0.2.1", "2001:db8::1"];

describe("a first CA", () => {
  test("comes with a server certificate, an admin token and the agents' tokens, of which only hashes are kept", async () => {
    const directory = fresh();
    const made = await initTrust(directory, { ports, names: [...names, ...names], agents: ["a b", "a b"], enrolmentTokenTtlMs: 60_000 });
    const state = readTrust(await findFiles({ directory }));
    const [ca] = state.cas;
    const [server] = state.server;
    if (ca === undefined || server === undefined) throw new Error("nothing was made");
    expect(made).toMatchObject({ directory, pin: pinOf(ca) });
    expect(state.issuer?.certificate).toBe(ca);
    expect(server.names).toEqual(["cp.example.com", "192.0.2.1", "2001:0db8:0000:0000:0000:0000:0000:0001"]);
    const query = { leaf: server, others: [], anchors: [ca], revocations: NO_REVOCATIONS, nowMs: NOW_MS, usage: SERVER_AUTH };
    expect(verifyChain(query).ok).toBe(true);
    expect([ca.pathLength, ca.keyUsage, server.extendedKeyUsage]).toEqual([
      1,
      { digitalSignature: false, certSign: true, crlSign: true },
      [SERVER_AUTH],
    ]);
    expect(ca.notBeforeMs).toBe(NOW_MS - 300_000);
    expect([ca.notAfterMs, server.notAfterMs]).toEqual([NOW_MS + 3650 * 86_400_000, NOW_MS + 397 * 86_400_000]);
    const admin = parseToken(made.adminToken);
    expect(admin?.type).toBe("user");
    expect(state.adminTokens).toEqual([{ id: admin?.id ?? "", sha256: admin?.sha256 ?? "" }]);
    const [enrolment] = made.enrolmentTokens;
    const parsed = parseToken(enrolment?.token ?? "");
    expect(parsed?.type).toBe("enrolment");
    expect(made.enrolmentTokens).toHaveLength(1);
    const { id, sha256 } = parsed ?? { id: "", sha256: "" };
    expect(state.enrolmentTokens).toEqual([{ id, sha256, agent: "a b", expiresAtMs: NOW_MS + 60_000 }]);
    for (const file of await readdir(directory)) {
      const text = await readFile(join(directory, file), "utf8");
      for (const token of [made.adminToken, enrolment?.token ?? ""]) expect(text).not.toContain(token.slice(17, 50));
    }
  });

  test("lies where only its owner may look, in a directory that was open before too", async () => {
    const directory = fresh();
    await mkdir(directory, { recursive: true, mode: 0o755 });
    await initTrust(directory, { ports, names, agents: ["a"] });
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    const files = await readdir(directory);
    expect(files.toSorted()).toEqual(["admin-token.hash", "ca.crt", "ca.key", "enrolment-token.hash", "server.crt", "server.key"]);
    for (const file of files) expect((await stat(join(directory, file))).mode & 0o777).toBe(0o600);
  });

  test("is another each time, in its name too, and needs no agents", async () => {
    const [one, other] = [fresh(), fresh()];
    const made = await Promise.all([one, other].map((directory) => initTrust(directory, { ports, names })));
    expect(made[0]?.pin).not.toBe(made[1]?.pin ?? "");
    expect(made[0]?.enrolmentTokens).toEqual([]);
    expect(await readdir(one)).not.toContain("enrolment-token.hash");
    const subjects = await Promise.all(
      [one, other].map(async (directory) => readCertificates(await readFile(join(directory, "ca.crt"), "utf8"))?.[0]?.subject),
    );
    expect(subjects[0]).not.toBe(subjects[1]);
  });

  test.each(["ca.crt", "ca.key", "server.crt", "server.key", "admin-token.hash", "enrolment-token.hash"])(
    "never takes the place of a %s that is there",
    async (file) => {
      const directory = fresh();
      await mkdir(directory, { recursive: true, mode: 0o755 });
      await writeFile(join(directory, file), "mine");
      // Tokens of agents that are there already count, also where none are to be made.
      for (const agents of [["a"], []])
        expect(await codeOf(() => initTrust(directory, { ports, names, agents }))).toBe("ALREADY_INITIALISED");
      expect((await stat(directory)).mode & 0o777).toBe(0o755);
      expect(await readdir(directory)).toEqual([file]);
      expect(await readFile(join(directory, file), "utf8")).toBe("mine");
    },
  );

  test("is made once where two make it at the same time, and by one of them wholly", async () => {
    const directory = fresh();
    const codes = await Promise.all(Array.from({ length: 4 }, () => codeOf(() => initTrust(directory, { ports, names }))));
    const made = codes.filter((code) => code === "ok").length;
    expect(made).toBeLessThanOrEqual(1);
    expect(codes.filter((code) => code === "ALREADY_INITIALISED")).toHaveLength(4 - made);
    if (made === 1) expect(readTrust(await findFiles({ directory })).issuer).toBeDefined();
    else expect(await readdir(directory)).toEqual([]);
  });

  test("is not made where it cannot be written, and nothing is left behind", async () => {
    const directory = join(fresh(), "file", "below");
    await mkdir(join(directory, "..", ".."), { recursive: true });
    await writeFile(join(directory, ".."), "a file");
    expect(await codeOf(() => initTrust(directory, { ports, names }))).toBe("FILE_UNREADABLE");
  });

  test.each([
    [{ names: [] }, "the server's certificate needs a name"],
    [{ names: ["cp.example.com", "not a name"] }, "neither a DNS name nor an IP address"],
    [{ agents: [""] }, "white space"],
    [{ agents: ["shop-*"] }, "is a pattern"],
  ])("is not made with %j", async (more, message) => {
    const directory = fresh();
    const making = initTrust(directory, { ports, names, ...more });
    expect(await making.catch((error: Error) => error.message)).toContain(message);
    expect(await readdir(join(directory, "..")).catch(() => [])).toEqual([]);
  });
});

test.each([
  ["localhost", true],
  ["cp.example.com", true],
  ["*.example.com", true],
  ["my_host", true],
  ["192.0.2.1", true],
  ["::1", true],
  ["", false],
  ["a..b", false],
  ["-a", false],
  ["a-", false],
  ["cp.example.com:8080", false],
  ["https://cp", false],
  ["*", false],
  ["a.*.b", false],
  [`${"a".repeat(64)}.com`, false],
  [`${"abc.".repeat(63)}a`, true],
  [`${"abc.".repeat(63)}ab`, false],
])("%j is a server's name: %p", (name, expected) => {
  expect(serverNameProblem(name) === undefined).toBe(expected);
});
