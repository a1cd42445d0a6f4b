import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { systemPorts } from "../../../src/kit/mod.ts";
import { initTrust, makeCsr, makeKey, rotateTrust } from "../../../src/security/mod.ts";
import { issueAgent, makeCa } from "../../../src/security/pki/issue.ts";
import { readRevocations } from "../../../src/security/pki/crl.ts";
import { readCertificates } from "../../../src/security/pki/certificate.ts";
import { readCsr } from "../../../src/security/pki/csr.ts";

/** What is issued here is judged by another's eyes, and what another makes is read here. */
let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "transporter-openssl-"));
});
afterAll(() => rm(root, { recursive: true }));

function openssl(args: readonly string[], input = ""): { readonly code: number; readonly out: string } {
  const run = Bun.spawnSync(["openssl", ...args], { stdin: Buffer.from(input), cwd: root });
  return { code: run.exitCode, out: `${run.stdout.toString()}${run.stderr.toString()}` };
}

describe("openssl", () => {
  test("finds the server's certificate good, before and after a new CA, whichever of them it trusts", async () => {
    const directory = join(root, "security");
    await initTrust(directory, { ports: systemPorts, names: ["cp.example.com", "127.0.0.1"] });
    const verify = (ca: string, host: readonly string[]) =>
      openssl([
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        ...host,
        "-CAfile",
        ca,
        "-untrusted",
        "security/server.crt",
        "security/server.crt",
      ]);
    expect(verify("security/ca.crt", ["-verify_hostname", "cp.example.com"])).toEqual({ code: 0, out: "security/server.crt: OK\n" });
    expect(verify("security/ca.crt", ["-verify_ip", "127.0.0.1"]).code).toBe(0);
    expect(verify("security/ca.crt", ["-verify_hostname", "other.example.com"]).code).not.toBe(0);
    await Bun.write(join(root, "old.crt"), Bun.file(join(directory, "ca.crt")));
    await rotateTrust(directory, { ports: systemPorts });
    const [next] = readCertificates(await Bun.file(join(directory, "ca.crt")).text()) ?? [];
    await writeFile(join(root, "new.crt"), next?.pem ?? "");
    for (const ca of ["old.crt", "new.crt", "security/ca.crt"])
      expect(verify(ca, ["-verify_hostname", "cp.example.com"])).toEqual({ code: 0, out: "security/server.crt: OK\n" });
  });

  test("finds an agent's certificate good as a client, and as nothing else", async () => {
    const { issuer } = await makeCa(Date.now());
    const publicKey = createPublicKey(createPrivateKey(makeKey()));
    const agent = await issueAgent(issuer, { publicKey, agentId: "a b", nowMs: Date.now(), ttlMs: 60_000 });
    await Promise.all([writeFile(join(root, "agent-ca.crt"), issuer.certificate.pem), writeFile(join(root, "agent.crt"), agent.pem)]);
    const verify = (purpose: string) => openssl(["verify", "-x509_strict", "-purpose", purpose, "-CAfile", "agent-ca.crt", "agent.crt"]);
    expect(verify("sslclient")).toEqual({ code: 0, out: "agent.crt: OK\n" });
    expect(verify("sslserver").code).not.toBe(0);
    expect(verify("crlsign").code).not.toBe(0);
    expect(openssl(["x509", "-in", "agent.crt", "-noout", "-ext", "subjectAltName"]).out).toContain("URI:transporter://agent/a%20b");
  });

  test("finds an agent's request signed by its key", () => {
    expect(openssl(["req", "-verify", "-noout"], makeCsr(makeKey())).out).toContain("verify OK");
  });

  test.each([
    ["ec", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"]],
    ["rsa", ["-newkey", "rsa:2048"]],
    ["ed25519", ["-newkey", "ed25519"]],
  ] as const)("makes requests that are read here (%s)", (_name, key) => {
    const made = openssl(["req", "-new", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=a", ...key]);
    const [pem = ""] = /-----BEGIN[\s\S]*-----END CERTIFICATE REQUEST-----/.exec(made.out) ?? [];
    expect(readCsr(pem).keySha256).toMatch(/^[0-9a-f]{64}$/);
  });

  test("makes revocation lists that are read here", async () => {
    const { issuer, keyPem } = await makeCa(Date.now());
    const directory = join(root, "authority");
    await Promise.all([
      Bun.write(join(directory, "ca.crt"), issuer.certificate.pem),
      Bun.write(join(directory, "ca.key"), keyPem),
      // Revoked: the serial number 01FF.
      Bun.write(join(directory, "index.txt"), "R\t400101000000Z\t260101000000Z\t01FF\tunknown\t/CN=gone\n"),
      Bun.write(join(directory, "number"), "01\n"),
      Bun.write(
        join(directory, "ca.cnf"),
        "[ca]\ndefault_ca=d\n[d]\ndatabase=authority/index.txt\ncrlnumber=authority/number\ndefault_md=sha256\ndefault_crl_days=1\n",
      ),
    ]);
    const made = openssl([
      "ca",
      "-gencrl",
      "-config",
      "authority/ca.cnf",
      "-cert",
      "authority/ca.crt",
      "-keyfile",
      "authority/ca.key",
      "-out",
      "authority/crl.pem",
    ]);
    expect(made).toMatchObject({ code: 0 });
    const found = readRevocations(await Bun.file(join(directory, "crl.pem")).text(), [issuer.certificate], "crl.pem");
    expect([found.size, found.isRevoked(issuer.certificate.keySha256, "1ff")]).toEqual([1, true]);
    expect(found.nextUpdateMs).toBeGreaterThan(Date.now());
  });
});
