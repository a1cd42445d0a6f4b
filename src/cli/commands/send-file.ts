import { text } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import { collectText, completeEvent, parseEventFile, readTextFile } from "../../producer/mod.ts";
import { command } from "../command.ts";
import { SEND_SETTINGS } from "../send-settings.ts";
import { checkMode, fieldsOf, printDryRun, sendEvent } from "../send-run.ts";

export const sendFile = command({
  summary: "Send an event that is written in a file",
  description:
    "The file is YAML or JSON and holds one event with its manifests inline. What flags say goes over what the file says; an --agent that differs from the file's is an error.",
  settings: {
    file: text({ short: "f", describe: "Event file, or - for standard input (required)", hint: "FILE", flagOnly: true, completes: "file" }),
    ...SEND_SETTINGS,
  },
  examples: [
    "transporter send from-file --file examples/events/sample-k8s-event.yaml",
    "transporter send from-file -f event.json --wait -o json",
    "transporter send from-file -f event.yaml --dry-run=client",
  ],
  run: async (call) => {
    const { values, host, ports } = call;
    checkMode(call);
    if (values.file === undefined)
      throw new TransporterError("USAGE", "--file is required: it names the event file", {
        remedy: "Give -f FILE, or -f - for standard input.",
      });
    const from = values.file === "-" ? "standard input" : values.file;
    const content = values.file === "-" ? (await collectText(host.stdin(), from)).text : await readTextFile(values.file);
    const raw = await parseEventFile(content, from);
    const target = raw["target_agent"];
    if (values.agent !== undefined && typeof target === "string" && target !== "" && target !== values.agent)
      throw new TransporterError(
        "USAGE",
        `${from} says target_agent ${JSON.stringify(target)}, --agent says ${JSON.stringify(values.agent)}`,
        {
          remedy: "Leave --agent out, or change the file, so that nothing goes to the wrong cluster.",
        },
      );
    const event = completeEvent(values.agent === undefined ? raw : { ...raw, target_agent: values.agent }, fieldsOf(call), ports);
    if (values["dry-run"] === "client") return printDryRun(call, event, await countObjects(event.wire.payload.manifests ?? []));
    return sendEvent(call, event);
  },
});

async function countObjects(manifests: readonly string[]): Promise<number | undefined> {
  if (manifests.length === 0) return undefined;
  const { parseManifests } = await import("../../manifests/mod.ts");
  return parseManifests(manifests).length;
}
