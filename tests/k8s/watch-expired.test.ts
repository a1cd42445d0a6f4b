import { describe, expect } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { watchObjects, type WatchEvent } from "../../src/k8s/http/watch.ts";
import { eventually } from "../support/eventually.ts";
import { flakyProxy } from "../support/flaky-proxy.ts";
import { kubeTest, startKube } from "../support/kube.ts";
import { clientOf } from "./walk.ts";

const MAPS = "/api/v1/namespaces/default/configmaps";

function namesOf(event: WatchEvent | undefined): string[] {
  const objects = event?.type === "snapshot" ? event.objects : event === undefined ? [] : [event.object];
  return objects
    .map((object) => String((object["metadata"] as Record<string, unknown>)["name"]))
    .filter((name) => name !== "kube-root-ca.crt");
}

describe("a watch of a real API server that has forgotten where it was", () => {
  kubeTest(
    "lists anew after 410, misses nothing that came and went meanwhile, and goes on",
    async () => {
      // History is kept for a moment only, and read from where it is kept.
      await using kube = await startKube({ apiServerFlags: ["--watch-cache=false", "--etcd-compaction-interval=1s"] });
      await using proxy = await flakyProxy({ targetPort: Number(new URL(kube.url).port) });
      const directory = await mkdtemp(join(tmpdir(), "transporter-expired-"));
      const make = async (name: string): Promise<void> => {
        const made = await kube.request("POST", MAPS, { apiVersion: "v1", kind: "ConfigMap", metadata: { name } });
        expect(made.status).toBe(201);
      };
      const stop = new AbortController();
      try {
        const kubeconfig = join(directory, "kubeconfig");
        await Bun.write(
          kubeconfig,
          (await Bun.file(kube.kubeconfigPath).text()).replace(new URL(kube.url).host, `127.0.0.1:${proxy.port}`),
        );
        const client = await clientOf(kube, kubeconfig);
        const [type] = await client.discovery.resolve([{ group: "", version: "v1", kind: "ConfigMap" }]);
        if (type === undefined) throw new Error("there are no ConfigMaps");
        await make("early");
        const events: WatchEvent[] = [];
        const troubles: string[] = [];
        const watching = (async () => {
          for await (const event of watchObjects(
            client,
            { type, namespace: "default" },
            { signal: stop.signal, onTrouble: (what) => void troubles.push(what) },
          ))
            events.push(event);
        })().catch(() => undefined);
        await eventually(() => events.length > 0, { what: "the first listing", timeoutMs: 30_000 });
        expect(namesOf(events[0])).toEqual(["early"]);
        await make("seen");
        await eventually(() => namesOf(events.at(-1)).includes("seen"), { what: "a change by the stream", timeoutMs: 30_000 });
        expect(events.at(-1)?.type).toBe("changed");
        const seen = events.at(-1);
        if (seen?.type !== "changed") throw new Error("no change was seen");
        const { resourceVersion } = seen.object["metadata"] as { resourceVersion: string };

        proxy.accepting = false;
        proxy.cut();
        await make("late");
        await (await kube.request("DELETE", `${MAPS}/early`)).text();
        const known = events.length;
        await eventually(
          async () =>
            (await (await kube.request("GET", `${MAPS}?watch=true&timeoutSeconds=1&resourceVersion=${resourceVersion}`)).text()).includes(
              '"code":410',
            ),
          { what: "the API server to forget", timeoutMs: 60_000 },
        );
        proxy.accepting = true;
        const again = await eventually(() => events.slice(known).find((event) => event.type === "snapshot"), {
          what: "a new listing",
          timeoutMs: 60_000,
        });
        expect(namesOf(again).toSorted()).toEqual(["late", "seen"]);
        await make("after");
        await eventually(() => events.slice(known).some((event) => event.type === "changed" && namesOf(event).includes("after")), {
          what: "a change after the new listing",
          timeoutMs: 30_000,
        });
        expect(troubles.length).toBeGreaterThan(0);
        stop.abort(new Error("seen enough"));
        await watching;
      } finally {
        stop.abort(new Error("over"));
        await rm(directory, { recursive: true, force: true });
      }
    },
    180_000,
  );
});
