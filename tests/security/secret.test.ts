import { describe, expect } from "bun:test";
import { X509Certificate } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runCli, temporaryDirectory } from "../support/cli.ts";
import { flakyProxy } from "../support/flaky-proxy.ts";
import { freshNamespace, kubeTest } from "../support/kube.ts";
import { runTransporter } from "../support/process.ts";
import { secretPlace, servedAt, startSecretCp } from "../support/secret-cp.ts";

const MADE = "A CA, a server certificate and the first admin token were made";

async function roleOf(url: string, token: string, ca: string): Promise<string> {
  const response = await fetch(`${url}/v1/whoami`, { headers: { authorization: `Bearer ${token}` }, tls: { ca } });
  return response.status === 200 ? ((await response.json()) as { role: string }).role : String(response.status);
}

describe("a control plane whose CA lies in a Secret", () => {
  kubeTest(
    "of five that start at once one makes CA and admin token, and all show the same certificate",
    async () => {
      await using space = await freshNamespace();
      const made = await secretPlace(space);
      // By environment, as the chart gives it, so that `kubectl exec` finds the place too.
      const env = { TRANSPORTER_SECURITY_SECRET: made.name, TRANSPORTER_KUBECONFIG: made.kubeconfig };
      const place = { ...made, flags: [] };
      await using stack = new AsyncDisposableStack();
      const all = await Promise.all([1, 2, 3, 4, 5].map(() => startSecretCp(place, ["--tls-name", "cp.example.com"], { env })));
      for (const cp of all) stack.use(cp);
      const urls = await Promise.all(all.map(servedAt));
      const [url = ""] = urls;
      const entries = await place.entries();
      expect(Object.keys(entries).toSorted()).toEqual([
        "admin-token",
        "admin-token.hash",
        "ca-hash",
        "ca.crt",
        "ca.key",
        "server.crt",
        "server.key",
      ]);
      const { "admin-token": token = "", "ca.crt": ca = "", "ca-hash": hash = "" } = entries;
      expect(token).toMatch(/^tpu_\w+$/);
      const makers = all.filter((cp) => cp.stderr().includes(MADE));
      expect(makers).toHaveLength(1);
      expect(makers[0]?.stderr()).toContain(`"kept_in":"Secret ${space.name}/${place.name}"`);
      for (const cp of all) expect(cp.stdout() + cp.stderr()).not.toContain(token.slice(17, 50));
      expect(new X509Certificate(entries["server.crt"] ?? "").subjectAltName).toBe(
        "DNS:cp.example.com, DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1",
      );
      expect(await Promise.all(urls.map((one) => roleOf(one, token, ca)))).toEqual(urls.map(() => "admin"));

      // What people do with it: straight out of the Secret, through a pipe.
      await using home = await temporaryDirectory();
      const login = await runTransporter(["login", "--cp-url", url, "--ca-hash", hash, "--token-file", "-"], {
        home: home.path,
        input: token,
      });
      expect([login.exitCode, login.stderr]).toEqual([0, ""]);
      expect(login.stdout).toContain("role admin");

      // Whoever has it removes it; it counts on, and no start makes another.
      await place.put({ "admin-token": null });
      await using later = await startSecretCp(place, ["--tls-name", "cp.example.com,more.example.com", "--tls-name", "192.0.2.7"], { env });
      expect(await roleOf(await servedAt(later), token, ca)).toBe("admin");
      const after = await place.entries();
      expect([after["admin-token"], after["ca.key"]]).toEqual([undefined, entries["ca.key"]]);
      // Names that were missing came to it, by the same CA and key.
      const renewed = new X509Certificate(after["server.crt"] ?? "");
      expect(renewed.subjectAltName).toContain("DNS:cp.example.com, DNS:localhost");
      expect(renewed.subjectAltName).toContain("DNS:more.example.com, IP Address:192.0.2.7");
      expect(renewed.checkIssued(new X509Certificate(ca))).toBe(true);
      expect(after["server.key"]).toBe(entries["server.key"] ?? "");
      expect(later.stderr()).toContain("the server's certificate was renewed");
    },
    180_000,
  );

  kubeTest(
    "goes on, and starts again, while the API server cannot be reached",
    async () => {
      await using space = await freshNamespace();
      const place = await secretPlace(space);
      const text = await readFile(place.kubeconfig, "utf8");
      const { url: server } = space.kube;
      await using proxy = await flakyProxy({ targetPort: Number(new URL(server).port) });
      await using home = await temporaryDirectory();
      const kubeconfig = join(home.path, "kubeconfig");
      await writeFile(kubeconfig, text.replace(server, server.replace(/\d+$/, String(proxy.port))));
      const throughProxy = { flags: ["--security-secret", place.name, "--kubeconfig", kubeconfig] };
      const copy = ["--security-dir", join(home.path, "copy")];
      await using first = await startSecretCp(throughProxy, copy);
      await servedAt(first);
      const { "admin-token": token = "", "ca.crt": ca = "" } = await place.entries();
      expect(await readFile(join(home.path, "copy", "secret-copy.json"), "utf8")).not.toContain(token.slice(17, 50));
      expect(await first.kill("SIGTERM")).toBe(0);

      proxy.accepting = false;
      proxy.cut();
      await using second = await startSecretCp(throughProxy, copy);
      const url = await servedAt(second);
      expect(await roleOf(url, token, ca)).toBe("admin");
      const ready = await fetch(`${url}/readyz?verbose`, { headers: { authorization: `Bearer ${token}` }, tls: { ca } });
      expect([ready.status, await ready.text()]).toEqual([200, expect.stringContaining("what was read before is used on")]);
      expect(second.stderr().match(/The installation's files cannot be read/g)).toHaveLength(1);

      proxy.accepting = true;
      process.kill(second.pid, "SIGHUP");
      await second.line(/The installation's files can be read again/);
    },
    180_000,
  );

  kubeTest(
    "that was emptied makes no other CA at the next start, until somebody says so",
    async () => {
      await using space = await freshNamespace();
      await using home = await temporaryDirectory();
      const place = await secretPlace(space);
      const store = ["--store", `sqlite:${join(home.path, "cp.db")}`];
      await using first = await startSecretCp(place, store);
      await servedAt(first);
      const entries = await place.entries();
      expect(await first.kill("SIGTERM")).toBe(0);

      // As `helm upgrade --force` does.
      await place.put(Object.fromEntries(Object.keys(entries).map((name) => [name, null])));
      const start = ["cp", "--ws-port=0", ...store, ...place.flags];
      const refused = await runCli(start, { env: { HOME: home.path } });
      expect([refused.code, refused.err]).toEqual([2, expect.stringContaining("a new CA would lock out all its agents")]);
      expect(await place.entries()).toEqual({});

      const admin = ["--security-secret", `${space.name}/${place.name}`, "--kubeconfig", space.kube.kubeconfigPath];
      expect((await runCli(["cp", "init", ...admin], { env: { HOME: home.path } })).code).toBe(0);
      await using second = await startSecretCp(place, store);
      await servedAt(second);
      expect((await place.entries())["ca.crt"]).not.toBe(entries["ca.crt"] ?? "");
    },
    120_000,
  );

  kubeTest("says what is missing, and never begins anew where the CA is gone", async () => {
    await using space = await freshNamespace();
    await using home = await temporaryDirectory();
    const run = (flags: readonly string[], command: readonly string[] = ["cp", "--ws-port=0", "--store=memory:"]) =>
      runCli([...command, ...flags], { env: { HOME: home.path } });

    const unreadable = await secretPlace(space, { verbs: ["patch"] });
    const closed = await run(unreadable.flags);
    expect([closed.code, closed.err]).toEqual([3, expect.stringContaining(`--resource-name ${unreadable.name}`)]);

    const missing = await secretPlace(space, { make: false });
    const unmade = await run(missing.flags);
    expect([unmade.code, unmade.err]).toEqual([
      3,
      expect.stringContaining(`kubectl --namespace ${space.name} create secret generic ${missing.name}`),
    ]);

    const fixed = await secretPlace(space, { verbs: ["get"] });
    const unfilled = await run(fixed.flags);
    expect([unfilled.code, unfilled.err]).toEqual([3, expect.stringContaining("with the verbs get and patch")]);

    const left = await secretPlace(space);
    await left.put({ "ca.key": "what is left" });
    const robbed = await run(left.flags);
    expect([robbed.code, robbed.err]).toEqual([2, expect.stringContaining(`there is ca.key of Secret ${space.name}/${left.name}`)]);
    expect(await left.entries()).toEqual({ "ca.key": "what is left" });

    // The doctor says the same, before anything is started, and writes nothing.
    const doctor = async (flags: readonly string[]) => (await run(flags, ["doctor", "cp", "--ws-port=0", "--store=memory:"])).out;
    expect(await doctor(unreadable.flags)).toMatch(/^FAIL +secret .*forbidden/im);
    expect(await doctor(missing.flags)).toMatch(/^FAIL +secret .*is not there.*\n.*create secret generic/m);
    expect(await doctor(fixed.flags)).toMatch(/^FAIL +secret .*is empty, and may not be written/m);
    expect(await doctor((await secretPlace(space)).flags)).toMatch(/^ok +secret .*is empty, and filled at the first start/m);
    expect(await fixed.entries()).toEqual({});

    // Somebody who may fills it before; then an account that may only read gets along, and is told what comes of it.
    const admin = ["--security-secret", `${space.name}/${fixed.name}`, "--kubeconfig", space.kube.kubeconfigPath];
    const init = await run(admin, ["cp", "init", "--name", "cp.example.com"]);
    expect([init.code, init.err]).toEqual([0, expect.stringContaining("transporter token create")]);
    expect(init.out).toContain(`transporter cp --security-secret ${space.name}/${fixed.name}\n`);
    expect(await fixed.entries()).not.toHaveProperty("admin-token");
    expect((await run(admin, ["cp", "init"])).err).toContain("ALREADY_INITIALISED");
    expect(await doctor(fixed.flags)).toMatch(/^warn +secret .*cannot be renewed\n.*with the verbs get and patch/m);
    expect(await doctor([...fixed.flags, "--tls-name", "new.example.com"])).toMatch(
      /^warn +certificates .*does not name new\.example\.com/m,
    );
  });
});
