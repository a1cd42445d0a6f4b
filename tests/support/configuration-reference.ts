import {
  AGENT_SETTINGS,
  COMMON_SETTINGS,
  CONNECTION_SETTINGS,
  CP_SETTINGS,
  LOG_SETTINGS,
  QUEUE_SETTINGS,
  SECURITY_SETTINGS,
  STORE_SETTINGS,
  type Setting,
  type Settings,
  envName,
  settingKey,
} from "../../src/config/mod.ts";
import { markdownTable } from "./generated.ts";

const COLUMNS = ["flag", "variable", "key in the file", "value", "default", "what it does"];

/** No setting that looks at its text takes this, so that its refusal tells what is taken. */
const NEVER = "\u0000 :/?\u0000";

const KINDS: Readonly<Record<Setting<unknown>["kind"], string>> = {
  text: "text",
  switch: "true or false",
  integer: "a whole number",
  bytes: "a size",
  duration: "a duration",
  choice: "one of",
  list: "list",
  pairs: "KEY=VALUE pairs",
};

/** What may be given, as the refusal of the setting itself says it. */
function valueOf(setting: Setting<unknown>): string {
  const hint = setting.hint === undefined || /^(N|SIZE|DURATION|VALUE)$/.test(setting.hint) ? "" : `\`${setting.hint}\``;
  if (setting.choices !== undefined) return setting.choices.map((choice) => `\`${choice}\``).join(", ");
  const read = setting.kind === "pairs" || setting.kind === "switch" ? undefined : setting.read([NEVER]);
  const allowed =
    read === undefined || read.ok ? "" : read.allowed.replace(/, such as (30s or 1h30m|32MiB)$/, "").replace(" with its unit", "");
  if (setting.kind === "integer" || setting.kind === "bytes" || setting.kind === "duration") return allowed;
  const kind =
    setting.kind === "text" && hint !== "" ? hint : `${KINDS[setting.kind]}${hint === "" || setting.kind === "pairs" ? "" : ` of ${hint}`}`;
  if (allowed === "" || allowed.includes(";")) return kind;
  return allowed.startsWith(setting.hint ?? "") ? allowed : `${kind}: ${allowed}`;
}

function rowOf([name, setting]: readonly [string, Setting<unknown>]): string[] {
  const flags = [name, ...(setting.aliases ?? [])].map((each) => `\`--${each}\``);
  const fallback = setting.defaultText === undefined ? "" : `\`${setting.defaultText}\``;
  return [
    [...flags, ...(setting.short === undefined ? [] : [`\`-${setting.short}\``])].join(", "),
    setting.flagOnly === true ? "" : `\`${envName(name, setting)}\``,
    setting.flagOnly === true || name === "config" ? "" : `\`${settingKey(name, setting)}\``,
    valueOf(setting),
    fallback,
    `${setting.describe}.${setting.secret === true ? " A secret: as a flag it works with a warning." : ""}`,
  ];
}

const PUBLISHING = ["publish", "publish-to", "publish-password", "publish-token"];
const SHARED = ["redis-compat-keys", "replica-id", "advertise", "drain"];

function tableOf(settings: Settings): string {
  return markdownTable(COLUMNS, Object.entries(settings).map(rowOf));
}

function only(settings: Settings, keep: (name: string) => boolean): Settings {
  return Object.fromEntries(Object.entries(settings).filter(([name]) => keep(name)));
}

const isIn = (name: string, ...tables: readonly Settings[]): boolean => tables.some((table) => Object.hasOwn(table, name));
const isQueue = (name: string): boolean => isIn(name, QUEUE_SETTINGS) || ["queue", "memphis-enabled"].includes(name);
const isCommon = (name: string): boolean => isIn(name, LOG_SETTINGS, COMMON_SETTINGS);
const isOther = (name: string): boolean =>
  isIn(name, SECURITY_SETTINGS, STORE_SETTINGS) || isQueue(name) || isCommon(name) || PUBLISHING.includes(name) || SHARED.includes(name);

/** The tables of docs/configuration.md by the names of their marks: together every setting that a file or the environment can set. */
export function configurationTables(): Record<string, string> {
  return {
    "settings of every command": tableOf({ ...COMMON_SETTINGS, ...LOG_SETTINGS }),
    "settings of the control plane": tableOf(only(CP_SETTINGS, (name) => !isOther(name))),
    "settings of security": tableOf(SECURITY_SETTINGS),
    "settings of the store": tableOf({ ...STORE_SETTINGS, ...only(CP_SETTINGS, (name) => SHARED.includes(name)) }),
    "settings of queues": tableOf(only(CP_SETTINGS, isQueue)),
    "settings of publishing": tableOf(only(CP_SETTINGS, (name) => PUBLISHING.includes(name))),
    "settings of the agent": tableOf(only(AGENT_SETTINGS, (name) => !isCommon(name))),
    "settings of tools": tableOf(CONNECTION_SETTINGS),
  };
}
