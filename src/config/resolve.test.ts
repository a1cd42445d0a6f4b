import { describe, expect, test } from "bun:test";
import { type ConfigFile, parseConfigFile } from "./file.ts";
import { type FlagValues, describeOrigin, resolveSettings } from "./resolve.ts";
import { durationOr, integerOr, list, text, textOr, toggle } from "./setting.ts";

const TABLE = {
  "ws-port": integerOr(8080, { describe: "port", min: 0, max: 65_535 }),
  wait: durationOr(1000, { describe: "wait", min: 1, max: 10_000 }),
  host: textOr("127.0.0.1", { describe: "host" }),
  debug: toggle(false, { describe: "debug" }),
  password: text({ describe: "password", secret: true }),
  context: text({ describe: "context", key: "kube-context" }),
  only: list({ describe: "one call's", flagOnly: true }),
};
const KEYS = new Set(["ws-port", "wait", "host", "debug", "password", "kube-context"]);

const flags = (values: Record<string, string[]>): FlagValues =>
  new Map(Object.entries(values).map(([name, raws]) => [name, { raws, shown: `--${name}` }]));
const file = (content: string): Promise<ConfigFile> => parseConfigFile(content, "conf.yaml", KEYS);
const none: FlagValues = new Map();

describe("precedence", () => {
  // Every combination of sources: the most telling one that says anything wins.
  for (let bits = 0; bits < 8; bits++) {
    const has = { flag: (bits & 4) !== 0, env: (bits & 2) !== 0, file: (bits & 1) !== 0 };
    const expected = has.flag ? 1 : has.env ? 2 : has.file ? 3 : 8080;
    const from = has.flag ? "flag" : has.env ? "env" : has.file ? "file" : "default";
    test(`${JSON.stringify(has)} gives the ${from}`, async () => {
      const resolved = resolveSettings(TABLE, {
        flags: has.flag ? flags({ "ws-port": ["1"] }) : none,
        env: has.env ? { TRANSPORTER_WS_PORT: "2" } : {},
        file: has.file ? await file("ws-port: 3") : undefined,
      });
      expect(resolved.values["ws-port"]).toBe(expected);
      expect(resolved.origins["ws-port"].from).toBe(from as "flag");
    });
  }

  test("an empty variable and an empty key count as not set", async () => {
    const resolved = resolveSettings(TABLE, { flags: none, env: { TRANSPORTER_WS_PORT: "" }, file: await file("ws_port:\n") });
    expect(resolved.values["ws-port"]).toBe(8080);
  });

  test("what belongs to one call is deaf to the environment", () => {
    expect(resolveSettings(TABLE, { flags: none, env: { TRANSPORTER_ONLY: "x" }, file: undefined }).values.only).toEqual([]);
  });

  test("a key of its own keeps two meanings of one flag apart", () => {
    const { values } = resolveSettings(TABLE, {
      flags: none,
      env: { TRANSPORTER_CONTEXT: "a", TRANSPORTER_KUBE_CONTEXT: "b" },
      file: undefined,
    });
    expect(values.context).toBe("b");
  });
});

describe("a value that cannot be used is named with its origin and what is allowed", () => {
  test("from a flag", () => {
    expect(() => resolveSettings(TABLE, { flags: flags({ "ws-port": ["http"] }), env: {}, file: undefined })).toThrow(
      'flag --ws-port: the value "http" cannot be used; allowed: a whole number from 0 to 65535',
    );
  });
  test("from the environment", () => {
    expect(() => resolveSettings(TABLE, { flags: none, env: { TRANSPORTER_WAIT: "5" }, file: undefined })).toThrow(
      'environment variable TRANSPORTER_WAIT: the value "5" cannot be used; allowed: a duration from 1ms to 10s with its unit, such as 30s or 1h30m',
    );
  });
  test("from a file, with its line", async () => {
    const content = await file("host: here\nwait: 5\n");
    expect(() => resolveSettings(TABLE, { flags: none, env: {}, file: content })).toThrow("conf.yaml:2 (wait): the value 5 cannot be used");
  });
  test("but a secret's value never is", () => {
    const strict = { password: { ...TABLE.password, read: () => ({ ok: false as const, allowed: "another" }) } };
    const attempt = (): unknown => resolveSettings(strict, { flags: flags({ password: ["hunter2"] }), env: {}, file: undefined });
    expect(attempt).toThrow("flag --password: the value cannot be used");
    expect(attempt).not.toThrow("hunter2");
  });
});

test("a secret as a flag is taken with a warning that names the variable", () => {
  const { values, warnings } = resolveSettings(TABLE, { flags: flags({ password: ["hunter2"] }), env: {}, file: undefined });
  expect(values.password).toBe("hunter2");
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toContain("TRANSPORTER_PASSWORD");
  expect(warnings[0]).not.toContain("hunter2");
  expect(resolveSettings(TABLE, { flags: none, env: { TRANSPORTER_PASSWORD: "hunter2" }, file: undefined }).warnings).toEqual([]);
});

test("a Kubernetes service link in the place of a port is left aside, loudly", () => {
  const { values, warnings } = resolveSettings(TABLE, {
    flags: none,
    env: { TRANSPORTER_WS_PORT: "tcp://10.96.0.7:8080" },
    file: undefined,
  });
  expect(values["ws-port"]).toBe(8080);
  expect(warnings[0]).toContain("TRANSPORTER_WS_PORT=tcp://10.96.0.7:8080 is left aside");
});

test("origins read as people would say them", async () => {
  const { origins } = resolveSettings(TABLE, {
    flags: flags({ host: ["x"] }),
    env: { TRANSPORTER_DEBUG: "1" },
    file: await file("\nws_port: 1\n"),
  });
  expect(describeOrigin(origins.host)).toBe("flag --host");
  expect(describeOrigin(origins.debug)).toBe("environment variable TRANSPORTER_DEBUG");
  expect(describeOrigin(origins["ws-port"])).toBe("conf.yaml:2 (ws_port)");
  expect(describeOrigin(origins.wait)).toBe("the default");
});

describe("the file", () => {
  test("takes keys in any of their spellings, once", async () => {
    expect((await file("WS_Port: 1")).entries.has("ws-port")).toBe(true);
    await expect(file("ws-port: 1\nws_port: 2")).rejects.toThrow('conf.yaml:2: "ws_port" was already set on line 1 as "ws-port"');
  });
  test("refuses what nobody knows, naming line and likely key", async () => {
    await expect(file("host: x\nws-prot: 1")).rejects.toThrow('conf.yaml:2: unknown key "ws-prot". Did you mean ws-port?');
  });
  test("refuses what is no map, no YAML, or a bomb", async () => {
    await expect(file("- a")).rejects.toThrow("must be a map");
    await expect(file("host: [")).rejects.toThrow(/conf\.yaml:1:\d+: not YAML/);
    expect((await file("")).entries.size).toBe(0);
    const bomb = [
      "a: &a [x,x,x,x,x,x,x,x,x]",
      ...Array.from({ length: 8 }, (_, i) => `${"bcdefghi"[i]}: &${"bcdefghi"[i]} [${Array(9).fill(`*${"abcdefgh"[i]}`).join(",")}]`),
    ];
    await expect(file(`host:\n${bomb.map((line) => `  ${line}`).join("\n")}`)).rejects.toThrow("aliases cannot be resolved");
  });
});
