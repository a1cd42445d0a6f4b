/**
 * What every room needs and no room owns: the one error, the log (redacted), backoff, shutdown, and the ports for clock, timers,
 * randomness and ids. Elsewhere the globals behind those ports are banned by lint, so that tests and the simulation own time.
 */
export * from "./backoff.ts";
export * from "./child-environment.ts";
export * from "./error.ts";
export * from "./failpoint.ts";
export * from "./log.ts";
export * from "./manual-ports.ts";
export * from "./ports.ts";
export * from "./shutdown.ts";
export * from "./worker.ts";
