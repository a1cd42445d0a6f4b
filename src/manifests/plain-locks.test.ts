import { expect, test } from "bun:test";
import fc from "fast-check";
import { type LockSet, lockSet } from "./locks.ts";
import { parseManifests } from "./parse.ts";
import { plainLockSet } from "./plain-locks.ts";

function sorted({ writes, reads }: LockSet): readonly string[][] {
  return [[...writes].toSorted(), [...reads].toSorted()];
}

/** What parsing says, or undefined where it refuses. */
function parsed(manifests: readonly string[]): LockSet | undefined {
  try {
    return lockSet(parseManifests(manifests));
  } catch {
    return undefined;
  }
}

const DEPLOYMENT = `# a comment
apiVersion: apps/v1
kind: Deployment
metadata:
  labels:
    app: web
    name: not-this
  name: web
  annotations:
    note: |
      name: nor-this
      kind: nothing
  namespace: shop
spec:
  template:
    metadata:
      name: nor-that
    spec:
      containers:
      - name: app
        args: ["--name", "x"]
---
apiVersion: v1
kind: ConfigMap
metadata:
    name: settings
data:
  text: >
    kind: Secret

    metadata:
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: reader
rules:
- apiGroups: [""]
  resources: ["pods"]
---
apiVersion: example.com/v1
kind: Widget
metadata:
  name: one
`;

test("what is written plainly has the locks that parsing finds", () => {
  const found = plainLockSet([DEPLOYMENT, "---\n\n# nothing\n---\n"]);
  if (found === undefined) throw new Error("it is as plain as can be");
  expect(sorted(found)).toEqual(sorted(lockSet(parseManifests([DEPLOYMENT]))));
  expect(found.writes.size).toBe(4);
});

test.each([
  ["JSON", '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}'],
  ["a flow mapping", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"],
  ["a quoted name", 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: "a"\n'],
  ["a name that goes on", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n    b\n"],
  ["an alias", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels: &m\n    name: a\n  name: *m\n"],
  ["a merge", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  <<: *m\n  name: a\n"],
  ["a boolean for a name", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yes\n"],
  ["a number for a name", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: 1e3\n"],
  ["a name that stands twice", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: b\n"],
  ["a List", "apiVersion: v1\nkind: List\nmetadata:\n  name: a\nitems: []\n"],
  ["a CRD", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: widgets.example.com\n"],
  ["a tag", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: !!str a\n"],
  ["a key that is asked for", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  ? name\n  : a\n"],
  ["a tab", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\t\n"],
  ["content behind a separator", "--- # c\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"],
  ["no name", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  generateName: a\n"],
])("%s is left to parsing", (_what, manifest) => {
  expect(plainLockSet([manifest])).toBeUndefined();
});

const LINES = [
  "apiVersion: v1",
  "kind: ConfigMap",
  "kind: Namespace",
  "apiVersion: example.com/v1",
  "kind: Widget",
  "metadata:",
  "data:",
  "spec: {",
  "}",
  "items:",
  "- a",
  "- kind: Secret",
  "-",
  'text: "a',
  "b'",
  "text: 'a",
  'b"',
  "text: |",
  "text: >-",
  "# comment",
  "",
  "name: a",
  "name: b",
  "name: a b",
  "name: a-b.c",
  "name: no",
  "name: 12",
  "name:",
  "name: &x a",
  "name: *x",
  "name: |",
  "namespace: shop",
  "namespace:",
  "labels:",
  "labels: {name: c}",
  "? name",
  ": a",
  '"name": q',
  "a: b: c",
  "x",
  "---",
  "...",
  "<<: {name: z}",
  "%YAML 1.2",
];

test("for any lines in any order and depth: what parsing finds, or doubt, or manifests that do not parse", () => {
  const line = fc
    .record({ text: fc.constantFrom(...LINES), depth: fc.constantFrom(0, 0, 0, 2, 2, 2, 4) })
    .map(({ text, depth }) => " ".repeat(depth) + text);
  const head = fc.constantFrom(["apiVersion: v1", "kind: ConfigMap", "metadata:", "  name: a"], ["metadata:", "  name: a"], []);
  const tail = fc.constantFrom(["apiVersion: v1", "kind: Secret"], []);
  let sure = 0;
  fc.assert(
    fc.property(fc.array(fc.tuple(head, fc.array(line, { maxLength: 6 }), tail), { minLength: 1, maxLength: 2 }), (documents) => {
      const manifest = documents.map((parts) => parts.flat().join("\n")).join("\n---\n");
      const found = plainLockSet([manifest]);
      if (found === undefined) return;
      const truth = parsed([manifest]);
      if (truth === undefined) return;
      sure += 1;
      expect(sorted(found)).toEqual(sorted(truth));
    }),
    { numRuns: 8_000 },
  );
  expect(sure).toBeGreaterThan(50);
});
