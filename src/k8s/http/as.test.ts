import { describe, expect, test } from "bun:test";
import { silentLogger, systemPorts } from "../../kit/mod.ts";
import type { KubeAccess } from "../access/access.ts";
import { createKubeClient } from "./client.ts";
import { watchObjects } from "./watch.ts";

const POD = { group: "", version: "v1", kind: "Pod", plural: "pods", namespaced: true, verbs: new Set<string>() };

/** An API server that writes down as whom it is asked. */
function recorder(): { readonly url: string; readonly asked: [path: string, user: string | null, agent: string | null][]; stop(): void } {
  const asked: [string, string | null, string | null][] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      const { pathname, searchParams } = new URL(request.url);
      asked.push([
        `${request.method} ${pathname}${searchParams.has("watch") ? " watch" : ""}`,
        request.headers.get("impersonate-user"),
        request.headers.get("authorization"),
      ]);
      if (pathname === "/openapi/v3") return Response.json({ paths: { "api/v1": { serverRelativeURL: "/openapi/v3/api/v1?hash=1" } } });
      if (pathname.startsWith("/openapi")) return Response.json({ components: { schemas: {} } });
      if (searchParams.has("watch")) return new Response("", { headers: { "content-type": "application/json" } });
      if (pathname.endsWith("/pods")) return Response.json({ metadata: { resourceVersion: "1" }, items: [] });
      if (pathname.endsWith("/secret"))
        return Response.json({ message: 'pods "x" is forbidden: User "me" cannot get resource' }, { status: 403 });
      return Response.json({ kind: "APIGroupDiscoveryList", items: [] });
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, asked, stop: () => void server.stop(true) };
}

function accessTo(server: string, more: Partial<KubeAccess> = {}): KubeAccess {
  return {
    server,
    source: "a test",
    namespace: undefined,
    proxy: undefined,
    credentials: () => Promise.resolve({ headers: { authorization: "Bearer of-the-recorder" }, tls: { rejectUnauthorized: true } }),
    reload: () => undefined,
    ...more,
  };
}

describe("a client as somebody else", () => {
  for (const [what, groups] of [
    ["by fetch", []],
    ["with several groups, which fetch cannot send", ["a", "b"]],
  ] as const)
    test(`says so in every request that it makes, ${what}`, async () => {
      const server = recorder();
      try {
        const root = createKubeClient(accessTo(server.url), { ports: systemPorts, log: silentLogger });
        const client = root.as({ user: "jane", groups, uid: undefined, extra: {} });
        await client.discovery.refresh();
        await client.openApi.schemaOf({ group: "", version: "v1", kind: "Pod" });
        await client.send({
          method: "PATCH",
          path: "/api/v1/namespaces/x/pods/y",
          body: "{}",
          contentType: "application/apply-patch+yaml",
        });
        const stop = new AbortController();
        for await (const event of watchObjects(client, { type: POD, namespace: "x" }, { signal: stop.signal })) {
          expect(event.type).toBe("snapshot");
          // The stream is opened when the next is asked for.
          break;
        }
        const opening = new AbortController();
        await (await client.open({ method: "GET", path: "/api/v1/pods?watch=true" }, opening)).text();
        opening.abort();
        const { asked } = server;
        await client.send({ method: "GET", path: "/secret" });
        // A refusal may be that of a server that starts. Whether it is ready is the client's own question: one who may not be impersonated gets no answer.
        expect(asked.pop()).toEqual(["GET /secret", "jane", "Bearer of-the-recorder"]);
        expect(asked.pop()).toEqual(["GET /readyz", null, "Bearer of-the-recorder"]);
        expect(new Set(asked.map(([path]) => path))).toEqual(
          new Set([
            "GET /api",
            "GET /apis",
            "GET /openapi/v3",
            "GET /openapi/v3/api/v1",
            "PATCH /api/v1/namespaces/x/pods/y",
            "GET /api/v1/namespaces/x/pods",
            "GET /api/v1/pods watch",
            "GET /secret",
          ]),
        );
        expect(new Set(asked.map(([, user]) => user))).toEqual(new Set(["jane"]));
        expect(new Set(asked.map(([, , credentials]) => credentials))).toEqual(new Set(["Bearer of-the-recorder"]));
        asked.length = 0;
        await root.send({ method: "GET", path: "/api" });
        expect(asked).toEqual([["GET /api", null, "Bearer of-the-recorder"]]);
      } finally {
        server.stop();
      }
    });

  test("is refused where the kubeconfig itself says as whom: that is the operator's choice", () => {
    const identity = { user: "dave", groups: [], uid: undefined, extra: {} };
    const client = createKubeClient(accessTo("http://127.0.0.1:1", { identity }), { ports: systemPorts, log: silentLogger });
    expect(() => client.as({ user: "jane", groups: [], uid: undefined, extra: {} })).toThrow(
      /this agent acts as "dave" by its own kubeconfig .* cannot act as "jane"/,
    );
  });

  test("several groups by way of a proxy are refused, not joined into one", async () => {
    const client = createKubeClient(accessTo("http://127.0.0.1:1", { proxy: "http://127.0.0.1:2" }), {
      ports: systemPorts,
      log: silentLogger,
    });
    const asked = client.as({ user: "jane", groups: ["a", "b"], uid: undefined, extra: {} }).send({ method: "GET", path: "/api" });
    const error: unknown = await asked.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: "KUBE_CONFIG_INVALID" });
  });
});
