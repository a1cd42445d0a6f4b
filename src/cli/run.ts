import { places as placesOf } from "../config/mod.ts";
import { type Ports, TransporterError, systemPorts } from "../kit/mod.ts";
import { keepSecrets } from "../redaction/mod.ts";
import { parseArgs } from "./argv.ts";
import { type Call, type Command, Interrupted } from "./command.ts";
import type { Settings } from "../config/mod.ts";
import { dispatch } from "./dispatch.ts";
import { tellError } from "./errors.ts";
import { EXIT } from "./exit.ts";
import { commandHelp, groupHelp } from "./help.ts";
import { armFailpoint } from "./failpoint.ts";
import { type Host, wantsColor } from "./host.ts";
import { secretsOfEnvironment, secretsOfSettings } from "./known-secrets.ts";
import { locate } from "./locate.ts";
import { loadSettings } from "./settings.ts";
import { painter, safeLine } from "./text.ts";
import { refuseTokenArguments } from "./token-text.ts";
import { ROOT } from "./tree.ts";

/** Runs one command line to its end; answers the exit code and never throws. */
export async function run(argv: readonly string[], host: Host, ports: Ports = systemPorts): Promise<number> {
  const debug = argv.includes("--debug") || /^(1|t|true|yes|on)$/i.test(host.env["TRANSPORTER_DEBUG"] ?? "");
  // To the end, which may tell of an error.
  using kept = new DisposableStack();
  kept.defer(keepSecrets(secretsOfEnvironment(host.env)));
  try {
    return await start(argv, host, ports, kept);
  } catch (error) {
    try {
      return tellError(error, host, debug);
    } catch {
      return EXIT.bug;
    }
  }
}

async function start(argv: readonly string[], host: Host, ports: Ports, kept: DisposableStack): Promise<number> {
  refuseTokenArguments(argv);
  const located = await locate(argv, ROOT);
  const paint = painter(wantsColor(host.out, host.env));
  if (located.kind === "help") {
    const { asked } = located;
    (asked ? host.out : host.err).write(groupHelp(located.path, located.group, asked ? paint : painter(false)));
    return asked ? EXIT.ok : EXIT.invalid;
  }
  const command = await located.leaf.load();
  const line = ["transporter", ...located.path].join(" ");
  const args = parseArgs(located.args, command, line);
  if (args.help) {
    host.out.write(commandHelp(located.path, command, located.leaf.children, paint, host.out.columns()));
    return EXIT.ok;
  }
  const places = placesOf(host.env);
  const deadly = armFailpoint(host);
  const settings = await loadSettings(command.settings, args.flags, host.env, places);
  kept.defer(keepSecrets(secretsOfSettings(command.settings, settings.values)));
  const resolved = deadly === undefined ? settings : { ...settings, warnings: [deadly, ...settings.warnings] };
  const note = (text: string): void => host.err.write(`${safeLine(text)}\n`);
  // A service puts its warnings into its log, which may be JSON lines.
  if (command.ownSignals !== true) {
    const yellow = painter(wantsColor(host.err, host.env));
    for (const warning of resolved.warnings) host.err.write(`${yellow("yellow", "warning:")} ${safeLine(warning)}\n`);
  }
  const base = { ...resolved, positionals: args.positionals, host: readingOnce(host), ports, places, note };
  return dispatch(ROOT, located.path, () => runOne(command, base, host));
}

/** Standard input can be read once; a token and a manifest from there cannot both be meant. */
function readingOnce(host: Host): Host {
  let wasRead = false;
  return {
    ...host,
    stdin: () => {
      if (wasRead)
        throw new TransporterError("USAGE", "standard input is named twice, and can be read only once", {
          remedy: "Give one of the two by a file; a token also by TRANSPORTER_TOKEN.",
        });
      wasRead = true;
      return host.stdin();
    },
  };
}

/** How long an interrupted command may take to tidy up. */
const INTERRUPT_GRACE_MS = 1000;

async function runOne(command: Command, base: Omit<Call<Settings>, "signal">, host: Host): Promise<number> {
  const stop = new AbortController();
  if (command.ownSignals === true) return command.run({ ...base, signal: stop.signal });
  const forget = host.onSignal((signal) => {
    const code = signal === "SIGINT" ? EXIT.interrupted : EXIT.terminated;
    if (stop.signal.aborted) host.exitNow(code);
    stop.abort(new Interrupted(code));
  });
  try {
    const running = command.run({ ...base, signal: stop.signal });
    // What cannot be interrupted (a read of standard input) is left behind.
    const given = Promise.withResolvers<never>();
    stop.signal.addEventListener("abort", () =>
      base.ports.timers.after(INTERRUPT_GRACE_MS, () => given.reject(stop.signal.reason), { background: true }),
    );
    const code = await Promise.race([running, given.promise]);
    return stop.signal.aborted && stop.signal.reason instanceof Interrupted ? stop.signal.reason.exitCode : code;
  } catch (error) {
    // Whatever an interrupted command throws on its way out, the interruption is what happened.
    throw stop.signal.aborted ? stop.signal.reason : error;
  } finally {
    forget();
  }
}
