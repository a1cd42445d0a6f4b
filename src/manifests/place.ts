import { TransporterError } from "../kit/mod.ts";

/** A document of a manifest, as errors name it. */
export interface Place {
  /** The manifest's index in the event, from 0. */
  readonly manifest: number;
  /** The document's number in its manifest, from 1; empty documents do not count. */
  readonly document: number;
}

/** A text that finds the line of an offset quickly, however many lines and questions there are. */
export class LinedText {
  readonly text: string;
  #lineStarts: number[] | undefined;

  constructor(text: string) {
    this.text = text;
  }

  /** Line and column, both from 1. */
  at(offset: number): { readonly line: number; readonly column: number } {
    const starts = (this.#lineStarts ??= this.#findLines());
    let low = 0;
    let high = starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return { line: low + 1, column: offset - (starts[low] ?? 0) + 1 };
  }

  #findLines(): number[] {
    const starts = [0];
    for (let next = this.text.indexOf("\n"); next !== -1; next = this.text.indexOf("\n", next + 1)) starts.push(next + 1);
    return starts;
  }
}

/** Makes the error for an offset of the text that is being read. */
export type FaultAt = (offset: number, message: string, remedy?: string) => TransporterError;

/** INVALID_MANIFEST with manifest, document, line and column in message and details; offsets count from `base`. */
export function faultsOf(source: LinedText, place: Place, base: number): FaultAt {
  return (offset, message, remedy) => {
    const { line, column } = source.at(Math.min(base + offset, source.text.length));
    return new TransporterError("INVALID_MANIFEST", `${describePlace({ ...place, line })}, column ${column}: ${message}`, {
      details: { ...place, line, column },
      ...(remedy === undefined ? {} : { remedy }),
    });
  };
}

/** `manifests[0], document 2, line 14`. */
export function describePlace(place: Place & { readonly line: number }): string {
  return `manifests[${place.manifest}], document ${place.document}, line ${place.line}`;
}
