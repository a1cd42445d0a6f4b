import { dirname } from "node:path";
import type { Client } from "../../client/mod.ts";
import { CP_SETTINGS, controlPlaneConfig, isRedisUrl, withoutSecrets } from "../../config/mod.ts";
import { silentLogger } from "../../kit/mod.ts";
import { command } from "../command.ts";
import { clientFor } from "../connect.ts";
import { type Check, DOCTOR_SETTINGS, examine, fail, ok, warn } from "../doctor.ts";
import { seenSecurity } from "../security-place.ts";
import { redisStoreChecks } from "../doctor-redis.ts";
import { queueChecks } from "../doctor-queue.ts";
import { controlPlaneFiles, directoryFinding, environmentCheck, readinessFinding, versionFinding } from "../doctor-checks.ts";

const SETTINGS = { ...CP_SETTINGS, ...DOCTOR_SETTINGS } as const;

export const doctorCp = command({
  summary: "Check what the control plane needs, with the settings it would be started with",
  settings: SETTINGS,
  examples: [
    "transporter doctor cp",
    "transporter doctor cp --store sqlite:/var/lib/transporter/cp.db --bundle report.zip",
    "transporter doctor cp --store redis://redis:6379/0 --queue nats://nats:4222/transporter",
  ],
  run: async (call) => {
    const { ports, signal, host } = call;
    const config = controlPlaneConfig(call, call.places, seenSecurity(call));
    const { host: address, port } = config.listeners.api;
    // Wildcards are listened on, not connected to.
    const connectTo = address === "0.0.0.0" ? "127.0.0.1" : address === "::" ? "::1" : address;
    const url = `http://${connectTo.includes(":") ? `[${connectTo}]` : connectTo}:${port}`;
    let running: Client | undefined;
    const storeFile = config.storeUrl.startsWith("sqlite:")
      ? config.storeUrl.slice("sqlite:".length).replace(/^\/\/(?=\/)/, "")
      : undefined;
    const shared = isRedisUrl(config.storeUrl);
    const fileChecks = (): Check[] => [
      {
        name: "disk",
        run: async () =>
          storeFile === undefined
            ? warn("the store is in memory", "Everything is lost at exit; give --store sqlite:PATH to keep it.")
            : directoryFinding(dirname(storeFile), ports),
      },
      {
        name: "store",
        run: async () => {
          // The running one has it open, and has just said whether it can write.
          if (running !== undefined || storeFile === undefined) return undefined;
          const { existsSync } = await import("node:fs");
          if (!existsSync(storeFile)) return ok(`${storeFile} will be made at the first start`);
          const { openStore } = await import("../../stores/mod.ts");
          const store = await openStore(config.storeUrl, { ports, log: silentLogger, check: true });
          try {
            await store.ping();
            const counters = await store.counters();
            return ok(`${store.info.location} is whole (schema ${store.info.schemaVersion}, ${counters.total} events so far)`);
          } finally {
            await store.close();
          }
        },
      },
    ];
    return examine(
      call,
      SETTINGS,
      [
        {
          name: "settings",
          run: async () =>
            config.warnings.length === 0
              ? ok(`${address}:${port}, store ${withoutSecrets(config.storeUrl)}`)
              : warn(config.warnings.join("; "), "`transporter cp --help` says what each setting does."),
        },
        environmentCheck(host.env, config.insecure),
        {
          name: "address",
          run: async () => {
            try {
              const probe = Bun.listen({ hostname: address, port: port, socket: { data: () => undefined } });
              probe.stop(true);
              return ok(`${address}:${port} is free`);
            } catch (error) {
              const client = await clientFor({ url, caFile: undefined, credential: undefined }, call);
              const answer = await client.text("/livez", { signal }).catch(() => undefined);
              if (answer?.status !== 200)
                return fail(
                  `${address}:${port} cannot be listened on: ${error instanceof Error ? error.message : "in use"}`,
                  "Stop the program that uses it, or choose another port with --ws-port.",
                );
              running = client;
              return ok(`a control plane is running at ${url}`);
            }
          },
        },
        { name: "running", run: async () => (running === undefined ? undefined : readinessFinding(running, signal)) },
        { name: "version", run: async () => (running === undefined ? undefined : versionFinding(running, signal)) },
        ...(shared ? redisStoreChecks(config.storeUrl, config.storePassword, ports) : fileChecks()),
        ...queueChecks(config, ports, signal),
      ],
      () => controlPlaneFiles(running, signal),
    );
  },
});
