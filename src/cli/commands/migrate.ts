import { COMMON_SETTINGS, splitServerUrl, STORE_SETTINGS, text, textOr, toggle } from "../../config/mod.ts";
import { silentLogger, TransporterError } from "../../kit/mod.ts";
import { DEFAULT_TENANT } from "../../security/mod.ts";
import { command } from "../command.ts";
import { EXIT } from "../exit.ts";
import { outputOf, OUTPUT_SETTINGS, printList, type Shape } from "../output.ts";
import { safeLine } from "../text.ts";
import type { Brought, Summary } from "./migrate-bringing.ts";

interface Row extends Brought {
  readonly kind: string;
}

const SHAPE: Shape<Row> = {
  name: ({ kind }) => kind,
  columns: [
    { head: "KIND", cell: ({ kind }) => kind },
    { head: "FOUND", cell: ({ found }) => String(found) },
    { head: "BROUGHT", cell: ({ brought }) => String(brought) },
    { head: "ALREADY THERE", cell: ({ present }) => String(present) },
    { head: "UNREADABLE", cell: ({ unreadable }) => String(unreadable) },
  ],
};
/** Ids that are named; all of them are in the store. */
const MOST_NAMED = 10;

export const migrate = command({
  summary: "Bring what lies in a Redis of Transporter 0.1 into a store",
  description: [
    "Brings agents, the statuses of events with their logs and results, the audit log and the counters. Stop the control plane of 0.1 first. It may be run again: what is there already is left as it is, and nothing comes twice. In the Redis of 0.1 nothing is changed or removed.",
    "0.1 kept the payloads of no events. Those that it had not ended stand as failed, with OUTCOME_UNKNOWN and the state in which it left them: look at their clusters, and send them again where that is right.",
    "Source and target may be the same Redis, as the keys have other names. A store file must not be in use; a control plane on Redis may run meanwhile.",
  ].join("\n\n"),
  settings: {
    "from-0.1": toggle(false, { describe: "Bring it from Transporter 0.1 (required; there is no other source)", flagOnly: true }),
    "redis-addr": textOr("localhost:6379", {
      describe: "Redis of 0.1",
      hint: "HOST:PORT",
    }),
    "redis-password": { ...STORE_SETTINGS["redis-password"], describe: "Its password; also the target's, where that is the same Redis" },
    "redis-db": { ...STORE_SETTINGS["redis-db"], describe: "Its database number" },
    from: text({
      describe: "Redis of 0.1 as an address, instead of the three: redis://, rediss://, redis+sentinel://",
      hint: "URL",
      flagOnly: true,
    }),
    store: {
      ...STORE_SETTINGS.store,
      describe: "Where to: sqlite:PATH or redis://HOST:PORT/DB, as `transporter cp --store` is given (required)",
    },
    "dry-run": toggle(false, { describe: "Read everything and write nothing; the target is not even opened", flagOnly: true }),
    ...OUTPUT_SETTINGS,
    ...COMMON_SETTINGS,
  },
  examples: [
    "transporter migrate --from-0.1 --redis-addr redis:6379 --store sqlite:/var/lib/transporter/cp.db --dry-run",
    "transporter migrate --from-0.1 --from redis://redis:6379/0?password-file=/run/secrets/redis --store redis://redis:6379/1",
  ],
  run: async (call) => {
    const { values, host, ports, signal } = call;
    if (!values["from-0.1"])
      throw new TransporterError("USAGE", "--from-0.1 is required: it says what to bring it from", {
        remedy: "Give --from-0.1; `transporter migrate --help` says more.",
      });
    if (values.store === undefined)
      throw new TransporterError("USAGE", "--store is required: it names where to bring it", {
        remedy: "Give --store sqlite:PATH or --store redis://HOST:PORT/DB, the same as for `transporter cp`.",
      });
    if (values.store === "memory:")
      throw new TransporterError("USAGE", "a store in memory ends with this command", { remedy: "Give --store sqlite:PATH or redis://…" });
    const log = silentLogger;
    const [{ openRedis, parseRedisUrl }, { openStore }, { bringFrom01 }] = await Promise.all([
      import("../../redis/mod.ts"),
      import("../../stores/mod.ts"),
      import("./migrate-bringing.ts"),
    ]);
    const fromUrl = values.from ?? `redis://${values["redis-addr"]}/${values["redis-db"] ?? 0}`;
    const password = values["redis-password"];
    const address = parseRedisUrl(fromUrl, {
      what: "Redis of 0.1",
      code: "CONFIG_INVALID",
      ...(password === undefined ? {} : { password }),
    });
    if (address.kind === "cluster")
      throw new TransporterError("CONFIG_INVALID", "0.1 knew no Redis Cluster, so there is nothing of it in one", {
        remedy: "Name the Redis that 0.1 used: redis://, rediss:// or redis+sentinel://.",
      });
    if (values.from !== undefined && address.passwordInUrl)
      call.note(
        "warning: --from puts a secret on the command line, where every user of this machine can read it; use password-file=FILE in it, or TRANSPORTER_REDIS_PASSWORD",
      );
    const source = await openRedis(address, { ports, log, purpose: "migrate" });
    try {
      const sameRedis = splitServerUrl(values.store)?.hosts === splitServerUrl(fromUrl)?.hosts;
      const target = values["dry-run"]
        ? undefined
        : await openStore(values.store, { ports, log, ...(sameRedis && password !== undefined ? { password } : {}) });
      try {
        const summary = await bringFrom01({
          source,
          target,
          tenant: DEFAULT_TENANT,
          nowMs: ports.clock.now(),
          signal,
          onProgress: (line) => call.note(line),
        }).catch((error: unknown) => {
          throw error instanceof TransporterError || signal.aborted ? error : source.fault(error);
        });
        await printList(host.out, outputOf(values), SHAPE, rowsOf(summary));
        for (const line of remarks(summary, values["dry-run"])) call.note(line);
      } finally {
        await target?.close();
      }
    } finally {
      await source.close();
    }
    return EXIT.ok;
  },
});

function rowsOf({ agents, events, audit, counters }: Summary): Row[] {
  return Object.entries({ agents, events, audit, counters }).map(([kind, brought]) => ({ kind, ...brought }));
}

function remarks({ agents, events, audit, counters, unfinished, unread }: Summary, dryRun: boolean): string[] {
  const lines: string[] = [];
  for (const [state, ids] of unfinished) {
    const named = ids.slice(0, MOST_NAMED).map(safeLine).join(", ");
    lines.push(
      `warning: ${ids.length} ${ids.length === 1 ? "event was" : "events were"} ${state} in 0.1 and ${dryRun ? "would stand" : ids.length === 1 ? "stands" : "stand"} as failed (OUTCOME_UNKNOWN): ${named}${ids.length > MOST_NAMED ? ", …" : ""}`,
    );
  }
  const unreadable = [agents, events, audit, counters].reduce((sum, { unreadable: count }) => sum + count, 0);
  if (unreadable > 0) {
    lines.push(`warning: ${unreadable} could not be read and ${unreadable === 1 ? "was" : "were"} left out:`);
    for (const line of unread) lines.push(`  ${safeLine(line)}`);
    if (unread.length < unreadable) lines.push("  …");
  }
  if (agents.found + events.found + audit.found + counters.found === 0)
    lines.push("Nothing of 0.1 was found there. Check the address and the database number.");
  else if (dryRun) lines.push("Nothing was written: without --dry-run this would be brought.");
  return lines;
}
