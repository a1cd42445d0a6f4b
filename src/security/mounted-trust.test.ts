import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, type ManualPorts, manualPorts, silentLogger } from "../kit/mod.ts";
import { type Made, makeCertificate, makeTestCa } from "./pki/certificates-for-tests.ts";
import { type Trust, createTrust } from "./trust.ts";

const DAY_MS = 86_400_000;
let mount: string;
let manual: ManualPorts;
let errors: string[];
let ca: Made;
let count = 0;

beforeEach(async () => {
  mount = await mkdtemp(join(tmpdir(), "transporter-mounted-"));
  manual = manualPorts();
  errors = [];
  ca = await makeTestCa(manual.ports.clock.now());
});
afterEach(() => rm(mount, { recursive: true }));

const issued = (): Promise<Made> => {
  const nowMs = manual.ports.clock.now();
  return makeCertificate({ by: ca, names: ["cp.example.com"], fromMs: nowMs, untilMs: nowMs + 90 * DAY_MS });
};

/** As the kubelet puts the entries of a Secret below a mount: in a directory of their own each time, to which `..data` then leads. */
async function mounted(entries: Readonly<Record<string, string>>): Promise<void> {
  const directory = `..${(count += 1)}`;
  await mkdir(join(mount, directory));
  for (const [name, text] of Object.entries(entries)) await writeFile(join(mount, directory, name), text, { mode: 0o440 });
  await symlink(directory, join(mount, "..data_tmp"));
  await rename(join(mount, "..data_tmp"), join(mount, "..data"));
  for (const name of Object.keys(entries)) await symlink(join("..data", name), join(mount, name)).catch(() => undefined);
}

const withCertificate = (one: Made, key = one.keyPem): Promise<void> => mounted({ "ca.crt": ca.pem, "tls.crt": one.pem, "tls.key": key });

async function trustOf(): Promise<Trust> {
  const log: Logger = { ...silentLogger, error: (message) => void errors.push(message) };
  const [caFile, certFile, keyFile] = ["ca.crt", "tls.crt", "tls.key"].map((name) => join(mount, name));
  const trust = await createTrust({
    files: { caFile: caFile ?? "", certFile: certFile ?? "", keyFile: keyFile ?? "" },
    ports: manual.ports,
    log,
    names: ["cp.example.com"],
  });
  await trust.named();
  trust.start();
  return trust;
}

async function look(trust: Trust): Promise<void> {
  await manual.advance(2_000);
  await trust.settled();
}

describe("files of a Secret that the kubelet mounts", () => {
  test("are read anew when they lead elsewhere, as they do when somebody renews the certificate", async () => {
    const [first, second] = [await issued(), await issued()];
    await withCertificate(first);
    const trust = await trustOf();
    expect(trust.tls().cert).toBe(first.pem);
    await withCertificate(second);
    await look(trust);
    expect([trust.tls().cert, trust.tls().key, errors]).toEqual([second.pem, second.keyPem, []]);
    // Whoever else issues them renews them, too: nothing is written here, not even for a name that is missing.
    expect(trust.findings().filter(({ level }) => level === "error")).toEqual([]);
    trust.stop();
  });

  test("that were read while they changed are looked at again before anything is said", async () => {
    const [first, second] = [await issued(), await issued()];
    await withCertificate(first);
    const trust = await trustOf();
    // One file before the swap and one after it.
    await withCertificate(second, first.keyPem);
    await look(trust);
    expect([trust.tls().cert, errors]).toEqual([first.pem, []]);
    await withCertificate(second);
    await look(trust);
    expect([trust.tls().cert, errors]).toEqual([second.pem, []]);
    trust.stop();
  });

  test("that stay a mixture are told, and what was there goes on", async () => {
    const [first, second] = [await issued(), await issued()];
    await withCertificate(first);
    const trust = await trustOf();
    await withCertificate(second, first.keyPem);
    await look(trust);
    await look(trust);
    await look(trust);
    expect([trust.tls().cert, errors]).toEqual([first.pem, ["certificates are left as they were: the files are not good"]]);
    await rm(join(mount, "..data"));
    await look(trust);
    await look(trust);
    expect(trust.tls().cert).toBe(first.pem);
    trust.stop();
  });
});
