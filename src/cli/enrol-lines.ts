import type { Client } from "../client/mod.ts";
import { ENROLMENT_TOKEN_VARIABLE } from "../config/mod.ts";
import type { Target } from "./connect.ts";
import { pinsOf } from "./first-contact.ts";
import { caText } from "./trusting.ts";

/** A word as a shell reads it back. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * The hash that pins the CA for an agent; undefined where the certificate that was met here leads to another CA than agents are to trust
 * (one of the system's, say), which a hash of the agents' CA would then refuse.
 */
export async function caHashFor(client: Client, target: Pick<Target, "caFile">, signal: AbortSignal): Promise<string | undefined> {
  if (target.caFile === undefined || !client.baseUrl.startsWith("https:")) return undefined;
  const trusted = new Set(pinsOf(await caText(target.caFile)).map(({ pin }) => pin));
  const { pins } = await client.ca({ signal });
  return pins.find((pin) => trusted.has(pin));
}

/** The two lines that enrol an agent on another machine. */
export function enrolLines(of: {
  readonly token: string;
  readonly agent: string;
  readonly url: string;
  readonly caHash: string | undefined;
}): string {
  const id = of.agent.includes("*") ? "NAME" : shellWord(of.agent);
  const hash = of.caHash === undefined ? "" : ` --ca-hash ${of.caHash}`;
  return `export ${ENROLMENT_TOKEN_VARIABLE}=${of.token}\ntransporter agent --agent-id ${id} --cp-url ${shellWord(of.url)}${hash}\n`;
}
