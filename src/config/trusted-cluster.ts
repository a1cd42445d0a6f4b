import type { Setting } from "./setting.ts";
import { didYouMean } from "./suggest.ts";

/** A Kubernetes cluster whose ServiceAccount tokens let agents enrol. */
export interface TrustedClusterConfig {
  readonly name: string;
  /** As the tokens say it in `iss`. */
  readonly issuer: string;
  /** http(s) address or file of its keys; the issuer is asked when absent. */
  readonly jwks?: string;
  readonly audience: string;
  /** `system:serviceaccount:NAMESPACE:NAME`, in which `*` stands for any characters. */
  readonly subjects: readonly string[];
  /** Pattern of the agent ids that such an account may have. */
  readonly agents: string;
  /** PEM file of the CA that signed the issuer's certificate. */
  readonly caFile?: string;
}

const KEYS = ["name", "issuer", "jwks", "audience", "subjects", "agents", "ca"] as const;
const REQUIRED = ["name", "issuer", "subjects", "agents"] as const;
const ALLOWED =
  "name=NAME;issuer=URL;subjects=NAMESPACE:ACCOUNT,…;agents=PATTERN, and jwks=URL|FILE, ca=FILE, audience=AUDIENCE where they are needed";

type Entry = Readonly<Record<string, string>>;

function entryOfText(text: string): Entry | string {
  const out: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const part of text.split(";")) {
    if (part.trim() === "") continue;
    const at = part.indexOf("=");
    const key = part.slice(0, Math.max(0, at)).trim();
    if (at < 1) return `${ALLOWED}; ${JSON.stringify(part.trim().slice(0, 40))} has no key`;
    if (out[key] !== undefined) return `${ALLOWED}; ${key} only once`;
    out[key] = part.slice(at + 1).trim();
  }
  return out;
}

function entryOfMap(map: object): Entry | string {
  const out: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [key, value] of Object.entries(map) as [string, unknown][]) {
    const texts: unknown[] = Array.isArray(value) ? value : [value];
    if (!texts.every((each) => typeof each === "string" || typeof each === "number")) return ALLOWED;
    out[key] = texts.map(String).join(",");
  }
  return out;
}

function subjectOf(text: string): string {
  return text.startsWith("system:serviceaccount:") ? text : `system:serviceaccount:${text}`;
}

function clusterOf(entry: Entry): TrustedClusterConfig | string {
  for (const key of Object.keys(entry))
    if (!KEYS.some((known) => known === key)) return `${ALLOWED}; there is no ${JSON.stringify(key.slice(0, 40))}.${didYouMean(key, KEYS)}`;
  for (const key of REQUIRED) if ((entry[key] ?? "") === "") return `${ALLOWED}; ${key} is missing`;
  const { name = "", issuer = "", jwks, audience = "transporter", subjects = "", agents = "", ca } = entry;
  const accounts = subjects
    .split(",")
    .map((each) => subjectOf(each.trim()))
    .filter((each) => each !== "system:serviceaccount:");
  if (accounts.length === 0 || !accounts.every((each) => /^system:serviceaccount:[^:]+:[^:]+$/.test(each)))
    return `${ALLOWED}; a subject is NAMESPACE:ACCOUNT`;
  return {
    name,
    issuer,
    audience,
    subjects: accounts,
    agents,
    ...(jwks === undefined || jwks === "" ? {} : { jwks }),
    ...(ca === undefined || ca === "" ? {} : { caFile: ca }),
  };
}

/** Reads what stands in one flag, one line of the variable, or one entry of the file. Text: what is wrong with it. */
export function readTrustedCluster(raw: unknown): TrustedClusterConfig | string {
  const entry =
    typeof raw === "string" ? entryOfText(raw) : typeof raw === "object" && raw !== null && !Array.isArray(raw) ? entryOfMap(raw) : ALLOWED;
  return typeof entry === "string" ? entry : clusterOf(entry);
}

/** One per flag, per line of the variable, per entry of the file's list. Commas belong to a cluster's subjects. */
export function trustedClusters(describe: string): Setting<readonly TrustedClusterConfig[]> {
  return {
    describe,
    kind: "list",
    default: [],
    defaultText: undefined,
    hint: "KEY=VALUE;…",
    read(raws) {
      const out: TrustedClusterConfig[] = [];
      for (const raw of raws.flat(1)) {
        const parts: unknown[] = typeof raw === "string" ? raw.split("\n").filter((line) => line.trim() !== "") : [raw];
        for (const part of parts) {
          const cluster = readTrustedCluster(part);
          if (typeof cluster === "string") return { ok: false, allowed: cluster };
          out.push(cluster);
        }
      }
      const names = out.map(({ name }) => name);
      const twice = names.find((name, index) => names.indexOf(name) !== index);
      return twice === undefined ? { ok: true, value: out } : { ok: false, allowed: `each name only once; ${twice} is there twice` };
    },
  };
}
