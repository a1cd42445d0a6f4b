import { describe, expect, test } from "bun:test";
import { manualPorts } from "../kit/mod.ts";
import { codeOf } from "./parts-for-tests.ts";
import { pinOf } from "./pki/certificate.ts";
import { findFiles, keptFile } from "./pki/trust-files.ts";
import { type TrustState, readTrust } from "./pki/trust-state.ts";
import { retireTrust, retiringCas, rotateTrust } from "./rotate-trust.ts";
import { parseToken } from "./token-format.ts";
import { type TrustVault, initVault, ownEntries, readyVault } from "./trust-vault.ts";
import { UNREACHABLE, memoryVault } from "./vault-for-tests.ts";

const { ports } = manualPorts();
const OPTIONS = { ports, names: ["cp.example.com", "localhost"] };
const ALL = ["admin-token", "admin-token.hash", "ca-hash", "ca.crt", "ca.key", "server.crt", "server.key"];

async function stateOf(vault: TrustVault): Promise<TrustState> {
  const content = await vault.read();
  if (content === undefined) throw new Error("there is none");
  return readTrust(await findFiles({ kept: { location: vault.location, content: () => content } }));
}

describe("an empty vault", () => {
  test.each([[{}], [undefined], [{ other: "of somebody", "ca.crt": "  \n", "admin-token": "" }]])(
    "is filled with all that an installation needs: %j",
    async (entries: Record<string, string> | undefined) => {
      const vault = memoryVault(entries);
      const { made, content } = await readyVault(vault, OPTIONS);
      const there = vault.entries ?? {};
      expect(Object.keys(there).filter((name) => name !== "other")).toEqual(expect.arrayContaining(ALL));
      expect(there["other"]).toEqual(entries?.["other"]);
      expect(content).toEqual({ entries: there, version: vault.version() });
      const { cas, server, issuer, adminTokens } = await stateOf(vault);
      const [ca] = cas;
      if (ca === undefined) throw new Error("no CA");
      expect([made?.pin, there["ca-hash"], issuer?.certificate]).toEqual([pinOf(ca), pinOf(ca), ca]);
      expect(server[0]?.names).toEqual(["cp.example.com", "localhost"]);
      const token = parseToken(there["admin-token"] ?? "");
      expect(adminTokens).toEqual([{ id: token?.id ?? "", sha256: token?.sha256 ?? "" }]);
      expect(vault.writes()).toBe(1);
    },
  );

  test("is filled by one of those who begin at once", async () => {
    const vault = memoryVault({});
    const all = await Promise.all([1, 2, 3, 4, 5].map(() => readyVault(vault, OPTIONS)));
    expect(all.filter(({ made }) => made !== undefined)).toHaveLength(1);
    for (const { content } of all) expect(content.entries).toEqual(vault.entries ?? {});
  });

  test("is not filled over what somebody else wrote meanwhile", async () => {
    const winner = memoryVault({});
    await readyVault(winner, OPTIONS);
    const vault = memoryVault({});
    vault.between = () => vault.put(winner.entries ?? {});
    const { made, content } = await readyVault(vault, OPTIONS);
    expect([made, content.entries]).toEqual([undefined, winner.entries ?? {}]);
  });

  test("that others write all the time is given up at last", async () => {
    const vault = memoryVault({});
    const restless: TrustVault = { ...vault, read: () => vault.read(), write: () => Promise.resolve(undefined) };
    expect(await codeOf(() => readyVault(restless, OPTIONS))).toBe("KUBE_UNAVAILABLE");
    expect(vault.reads()).toBe(20);
  });
});

describe("a vault", () => {
  test("is not begun anew where the store is of an installation that has begun; who begins at the same moment is waited for", async () => {
    const lost = memoryVault({});
    const options = { ...OPTIONS, begun: async () => true };
    expect(await codeOf(() => readyVault(lost, options))).toBe("CONFIG_INVALID");
    expect(lost.entries).toEqual({});
    const quicker = memoryVault({});
    // What another one wrote between the look into the vault and the one into the store.
    const begun = async (): Promise<boolean> => {
      await readyVault(quicker, OPTIONS);
      return true;
    };
    const { content, made } = await readyVault(quicker, { ...OPTIONS, begun });
    expect([made, content.entries["ca.key"]]).toEqual([undefined, quicker.entries?.["ca.key"] ?? ""]);
    const first = await readyVault(memoryVault({}), { ...OPTIONS, begun: async () => false });
    expect(first.made).toBeDefined();
    // Whoever means another CA says so.
    await initVault(lost, OPTIONS);
    expect((await readyVault(lost, options)).content.entries["ca.crt"]).toContain("BEGIN CERTIFICATE");
  });

  test("that is filled is left as it is, whoever took the admin token out", async () => {
    const vault = memoryVault({});
    await readyVault(vault, OPTIONS);
    vault.put({ "admin-token": null });
    const before = vault.version();
    const { made } = await readyVault(vault, OPTIONS);
    expect([made, vault.version(), vault.entries?.["admin-token"]]).toEqual([undefined, before, undefined]);
  });

  test.each([
    "ca.key",
    "server.crt",
    "server.key",
    "admin-token.hash",
    "enrolment-token.hash",
    "tls.crt",
    "tls.key",
    "admin-token",
    "ca-hash",
  ])("that has %s and no CA never gets another", async (name) => {
    const vault = memoryVault({ [name]: "x" });
    const failure = readyVault(vault, OPTIONS).then(String, String);
    expect(await failure).toContain(`there is ${name} of Secret ns/trust, and no ca.crt beside it`);
    expect(await codeOf(() => readyVault(vault, OPTIONS))).toBe("CONFIG_INVALID");
    expect(await codeOf(() => initVault(vault, OPTIONS))).toBe("ALREADY_INITIALISED");
    expect(vault.entries).toEqual({ [name]: "x" });
  });

  test("has no file where an entry is blank", () => {
    for (const text of [undefined, "", " \n"]) expect(keptFile(text, "ca.crt", "Secret ns/trust")).toBeUndefined();
    expect(keptFile("x", "ca.crt", "Secret ns/trust")).toEqual({ path: "ca.crt of Secret ns/trust", text: "x", mode: 0o600 });
  });

  test("gives a control plane what it needs, and the admin token to nobody", async () => {
    const entries = { "ca.crt": "1", "tls.crt": "2", "crl.pem": "3", "ca-hash": "4", "admin-token": "5", other: "6" };
    expect(ownEntries({ entries, version: "7" })).toEqual({
      entries: { "ca.crt": "1", "tls.crt": "2", "crl.pem": "3", "ca-hash": "4" },
      version: "7",
    });
  });

  test("of `init` keeps the hash of the admin token alone, and is made once", async () => {
    const vault = memoryVault();
    const { adminToken, pin, enrolmentTokens } = await initVault(vault, { ...OPTIONS, agents: ["a"] });
    const { adminTokens, cas } = await stateOf(vault);
    expect(adminTokens).toMatchObject([{ id: parseToken(adminToken)?.id }]);
    expect(vault.entries).not.toHaveProperty("admin-token");
    expect(JSON.stringify(vault.entries)).not.toContain(adminToken.slice(17, 50));
    expect([cas.map(pinOf), vault.entries?.["ca-hash"], enrolmentTokens.length]).toEqual([[pin], pin, 1]);
    expect(await codeOf(() => initVault(vault, OPTIONS))).toBe("ALREADY_INITIALISED");
  });

  test("of `init` is not written over what somebody else wrote meanwhile", async () => {
    const vault = memoryVault({});
    vault.between = () => vault.put({ other: "x" });
    expect(await codeOf(() => initVault(vault, OPTIONS))).toBe("ALREADY_INITIALISED");
    expect(vault.entries).toEqual({ other: "x" });
  });

  test("tells what keeps it from being read", async () => {
    const vault = memoryVault({});
    vault.fault = UNREACHABLE;
    expect(await codeOf(() => readyVault(vault, OPTIONS))).toBe("KUBE_UNAVAILABLE");
  });
});

describe("a new CA in a vault", () => {
  test("comes and goes by one write each, and the hash is that of the one that issues", async () => {
    const vault = memoryVault({});
    await readyVault(vault, OPTIONS);
    const { pin, oldPin } = await rotateTrust(vault, { ports });
    const rotated = await stateOf(vault);
    expect(rotated.cas.map(pinOf)).toEqual([pin, oldPin]);
    expect([rotated.issuer?.certificate, vault.entries?.["ca-hash"], vault.writes()]).toEqual([rotated.cas[0], pin, 2]);
    expect([rotated.server.length, rotated.server[0]?.names]).toEqual([2, ["cp.example.com", "localhost"]]);
    expect((await retiringCas(vault)).map(pinOf)).toEqual([oldPin]);
    expect(await retireTrust(vault)).toEqual([oldPin]);
    const retired = await stateOf(vault);
    expect([retired.cas.map(pinOf), retired.server.length, vault.entries?.["ca-hash"], vault.writes()]).toEqual([[pin], 1, pin, 3]);
    expect(vault.entries?.["admin-token"]).toMatch(/^tpu_/);
  });

  test("is begun over what is there, not over what was read before", async () => {
    const vault = memoryVault({});
    await readyVault(vault, OPTIONS);
    vault.between = () => vault.put({ other: "x" });
    const { pin } = await rotateTrust(vault, { ports });
    expect([(await stateOf(vault)).cas.map(pinOf)[0], vault.entries?.["other"]]).toEqual([pin, "x"]);
    const rotated = { ...vault.entries };
    vault.between = () => vault.put({ other: "y" });
    await retireTrust(vault);
    expect((await stateOf(vault)).cas).toHaveLength(1);
    // Of two who begin one at once the second finds the first one's.
    const late = memoryVault(rotated);
    await retireTrust(late);
    const single = { ...late.entries };
    const contested = memoryVault(single);
    contested.between = () => contested.put(rotated);
    expect(await codeOf(() => rotateTrust(contested, { ports }))).toBe("CONFIG_INVALID");
    expect(contested.entries).toEqual(rotated);
  });

  test("is not begun where there is none, or no key", async () => {
    const vault = memoryVault({});
    expect(await rotateTrust(vault, { ports }).then(String, String)).toContain("there is no ca.crt in Secret ns/trust");
    await readyVault(vault, OPTIONS);
    vault.put({ "ca.key": null });
    expect(await rotateTrust(vault, { ports }).then(String, String)).toContain("there is no ca.key in Secret ns/trust");
  });
});
