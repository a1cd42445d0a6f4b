/** Builds the executable and measures it: tests/bench/main.ts has the figures and what they mean. Arguments go there. */
import { prepareBinaries } from "../sandbox/mod.ts";
import { build } from "./build.ts";
import { BUN, run } from "./run.ts";

await build();
await Promise.all(Object.values(prepareBinaries({ onProgress: (line) => console.log(line) })));
process.exitCode = await run([BUN, "tests/bench/main.ts", ...process.argv.slice(2)]);
