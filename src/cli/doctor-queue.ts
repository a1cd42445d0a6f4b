import { type ControlPlaneConfig, withoutSecrets } from "../config/mod.ts";
import { type Ports, silentLogger } from "../kit/mod.ts";
import { type Check, ok, warn } from "./doctor.ts";
import { statusOf } from "./queue-status.ts";

/** Whether the queue answers, and what waits there and is dead; and whether the address to publish to is understood. */
export function queueChecks({ queue, outlet }: ControlPlaneConfig, ports: Ports, signal: AbortSignal): Check[] {
  const checks: Check[] = [];
  if (queue !== undefined)
    checks.push({
      name: "queue",
      run: async () => {
        const { openQueueObserver } = await import("../queues/mod.ts");
        const opened = await openQueueObserver(queue.url, { log: silentLogger, ports, secrets: queue.secrets });
        try {
          const { dead = 0, inHand, waiting } = await statusOf(opened, { ports, signal });
          const { location, name } = opened.info;
          const about = `${name} at ${location}: ${waiting.urgent + waiting.normal + waiting.low} wait, ${inHand} in hand, ${dead} dead`;
          return dead === 0 ? ok(about) : warn(about, "`transporter queue dead` lists the dead letters with their reasons.");
        } finally {
          await opened.close();
        }
      },
    });
  if (outlet !== undefined)
    checks.push({
      name: "publish",
      run: async () => {
        const { openOutlet } = await import("../queues/mod.ts");
        const opened = await openOutlet(outlet.url, { log: silentLogger, ports, secrets: outlet.secrets });
        await opened.close();
        return ok(`${outlet.kinds.join(" and ")} to ${withoutSecrets(outlet.url)}`);
      },
    });
  return checks;
}
