/**
 * Takes secrets out of whatever people and machines are shown: logs, errors and their causes, audit details, reports of `doctor`. It knows
 * secrets by the names of their fields, by their shape (our tokens, JWTs, private keys, credentials in headers and addresses, the data of
 * Secret manifests, kubeconfigs), and by their value where somebody said so at run time. It promises that what is no secret stays legible
 * wherever that can be told, that it takes time in proportion to the length of a text whatever stands in it, and that a text without
 * anything of the kind costs less than a microsecond. It does not promise to know a secret of five characters by its value.
 */
export * from "./kept.ts";
export * from "./names.ts";
export * from "./redact.ts";
export * from "./secret-objects.ts";
