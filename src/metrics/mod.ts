/** What a control plane tells Prometheus. Names and units live here; the numbers are read from their owners when a scrape comes. */
export * from "./registry.ts";
export type { OutletFigures, QueueFigures } from "./queue.ts";
