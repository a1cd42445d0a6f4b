import { afterEach, describe, expect, test } from "bun:test";
import { listenToFailpoints } from "../../src/kit/mod.ts";
import { runCli } from "../support/cli.ts";
import { startCp } from "../support/cp.ts";
import { compiledTest, runTransporter } from "../support/process.ts";

const MANIFEST = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\n";
const SIGKILLED = 137;

afterEach(() => listenToFailpoints(undefined));

describe("TRANSPORTER_FAILPOINT", () => {
  test.each(["producer.build", "producer.built@0", "producer.built@1.5", "@3", "producer.built@x"])("%p is refused", async (order) => {
    const run = await runCli(["get", "events"], { env: { TRANSPORTER_FAILPOINT: order } });
    expect(run.code).toBe(2);
    expect(run.err).toContain("is no failpoint");
    expect(run.err).toContain("producer.built, producer.sent, producer.accepted");
  });

  test("kills the process at the point, with a loud warning, and the same call again is harmless", async () => {
    await using cp = await startCp();
    const send = async (point?: string) =>
      runTransporter(["send", "k8s", "--agent", "agent-1", "-f", "-", "--id", "again", "--cp-url", cp.url], {
        input: MANIFEST,
        env: point === undefined ? {} : { TRANSPORTER_FAILPOINT: point },
      });
    const built = await send("producer.built@1");
    expect(built.exitCode).toBe(SIGKILLED);
    expect(built.stderr).toContain("THIS PROCESS KILLS ITSELF when it comes to producer.built");
    expect((await cp.json<{ items: unknown[] }>("/v1/events")).items).toEqual([]);
    expect((await send("producer.sent")).exitCode).toBe(SIGKILLED);
    expect((await cp.json<{ items: unknown[] }>("/v1/events")).items).toHaveLength(1);
    expect((await send("producer.accepted")).exitCode).toBe(SIGKILLED);
    expect((await send("producer.accepted@2")).exitCode).toBe(0);
    expect((await send()).exitCode).toBe(0);
    expect((await cp.json<{ items: unknown[] }>("/v1/events")).items).toHaveLength(1);
  });

  compiledTest("works in the executable too", async () => {
    await using cp = await startCp();
    const run = await runTransporter(["send", "k8s", "--agent", "agent-1", "-f", "-", "--cp-url", cp.url], {
      compiled: true,
      input: MANIFEST,
      env: { TRANSPORTER_FAILPOINT: "producer.accepted" },
    });
    expect(run.exitCode).toBe(SIGKILLED);
  });
});
