import { createReadStream } from "node:fs";
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { COMMON_SETTINGS, CP_SETTINGS, defaultStoreUrl, formatBytes, text } from "../../config/mod.ts";
import { silentLogger, TransporterError, messageOf } from "../../kit/mod.ts";
import { besideStore } from "../beside-store.ts";
import { command } from "../command.ts";
import { EXIT } from "../exit.ts";

export const restore = command({
  summary: "Put a backup into the place of the control plane's store",
  description:
    "Nothing may serve the store meanwhile. The backup is looked through and brought up to date first; what was in its place is kept beside it as .before-restore.",
  settings: {
    store: CP_SETTINGS.store,
    input: text({
      describe: "File that `transporter backup` wrote, or - for standard input (required)",
      hint: "FILE|-",
      flagOnly: true,
      completes: "file",
    }),
    ...COMMON_SETTINGS,
  },
  examples: [
    "transporter restore --input cp-backup.db",
    "gunzip < cp.db.gz | transporter restore --store sqlite:/var/lib/transporter/cp.db --input -",
  ],
  run: async (call) => {
    const { values, host, places, ports, signal } = call;
    const { input } = values;
    if (input === undefined)
      throw new TransporterError("USAGE", "--input is required: it names the backup", {
        remedy: "Give --input FILE, or --input - for standard input.",
      });
    if (input === "-" && host.stdinIsTerminal())
      throw new TransporterError("USAGE", "a backup cannot be typed", { remedy: "Send it with < FILE, or give --input FILE." });
    const url = values.store ?? defaultStoreUrl(places);
    const { restoreStoreFile, storeDirectory } = await import("../../stores/mod.ts");
    const home = storeDirectory(url);
    await mkdir(home, { recursive: true, mode: 0o700 });
    const directory = await besideStore(home);
    try {
      const copy = join(directory, "store.db");
      const chunks = (): AsyncIterable<Uint8Array> => (input === "-" ? host.stdin() : createReadStream(input));
      await keep(chunks, copy, input, signal);
      const { bytes, before } = await restoreStoreFile(url, copy, { ports, log: silentLogger });
      call.note(`Restored ${url} (${formatBytes(bytes)})${before === undefined ? "" : `; what was there is ${before}`}`);
      return EXIT.ok;
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
});

/** Writes what comes, and has it on disk: it becomes the store by a rename. */
async function keep(chunks: () => AsyncIterable<Uint8Array>, path: string, input: string, signal: AbortSignal): Promise<void> {
  try {
    await using file = await open(path, "wx", 0o600);
    // Opened only when it is read at once: until then nobody would hear that it cannot be.
    for await (const chunk of chunks()) {
      signal.throwIfAborted();
      await file.writeFile(chunk);
    }
    await file.sync();
  } catch (error) {
    signal.throwIfAborted();
    throw new TransporterError("FILE_UNREADABLE", `${input === "-" ? "standard input" : input} cannot be taken in: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
