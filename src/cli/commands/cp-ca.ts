import type { Client } from "../../client/mod.ts";
import { COMMON_SETTINGS, SECURITY_SETTINGS, toggle } from "../../config/mod.ts";
import { TransporterError, silentLogger } from "../../kit/mod.ts";
import { formatTimestamp } from "../../protocol/mod.ts";
import { type Call, command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { EXIT } from "../exit.ts";
import { OUTPUT_SETTINGS, type Shape, outputOf, printList } from "../output.ts";
import { CLUSTER, securityPlace } from "../security-secret.ts";
import { safeLine } from "../text.ts";

const PLACE = {
  "security-dir": {
    ...SECURITY_SETTINGS["security-dir"],
    describe: "Directory of the CA, as `transporter cp init` made it; without it `security` in the state directory",
  },
  "security-secret": {
    ...SECURITY_SETTINGS["security-secret"],
    describe: "Secret of the cluster that holds the CA instead; NAMESPACE is that of the pod or context when not given",
  },
  ...CLUSTER,
} as const;

interface CaView {
  readonly pin: string;
  readonly name: string;
  readonly use: "issues" | "trusted";
  readonly expires_at: string;
}

const CA_SHAPE: Shape<CaView> = {
  name: (ca) => `ca/${ca.pin}`,
  columns: [
    { head: "HASH", cell: (ca) => ca.pin },
    { head: "NAME", cell: (ca) => ca.name },
    { head: "USE", cell: (ca) => ca.use },
    { head: "EXPIRES AT", cell: (ca) => ca.expires_at },
  ],
};

export const cpCaShow = command({
  summary: "Show which CAs are trusted, with their hashes, and what is wrong with the files",
  settings: { ...PLACE, ...OUTPUT_SETTINGS, ...COMMON_SETTINGS },
  examples: ["transporter cp ca show", "transporter cp ca show -o json"],
  run: async (call) => {
    const { createTrust, pinOf, seeTrust } = await import("../../security/mod.ts");
    const place = await securityPlace(call);
    const { ports } = call;
    const kept = typeof place === "string" ? undefined : await seeTrust(place, { ports, log: silentLogger });
    if (typeof place !== "string" && kept === undefined)
      throw new TransporterError("CONFIG_INVALID", `there is no CA in ${place.location}`, {
        remedy: "`transporter cp init` makes one there, and so does the start of a control plane.",
      });
    const files = typeof place === "string" ? { directory: place } : kept === undefined ? {} : { kept };
    const trust = await createTrust({ files, ports, log: silentLogger });
    const { cas, issuer } = trust.state();
    const views = cas.map((ca): CaView => ({
      pin: pinOf(ca),
      name: safeLine(ca.x509.subject).replace(/^CN=/, ""),
      use: ca === issuer?.certificate ? "issues" : "trusted",
      expires_at: formatTimestamp(ca.notAfterMs),
    }));
    await printList(call.host.out, outputOf(call.values), CA_SHAPE, views);
    for (const { level, name, message } of trust.findings()) if (level !== "ok") call.note(`${level}: ${name}: ${message}`);
    return EXIT.ok;
  },
});

export const cpCaRotate = command({
  summary: "Begin with a new CA beside the old one",
  description:
    "The new CA issues from then on; the old one stays trusted. Running control planes take the files within two seconds (from a Secret within half a minute), and tell agents to renew one after the other. Who trusts only the old CA still comes through, until `transporter cp ca retire`.",
  settings: { ...PLACE, ...COMMON_SETTINGS },
  examples: [
    "transporter cp ca rotate",
    "transporter cp ca rotate --security-secret transporter-system/transporter-cp-security --kube-context prod",
  ],
  run: async (call) => {
    const { rotateTrust } = await import("../../security/mod.ts");
    const place = await securityPlace(call);
    const { pin, oldPin } = await rotateTrust(place, { ports: call.ports });
    call.host.out.write(`The new CA is   ${pin}\nTrusted beside  ${oldPin}\n`);
    call.note("Join lines and `login` name the new hash from now on. When all agents have renewed: `transporter cp ca retire`.");
    return EXIT.ok;
  },
});

const RETIRE_SETTINGS = {
  ...PLACE,
  force: toggle(false, { describe: "Ask no control plane who still depends on it; whoever does has to be enrolled anew", flagOnly: true }),
  ...CLIENT_SETTINGS,
} as const;

const PAGE = 500;

/** Whoever is asked must know all agents of these CAs, and tell them all. Throws CA_MISMATCH, ACCESS_DENIED. */
async function checkAsked(client: Client, caKeys: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
  const { pins } = await client.ca({ signal });
  if (![...caKeys].every((key) => pins.includes(`sha256:${key}`)))
    throw new TransporterError(
      "CA_MISMATCH",
      "the control plane that was asked does not trust the CA that is to go: it is of another installation",
      {
        remedy: "Name the one whose CA it is with --cp-url or --context; --force asks nobody.",
      },
    );
  const { name, scope } = await client.whoami({ signal });
  if (scope !== undefined)
    throw new TransporterError("ACCESS_DENIED", `${safeLine(name)} does not see all agents, of which some may still need the old CA`, {
      remedy: "Log in with a token without a scope; --force asks nobody.",
    });
}

/** Ids of agents whose newest certificate is of one of these CAs and still good. */
async function dependents(call: Call<typeof RETIRE_SETTINGS>, caKeys: ReadonlySet<string>): Promise<readonly string[]> {
  const client = await connect(call);
  await checkAsked(client, caKeys, call.signal);
  const nowMs = call.ports.clock.now();
  const found: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.listIdentities({ limit: PAGE, ...(cursor === undefined ? {} : { cursor }) }, { signal: call.signal });
    for (const { agent_id, certificates, revoked_at } of page.items) {
      const [newest] = certificates.filter((one) => one.revoked_at === undefined && Date.parse(one.expires_at) > nowMs);
      if (revoked_at === undefined && newest !== undefined && caKeys.has(newest.ca_key_sha256 ?? "")) found.push(agent_id);
    }
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return found;
}

export const cpCaRetire = command({
  summary: "Stop trusting the old CA",
  description:
    "Asks the control plane first whether agents still have nothing newer than a certificate of the old CA, and then does nothing. Their connections would end.",
  settings: RETIRE_SETTINGS,
  examples: ["transporter cp ca retire", "transporter cp ca retire --force"],
  run: async (call) => {
    const { retireTrust, retiringCas } = await import("../../security/mod.ts");
    const place = await securityPlace(call);
    if (!call.values.force) {
      const left = await dependents(call, new Set((await retiringCas(place)).map((ca) => ca.keySha256)));
      if (left.length > 0) {
        const some = left.slice(0, 5).map(safeLine).join(", ");
        throw new TransporterError(
          "IDENTITY_CONFLICT",
          `agents that still have nothing but a certificate of the old CA: ${left.length} (${some})`,
          {
            remedy: "Wait until they have renewed, which they do when they are connected; --force leaves them behind.",
          },
        );
      }
    }
    for (const pin of await retireTrust(place)) call.host.out.write(`No longer trusted: ${pin}\n`);
    return EXIT.ok;
  },
});
