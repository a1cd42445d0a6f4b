import { describe, expect, test } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { applyPlan, createKubeClient, planObjects, validatePlan, verifyPlan, type KubeAccess } from "../../src/k8s/mod.ts";
import { watchObjects, type WatchEvent } from "../../src/k8s/http/watch.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, startKube } from "../support/kube.ts";
import { APPLY, clientOf, configMap, deployment, parsed, refusal, walk } from "./walk.ts";

/** An API server that answers as the test wants. */
function fakeServer(answer: (request: Request, count: number) => Response | Promise<Response>): {
  readonly access: KubeAccess;
  readonly stop: () => void;
  readonly count: () => number;
} {
  let count = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => answer(request, (count += 1)),
  });
  return {
    access: {
      server: `http://127.0.0.1:${server.port}`,
      source: "a test",
      namespace: undefined,
      proxy: undefined,
      credentials: async () => ({ headers: {}, tls: { rejectUnauthorized: true } }),
      reload: () => undefined,
    },
    stop: () => void server.stop(true),
    count: () => count,
  };
}

/** On a busy machine an API server takes a while to come back. */
const PATIENT = { retryBudgetMs: 60_000 } as const;

function status(code: number, message: string, headers: Readonly<Record<string, string>> = {}): Response {
  return Response.json({ kind: "Status", status: "Failure", message, code }, { status: code, headers });
}

/** One line of a watch. */
function event(type: string, name: string, resourceVersion: string): string {
  return `${JSON.stringify({ type, object: { metadata: { name, resourceVersion } } })}\n`;
}

describe("an API server that is not at its best", () => {
  test("one that throttles is asked again as told", async () => {
    const server = fakeServer((_, count) =>
      count < 3 ? status(429, "too many requests", { "retry-after": "1" }) : Response.json({ ok: true }),
    );
    try {
      const client = createKubeClient(server.access, { ports: systemPorts, log: silentLogger });
      const startedAt = performance.now();
      expect((await client.send({ method: "PATCH", path: "/x", body: "{}" })).status).toBe(200);
      expect(performance.now() - startedAt).toBeGreaterThanOrEqual(2_000);
      expect(server.count()).toBe(3);
    } finally {
      server.stop();
    }
  });

  test("patience is bounded, and what must not arrive twice is not sent twice", async () => {
    const server = fakeServer((_, count) => (count === 1 ? status(504, "timed out") : Response.json({})));
    try {
      const client = createKubeClient(server.access, { ports: systemPorts, log: silentLogger, retryBudgetMs: 500 });
      expect((await client.send({ method: "POST", path: "/x", body: "{}" })).status).toBe(504);
      expect(server.count()).toBe(1);
    } finally {
      server.stop();
    }
    const gone = createKubeClient(server.access, { ports: systemPorts, log: silentLogger, retryBudgetMs: 500 });
    const error = await refusal(gone.send({ method: "GET", path: "/x" }));
    expect(error.code).toBe("KUBE_UNAVAILABLE");
    expect(error.message).toContain("connection refused");
  });

  test("one that asks for more patience than there is, is given up at once, and whoever asked is told how long it asked for", async () => {
    const server = fakeServer(() => status(429, "too many requests", { "retry-after": "20" }));
    try {
      const client = createKubeClient(server.access, { ports: systemPorts, log: silentLogger });
      const error = await refusal(client.send({ method: "PATCH", path: "/x", body: "{}" }));
      expect(error).toMatchObject({ code: "KUBE_UNAVAILABLE", details: { retry_after_ms: 20_000 } });
      expect(error.details["maybe_done"]).toBeUndefined();
      expect(server.count()).toBe(1);
    } finally {
      server.stop();
    }
  });

  test("a webhook that is down is not waited for here: whoever asked tries again, or does not", async () => {
    const words = 'Internal error occurred: failed calling webhook "x": dial tcp 127.0.0.1:1: connect: connection refused';
    const server = fakeServer(() => status(500, words));
    try {
      const client = createKubeClient(server.access, { ports: systemPorts, log: silentLogger });
      expect((await client.send({ method: "PATCH", path: "/x", body: "{}", repeatable: true })).status).toBe(500);
      expect(server.count()).toBe(1);
    } finally {
      server.stop();
    }
  });

  test("the answer to a request that was sent before says so, and an error says whether the request may have arrived", async () => {
    const server = fakeServer((_, count) => (count === 1 ? status(504, "timed out") : Response.json({})));
    const client = createKubeClient(server.access, { ports: systemPorts, log: silentLogger, retryBudgetMs: 5_000 });
    const patch = { method: "PATCH", path: "/x", body: "{}", repeatable: true } as const;
    try {
      expect(await client.send(patch)).toMatchObject({ status: 200, sentBefore: true });
      expect((await client.send(patch)).sentBefore).toBeUndefined();
    } finally {
      server.stop();
    }
    const impatient = createKubeClient(server.access, { ports: systemPorts, log: silentLogger, retryBudgetMs: 100 });
    expect((await refusal(impatient.send(patch))).details["maybe_done"]).toBeUndefined();
    const silent = fakeServer(() => new Promise<Response>(() => undefined));
    try {
      const waiting = createKubeClient(silent.access, { ports: systemPorts, log: silentLogger, requestTimeoutMs: 100, retryBudgetMs: 100 });
      expect((await refusal(waiting.send(patch))).details["maybe_done"]).toBe(true);
    } finally {
      silent.stop();
    }
  });

  test("one that never answers is given up in time", async () => {
    const server = fakeServer(() => new Promise<Response>(() => undefined));
    try {
      const client = createKubeClient(server.access, { ports: systemPorts, log: silentLogger, requestTimeoutMs: 200, retryBudgetMs: 300 });
      expect((await refusal(client.send({ method: "GET", path: "/x" }))).message).toContain("no answer within");
    } finally {
      server.stop();
    }
  });

  test("a thousand requests at once never have more in flight than allowed, and a redirect is not followed", async () => {
    let flying = 0;
    let most = 0;
    const server = fakeServer(async (request) => {
      if (new URL(request.url).pathname === "/redirect") return Response.redirect("http://127.0.0.1:1/elsewhere");
      flying += 1;
      most = Math.max(most, flying);
      await Bun.sleep(1);
      flying -= 1;
      return Response.json({});
    });
    try {
      const client = createKubeClient(server.access, { ports: systemPorts, log: silentLogger });
      await Promise.all(Array.from({ length: 1_000 }, () => client.send({ method: "GET", path: "/x" })));
      expect(most).toBe(32);
      expect((await client.send({ method: "GET", path: "/redirect" })).status).toBe(302);
    } finally {
      server.stop();
    }
  });

  test("a watch goes on where it was, and starts anew when the server has forgotten that place", async () => {
    const asked: string[] = [];
    const stop = new AbortController();
    const server = fakeServer((request) => {
      const { searchParams } = new URL(request.url);
      if (searchParams.get("watch") !== "true") {
        asked.push("list");
        return Response.json({ metadata: { resourceVersion: asked.length === 1 ? "10" : "50" }, items: [] });
      }
      asked.push(`watch ${searchParams.get("resourceVersion") ?? ""}`);
      switch (searchParams.get("resourceVersion")) {
        case "10":
          // An event, then a bookmark, then the stream's end.
          return new Response(event("ADDED", "a", "11") + event("BOOKMARK", "", "20"));
        case "20":
          return new Response(`${JSON.stringify({ type: "ERROR", object: { kind: "Status", code: 410, message: "too old" } })}\n`);
        default:
          return new Response(event("DELETED", "a", "51"));
      }
    });
    try {
      const client = createKubeClient(server.access, { ports: systemPorts, log: silentLogger });
      const type = { group: "", version: "v1", kind: "ConfigMap", plural: "configmaps", namespaced: true, verbs: new Set<string>() };
      const seen: WatchEvent["type"][] = [];
      for await (const one of watchObjects(client, { type, namespace: "x" }, { signal: stop.signal })) {
        seen.push(one.type);
        if (one.type === "gone") break;
      }
      expect(seen).toEqual(["snapshot", "changed", "snapshot", "gone"]);
      expect(asked).toEqual(["list", "watch 10", "watch 20", "list", "watch 50"]);
    } finally {
      stop.abort();
      server.stop();
    }
  });

  kubeTest(
    "one that is starting is not believed when it denies what roles allow",
    async () => {
      await using kube = await startKube({ controllers: true });
      await using namespace = await freshNamespace(kube);
      const kubeconfig = await namespace.kubeconfigWith([{ apiGroups: [""], resources: ["configmaps"], verbs: ["create", "patch"] }]);
      const client = await clientOf(kube, kubeconfig, PATIENT);
      const path = `/api/v1/namespaces/${namespace.name}/configmaps/settings?fieldManager=test&force=true`;
      const body = JSON.stringify(configMap("settings", { a: "1" }));
      const statuses = new Map<number, number>();
      const restarted = new AbortController();
      // Without the look at /readyz, some of these are refused in each restart.
      const askers = Array.from({ length: 4 }, async () => {
        while (!restarted.signal.aborted) {
          const { status } = await client.send({
            method: "PATCH",
            path,
            body,
            contentType: "application/apply-patch+yaml",
            repeatable: true,
          });
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
        }
      });
      for (let round = 0; round < 2; round += 1) {
        await kube.killApiServer();
        await kube.restartApiServer();
      }
      restarted.abort();
      await Promise.all(askers);
      expect([...statuses.keys()].filter((status) => status !== 200 && status !== 201)).toEqual([]);
      // A true refusal stays one.
      const forbidden = await client.send({ method: "GET", path: `/api/v1/namespaces/${namespace.name}/secrets` });
      expect(forbidden.status).toBe(403);
    },
    120_000,
  );

  kubeTest(
    "one that is killed and comes back, in the middle of applying and of waiting",
    async () => {
      await using kube = await startKube({ controllers: true, scheduler: true, nodes: 1 });
      await using namespace = await freshNamespace(kube);
      const client = await clientOf(kube, kube.kubeconfigPath, PATIENT);
      const objects = parsed(
        ...Array.from({ length: 400 }, (_, index) => configMap(`map-${index}`, { a: "1" })),
        deployment("web", "none", { "transporter.dev/never-ready": "true" }),
      );
      const plan = await planObjects(client, objects, { defaultNamespace: namespace.name });
      const validation = await validatePlan(client, plan, APPLY);
      let restarted: Promise<void> | undefined;
      const outcomes = await applyPlan(client, plan, validation, {
        ...APPLY,
        onProgress: (done) => {
          if (done === 100) restarted = kube.killApiServer().then(() => kube.restartApiServer());
        },
      });
      await restarted;
      // Whatever was cut off has been sent again: an apply that arrives twice is still one.
      expect(outcomes.filter(({ status }) => status !== "created" && status !== "updated" && status !== "unchanged")).toEqual([]);
      expect(
        (await namespace.kubectl(["get", "configmaps", "--output=name"])).split("\n").filter((name) => name.includes("map-")),
      ).toHaveLength(400);

      const waiting: string[] = [];
      const verified = verifyPlan(client, plan, outcomes, { timeoutMs: 60_000, onWaiting: (text) => waiting.push(text) });
      await eventually(() => waiting.length > 0, { timeoutMs: 20_000 });
      await kube.killApiServer();
      await kube.restartApiServer();
      // The change comes after the restart, so only a watch that was taken up again sees it.
      const scaled = parsed(deployment("web", "none", { "transporter.dev/never-ready": "true" }, 0));
      await walk(client, scaled, { defaultNamespace: namespace.name });
      await verified;
    },
    120_000,
  );
});
