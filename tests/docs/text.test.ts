import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { anchorOf, anchorsOf, codeBlocks, filesOf, prose, readText, ROOT, tableBelow, targetOf } from "./markdown.ts";

const PAGES = filesOf("**/*.md");
const SOURCES = [
  ...filesOf("{src,bin,scripts,sandbox,tests,examples,docs,.ci}/**/*.{ts,md,yaml,yml,json,jsonl,mod,sum}"),
  ...filesOf("*.{md,json,toml,lock}"),
  ...filesOf("{justfile,Dockerfile,.ci/run}"),
];

/** Files and folders of this repository that a page names in its text, as `src/…`. */
function pathsNamed(markdown: string): string[] {
  return [...prose(markdown).matchAll(/`((?:src|bin|scripts|sandbox|tests|docs|examples|helm|\.ci)\/[^`\s]*)`/g)].map(
    (match) => match[1] ?? "",
  );
}

function exists(path: string): boolean {
  if (!/[*{]/.test(path)) return existsSync(join(ROOT, path));
  return !new Bun.Glob(path).scanSync({ cwd: ROOT, dot: true, onlyFiles: false }).next().done;
}

/** Hosts from which this machine gets packages or through which it goes out: nobody else's business. */
async function ownHosts(): Promise<string[]> {
  const settings = ["npm_config_registry", "NPM_CONFIG_REGISTRY", "GOPROXY", "PIP_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
  const files = await Promise.all(
    [join(homedir(), ".npmrc"), join(homedir(), ".bunfig.toml")].map((path) =>
      Bun.file(path)
        .text()
        .catch(() => ""),
    ),
  );
  const texts = [...settings.map((name) => process.env[name] ?? ""), ...files];
  const hosts = texts.flatMap((text) => [...text.matchAll(/https?:\/\/(?:[^@/\s"',]*@)?([^:/\s"',]+)/g)].map((match) => match[1] ?? ""));
  return [...new Set(hosts)].filter((host) => host !== "localhost" && !host.startsWith("127."));
}

describe("every page", () => {
  test("has links that lead somewhere", async () => {
    const broken: string[] = [];
    let links = 0;
    for (const page of PAGES) {
      for (const [, link = ""] of prose(await readText(page)).matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g)) {
        const target = targetOf(page, link);
        if (target === undefined) continue;
        links += 1;
        if (!existsSync(join(ROOT, target.path))) broken.push(`${page}: ${link}`);
        else if (target.anchor !== undefined && !anchorsOf(await readText(target.path)).includes(target.anchor))
          broken.push(`${page}: ${link}`);
      }
    }
    expect(broken).toEqual([]);
    expect(links).toBeGreaterThan(20);
  });

  test("names files that exist", async () => {
    const absent: string[] = [];
    let named = 0;
    for (const page of PAGES) {
      for (const path of pathsNamed(await readText(page))) {
        named += 1;
        if (!exists(path)) absent.push(`${page}: ${path}`);
      }
    }
    expect(absent).toEqual([]);
    expect(named).toBeGreaterThan(40);
  });

  test("closes its code blocks", async () => {
    const faults: string[] = [];
    for (const page of PAGES) {
      try {
        codeBlocks(await readText(page));
      } catch (error) {
        faults.push(`${page}: ${String(error)}`);
      }
    }
    expect(faults).toEqual([]);
  });
});

describe("the table of tasks in CONTRIBUTING.md", () => {
  test("leads to files that exist", async () => {
    const rows = tableBelow(await readText("CONTRIBUTING.md"), "## Where to change what");
    expect(rows.length).toBeGreaterThan(10);
    const absent: string[] = [];
    for (const [task = "", files = ""] of rows) {
      const paths = [...files.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
      expect(paths.length, task).toBeGreaterThan(0);
      absent.push(...paths.filter((path) => !exists(path)));
    }
    expect(absent).toEqual([]);
  });
});

describe("no file", () => {
  test("names a place of one machine", async () => {
    const found: string[] = [];
    const own = [ROOT, `${homedir()}/`].filter((path) => path.length > 2);
    for (const path of SOURCES) {
      const text = await readText(path);
      for (const [index, line] of text.split("\n").entries()) {
        const general = /(?<![\w.~})-])\/(?:root|work|workspace|Users\/\w+|home\/(?!me\b)\w+)\//.test(line);
        if (general || own.some((place) => line.includes(place))) found.push(`${path}:${index + 1}: ${line.trim().slice(0, 120)}`);
      }
    }
    expect(found).toEqual([]);
    expect(SOURCES.length).toBeGreaterThan(100);
  });

  test("names a host that packages come from", async () => {
    const found: string[] = [];
    const hosts = await ownHosts();
    for (const path of SOURCES) {
      const text = await readText(path);
      for (const host of hosts) if (text.includes(host)) found.push(`${path} names a host of this machine's settings`);
      for (const [url, host = ""] of text.matchAll(/https?:\/\/(?:[^@/\s"'`]*@)?([A-Za-z0-9.-]+\.[a-z]{2,})/g))
        if (/(^|[.-])(registry|mirror|artifactory|nexus|goproxy)[.-]/.test(host) && !host.endsWith(".invalid"))
          found.push(`${path}: ${url}`);
    }
    expect(found).toEqual([]);
  });
});

describe("the readers of these tests", () => {
  test("see code blocks, tables and anchors", () => {
    const page = "# A `b` & c\n\n## T\n\n| x | y |\n| - | - |\n| 1 | `a/b` |\n| 2 \\| 3 | z |\n\n```sh\necho `src/none`\n```\n\n[l](#t)";
    expect(codeBlocks(page)).toEqual([{ language: "sh", text: "echo `src/none`\n", line: 10 }]);
    expect(tableBelow(page, "## T")).toEqual([
      ["1", "`a/b`"],
      ["2 \\| 3", "z"],
    ]);
    expect(anchorsOf(page)).toEqual(["a-b--c", "t"]);
    expect(anchorOf("Upgrade, and back")).toBe("upgrade-and-back");
    expect(pathsNamed(page)).toEqual([]);
    expect(() => codeBlocks("```sh\n")).toThrow("line 1");
    expect(targetOf("docs/adr/README.md", "../apply.md#rbac")).toEqual({ path: "docs/apply.md", anchor: "rbac" });
    expect(targetOf("a.md", "https://example.com")).toBeUndefined();
  });
});
