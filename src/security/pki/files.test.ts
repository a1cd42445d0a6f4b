import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, readFile, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { codeOf } from "../parts-for-tests.ts";
import { findFiles, readIfThere } from "./trust-files.ts";
import { makeFile, replaceFile } from "./write-files.ts";

const MAX_BYTES = 64 * 1024 * 1024;
let root: string;
let count = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "transporter-files-"));
});
afterAll(() => rm(root, { recursive: true }));

async function directory(files: Readonly<Record<string, string>> = {}): Promise<string> {
  const path = join(root, `${(count += 1)}`);
  await mkdir(path);
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
  return path;
}

describe("a file that is read", () => {
  test("may not be there, nor the directory that it would be in", async () => {
    const path = await directory({ file: "text" });
    expect(await readIfThere(join(path, "file"))).toMatchObject({ text: "text" });
    for (const missing of ["other", "other/file", "file/below"]) expect(await readIfThere(join(path, missing))).toBeUndefined();
    expect(await codeOf(() => readIfThere(path))).toBe("FILE_UNREADABLE");
  });

  test("has 64 MiB at the most", async () => {
    const path = join(await directory({ file: "" }), "file");
    await truncate(path, MAX_BYTES + 1);
    expect(await codeOf(() => readIfThere(path))).toBe("FILE_UNREADABLE");
    await truncate(path, MAX_BYTES);
    expect((await readIfThere(path))?.text).toHaveLength(MAX_BYTES);
  });
});

describe("files of a directory", () => {
  test("are the server's own before those that a Secret has", async () => {
    const secret = { "tls.crt": "secret certificate", "tls.key": "secret key" };
    const own = { "server.crt": "own certificate", "server.key": "own key" };
    const both = await findFiles({ directory: await directory({ ...secret, ...own }) });
    expect([both.files.cert?.text, both.files.key?.text]).toEqual(["own certificate", "own key"]);
    const one = await findFiles({ directory: await directory(secret) });
    expect([one.files.cert?.text, one.files.key?.text]).toEqual(["secret certificate", "secret key"]);
  });

  test("are taken beside a CA that was named, but for the key of the CA", async () => {
    const [path, elsewhere] = [await directory({ "ca.crt": "1", "ca.key": "2", "crl.pem": "3" }), await directory({ "ca.crt": "4" })];
    const { files } = await findFiles({ directory: path, caFile: join(elsewhere, "ca.crt") });
    expect([files.ca?.text, files.caKey, files.crl?.text]).toEqual(["4", undefined, "3"]);
  });
});

describe("a file that is written", () => {
  test("is whole or not there, and leaves nothing beside it", async () => {
    const path = await directory({ file: "old" });
    expect(await makeFile(join(path, "file"), "new")).toBe(false);
    expect(await readFile(join(path, "file"), "utf8")).toBe("old");
    await replaceFile(join(path, "file"), "new");
    expect(await readFile(join(path, "file"), "utf8")).toBe("new");
    await mkdir(join(path, "taken"));
    expect(await codeOf(() => replaceFile(join(path, "taken"), "text"))).toBe("FILE_UNREADABLE");
    expect((await readdir(path)).toSorted()).toEqual(["file", "taken"]);
  });

  test("needs a directory", async () => {
    const path = join(await directory(), "missing", "file");
    for (const write of [makeFile, replaceFile]) expect(await codeOf(() => write(path, "text"))).toBe("FILE_UNREADABLE");
  });
});
