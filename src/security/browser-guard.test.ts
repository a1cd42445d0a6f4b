import { describe, expect, test } from "bun:test";
import { guardBrowser, type GuardOptions } from "./mod.ts";

const loopback: GuardOptions = { loopbackOnly: true, hosts: [] };
const open = { loopbackOnly: false, hosts: [] };

function verdict(headers: Record<string, string>, options: GuardOptions = loopback): string {
  try {
    guardBrowser(new Headers(headers), options);
    return "ok";
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe("guardBrowser", () => {
  test.each([
    [{ host: "127.0.0.1:8080" }, "ok"],
    [{ host: "localhost" }, "ok"],
    [{ host: "[::1]:8080" }, "ok"],
    [{ host: "LOCALHOST:1" }, "ok"],
    [{ host: "evil.example:8080" }, "FOREIGN_ORIGIN"],
    [{ host: "127.0.0.1.evil.example" }, "FOREIGN_ORIGIN"],
    [{ host: "127.0.0.1:99999" }, "FOREIGN_ORIGIN"],
    [{}, "FOREIGN_ORIGIN"],
    [{ host: "127.0.0.1:8080", origin: "http://127.0.0.1:8080" }, "ok"],
    [{ host: "127.0.0.1:8080", origin: "http://127.0.0.1:9090" }, "FOREIGN_ORIGIN"],
    [{ host: "127.0.0.1:8080", origin: "null" }, "FOREIGN_ORIGIN"],
    [{ host: "127.0.0.1:8080", "sec-fetch-site": "cross-site" }, "FOREIGN_ORIGIN"],
    [{ host: "127.0.0.1:8080", "sec-fetch-site": "same-site" }, "FOREIGN_ORIGIN"],
    [{ host: "127.0.0.1:8080", "sec-fetch-site": "none" }, "ok"],
    [{ host: "127.0.0.1:8080", "sec-fetch-site": "same-origin" }, "ok"],
    [{ host: "127.0.0.1:65535" }, "ok"],
    [{ host: "127.0.0.1:65536" }, "FOREIGN_ORIGIN"],
    [{ host: "::1" }, "ok"],
    [{ host: "[::1]" }, "ok"],
    [{ host: "::2" }, "FOREIGN_ORIGIN"],
    [{ host: "localhost:abc" }, "FOREIGN_ORIGIN"],
    [{ host: "localhost:" }, "FOREIGN_ORIGIN"],
    [{ host: "127.0.0.1:8080", origin: "xx127.0.0.1:8080" }, "FOREIGN_ORIGIN"],
    [{ host: "127.0.0.1:8080", origin: "://127.0.0.1:8080" }, "FOREIGN_ORIGIN"],
    [{ host: "LOCALHOST:8080", origin: "HTTP://localhost:8080" }, "ok"],
  ] as const)("on loopback %p is %s", (headers, expected) => {
    expect(verdict(headers)).toBe(expected);
  });

  test("beyond loopback any host is answered, but still no foreign page", () => {
    expect(verdict({ host: "cp.example" }, open)).toBe("ok");
    expect(verdict({ host: "cp.example:65536" }, open)).toBe("FOREIGN_ORIGIN");
    expect(verdict({ host: "cp.example", origin: "https://evil.example" }, open)).toBe("FOREIGN_ORIGIN");
    expect(verdict({ origin: "https://evil.example" }, open)).toBe("FOREIGN_ORIGIN");
    expect(verdict({ origin: "null" }, open)).toBe("FOREIGN_ORIGIN");
    expect(verdict({}, open)).toBe("ok");
  });

  test("names that it was told to answer to are its own", () => {
    const named = { loopbackOnly: true, hosts: ["box"] };
    expect(verdict({ host: "BOX:80" }, named)).toBe("ok");
    expect(verdict({ host: "other:80" }, named)).toBe("FOREIGN_ORIGIN");
  });
});
