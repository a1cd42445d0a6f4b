import type { Cluster } from "../../sandbox/mod.ts";
import type { Change } from "./verdict.ts";

interface WatchLine {
  readonly type: string;
  readonly object: {
    readonly code?: number;
    readonly message?: string;
    readonly metadata?: { readonly name?: string; readonly resourceVersion?: string };
    readonly data?: Readonly<Record<string, string>>;
  };
}

/**
 * Every change of a namespace's ConfigMaps, as the API server itself tells it: one line for each resourceVersion, none left out. An apply that
 * changes nothing makes none, so what stands here are effects, not attempts.
 */
export class Effects implements AsyncDisposable {
  readonly changes: Change[] = [];
  readonly #kube: Cluster;
  readonly #namespace: string;
  readonly #abort = new AbortController();
  #resourceVersion: string;
  #running: Promise<void> | undefined;
  #fault: Error | undefined;

  private constructor(kube: Cluster, namespace: string, resourceVersion: string) {
    this.#kube = kube;
    this.#namespace = namespace;
    this.#resourceVersion = resourceVersion;
  }

  static async watch(kube: Cluster, namespace: string): Promise<Effects> {
    const list = (await (await kube.request("GET", `/api/v1/namespaces/${namespace}/configmaps?limit=1`)).json()) as {
      metadata: { resourceVersion: string };
    };
    const effects = new Effects(kube, namespace, list.metadata.resourceVersion);
    effects.#running = effects.#run();
    return effects;
  }

  /** Resolves when everything that happened so far is among `changes`; throws when the watch has a hole. */
  async settle(): Promise<void> {
    const marker = `marker-${crypto.randomUUID().slice(0, 8)}`;
    const answer = await this.#kube.request("POST", `/api/v1/namespaces/${this.#namespace}/configmaps`, {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: marker },
      data: { event: marker, n: "0" },
    });
    if (!answer.ok) throw new Error(`the marker was refused: ${answer.status} ${await answer.text()}`);
    const untilMs = performance.now() + 60_000;
    for (;;) {
      if (this.#fault !== undefined) throw this.#fault;
      const at = this.changes.findIndex(({ object }) => object === marker);
      if (at >= 0) {
        this.changes.splice(at, 1);
        return;
      }
      if (performance.now() > untilMs) throw new Error("the API server's watch does not come to its end");
      await Bun.sleep(20);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      try {
        await this.#once();
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        this.#fault ??= error instanceof Error ? error : new Error(String(error));
        return;
      }
    }
  }

  /** One watch, to its end; the next goes on at the last resourceVersion that was seen. */
  async #once(): Promise<void> {
    const path = `/api/v1/namespaces/${this.#namespace}/configmaps?watch=1&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion=${this.#resourceVersion}`;
    const init: BunFetchRequestInit & { timeout?: boolean } = {
      headers: { authorization: `Bearer ${this.#kube.adminToken}` },
      tls: { ca: this.#kube.caPem },
      signal: this.#abort.signal,
      timeout: false,
    };
    const response = await fetch(`${this.#kube.url}${path}`, init);
    if (!response.ok || response.body === null) throw new Error(`the watch was refused: ${response.status} ${await response.text()}`);
    const decoder = new TextDecoder();
    let pieces: string[] = [];
    for await (const chunk of response.body) {
      let rest = decoder.decode(chunk, { stream: true });
      for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
        pieces.push(rest.slice(0, end));
        this.#take(JSON.parse(pieces.join("")) as WatchLine);
        pieces = [];
        rest = rest.slice(end + 1);
      }
      if (rest !== "") pieces.push(rest);
    }
  }

  #take({ type, object }: WatchLine): void {
    if (type === "ERROR") throw new Error(`the watch has a hole: ${object.code} ${object.message}`);
    this.#resourceVersion = object.metadata?.resourceVersion ?? this.#resourceVersion;
    if (type === "BOOKMARK") return;
    this.changes.push({
      object: object.metadata?.name ?? "",
      event: object.data?.["event"] ?? "",
      n: Number(object.data?.["n"] ?? Number.NaN),
      kind: type === "DELETED" ? "deleted" : "written",
    });
  }
}
