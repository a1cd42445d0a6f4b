import { describe, expect, test } from "bun:test";
import { age } from "./age.ts";
import { goDuration } from "./go-duration.ts";
import { toYaml } from "./output.ts";
import { renderTable } from "./table.ts";
import { clip, escapeUnsafe, safeLine, safeText } from "./text.ts";

const HOSTILE = "a\u001b[2Jb\u009b31mc\u202ed\u0007e\rf";

describe("text from strangers", () => {
  test("cannot move the cursor, repaint or turn around", () => {
    expect(safeText(HOSTILE)).toBe("a\\x1b[2Jb\\x9b31mc\\u202ed\\x07e\\x0df");
    expect(safeText("one\r\ntwo\tthree")).toBe("one\ntwo\tthree");
    expect(safeLine("one\n  two\tthree\n")).toBe("one two three");
  });
  test("is data still: JSON and YAML read back as what it was", async () => {
    const json = escapeUnsafe(JSON.stringify({ id: HOSTILE }, null, 2));
    const yaml = await toYaml({ id: HOSTILE, [HOSTILE]: "lines\nof\ntext", plain: "no", number: "0644" });
    for (const shown of [json, yaml]) expect(safeText(shown)).toBe(shown);
    expect(JSON.parse(json)).toEqual({ id: HOSTILE });
    const { parse } = await import("yaml");
    expect(parse(yaml)).toEqual({ id: HOSTILE, [HOSTILE]: "lines\nof\ntext", plain: "no", number: "0644" });
  });
  test("is cut to the columns it takes, not to its letters", () => {
    expect(clip("日本語テキスト", 7)).toBe("日本語…");
    expect(clip("short", 5)).toBe("short");
    expect(clip("longer", 5)).toBe("long…");
  });
});

test("tables line up, whatever the width of the letters, and show a dash for nothing", () => {
  const columns = [
    { head: "ID", cell: (row: string[]) => row[0] ?? "" },
    { head: "WIDE", cell: (row: string[]) => row[1] ?? "", wide: true as const },
    { head: "TEXT", cell: (row: string[]) => row[2] ?? "" },
  ];
  const rows = [
    ["日本", "x", "one"],
    ["a", "", "two\nlines"],
  ];
  expect(renderTable(rows, columns, { wide: false, headers: true })).toBe("ID     TEXT\n日本   one\na      two lines\n");
  expect(renderTable(rows, columns, { wide: true, headers: false })).toBe("日本   x   one\na      -   two lines\n");
  expect(renderTable([["a", "", "a very long text"]], columns, { wide: false, headers: false, maxColumns: 10 })).toBe("a   a ver…\n");
});

test("ages read as kubectl's", () => {
  const now = Date.parse("2026-02-10T10:00:00Z");
  const ago = (ms: number): string => age(new Date(now - ms).toISOString(), now);
  expect([0, 59_000, 119_000, 120_000, 272_000, 3_600_000, 3 * 3_600_000, 47 * 3_600_000, 72 * 3_600_000].map(ago)).toEqual([
    "0s",
    "59s",
    "119s",
    "2m",
    "4m32s",
    "60m",
    "3h",
    "47h",
    "3d",
  ]);
  expect(age(undefined, now)).toBe("");
  expect(ago(-5000)).toBe("0s");
});

test("durations print as Go prints them", () => {
  expect([86_400_000, 5_400_000, 90_000, 1500, 30_000, 250].map(goDuration)).toEqual([
    "24h0m0s",
    "1h30m0s",
    "1m30s",
    "1.5s",
    "30s",
    "250ms",
  ]);
});
