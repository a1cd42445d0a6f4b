import { describe, expect, test } from "bun:test";
import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "../../sandbox/mod.ts";
import { eventually } from "../support/eventually.ts";
import { type Cluster, kubeTest, startKube } from "../support/kube.ts";
import { runTransporter, startTransporter, transporterCommand } from "../support/process.ts";
import { ROOT } from "./markdown.ts";
import { followPage, missingLine, stepsOf } from "./steps.ts";

let started: Promise<Cluster> | undefined;

/** A cluster for this file alone: the examples have names of their own choosing. Ends with the process. */
async function kube(): Promise<Cluster> {
  const before = started;
  // When a test runs out of time, `bun test` kills every child process there is.
  const isGone = before !== undefined && !(await before.then(({ alive }) => alive).catch(() => false));
  if (before !== undefined && !isGone) return before;
  started = startKube({ controllers: true, scheduler: true, nodes: 2 });
  return started;
}

interface Shell extends AsyncDisposable {
  readonly home: string;
  readonly port: number;
  /** Runs a page's steps in it. */
  follow(page: string): Promise<number>;
}

/** A home with nothing in it but a kubeconfig whose context is `kind-dev`, and `transporter` and `kubectl` on PATH. */
async function openShell(cluster: Cluster): Promise<Shell> {
  const home = await mkdtemp(join(await realpath(tmpdir()), "transporter-docs-"));
  const bin = join(home, "bin");
  await mkdir(bin);
  await mkdir(join(home, ".kube"));
  const kubeconfig = (await Bun.file(cluster.kubeconfigPath).json()) as { "current-context": string; contexts: { name: string }[] };
  kubeconfig["current-context"] = "kind-dev";
  for (const context of kubeconfig.contexts) context.name = "kind-dev";
  await writeFile(join(home, ".kube", "config"), JSON.stringify(kubeconfig), { mode: 0o600 });
  const words = transporterCommand([]).map((word) => `'${word}'`);
  await writeFile(join(bin, "transporter"), `#!/bin/sh\nexec ${words.join(" ")} "$@"\n`);
  await chmod(join(bin, "transporter"), 0o755);
  await symlink(cluster.kubectlPath, join(bin, "kubectl"));
  const [port = 0] = freePorts(1);
  return {
    home,
    port,
    follow: (page) =>
      followPage(page, {
        home,
        env: {
          PATH: `${bin}:${process.env["PATH"] ?? "/usr/bin:/bin"}`,
          TRANSPORTER_WS_PORT: String(port),
          TRANSPORTER_CP_URL: `http://127.0.0.1:${port}`,
        },
        adapt: (text) => text.replaceAll("8080", String(port)),
      }),
    async [Symbol.asyncDispose]() {
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** What every example may leave in the cluster. */
async function cleanUp(cluster: Cluster): Promise<void> {
  await cluster.tryKubectl(["delete", "namespace", "transporter-test", "transporter-system", "--ignore-not-found", "--timeout=60s"]);
  await cluster.tryKubectl(["delete", "customresourcedefinition", "backups.example.com", "--ignore-not-found"]);
  await cluster.tryKubectl(["delete", "clusterrole,clusterrolebinding", "transporter-agent", "--ignore-not-found"]);
}

const TIMEOUT_MS = 180_000;

kubeTest(
  "the README's way by hand works as it stands",
  async () => {
    const cluster = await kube();
    await using shell = await openShell(cluster);
    try {
      expect(await shell.follow("README.md")).toBe(1);
      expect(await cluster.kubectl(["get", "namespace", "transporter-test", "--ignore-not-found"])).toBe("");
    } finally {
      await cleanUp(cluster);
    }
  },
  TIMEOUT_MS,
);

kubeTest(
  "the examples do and print what their page says",
  async () => {
    const cluster = await kube();
    await using shell = await openShell(cluster);
    try {
      const port = String(shell.port);
      await using _cp = await startTransporter(["cp", "--ws-port", port], { home: shell.home });
      const cpUrl = `ws://127.0.0.1:${port}/ws`;
      await using agent = await startTransporter(["agent", "--agent-id", "agent-1", "--cp-url", cpUrl], { home: shell.home });
      await agent.line(/Agent registered successfully/, { timeoutMs: 30_000 });
      expect(await shell.follow("examples/README.md")).toBeGreaterThan(10);
    } finally {
      await cleanUp(cluster);
    }
  },
  TIMEOUT_MS,
);

/** Applies the rights of an example and starts an agent with them; `send` answers the exit code and all that was printed. */
async function withRightsOf(
  manifest: string,
  namespace: string,
  use: (send: (file: string, ...more: string[]) => Promise<{ exitCode: number; text: string }>) => Promise<void>,
): Promise<void> {
  const cluster = await kube();
  try {
    await cluster.kubectl(["apply", "--filename", join(ROOT, manifest)]);
    const token = await eventually(
      async () => {
        const answer = await cluster.tryKubectl(["create", "token", "transporter-agent", "--namespace", namespace]);
        return answer.exitCode === 0 ? answer.stdout.trim() : undefined;
      },
      { what: "a token of the agent's account" },
    );
    const kubeconfig = await cluster.kubeconfigFor("agent", token);
    const [port = 0] = freePorts(1);
    await using _cp = await startTransporter(["cp", "--ws-port", String(port), "--store", "memory:"]);
    const cpUrl = `http://127.0.0.1:${port}`;
    await using agent = await startTransporter(["agent", "--agent-id", "agent-1", "--cp-url", cpUrl, "--kubeconfig", kubeconfig]);
    await agent.line(/Agent registered successfully/, { timeoutMs: 30_000 });
    await use(async (file, ...more) => {
      const args = ["send", "k8s", "--agent", "agent-1", "--cp-url", cpUrl, "-f", join(ROOT, file), "--wait", ...more];
      const { exitCode, stdout, stderr } = await runTransporter(args, { timeoutMs: 60_000 });
      return { exitCode, text: `${stdout}\n${stderr}` };
    });
  } finally {
    await cleanUp(cluster);
  }
}

describe("the rights that the examples give an agent", () => {
  kubeTest(
    "are enough for one namespace, and end there",
    async () => {
      await withRightsOf("examples/rbac/agent-in-one-namespace.yaml", "transporter-test", async (send) => {
        const web = await send("examples/manifests/nginx-deployment.yaml");
        expect(web.exitCode, web.text).toBe(0);
        expect((await send("examples/manifests/settings-list.json")).exitCode).toBe(0);
        expect((await send("examples/manifests/job.yaml")).exitCode).toBe(0);
        const image = await send("examples/broken/image-cannot-be-pulled.yaml", "--verify-timeout", "3s");
        expect(image.text).toContain('the image "images.invalid/no-such-image:1" of container main cannot be pulled');
        const elsewhere = await send("examples/manifests/namespace.yaml");
        expect(elsewhere.exitCode).toBe(1);
        expect(elsewhere.text).toContain('cannot patch resource "namespaces"');
      });
    },
    TIMEOUT_MS,
  );

  kubeTest(
    "are enough for namespaces, definitions and workloads, and grant no rights to others",
    async () => {
      await withRightsOf("examples/rbac/agent-cluster-wide.yaml", "transporter-system", async (send) => {
        const all = await send("examples/manifests");
        expect(all.exitCode, all.text).toBe(0);
        const rights = await send("examples/rbac/agent-cluster-wide.yaml");
        expect(rights.exitCode).toBe(1);
        expect(rights.text).toContain('cannot patch resource "clusterroles"');
      });
    },
    TIMEOUT_MS,
  );
});

describe("the reader of these tests", () => {
  test("finds lines in order, as a whole, with their wildcards", () => {
    expect(missingLine(["a … c", "d"], "x\na b c\nd\n")).toBeUndefined();
    expect(missingLine(["d", "a b c"], "a b c\nd\n")).toBe("a b c");
    expect(missingLine(["a b"], "a b c\n")).toBe("a b");
    expect(missingLine(["a.c"], "abc\n")).toBe("a.c");
    expect(stepsOf("```sh\na\n```\n```text\nb\n```\n```bash\nc\n```\n")).toEqual([{ line: 1, script: "a\n", expected: ["b"] }]);
  });
});
