import { expect, test } from "bun:test";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { runCli, temporaryDirectory } from "../support/cli.ts";

test("contexts are kept by name, for their owner alone", async () => {
  await using home = await temporaryDirectory();
  const cli = (...args: string[]): ReturnType<typeof runCli> =>
    runCli(["context", ...args], { env: { HOME: home.path, XDG_CONFIG_HOME: join(home.path, "xdg") } });
  expect(await cli("list")).toMatchObject({ code: 0, out: "" });
  expect((await cli("add", "prod", "--cp-url", "https://cp.example.com/", "--ca-file", "ca.pem")).out).toBe(
    "context/prod added (current)\n",
  );
  expect((await cli("add", "dev", "--cp-url", "ws://localhost:8080/ws", "--use")).out).toBe("context/dev added (current)\n");
  expect((await cli("add", "dev", "--cp-url", "http://localhost:9090")).out).toBe("context/dev changed (current)\n");
  const file = join(home.path, "xdg/transporter/contexts.json");
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await cli("list")).out).toMatch(
    /^CURRENT +NAME +CP URL +LOGIN +CA FILE\n\* +dev +http:\/\/localhost:9090 +- +-\n- +prod +https:\/\/cp\.example\.com +- +\/.*ca\.pem\n$/,
  );
  expect((await cli("use", "prdo")).err).toContain("Did you mean prod?");
  expect((await cli("remove", "dev")).out).toBe("context/dev removed\n");
  expect(JSON.parse((await cli("list", "-o", "json")).out)).toMatchObject({ items: [{ name: "prod", current: false }] });
  for (const bad of ["../x", "", "a b", "-x", "__proto__"]) expect((await cli("add", "--cp-url", "http://x", "--", bad)).code).toBe(2);
  expect((await cli("use", "constructor")).code).toBe(2);
  expect((await cli("add", "x", "--cp-url", "nonsense")).code).toBe(2);
  expect((await cli("add", "x")).err).toContain("--cp-url is required");
  await Bun.write(file, "{broken");
  expect((await cli("list")).err).toContain("is not JSON");
  await Bun.write(file, '{"contexts": 5}');
  expect((await cli("list")).code).toBe(2);
});

test("without a home there is no place for them, and a command says so", async () => {
  expect((await runCli(["context", "add", "x", "--cp-url", "http://x"])).err).toContain("neither HOME nor XDG_CONFIG_HOME");
});
