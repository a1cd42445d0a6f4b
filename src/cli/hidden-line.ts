import { messageOf, TransporterError } from "../kit/mod.ts";

const CTRL_C = "\u0003";
const CTRL_D = "\u0004";
const MAX_CHARS = 16_384;

/** Calls `ask` once nothing is shown any more, and reads one line from the terminal. Ctrl-C is a signal as ever; Ctrl-D ends the line. */
export async function readHiddenLine(ask: () => void, signal: AbortSignal): Promise<string> {
  const { stdin } = process;
  const done = Promise.withResolvers<string>();
  let line = "";
  const onData = (chunk: Buffer | string): void => {
    for (const char of chunk.toString()) {
      if (char === CTRL_C) process.kill(process.pid, "SIGINT");
      else if (char === "\r" || char === "\n" || char === CTRL_D) done.resolve(line);
      else if (char === "\u007f" || char === "\b") line = line.slice(0, -1);
      // What a paste is wrapped in, and other keys that are no characters.
      else if (char >= " " && line.length < MAX_CHARS) line += char;
    }
  };
  const onEnd = (): void => done.resolve(line);
  const onAbort = (): void => done.reject(signal.reason);
  try {
    stdin.setRawMode(true);
  } catch (error) {
    throw new TransporterError("USAGE", `the terminal cannot be read without showing what is typed: ${messageOf(error)}`, {
      remedy: "Give the token by TRANSPORTER_TOKEN, --token-file FILE, or standard input.",
    });
  }
  signal.addEventListener("abort", onAbort, { once: true });
  stdin.on("data", onData);
  stdin.on("end", onEnd);
  stdin.resume();
  try {
    signal.throwIfAborted();
    ask();
    return await done.promise;
  } finally {
    stdin.off("data", onData);
    stdin.off("end", onEnd);
    signal.removeEventListener("abort", onAbort);
    stdin.setRawMode(false);
    stdin.pause();
  }
}
