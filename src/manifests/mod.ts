/**
 * What the manifests of an event say: parsed with kubectl's meaning of scalars, identified, checked in shape and put into an order that
 * works. Pure: no I/O, no cluster, no clock. It refuses what kubectl would refuse, and beyond that what is ambiguous (duplicate keys, the
 * same object twice, structure that YAML 1.1 and 1.2 understand differently) or hostile (alias bombs, `__proto__`, endless nesting). It
 * promises that an object comes out exactly as kubectl would send it, integers beyond 2^53 included, and that nothing is returned unless
 * every document of every manifest is good. YAML costs about a second for 1 MiB: who must stay responsive parses it elsewhere.
 */
export * from "./annotations.ts";
export * from "./arrange.ts";
export { aggregatedVersions } from "./backends.ts";
export * from "./built-in.ts";
export * from "./depends-on.ts";
export * from "./difference.ts";
export * from "./leanings.ts";
export * from "./locks.ts";
export * from "./object.ts";
export * from "./order.ts";
export * from "./json-patch.ts";
export * from "./parse.ts";
export * from "./patch-text.ts";
export * from "./plain-locks.ts";
export * from "./pointer.ts";
export * from "./provides.ts";
export * from "./reference.ts";
export * from "./yaml-text.ts";
