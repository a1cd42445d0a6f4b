/** Control plane and agent from source, with debug logs on the terminal, against the sandbox, until Ctrl-C. */
import { Stack } from "./stack.ts";

const interrupted = Promise.withResolvers<void>();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.resolve());
const stack = await Stack.create({ choice: { kind: "own", sandboxOnly: true }, debug: true, say: (line) => console.log(line) });
try {
  const started = stack.start().then(() => console.log(`kubectl: ${stack.target.kubectl.join(" ")}\nCtrl-C ends it.`));
  await Promise.race([started.then(() => interrupted.promise), interrupted.promise]);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
} finally {
  await stack.stop();
}
process.exit();
