/**
 * Embedded databases: opening a file so that nobody else owns it, bringing its schema up to date, and committing many writes at once.
 * Used by the control plane's store and by the agent's ledger; what lies in the tables is theirs.
 *
 * It refuses a file that is damaged, that is not a database, that belongs to something else, that a newer version wrote, or that
 * another process owns. It promises that what `GroupCommit` resolved is on disk (WAL, synchronous FULL), that a failed operation
 * takes no other with it, and that a file found damaged while it runs is not written or read again.
 */
export * from "./checkpointer.ts";
export * from "./copy.ts";
export * from "./failure.ts";
export { closeGiven, resetGiven } from "./given.ts";
export * from "./group-commit.ts";
export * from "./migrate.ts";
export * from "./open.ts";
export * from "./replace.ts";
export * from "./room.ts";
