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
    "redis:hunter2@localhost",
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

  test("one of Redis that is not right is refused, and the error says what is, and no password", async () => {
    for (const url of ["redis://:hunter2@localhost:6379/x", "redis+ring://:hunter2@localhost", "rediss://:hunter2@localhost?cert=/a"]) {
      const error = await refusal(openStore(url, { ports: systemPorts, log: silentLogger }));
      expect(error.code).toBe("STORE_INVALID");
      expect(`${error.message} ${error.remedy}`).not.toContain("hunter2");
    }
    const away = await refusal(openStore("redis://:hunter2@127.0.0.1:1", { ports: systemPorts, log: silentLogger }));
    expect(away.code).toBe("STORE_UNAVAILABLE");
    expect(`${away.message} ${away.remedy}`).not.toContain("hunter2");
    expect((await refusal(backupStoreFile("redis://:hunter2@localhost", "/nonexistent/target"))).remedy).toContain("BGSAVE");
  });

  test("a store in memory opens and says so", async () => {
    const store = await openStore("memory:", { ports: systemPorts, log: silentLogger });
    expect(store.info.driver).toBe("memory");
    expect((await refusal(backupStoreFile("memory:", "/nonexistent/target"))).code).toBe("STORE_INVALID");
    await store.close();
  });
});
