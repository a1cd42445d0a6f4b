import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { copyFile, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, type ManualPorts, manualPorts, silentLogger } from "../kit/mod.ts";
import { initTrust } from "./init-trust.ts";
import { codeOf } from "./parts-for-tests.ts";
import { channelOf, isIssuedBy } from "./pki/certificate.ts";
import { rotateTrust } from "./rotate-trust.ts";
import type { TrustFiles } from "./security.ts";
import { type Trust, createTrust } from "./trust.ts";

let directory: string;
let manual: ManualPorts;
let told: string[];

beforeEach(async () => {
  directory = join(await mkdtemp(join(tmpdir(), "transporter-naming-")), "security");
  manual = manualPorts();
  told = [];
  await initTrust(directory, { ports: manual.ports, names: ["cp.example.com"] });
});
afterEach(() => rm(join(directory, ".."), { recursive: true }));

async function named(names: readonly string[], files: TrustFiles = { directory }): Promise<Trust> {
  const note = (message: string): void => void told.push(message);
  const log: Logger = { ...silentLogger, info: note, warn: note, error: note };
  const trust = await createTrust({ files, ports: manual.ports, log, names });
  await trust.named();
  return trust;
}

const text = (name: string): Promise<string> => readFile(join(directory, name), "utf8");
const missing = (trust: Trust): boolean => trust.findings().some(({ message }) => message.includes("it does not name"));

describe("the names of the server's certificate", () => {
  test("that are missing come to it, by the same CA and for the same key", async () => {
    const key = await text("server.key");
    const trust = await named(["new.example.com", "192.0.2.7", "cp.example.com"]);
    const { server, cas } = trust.state();
    const [own] = server;
    const [ca] = cas;
    if (own === undefined || ca === undefined) throw new Error("nothing was read");
    expect(own.names).toEqual(["cp.example.com", "new.example.com", "192.0.2.7"]);
    expect([isIssuedBy(own, ca), trust.tls().channel, trust.tls().key]).toEqual([true, channelOf(own), key]);
    expect([await text("server.crt"), told, missing(trust)]).toEqual([own.pem, ["the server's certificate was renewed"], false]);
  });

  test("are left as they are where none is missing, and none is taken away", async () => {
    const before = await text("server.crt");
    await named([]);
    await named(["CP.example.com"]);
    expect([await text("server.crt"), told]).toEqual([before, []]);
  });

  test("come to it beside what leads from the CA before", async () => {
    await rotateTrust(directory, { ports: manual.ports });
    const trust = await named(["new.example.com"]);
    const { server, cas } = trust.state();
    expect([server.length, server[0]?.names, cas.length]).toEqual([2, ["cp.example.com", "new.example.com"], 2]);
  });

  test("do not come to one that somebody else brings, which is told", async () => {
    const [certFile, keyFile] = [join(directory, "..", "brought.crt"), join(directory, "..", "brought.key")];
    await copyFile(join(directory, "server.crt"), certFile);
    await copyFile(join(directory, "server.key"), keyFile);
    const brought = await readFile(certFile, "utf8");
    const trust = await named(["new.example.com"], { directory, certFile, keyFile });
    expect([await readFile(certFile, "utf8"), await text("server.crt"), missing(trust)]).toEqual([brought, brought, true]);
    expect(missing(await named(["cp.example.com"], { directory, certFile, keyFile }))).toBe(false);
    await rename(join(directory, "server.crt"), join(directory, "tls.crt"));
    await rename(join(directory, "server.key"), join(directory, "tls.key"));
    expect(missing(await named(["new.example.com"]))).toBe(true);
    await rm(join(directory, "ca.key"));
    await rename(join(directory, "tls.crt"), join(directory, "server.crt"));
    await rename(join(directory, "tls.key"), join(directory, "server.key"));
    expect(missing(await named(["new.example.com"]))).toBe(true);
    expect(told).toEqual([]);
  });

  test("do not come to one that cannot be written, and the next look does not try again at once", async () => {
    const before = await text("server.crt");
    const trust = await createTrust({ files: { directory }, ports: manual.ports, log: silentLogger, names: ["new.example.com"] });
    // As a volume that may only be read, which keeps nobody out who is root.
    await rename(directory, `${directory}-away`);
    await writeFile(directory, "");
    const tried = trust.named().then(
      () => "left",
      () => "thrown",
    );
    expect(await tried).toBe("left");
    await rm(directory);
    await rename(`${directory}-away`, directory);
    await trust.reload();
    expect([await text("server.crt"), missing(trust)]).toEqual([before, true]);
    manual.setWallClock(manual.ports.clock.now() + 3_600_000);
    await trust.reload();
    expect([(await text("server.crt")) === before, missing(trust)]).toEqual([false, false]);
  });

  test("are names", async () => {
    for (const name of ["", "a b", "https://cp.example.com", "cp.example.com:8080"])
      expect(await codeOf(() => named([name]))).toBe("CONFIG_INVALID");
  });
});
