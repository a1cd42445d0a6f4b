import { describe, expect, test } from "bun:test";
import { TransporterError } from "../kit/mod.ts";
import { TrustedProxies } from "./trusted-proxies.ts";

const proxies = new TrustedProxies(["10.0.0.0/8", "192.0.2.5", "fd00::/9"]);

describe("trusted proxies", () => {
  test.each([
    ["10.255.0.1", true],
    ["::ffff:10.0.0.1", true],
    ["11.0.0.1", false],
    ["192.0.2.5", true],
    ["192.0.2.4", false],
    ["fd7f::1", true],
    ["fd80::1", false],
    ["no address", false],
  ])("%s: %p", (address, expected) => {
    expect(proxies.trusts(address)).toBe(expected);
  });

  test.each(["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x", "::/129", "somewhere", "", "10.0.0.0/8/8"])(
    "%p is no range",
    (range) => {
      expect(() => new TrustedProxies([range])).toThrow(TransporterError);
    },
  );

  test("a range of every address has all of its family", () => {
    const all = new TrustedProxies(["0.0.0.0/0"]);
    expect(all.trusts("255.1.2.3")).toBe(true);
    expect(all.trusts("::1")).toBe(false);
  });
});

describe("where a request comes from", () => {
  test.each([
    ["nobody who is trusted says anything", "203.0.113.9", "1.2.3.4", "203.0.113.9"],
    ["no header", "10.0.0.1", null, "10.0.0.1"],
    ["one proxy", "10.0.0.1", "1.2.3.4", "1.2.3.4"],
    ["what the client made up stands first", "10.0.0.1", "10.9.9.9, 127.0.0.1, 1.2.3.4", "1.2.3.4"],
    ["several proxies", "10.0.0.1", "5.6.7.8, 1.2.3.4, 10.0.0.2,192.0.2.5", "1.2.3.4"],
    ["only proxies", "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
    ["ports", "10.0.0.1", "1.2.3.4:567", "1.2.3.4"],
    ["IPv6 with a port", "10.0.0.1", "[2001:db8::1]:567", "2001:db8::1"],
    ["IPv6", "10.0.0.1", "2001:db8::1", "2001:db8::1"],
    ["what is no address ends it", "10.0.0.1", "1.2.3.4, unknown, 10.0.0.2", "10.0.0.2"],
    ["nothing", "10.0.0.1", "", "10.0.0.1"],
    ["a bracket that never ends", "10.0.0.1", "[::1", "10.0.0.1"],
    ["a long list", "10.0.0.1", Array.from({ length: 32 }, () => "1.2.3.4").join(","), "1.2.3.4"],
    ["an endless list", "10.0.0.1", Array.from({ length: 33 }, () => "1.2.3.4").join(","), "10.0.0.1"],
  ])("%s", (_name, peer, header, expected) => {
    expect(proxies.clientAddress(peer, header)).toBe(expected);
  });

  test.each([
    ["203.0.113.9", "https", undefined],
    ["10.0.0.1", null, undefined],
    ["10.0.0.1", "https", true],
    ["10.0.0.1", "http", false],
    ["10.0.0.1", "https, http", false],
    ["10.0.0.1", "http, HTTPS ", true],
  ])("%s says it was %p: TLS %p", (peer, header, expected) => {
    expect(proxies.forwardedTls(peer, header)).toBe(expected);
  });
});
