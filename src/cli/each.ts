import type { Settings } from "../config/mod.ts";
import type { Call } from "./command.ts";
import { tellError } from "./errors.ts";
import { EXIT } from "./exit.ts";

/** Does the same for each name; one that fails is told and does not keep the others from it. Answers the first failure's exit code. */
export async function forEach(
  call: Pick<Call<Settings>, "positionals" | "host" | "signal">,
  work: (name: string) => Promise<void>,
): Promise<number> {
  let code: number = EXIT.ok;
  for (const name of call.positionals) {
    try {
      await work(name);
    } catch (error) {
      if (call.signal.aborted) throw error;
      const failed = tellError(error, call.host, false);
      if (failed === EXIT.brokenPipe) return failed;
      if (code === EXIT.ok) code = failed;
    }
  }
  return code;
}
