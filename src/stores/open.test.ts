import { describe, expect, test } from "bun:test";
import { silentLogger, systemPorts, TransporterError } from "../kit/mod.ts";
import { backupStoreFile, openStore } from "./open.ts";

async function refusal(call: Promise<unknown>): Promise<TransporterError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof TransporterError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

describe("the address of a store", () => {
  test.each([
    "",
    "redis://:hunter2@localhost:6379/0",
    "postgres://localhost",
    "/var/lib/store.db",
    "SQLITE:x",
    "sqlite",
    "sqlite:",
    "sqlite://host/store.db",
    "sqlite:///",
    "sqlite:directory/",
    "sqlite::memory:",
    "sqlite:a\u0000b",
    "memory",
    "memory:x",
  ])("%p is refused, and the error says what is allowed and no password", async (url) => {
    for (const error of [
      await refusal(openStore(url, { ports: systemPorts, log: silentLogger })),
      await refusal(backupStoreFile(url, "/nonexistent/target")),
    ]) {
      expect(error.code).toBe("STORE_INVALID");
      expect(error.remedy).toContain("sqlite:PATH");
      expect(error.remedy).toContain("memory:");
      expect(`${error.message} ${error.remedy}`).not.toContain("hunter2");
    }
  });

  test("a store in memory opens and says so", async () => {
    const store = await openStore("memory:", { ports: systemPorts, log: silentLogger });
    expect(store.info.driver).toBe("memory");
    expect((await refusal(backupStoreFile("memory:", "/nonexistent/target"))).code).toBe("STORE_INVALID");
    await store.close();
  });
});
