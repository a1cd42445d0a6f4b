import { expect } from "bun:test";
import type { RedisServer } from "../support/redis.ts";

/** A delivery as `delivery.lua` packs it. */
interface Packed {
  readonly od: number;
  readonly no?: number;
  readonly rv: number;
  readonly st: number;
  readonly la?: number;
  readonly du: number;
  readonly nb?: number;
  readonly fa?: number;
  readonly of?: number;
  readonly ag: string;
  readonly pr: number;
}

interface HeldDocument {
  readonly key: string;
  readonly v: string;
  readonly s: string;
  readonly x: string;
}

interface Held {
  readonly documents: readonly HeldDocument[];
  readonly events: readonly {
    readonly key: string;
    readonly d: Packed;
    readonly t?: string;
    readonly a?: string;
    readonly log: readonly number[];
  }[];
  readonly sorted: Readonly<Record<string, readonly string[]>>;
  readonly open: Readonly<Record<"oq" | "of", readonly string[]>>;
  readonly log: readonly number[];
  readonly shared: Readonly<Record<string, string>>;
  readonly apart: Readonly<Record<string, string>>;
}

// Everything of an installation, read in one step.
const READ = `
local P = KEYS[1] .. ":"
local out = { documents = {}, events = {}, sorted = {}, open = {}, log = {}, shared = {}, apart = {} }
for _, key in ipairs(redis.call("KEYS", P .. "*")) do
  local name = string.sub(key, #P + 1)
  local kind = redis.call("TYPE", key).ok
  if string.sub(name, 1, 2) == "e:" then
    local d = cmsgpack.unpack(redis.call("HGET", key, "d"))
    local log, seq = {}, d.la or 0
    while seq > 0 do
      local entry = redis.call("XRANGE", P .. "log", seq, seq)[1]
      log[#log + 1] = entry and seq or -seq
      seq = entry and tonumber(string.match(entry[2][2], "^%d+ (%d+)")) or 0
    end
    local lies = redis.call("HMGET", key, "t", "a")
    out.events[#out.events + 1] = { key = string.sub(name, 3), d = d, t = lies[1] or nil, a = lies[2] or nil, log = log }
  elseif string.sub(name, 1, 2) == "d:" then
    local all = redis.call("HMGET", key, "v", "s", "x")
    out.documents[#out.documents + 1] = { key = string.sub(name, 3), v = all[1], s = all[2], x = all[3] }
  elseif kind == "zset" and name ~= "as" then
    out.sorted[name] = redis.call("ZRANGE", key, 0, -1, "WITHSCORES")
  elseif name == "oq" or name == "of" then
    out.open[name] = redis.call("HGETALL", key)
  elseif name == "log" then
    for _, entry in ipairs(redis.call("XRANGE", key, "-", "+")) do out.log[#out.log + 1] = tonumber(string.match(entry[1], "^%d+")) end
  elseif string.sub(name, 1, 2) == "t:" then
    out.shared[string.sub(name, 3)] = redis.call("HGET", key, "n")
  elseif string.sub(name, 1, 2) == "x:" then
    out.apart[string.sub(name, 3)] = redis.call("HGET", key, "refs") or "0"
  end
end
return cjson.encode(out)`;

const WAITING = [1, 2];
const HANDED = [3, 4];
const COMPLETED = 5;

/** What a key begins with: the tenant's length in bytes, and the tenant. */
function tenantOf(key: string): string {
  const colon = key.indexOf(":");
  return Buffer.from(key)
    .subarray(0, colon + 1 + Number(key.slice(0, colon)) + 1)
    .toString();
}

/** Recomputes every index, counter and chain from the events themselves, and holds what Redis has to it. */
export async function expectIndexesRight(server: RedisServer, prefix: string): Promise<{ readonly events: number }> {
  const held = JSON.parse(await server.cli("EVAL", READ, "1", `{${prefix}}`)) as Held;
  const sorted: string[] = [];
  const add = (name: string, member: string, score: number): void => {
    sorted.push(`${name} | ${member} | ${score}`);
  };
  const open = { oq: new Map<string, number>(), of: new Map<string, number>() };
  const shared = new Map<string, number>();
  const apart = new Map<string, number>();
  const events = list(held.events);
  for (const { key, d, t, a } of events) {
    const member = `${String(d.od).padStart(16, "0")}${d.rv}:${key}`;
    const agent = tenantOf(key) + d.ag;
    const no = d.no ?? d.od;
    add("evs", key, no);
    if (WAITING.includes(d.st) || HANDED.includes(d.st)) {
      add("evo", key, no);
      add("due", member, d.du);
      const side = open[HANDED.includes(d.st) ? "of" : "oq"];
      side.set(d.ag, (side.get(d.ag) ?? 0) + 1);
      if (HANDED.includes(d.st)) add(`h:${agent}`, member, -d.pr);
      else if (d.nb !== undefined) add(`y:${agent}`, member, d.nb);
      else {
        add(`w:${agent}`, member, -d.pr);
        add(`v:${agent}`, member, d.od);
      }
    } else {
      add("fin", member, Math.max(d.fa ?? 0, d.of ?? 0));
      if (d.st !== COMPLETED) add("evu", key, no);
    }
    if (t !== undefined) shared.set(t, (shared.get(t) ?? 0) + 1);
    if (a !== undefined) apart.set(a, (apart.get(a) ?? 0) + 1);
  }
  for (const { key, s, x } of list(held.documents)) {
    add("ds", key, 0);
    add("dq", key, Number(s));
    if (x !== "") add("dx", key, Number(x));
  }
  const there = Object.entries(held.sorted).filter(([name]) => name !== "xo");
  const has = there.flatMap(([name, flat]) => [...pairs(flat)].map(([member, score]) => `${name} | ${member} | ${score}`));
  expect(has.toSorted()).toEqual(sorted.toSorted());
  expect(pairs(list(held.open.oq))).toEqual(open.oq);
  expect(pairs(list(held.open.of))).toEqual(open.of);
  expect(new Map(Object.entries(held.shared).map(([digest, count]) => [digest, Number(count)]))).toEqual(shared);
  for (const [digest, count] of Object.entries(held.apart)) {
    expect([digest, Number(count)]).toEqual([digest, apart.get(digest) ?? 0]);
    expect([digest, pairs(list(held.sorted["xo"])).has(digest)]).toEqual([digest, Number(count) === 0]);
  }
  // Every entry of the log belongs to an event, once.
  expect(events.flatMap(({ log }) => list(log)).toSorted((a, b) => a - b)).toEqual([...list(held.log)]);
  return { events: events.length };
}

/** An empty list of Lua is an empty object. */
function list<T>(value: readonly T[] | undefined): readonly T[] {
  return Array.isArray(value) ? (value as readonly T[]) : [];
}

function pairs(flat: readonly string[]): Map<string, number> {
  const found = new Map<string, number>();
  for (let at = 0; at < flat.length; at += 2) found.set(flat[at] ?? "", Number(flat[at + 1]));
  return found;
}
