import { expect, test } from "bun:test";
import { manualPorts, silentLogger } from "../kit/mod.ts";
import { DocumentFollower } from "./document-follower.ts";
import type { DocumentChange } from "./documents.ts";

test("follows a store that was put back, and says so", async () => {
  const manual = manualPorts();
  const written: DocumentChange[] = [];
  const write = (seq: number, id: string): void => void written.push({ tenant: "default", kind: "token", id, seq });
  const said: string[] = [];
  const follower = new DocumentFollower({
    documents: {
      documentsAfter: async (after, limit) => written.filter(({ seq }) => seq > after).slice(0, limit),
      lastDocumentSeq: async () => written.at(-1)?.seq ?? 0,
    },
    ports: manual.ports,
    log: silentLogger,
    tenant: "default",
    afterSeq: 0,
    changed: (_kind, id) => void said.push(id),
    putBack: () => void said.push("put back"),
  });
  write(1, "a");
  write(7, "b");
  follower.start();
  await manual.advance(1_000);
  expect(said).toEqual(["a", "b"]);
  written.pop();
  await manual.advance(1_000);
  expect(said).toEqual(["a", "b", "put back"]);
  write(2, "c");
  await manual.advance(2_000);
  expect(said).toEqual(["a", "b", "put back", "c"]);
  await follower.stop();
});
