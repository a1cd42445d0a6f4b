/** The sections of CHANGELOG.md: `## 0.2.0 - 2026-11-22`, or `## Unreleased (0.2.0)` as long as it is not. */
export interface Section {
  readonly version: string;
  readonly released: boolean;
  /** Without the heading. */
  readonly text: string;
}

const HEADING = /^## (?:\[?(\d+\.\d+\.\d+(?:-[\w.]+)?)\]?(?: - \d{4}-\d{2}-\d{2})|Unreleased \((\d+\.\d+\.\d+(?:-[\w.]+)?)\))$/;

export function sectionsOf(changelog: string): Section[] {
  const sections: { version: string; released: boolean; lines: string[] }[] = [];
  for (const line of changelog.split("\n")) {
    if (!line.startsWith("## ")) {
      sections.at(-1)?.lines.push(line);
      continue;
    }
    const match = HEADING.exec(line);
    if (match === null) throw new Error(`CHANGELOG.md: ${JSON.stringify(line)} is neither "## X.Y.Z - DATE" nor "## Unreleased (X.Y.Z)"`);
    const [, released, coming] = match;
    sections.push({ version: released ?? coming ?? "", released: released !== undefined, lines: [] });
  }
  return sections.map(({ version, released, lines }) => ({ version, released, text: lines.join("\n").trim() }));
}

/** What the release's page says: the section of this version, with links that lead to the files as they were. */
export function notesOf(changelog: string, version: string, repository: string): string {
  const section = sectionsOf(changelog).find((one) => one.version === version);
  if (section === undefined) throw new Error(`CHANGELOG.md has no section of ${version}`);
  if (section.text === "") throw new Error(`CHANGELOG.md says nothing about ${version}`);
  const linked = section.text.replaceAll(/\]\((?![a-z]+:|#)([^)]+)\)/g, `](${repository}/blob/v${version}/$1)`);
  return `${linked}\n`;
}
