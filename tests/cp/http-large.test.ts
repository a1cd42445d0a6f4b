import { expect, test } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { type EventDetail, LIMITS } from "../../src/protocol/mod.ts";
import { type EncodedPayload, type NewEvent, openStore, type Store } from "../../src/stores/mod.ts";
import { anEvent, problem, startCp, type TestControlPlane } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";

/** Some MiB of manifests that do not compress to nothing. */
function manyManifests(count: number, mark = ""): string[] {
  return Array.from({ length: count }, (_value, at) => {
    const noise = Buffer.from(crypto.getRandomValues(new Uint8Array(48 * 1024))).toString("base64");
    return `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: big-${at}${mark}\ndata:\n  noise: ${noise}\n  text: "${"ü€".repeat(4_000)}"\n`;
  });
}

interface SpiedStore {
  readonly store: Store;
  readonly saved: EncodedPayload[];
  readonly created: NewEvent[];
}

async function spiedStore(parts: (inner: Store) => Partial<Store> = () => ({})): Promise<SpiedStore> {
  const inner = await openStore("memory:", { ports: systemPorts, log: silentLogger });
  const saved: EncodedPayload[] = [];
  const created: NewEvent[] = [];
  const store: Store = {
    ...inner,
    savePayload(payload) {
      saved.push(payload);
      return inner.savePayload(payload);
    },
    createEvent(input) {
      created.push(input);
      return inner.createEvent(input);
    },
    ...parts(inner),
  };
  return { store, saved, created };
}

const detail = (cp: TestControlPlane, id: string, query = ""): Promise<EventDetail> => cp.json<EventDetail>(`/v1/events/${id}${query}`);

test("a large payload is kept apart, encoded, and comes back as it was", async () => {
  const { store, saved, created } = await spiedStore();
  await using cp = await startCp({ store });
  const manifests = manyManifests(40);
  const event = anEvent({ target_agent: "absent", payload: { manifests } });
  expect((await cp.post("/events", event)).status).toBe(202);
  expect(created[0]?.payloadText).toBeUndefined();
  expect(saved).toHaveLength(1);
  expect(saved[0]?.encoded.byteLength).toBeGreaterThan(LIMITS.payloadPieceBytes * 8);
  expect(saved[0]?.encodedHash).toBe(Bun.hash(saved[0]?.encoded ?? "").toString(16));
  const { payload, payload_bytes, payload_sha256 } = await detail(cp, event.id, "?payload=true");
  expect(payload).toEqual({ manifests });
  expect(payload_bytes).toBe(Buffer.byteLength(JSON.stringify({ manifests })));
  expect(payload_sha256).toBe(Bun.SHA256.hash(JSON.stringify({ manifests }), "hex"));
  expect((await detail(cp, event.id)).payload).toBeUndefined();
  // Told from its digest: nothing is written for a repetition, and nothing for what is refused.
  const again = await cp.post("/events", event);
  expect([again.status, again.headers.get("idempotency-replayed")]).toEqual([202, "true"]);
  expect((await problem(await cp.post("/events", { ...event, priority: 1 }), 409)).code).toBe("EVENT_CONFLICT");
  expect(saved).toHaveLength(1);
});

test("whoever stops reading a large payload holds up nobody, and what is gone is said", async () => {
  const inner = await openStore("memory:", { ports: systemPorts, log: silentLogger });
  let gone = false;
  let asked = 0;
  const store: Store = {
    ...inner,
    payloadPiece(digest, offset) {
      asked += 1;
      return gone ? Promise.resolve(undefined) : inner.payloadPiece(digest, offset);
    },
  };
  await using cp = await startCp({ store });
  const event = anEvent({ target_agent: "absent", payload: { manifests: manyManifests(200) } });
  expect((await cp.post("/events", event)).status).toBe(202);
  const stop = new AbortController();
  const response = await fetch(`${cp.url}/v1/events/${event.id}?payload=true`, { signal: stop.signal });
  const reader = response.body?.getReader();
  await reader?.read();
  stop.abort();
  const whole = await detail(cp, event.id, "?payload=true");
  expect(whole.payload?.["manifests"]).toHaveLength(200);
  const before = asked;
  await detail(cp, event.id);
  expect(asked).toBe(before);
  gone = true;
  expect((await problem(await cp.get(`/v1/events/${event.id}?payload=true`), 422)).code).toBe("PAYLOAD_LOST");
}, 30_000);

test("a payload that breaks off in the middle cuts the answer short instead of ending it well", async () => {
  const inner = await openStore("memory:", { ports: systemPorts, log: silentLogger });
  const store: Store = {
    ...inner,
    payloadPiece: (digest, offset) => (offset > LIMITS.payloadPieceBytes ? Promise.resolve(undefined) : inner.payloadPiece(digest, offset)),
  };
  await using cp = await startCp({ store });
  const event = anEvent({ target_agent: "absent", payload: { manifests: manyManifests(40) } });
  await cp.post("/events", event);
  const text = await cp
    .get(`/v1/events/${event.id}?payload=true`)
    .then((response) => response.text())
    .catch(() => "cut");
  expect(() => JSON.parse(text)).toThrow();
  expect((await cp.get("/livez")).status).toBe(200);
});

test("a payload that was swept away before its event came is written once more", async () => {
  let swept = 0;
  const { store, saved } = await spiedStore((inner) => ({
    createEvent(input) {
      swept += 1;
      return swept === 1 ? Promise.resolve({ kind: "conflict" }) : inner.createEvent(input);
    },
  }));
  await using cp = await startCp({ store });
  const event = anEvent({ target_agent: "absent", payload: { manifests: manyManifests(10) } });
  expect((await cp.post("/events", event)).status).toBe(202);
  expect(saved).toHaveLength(2);
  expect((await detail(cp, event.id, "?payload=true")).payload).toEqual(event["payload"] as EventDetail["payload"]);
});

test("large bodies are bounded together, and a large one that is refused leaves nothing behind", async () => {
  const { store, saved } = await spiedStore();
  await using cp = await startCp({ store, maxEventBytes: 1024 * 1024 });
  const bad = { ...anEvent({ payload: { manifests: manyManifests(8) } }), type: "nonsense" };
  expect((await problem(await cp.post("/events", bad), 400)).code).toBe("UNKNOWN_EVENT_TYPE");
  expect((await problem(await cp.post("/events", `{"id":"x",${" ".repeat(600_000)}`), 400)).code).toBe("INVALID_JSON");
  expect(saved).toHaveLength(0);
  // Eight of the largest size may be on their way at once; twelve are more than that.
  const bodies = Array.from({ length: 12 }, (_value, at) =>
    JSON.stringify(anEvent({ payload: { manifests: manyManifests(10, `-${at}`) } })),
  );
  expect(bodies[0]?.length).toBeGreaterThan(700_000);
  const statuses = await Promise.all(bodies.map(async (body) => (await cp.post("/events", body)).status));
  expect(statuses.filter((status) => status !== 202 && status !== 429)).toEqual([]);
  expect(statuses.filter((status) => status === 202).length).toBeGreaterThanOrEqual(8);
  // What was turned away is taken when it comes again.
  for (const body of bodies) await eventually(async () => (await cp.post("/events", body)).status === 202);
}, 30_000);
