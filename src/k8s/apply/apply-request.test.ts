import { describe, expect, test } from "bun:test";
import { provesNoChange } from "./apply-request.ts";

const OWN = { manager: "transporter", operation: "Apply", apiVersion: "v1", time: "2026-05-01T10:00:00Z" };

function proves(answeredAt: string | undefined, tookMs: number): boolean {
  const headers = new Headers(answeredAt === undefined ? {} : { date: new Date(answeredAt).toUTCString() });
  return provesNoChange({ status: 200, headers, text: "" }, [OWN], "transporter", tookMs);
}

describe("an answer to an apply", () => {
  test("proves that nothing was changed where our entry was stamped well before it was asked for", () => {
    expect(proves("2026-05-01T10:05:00Z", 20)).toBe(true);
    expect(proves("2026-05-01T10:00:02Z", 0)).toBe(true);
  });

  test("proves nothing where the stamp may be its own: a webhook can take its time after it", () => {
    expect(proves("2026-05-01T10:00:01Z", 20)).toBe(false);
    expect(proves("2026-05-01T10:00:08Z", 8_000)).toBe(false);
    expect(proves("2026-05-01T10:00:11Z", 8_000)).toBe(true);
    expect(proves(undefined, 20)).toBe(false);
  });
});
