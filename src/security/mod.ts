/**
 * Who is asking, and whether they may. Today: the principal that every request, event, agent and audit line carries, and the guard that
 * keeps web pages away from a control plane without identities. It refuses by throwing `denied` errors.
 */
export * from "./browser-guard.ts";
export * from "./principal.ts";
