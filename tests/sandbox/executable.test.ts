import { describe, expect } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import packageJson from "../../package.json";
import { compiledTest, runTransporter } from "../support/process.ts";

describe("the compiled executable", () => {
  compiledTest("runs nothing that lies in the directory where it is called", async () => {
    const hostile = await mkdtemp(join(tmpdir(), "transporter-test-"));
    try {
      await writeFile(join(hostile, "bunfig.toml"), 'preload = ["./preload.ts"]\n[run]\npreload = ["./preload.ts"]\n');
      await writeFile(join(hostile, "preload.ts"), 'console.log("PRELOADED"); process.exit(3);\n');
      await writeFile(join(hostile, ".env"), "TRANSPORTER_WS_PORT=not-a-port\nTRANSPORTER_CP_URL=http://192.0.2.1:1\n");
      const version = await runTransporter(["--version"], { compiled: true, cwd: hostile });
      expect(version).toMatchObject({ exitCode: 0, stderr: "" });
      expect(version.stdout).toStartWith(`transporter ${packageJson.version}`);
      // It would name the address of the .env, had it read that.
      const agents = await runTransporter(["get", "agents", "--cp-url", "http://127.0.0.1:1"], { compiled: true, cwd: hostile });
      const bare = await runTransporter(["get", "agents"], { compiled: true, cwd: hostile });
      expect(agents.exitCode).not.toBe(0);
      expect(agents.stderr + bare.stderr + bare.stdout).not.toMatch(/192\.0\.2\.1|PRELOADED/);
    } finally {
      await rm(hostile, { recursive: true, force: true });
    }
  });
});
