import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { startKube, type Cluster } from "../support/kube.ts";

/** A request as an API server has seen it, to be made again in another namespace. */
export interface Recorded {
  readonly method: string;
  /** Path with its query; the namespace of the recording stands in it. */
  readonly uri: string;
  readonly contentType: string | undefined;
  readonly body: string | undefined;
}

const METHODS: Readonly<Record<string, string>> = {
  create: "POST",
  patch: "PATCH",
  update: "PUT",
  get: "GET",
  list: "GET",
  delete: "DELETE",
};

const POLICY = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Request
`;

interface AuditEntry {
  readonly auditID: string;
  readonly verb: string;
  readonly requestURI: string;
  readonly userAgent?: string;
  readonly requestObject?: unknown;
}

/** An API server that writes down what it is asked, bodies included. Slower for it, so nothing is measured here. */
export class RecordingCluster implements AsyncDisposable {
  readonly kube: Cluster;
  readonly #log: string;

  private constructor(kube: Cluster, log: string) {
    this.kube = kube;
    this.#log = log;
  }

  static async start(directory: string): Promise<RecordingCluster> {
    const [policy, log] = [join(directory, "audit-policy.yaml"), join(directory, "audit.log")];
    await writeFile(policy, POLICY);
    const kube = await startKube({
      apiServerFlags: [`--audit-policy-file=${policy}`, `--audit-log-path=${log}`, "--audit-log-mode=blocking"],
    });
    return new RecordingCluster(kube, log);
  }

  /** What the agent asked about a namespace while `work` was done, in the order in which it was answered. */
  async during(namespace: string, work: () => Promise<unknown>): Promise<Recorded[]> {
    const before = (await this.#entries()).length;
    await work();
    return eventually(
      async () => {
        const entries = (await this.#entries()).slice(before).filter(({ userAgent = "" }) => userAgent.startsWith("transporter"));
        const found = entries.flatMap((entry) => requestOf(entry, namespace));
        return found.length > 0 ? found : undefined;
      },
      { what: "the recorded requests" },
    );
  }

  async #entries(): Promise<AuditEntry[]> {
    const text = await readFile(this.#log, "utf8").catch(() => "");
    return text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as AuditEntry);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kube.stop();
  }
}

/** Watches are answered without end, and what is asked of no namespace is asked once for all objects. */
function requestOf(entry: AuditEntry, namespace: string): Recorded[] {
  const method = METHODS[entry.verb];
  const body = entry.requestObject === undefined ? undefined : JSON.stringify(entry.requestObject);
  if (method === undefined || !`${entry.requestURI} ${body ?? ""}`.includes(namespace)) return [];
  const contentType = method === "PATCH" ? "application/apply-patch+yaml" : body === undefined ? undefined : "application/json";
  return [{ method, uri: entry.requestURI, contentType, body }];
}

/** The requests for a part of the server's answer alone, as whoever applies asks. */
const METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/**
 * Makes recorded requests again in another namespace, so many in flight, with nothing but `fetch`: no parsing, no judging, no waiting. Answers
 * the milliseconds it took; fails where the server refuses one.
 */
export async function replay(
  kube: Cluster,
  requests: readonly Recorded[],
  namespaces: { readonly recorded: string; readonly now: string },
  inFlight = 16,
): Promise<number> {
  const moved = (text: string): string => text.replaceAll(namespaces.recorded, namespaces.now);
  const prepared = requests.map((one) => ({
    method: one.method,
    url: `${kube.url}${moved(one.uri)}`,
    contentType: one.contentType,
    body: one.body === undefined ? undefined : moved(one.body),
  }));
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let one = prepared[next++]; one !== undefined; one = prepared[next++]) {
      const answer = await fetch(one.url, {
        method: one.method,
        headers: {
          authorization: `Bearer ${kube.adminToken}`,
          accept: one.method === "GET" ? "application/json" : METADATA_ONLY,
          ...(one.contentType === undefined ? {} : { "content-type": one.contentType }),
        },
        ...(one.body === undefined ? {} : { body: one.body }),
        tls: { ca: kube.caPem },
      });
      const text = await answer.text();
      if (answer.status >= 300 && answer.status !== 404) throw new Error(`${one.method} ${one.url}: ${answer.status} ${text}`);
    }
  };
  const startedMs = performance.now();
  await Promise.all(Array.from({ length: inFlight }, worker));
  return performance.now() - startedMs;
}
