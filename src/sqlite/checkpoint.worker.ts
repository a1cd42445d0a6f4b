import { Database } from "bun:sqlite";
import { messageOf } from "../kit/mod.ts";
import type { CheckpointAnswer, CheckpointJob } from "./checkpointer.ts";

// The write-ahead log of a busy store is moved into its file here: on the main loop everybody would wait for the writing and its fsync.
declare const self: Worker;

/** A connection for each time: in between nothing here holds the file, so that this worker may be ended whenever it is not at work. */
function moveLog(path: string): void {
  const db = new Database(path, { readwrite: true, create: false });
  try {
    // As its owner writes it: what is in the file must be on disk before the log is written over.
    db.run("PRAGMA synchronous = FULL");
    db.run("PRAGMA wal_checkpoint(PASSIVE)");
  } finally {
    db.close();
  }
}

self.addEventListener("message", (message: MessageEvent<CheckpointJob>) => {
  let answer: CheckpointAnswer = {};
  try {
    moveLog(message.data.path);
  } catch (error) {
    answer = { failed: messageOf(error) };
  }
  self.postMessage(answer);
});
