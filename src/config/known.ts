import { AGENT_SETTINGS } from "./agent.ts";
import { CONNECTION_SETTINGS, ENROLMENT_TOKEN_VARIABLE, TOKEN_VARIABLE } from "./common.ts";
import { CP_SETTINGS } from "./control-plane.ts";
import { canonicalKey } from "./file.ts";
import { type Env, envName, settingKey } from "./resolve.ts";
import type { Settings } from "./setting.ts";
import { didYouMean } from "./suggest.ts";

/** Everything that environment and file can set, for any command: one file and one environment may serve several. */
const TABLES: readonly Settings[] = [CP_SETTINGS, AGENT_SETTINGS, CONNECTION_SETTINGS];

export function knownFileKeys(): ReadonlySet<string> {
  return new Set(
    TABLES.flatMap((table) =>
      Object.entries(table)
        .filter(([name, setting]) => setting.flagOnly !== true && name !== "config")
        .map(([name, setting]) => canonicalKey(settingKey(name, setting))),
    ),
  );
}

/** Read by the command line itself, whatever the command. */
const OTHER_VARIABLES: readonly string[] = ["TRANSPORTER_FAILPOINT", TOKEN_VARIABLE, ENROLMENT_TOKEN_VARIABLE];

export function knownVariables(): ReadonlySet<string> {
  return new Set(
    OTHER_VARIABLES.concat(
      TABLES.flatMap((table) =>
        Object.entries(table)
          .filter(([, setting]) => setting.flagOnly !== true)
          .map(([name, setting]) => envName(name, setting)),
      ),
    ),
  );
}

// What Kubernetes makes of a Service: NAME_SERVICE_HOST, NAME_SERVICE_PORT[_x], NAME_PORT, NAME_PORT_8080_TCP[_PROTO|_PORT|_ADDR].
const SERVICE_LINK = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

/**
 * Warnings about TRANSPORTER_* variables that mean nothing, one line each. They are not errors: Kubernetes puts such variables into
 * pods by itself, which is worth one line for all of them and no more.
 */
export function unknownVariableWarnings(env: Env): readonly string[] {
  const names = Object.keys(env).filter((name) => name.startsWith("TRANSPORTER_") && env[name] !== undefined);
  if (names.length === 0) return [];
  const known = knownVariables();
  const warnings: string[] = [];
  const links: string[] = [];
  for (const name of names.toSorted()) {
    if (known.has(name)) continue;
    if (SERVICE_LINK.test(name) || (name.endsWith("_PORT") && /^(tcp|udp|sctp):\/\//.test(env[name] ?? ""))) links.push(name);
    else warnings.push(`environment variable ${name} is not known and has no effect.${didYouMean(name, known)}`);
  }
  if (links.length > 0)
    warnings.push(
      `${links.length} TRANSPORTER_* variable${links.length === 1 ? " is a Kubernetes service link" : "s are Kubernetes service links"} (${links[0] ?? ""}${links.length > 1 ? ", …" : ""}) and left aside; enableServiceLinks: false keeps them out of the pod`,
    );
  return warnings;
}
