import { afterAll, expect, test } from "bun:test";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "../../sandbox/mod.ts";
import { type TemporaryDirectory, temporaryDirectory } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, type Namespace, uniqueName } from "../support/kube.ts";
import { compiledKubeTest, type RunningProcess, runTransporter, startProcess, startTransporter } from "../support/process.ts";

/**
 * Secrets are planted wherever one comes near: each is a word that nobody else has. Then everything that anybody is shown is gathered, from
 * the compiled executable and a real API server, and none of those words is in it.
 */
class Canaries {
  readonly #words = new Map<string, string>();

  plant(where: string): string {
    // Letters and digits, as passwords have them; not to be taken for one by their shape.
    const word = `Zx${crypto.randomUUID().replaceAll("-", "").slice(0, 18)}q`;
    this.#words.set(where, word);
    return word;
  }

  /** One that is known already: a token of ours. */
  plantAs(where: string, word: string): string {
    this.#words.set(where, word);
    return word;
  }

  /** Which of them stand in a text, as they are or in base64. */
  foundIn(text: string): string[] {
    return [...this.#words].filter(([, word]) => formsOf(word).some((form) => text.includes(form))).map(([where]) => where);
  }
}

function formsOf(word: string): string[] {
  // Whatever stands before it shifts the letters of base64; the first and last ones depend on what is around.
  const shifted = ["", "x", "xx"].map((before) =>
    Buffer.from(before + word)
      .toString("base64")
      .slice(before.length === 0 ? 0 : 4, -4),
  );
  return [word, encodeURIComponent(word), ...shifted];
}

const canaries = new Canaries();
/** Everything that somebody is shown, by where that is. */
const shown = new Map<string, string>();
const show = (where: string, text: string): void => void shown.set(where, `${shown.get(where) ?? ""}${text}\n`);

const stack = new AsyncDisposableStack();
afterAll(() => stack.disposeAsync());

/** Refuses Secrets of one name, and says what stands in them, as a careless policy does. */
async function carelessPolicy(space: Namespace): Promise<void> {
  const { kube } = space;
  const name = `${uniqueName("careless")}.transporter.test`;
  const path = "/apis/admissionregistration.k8s.io/v1";
  const made = [
    await kube.request("POST", `${path}/validatingadmissionpolicies`, {
      metadata: { name },
      spec: {
        failurePolicy: "Fail",
        matchConstraints: {
          namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": space.name } },
          resourceRules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE", "UPDATE"], resources: ["secrets"] }],
        },
        validations: [
          {
            expression: "object.metadata.name != 'denied'",
            messageExpression: "'the value ' + string(object.data['password']) + ' is not allowed'",
          },
        ],
      },
    }),
    await kube.request("POST", `${path}/validatingadmissionpolicybindings`, {
      metadata: { name },
      spec: { policyName: name, validationActions: ["Deny"] },
    }),
  ];
  for (const response of made) if (!response.ok) throw new Error(await response.text());
  stack.defer(async () => {
    for (const kind of ["validatingadmissionpolicybindings", "validatingadmissionpolicies"])
      await (await kube.request("DELETE", `${path}/${kind}/${name}`)).text();
  });
  const trial = { metadata: { name: "denied" }, data: { password: "dHJpYWw=" } };
  await eventually(async () => !(await kube.request("POST", `/api/v1/namespaces/${space.name}/secrets?dryRun=All`, trial)).ok, {
    what: "the policy's being asked",
    timeoutMs: 30_000,
  });
}

interface Site {
  readonly space: Namespace;
  readonly files: TemporaryDirectory;
  readonly url: string;
  readonly ca: string;
  readonly admin: string;
  readonly cp: RunningProcess;
  readonly agents: readonly RunningProcess[];
  /** The environment of people's commands. */
  readonly env: Readonly<Record<string, string>>;
}

const line = (...parts: readonly (readonly string[])[]): string[] => parts.flat();

const AGENTS = ["works", "unknown-to-its-cluster"] as const;

async function startSite(): Promise<Site> {
  const space = stack.use(await freshNamespace());
  await carelessPolicy(space);
  const files = stack.use(await temporaryDirectory());
  const directory = join(files.path, "security");
  const init = await runTransporter(["cp", "init", "--security-dir", directory, ...AGENTS.flatMap((id) => ["--agent", id])], {
    compiled: true,
  });
  expect(init).toMatchObject({ exitCode: 0 });
  const [admin = ""] = /tpu_\w+/.exec(init.stdout) ?? [];
  canaries.plantAs("the admin token", admin);
  const enrolment = [...init.stdout.matchAll(/tpe_\w+/g)].map(([token], at) => canaries.plantAs(`enrolment token ${at}`, token));
  const [pin = ""] = /sha256:[0-9a-f]{64}/.exec(init.stdout) ?? [];
  const [agentPort = 0] = freePorts(1);
  const queue = canaries.plant("the password of the queue");
  const cp = stack.use(
    await startTransporter(
      line(
        ["cp", "--debug", "--security-dir", directory],
        ["--ws-addr", "127.0.0.1", "--ws-port", "0", "--probe-port", "0"],
        ["--agent-port", String(agentPort), "--advertise-agents", `wss://127.0.0.1:${agentPort}/ws`],
      ),
      {
        compiled: true,
        env: {
          TRANSPORTER_QUEUE: `nats://queue:${queue}@127.0.0.1:1/events`,
          TRANSPORTER_LOG_FORMAT: "json",
          AWS_SECRET_ACCESS_KEY: canaries.plant("the control plane's environment"),
        },
      },
    ),
  );
  const [, port = ""] = await cp.line(/"message":"Control plane is listening","address":"127\.0\.0\.1:(\d+)"/);
  const url = `https://127.0.0.1:${port}`;
  const ca = await readFile(join(directory, "ca.crt"), "utf8");
  const wrong = await space.kube.kubeconfigFor("nobody", canaries.plant("the token of a kubeconfig"), space.name);
  const agents: RunningProcess[] = [];
  for (const [at, id] of AGENTS.entries())
    agents.push(
      stack.use(
        await startTransporter(
          line(
            ["agent", "--debug", "--agent-id", id, "--cp-url", url, "--ca-hash", pin],
            ["--kubeconfig", at === 0 ? space.kube.kubeconfigPath : wrong],
          ),
          {
            compiled: true,
            env: {
              TRANSPORTER_ENROLMENT_TOKEN: enrolment[at] ?? "",
              TRANSPORTER_LOG_FORMAT: at === 0 ? "json" : "text",
              DATABASE_PASSWORD: canaries.plant(`the environment of agent ${id}`),
            },
          },
        ),
      ),
    );
  const env = { TRANSPORTER_TOKEN: admin, TRANSPORTER_CP_URL: url, TRANSPORTER_CA_FILE: join(directory, "ca.crt") };
  const site = { space, files, url, ca, admin, cp, agents, env };
  for (const agent of agents) await agent.line(/Agent registered successfully/, { timeoutMs: 30_000 });
  return site;
}

function ask(site: Site, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (!headers.has("authorization")) headers.set("authorization", `Bearer ${site.admin}`);
  return fetch(site.url + path, { ...init, headers, tls: { ca: site.ca } });
}

const yaml = (lines: readonly string[]): string => `${lines.join("\n")}\n`;

function secretYaml(site: Site, name: string, more: readonly string[]): string {
  return yaml(["apiVersion: v1", "kind: Secret", "metadata:", `  name: ${name}`, `  namespace: ${site.space.name}`, ...more]);
}

/** By name: which agent, the manifest, and how it ends. */
function eventsOf(site: Site): Readonly<Record<string, readonly [agent: string, manifest: string, state: string]>> {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  const tokenPart = canaries.plant("an unquoted number").replaceAll(/\D/g, "");
  const pin = canaries.plantAs("a number", `8${tokenPart.slice(0, 11).padEnd(11, "7")}`);
  return {
    taken: [
      "works",
      secretYaml(site, "taken", [
        "stringData:",
        `  password: ${canaries.plant("a Secret that is taken")}`,
        "data:",
        `  more: ${base64(canaries.plant("its data"))}`,
      ]),
      "completed",
    ],
    denied: [
      "works",
      secretYaml(site, "denied", ["stringData:", `  password: ${canaries.plant("a Secret that a policy quotes")}`]),
      "failed",
    ],
    number: ["works", secretYaml(site, "number", ["stringData:", `  pin: ${pin}`]), "failed"],
    coded: ["works", secretYaml(site, "coded", ["data:", `  k: "${canaries.plant("data that is no base64")}!"`]), "failed"],
    nested: ["works", secretYaml(site, "nested", ["stringData:", "  a:", `    b: ${canaries.plant("data that is too deep")}`]), "failed"],
    broken: [
      "works",
      secretYaml(site, "broken", ["stringData:", `  password: ${canaries.plant("YAML that is broken")}`, " wrong: ["]),
      "failed",
    ],
    unquoted: ["works", secretYaml(site, "unquoted", ["stringData:", `  password: "${canaries.plant("YAML without an end")}`]), "failed"],
    strange: [
      "unknown-to-its-cluster",
      secretYaml(site, "strange", ["stringData:", `  password: ${canaries.plant("a Secret for a cluster that does not know us")}`]),
      "failed",
    ],
  };
}

async function sendAll(site: Site, events: ReturnType<typeof eventsOf>): Promise<void> {
  for (const [id, [agent, manifest]] of Object.entries(events)) {
    const body = { id, type: "k8s_resource", target_agent: agent, retry: { attempts: 1 }, payload: { manifests: [manifest] } };
    const answer = await ask(site, "/v1/events", {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    });
    show("answers to events", await answer.text());
    expect([id, answer.status]).toEqual([id, 202]);
  }
  for (const [id, [, , state]] of Object.entries(events)) {
    const seen = async (): Promise<string> =>
      ((await (await ask(site, `/v1/events/${id}`)).json()) as { summary?: { state: string }; state?: string }).state ?? "";
    await eventually(async () => (await seen()) === state, { what: `${id} to be ${state}`, timeoutMs: 40_000 });
  }
}

/** What strangers send, and what they are told. */
async function knock(site: Site): Promise<void> {
  const bad = canaries.plant("a body that is no JSON");
  const wrongToken = canaries.plantAs("a token that nobody made", `tpu_${"a".repeat(12)}_${"b".repeat(40)}`);
  const tries: readonly (readonly [string, RequestInit])[] = [
    ["/v1/events", { method: "POST", body: `{"id":"x","payload":{"password": ${bad}}}` }],
    ["/v1/events", { method: "POST", body: `{"id":"x","payload":{"manifests":["kind: Secret\\nstringData: {p: ${bad}}` }],
    ["/v1/events", { method: "POST", body: JSON.stringify({ id: "x", payload: { manifests: { password: bad } } }) }],
    ["/v1/agents", { headers: { authorization: `Bearer ${wrongToken}` } }],
    ["/v1/agents", { headers: { authorization: `Bearer ${wrongToken}x` } }],
    ["/v1/agents", { headers: { authorization: `Basic ${Buffer.from(`me:${canaries.plant("basic credentials")}`).toString("base64")}` } }],
    ["/v1/agents", { headers: { authorization: "Bearer x", cookie: `session=${canaries.plant("a cookie")}` } }],
    [`/v1/agents?access_token=${canaries.plant("a query")}`, {}],
    ["/v1/enrolments", { method: "POST", body: "{}", headers: { authorization: `Bearer tpe_${canaries.plant("an enrolment")}` } }],
  ];
  for (const [path, init] of tries) {
    const headers = {
      ...(init.body === undefined ? {} : { "content-type": "application/json" }),
      ...(init.headers as Record<string, string> | undefined),
    };
    const answer = await ask(site, path, { ...init, headers });
    show("refusals", await answer.text());
    expect(answer.status).toBeGreaterThanOrEqual(400);
  }
}

/** Every path of the API that can be read, as its own description says, with a token and without. */
async function readEverything(site: Site, ids: readonly string[]): Promise<void> {
  const { paths } = (await (await ask(site, "/openapi.json")).json()) as { paths: Record<string, Record<string, unknown>> };
  const reads = Object.entries(paths).flatMap(([path, methods]) => ("get" in methods && path !== "/ws" ? [path] : []));
  expect(reads.length).toBeGreaterThan(15);
  for (const path of reads) {
    const about = !path.includes("{id}") ? [""] : path.includes("/events/") ? ids : AGENTS;
    for (const id of about) {
      const where = path.replace("{id}", encodeURIComponent(id));
      const query = path === "/readyz" ? "?verbose" : "";
      const until = AbortSignal.timeout(path.endsWith("stream") ? 400 : 10_000);
      const answer = await ask(site, `${where}${query}`, {
        signal: until,
        headers: path.endsWith("stream") ? { "last-event-id": "0" } : {},
      });
      show(`GET ${path}`, await readSome(answer));
    }
  }
  show("GET /metrics", await (await ask(site, "/metrics", { headers: { accept: "text/plain" } })).text());
  const [, probes = ""] = /"Probes and metrics[^"]*","address":"([^"]+)"/.exec(site.cp.stderr()) ?? [];
  for (const path of ["/metrics", "/readyz?verbose"])
    show(`probes ${path}`, await (await fetch(`http://${probes}${path}`, { headers: { accept: "text/plain" } })).text());
  show("without a token", await (await ask(site, "/v1/audit", { headers: { authorization: "" } })).text());
}

/** A stream has no end; what comes within the time is enough. */
async function readSome(answer: Response): Promise<string> {
  let text = "";
  try {
    const decoder = new TextDecoder();
    for await (const chunk of answer.body ?? []) text += decoder.decode(chunk, { stream: true });
  } catch {
    // The time is up.
  }
  return text;
}

async function runEverything(site: Site, ids: readonly string[]): Promise<void> {
  const { env, files } = site;
  const broken = await files.file(
    "broken.yaml",
    secretYaml(site, "mine", ["stringData:", ` password: "${canaries.plant("a file of the sender")}`, "  x: ["]),
  );
  const config = await files.file(
    "config.yaml",
    yaml([`memphis-password: ${canaries.plant("a configuration file")}`, "queue: memphis://127.0.0.1:1/s"]),
  );
  const kubeconfig = await site.space.kube.kubeconfigFor("nobody", canaries.plant("the token of another kubeconfig"), site.space.name);
  const bundle = join(files.path, "report.tar.gz");
  const commands: readonly (readonly string[])[] = [
    ["get", "events", "-o", "json"],
    ["get", "agents", "-o", "json"],
    ["audit", "-o", "json"],
    ["describe", "event", "denied"],
    ...ids.map((id) => ["describe", "event", id, "-o", "json"]),
    ["watch", ids[1] ?? "", "--debug"],
    ["doctor", "send", "-o", "json"],
    ["doctor", "cp", "--config", config, "--debug"],
    ["doctor", "agent", "--agent-id", "works", "--kubeconfig", kubeconfig, "--debug", "--bundle", bundle],
  ];
  const run = async (command: readonly string[]): Promise<void> => {
    const more = { DB_PASSWORD: canaries.plant(`the environment of ${command.slice(0, 2).join(" ")}`) };
    const { stdout, stderr } = await runTransporter(command, { compiled: true, env: { ...env, ...more } });
    show(`transporter ${command.slice(0, 2).join(" ")}`, stdout + stderr);
  };
  // What comes of it is to be seen by all others.
  await run(["send", "k8s", "--agent", "works", "-f", broken, "--wait", "--debug"]);
  await Promise.all(commands.map(run));
  const into = join(files.path, "unpacked");
  await Bun.$`mkdir ${into} && tar -xzf ${bundle} -C ${into}`.quiet();
  for (const name of await readdir(into, { recursive: true }))
    show(`bundle ${name}`, await readFile(join(into, name), "utf8").catch(() => ""));
}

/** What is seen of running programs by others on the machine. */
async function commandLine(pid: number): Promise<string> {
  return (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).replaceAll("\0", " ");
}

compiledKubeTest(
  "no planted secret is in anything that is shown: logs, audit, answers, streams, metrics, output, reports, crashes",
  async () => {
    const site = await startSite();
    const events = eventsOf(site);
    const ids = Object.keys(events);
    await sendAll(site, events);
    await knock(site);
    await runEverything(site, ids);
    await readEverything(site, ids);
    for (const { pid } of [site.cp, ...site.agents]) show("command lines", await commandLine(pid));
    const processes = { "control plane": site.cp, "agent that works": site.agents[0], "agent that is unknown": site.agents[1] };
    // A fault of the runtime itself prints what that wants to.
    for (const running of Object.values(processes)) await running?.kill("SIGSEGV");
    for (const [name, running] of Object.entries(processes))
      show(`log of the ${name}`, `${running?.stdout() ?? ""}${running?.stderr() ?? ""}`);

    const leaks = [...shown].flatMap(([where, text]) => canaries.foundIn(text).map((what) => `${what}, in ${where}`));
    expect(leaks).toEqual([]);
    // And all of it was really there to be found.
    for (const where of [
      "log of the control plane",
      "log of the agent that works",
      "GET /v1/events/{id}",
      "GET /v1/stream",
      "transporter describe event",
    ])
      expect(`${where}: ${shown.get(where)?.includes("denied") === true}`).toBe(`${where}: true`);
    expect(shown.get("GET /v1/events/{id}")).toContain("[redacted] is not allowed");
    expect(shown.get("GET /metrics")).toContain("transporter_");
    expect(shown.get("probes /metrics")).toContain("transporter_");
    expect(shown.get("GET /v1/audit")).toContain("event_received");
    expect([...shown.keys()].filter((where) => where.startsWith("bundle")).length).toBeGreaterThan(3);
  },
  180_000,
);

test("what nobody caught is told without secrets, where the runtime would print all that hangs on it", async () => {
  const planted = new Canaries();
  await using files = await temporaryDirectory();
  const bin = join(import.meta.dir, "..", "..", "bin", "transporter.ts");
  const thrower = await files.file(
    "thrower.ts",
    `import ${JSON.stringify(bin)};
     const error = new Error("dial failed: password=${planted.plant("its message")}", { cause: new Error("token=${planted.plant("its cause")}") });
     setTimeout(() => { throw Object.assign(error, { config: { auth: process.env.DB_PASSWORD } }); }, 300);`,
  );
  await using running = await startProcess([process.execPath, thrower, "cp", "--ws-port", "0", "--store", "memory:"], {
    env: { DB_PASSWORD: planted.plant("what hangs on it") },
  });
  expect(await running.exited).toBe(70);
  const told = running.stdout() + running.stderr();
  expect(told).toContain("dial failed: password=[redacted]");
  expect(told).toContain("thrower.ts");
  expect(planted.foundIn(told)).toEqual([]);
});
