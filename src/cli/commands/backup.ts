import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { COMMON_SETTINGS, CP_SETTINGS, defaultStoreUrl, formatBytes, text } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import { besideStore } from "../beside-store.ts";
import { command } from "../command.ts";
import { EXIT } from "../exit.ts";

export const backup = command({
  summary: "Copy the control plane's store while it runs",
  description: "The copy is consistent. `transporter restore` puts it back.",
  settings: {
    store: CP_SETTINGS.store,
    output: text({
      describe: "File to write, which must not exist, or - for standard output (required)",
      hint: "FILE|-",
      flagOnly: true,
      completes: "file",
    }),
    ...COMMON_SETTINGS,
  },
  examples: [
    "transporter backup --output cp-backup.db",
    "transporter backup --store sqlite:/var/lib/transporter/cp.db --output - | gzip > cp.db.gz",
  ],
  run: async (call) => {
    const { values, host, places } = call;
    if (values.output === undefined)
      throw new TransporterError("USAGE", "--output is required: it names the file to write", {
        remedy: "Give --output FILE, or --output - for standard output.",
      });
    const url = values.store ?? defaultStoreUrl(places);
    const { backupStoreFile, storeDirectory } = await import("../../stores/mod.ts");
    if (values.output !== "-") {
      const { bytes } = await backupStoreFile(url, values.output);
      call.note(`Backed up ${url} to ${values.output} (${formatBytes(bytes)})`);
      return EXIT.ok;
    }
    if (host.out.isTerminal)
      throw new TransporterError("USAGE", "a backup is no text for a terminal", {
        remedy: "Send it on with > FILE or | PROGRAM, or give --output FILE.",
      });
    // Beside the store, where there is room for another of its size: in a container /tmp is small, or memory.
    const directory = await besideStore(storeDirectory(url));
    try {
      const copy = join(directory, "store.db");
      await backupStoreFile(url, copy);
      for await (const chunk of createReadStream(copy)) {
        call.signal.throwIfAborted();
        host.out.writeBytes(chunk as Uint8Array);
      }
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
    return EXIT.ok;
  },
});
