import { FAILPOINTS, type Failpoint, TransporterError, listenToFailpoints } from "../kit/mod.ts";
import type { Host } from "./host.ts";

const VARIABLE = "TRANSPORTER_FAILPOINT";

/**
 * Obeys `TRANSPORTER_FAILPOINT=name@N`: the process kills itself, as SIGKILL does, when execution comes to the point for the Nth time. For
 * proofs of what a crash leaves behind. Answers the warning that is due; undefined where nothing is asked for, which is always but there.
 * Throws CONFIG_INVALID for a name that no point has, because a proof that never kills would prove nothing.
 */
export function armFailpoint(host: Host): string | undefined {
  const order = host.env[VARIABLE];
  if (order === undefined || order === "") return undefined;
  const [, name = "", count = "1"] = /^([^@]*)(?:@([1-9]\d{0,8}))?$/.exec(order) ?? [];
  const point: Failpoint | undefined = FAILPOINTS.find((known) => known === name);
  if (point === undefined)
    throw new TransporterError(
      "CONFIG_INVALID",
      `environment variable ${VARIABLE}: ${JSON.stringify(order.slice(0, 80))} is no failpoint`,
      {
        remedy: `Unset it, or write NAME@COUNT with one of ${FAILPOINTS.join(", ")}.`,
      },
    );
  let left = Number(count);
  listenToFailpoints((reached) => {
    if (reached !== point) return;
    left -= 1;
    if (left === 0) host.killSelf();
  });
  return `${VARIABLE} is set: THIS PROCESS KILLS ITSELF when it comes to ${point}${left === 1 ? "" : ` for the ${left}. time`}; it is for proofs alone`;
}
