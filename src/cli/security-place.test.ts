import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seenSecurity } from "./security-place.ts";

let state: string;
beforeEach(async () => {
  state = await mkdtemp(join(tmpdir(), "transporter-place-"));
});
afterEach(() => rm(state, { recursive: true }));

const seen = (): boolean => seenSecurity({ places: { config: undefined, state, cache: undefined, homeFile: undefined } }).securityFound;

test("where nothing was made there is no security", async () => {
  expect(seen()).toBe(false);
  await mkdir(join(state, "security"));
  expect(seen()).toBe(false);
  await rm(join(state, "security"), { recursive: true });
  await writeFile(join(state, "security"), "no directory");
  expect(seen()).toBe(false);
  expect(seenSecurity({ places: { config: undefined, state: undefined, cache: undefined, homeFile: undefined } }).securityFound).toBe(
    false,
  );
});

test.each(["ca.crt", "ca.key", "server.key"])("%s says that there was to be one", async (name) => {
  await mkdir(join(state, "security"));
  await writeFile(join(state, "security", name), "x");
  expect(seen()).toBe(true);
});

test("what cannot be looked at is not taken for nothing", async () => {
  await mkdir(join(state, "security"));
  // As a directory that may not be entered, which keeps nobody out who is root.
  await symlink("ca.crt", join(state, "security", "ca.crt"));
  expect(seen()).toBe(true);
});
