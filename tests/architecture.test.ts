import { describe, expect, test } from "bun:test";
import { dirname, join, relative, resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "..");
const SRC = join(ROOT, "src");

/** Where a package may be imported; what is not named here may be used anywhere in src. */
const HOMES: Readonly<Record<string, readonly string[]>> = {
  "@kubernetes/client-node": ["k8s"],
  "@marcbachmann/cel-js": ["k8s"],
  ioredis: ["redis"],
  "@nats-io/transport-node": ["queues"],
  "@nats-io/nats-core": ["queues"],
  "@nats-io/jetstream": ["queues"],
  consola: ["kit"],
  citty: ["cli"],
  "prom-client": ["metrics"],
  jose: ["security"],
  "@peculiar/x509": ["security"],
  "reflect-metadata": ["security"],
  diff: ["manifests"],
  yaml: ["manifests", "config", "producer", "cli", "k8s"],
  "@valibot/to-json-schema": ["cp"],
};

interface Import {
  readonly from: string;
  readonly specifier: string;
}

async function importsOf(file: string): Promise<Import[]> {
  const text = await Bun.file(file).text();
  const found: Import[] = [];
  // Type-only imports and re-exports count as well, so the text is read instead of asking a transpiler, which drops them.
  for (const match of text.matchAll(
    /(?:^|[;\n}])\s*(?:import|export)\s[^;"'`]*?from\s*["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)|^import\s+["']([^"']+)["']/gm,
  )) {
    found.push({ from: file, specifier: match[1] ?? match[2] ?? match[3] ?? "" });
  }
  return found;
}

const files = [...new Bun.Glob("**/*.ts").scanSync(SRC)].map((file) => join(SRC, file));
const imports = (await Promise.all(files.map(importsOf))).flat();
const roomOf = (path: string): string => relative(SRC, path).split("/")[0] ?? "";

async function allowedByDocument(): Promise<Map<string, Set<string>>> {
  const document = await Bun.file(join(ROOT, "docs/architecture.md")).text();
  const table = new Map<string, Set<string>>();
  for (const match of document.matchAll(/^\| `(\w+)`\s*\| .*\| ([\w, ]+?)\s*\|$/gm)) {
    table.set(match[1] ?? "", new Set((match[2] ?? "").split(", ").filter((room) => room !== "nothing")));
  }
  return table;
}
const allowed = await allowedByDocument();

describe("the rooms of src", () => {
  test("are those that docs/architecture.md lists", () => {
    const rooms = new Set(files.map(roomOf));
    expect([...rooms].toSorted()).toEqual([...allowed.keys()].toSorted());
    for (const room of rooms) expect(files).toContain(join(SRC, room, "mod.ts"));
  });

  test("are drawn as the table says", async () => {
    const document = await Bun.file(join(ROOT, "docs/architecture.md")).text();
    const common = new Set(["kit", "protocol", "redaction"]);
    const drawn = [...document.matchAll(/^ {2}(\w+) --> (\w+(?: & \w+)*)$/gm)].map(
      ([, room = "", others = ""]) => `${room}: ${others.split(" & ").toSorted().join(" ")}`,
    );
    const listed = [...allowed]
      .map(([room, others]) => [room, [...others].filter((other) => !common.has(other)).toSorted()] as const)
      .filter(([, others]) => others.length > 0)
      .map(([room, others]) => `${room}: ${others.join(" ")}`);
    expect(drawn.toSorted()).toEqual(listed.toSorted());
  });

  test("import only what the table allows them", () => {
    const broken: string[] = [];
    for (const { from, specifier } of imports) {
      if (!specifier.startsWith(".")) continue;
      const target = resolve(dirname(from), specifier);
      const room = roomOf(from);
      if (!target.startsWith(SRC)) {
        if (relative(ROOT, target) !== "package.json") broken.push(`${relative(ROOT, from)} leaves src for ${specifier}`);
      } else if (roomOf(target) !== room && allowed.get(room)?.has(roomOf(target)) !== true) {
        broken.push(`${relative(ROOT, from)} must not import ${roomOf(target)}`);
      }
    }
    expect(broken).toEqual([]);
  });

  test("are entered by their mod.ts only", () => {
    const broken = imports
      .filter(({ from, specifier }) => specifier.startsWith(".") && roomOf(resolve(dirname(from), specifier)) !== roomOf(from))
      .filter(({ from, specifier }) => resolve(dirname(from), specifier).startsWith(SRC) && !specifier.endsWith("/mod.ts"))
      .map(({ from, specifier }) => `${relative(ROOT, from)} enters by ${specifier}`);
    expect(broken).toEqual([]);
  });

  test("keep each library in its home", () => {
    const broken = imports
      .filter(({ from, specifier }) => {
        const name = specifier.startsWith("@") ? specifier.split("/").slice(0, 2).join("/") : (specifier.split("/")[0] ?? "");
        return HOMES[name] !== undefined && !HOMES[name].includes(roomOf(from));
      })
      .map(({ from, specifier }) => `${relative(ROOT, from)} imports ${specifier}`);
    expect(broken).toEqual([]);
  });

  test("read by this test: it sees imports of every form", () => {
    expect(imports.length).toBeGreaterThan(files.length);
    expect(imports.some(({ specifier }) => specifier === "valibot")).toBe(true);
    expect(imports.some(({ from, specifier }) => from.endsWith("protocol/mod.ts") && specifier === "./event.ts")).toBe(true);
  });
});
