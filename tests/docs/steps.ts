import { startProcess } from "../support/process.ts";
import { codeBlocks, readText, ROOT } from "./markdown.ts";

/** A shell block, and what the page says it prints. */
export interface Step {
  readonly line: number;
  readonly script: string;
  readonly expected: readonly string[];
}

/** The `sh` blocks of a page, each with the `text` block that comes after it before the next. */
export function stepsOf(markdown: string): Step[] {
  const steps: { line: number; script: string; expected: string[] }[] = [];
  for (const block of codeBlocks(markdown)) {
    if (block.language === "sh") steps.push({ line: block.line, script: block.text, expected: [] });
    else if (block.language === "text") steps.at(-1)?.expected.push(...block.text.trimEnd().split("\n"));
  }
  return steps;
}

function pattern(line: string): RegExp {
  const parts = line.split("…").map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`);
}

/** The first line that is not printed, in order, each as a whole; undefined when all are. */
export function missingLine(expected: readonly string[], output: string): string | undefined {
  const lines = output.split("\n");
  let from = 0;
  for (const line of expected) {
    const at = lines.findIndex((printed, index) => index >= from && pattern(line).test(printed));
    if (at < 0) return line;
    from = at + 1;
  }
  return undefined;
}

export interface StepsPlace {
  readonly home: string;
  readonly env: Readonly<Record<string, string>>;
  /** In the repository unless somewhere else is named. */
  readonly cwd?: string;
  /** Changes the page before it is read: a port that it names may be taken here. */
  readonly adapt?: (page: string) => string;
}

/**
 * Runs a page's shell blocks in one bash, as somebody would who pastes one after the other, and fails with the first that does not do what the
 * page says. Answers how many there were.
 */
export async function followPage(page: string, { home, env, cwd = ROOT, adapt = (text) => text }: StepsPlace): Promise<number> {
  const steps = stepsOf(adapt(await readText(page)));
  const marker = `--- step ${crypto.randomUUID()} `;
  const script = steps.map((step, index) => `echo "${marker}${index}"\n${step.script}`).join("\n");
  await using bash = await startProcess(["bash", "-euo", "pipefail", "-c", `exec 2>&1\n${script}`], { home, cwd, env });
  const exitCode = await bash.exited;
  const outputs = bash
    .stdout()
    .split(marker)
    .slice(1)
    .map((text) => text.slice(text.indexOf("\n") + 1));
  for (const [index, step] of steps.entries()) {
    const output = outputs[index];
    const isLast = index === outputs.length - 1;
    if (output === undefined || (isLast && exitCode !== 0))
      throw new Error(`${page}:${step.line}: the block ended with ${exitCode}\n${step.script}\n${output ?? outputs.at(-1) ?? ""}`);
    const missing = missingLine(step.expected, output);
    if (missing !== undefined) throw new Error(`${page}:${step.line}: it does not print\n  ${missing}\nbut\n${output}`);
  }
  return steps.length;
}

/** The text below a heading, up to the next one that is not below it. */
export function sectionOf(markdown: string, heading: string): string {
  const lines = markdown.split("\n");
  const from = lines.indexOf(heading);
  if (from < 0) throw new Error(`there is no heading ${heading}`);
  const level = /^#+/.exec(heading)?.[0].length ?? 1;
  let inside = false;
  const to = lines.findIndex((line, index) => {
    if (line.startsWith("```")) inside = !inside;
    return index > from && !inside && (/^(#+) /.exec(line)?.[1]?.length ?? level + 1) <= level;
  });
  return lines.slice(from + 1, to < 0 ? undefined : to).join("\n");
}

/** Runs a shell block and answers what it printed; fails unless it ends well and prints what the page says. */
export async function runStep(
  { script, expected }: Step,
  { home, env, cwd = home }: { readonly home: string; readonly env: Readonly<Record<string, string>>; readonly cwd?: string },
): Promise<string> {
  await using bash = await startProcess(["bash", "-euo", "pipefail", "-c", `exec 2>&1\n${script}`], { home, cwd, env });
  const exitCode = await bash.exited;
  const output = bash.stdout();
  const missing = missingLine(expected, output);
  if (exitCode === 0 && missing === undefined) return output;
  throw new Error(
    `the block ended with ${exitCode}${missing === undefined ? "" : ` and does not print\n  ${missing}`}\n${script}\n${output}`,
  );
}
