import { BANDS, type Band } from "../../port.ts";

/** A message as a script hands it over. */
export interface StreamEntry {
  /** 1, 2 or 3, as the streams are given to the scripts. */
  readonly bandNumber: number;
  readonly streamId: string;
  readonly deliveries: number;
  readonly fields: ReadonlyMap<string, Buffer>;
  /** Of the body, where the script left it out. */
  readonly bytes: number;
}

/** `band:id`, by which the scripts name it. */
export function entryKey({ bandNumber, streamId }: Pick<StreamEntry, "bandNumber" | "streamId">): string {
  return `${bandNumber}:${streamId}`;
}

export function bandOfNumber(bandNumber: number): Band {
  return BANDS[bandNumber - 1] ?? "normal";
}

export function textField(fields: ReadonlyMap<string, Buffer>, name: string): string | undefined {
  const value = fields.get(name)?.toString();
  return value === undefined || value === "" ? undefined : value;
}

export function fieldsOf(flat: unknown): ReadonlyMap<string, Buffer> {
  const fields = new Map<string, Buffer>();
  if (!Array.isArray(flat)) return fields;
  for (let index = 0; index + 1 < flat.length; index += 2) {
    const value: unknown = flat[index + 1];
    fields.set(String(flat[index]), Buffer.isBuffer(value) ? value : Buffer.from(String(value)));
  }
  return fields;
}

/** What TAKE, CLAIM and LIST_DEAD answer. */
export function entriesOf(reply: unknown): StreamEntry[] {
  if (!Array.isArray(reply)) return [];
  return reply.map((row: unknown) => {
    const [band, streamId, deliveries, flat, bytes] = Array.isArray(row) ? (row as unknown[]) : [];
    return {
      bandNumber: Number(band),
      streamId: String(streamId),
      deliveries: Number(deliveries),
      fields: fieldsOf(flat),
      bytes: Number(bytes ?? 0),
    };
  });
}

/** What XREADGROUP answers for several streams. */
export function readEntries(reply: unknown, streams: readonly string[]): StreamEntry[] {
  if (!Array.isArray(reply)) return [];
  return reply.flatMap((part: unknown) => {
    const [key, rows] = Array.isArray(part) ? (part as unknown[]) : [];
    const bandNumber = streams.indexOf(String(key)) + 1;
    if (!Array.isArray(rows)) return [];
    return rows.map((row: unknown) => {
      const [streamId, flat] = Array.isArray(row) ? (row as unknown[]) : [];
      return { bandNumber, streamId: String(streamId), deliveries: 1, fields: fieldsOf(flat), bytes: 0 };
    });
  });
}
