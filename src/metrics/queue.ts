import type { Counter, CounterConfiguration, Gauge, GaugeConfiguration } from "prom-client";

export interface QueueFigures {
  readonly connected: boolean;
  /** Messages that were taken here, and what became of them. */
  readonly counts: {
    readonly taken: number;
    readonly done: number;
    readonly duplicates: number;
    readonly dead: number;
    readonly retries: number;
  };
  /** The queue's own figures, the same at each control plane; rejects while it does not answer. */
  readonly status: () => Promise<{
    readonly waiting: Readonly<Record<string, number>>;
    readonly inHand: number;
    readonly dead: number | undefined;
    readonly oldestMs: number | undefined;
  }>;
}

/** Of what is published by this control plane, while it is the one that does. */
export interface OutletFigures {
  readonly kind: "status" | "audit";
  readonly published: number;
  /** Entries that are not published yet. */
  readonly lag: number;
}

interface Makers {
  readonly gauge: (configuration: GaugeConfiguration<string>) => Gauge;
  readonly counter: (configuration: CounterConfiguration<string>) => Counter;
}

/** The figures of the queue itself are the same at each control plane that shares it: take the highest, not the sum. */
export function queueMetrics(figures: () => QueueFigures, { gauge, counter }: Makers): void {
  gauge({
    name: "transporter_queue_up",
    help: "1 while messages can be had from the queue in front, else 0.",
    collect() {
      this.set(figures().connected ? 1 : 0);
    },
  });
  // One look at the queue serves all of them: the intake keeps it for two seconds. What a queue that is away has is not known.
  gauge({
    name: "transporter_queue_messages",
    help: "Messages that wait in the queue, by band.",
    labelNames: ["band"] as const,
    async collect() {
      const status = await figures()
        .status()
        .catch(() => undefined);
      this.reset();
      if (status !== undefined) for (const [band, count] of Object.entries(status.waiting)) this.set({ band }, count);
    },
  });
  const single = (name: string, help: string, read: (status: Awaited<ReturnType<QueueFigures["status"]>>) => number | undefined): void => {
    gauge({
      name,
      help,
      async collect() {
        const status = await figures()
          .status()
          .catch(() => undefined);
        const value = status === undefined ? undefined : read(status);
        // Without a value the metric shows none, rather than one that is old.
        if (value === undefined) this.remove();
        else this.set(value);
      },
    });
  };
  single("transporter_queue_in_hand", "Messages that are handed out and not settled, by all control planes.", ({ inHand }) => inHand);
  single("transporter_queue_dead", "Messages in the dead letters.", ({ dead }) => dead);
  single("transporter_queue_oldest_seconds", "Age of the oldest message that waits; 0 when none does.", ({ oldestMs, waiting }) =>
    oldestMs === undefined ? (Object.values(waiting).every((count) => count === 0) ? 0 : undefined) : oldestMs / 1000,
  );
  counter({
    name: "transporter_queue_taken_total",
    help: "Messages that this control plane took from the queue.",
    collect() {
      this.reset();
      this.inc(figures().counts.taken);
    },
  });
  counter({
    name: "transporter_queue_settled_total",
    help: "Messages that this control plane settled: their event was stored, was stored before, or they went to the dead letters.",
    labelNames: ["outcome"] as const,
    collect() {
      const { done, duplicates, dead } = figures().counts;
      this.reset();
      this.inc({ outcome: "stored" }, done - duplicates);
      this.inc({ outcome: "duplicate" }, duplicates);
      this.inc({ outcome: "dead" }, dead);
    },
  });
  counter({
    name: "transporter_queue_retries_total",
    help: "How often an event from the queue was tried again, because the store was away or a bound was reached.",
    collect() {
      this.reset();
      this.inc(figures().counts.retries);
    },
  });
}

export function outletMetrics(figures: () => readonly OutletFigures[], { gauge, counter }: Makers): void {
  gauge({
    name: "transporter_outlet_lag",
    help: "Entries that are not published yet, at the control plane that publishes.",
    labelNames: ["kind"] as const,
    collect() {
      this.reset();
      for (const { kind, lag } of figures()) this.set({ kind }, lag);
    },
  });
  counter({
    name: "transporter_outlet_published_total",
    help: "Entries that this control plane published.",
    labelNames: ["kind"] as const,
    collect() {
      this.reset();
      for (const { kind, published } of figures()) this.inc({ kind }, published);
    },
  });
}
