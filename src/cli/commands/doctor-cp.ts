import { dirname } from "node:path";
import { type Client, createClient } from "../../client/mod.ts";
import { CP_SETTINGS, controlPlaneConfig, isRedisUrl, withoutSecrets } from "../../config/mod.ts";
import { silentLogger } from "../../kit/mod.ts";
import { command } from "../command.ts";
import { bypassProxyForLoopback } from "../connect.ts";
import { type Check, DOCTOR_SETTINGS, examine, fail, ok, warn } from "../doctor.ts";
import { askable, listenText, reachable, securityChecks } from "../doctor-security.ts";
import { seenSecurity } from "../security-place.ts";
import { fetchUnchecked } from "../trusting.ts";
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
    const { api, tls } = config.listeners;
    const address = listenText(api);
    const speaksTls = config.security !== undefined && !tls.byProxy;
    const url = `${speaksTls ? "https" : "http"}://${listenText(reachable(api))}`;
    let isRunning = false;
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
          if (isRunning || storeFile === undefined) return undefined;
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
              ? ok(`${address}, store ${withoutSecrets(config.storeUrl)}`)
              : warn(config.warnings.join("; "), "`transporter cp --help` says what each setting does."),
        },
        environmentCheck(host.env, config.insecure),
        {
          name: "address",
          run: async () => {
            try {
              const probe = Bun.listen({ hostname: api.host, port: api.port, socket: { data: () => undefined } });
              probe.stop(true);
              return ok(`${address} is free`);
            } catch (error) {
              // Only whether somebody is there: nothing is told or believed, so the certificate is not looked at.
              const client = createClient({ baseUrl: url, timers: ports.timers, random: ports.random, fetch: fetchUnchecked });
              bypassProxyForLoopback(url, host);
              const answer = await client.text("/livez", { signal }).catch(() => undefined);
              if (answer === undefined || (answer.status !== 200 && !tls.byProxy))
                return fail(
                  `${address} cannot be listened on: ${error instanceof Error ? error.message : "in use"}`,
                  "Stop the program that uses it, or choose another port with --ws-port.",
                );
              isRunning = true;
              running = await askable(config, call);
              return ok(`a control plane is running at ${url}`);
            }
          },
        },
        ...securityChecks(config, call, () => isRunning),
        { name: "running", run: async () => (running === undefined ? undefined : readinessFinding(running, signal)) },
        {
          name: "version",
          run: async () => (running === undefined || config.security !== undefined ? undefined : versionFinding(running, signal)),
        },
        ...(shared ? redisStoreChecks(config.storeUrl, config.storePassword, ports) : fileChecks()),
        ...queueChecks(config, ports, signal),
      ],
      () => controlPlaneFiles(running, signal),
    );
  },
});
