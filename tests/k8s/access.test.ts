import { describe, expect } from "bun:test";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { createKubeClient, loadKubeAccess, type KubeAccess } from "../../src/k8s/mod.ts";
import { freshNamespace, kubeTest, sharedKube, type Cluster } from "../support/kube.ts";
import { clientOf, configMap, parsed, refusal, walk } from "./walk.ts";

interface Folder extends AsyncDisposable {
  write(name: string, content: unknown): Promise<string>;
  readonly path: string;
}

async function folder(): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), "transporter-k8s-"));
  return {
    path,
    async write(name, content) {
      await Bun.write(join(path, name), typeof content === "string" ? content : JSON.stringify(content));
      return join(path, name);
    },
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
}

function config(kube: Pick<Cluster, "url" | "caPem">, user: Record<string, unknown>, cluster: Record<string, unknown> = {}): unknown {
  return {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "main",
    clusters: [
      { name: "main", cluster: { server: kube.url, "certificate-authority-data": Buffer.from(kube.caPem).toString("base64"), ...cluster } },
    ],
    users: [{ name: "me", user }],
    contexts: [{ name: "main", context: { cluster: "main", user: "me", namespace: "from-context" } }],
  };
}

async function whoAmI(access: KubeAccess): Promise<string> {
  return (await userInfo(access)).username;
}

/** Whom the API server takes us for. */
async function userInfo(access: KubeAccess): Promise<{ readonly username: string; readonly [field: string]: unknown }> {
  const client = createKubeClient(access, { ports: systemPorts, log: silentLogger });
  const answer = await client.send({
    method: "POST",
    path: "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    contentType: "application/json",
    body: JSON.stringify({ apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" }),
  });
  if (answer.status !== 201) throw new Error(answer.text);
  return (JSON.parse(answer.text) as { status: { userInfo: { username: string; [field: string]: unknown } } }).status.userInfo;
}

const ports = systemPorts;

describe("the way to a cluster", () => {
  kubeTest("bearer tokens, token files, client certificates, each as who they are", async () => {
    const kube = await sharedKube();
    await using files = await folder();
    const inline = await files.write("inline.json", config(kube, { token: kube.adminToken }));
    expect(await whoAmI(await loadKubeAccess({ kubeconfig: inline, ports }))).toBe("admin");
    await files.write("token.txt", `${kube.adminToken}\n`);
    // Relative to the kubeconfig, as kubectl has it.
    const byFile = await files.write("file.json", config(kube, { tokenFile: "token.txt" }));
    expect(await whoAmI(await loadKubeAccess({ kubeconfig: byFile, ports }))).toBe("admin");
    const { kubeconfigPath } = await kube.clientCertificate("carol", ["system:masters"]);
    expect(await whoAmI(await loadKubeAccess({ kubeconfig: kubeconfigPath, ports }))).toBe("carol");
    const impersonating = await files.write("as.json", config(kube, { token: kube.adminToken, as: "dave" }));
    expect(await whoAmI(await loadKubeAccess({ kubeconfig: impersonating, ports }))).toBe("dave");
    const whole = { as: "dave", "as-uid": "u-7", "as-groups": ["one", "two"], "as-user-extra": { reason: ["a", "b"] } };
    const many = await files.write("many.json", config(kube, { token: kube.adminToken, ...whole }));
    expect(await userInfo(await loadKubeAccess({ kubeconfig: many, ports }))).toEqual({
      username: "dave",
      uid: "u-7",
      groups: ["one", "two", "system:authenticated"],
      extra: { reason: ["a", "b"] },
    });
  });

  kubeTest("an expired client certificate is refused with a word that helps", async () => {
    const kube = await sharedKube();
    const { kubeconfigPath } = await kube.clientCertificate("carol", ["system:masters"], -60_000);
    const error = await refusal(clientOf(kube, kubeconfigPath).then((client) => client.discovery.refresh()));
    expect(error.code).toBe("KUBE_UNAUTHORIZED");
    expect(error.remedy).toContain("certificate");
  });

  kubeTest("a server name of its own, and no trust where none is wanted", async () => {
    const kube = await sharedKube();
    await using files = await folder();
    const token = { token: kube.adminToken };
    const wrongName = await files.write("wrong.json", config(kube, token, { "tls-server-name": "elsewhere.example.org" }));
    const error = await refusal(whoAmI(await loadKubeAccess({ kubeconfig: wrongName, ports })));
    expect(error.code).toBe("KUBE_CONFIG_INVALID");
    const rightName = await files.write("right.json", config(kube, token, { "tls-server-name": "kubernetes.default.svc" }));
    expect(await whoAmI(await loadKubeAccess({ kubeconfig: rightName, ports }))).toBe("admin");
    const blind = config(kube, token, { "certificate-authority-data": undefined, "insecure-skip-tls-verify": true });
    expect(await whoAmI(await loadKubeAccess({ kubeconfig: await files.write("blind.json", blind), ports }))).toBe("admin");
  });

  kubeTest("contexts: the current one, a named one, several files; what is missing is named with what there is", async () => {
    const kube = await sharedKube();
    await using files = await folder();
    const one = config(kube, { token: kube.adminToken }) as { contexts: unknown[]; users: unknown[] };
    one.users.push({ name: "nobody", user: { token: "not-a-token" } });
    one.contexts.push(
      { name: "other", context: { cluster: "main", user: "nobody" } },
      { name: "broken", context: { cluster: "gone", user: "me" } },
    );
    const path = await files.write("one.json", one);
    const access = await loadKubeAccess({ kubeconfig: path, ports });
    expect([access.namespace, access.source]).toEqual(["from-context", `context main of ${path}`]);
    expect((await refusal(whoAmI(await loadKubeAccess({ kubeconfig: path, context: "other", ports })))).code).toBe("KUBE_UNAUTHORIZED");
    const missing = await refusal(loadKubeAccess({ kubeconfig: path, context: "prod", ports }));
    expect(missing.code).toBe("KUBE_CONFIG_INVALID");
    expect(missing.message).toBe(`kubeconfig ${path} has no context "prod"; it has: "main", "other", "broken"`);
    expect((await refusal(loadKubeAccess({ kubeconfig: path, context: "broken", ports }))).message).toContain(
      'has no cluster "gone"; it has: "main"',
    );
    const second = await files.write("two.json", { contexts: [{ name: "second", context: { cluster: "main", user: "me" } }] });
    expect(await whoAmI(await loadKubeAccess({ kubeconfig: `${second}:${path}`, context: "second", ports }))).toBe("admin");
  });

  kubeTest("an exec plugin of the operator's own kubeconfig, run again when its answer expires", async () => {
    const kube = await sharedKube();
    await using files = await folder();
    const script = await files.write(
      "plugin.sh",
      `#!/bin/sh\necho run >> "$COUNT_FILE"\n[ -n "$BUN_OPTIONS" ] && exit 9\necho "$KUBERNETES_EXEC_INFO" | grep -q ExecCredential || exit 8\n` +
        `echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"'$TOKEN'","expirationTimestamp":"'$EXPIRES'"}}'\n`,
    );
    const count = join(files.path, "count");
    const runs = async (): Promise<number> => (await Bun.file(count).text()).split("\n").length - 1;
    const exec = (expires: string): unknown => ({
      apiVersion: "client.authentication.k8s.io/v1",
      command: "sh",
      args: [script],
      env: [
        { name: "TOKEN", value: kube.adminToken },
        { name: "COUNT_FILE", value: count },
        { name: "EXPIRES", value: expires },
      ],
    });
    const env = { PATH: process.env["PATH"], BUN_OPTIONS: "--smol" };
    const lasting = await files.write("lasting.json", config(kube, { exec: exec("2999-01-01T00:00:00Z") }));
    const access = await loadKubeAccess({ kubeconfig: lasting, env, ports });
    expect([await whoAmI(access), await whoAmI(access)]).toEqual(["admin", "admin"]);
    expect(await runs()).toBe(1);
    const dying = await loadKubeAccess({
      kubeconfig: await files.write("dying.json", config(kube, { exec: exec("2001-01-01T00:00:00Z") })),
      env,
      ports,
    });
    expect([await whoAmI(dying), await whoAmI(dying)]).toEqual(["admin", "admin"]);
    expect(await runs()).toBe(3);
    const absent = config(kube, { exec: { command: "/no/such/plugin", installHint: "Install the plugin first." } });
    const error = await refusal(loadKubeAccess({ kubeconfig: await files.write("absent.json", absent), env, ports }).then(whoAmI));
    expect([error.code, error.remedy]).toEqual(["KUBE_CONFIG_INVALID", "Install the plugin first."]);
  });

  kubeTest("the pod's own account, with its token as the kubelet renews it", async () => {
    await using namespace = await freshNamespace();
    const { kube } = namespace;
    await using account = await folder();
    const token = async (): Promise<string> => {
      const answer = await kube.request("POST", `/api/v1/namespaces/${namespace.name}/serviceaccounts/default/token`, { spec: {} });
      return ((await answer.json()) as { status: { token: string } }).status.token;
    };
    await account.write("ca.crt", kube.caPem);
    await account.write("namespace", namespace.name);
    // As after a night in a drawer: the token that is there is none any more.
    await account.write("token", "stale");
    const { hostname, port } = new URL(kube.url);
    const access = await loadKubeAccess({ inCluster: { host: hostname, port, accountDir: account.path }, ports });
    expect(access.namespace).toBe(namespace.name);
    expect((await refusal(whoAmI(access))).code).toBe("KUBE_UNAUTHORIZED");
    // The kubelet swaps a link, so the file changes at once; the 401 is reason to look again before the ten seconds are over.
    await account.write("token.new", await token());
    await rename(join(account.path, "token.new"), join(account.path, "token"));
    expect(await whoAmI(access)).toBe(`system:serviceaccount:${namespace.name}:default`);
  });

  kubeTest("through the proxy that the kubeconfig names", async () => {
    await using namespace = await freshNamespace();
    await using files = await folder();
    const seen: string[] = [];
    const proxy = Bun.listen<{ upstream?: Bun.Socket; head: string }>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open(socket) {
          socket.data = { head: "" };
        },
        async data(socket, chunk) {
          if (socket.data.upstream !== undefined) {
            socket.data.upstream.write(chunk);
            return;
          }
          socket.data.head += chunk.toString("latin1");
          const target = /^CONNECT ([^ :]+):(\d+)/.exec(socket.data.head);
          if (!socket.data.head.includes("\r\n\r\n") || target === null) return;
          seen.push(`${target[1]}:${target[2]}`);
          socket.data.upstream = await Bun.connect({
            hostname: target[1] ?? "",
            port: Number(target[2]),
            socket: { data: (_, back) => void socket.write(back), close: () => void socket.end() },
          });
          socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
        },
        close: (socket) => void socket.data.upstream?.end(),
      },
    });
    try {
      const user = { token: namespace.kube.adminToken };
      const path = await files.write("proxied.json", config(namespace.kube, user, { "proxy-url": `http://127.0.0.1:${proxy.port}` }));
      const client = await clientOf(namespace.kube, path);
      const { told } = await walk(client, parsed(configMap("a", { a: "1" })), { defaultNamespace: namespace.name });
      expect(told).toEqual([`created ConfigMap ${namespace.name}/a`]);
      expect(seen[0]).toBe(new URL(namespace.kube.url).host);
    } finally {
      proxy.stop(true);
    }
  });
});

describe("configuration that cannot work", () => {
  const cases: readonly (readonly [string, unknown, RegExp])[] = [
    ["no YAML", "a: [", /cannot be read/],
    ["a list", "[]", /is not a mapping/],
    ["no context", { clusters: [] }, /has no current context; it has: none/],
    ["a cluster without a server", { clusters: [{ name: "a", cluster: {} }] }, /clusters\[0\]\.cluster\.server is missing/],
    ["a file URL", config({ url: "file:///etc/passwd", caPem: "" }, {}), /is not an http\(s\) URL/],
    ["a SOCKS proxy", config({ url: "https://127.0.0.1:1", caPem: "" }, {}, { "proxy-url": "socks5://127.0.0.1:1" }), /proxy-url/],
    [
      "a legacy provider",
      config({ url: "https://127.0.0.1:1", caPem: "" }, { "auth-provider": { name: "gcp" } }),
      /auth-provider "gcp" is not supported/,
    ],
    ["an exec entry without a command", config({ url: "https://127.0.0.1:1", caPem: "" }, { exec: {} }), /exec entry is not usable/],
  ];
  for (const [name, content, words] of cases)
    test(name, async () => {
      await using files = await folder();
      const path = await files.write("config", content);
      const error = await refusal(loadKubeAccess({ kubeconfig: path, ports }));
      expect(error.code).toBe("KUBE_CONFIG_INVALID");
      expect(error.message).toMatch(words);
    });

  test("nothing at all, a file that is not there, a pod without an account", async () => {
    expect((await refusal(loadKubeAccess({ ports }))).code).toBe("KUBE_CONFIG_INVALID");
    expect((await refusal(loadKubeAccess({ kubeconfig: "/no/such/file", ports }))).message).toContain("/no/such/file");
    const error = await refusal(loadKubeAccess({ inCluster: { host: "10.0.0.1", port: "443", accountDir: "/no/such/dir" }, ports }));
    expect(error.message).toContain("no account token");
  });
});
