import { describe, expect, test } from "bun:test";
import { manualPorts, silentLogger } from "../kit/mod.ts";
import { DocumentFollower } from "./document-follower.ts";
import { Endings } from "./endings.ts";
import { Known, KnownCallers } from "./known-callers.ts";
import { memoryDocuments } from "./memory-documents.ts";
import { ADMIN } from "./parts-for-tests.ts";

function bench() {
  const manual = manualPorts();
  const known = new KnownCallers(manual.ports.clock);
  const current = new Map<string, boolean | Error>();
  const told: (string | undefined)[] = [];
  const endings = new Endings({
    known,
    log: silentLogger,
    isCurrent: async (credential) => {
      const answer = current.get(credential) ?? false;
      if (answer instanceof Error) throw answer;
      return answer;
    },
  });
  const stop = endings.onEnded((credential) => void told.push(credential));
  return { manual, known, current, told, endings, stop };
}

describe("whoever holds connections", () => {
  test("is told of a token that counts no more, and of the sessions that were begun with it", async () => {
    const { manual, known, told, endings } = bench();
    known.remember("k", new Known(ADMIN, ["session:s", "t"]));
    endings.documentChanged("token", "t");
    await manual.settle();
    expect(told).toStrictEqual(["t", "session:s"]);
    expect(known.fresh("k")).toBeUndefined();
  });

  test("is told nothing of one that goes on, though it is looked at anew", async () => {
    const { manual, known, current, told, endings } = bench();
    current.set("t", true);
    known.remember("k", new Known(ADMIN, ["t"]));
    endings.documentChanged("token", "t");
    await manual.settle();
    expect(told).toStrictEqual([]);
    expect(known.fresh("k")).toBeUndefined();
  });

  test("is told where it cannot be known", async () => {
    const { manual, current, told, endings } = bench();
    current.set("t", new Error("gone"));
    endings.documentChanged("token", "t");
    await manual.settle();
    expect(told).toStrictEqual(["t"]);
  });

  test("is told of sessions and identities by their own names, and of nothing else", async () => {
    const { manual, known, told, endings } = bench();
    known.remember("k", new Known(ADMIN, ["agent:a"]));
    endings.documentChanged("identity", "a");
    expect(told).toStrictEqual(["agent:a"]);
    expect(known.fresh("k")).toBeUndefined();
    endings.documentChanged("session", "s");
    endings.documentChanged("token-use", "t");
    endings.documentChanged("enrolment", "e");
    await manual.settle();
    expect(told).toStrictEqual(["agent:a", "session:s"]);
  });

  test("is told that all are to be asked again", () => {
    const { known, told, endings } = bench();
    known.remember("k", new Known(ADMIN, ["t"]));
    endings.all();
    expect(told).toStrictEqual([undefined]);
    expect(known.fresh("k")).toBeUndefined();
  });

  test("is told no more when it does not want to be", () => {
    const { told, endings, stop } = bench();
    stop();
    endings.all();
    expect(told).toStrictEqual([]);
  });
});

describe("the follower of documents", () => {
  function follower(pages = memoryDocuments()) {
    const manual = manualPorts();
    const changes: string[] = [];
    const made = new DocumentFollower({
      documents: pages,
      ports: manual.ports,
      log: silentLogger,
      tenant: "default",
      afterSeq: 1,
      changed: (kind, id) => void changes.push(`${kind} ${id}`),
      putBack: () => void changes.push("put back"),
    });
    const write = (id: string, tenant = "default") =>
      pages.writeDocument({ tenant, kind: "token", id, expect: 0, value: "{}", expiresAtMs: undefined });
    return { manual, changes, made, write, documents: pages };
  }

  test("tells each second what was written since it began, once, and only of its tenant", async () => {
    const { manual, changes, made, write } = follower();
    for (const id of ["before", "a", "b"]) await write(id);
    await write("c", "other");
    made.start();
    made.start();
    await manual.advance(999);
    expect(changes).toStrictEqual([]);
    await manual.advance(1);
    expect(changes).toStrictEqual(["token a", "token b"]);
    await manual.advance(5_000);
    await write("d");
    await manual.advance(1_000);
    expect(changes).toStrictEqual(["token a", "token b", "token d"]);
    await made.stop();
    expect(manual.pending).toBe(0);
  });

  test("tells of more than a page at once", async () => {
    const { changes, made, write, documents } = follower();
    for (let count = 0; count < 1_201; count += 1) await write(`t${count}`);
    const { calls } = documents;
    await made.look();
    expect(changes).toHaveLength(1_200);
    // Three pages, and whether the store was put back.
    expect(documents.calls - calls).toBe(4);
  });

  test("goes on where it was when the store was away", async () => {
    const { changes, made, write, documents } = follower();
    await write("before");
    await write("a");
    documents.failure = new Error("gone");
    await made.look();
    expect(changes).toStrictEqual([]);
    documents.failure = undefined;
    await Promise.all([made.look(), made.look()]);
    expect(changes).toStrictEqual(["token a"]);
  });
});
