import type { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { type TLSSocket, connect as connectTls } from "node:tls";
import type { Client } from "../client/mod.ts";
import type { ControlPlaneConfig, ListenAddress, NamedSecret, Settings } from "../config/mod.ts";
import { type Ports, messageOf, silentLogger } from "../kit/mod.ts";
import type { KeptTrust, Trust } from "../security/mod.ts";
import { clientFor } from "./connect.ts";
import type { Call } from "./command.ts";
import { type Check, type Finding, fail, ok, warn } from "./doctor.ts";
import { reach } from "./doctor-checks.ts";
import { type ClusterFlags, type SecretVault, secretVault } from "./security-secret.ts";

/** Where a listener is reached from this machine: wildcards are listened on, not connected to. */
export function reachable({ host, port }: ListenAddress): ListenAddress {
  return { host: host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host, port };
}

/** `HOST:PORT`, as it stands in a URL. */
export const listenText = ({ host, port }: ListenAddress): string => `${host.includes(":") ? `[${host}]` : host}:${port}`;

type Found = ReturnType<Trust["findings"]>;

/** The worst of them in one, with whatever is as bad. */
function worstOf(findings: Found, remedy: string): Finding {
  const level = (["error", "warning", "ok"] as const).find((each) => findings.some((finding) => finding.level === each)) ?? "ok";
  const text = findings
    .filter((finding) => finding.level === level)
    .map(({ message }) => message)
    .join("; ");
  return { ok, warning: warn, error: fail }[level](text, remedy);
}

async function isThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (typeof error === "object" && error !== null && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** Who may read and change the directory. */
async function directoryFinding(path: string): Promise<Finding> {
  const found = await isThere(path);
  if (found === undefined) return fail(`${path} is not there`, `\`transporter cp init --security-dir ${path}\` makes it.`);
  const { mode, uid } = found;
  const own = process.getuid?.() ?? uid;
  if (uid !== own && own !== 0)
    return warn(`${path} belongs to another user (${uid})`, "Run the control plane, and this check, as that user, or give it the files.");
  if ((mode & 0o077) === 0) return ok(`${path} can be entered by its owner alone`);
  const who = (mode & 0o007) === 0 ? "its group" : "everybody on this machine";
  return (mode & 0o022) === 0
    ? warn(`${path} can be entered by ${who}`, `\`chmod 700 ${path}\`: the CA's key lies there.`)
    : fail(
        `${path} can be changed by ${who}, who could put a CA of their own there`,
        `\`chmod 700 ${path}\`, and look at what lies there.`,
      );
}

/** Whether the agents' listener speaks TLS. It lets nobody go on without a certificate, which comes after the handshake as it is seen here. */
function tlsFinding(address: ListenAddress, ports: Ports, signal: AbortSignal): Promise<Finding> {
  return new Promise((resolve, reject) => {
    let timer: { cancel: () => void } | undefined;
    const finish = (finding: Finding): void => {
      timer?.cancel();
      socket.destroy();
      resolve(finding);
    };
    // Nothing is told or believed here: only whether somebody speaks TLS.
    const socket: TLSSocket = connectTls({ host: address.host, port: address.port, rejectUnauthorized: false }, () =>
      finish(ok(`${listenText(address)} speaks ${socket.getProtocol() ?? "TLS"}`)),
    );
    socket.on("error", (error) =>
      finish(
        fail(
          `${listenText(address)} cannot be reached: ${messageOf(error)}`,
          "See the control plane's log, and whether another program uses the port.",
        ),
      ),
    );
    timer = ports.timers.after(5000, () =>
      finish(fail(`${listenText(address)} does not answer within 5 s`, "See the control plane's log.")),
    );
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}

async function httpFinding(address: ListenAddress, path: string, ports: Ports, signal: AbortSignal): Promise<Finding> {
  const status = await reach(`http://${listenText(address)}${path}`, undefined, ports, signal).then(
    (reached) => reached.status,
    (error: unknown) => {
      signal.throwIfAborted();
      return messageOf(error);
    },
  );
  return status === 200
    ? ok(`${listenText(address)} answers`)
    : fail(
        `${listenText(address)}${path}: ${typeof status === "number" ? `answers ${status}` : status}`,
        "It may be started with other settings, or another program uses the port; see its log.",
      );
}

/** Whether the Secret can be used. It is not written: an empty one is filled by the first start. */
async function secretFinding(vault: SecretVault, seen: () => Promise<KeptTrust | undefined>): Promise<Finding> {
  const { location } = vault;
  if ((await seen()) !== undefined)
    return (await vault.may("patch"))
      ? ok(`${location} holds the CA`)
      : warn(`${location} holds the CA, and may not be written: the server's certificate cannot be renewed`, vault.remedy("patch"));
  const verb = (await vault.read()) === undefined ? "create" : "patch";
  return (await vault.may(verb))
    ? ok(`${location} ${verb === "create" ? "is made" : "is empty, and filled"} at the first start`)
    : fail(`${location} ${verb === "create" ? "is not there" : "is empty"}, and may not be written`, vault.remedy(verb));
}

/** The checks of a control plane that is secured; none for another. `running`: whether one runs here now. */
export function securityChecks(
  config: ControlPlaneConfig,
  call: Pick<Call<Settings>, "host" | "ports" | "signal"> & { readonly values: ClusterFlags },
  running: () => boolean,
): readonly Check[] {
  const { security, listeners } = config;
  const { host, ports, signal, values } = call;
  if (security === undefined)
    return [
      {
        name: "security",
        run: async () =>
          config.insecure
            ? warn("none: whoever reaches this control plane may do everything", "`transporter cp init` makes what secures it.")
            : ok("none: only this machine reaches it"),
      },
    ];
  const { directory } = security.trust;
  const { secret } = security;
  let opened: Promise<SecretVault> | undefined;
  const vault = (named: NamedSecret): Promise<SecretVault> => (opened ??= secretVault(named, values, { host, ports, log: silentLogger }));
  let seen: Promise<KeptTrust | undefined> | undefined;
  const kept = (named: NamedSecret): Promise<KeptTrust | undefined> =>
    (seen ??= import("../security/mod.ts").then(async ({ seeTrust }) => seeTrust(await vault(named), { ports, log: silentLogger })));
  let read: Promise<Found> | undefined;
  // As the control plane judges them itself. Read once; what cannot be read is told by the first who asks.
  const findings = (): Promise<Found> =>
    (read ??= import("../security/mod.ts").then(async ({ createTrust }) => {
      // What is not made yet has no faults; whether it can be, or be read, is told by its own check.
      const inSecret = secret === undefined ? undefined : await kept(secret).catch(() => undefined);
      if (secret !== undefined && inSecret === undefined) return [];
      const files = { ...security.trust, ...(inSecret === undefined ? {} : { kept: inSecret }) };
      return (await createTrust({ files, ports, log: silentLogger, names: security.serverNames })).findings();
    }));
  const isOfKey = ({ name }: Found[number]): boolean => name.endsWith(" key");
  const whenRunning =
    (run: () => Promise<Finding>): Check["run"] =>
    async () =>
      running() ? run() : undefined;
  const { agents, probes, legacy } = listeners;
  return [
    ...(directory === undefined ? [] : [{ name: "security", run: () => directoryFinding(directory) }]),
    ...(secret === undefined ? [] : [{ name: "secret", run: async () => secretFinding(await vault(secret), () => kept(secret)) }]),
    {
      name: "certificates",
      run: async () => {
        const found = (await findings()).filter((finding) => !isOfKey(finding));
        return found.length === 0
          ? undefined
          : worstOf(
              found,
              "Replace what runs out: `transporter cp ca rotate` makes a CA and a server certificate. What is not valid yet tells of a wrong clock.",
            );
      },
    },
    {
      name: "keys",
      run: async () => {
        const open = (await findings().catch((): Found => [])).filter(isOfKey);
        return open.length === 0
          ? undefined
          : worstOf(open, "If others were on this machine meanwhile, take the keys for known to them: make new ones.");
      },
    },
    ...(agents === undefined || agents.port === 0
      ? []
      : [{ name: "agents' port", run: whenRunning(() => tlsFinding(reachable(agents), ports, signal)) }]),
    ...(probes === undefined || probes.port === 0
      ? []
      : [{ name: "probes' port", run: whenRunning(() => httpFinding(reachable(probes), "/livez", ports, signal)) }]),
    ...(legacy === undefined || legacy.port === 0
      ? []
      : [
          {
            name: "0.1's port",
            run: whenRunning(async () => {
              const finding = await httpFinding(reachable(legacy), "/health", ports, signal);
              return finding.status === "ok"
                ? warn(
                    `${finding.detail}: whoever reaches it may send to ${legacy.agentIds.join(", ")}`,
                    "Enrol those agents, then leave --legacy-addr out.",
                  )
                : finding;
            }),
          },
        ]),
  ];
}

/** Whom to ask how it goes: the API where nobody has to be known, else the listener for probes. Undefined where there is none. */
export async function askable(config: ControlPlaneConfig, call: Pick<Call<Settings>, "ports" | "host">): Promise<Client | undefined> {
  const { api, probes } = config.listeners;
  const address = config.security === undefined ? api : probes;
  if (address === undefined || address.port === 0) return undefined;
  return clientFor({ url: `http://${listenText(reachable(address))}`, caFile: undefined, credential: undefined }, call);
}
