import { TransporterError } from "../../kit/mod.ts";
import { LIMITS, NS_PER_MS, parseGoDuration, parseTimestampMs } from "../../protocol/mod.ts";

function invalid(message: string): TransporterError {
  return new TransporterError("INVALID_QUERY", message);
}

/** The query parameters of one request, read strictly: an unknown name is an error, because a filter that is silently ignored misleads. */
export class Query {
  readonly #params: URLSearchParams;

  constructor(url: string, allowed: readonly string[]) {
    this.#params = new URL(url).searchParams;
    for (const name of this.#params.keys()) {
      if (!allowed.includes(name))
        throw invalid(`unknown query parameter ${JSON.stringify(name).slice(0, 60)}; known here: ${allowed.join(", ") || "none"}`);
    }
  }

  text(name: string): string | undefined {
    const value = this.#params.get(name);
    return value === null || value === "" ? undefined : value;
  }

  flag(name: string): boolean {
    const value = this.#params.get(name);
    if (value === null) return false;
    if (value === "" || value === "true" || value === "1") return true;
    if (value === "false" || value === "0") return false;
    throw invalid(`${name} is true or false, not ${JSON.stringify(value.slice(0, 40))}`);
  }

  /** Comma-separated or repeated, each one of `choices`. */
  choices<const T extends string>(name: string, choices: readonly T[]): readonly T[] | undefined {
    const values = this.#params
      .getAll(name)
      .flatMap((value) => value.split(","))
      .filter((value) => value !== "");
    if (values.length === 0) return undefined;
    return values.map((value) => {
      const choice = choices.find((candidate) => candidate === value);
      if (choice === undefined) throw invalid(`${name} knows no ${JSON.stringify(value.slice(0, 40))}; it is one of ${choices.join(", ")}`);
      return choice;
    });
  }

  /** `label=key=value`, repeated; all must match. */
  labels(name: string): Readonly<Record<string, string>> | undefined {
    const values = this.#params.getAll(name).filter((value) => value !== "");
    if (values.length === 0) return undefined;
    const labels: Record<string, string> = {};
    for (const value of values) {
      const at = value.indexOf("=");
      const key = value.slice(0, at);
      if (at <= 0 || key === "__proto__") throw invalid(`${name} is written key=value, not ${JSON.stringify(value.slice(0, 60))}`);
      labels[key] = value.slice(at + 1);
    }
    return labels;
  }

  /** RFC 3339, or a Go duration that counts back from now. */
  timeMs(name: string, nowMs: number): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const ago = parseGoDuration(value);
    if (ago !== undefined && ago >= 0) return nowMs - ago / NS_PER_MS;
    const at = parseTimestampMs(value);
    if (at === undefined) throw invalid(`${name} is an RFC 3339 time or a duration such as 2h, not ${JSON.stringify(value.slice(0, 60))}`);
    return at;
  }

  limit(): number {
    const value = this.text("limit");
    if (value === undefined) return LIMITS.pageDefault;
    const limit = Number(value);
    if (!/^\d+$/.test(value) || limit < 1 || limit > LIMITS.pageMax)
      throw invalid(`limit is a whole number from 1 to ${LIMITS.pageMax}, not ${JSON.stringify(value.slice(0, 40))}`);
    return limit;
  }

  cursor(): string | undefined {
    return this.text("cursor");
  }
}
