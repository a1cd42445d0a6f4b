import { describe, expect, test } from "bun:test";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { runCli, temporaryDirectory } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { startSecureCp } from "../support/secure-cp.ts";

const PIN = /sha256:[0-9a-f]{64}/g;

describe("transporter cp init", () => {
  test("prints what is needed next, once, and never puts anything in the place of what is there", async () => {
    await using home = await temporaryDirectory();
    const cli = (...args: string[]) => runCli(["cp", "init", ...args], { env: { HOME: home.path } });
    const { code, out, err } = await cli("--name", "cp.example.com,192.0.2.1", "--agent", "agent-1", "--agent", "it's");
    expect([code, err]).toEqual([0, ""]);
    const pin = out.match(PIN)?.[0] ?? "none";
    const lines = out.split("\n").map((line) => line.trim());
    for (const line of [
      "transporter cp",
      `transporter login --cp-url https://cp.example.com:8080 --ca-hash ${pin}`,
      `transporter agent --agent-id agent-1 --cp-url https://cp.example.com:8080 --ca-hash ${pin}`,
      `transporter agent --agent-id 'it'\\''s' --cp-url https://cp.example.com:8080 --ca-hash ${pin}`,
    ])
      expect(lines).toContain(line);
    expect(lines.filter((line) => /^tpu_\w+$/.test(line))).toHaveLength(1);
    expect(lines.filter((line) => /^export TRANSPORTER_ENROLMENT_TOKEN=tpe_\w+$/.test(line))).toHaveLength(2);
    const directory = join(home.path, ".local/state/transporter/security");
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    for (const file of await readdir(directory)) expect((await stat(join(directory, file))).mode & 0o777).toBe(0o600);
    const again = await cli();
    expect([again.code, again.out]).toEqual([5, ""]);
    expect(again.err).toContain("ALREADY_INITIALISED");
    expect((await runCli(["cp", "ca", "show", "-o", "name"], { env: { HOME: home.path } })).out).toBe(`ca/${pin}\n`);
  });

  test("says how to find another directory again, and takes the port that is set", async () => {
    await using home = await temporaryDirectory();
    const directory = join(home.path, "a b");
    const { out } = await runCli(["cp", "init", "--security-dir", directory, "--name", "::1"], {
      env: { HOME: home.path, TRANSPORTER_WS_PORT: "9443" },
    });
    expect(out).toContain(`  transporter cp --security-dir '${directory}'\n`);
    expect(out).toContain("--cp-url 'https://[::1]:9443'");
  });

  test.each([
    [["--name", "not a name"], "flag --name"],
    [["--agent", "shop-*"], "is a pattern"],
    [["--token-ttl", "1s"], "flag --token-ttl"],
    [["--security-dir", "none"], "there is no place for the CA"],
  ])("refuses %j", async (args, message) => {
    await using home = await temporaryDirectory();
    const { code, err } = await runCli(["cp", "init", ...args], { env: { HOME: home.path } });
    expect(code).toBe(2);
    expect(err).toContain(message);
    expect(await readdir(home.path)).toEqual([]);
  });
});

describe("transporter cp ca", () => {
  test("replaces the CA, waits for the agents, and retires the old one", async () => {
    await using cp = await startSecureCp();
    const agent = await cp.enrol("agent-1");
    await using home = await temporaryDirectory();
    const env = { HOME: home.path, TRANSPORTER_TOKEN: cp.tokens.admin };
    const caFile = join(home.path, "ca.pem");
    await Bun.write(caFile, cp.ca);
    const ca = (...args: string[]) => runCli(["cp", "ca", ...args, "--security-dir", cp.directory], { env });
    const retire = () => ca("retire", "--cp-url", cp.url, "--ca-file", caFile);

    const rotated = await ca("rotate");
    expect([rotated.code, rotated.out.match(PIN)?.length]).toEqual([0, 2]);
    expect(JSON.parse((await ca("show", "-o", "json")).out)).toMatchObject({ items: [{ use: "issues" }, { use: "trusted", pin: cp.pin }] });
    expect((await ca("rotate")).err).toContain("transporter cp ca retire");
    await eventually(() => cp.security.trust.bundle().pins.length === 2);

    const early = await retire();
    expect(early.code).toBe(5);
    expect(early.err).toContain("nothing but a certificate of the old CA: 1 (agent-1)");
    await cp.renew(agent);
    const late = await retire();
    expect(late).toMatchObject({ code: 0, out: `No longer trusted: ${cp.pin}\n` });
    expect(JSON.parse((await ca("show", "-o", "json")).out).items).toHaveLength(1);
    expect((await ca("retire", "--force")).err).toContain("there is no old CA");
  });

  test("retires none on the word of who does not see all agents, or of another installation", async () => {
    await using cp = await startSecureCp();
    await using other = await startSecureCp();
    await cp.enrol("agent-1");
    const { token } = await cp.token({ kind: "user", role: "viewer", scope: { agents: ["shop-*"] } });
    await using home = await temporaryDirectory();
    const ca = (shown: string, ...args: string[]) =>
      runCli(["cp", "ca", ...args, "--security-dir", cp.directory], { env: { HOME: home.path, TRANSPORTER_TOKEN: shown } });
    const caFile = join(home.path, "ca.pem");
    await Bun.write(caFile, cp.ca + other.ca);
    await ca(token, "rotate");
    await eventually(() => cp.security.trust.bundle().pins.length === 2);
    expect((await ca(token, "retire", "--cp-url", cp.url, "--ca-file", caFile)).err).toContain("does not see all agents");
    const { err } = await ca(other.tokens.admin, "retire", "--cp-url", other.url, "--ca-file", caFile);
    expect(err).toContain("another installation");
    expect(JSON.parse((await ca(token, "show", "-o", "json")).out).items).toHaveLength(2);
  });

  test("says where there is none", async () => {
    await using home = await temporaryDirectory();
    for (const command of ["show", "rotate", "retire"]) {
      const { code, err } = await runCli(["cp", "ca", command, ...(command === "retire" ? ["--force"] : [])], { env: { HOME: home.path } });
      expect(code).toBe(2);
      expect(err).toContain("there is no CA");
    }
  });
});
