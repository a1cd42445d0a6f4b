import { describe, expect, test } from "bun:test";
import { TransporterError } from "../kit/mod.ts";
import { isRedisUrl, parseRedisUrl, type ParseRedisOptions } from "./address.ts";

function refusal(url: string, options?: ParseRedisOptions): TransporterError {
  try {
    parseRedisUrl(url, options);
  } catch (error) {
    if (error instanceof TransporterError) return error;
    throw error;
  }
  throw new Error(`${url} was not refused`);
}

describe("an address of Redis", () => {
  test("needs no more than a host", () => {
    expect(parseRedisUrl("redis://localhost")).toEqual({
      kind: "single",
      nodes: [{ host: "localhost", port: 6379 }],
      master: undefined,
      db: 0,
      user: undefined,
      password: undefined,
      passwordFile: undefined,
      sentinelUser: undefined,
      sentinelPassword: undefined,
      sentinelPasswordFile: undefined,
      tls: undefined,
      prefix: "transporter",
      wait: 0,
      timeoutMs: 5000,
      parameters: new Map(),
      location: "redis://localhost:6379/0",
      passwordInUrl: false,
    });
  });

  test("has user, password, port, database and parameters, percent signs undone", () => {
    const address = parseRedisUrl("redis://app%40x:p%40ss%2F%3Aw%25@10.0.0.1:7000/3?prefix=site.a&wait=1&timeout=750ms&stream=in", {
      extra: ["stream"],
    });
    expect(address).toMatchObject({ user: "app@x", password: "p@ss/:w%", db: 3, prefix: "site.a", wait: 1, timeoutMs: 750 });
    expect(address.nodes).toEqual([{ host: "10.0.0.1", port: 7000 }]);
    expect([...address.parameters]).toEqual([["stream", "in"]]);
    expect(address.passwordInUrl).toBe(true);
    expect(address.location).toBe("redis://10.0.0.1:7000/3");
  });

  test("may have a password without a user, and an IPv6 host", () => {
    expect(parseRedisUrl("redis://:secret@[::1]:7000")).toMatchObject({
      user: undefined,
      password: "secret",
      nodes: [{ host: "::1", port: 7000 }],
      location: "redis://[::1]:7000/0",
    });
  });

  test("takes a password from elsewhere only where it has none of its own", () => {
    expect(parseRedisUrl("redis://host", { password: "given" })).toMatchObject({ password: "given", passwordInUrl: false });
    expect(parseRedisUrl("redis://host", { password: "" }).password).toBeUndefined();
    expect(parseRedisUrl("redis://:own@host", { password: "given" }).password).toBe("own");
    expect(parseRedisUrl("redis://host?password-file=/run/p", { password: "given" }).password).toBeUndefined();
  });

  test("names sentinels and their master", () => {
    expect(parseRedisUrl("rediss+sentinel://u:p@a,b:1,[::1]:2/mymaster/4?sentinel-user=s&sentinel-password-file=/f&ca=/ca")).toMatchObject({
      kind: "sentinel",
      nodes: [
        { host: "a", port: 26_379 },
        { host: "b", port: 1 },
        { host: "::1", port: 2 },
      ],
      master: "mymaster",
      db: 4,
      user: "u",
      password: "p",
      sentinelUser: "s",
      sentinelPasswordFile: "/f",
      tls: { ca: "/ca", cert: undefined, key: undefined, serverName: undefined },
      location: "rediss+sentinel://a:26379,b:1,[::1]:2/mymaster/4",
    });
  });

  test("names nodes of a cluster", () => {
    const address = parseRedisUrl("redis+cluster://a:7000,b:7001");
    expect(address).toMatchObject({ kind: "cluster", db: 0, location: "redis+cluster://a:7000,b:7001" });
    expect(address.nodes).toHaveLength(2);
  });

  test("has files for TLS where it is encrypted", () => {
    expect(parseRedisUrl("rediss://h?ca=/a&cert=/b&key=/c&server-name=n").tls).toEqual({
      ca: "/a",
      cert: "/b",
      key: "/c",
      serverName: "n",
    });
    expect(parseRedisUrl("rediss://h").tls).toEqual({ ca: undefined, cert: undefined, key: undefined, serverName: undefined });
  });

  test.each([
    ["redis://"],
    ["redis:///0"],
    ["redis://host:0"],
    ["redis://host:65536"],
    ["redis://host:port"],
    ["redis://a,b"],
    ["redis://host/x"],
    ["redis://host/0/1"],
    ["redis://host/0#x"],
    ["redis://host?wait=one"],
    ["redis://host?wait=101"],
    ["redis://host?wait="],
    ["redis://host?wait=1&wait=2"],
    ["redis://host?unknown=1"],
    ["redis://host?stream=in"],
    ["redis://host?timeout=5"],
    ["redis://host?timeout=10ms"],
    ["redis://host?timeout=2h"],
    ["redis://host?prefix="],
    ["redis://host?prefix={a}"],
    ["redis://host?prefix=a:b"],
    ["redis://host?ca=/ca"],
    ["rediss://host?cert=/c"],
    ["redis://host?sentinel-password=x"],
    ["redis+sentinel://host"],
    ["redis+sentinel://host/my:master"],
    ["redis+cluster://host/1"],
    ["redis+other://host"],
    ["REDIS://host"],
    ["http://host"],
    ["redis://u:p%zz@host"],
    ["redis://u:a@host?password-file=/f"],
  ])("%p is refused", (url) => {
    expect(refusal(url).code).toBe("STORE_INVALID");
    expect(refusal(url, { code: "CONFIG_INVALID" }).code).toBe("CONFIG_INVALID");
  });

  test.each([
    "redis://user:hunter2/x@host:6379",
    "redis://user:hunter2#x@host",
    "redis://user:hunter2@ho st",
    "redis://user:hunter2%zz@host",
    "redis://:hunter2@host/x/y/z",
    "redis+sentinel://:hunter2@host",
  ])("%p is refused without its password being repeated", (url) => {
    const { message, remedy } = refusal(url);
    expect(`${message} ${remedy}`).not.toContain("hunter2");
  });

  test("is told from others by its scheme", () => {
    expect(["redis://x", "rediss://x", "redis+sentinel://x", "rediss+cluster://x"].every(isRedisUrl)).toBe(true);
    expect(["redis:x", "rediss+x://x", "sqlite:x", "memory:"].some(isRedisUrl)).toBe(false);
  });
});
