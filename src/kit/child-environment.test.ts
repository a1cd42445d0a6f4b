import { expect, test } from "bun:test";
import { childEnvironment } from "./child-environment.ts";

test("a program that we start gets our environment without what is for us alone", () => {
  const kept = { PATH: "/bin", HOME: "/h", KUBECONFIG: "/k", HTTPS_PROXY: "http://p", MY_TRANSPORTER_X: "1", BUN_INSTALL: "/b" };
  expect(
    childEnvironment({
      ...kept,
      UNSET: undefined,
      BUN_OPTIONS: "--preload ./x",
      BUN_BE_BUN: "1",
      BUN_INSPECT: "9229",
      BUN_INSPECT_PRELOAD: "./x",
      BUN_INSPECT_CONNECT_TO: "ws://x",
      NODE_TLS_REJECT_UNAUTHORIZED: "0",
      TRANSPORTER_TOKEN: "tpu_",
      TRANSPORTER_ENROLMENT_TOKEN: "tpe_",
      TRANSPORTER_REDIS_PASSWORD: "p",
      transporter_token: "x",
    }),
  ).toEqual(kept);
});
