import { describe, expect } from "bun:test";
import { X509Certificate } from "node:crypto";
import { type Namespace, freshNamespace, kubeTest } from "../support/kube.ts";
import { type RunningProcess, runTransporter, startTransporter } from "../support/process.ts";

const NAME = "cp-security";
const SERVES = /Control plane is listening.*?"address":"127\.0\.0\.1:(\d+)"/;
const ROLE = [{ apiGroups: [""], resources: ["secrets"], resourceNames: [NAME], verbs: ["get", "patch"] }] as const;

/** What the Secret holds, decoded. */
async function entriesOf(space: Namespace, name = NAME): Promise<Record<string, string>> {
  const data = (await space.get("secret", name))?.["data"] ?? {};
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(String(value), "base64").toString()]));
}

/** As the chart makes it. */
const makeEmpty = (space: Namespace): Promise<string> => space.kubectl(["create", "secret", "generic", NAME]);

function startCp(kubeconfig: string, more: readonly string[] = []): Promise<RunningProcess> {
  const listeners = ["--ws-addr", "127.0.0.1", "--ws-port", "0", "--agent-port", "0", "--probe-port", "0"];
  return startTransporter(
    ["cp", ...listeners, "--store", "memory:", "--log-format", "json", "--security-secret", NAME, "--kubeconfig", kubeconfig, ...more],
    {},
  );
}

async function served(cp: RunningProcess): Promise<string> {
  return `https://127.0.0.1:${(await cp.line(SERVES, { timeoutMs: 60_000 }))[1] ?? ""}`;
}

describe("a control plane whose CA lies in a Secret", () => {
  kubeTest(
    "of five that start at once one makes CA and admin token, and all show the same certificate",
    async () => {
      await using space = await freshNamespace();
      await makeEmpty(space);
      const kubeconfig = await space.kubeconfigWith(ROLE);
      await using stack = new AsyncDisposableStack();
      const all = await Promise.all([1, 2, 3, 4, 5].map(() => startCp(kubeconfig, ["--tls-name", "cp.example.com"])));
      for (const cp of all) stack.use(cp);
      const urls = await Promise.all(all.map(served));
      const entries = await entriesOf(space);
      expect(Object.keys(entries).toSorted()).toEqual([
        "admin-token",
        "admin-token.hash",
        "ca-hash",
        "ca.crt",
        "ca.key",
        "server.crt",
        "server.key",
      ]);
      const token = entries["admin-token"] ?? "";
      expect(token).toMatch(/^tpu_\w+$/);
      expect(all.filter((cp) => cp.stderr().includes("A CA, a server certificate and the first admin token were made"))).toHaveLength(1);
      for (const cp of all) expect(cp.stdout() + cp.stderr()).not.toContain(token.slice(17, 50));
      const certificate = new X509Certificate(entries["server.crt"] ?? "");
      expect(certificate.subjectAltName).toBe("DNS:cp.example.com, DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1");
      // By the same token, and over TLS that the one CA vouches for, each of them.
      for (const url of urls) {
        const response = await fetch(`${url}/v1/whoami`, {
          headers: { authorization: `Bearer ${token}` },
          tls: { ca: entries["ca.crt"] ?? "" },
        });
        expect([response.status, ((await response.json()) as { role: string }).role]).toEqual([200, "admin"]);
      }
      // What people do with it: straight out of the Secret, through a pipe.
      await using home = await startTransporter(["version"], {});
      const login = await runTransporter(["login", "--cp-url", urls[0] ?? "", "--ca-hash", entries["ca-hash"] ?? "", "--token-file", "-"], {
        home: home.home,
        input: token,
      });
      expect([login.exitCode, login.stderr]).toEqual([0, ""]);
      expect(login.stdout).toContain("role admin");
    },
    180_000,
  );
});
