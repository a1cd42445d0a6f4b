import { describe, expect, test } from "bun:test";
import { chmod, stat } from "node:fs/promises";
import { join } from "node:path";
import { startCp } from "../support/cp.ts";
import { type CliRun, type TemporaryDirectory, runCli, temporaryDirectory } from "../support/cli.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";

/** A person's machine: a home of its own, and nothing in the environment that is not said. */
async function person(): Promise<
  TemporaryDirectory & {
    readonly run: (args: readonly string[], more?: Person) => Promise<CliRun>;
    readonly kept: (name: string) => string;
  }
> {
  const home = await temporaryDirectory();
  return {
    ...home,
    run: (args, { env, ...rest } = {}) => runCli(args, { env: { HOME: home.path, ...env }, ...rest }),
    kept: (name) => join(home.path, ".config/transporter", name),
  };
}
interface Person {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly typed?: string;
  readonly terminal?: number;
}

const loginLine = (cp: SecureControlPlane, ...more: string[]): string[] => ["login", "--cp-url", cp.url, "--ca-hash", cp.pin, ...more];

/** A server that notes what it is shown, and has another CA than the one that is meant. */
async function impostor(cp: SecureControlPlane): Promise<{ url: string; shown: string[]; stop: () => Promise<void> }> {
  await using directory = await temporaryDirectory();
  const [key, cert] = [join(directory.path, "key.pem"), join(directory.path, "cert.pem")];
  const made = Bun.spawnSync(
    ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=evil"].concat(
      ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", cert],
    ),
  );
  expect(made.exitCode).toBe(0);
  const shown: string[] = [];
  const own = await Bun.file(cert).text();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert: own, key: await Bun.file(key).text() },
    fetch(request) {
      shown.push(request.headers.get("authorization") ?? "nothing");
      // The real CA beside its own: whoever takes all of the bundle once the hash is in it is caught.
      return Response.json({ trust_bundle: `${own}${cp.ca}`, pins: [cp.pin] });
    },
  });
  return { url: `https://127.0.0.1:${server.port}`, shown, stop: () => server.stop(true) };
}

describe("login", () => {
  test("pins the CA by its hash, keeps context, CA and token for its owner alone, and every command shows the token", async () => {
    await using cp = await startSecureCp();
    await using me = await person();
    const run = await me.run(loginLine(cp), { stdin: `${cp.tokens.admin}\n` });
    expect(run).toMatchObject({ code: 0, err: "" });
    expect(run.out).toStartWith(`Logged in to ${cp.url} as token:`);
    expect(run.out).toContain("role admin");
    for (const name of ["credentials.json", "contexts.json", "ca/127.0.0.1.pem"])
      expect([name, (await stat(me.kept(name))).mode & 0o777]).toEqual([name, 0o600]);
    expect(await Bun.file(me.kept("ca/127.0.0.1.pem")).text()).toContain(cp.ca.trim());
    expect(await Bun.file(me.kept("contexts.json")).text()).not.toContain("tpu_");

    expect((await me.run(["whoami", "-o", "json"])).out).toContain('"role": "admin"');
    for (const command of [
      ["get", "events"],
      ["get", "agents"],
      ["get", "replicas"],
      ["get", "identities"],
      ["get", "enrolments"],
      ["audit"],
      ["token", "list"],
    ])
      expect([command, (await me.run(command)).code]).toEqual([command, 0]);
    expect((await me.run(["describe", "event", "nope"])).code).toBe(4);
    expect((await me.run(["watch", "nope"])).err).toContain("EVENT_NOT_FOUND");
    expect((await me.run(["doctor", "send"], { env: { PATH: "" } })).out).toMatch(/^ok +identity +token:/m);
    // The same address by a flag is the same control plane.
    expect((await me.run(["whoami", "--cp-url", cp.url])).code).toBe(0);
    const event = {
      id: "e-1",
      type: "k8s_resource",
      target_agent: "agent-1",
      payload: { manifests: ["apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\n"] },
    };
    const file = await me.file("event.json", JSON.stringify(event));
    expect(await me.run(["send", "from-file", "--file", file])).toMatchObject({ code: 0, out: "e-1\n" });
    // Who it was stands with what they did.
    expect((await me.run(["audit", "--event", "e-1", "-o", "json"])).out).toContain('"principal": "token:bootstrap-admin"');
  });

  test("believes nobody who has another CA, and shows them nothing", async () => {
    await using cp = await startSecureCp();
    await using me = await person();
    const evil = await impostor(cp);
    const input = { stdin: cp.tokens.admin };
    // It hands the real CA out, beside its own, and cannot speak for it.
    const caught = await me.run(["login", "--cp-url", evil.url, "--ca-hash", cp.pin], input);
    expect(caught.code).toBe(7);
    expect(caught.err).toContain("CP_UNREACHABLE");
    const wrong = await me.run(["login", "--cp-url", evil.url, "--ca-hash", `sha256:${"0".repeat(64)}`], input);
    expect(wrong.code).toBe(3);
    expect(wrong.err).toContain("CA_MISMATCH");
    const unpinned = await me.run(["login", "--cp-url", evil.url], input);
    expect(unpinned.err).toContain("--ca-hash");
    expect(new Set(evil.shown)).toEqual(new Set(["nothing"]));
    expect(await Bun.file(me.kept("credentials.json")).exists()).toBe(false);
    await evil.stop();
  });

  test("takes the token from terminal, variable, file and standard input; a mistyped one is told before anybody is asked", async () => {
    await using cp = await startSecureCp();
    await using me = await person();
    const file = await me.file("token", `${cp.tokens.viewer}\n`);
    const typed = await me.run(loginLine(cp), { typed: cp.tokens.operator, terminal: 80 });
    expect(typed.err).toBe(`Token for ${cp.url} (not shown): \n`);
    expect(typed.out).toContain("role operator");
    expect((await me.run(loginLine(cp), { env: { TRANSPORTER_TOKEN: cp.tokens.producer } })).out).toContain("role producer");
    expect((await me.run(loginLine(cp, "--token-file", file))).out).toContain("role viewer");
    expect((await me.run(loginLine(cp, "--token-file", "-"), { stdin: cp.tokens.admin })).out).toContain("role admin");
    for (const [stdin, words] of [
      [`${cp.tokens.admin.slice(0, -1)}!`, "typing error"],
      ["", "there is no token"],
      ["two words", "this is not a token"],
      [cp.tokens.admin.replace("tpu_", "tpe_"), "this is an enrolment token"],
    ] as const) {
      const run = await me.run(loginLine(cp), { stdin });
      expect(run.code).toBe(2);
      expect(run.err).toContain(words);
      expect(run.err).not.toContain(cp.tokens.admin.slice(20, 40));
    }
    // What was good before is there still.
    expect((await me.run(["whoami"])).out).toContain("admin");
    expect((await me.run(["logout"])).code).toBe(0);
    const out = await me.run(["whoami"]);
    expect(out.code).toBe(3);
    expect(out.err).toContain("transporter login");
  });

  test("to one that asks nobody keeps no token", async () => {
    await using cp = await startCp();
    await using me = await person();
    const run = await me.run(["login", "--cp-url", cp.url], { stdin: "typed-7c1e94" });
    expect(run.code).toBe(0);
    expect(run.err).toContain("asks nobody who they are");
    expect(await Bun.file(me.kept("credentials.json")).text()).not.toContain("typed-7c1e94");
    expect((await me.run(["whoami"])).out).toContain("anonymous");
  });

  test("by a client certificate signs a challenge, each time anew", async () => {
    await using files = await temporaryDirectory();
    const at = (name: string): string => join(files.path, name);
    const openssl = (...args: string[]): void => {
      const { exitCode, stderr } = Bun.spawnSync(["openssl", ...args]);
      if (exitCode !== 0) throw new Error(stderr.toString());
    };
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl("req", "-x509", ...key, "-days", "1", "-subj", "/CN=people", "-keyout", at("ca.key"), "-out", at("ca.crt"));
    openssl("req", ...key, "-subj", "/O=transporter:operator/CN=jo", "-keyout", at("jo.key"), "-out", at("jo.csr"));
    await files.file("ext", "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth\n");
    openssl(
      "x509",
      "-req",
      "-in",
      at("jo.csr"),
      "-CA",
      at("ca.crt"),
      "-CAkey",
      at("ca.key"),
      "-days",
      "1",
      "-extfile",
      at("ext"),
      "-out",
      at("jo.crt"),
    );
    await using cp = await startSecureCp();
    await Bun.write(join(cp.directory, "client-ca.crt"), Bun.file(at("ca.crt")));
    await cp.security.trust.reload();
    await using me = await person();
    const certificate = ["--client-cert", at("jo.crt"), "--client-key", at("jo.key")];
    const run = await me.run(loginLine(cp, ...certificate));
    expect(run.err).toBe("");
    expect(run.out).toContain("as cert:jo (role operator");
    expect((await me.run(["whoami", "-o", "json"])).out).toContain('"via": "certificate"');
    expect((await me.run(["whoami", ...certificate.slice(0, 2)])).err).toContain("needs --client-key");
    expect((await me.run(["whoami", "--client-cert", at("jo.crt"), "--client-key", at("ca.key")])).err).toContain(
      "is not the key of that certificate",
    );
  });
});

describe("a token", () => {
  test("is never taken as an argument, wherever it stands, and not repeated", async () => {
    await using cp = await startSecureCp();
    await using me = await person();
    const token = cp.tokens.admin;
    for (const args of [
      ["whoami", token],
      ["whoami", "--token", token],
      ["whoami", `--token=${token}`],
      [`--token-file=${token}`, "whoami"],
      ["send", "k8s", "-f", token],
      ["login", "--", token],
    ]) {
      const run = await me.run(args);
      expect(run.code).toBe(2);
      expect(run.out).toBe("");
      expect(run.err).toContain("is a token, and every user of this machine can read command lines");
      expect(run.err).toContain("TRANSPORTER_TOKEN");
      expect(run.err).not.toContain(token.slice(0, 20));
    }
    const jwt = `eyJ${"a".repeat(20)}.eyJ${"b".repeat(20)}.sig`;
    expect((await me.run(["whoami", `--token-file=${jwt}`])).err).toContain("is a token");
  });

  test("is shown only where nobody on the way can read it", async () => {
    await using me = await person();
    const shown: (string | null)[] = [];
    const server = Bun.serve({
      hostname: "0.0.0.0",
      port: 0,
      fetch(request) {
        shown.push(request.headers.get("authorization"));
        return Response.json({ tenant: "default", name: "x", kind: "user", via: "token", role: "viewer", secured: true });
      },
    });
    const env = { TRANSPORTER_TOKEN: "an-opaque-token" };
    const beyond = ["whoami", "--cp-url", `http://0.0.0.0:${server.port}`];
    const refused = await me.run(beyond, { env });
    expect(refused.code).toBe(3);
    expect(refused.err).toContain("the token in TRANSPORTER_TOKEN is not shown to http://0.0.0.0");
    expect(shown).toEqual([]);
    expect((await me.run([...beyond, "--insecure"], { env })).code).toBe(0);
    expect((await me.run(["whoami", "--cp-url", `http://127.0.0.1:${server.port}`], { env })).code).toBe(0);
    expect(shown).toEqual(["Bearer an-opaque-token", "Bearer an-opaque-token"]);
    expect((await me.run(beyond)).code).toBe(0);
    expect(shown.at(-1)).toBeNull();
    const unchecked = await me.run(["whoami", "--cp-url", "https://127.0.0.1:1"], { env: { ...env, NODE_TLS_REJECT_UNAUTHORIZED: "0" } });
    expect(unchecked.err).toContain("NODE_TLS_REJECT_UNAUTHORIZED=0 switches off");
    await server.stop(true);
  });

  test("is not shown to control planes that are only looked for", async () => {
    await using me = await person();
    const seen: string[] = [];
    const servers = ["a", "b"].map((name) =>
      Bun.serve({
        hostname: "127.0.0.1",
        port: 0,
        fetch(request) {
          seen.push(`${name} ${new URL(request.url).pathname} ${request.headers.get("authorization") ?? "nothing"}`);
          return Response.json({ tenant: "default", name: "x", kind: "user", via: "token", role: "viewer", secured: true });
        },
      }),
    );
    const urls = ["http://127.0.0.1:1", ...servers.map(({ port }) => `http://127.0.0.1:${port}`)].join(",");
    expect((await me.run(["whoami", "--cp-url", urls], { env: { TRANSPORTER_TOKEN: "opaque-51d0c7" } })).code).toBe(0);
    expect(seen).toEqual(["a /livez nothing", "a /v1/whoami Bearer opaque-51d0c7"]);
    for (const server of servers) await server.stop(true);
  });

  test("of a context goes to the address that it was given for, and nowhere else", async () => {
    await using cp = await startSecureCp();
    await using me = await person();
    await me.run(loginLine(cp, "--context", "prod"), { stdin: cp.tokens.admin });
    const seen: (string | null)[] = [];
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch(request) {
        seen.push(request.headers.get("authorization"));
        return new Response("no", { status: 404 });
      },
    });
    const other = `http://127.0.0.1:${server.port}`;
    await me.run(["whoami", "--cp-url", other]);
    await me.run(["context", "add", "prod", "--cp-url", other]);
    await me.run(["whoami"]);
    expect(seen).toEqual([null, null]);
    await server.stop(true);
  });

  test("of a context that a flag names goes over the one in the environment", async () => {
    await using cp = await startSecureCp();
    await using me = await person();
    await me.run(loginLine(cp, "--context", "prod"), { stdin: cp.tokens.admin });
    const env = { TRANSPORTER_TOKEN: cp.tokens.viewer };
    expect((await me.run(["whoami"], { env })).out).toContain("viewer");
    expect((await me.run(["whoami", "--context", "prod"], { env })).out).toContain("admin");
    expect((await me.run(["context", "list"])).out).toMatch(/^\* +prod +https:\S+ +token +\S+prod\.pem$/m);
  });

  test("in a file is read for each request, as it may be replaced", async () => {
    await using me = await person();
    const file = await me.file("token", "first-20ab31\n");
    const seen: (string | null)[] = [];
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      async fetch(request) {
        seen.push(request.headers.get("authorization"));
        await Bun.write(file, "second-77c0de\n");
        return Response.json({ id: "x" }, { status: 404 });
      },
    });
    await me.run(["cancel", "a", "b", "--cp-url", `http://127.0.0.1:${server.port}`, "--token-file", file]);
    expect(seen).toEqual(["Bearer first-20ab31", "Bearer second-77c0de"]);
    const missing = await me.run(["whoami", "--token-file", `${file}.not`]);
    expect(missing.code).toBe(2);
    expect(missing.err).toContain("flag --token-file");
    await server.stop(true);
  });

  test("that others can read is not used", async () => {
    await using cp = await startSecureCp();
    await using me = await person();
    await me.run(loginLine(cp), { stdin: cp.tokens.admin });
    await chmod(me.kept("credentials.json"), 0o640);
    const run = await me.run(["whoami"]);
    expect(run.code).toBe(2);
    expect(run.err).toContain("can be read by others (mode 0640)");
    await me.file(".config/transporter/credentials.json", "tpu_secret nonsense");
    await chmod(me.kept("credentials.json"), 0o600);
    const damaged = await me.run(["whoami"]);
    expect(damaged.err).toContain("is not a file of credentials");
    expect(damaged.err).not.toContain("nonsense");
  });

  test("goes from standard input once, and not where manifests come from there too", async () => {
    await using me = await person();
    const run = await me.run(["send", "k8s", "--agent", "a", "-f", "-", "--token-file", "-", "--cp-url", "http://127.0.0.1:1"], {
      stdin: "x: 1",
    });
    expect(run.code).toBe(2);
    expect(run.err).toContain("standard input is named twice");
  });
});
