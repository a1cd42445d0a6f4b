import type { Client } from "../client/mod.ts";
import { errorOfOutcome, waitForEvent } from "../producer/mod.ts";
import { type Call, Interrupted } from "./command.ts";
import { EXIT } from "./exit.ts";
import { type OUTPUT_SETTINGS, outputOf, printData } from "./output.ts";
import { Progress } from "./progress.ts";
import { RESOURCE_COLUMNS, resourcesOf } from "./resources.ts";
import { renderTable } from "./table.ts";
import { safeLine } from "./text.ts";
import type { WAIT_SETTINGS } from "./wait-settings.ts";

/** After how long somebody may wonder why nothing happens. */
const TELL_AFTER_MS = 3000;

/**
 * Shows an event's way to its end, then its objects. `revision` says which attempt is meant, where there were others before. Throws what the
 * ending stands for, unless it completed.
 */
export async function followToEnd(
  call: Call<typeof WAIT_SETTINGS & typeof OUTPUT_SETTINGS>,
  client: Client,
  eventId: string,
  about: {
    readonly revision?: number;
    /** It comes through a queue, so the control plane may not know it yet. Called now and then until it does; a throw ends the waiting. */
    readonly whileQueued?: () => Promise<void>;
  } = {},
): Promise<number> {
  const { host, ports, signal, values } = call;
  const { whileQueued } = about;
  let told = false;
  const progress = new Progress(host, ports.timers, () => ports.clock.monotonic());
  try {
    const outcome = await waitForEvent(client, eventId, {
      timers: ports.timers,
      signal,
      timeoutMs: values["wait-timeout"],
      patient: true,
      revision: about.revision,
      onUnknown:
        whileQueued === undefined
          ? undefined
          : async (waitedMs) => {
              if (waitedMs >= TELL_AFTER_MS && !told) progress.interruption("No control plane has taken it from the queue yet; waiting");
              told ||= waitedMs >= TELL_AFTER_MS;
              await whileQueued();
            },
      onEntry: (entry) => progress.entry(entry),
      onInterruption: (why) => progress.interruption(why === undefined ? undefined : `${why.message}; waiting for it to come back`),
    });
    progress.stop();
    const output = outputOf(values);
    if (output.format === "json" || output.format === "yaml")
      await printData(host.out, output.format, await client.getEvent(eventId, { signal }));
    else if (output.format === "name") host.out.write(`event/${safeLine(eventId)}\n`);
    else {
      const resources = resourcesOf(outcome.result);
      if (resources.length > 0) {
        if (host.err.isTerminal && host.out.isTerminal) host.err.write("\n");
        host.out.write(renderTable(resources, RESOURCE_COLUMNS, { wide: output.format === "wide", headers: output.headers }));
      }
    }
    const fault = errorOfOutcome(outcome);
    if (fault !== undefined) throw fault;
    return EXIT.ok;
  } catch (error) {
    progress.stop();
    if (signal.aborted && signal.reason instanceof Interrupted)
      call.note(`The event goes on without you; follow it with: transporter watch ${eventId}`);
    throw error;
  }
}
