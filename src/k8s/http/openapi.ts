import type { Ports } from "../../kit/mod.ts";
import type { Discovery, KindRef } from "./discovery.ts";
import { parseRecord, recordOf, textOf } from "./json.ts";
import { SchemaDocument, type Schema } from "./schema.ts";
import { errorOfAnswer } from "./status-error.ts";
import type { KubeAnswer, KubeRequest } from "./transport.ts";

/** How long it is believed that nobody changed a definition; then the index, which is small, is looked at again. */
const FRESH_MS = 60_000;
/** One document is one group and version. */
const MAX_DOCUMENTS = 32;
const INDEX = "/openapi/v3";

/** Documents by their address, which holds the hash of what is in them: the same address is the same content, whoever asks. */
export class SchemaDocuments {
  readonly #known = new Map<string, Promise<SchemaDocument>>();

  /** Reads a document once, however many ask; the least recently used one makes room. */
  async get(url: string, read: () => Promise<SchemaDocument>): Promise<SchemaDocument> {
    const document = this.#known.get(url) ?? read();
    this.#known.delete(url);
    this.#known.set(url, document);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_DOCUMENTS) break;
      this.#known.delete(oldest);
    }
    try {
      return await document;
    } catch (error) {
      this.#known.delete(url);
      throw error;
    }
  }
}

/** The credentials go where an address points, so nothing else will do. */
function isDocument(url: string): boolean {
  return url.startsWith(`${INDEX}/`);
}

interface Sender {
  readonly ports: Ports;
  readonly discovery: Discovery;
  send(request: KubeRequest): Promise<KubeAnswer>;
}

interface Index {
  /** From `apis/apps/v1` to the address of its document. */
  readonly urls: ReadonlyMap<string, string>;
  readonly readAtMs: number;
  /** Of the discovery at that time: when that was read anew, so is this. */
  readonly reading: number;
}

/**
 * How the API server merges the objects of each kind, from its OpenAPI v3. Documents are read one by one, as their kinds are asked for, and kept by
 * the hash that the server gives them; the index of hashes is read again after a minute, when discovery was, and when a kind is not in it.
 * Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-v3
 */
export class OpenApi {
  readonly #client: Sender;
  readonly #documents: SchemaDocuments;
  #index: Promise<Index> | undefined;

  constructor(client: Sender, documents: SchemaDocuments) {
    this.#client = client;
    this.#documents = documents;
  }

  /**
   * The schema of a kind's objects; undefined where the API server publishes none. Throws FORBIDDEN where the account may not read it, and what else
   * `send` throws.
   */
  async schemaOf(kind: KindRef, signal?: AbortSignal): Promise<Schema | undefined> {
    const remembered = this.#index;
    const index = await this.#fresh();
    signal?.throwIfAborted();
    const found = await this.#find(index, kind);
    // The index of before may be from before this kind: nothing is known of it only after a fresh look.
    if (found !== undefined || remembered === undefined || (await remembered) !== index) return found;
    this.#index = undefined;
    return this.#find(await this.#fresh(), kind);
  }

  async #find(index: Index, { group, version, kind }: KindRef): Promise<Schema | undefined> {
    const path = group === "" ? `api/${version}` : `apis/${group}/${version}`;
    const url = index.urls.get(path);
    if (url === undefined) return undefined;
    const document = await this.#documents.get(url, () => this.#document(url, path));
    return document.kind(group, version, kind);
  }

  async #document(url: string, path: string): Promise<SchemaDocument> {
    let answer = await this.#client.send({ method: "GET", path: url });
    // What changed since the index was read has another hash, and the server says which.
    const moved = answer.status === 301 ? (answer.headers.get("location") ?? "") : "";
    if (isDocument(moved)) answer = await this.#client.send({ method: "GET", path: moved });
    if (answer.status !== 200) throw errorOfAnswer(answer, `the schemas of ${path}`);
    return new SchemaDocument(parseRecord(answer.text));
  }

  /** The index, if need be read anew; many who ask share one reading. */
  async #fresh(): Promise<Index> {
    const before = this.#index;
    const known = await before?.catch(() => undefined);
    const now = this.#client.ports.clock.monotonic();
    if (known !== undefined && now - known.readAtMs < FRESH_MS && known.reading === this.#client.discovery.reading) return known;
    // Unless somebody else has begun to read it anew meanwhile.
    if (this.#index === before) this.#index = undefined;
    this.#index ??= this.#read();
    try {
      return await this.#index;
    } catch (error) {
      this.#index = undefined;
      throw error;
    }
  }

  async #read(): Promise<Index> {
    const { reading } = this.#client.discovery;
    const readAtMs = this.#client.ports.clock.monotonic();
    const answer = await this.#client.send({ method: "GET", path: INDEX });
    const urls = new Map<string, string>();
    // An API server that publishes no OpenAPI v3 has none for any kind.
    if (answer.status === 404) return { urls, readAtMs, reading };
    if (answer.status !== 200) throw errorOfAnswer(answer, "the schemas of the API server");
    for (const [path, entry] of Object.entries(recordOf(parseRecord(answer.text)["paths"]))) {
      const url = textOf(recordOf(entry)["serverRelativeURL"]);
      if (url !== undefined && isDocument(url)) urls.set(path, url);
    }
    return { urls, readAtMs, reading };
  }
}
