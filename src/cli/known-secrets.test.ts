import { expect, test } from "bun:test";
import { text } from "../config/mod.ts";
import { secretsOfEnvironment, secretsOfSettings } from "./known-secrets.ts";

const known = (values: readonly string[]): string[] => [...new Set(values)].filter((value) => value !== "").toSorted();

test("the environment: variables named as secrets, and what stands in addresses, as it is and decoded", () => {
  expect(
    known(
      secretsOfEnvironment({
        TRANSPORTER_MEMPHIS_PASSWORD: "geheim",
        TRANSPORTER_STORE: "redis://u:p%40ss@h:1/0",
        HTTPS_PROXY: "http://me:proxy-pw@p:1",
        QUEUE: "nats://lonely-token@h",
        AWS_SECRET_ACCESS_KEY: "abcdefgh1",
        SECRET_MODE: "enabled",
        SOME_TOKEN: undefined,
        HOME: "/home/me",
        TRANSPORTER_CP_URL: "http://cp:8080",
        TRANSPORTER_SECURITY_SECRET: "system/cp-security",
        TRANSPORTER_IDENTITY_SECRET: "system/agent-identity",
        TRANSPORTER_CLIENT_KEY: "/etc/transporter/client.pem",
      }),
    ),
  ).toEqual(["abcdefgh1", "geheim", "lonely-token", "p%40ss", "p@ss", "proxy-pw"]);
});

test("settings, wherever they come from", () => {
  const settings = { token: text({ describe: "t", secret: true }), url: text({ describe: "u" }), plain: text({ describe: "p" }) };
  expect(known(secretsOfSettings(settings, { token: "s3cret", url: "nats://a:b%zz@h", plain: "plain", more: 1 }))).toEqual([
    "b%zz",
    "s3cret",
  ]);
});
