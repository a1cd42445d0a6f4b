/** Makes a process say what nobody caught. */
export function sayFaults(): void {
  for (const fault of ["unhandledRejection", "uncaughtException"] as const)
    process.on(fault, (error: unknown) => {
      process.stdout.write(`${fault.toUpperCase()} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    });
}

/** On SIGUSR2 it collects its garbage and says what is left: `MEMORY {rss}`. */
export function sayMemoryWhenAsked(): void {
  process.on("SIGUSR2", () => {
    Bun.gc(true);
    // What the collection freed goes back to the system a little later.
    setTimeout(() => {
      Bun.gc(true);
      process.stdout.write(`MEMORY ${process.memoryUsage.rss()}\n`);
    }, 300);
  });
}
