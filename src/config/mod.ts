/**
 * Settings: what can be set, from where, and the typed options that come of it. Flags go over environment (`TRANSPORTER_*`) over file
 * (YAML) over defaults. Pure: argv, environment and file contents are handed in. It refuses, by CONFIG_INVALID naming the setting, its
 * origin and what is allowed, every value that cannot be used and every key or flag that nobody knows; it promises that each value of a
 * command knows where it came from, and that a secret's value stands in no message.
 */
export * from "./address.ts";
export * from "./agent.ts";
export * from "./common.ts";
export * from "./control-plane.ts";
export * from "./file.ts";
export * from "./host.ts";
export * from "./known.ts";
export * from "./places.ts";
export * from "./queue.ts";
export * from "./resolve.ts";
export * from "./security.ts";
export { type ListenAddress, type NamedSecret, PEOPLES_ROLES, SECURITY_SETTINGS, secretOf } from "./security-settings.ts";
export * from "./server-url.ts";
export * from "./setting.ts";
export * from "./store.ts";
export * from "./suggest.ts";
export type { TrustedClusterConfig } from "./trusted-cluster.ts";
