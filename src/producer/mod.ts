/**
 * Makes events and hands them in: manifests from wherever they lie, event files as 0.1 wrote them, submission over HTTP or through a queue
 * that survives a restart of either, and waiting to the end. It refuses an event that the control plane would refuse, before sending it;
 * it promises that a submission tried again never becomes a second event.
 */
export * from "./build-event.ts";
export * from "./enqueue.ts";
export * from "./event-file.ts";
export * from "./kustomize.ts";
export * from "./sources.ts";
export * from "./submit.ts";
export * from "./wait.ts";
