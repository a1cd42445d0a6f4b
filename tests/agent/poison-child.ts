import { appendFileSync } from "node:fs";
import { createParsing } from "../../src/agent/off-loop.ts";
import { systemPorts } from "../../src/kit/mod.ts";
import { MapCluster, startTestAgent } from "../support/agent.ts";

// An agent in a process of its own, which dies by SIGKILL when it applies an object named `poison…` or reads the word `lethal`, and never gets
// done with waiting for an object named `slow…`. Scripts it runs are lines of the file `STATE_DIR.ran`; one that says `die` ends it. It stops on SIGTERM as the program does. Arguments: the control plane's URL and the directory of the state.
const [cpUrl = "", stateDir = ""] = process.argv.slice(2);
const cluster = new MapCluster();
const never = new Promise<void>(() => undefined);

const parsing = createParsing(systemPorts.timers);

const running = await startTestAgent({
  cpUrl,
  stateDir,
  runners: {
    script(_work, { script }) {
      appendFileSync(`${stateDir}.ran`, `${script}\n`);
      if (script === "die") process.kill(process.pid, "SIGKILL");
      return Promise.resolve({ success: true });
    },
  },
  parsing: {
    ...parsing,
    manifests(source) {
      if (typeof source === "string" && source.includes("lethal")) process.kill(process.pid, "SIGKILL");
      return parsing.manifests(source);
    },
  },
  cluster: {
    resources: (objects, context) => {
      const steps = cluster.resources(objects, context);
      const named = (word: string): boolean => objects.some(({ ref }) => ref.name.startsWith(word));
      return {
        ...steps,
        async apply() {
          if (named("poison")) process.kill(process.pid, "SIGKILL");
          await steps.apply();
        },
        async verify() {
          if (!named("slow")) return steps.verify();
          const ended = Promise.withResolvers<never>();
          context.signal.addEventListener("abort", () => ended.reject(context.signal.reason as Error));
          await Promise.race([never, ended.promise]);
        },
      };
    },
  },
});
process.on("SIGTERM", () => void running.agent.stop());
await running.agent.closed;
process.exit(0);
