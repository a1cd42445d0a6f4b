import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { DiffView } from "../../src/cli/diff-view.ts";
import { startTestAgent, type TestAgent } from "../support/agent.ts";
import { type CliRun, runCli, type TemporaryDirectory, temporaryDirectory } from "../support/cli.ts";
import { startCp, type TestControlPlane } from "../support/cp.ts";
import { freshNamespace, kubeTest, MISSING_KUBE, type Namespace, sharedKube, uniqueName } from "../support/kube.ts";

const AGENT = "agent-cluster-agent-1";

let cp: TestControlPlane;
let agent: TestAgent | undefined;
let files: TemporaryDirectory;

beforeAll(async () => {
  files = await temporaryDirectory();
  cp = await startCp();
  if (MISSING_KUBE.length > 0) return;
  const kube = await sharedKube();
  agent = await startTestAgent({ cpUrl: cp.wsUrl, cluster: { access: { kubeconfig: kube.kubeconfigPath } } });
}, 120_000);
afterAll(async () => {
  await agent?.[Symbol.asyncDispose]();
  await cp[Symbol.asyncDispose]();
  await files[Symbol.asyncDispose]();
});

function call(words: readonly string[], manifests: string, more: Parameters<typeof runCli>[1] = {}): Promise<CliRun> {
  return runCli([...words, "--agent", AGENT, "--cp-url", cp.url, "-f", "-"], { stdin: manifests, ...more });
}

function manifest(space: Namespace, kind: string, name: string, rest: string): string {
  return `apiVersion: v1\nkind: ${kind}\nmetadata: {name: ${name}, namespace: ${space.name}}\n${rest}\n---\n`;
}

const view = (run: CliRun): DiffView => JSON.parse(run.out) as DiffView;

describe("diff", () => {
  kubeTest(
    "ends with 0 where nothing would change, 1 where something would, and more where it cannot be told",
    async () => {
      await using space = await freshNamespace();
      const before = manifest(space, "ConfigMap", "a", 'data: {x: "1"}');
      expect((await call(["send", "k8s", "--wait"], before)).code).toBe(0);
      const none = await call(["diff"], before);
      expect(none.code).toBe(0);
      expect(view(none)).toMatchObject({ differences: 0, target_agent: AGENT, resource_status: [{ name: "a", status: "unchanged" }] });
      const some = await call(["diff"], manifest(space, "ConfigMap", "a", 'data: {x: "2"}') + manifest(space, "ConfigMap", "b", ""));
      expect(some.code).toBe(1);
      expect(some.err).toBe("");
      const described = await runCli(["describe", "event", view(some).event_id, "--cp-url", cp.url]);
      expect(described.out).toMatch(/^Operation: +diff$/m);
      expect(described.out).toMatch(/^Plan: +p1-/m);
      expect(described.out).toContain('  -  x: "1"\n  +  x: "2"\n');
      expect((await runCli(["get", "events", "-o", "wide", "--cp-url", cp.url])).out).toMatch(/\bOPERATION\b[^]*\bdiff\b/);
      expect(view(some)).toMatchObject({
        differences: 2,
        plan: expect.stringMatching(/^p1-/),
        resource_status: [
          { name: "a", status: "would_update", diff: expect.stringContaining('-  x: "1"\n+  x: "2"\n') },
          { name: "b", status: "would_create" },
        ],
      });
      const broken = await call(["diff"], before + manifest(space, "ConfigMap", "c", "dada: {}"));
      expect(broken.code).toBe(2);
      expect(broken.err).toContain("UNKNOWN_FIELD");
      expect(view(broken).resource_status).toMatchObject([
        { name: "a", status: "unchanged" },
        { name: "c", status: "failed", code: "UNKNOWN_FIELD" },
      ]);
      expect((await call(["diff"], "kind: ConfigMap")).code).toBe(2);
      expect(await space.get("configmap", "a")).toMatchObject({ data: { x: "1" } });
    },
    120_000,
  );

  kubeTest(
    "is a patch on its own, coloured on a terminal, YAML where asked; Secrets show that they change and nothing else",
    async () => {
      await using space = await freshNamespace();
      const secret = (value: string): string => manifest(space, "Secret", "keys", `stringData: {key: ${value}, same: it-stays-the-same}`);
      expect((await call(["send", "k8s", "--wait"], secret("the-old-value"))).code).toBe(0);
      const changed = secret("the-new-value");
      const plain = await call(["diff", "-o", "diff"], changed);
      expect(plain.code).toBe(1);
      expect(plain.out).toStartWith(`--- LIVE/v1.Secret.${space.name}.keys\n+++ MERGED/v1.Secret.${space.name}.keys\n@@ `);
      expect(plain.out).toContain("-  key: '*** (before)'\n+  key: '*** (after)'\n");
      expect(plain.err).toMatch(/^plan: p1-\S+\n$/);
      const shown = await call(["diff"], changed, { terminal: 100, env: { TERM: "xterm" } });
      expect(shown.out).toContain("\u001b[31m-  key: '*** (before)'\u001b[0m\n\u001b[32m+  key: '*** (after)'\u001b[0m\n");
      const yaml = await call(["diff", "-o", "yaml"], changed);
      expect(yaml.out).toContain("differences: 1\n");
      for (const { out, err } of [plain, shown, yaml])
        for (const value of ["the-old-value", "the-new-value", "it-stays-the-same"].flatMap((one) => [one, btoa(one)]))
          expect(out + err).not.toContain(value);
    },
    120_000,
  );

  kubeTest(
    "a plan is kept to by `send`, and one that is over is refused with what has moved",
    async () => {
      await using space = await freshNamespace();
      const wanted = manifest(space, "ConfigMap", "a", 'data: {x: "1"}') + manifest(space, "ConfigMap", "b", 'data: {x: "1"}');
      const { plan = "" } = view(await call(["diff"], wanted));
      const sent = await call(["send", "k8s", "--wait", "--plan", plan, "-o", "json"], wanted);
      expect(sent.code).toBe(0);
      const next = wanted.replaceAll('"1"', '"2"');
      const { plan: second = "" } = view(await call(["diff"], next));
      await space.kubectl(["patch", "configmap/b", "--patch", '{"data":{"z":"theirs"}}']);
      const stale = await call(["send", "k8s", "--wait", "--plan", second], next);
      expect(stale.code).toBe(1);
      expect(stale.err).toContain(`the cluster has moved since the plan: ConfigMap ${space.name}/b`);
      expect(stale.err).toContain("transporter diff");
      expect(stale.err).toContain("cause: PLAN_STALE\n");
      const [id = ""] = /[0-9a-f-]{36}/.exec(stale.err) ?? [];
      const described = await runCli(["describe", "event", id, "--cp-url", cp.url]);
      expect(described.out).toMatch(/^Error Code: +PLAN_STALE$/m);
      expect(described.out).toMatch(/^Remedy: +Look at a new `transporter diff`/m);
      expect(described.out).toMatch(/ConfigMap +\S+ +b +v1 +failed +PLAN_STALE/);
      const other = await call(["send", "k8s", "--wait", "--plan", second], wanted);
      expect(other.err).toContain("the plan stands for other manifests");
      expect(await space.get("configmap", "a")).toMatchObject({ data: { x: "1" } });
    },
    120_000,
  );

  kubeTest(
    "a diff that is larger than a report is cut, and says so",
    async () => {
      await using space = await freshNamespace();
      const lines = (word: string): string => Array.from({ length: 60_000 }, (_one, at) => `    ${word} ${at}`).join("\n");
      const big = (word: string): string => manifest(space, "ConfigMap", "big", `data:\n  text: |\n${lines(word)}`);
      expect((await call(["send", "k8s", "--wait"], big("one"))).code).toBe(0);
      const cut = await call(["diff", "-o", "diff"], big("two"));
      expect(cut.code).toBe(1);
      expect(cut.out).toMatch(/\n\\ \d+ more lines are not shown: the report would get too large\n$/);
      expect(cut.out.length).toBeLessThan(1024 * 1024);
    },
    240_000,
  );
});

kubeTest(
  "a read-only agent whose account may only read says what it can see, and that it cannot tell the rest",
  async () => {
    await using space = await freshNamespace();
    await space.kubectl(["create", "configmap", "there", "--from-literal=x=1"]);
    const kubeconfig = await space.kubeconfigWith([{ apiGroups: [""], resources: ["configmaps"], verbs: ["get", "list", "watch"] }]);
    const id = uniqueName("reader");
    await using _reader = await startTestAgent({ cpUrl: cp.wsUrl, id, readOnly: true, cluster: { access: { kubeconfig } } });
    const wanted = manifest(space, "ConfigMap", "there", "") + manifest(space, "ConfigMap", "new", "");
    const run = await runCli(["diff", "--agent", id, "--cp-url", cp.url, "-f", "-"], { stdin: wanted });
    expect(run.code).toBe(2);
    expect(run.err).toContain("what would become of some objects cannot be told");
    expect(view(run).plan).toBeUndefined();
    expect(view(run).resource_status).toMatchObject([
      { name: "there", status: "unknown", message: expect.stringContaining("this account may only read") },
      { name: "new", status: "would_create" },
    ]);
  },
  120_000,
);

describe("flags", () => {
  test("of operations become the payload that the protocol knows", async () => {
    const dry = async (...words: string[]): Promise<Record<string, unknown>> => {
      const run = await runCli(["send", "k8s", "--agent", "x", "--dry-run=client", "-o", "json", ...words], { stdin: "kind: A" });
      if (run.code !== 0) throw new Error(run.err);
      return (JSON.parse(run.out) as { payload: Record<string, unknown> }).payload;
    };
    const patch = await files.file("patch.yaml", "spec: {replicas: 3}\n");
    expect(
      await dry(
        "--operation",
        "delete",
        "--ref",
        "deploy/web,crds/widgets.example.com",
        "--ref",
        "example.com/v1/Widget/w",
        "-n",
        "shop",
        "--cascade",
        "foreground",
      ),
    ).toEqual({
      operation: "delete",
      references: [
        { api_version: "apps/v1", kind: "Deployment", namespace: "shop", name: "web" },
        { api_version: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", namespace: "shop", name: "widgets.example.com" },
        { api_version: "example.com/v1", kind: "Widget", namespace: "shop", name: "w" },
      ],
      propagation_policy: "foreground",
    });
    expect(await dry("--operation", "restart", "--ref", "StatefulSet/db")).toEqual({
      operation: "restart",
      references: [{ api_version: "apps/v1", kind: "StatefulSet", name: "db" }],
    });
    expect(await dry("--operation=patch", "--ref=ingresses/web", "--patch-file", patch)).toEqual({
      operation: "patch",
      patches: [{ api_version: "networking.k8s.io/v1", kind: "Ingress", name: "web", type: "strategic", patch: "spec: {replicas: 3}\n" }],
    });
    expect(
      await dry("--operation=patch", "--ref=v1/ConfigMap/c", "--type=json", "--patch=[]", "--as=jane", "--as-group=a,b", "--as-uid=7"),
    ).toEqual({
      operation: "patch",
      patches: [{ api_version: "v1", kind: "ConfigMap", name: "c", type: "json", patch: "[]" }],
      impersonate: { user: "jane", groups: ["a", "b"], uid: "7" },
    });
    const namespace = "examples/manifests/namespace.yaml";
    expect(
      await dry(
        "-f",
        namespace,
        "--ignore-field=/spec/replicas",
        "--ignore-field=Deployment=/spec/paused",
        "--ignore-field=deploy=/spec/x,y",
        "--on-immutable=recreate",
        "--on-failure=rollback",
        "--service-account=shop/deployer",
        "--plan=p1-abc",
        "--force-conflicts",
        "--ready-when=Widget/w=self.status.ok == true, or it is not",
        "--failed-when=Widget/w=has(self.status.dead)",
        "--ready-when=A == B",
      ),
    ).toEqual({
      manifests: [await Bun.file(namespace).text()],
      ignore_fields: [{ pointers: ["/spec/replicas"] }, { kind: "Deployment", pointers: ["/spec/paused", "/spec/x,y"] }],
      on_immutable: "recreate",
      on_failure: "rollback",
      service_account: "shop/deployer",
      ready_when: [
        { kind: "Widget", name: "w", ready: "self.status.ok == true, or it is not", failed: "has(self.status.dead)" },
        { ready: "A == B" },
      ],
      plan: "p1-abc",
      force_conflicts: true,
    });
    expect(await dry("-f", namespace, "--operation=apply")).toEqual({ manifests: [await Bun.file(namespace).text()] });
  });

  test("what is sent is said in the event's own words, and goes where only control planes that know operations listen", async () => {
    const run = await runCli(["send", "k8s", "--agent=nobody", "--cp-url", cp.url, "--operation=delete", "--ref=cm/a,cm/b"]);
    expect(run.code).toBe(0);
    expect(run.err).toContain(`Sending event to Control Plane at ${cp.url}/v1/events...\n`);
    expect(run.err).toContain("  Operation:    delete\n  Objects:      2 by name\n");
    expect(run.err).not.toContain("Manifests:");
  });

  const REFUSED: readonly (readonly [string, RegExp])[] = [
    ["--ref=web --operation=delete", /--ref "web" is not an object's kind and name/],
    ["--ref=widget/w --operation=delete", /"widget" is not one that every cluster has/],
    ["--ref=deploy/web", /--ref means nothing to the operation apply/],
    ["--operation=patch --ref=deploy/web", /needs a patch/],
    ["--operation=patch --patch={}", /a patch needs an object/],
    ["--operation=patch --ref=deploy/web --patch={} --patch-file=x", /each say what to change/],
    ["--operation=patch --ref=deploy/web --patch-file=/nonexistent/p.yaml", /\/nonexistent\/p\.yaml/],
    ["--operation=delete", /no manifest was given[^]*--ref KIND\/NAME/],
    ["--operation=delete --ref=deploy/web --force-conflicts", /--force-conflicts means nothing to the operation delete/],
    ["--operation=patch --ref=deploy/web --patch={} --on-immutable=recreate", /--on-immutable means nothing to the operation patch/],
    ["--operation=restart --ref=deploy/web --ignore-field=/spec/replicas", /--ignore-field means nothing to the operation restart/],
    ["--operation=delete --ref=deploy/web --ready-when=true", /--ready-when means nothing to the operation delete/],
    ["--plan=p2 -f examples/manifests", /--plan "p2" is no plan/],
    ["--plan= -f examples/manifests", /--plan "" is no plan/],
    ["--ignore-field=widget/w=/spec/x -f examples/manifests", /"widget" is not one that every cluster has/],
    ["--cascade=orphan -f examples/manifests", /--cascade means nothing to the operation apply/],
    ["--operation=create --plan=p1-a -f examples/manifests", /--plan means nothing to the operation create/],
    ["--as-group=x -f examples/manifests", /none is named/],
    ["--as=jane --service-account=a/b -f examples/manifests", /each say who is to do it/],
    ["--service-account=deployer -f examples/manifests", /not NAMESPACE\/NAME/],
    ["--ignore-field=spec.replicas -f examples/manifests", /not a JSON pointer/],
    ["--failed-when=x -f examples/manifests", /--failed-when needs a --ready-when/],
    ["--operation=erase -f examples/manifests", /apply, create, delete, restart, patch, diff/],
  ];
  for (const [flags, message] of REFUSED)
    test(`${flags} is refused before anything is sent`, async () => {
      const run = await runCli(["send", "k8s", "--agent", "x", "--cp-url", cp.url, ...flags.split(" ")]);
      expect(run.code).toBe(2);
      expect(run.err).toMatch(message);
    });
});
