import { describe, expect, test } from "bun:test";
import { type LogFields, manualPorts, silentLogger } from "../kit/mod.ts";
import { memoryDocuments } from "./memory-documents.ts";
import { type Refusal, RefusalAudit } from "./refusal-audit.ts";

function bench() {
  const manual = manualPorts();
  const documents = memoryDocuments();
  const logged: [string, LogFields | undefined][] = [];
  const log = {
    ...silentLogger,
    warn: (message: string, fields?: LogFields) => void logged.push([message, fields]),
    error: (message: string, fields?: LogFields) => void logged.push([message, fields]),
  };
  return { manual, documents, logged, audit: new RefusalAudit({ documents, ports: manual.ports, log, tenant: "default" }) };
}

const REFUSAL: Refusal = { action: "authentication_refused", code: "UNAUTHENTICATED", address: "192.0.2.1" };

describe("what was refused", () => {
  test("stands in the audit and the log with all that is known of it", async () => {
    const { documents, audit, manual, logged } = bench();
    await audit.note({ ...REFUSAL, requestId: "r", principal: "token:x", agentId: "a", eventId: "e", details: { why: "typo" } });
    expect(documents.audit).toStrictEqual([
      {
        tenant: "default",
        atMs: manual.ports.clock.now(),
        principal: "token:x",
        action: "authentication_refused",
        remoteAddress: "192.0.2.1",
        requestId: "r",
        agentId: "a",
        eventId: "e",
        details: { code: "UNAUTHENTICATED", why: "typo" },
      },
    ]);
    await audit.stop();
    expect(documents.audit).toHaveLength(1);
    expect(logged).toStrictEqual([
      ["refused", { action: "authentication_refused", principal: "token:x", address: "192.0.2.1", code: "UNAUTHENTICATED", why: "typo" }],
    ]);
  });

  test("is written five times by itself, and then once a minute with how many there were", async () => {
    const { documents, audit, manual } = bench();
    for (let count = 0; count < 1_000; count += 1) await audit.note({ ...REFUSAL, requestId: `r${count}` });
    expect(documents.audit).toHaveLength(5);
    expect(documents.audit[0]).toMatchObject({ principal: "unknown", requestId: "r0" });
    await manual.advance(60_000);
    expect(documents.audit).toHaveLength(6);
    expect(documents.audit[5]).toMatchObject({
      requestId: "r999",
      remoteAddress: "192.0.2.1",
      details: { code: "UNAUTHENTICATED", further: 995 },
    });
    await manual.advance(600_000);
    expect(documents.audit).toHaveLength(6);
    await audit.note(REFUSAL);
    expect(documents.audit).toHaveLength(7);
  });

  test("is counted apart for each address, action and code", async () => {
    const { documents, audit } = bench();
    for (let count = 0; count < 6; count += 1) await audit.note(REFUSAL);
    await audit.note({ ...REFUSAL, address: "192.0.2.2" });
    await audit.note({ ...REFUSAL, code: "TOO_MANY_ATTEMPTS" });
    await audit.note({ ...REFUSAL, action: "login_refused" });
    expect(documents.audit).toHaveLength(8);
  });

  test("of a thousand addresses does not fill the store", async () => {
    const { documents, audit } = bench();
    for (let count = 0; count < 5_000; count += 1) await audit.note({ ...REFUSAL, address: `10.1.${count >> 8}.${count & 255}` });
    for (let count = 0; count < 3; count += 1) await audit.note({ ...REFUSAL, address: "10.1.0.150" });
    expect(documents.audit).toHaveLength(100);
    await audit.stop();
    const later = documents.audit.slice(100);
    expect(later).toHaveLength(101);
    const total = later.reduce((sum, line) => sum + Number(line.details?.["further"]), 0);
    expect(total).toBe(4_903);
    expect(later.find(({ remoteAddress }) => remoteAddress === "10.1.0.150")?.details).toMatchObject({ further: 4 });
    expect(later.filter(({ remoteAddress }) => remoteAddress === "various").map(({ details }) => details?.["further"])).toStrictEqual([
      4_800,
    ]);
  });

  test("is written when everything ends", async () => {
    const { documents, audit, manual } = bench();
    for (let count = 0; count < 7; count += 1) await audit.note(REFUSAL);
    await audit.stop();
    expect(documents.audit).toHaveLength(6);
    expect(manual.pending).toBe(0);
  });

  test("stays refused where the store is away", async () => {
    const { documents, audit, logged } = bench();
    documents.failure = new Error("gone");
    await audit.note(REFUSAL);
    expect(logged.at(-1)).toStrictEqual(["a refusal is not in the audit", { action: "authentication_refused", reason: "gone" }]);
  });
});
