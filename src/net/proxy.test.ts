import { describe, expect, test } from "bun:test";
import { TransporterError } from "../kit/mod.ts";
import { bypassesProxy, proxyFor } from "./proxy.ts";

const PROXY = "http://squid.corp:3128";

describe("which proxy a URL gets", () => {
  test("HTTPS_PROXY serves wss and https, HTTP_PROXY ws and http, and neither the other's", () => {
    const env = { HTTPS_PROXY: "http://secure:1", HTTP_PROXY: "http://plain:2" };
    expect(proxyFor("wss://cp.example/ws", env)).toBe("http://secure:1/");
    expect(proxyFor("https://cp.example/", env)).toBe("http://secure:1/");
    expect(proxyFor("ws://cp.example/ws", env)).toBe("http://plain:2/");
    expect(proxyFor("ws://cp.example/ws", { HTTPS_PROXY: "http://secure:1" })).toBeUndefined();
  });

  test("lower case counts, capitals win, ALL_PROXY is for the rest, empty is unset", () => {
    expect(proxyFor("wss://cp.example/ws", { https_proxy: PROXY })).toBe(`${PROXY}/`);
    expect(proxyFor("wss://cp.example/ws", { HTTPS_PROXY: "http://a:1", https_proxy: "http://b:2" })).toBe("http://a:1/");
    expect(proxyFor("wss://cp.example/ws", { all_proxy: PROXY, HTTP_PROXY: "http://x:1" })).toBe(`${PROXY}/`);
    expect(proxyFor("wss://cp.example/ws", { HTTPS_PROXY: " ", ALL_PROXY: PROXY })).toBe(`${PROXY}/`);
    expect(proxyFor("wss://cp.example/ws", {})).toBeUndefined();
  });

  test("a proxy without a scheme is an http proxy, and credentials stay in it", () => {
    expect(proxyFor("wss://cp.example/ws", { HTTPS_PROXY: "squid.corp:3128" })).toBe(`${PROXY}/`);
    expect(proxyFor("wss://cp.example/ws", { HTTPS_PROXY: "http://u:p%40ss@squid.corp:3128" })).toBe("http://u:p%40ss@squid.corp:3128/");
  });

  test.each(["ws://localhost:8080/ws", "ws://127.0.0.1:8080/ws", "ws://127.8.9.1/ws", "ws://[::1]:8080/ws", "ws://cp.localhost/ws"])(
    "%s is on this machine and never goes through a proxy",
    (url) => expect(proxyFor(url, { HTTP_PROXY: PROXY, HTTPS_PROXY: PROXY, ALL_PROXY: PROXY })).toBeUndefined(),
  );

  test.each(["socks5://u:hunter2@proxy:1080", "ftp://u:hunter2@proxy", "http://", "http://u:hunter2@a b"])(
    "%s is refused, never ignored, and its password stays out of the error",
    (proxy) => {
      const attempt = (): unknown => proxyFor("wss://cp.example/ws", { HTTPS_PROXY: proxy });
      expect(attempt).toThrow(TransporterError);
      expect(attempt).toThrow(/^(?!.*hunter2).*HTTPS_PROXY/);
    },
  );
});

describe("what NO_PROXY takes out", () => {
  const cases: readonly [noProxy: string, host: string, port: string, bypassed: boolean][] = [
    ["*", "anything.example", "443", true],
    ["example.com", "example.com", "443", true],
    ["example.com", "cp.example.com", "443", true],
    ["example.com", "notexample.com", "443", false],
    [".example.com", "cp.example.com", "443", true],
    [".example.com", "example.com", "443", false],
    ["*.example.com", "cp.example.com", "443", true],
    ["EXAMPLE.com", "cp.example.com", "443", true],
    ["example.com:8443", "example.com", "8443", true],
    ["example.com:8443", "example.com", "443", false],
    ["10.0.0.0/8", "10.200.3.4", "443", true],
    ["10.0.0.0/8", "11.0.0.1", "443", false],
    ["10.0.0.0/33", "10.0.0.1", "443", false],
    ["10.0.0.0/8", "ten.example", "443", false],
    ["192.168.1.7", "192.168.1.7", "80", true],
    ["192.168.1.7:81", "192.168.1.7", "80", false],
    ["fd00::/8", "fd12:3456::1", "443", true],
    ["fd00::/8", "fe80::1", "443", false],
    ["[fd00::1]:443", "fd00::1", "443", true],
    ["::ffff:0:0/96", "10.0.0.1", "443", false],
    ["a.example, ,b.example  c.example", "c.example", "443", true],
    ["a.example,b.example", "c.example", "443", false],
    ["", "c.example", "443", false],
  ];
  test.each(cases)("NO_PROXY=%p for %s:%s gives %p", (noProxy, host, port, bypassed) => {
    expect(bypassesProxy(host, port, noProxy)).toBe(bypassed);
  });

  test("the default ports count, and brackets and a final dot are taken off the host", () => {
    expect(proxyFor("wss://cp.example/ws", { HTTPS_PROXY: PROXY, NO_PROXY: "cp.example:443" })).toBeUndefined();
    expect(proxyFor("ws://cp.example/ws", { HTTP_PROXY: PROXY, NO_PROXY: "cp.example:443" })).toBe(`${PROXY}/`);
    expect(proxyFor("ws://cp.example./ws", { HTTP_PROXY: PROXY, NO_PROXY: "cp.example" })).toBeUndefined();
    expect(proxyFor("ws://[fd00::5]:80/ws", { HTTP_PROXY: PROXY, NO_PROXY: "fd00::/16" })).toBeUndefined();
  });
});
