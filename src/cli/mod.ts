/**
 * The command line: the composition roots, the only place that reads arguments and environment. It refuses every flag, value and
 * argument that a command does not know, with what was probably meant; it promises data on standard output and everything else on
 * standard error, documented exit codes, and that nothing from a stranger reaches a terminal unescaped.
 */
import { COMMIT, VERSION } from "./build-info.ts";
import type { Host } from "./host.ts";

export { type Host, systemHost } from "./host.ts";

/** Runs one command line; answers the exit code and never throws. The common quick questions load nothing. */
export async function main(argv: readonly string[], host: Host, now?: () => number): Promise<number> {
  if (argv.length === 1 && (argv[0] === "--version" || argv[0] === "-v")) {
    try {
      host.out.write(`transporter ${VERSION}${COMMIT === "unknown" ? "" : ` (${COMMIT.slice(0, 12)})`}\n`);
    } catch {
      return 141;
    }
    return 0;
  }
  if (argv[0] === "healthcheck" && now !== undefined) {
    const { healthLine, judgeHealthFile, quickHealthcheck } = await import("./health-verdict.ts");
    const quick = quickHealthcheck(argv, host.env["TRANSPORTER_HEALTH_FILE"]);
    if (quick !== undefined) {
      const verdict = judgeHealthFile(quick.path, quick.asked, now());
      try {
        host.out.write(healthLine(quick.asked, verdict));
      } catch {
        return 141;
      }
      return verdict.ok ? 0 : 1;
    }
  }
  const { run } = await import("./run.ts");
  return run(argv, host);
}

/** Tells of what nobody caught, without secrets, where the runtime would print it with all that hangs on it. Answers the exit code. */
export async function tellCrash(thrown: unknown, host: Host): Promise<number> {
  const { tellError } = await import("./errors.ts");
  return tellError(new Error("nobody caught what was thrown", { cause: thrown }), host, true);
}
