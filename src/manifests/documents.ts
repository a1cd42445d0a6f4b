import { TransporterError } from "../kit/mod.ts";
import { type BuildLimits, buildValue, type Offsets } from "./build.ts";
import { JsonReader } from "./json-reader.ts";
import { type FaultAt, faultsOf, LinedText, type Place } from "./place.ts";
import { NotEveryday, parseYamlNodes } from "./yaml-nodes.ts";

/** One document that is not empty, as a value. */
export interface ManifestDocument {
  readonly value: unknown;
  readonly place: Place;
  /** The line at which an object of the document begins; objects deep inside have the document's own. */
  readonly lineOf: (value: unknown) => number;
}

const NOT_YAML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u0084\u0086-\u009f\ufffe\uffff]/;
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

function charName(char: string): string {
  return `U+${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

const SEPARATOR = /(?:^|\n)---([^\n]*)/g;

/** Cuts YAML at its separator lines as kubectl does: by text, before anything is parsed. `start` and `end` are offsets. */
function* yamlPieces(text: string, from: number, fault: FaultAt): Generator<{ readonly start: number; readonly end: number }> {
  let start = from;
  for (const match of text.slice(from).matchAll(SEPARATOR)) {
    const at = from + match.index + (match[0].startsWith("\n") ? 1 : 0);
    yield { start, end: at };
    const rest = (match[1] ?? "").trim();
    if (rest !== "" && !rest.startsWith("#"))
      throw fault(at + 3, "only a comment may follow --- on its line", "Move the content to the next line.");
    start = from + match.index + match[0].length;
  }
  yield { start, end: text.length };
}

class ManifestReader {
  readonly #source: LinedText;
  readonly #manifest: number;
  readonly #limits: BuildLimits;
  readonly documents: ManifestDocument[] = [];

  constructor(text: string, manifest: number, limits: BuildLimits) {
    const clean = text.startsWith("\ufeff") ? text.slice(1) : text;
    this.#source = new LinedText(clean.includes("\r\n") ? clean.replaceAll("\r\n", "\n") : clean);
    this.#manifest = manifest;
    this.#limits = limits;
  }

  read(): void {
    const { text } = this.#source;
    if (!text.isWellFormed())
      throw this.#faults(0)(Math.max(0, text.search(LONE_SURROGATE)), "half of a surrogate pair, which no UTF-8 text can hold");
    if (/^[ \t\r\n]*\{/.test(text)) this.#readJson();
    else this.#readYaml(0);
  }

  #faults(base: number): FaultAt {
    return faultsOf(this.#source, { manifest: this.#manifest, document: this.documents.length + 1 }, base);
  }

  #add(value: unknown, base: number, start: number, offsets: Offsets): void {
    if (value === null) return;
    const first = this.#source.at(start).line;
    this.documents.push({
      value,
      place: { manifest: this.#manifest, document: this.documents.length + 1 },
      lineOf: (part) => {
        const offset = typeof part === "object" && part !== null ? offsets.get(part) : undefined;
        return offset === undefined ? first : this.#source.at(base + offset).line;
      },
    });
  }

  /** JSON values one after the other. Like kubectl, what stops being JSON after the first at most is tried as YAML from there. */
  #readJson(): void {
    const { text } = this.#source;
    const offsets: Offsets = new Map();
    const reader = new JsonReader(text, (...fault) => this.#faults(0)(...fault), this.#limits.depth, offsets);
    let consumed = 0;
    try {
      while (!reader.atEnd()) {
        const start = reader.offset;
        this.#add(reader.value(), 0, start, offsets);
        consumed = reader.offset;
      }
    } catch (jsonFault) {
      if (!reader.brokenSyntax || this.documents.length > 1) throw jsonFault;
      const before = this.documents.length;
      try {
        this.#readYaml(consumed);
      } catch (yamlFault) {
        if (yamlFault instanceof NotEveryday) throw yamlFault;
        throw this.documents.length === before ? furtherOf(jsonFault, yamlFault) : yamlFault;
      }
    }
  }

  #readYaml(from: number): void {
    const { text } = this.#source;
    const control = text.slice(from).search(NOT_YAML);
    if (control !== -1) throw this.#faults(from)(control, `the control character ${charName(text.charAt(from + control))} is not allowed`);
    for (const { start, end } of yamlPieces(text, from, (...fault) => this.#faults(0)(...fault))) {
      const piece = text.slice(start, end);
      const fault = this.#faults(start);
      // Like kubectl, which ends every line: a block at the end of the file keeps its line break.
      const root = parseYamlNodes(piece.endsWith("\n") ? piece : `${piece}\n`, fault, this.#limits);
      if (root === undefined) continue;
      const offsets: Offsets = new Map();
      this.#add(buildValue(root, fault, this.#limits, offsets), start, start + root.at, offsets);
    }
  }
}

function positionOf(error: unknown): number {
  if (!(error instanceof TransporterError)) return -1;
  return Number(error.details["line"]) * 1e6 + Number(error.details["column"]);
}

/** Of two faults in the same text, the one that was found later in it: that reading understood more. */
function furtherOf(a: unknown, b: unknown): unknown {
  return positionOf(b) > positionOf(a) ? b : a;
}

/** The documents of one manifest, empty ones left out. Throws INVALID_MANIFEST. */
export function readDocuments(text: string, manifest: number, limits: BuildLimits): ManifestDocument[] {
  const reader = new ManifestReader(text, manifest, limits);
  reader.read();
  return reader.documents;
}
