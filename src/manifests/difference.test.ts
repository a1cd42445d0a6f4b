import { describe, expect, test } from "bun:test";
import { cutDifference, differenceText } from "./difference.ts";
import { unifiedHunks } from "./unified.ts";

type Json = Readonly<Record<string, unknown>>;

const object = (kind: string, rest: Json, metadata: Json = {}): Json => ({
  apiVersion: "v1",
  kind,
  metadata: { name: "one", namespace: "shop", ...metadata },
  ...rest,
});

/** The lines that are gone, and those that are new. */
function changes(live: Json | undefined, merged: Json | undefined): string[] {
  return differenceText({ live, merged })
    .split("\n")
    .slice(2)
    .filter((line) => /^[+-]/.test(line));
}

describe("a difference", () => {
  test("names the object as kubectl names its file, and is empty where nothing changes", () => {
    const live = object("ConfigMap", { data: { a: "1" } }, { managedFields: [{ manager: "x" }] });
    expect(differenceText({ live, merged: { ...live, metadata: { ...(live["metadata"] as Json), managedFields: [] } } })).toBe("");
    const deployment = { ...object("Deployment", { spec: { replicas: 1 } }), apiVersion: "apps/v1" };
    expect(differenceText({ live: deployment, merged: { ...deployment, spec: { replicas: 2 } } })).toBe(
      "--- LIVE/apps.v1.Deployment.shop.one\n+++ MERGED/apps.v1.Deployment.shop.one\n@@ -4,4 +4,4 @@\n   name: one\n   namespace: shop\n spec:\n-  replicas: 1\n+  replicas: 2\n",
    );
    expect(differenceText({ live: undefined, merged: { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } } })).toBe(
      "--- LIVE/v1.Namespace..shop\n+++ MERGED/v1.Namespace..shop\n@@ -0,0 +1,4 @@\n+apiVersion: v1\n+kind: Namespace\n+metadata:\n+  name: shop\n",
    );
    expect(changes({ apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } }, undefined)).toHaveLength(4);
  });

  test("masks the data of Secrets as kubectl does, and the copy that client-side apply keeps of them", () => {
    const copy = (value: string): Json => ({
      annotations: { "kubectl.kubernetes.io/last-applied-configuration": `{"data":{"b":"${value}"}}`, other: "stays" },
    });
    const live = object("Secret", { data: { a: "c2FtZQ==", b: "b2xk", gone: "Z29uZQ==" } }, copy("b2xk"));
    const merged = object("Secret", { data: { a: "c2FtZQ==", b: "bmV3", made: "bWFkZQ==" } }, copy("bmV3"));
    expect(changes(live, merged)).toEqual([
      "-  b: '*** (before)'",
      "-  gone: '***'",
      "+  b: '*** (after)'",
      "+  made: '***'",
      "-    kubectl.kubernetes.io/last-applied-configuration: '*** (before)'",
      "+    kubectl.kubernetes.io/last-applied-configuration: '*** (after)'",
    ]);
    const text = differenceText({ live, merged });
    for (const value of ["c2FtZQ==", "b2xk", "bmV3", "Z29uZQ==", "bWFkZQ=="]) expect(text).not.toContain(value);
    expect(text).toContain("   a: '***'\n");
    // A kind of somebody else's that has the same name holds what it likes.
    const custom = (value: string): Json => ({ ...object("Secret", { data: { a: value } }), apiVersion: "example.com/v1" });
    expect(changes(custom("1"), custom("2"))).toEqual(['-  a: "1"', '+  a: "2"']);
  });

  test("hides what has the name of a secret elsewhere, and shows that it changes", () => {
    const config = (password: string): Json => object("ConfigMap", { data: { password, user: "shop" } });
    expect(changes(config("one-that-is-old"), config("one-that-is-new"))).toEqual([
      "-  password: '[redacted] (before)'",
      "+  password: '[redacted] (after)'",
    ]);
    const pod = (env: readonly Json[]): Json => object("Pod", { spec: { containers: [{ name: "main", env }] } });
    const before = pod([
      { name: "FIRST", value: "x" },
      { name: "DB_PASSWORD", value: "hush-hush" },
    ]);
    expect(changes(before, pod([{ name: "DB_PASSWORD", value: "hush-hush" }]))).toEqual(["-    - name: FIRST", "-      value: x"]);
    expect(
      changes(
        before,
        pod([
          { name: "FIRST", value: "x" },
          { name: "DB_PASSWORD", value: "another" },
        ]),
      ),
    ).toEqual(["-      value: '[redacted] (before)'", "+      value: '[redacted] (after)'"]);
    expect(
      changes(object("ConfigMap", { data: { automount: "a", secretName: "x" } }), object("ConfigMap", { data: { secretName: "y" } })),
    ).toEqual(["-  automount: a", "-  secretName: x", '+  secretName: "y"']);
  });

  test("is cut between two lines, and says how many are missing", () => {
    const text = differenceText({ live: undefined, merged: object("ConfigMap", { data: { text: "line\n".repeat(100) } }) });
    const cut = cutDifference(text, 300);
    expect(cut.length).toBeLessThanOrEqual(300);
    const shown = cut.split("\n").slice(0, -2);
    expect(text.startsWith(`${shown.join("\n")}\n`)).toBe(true);
    expect(cut).toEndWith(`\n\\ ${text.split("\n").length - 1 - shown.length} more lines are not shown: the report would get too large\n`);
    expect(cutDifference(text, text.length)).toBe(text);
    expect(cutDifference(text, 0)).toMatch(/^\\ \d+ more lines/);
  });
});

describe("hunks", () => {
  const lines = (count: number, change: (at: number) => string = (at) => `line ${at}`): string =>
    Array.from({ length: count }, (_one, at) => `${change(at)}\n`).join("");

  test("have three lines around each change, and are one where these touch", () => {
    const hunks = (...changed: readonly number[]): string[] =>
      unifiedHunks(
        lines(30),
        lines(30, (at) => (changed.includes(at) ? "other" : `line ${at}`)),
      )
        .split("\n")
        .filter((line) => line.startsWith("@@"));
    expect(hunks(10)).toEqual(["@@ -8,7 +8,7 @@"]);
    expect(hunks(10, 17)).toEqual(["@@ -8,14 +8,14 @@"]);
    expect(hunks(10, 18)).toEqual(["@@ -8,7 +8,7 @@", "@@ -16,7 +16,7 @@"]);
    expect(hunks(0)).toEqual(["@@ -1,4 +1,4 @@"]);
    expect(unifiedHunks("", "a\n")).toBe("@@ -0,0 +1 @@\n+a\n");
    expect(unifiedHunks("a\n", "")).toBe("@@ -1 +0,0 @@\n-a\n");
    expect(unifiedHunks("a\n", "a\n")).toBe("");
  });

  test("of texts that have nothing in common, and of many changes, are told in time", () => {
    const far = unifiedHunks(
      lines(40_000),
      lines(40_000, (at) => `text ${at}`),
    );
    expect(far.startsWith("@@ -1,40000 +1,40000 @@\n-line 0\n")).toBe(true);
    // Both sides have all lines of the other, in another order: the worst that there is.
    const shuffled = unifiedHunks(
      lines(20_000),
      lines(20_000, (at) => `line ${(at * 7_919) % 20_000}`),
    );
    expect(shuffled).toContain("line 19999");
  });
});
