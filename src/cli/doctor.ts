import { writeFile } from "node:fs/promises";
import { type Origin, OUTPUT_FORMATS, type Settings, choiceOr, describeOrigin, text, withoutSecrets } from "../config/mod.ts";
import { TransporterError, messageOf, toTransporterError } from "../kit/mod.ts";
import { REDACTED, isSecretName, redact, redactText } from "../redaction/mod.ts";
import { type ArchiveFile, tarGz, zip } from "./archive.ts";
import type { Call } from "./command.ts";
import { EXIT } from "./exit.ts";
import { wantsColor } from "./host.ts";
import { printData } from "./output.ts";
import { painter, safeLine } from "./text.ts";
import { versionView } from "./version-view.ts";

export const DOCTOR_SETTINGS = {
  output: choiceOr("table", OUTPUT_FORMATS, { short: "o", describe: "Form of the output", flagOnly: true }),
  bundle: text({
    describe: "Also pack a redacted report into this file (.tar.gz or .zip)",
    hint: "FILE",
    flagOnly: true,
    completes: "file",
    check: (path) => (/\.(tar\.gz|tgz|zip)$/i.test(path) ? undefined : "a file that ends in .tar.gz, .tgz or .zip"),
  }),
} as const;

export interface Finding {
  readonly status: "ok" | "warn" | "fail";
  readonly detail: string;
  /** What to do about it. */
  readonly remedy?: string | undefined;
}

export interface Check {
  readonly name: string;
  /** A throw counts as a failure with the error's own remedy. */
  readonly run: () => Promise<Finding | undefined>;
}

interface Result extends Finding {
  readonly check: string;
}

export const ok = (detail: string): Finding => ({ status: "ok", detail });
export const warn = (detail: string, remedy: string): Finding => ({ status: "warn", detail, remedy });
export const fail = (detail: string, remedy: string): Finding => ({ status: "fail", detail, remedy });

/** What an error comes to as a finding. */
export function findingOf(error: unknown): Finding {
  const known = toTransporterError(error);
  const detail = error instanceof TransporterError ? error.message : messageOf(error);
  return fail(`${detail} (${known.code})`, known.remedy);
}

type DoctorSettings = typeof DOCTOR_SETTINGS;
type AnyCall = Call<DoctorSettings> & {
  readonly origins: Readonly<Record<string, Origin>>;
  readonly values: Readonly<Record<string, unknown>>;
};

/** Runs the checks one after the other, shows each as it comes, and packs the bundle where one is wanted. 0 only if none failed. */
export async function examine(
  call: AnyCall,
  settings: Settings,
  checks: readonly Check[],
  more: () => Promise<ArchiveFile[]>,
): Promise<number> {
  const { host, values, signal } = call;
  const paint = painter(wantsColor(host.out, host.env));
  const asText = values.output === "table" || values.output === "wide" || values.output === "name";
  const width = Math.max(...checks.map((check) => check.name.length));
  const results: Result[] = [];
  for (const check of checks) {
    signal.throwIfAborted();
    let finding: Finding | undefined;
    try {
      finding = await check.run();
    } catch (error) {
      if (signal.aborted) throw error;
      finding = findingOf(error);
    }
    if (finding === undefined) continue;
    finding = {
      status: finding.status,
      detail: redactText(finding.detail),
      remedy: finding.remedy === undefined ? undefined : redactText(finding.remedy),
    };
    results.push({ check: check.name, ...finding });
    if (!asText) continue;
    const mark = { ok: paint("green", "ok  "), warn: paint("yellow", "warn"), fail: paint("red", "FAIL") }[finding.status];
    host.out.write(`${mark}  ${check.name.padEnd(width)}  ${safeLine(finding.detail)}\n`);
    if (finding.status !== "ok" && finding.remedy !== undefined)
      host.out.write(`      ${" ".repeat(width)}  ${safeLine(finding.remedy)}\n`);
  }
  if (values.output === "json" || values.output === "yaml") await printData(host.out, values.output, { items: results });
  const bundle = values.bundle;
  if (bundle !== undefined) await pack(call, settings, bundle, results, await more());
  return results.some((result) => result.status === "fail") ? EXIT.failed : EXIT.ok;
}

function json(value: unknown): string {
  return `${JSON.stringify(redact(value), null, 2)}\n`;
}

async function pack(
  call: AnyCall,
  settings: Settings,
  path: string,
  results: readonly Result[],
  more: readonly ArchiveFile[],
): Promise<void> {
  const nowMs = call.ports.clock.now();
  const files: ArchiveFile[] = [
    {
      name: "report.txt",
      content: results
        .map(
          (each) => `${each.status.padEnd(4)}  ${each.check}: ${each.detail}${each.remedy === undefined ? "" : `\n      ${each.remedy}`}\n`,
        )
        .join(""),
    },
    { name: "report.json", content: json({ at: new Date(nowMs).toISOString(), results }) },
    { name: "version.json", content: json(versionView()) },
    { name: "settings.json", content: json(settingsOf(call, settings)) },
    { name: "environment.json", content: json(environmentOf(call.host.env)) },
    ...more.map((file) => ({ name: file.name, content: redactBody(file.content) })),
  ];
  const packed = path.toLowerCase().endsWith(".zip") ? zip(files, nowMs) : tarGz(files, nowMs);
  try {
    await writeFile(path, packed, { mode: 0o600, flag: "wx" });
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `--bundle ${path}: ${messageOf(error)}`, {
      cause: error,
      remedy: "Name a file that does not exist yet, in a directory that can be written.",
    });
  }
  call.note(
    `Report packed into ${path}: ${files.map((file) => file.name).join(", ")}. Secrets are taken out; look through it before you pass it on.`,
  );
}

function settingsOf(call: AnyCall, settings: Settings): Record<string, { readonly value: unknown; readonly from: string }> {
  const out: Record<string, { readonly value: unknown; readonly from: string }> = {};
  for (const [name, setting] of Object.entries(settings)) {
    const value = call.values[name];
    const origin = call.origins[name];
    out[name] = {
      value:
        setting.secret === true && value !== undefined
          ? REDACTED
          : typeof value === "string" && setting.shown !== undefined
            ? setting.shown(value)
            : (value ?? null),
      from: origin === undefined ? "" : describeOrigin(origin),
    };
  }
  return out;
}

// Names that decide how the program behaves. Everything else in an environment is nobody's business.
const TELLING =
  /^(TRANSPORTER_\w+|(HTTPS?|ALL|NO)_PROXY|KUBECONFIG|KUBERNETES_SERVICE_(HOST|PORT)|XDG_\w+_HOME|NODE_TLS_REJECT_UNAUTHORIZED|NODE_EXTRA_CA_CERTS|BUN_\w+|TERM|LANG|TZ)$/i;

function environmentOf(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(env).toSorted(([a], [b]) => (a < b ? -1 : 1)))
    if (value !== undefined && TELLING.test(name)) out[name] = isSecretName(name) ? REDACTED : redactText(withoutSecrets(value));
  return out;
}

function redactBody(content: string): string {
  try {
    return `${JSON.stringify(redact(JSON.parse(content)), null, 2)}\n`;
  } catch {
    return redactText(content);
  }
}
