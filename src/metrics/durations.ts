/** As Prometheus' client wants a metric of one's own to answer when a scrape comes. */
interface Sample {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

interface Series {
  readonly labels: Readonly<Record<string, string>>;
  /** How many fell into each bucket alone; what is above the last comes after it. */
  readonly counts: number[];
  sum: number;
}

/**
 * A histogram of durations whose series are found without building a key of all labels: one is observed with every request, and the
 * client library's own costs more than answering `/livez` does.
 */
export class Durations {
  readonly name: string;
  readonly help: string;
  readonly type = "histogram";
  readonly aggregator = "sum";
  readonly #buckets: readonly number[];
  /** By route, method and status. */
  readonly #series = new Map<string, Map<string, Map<number, Series>>>();

  constructor(name: string, help: string, buckets: readonly number[]) {
    this.name = name;
    this.help = help;
    this.#buckets = buckets;
  }

  observe(route: string, method: string, status: number, seconds: number): void {
    const series = this.#series.get(route)?.get(method)?.get(status) ?? this.#begin(route, method, status);
    series.sum += seconds;
    let at = 0;
    while (at < this.#buckets.length && seconds > (this.#buckets[at] ?? Number.POSITIVE_INFINITY)) at += 1;
    series.counts[at] = (series.counts[at] ?? 0) + 1;
  }

  get(): Promise<{
    readonly name: string;
    readonly help: string;
    readonly type: string;
    readonly aggregator: string;
    readonly values: readonly Sample[];
  }> {
    const values: Sample[] = [];
    for (const byMethod of this.#series.values())
      for (const byStatus of byMethod.values()) for (const series of byStatus.values()) this.#samples(series, values);
    const { name, help, type, aggregator } = this;
    return Promise.resolve({ name, help, type, aggregator, values });
  }

  reset(): void {
    this.#series.clear();
  }

  #samples({ labels, counts, sum }: Series, into: Sample[]): void {
    let count = 0;
    for (const [at, bucket] of [...this.#buckets, "+Inf"].entries()) {
      count += counts[at] ?? 0;
      into.push({ metricName: `${this.name}_bucket`, labels: { le: bucket, ...labels }, value: count });
    }
    into.push({ metricName: `${this.name}_sum`, labels, value: sum }, { metricName: `${this.name}_count`, labels, value: count });
  }

  #begin(route: string, method: string, status: number): Series {
    const byMethod = this.#series.get(route) ?? new Map<string, Map<number, Series>>();
    const byStatus = byMethod.get(method) ?? new Map<number, Series>();
    const series: Series = { labels: { route, method, status: String(status) }, counts: [], sum: 0 };
    this.#series.set(route, byMethod.set(method, byStatus.set(status, series)));
    return series;
  }
}
