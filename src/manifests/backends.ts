import { isBuiltInGroup } from "./built-in.ts";
import type { Arrangeable, Leaning } from "./leanings.ts";
import type { ParsedObject } from "./object.ts";
import { providedKindKey } from "./provides.ts";

/** What an object leans on by what the API server will call, by its place in the list. */
export type Backends = (index: number) => readonly Leaning[];

type Loose = Readonly<Record<string, unknown>>;

function looseOf(value: unknown): Loose {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Loose) : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

const NOTHING: readonly Leaning[] = [];
const ADMISSION = "admissionregistration.k8s.io";

function isWebhooks({ ref }: Arrangeable): boolean {
  return ref.group === ADMISSION && (ref.kind === "ValidatingWebhookConfiguration" || ref.kind === "MutatingWebhookConfiguration");
}

function isAggregatedApi({ ref }: Arrangeable): boolean {
  return ref.group === "apiregistration.k8s.io" && ref.kind === "APIService";
}

/** `NAMESPACE/NAME` of a service that the API server is to call. */
function serviceKey(service: unknown): string | undefined {
  const { namespace, name } = looseOf(service);
  return typeof namespace === "string" && typeof name === "string" ? `${namespace}/${name}` : undefined;
}

/** The services behind a configuration. */
function servicesOf(item: Arrangeable): string[] {
  const { object } = item;
  if (object === undefined) return [];
  if (isAggregatedApi(item)) return [serviceKey(looseOf(object["spec"])["service"]) ?? []].flat();
  return listOf(object["webhooks"]).flatMap((webhook) => serviceKey(looseOf(looseOf(webhook)["clientConfig"])["service"]) ?? []);
}

/** The service by which a definition has its objects converted. */
function converterOf({ object }: Arrangeable): string | undefined {
  const conversion = looseOf(looseOf(object?.["spec"])["conversion"]);
  if (conversion["strategy"] !== "Webhook") return undefined;
  return serviceKey(looseOf(looseOf(conversion["webhook"])["clientConfig"])["service"]);
}

/** The labels of the pods that an object makes or is; undefined for what has none. */
function podLabels({ ref, object }: Arrangeable): Loose | undefined {
  if (object === undefined) return undefined;
  if (ref.group === "" && ref.kind === "Pod") return looseOf(object.metadata.labels);
  const runs = (ref.group === "apps" && ref.kind !== "ControllerRevision") || (ref.group === "" && ref.kind === "ReplicationController");
  return runs ? looseOf(looseOf(looseOf(looseOf(object["spec"])["template"])["metadata"])["labels"]) : undefined;
}

interface Workload {
  readonly index: number;
  readonly labels: Loose;
}

/** What stands behind each service that is asked for: the service itself, and what makes the pods that it selects. */
class Services {
  readonly #items: readonly Arrangeable[];
  readonly #places = new Map<string, number>();
  /** By namespace and one of their labels. */
  readonly #workloads = new Map<string, Workload[]>();
  readonly #known = new Map<string, readonly number[]>();

  constructor(items: readonly Arrangeable[]) {
    this.#items = items;
    for (const [index, item] of items.entries()) {
      const { group, kind, namespace = "", name } = item.ref;
      if (group === "" && kind === "Service") this.#places.set(`${namespace}/${name}`, index);
      const labels = podLabels(item) ?? {};
      for (const [label, value] of Object.entries(labels)) {
        const key = `${namespace}/${label}=${String(value)}`;
        const there = this.#workloads.get(key);
        if (there === undefined) this.#workloads.set(key, [{ index, labels }]);
        else there.push({ index, labels });
      }
    }
  }

  place(key: string): number | undefined {
    return this.#places.get(key);
  }

  workloads(key: string): readonly number[] {
    const known = this.#known.get(key) ?? this.#find(key);
    this.#known.set(key, known);
    return known;
  }

  #find(key: string): readonly number[] {
    const place = this.#places.get(key);
    const service = place === undefined ? undefined : this.#items[place];
    const selector = Object.entries(looseOf(looseOf(service?.object?.["spec"])["selector"]));
    const [first] = selector;
    // Without a selector somebody else says what is behind it.
    if (service === undefined || first === undefined) return [];
    return (this.#workloads.get(`${service.ref.namespace ?? ""}/${first[0]}=${String(first[1])}`) ?? [])
      .filter(({ labels }) => selector.every(([label, value]) => labels[label] === value))
      .map(({ index }) => index);
  }
}

/** A rule about creating or changing objects, of the configuration at this place. */
interface Rule {
  readonly on: number;
  readonly groups: ReadonlySet<unknown>;
  readonly resources: ReadonlySet<unknown>;
}

function rulesOf(entries: readonly (readonly [number, Arrangeable])[]): Rule[] {
  return entries
    .filter(([, item]) => isWebhooks(item))
    .flatMap(([on, { object }]) =>
      listOf(object?.["webhooks"])
        .flatMap((webhook) => listOf(looseOf(webhook)["rules"]).map(looseOf))
        .filter(({ operations }) => listOf(operations).some((one) => one === "CREATE" || one === "UPDATE" || one === "*"))
        .map(({ apiGroups, resources }) => ({ on, groups: new Set(listOf(apiGroups)), resources: new Set(listOf(resources)) })),
    );
}

/**
 * The configurations that judge one kind of custom resource. A rule for every group is taken to mean what the event brings: what else it might
 * mean may be what its own backend needs to get ready.
 */
function judgesOf(rules: readonly Rule[], { ref, plural }: Arrangeable, brought: boolean): Leaning[] {
  if (plural === undefined) return [];
  const wanted = [plural, "*", "*/*", `${plural}/*`];
  const judges = rules
    .filter(({ groups }) => groups.has(ref.group) || (brought && groups.has("*")))
    .filter(({ resources }) => wanted.some((one) => resources.has(one)));
  return [...new Set(judges.map(({ on }) => on))].map((on) => ({ on, why: "webhook" }));
}

/** `GROUP/VERSION` that an aggregated API serves by a service. */
function servedBy(item: Arrangeable): string | undefined {
  const { group, version, service } = looseOf(item.object?.["spec"]);
  return typeof group === "string" && typeof version === "string" && serviceKey(service) !== undefined ? `${group}/${version}` : undefined;
}

/** The groups and versions, as an apiVersion has them, that aggregated APIs among these objects serve by a service: with the names of those. */
export function aggregatedVersions(parsed: readonly Pick<ParsedObject, "object" | "ref">[]): ReadonlyMap<string, string> {
  const apis = parsed.map(({ ref, object }): Arrangeable => ({ ref, object, plural: undefined })).filter(isAggregatedApi);
  return new Map(apis.flatMap((item) => (servedBy(item) === undefined ? [] : [[servedBy(item) ?? "", item.ref.name] as const])));
}

/**
 * The leanings that come of calls of the API server: a configuration of webhooks and an aggregated API lean on what answers for them; a
 * custom resource leans on the configurations that judge it and on what converts it. A definition itself does not wait for its converter,
 * which as a rule cannot start without the definition.
 */
export function backendsOf(items: readonly Arrangeable[], definitions: ReadonlyMap<string, number>): Backends {
  const entries = [...items.entries()];
  const rules = rulesOf(entries);
  const calls = entries.some(([, item]) => isWebhooks(item) || isAggregatedApi(item));
  const apis = new Map(
    entries
      .filter(([, item]) => isAggregatedApi(item))
      .flatMap(([index, item]) => {
        const served = servedBy(item);
        return served === undefined ? [] : [[served, index] as const];
      }),
  );
  const converted = [...definitions].filter(([, index]) => {
    const item = items[index];
    return item !== undefined && converterOf(item) !== undefined;
  });
  if (!calls && converted.length === 0) return () => NOTHING;
  const services = new Services(items);
  const byKind = new Map<string, readonly Leaning[]>();
  const ofKind = (item: Arrangeable, kind: string): readonly Leaning[] => {
    const { group, version } = item.ref;
    const definition = definitions.get(kind);
    const definer = definition === undefined ? undefined : items[definition];
    const converter = definer === undefined ? undefined : converterOf(definer);
    const api = apis.get(`${group}/${version}`);
    return [
      ...(converter === undefined ? [] : services.workloads(converter).map((on): Leaning => ({ on, why: "conversion" }))),
      ...(api === undefined ? [] : [{ on: api, why: "aggregated_api" } as const]),
      ...judgesOf(rules, item, definition !== undefined),
    ];
  };
  return (index) => {
    const item = items[index];
    if (item === undefined) return NOTHING;
    if (isWebhooks(item) || isAggregatedApi(item)) {
      return [...new Set(servicesOf(item))].flatMap((key): Leaning[] => {
        const place = services.place(key);
        const behind = services.workloads(key).map((on): Leaning => ({ on, why: "backend" }));
        return place === undefined ? behind : [{ on: place, why: "service" }, ...behind];
      });
    }
    if (isBuiltInGroup(item.ref.group)) return NOTHING;
    const kind = providedKindKey(item.ref.group, item.ref.kind);
    const key = `${kind}/${item.ref.version}`;
    const known = byKind.get(key) ?? ofKind(item, kind);
    byKind.set(key, known);
    return known;
  };
}
