import { messageOf } from "../../../kit/mod.ts";
import type { RedisClient } from "../../../redis/mod.ts";

/** A Lua script; the server runs it as one step, and knows it by its digest after the first time. */
interface Script {
  readonly text: string;
  readonly sha: string;
}

function script(text: string): Script {
  return { text, sha: Bun.SHA1.hash(text, "hex") };
}

/** Answers texts as Buffers, since bodies are bytes. */
export async function runScript(
  client: RedisClient,
  { text, sha }: Script,
  keys: readonly string[],
  args: readonly (string | number | Uint8Array)[],
): Promise<unknown> {
  const all = [...keys, ...args.map((arg) => (arg instanceof Uint8Array ? bufferOf(arg) : arg))];
  try {
    return await client.callBuffer("EVALSHA", sha, keys.length, ...all);
  } catch (error) {
    // A server that was started again has forgotten it; nothing was done.
    if (!messageOf(error).startsWith("NOSCRIPT")) throw error;
    return client.callBuffer("EVAL", text, keys.length, ...all);
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** `stream, id key | id, body, traceparent, producer, how long the id is remembered, most`: 1 kept, 0 known already, -1 full. */
export const PUBLISH: Script = script(`
if ARGV[1] ~= '' and redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[6]) then return -1 end
local at = redis.call('XADD', KEYS[1], '*', 'id', ARGV[1], 'body', ARGV[2], 'traceparent', ARGV[3], 'producer', ARGV[4])
if ARGV[1] ~= '' then redis.call('SET', KEYS[2], at, 'PX', ARGV[5]) end
return 1
`);

/**
 * `streams | group, consumer, most messages, most bytes, how many of them are for urgent ones alone`: [band, stream id, deliveries, fields] of
 * what nobody has had, the urgent band until there is nothing more in it, then the next. A group that is gone (the server was emptied) is made again.
 */
export const TAKE: Script = script(`
local out, left, room = {}, tonumber(ARGV[3]), tonumber(ARGV[4])
for band, key in ipairs(KEYS) do
  if band == 2 then left = left - tonumber(ARGV[5]) end
  while left > 0 and room > 0 do
    local reply = redis.pcall('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', key, '>')
    if reply and reply.err then
      if not string.find(reply.err, 'NOGROUP', 1, true) then return reply end
      redis.call('XGROUP', 'CREATE', key, ARGV[1], '0', 'MKSTREAM')
      reply = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', key, '>')
    end
    if not reply or not reply[1] then break end
    local entry = reply[1][2][1]
    for _, value in ipairs(entry[2]) do room = room - #value end
    left = left - 1
    out[#out + 1] = { band, entry[1], 1, entry[2] }
  end
end
return out
`);

/** Writes an entry to the dead letters and takes it out of its stream; for the scripts that do so. */
const BURY = `
local function idOf(entry)
  for index = 1, #entry[2], 2 do if entry[2][index] == 'id' then return entry[2][index + 1] end end
  return ''
end
local function bury(key, dead, group, at, band, entry, deliveries, code, reason, event, most, ids)
  if not entry or not redis.call('XPENDING', key, group, at, at, 1)[1] then
    redis.call('XACK', key, group, at)
    return false
  end
  local values = { 'code', code, 'reason', reason, 'event_id', event, 'band', band, 'from', at, 'deliveries', deliveries }
  -- Of a message that somebody else made, with whatever in it, only what is known goes along.
  local known = { id = true, body = true, traceparent = true, producer = true }
  for index = 1, #entry[2], 2 do
    local name = entry[2][index]
    if known[name] then
      known[name] = nil
      values[#values + 1] = name
      values[#values + 1] = entry[2][index + 1]
    end
  end
  -- First, so that a server without memory refuses before anything is gone.
  redis.call('XADD', dead, 'MAXLEN', '~', most, '*', unpack(values))
  redis.call('XACK', key, group, at)
  redis.call('XDEL', key, at)
  -- Who corrects it and sends it again under its id means it. The key has the same hash tag as all others.
  local id = idOf(entry)
  if id ~= '' then redis.call('DEL', ids .. id) end
  return true
end
`;

/**
 * `streams, dead | group, consumer, idle for, most messages, most bytes, most deliveries, code, reason, most dead, only its own, what id keys
 * begin with, how many messages are for urgent ones alone, held…`: hands over what was handed out and heard nothing of, or, with the tenth argument, what the consumer was given and does
 * not hold. What was handed out too often goes to the dead letters. Answers [messages as above, [band, id] of the buried].
 */
export const CLAIM: Script = script(`${BURY}
local group, me, idle, left, room, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local held = {}
for index = 13, #ARGV do held[ARGV[index]] = true end
local out, buried = {}, {}
for band = 1, 3 do
  if band == 2 then left = left - tonumber(ARGV[12]) end
  local key = KEYS[band]
  local ask = { 'XPENDING', key, group, 'IDLE', idle, '-', '+', math.max(0, left) + #ARGV }
  if ARGV[10] == '1' then ask[#ask + 1] = me end
  local pending = redis.pcall(unpack(ask))
  if pending.err then
    if not string.find(pending.err, 'NOGROUP', 1, true) then return pending end
    pending = {}
  end
  for _, row in ipairs(pending) do
    local at, deliveries = row[1], row[4]
    if not held[band .. ':' .. at] and left > 0 and room > 0 then
      if deliveries >= most then
        local entry = redis.call('XRANGE', key, at, at)[1]
        local id = entry and idOf(entry) or ''
        if bury(key, KEYS[4], group, at, band, entry, deliveries, ARGV[7], ARGV[8], id, ARGV[9], ARGV[11]) then
          buried[#buried + 1] = { band, id }
        end
      else
        local entry = redis.call('XCLAIM', key, group, me, 0, at)[1]
        if entry and entry[2] then
          for _, value in ipairs(entry[2]) do room = room - #value end
          left = left - 1
          out[#out + 1] = { band, at, deliveries + 1, entry[2] }
        else
          redis.call('XACK', key, group, at)
        end
      end
    end
  end
end
return { out, buried }
`);

/** `streams | group, consumer, held…` as band:id: says that they are being worked on. What is another's by now is left alone. */
export const KEEP: Script = script(`
local lost = 0
for index = 3, #ARGV do
  local key, at = KEYS[tonumber(string.sub(ARGV[index], 1, 1))], string.sub(ARGV[index], 3)
  local row = redis.call('XPENDING', key, ARGV[1], at, at, 1)[1]
  if row and row[2] == ARGV[2] then
    redis.call('XCLAIM', key, ARGV[1], ARGV[2], 0, at, 'JUSTID')
  else
    lost = lost + 1
  end
end
return lost
`);

/** `streams | group, settled…` as band:id: they are done with, whoever has them by now. */
export const DONE: Script = script(`
for index = 2, #ARGV do
  local key, at = KEYS[tonumber(string.sub(ARGV[index], 1, 1))], string.sub(ARGV[index], 3)
  redis.call('XACK', key, ARGV[1], at)
  redis.call('XDEL', key, at)
end
return #ARGV - 1
`);

/** `streams, dead | group, band:id, deliveries, code, reason, event id, most dead, what id keys begin with`: to the dead letters, once. */
export const DEAD: Script = script(`${BURY}
local band, at = tonumber(string.sub(ARGV[2], 1, 1)), string.sub(ARGV[2], 3)
local entry = redis.call('XRANGE', KEYS[band], at, at)[1]
return bury(KEYS[band], KEYS[4], ARGV[1], at, band, entry, ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]) and 1 or 0
`);

/**
 * `streams | group, consumer, nobody, gone for, held…` as band:id:deliveries: gives back what it still has, as if it had not been handed out
 * this time, to a consumer that stands for nobody; the next look for the stuck takes it.
 */
export const RELEASE: Script = script(`
for index = 5, #ARGV do
  local band, at, deliveries = string.match(ARGV[index], '^(%d):([^:]+):(%d+)$')
  local key = KEYS[tonumber(band)]
  local row = redis.call('XPENDING', key, ARGV[1], at, at, 1)[1]
  if row and row[2] == ARGV[2] then
    redis.call('XCLAIM', key, ARGV[1], ARGV[3], 0, at, 'IDLE', ARGV[4], 'RETRYCOUNT', tonumber(deliveries) - 1, 'JUSTID')
  end
end
return 1
`);

/** `streams | group, idle for, itself or empty`: forgets consumers that have nothing and were not heard of for long, and the one that is named. */
export const TIDY: Script = script(`
local forgotten = 0
for _, key in ipairs(KEYS) do
  local consumers = redis.pcall('XINFO', 'CONSUMERS', key, ARGV[1])
  if not consumers.err then
    for _, row in ipairs(consumers) do
      local about = {}
      for index = 1, #row, 2 do about[row[index]] = row[index + 1] end
      if about['pending'] == 0 and (about['name'] == ARGV[3] or about['idle'] > tonumber(ARGV[2])) then
        redis.call('XGROUP', 'DELCONSUMER', key, ARGV[1], about['name'])
        forgotten = forgotten + 1
      end
    end
  end
end
return forgotten
`);

/** `streams, dead | group`: [waiting, in hand, id of the oldest that waits] for each band, how many are dead, and the server's milliseconds. */
export const STATUS: Script = script(`
local out = {}
for band = 1, 3 do
  local key = KEYS[band]
  local length, pending, oldest = redis.call('XLEN', key), 0, ''
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  local after = '-'
  if not groups.err then
    for _, row in ipairs(groups) do
      local about = {}
      for index = 1, #row, 2 do about[row[index]] = row[index + 1] end
      if about['name'] == ARGV[1] then
        pending = about['pending']
        after = '(' .. about['last-delivered-id']
      end
    end
  end
  local first = redis.call('XRANGE', key, after, '+', 'COUNT', 1)[1]
  if first then oldest = first[1] end
  out[band] = { math.max(0, length - pending), pending, oldest }
end
local now = redis.call('TIME')
out[4] = redis.call('XLEN', KEYS[4])
out[5] = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
return out
`);

/** `dead | most`: [band, id, deliveries, fields without the body, bytes of the body], the newest first. */
export const LIST_DEAD: Script = script(`
local out = {}
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])) do
  local fields, about, bytes = {}, {}, 0
  for index = 1, #entry[2], 2 do
    local name, value = entry[2][index], entry[2][index + 1]
    about[name] = value
    if name == 'body' then
      bytes = #value
    else
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  out[#out + 1] = { tonumber(about['band']) or 2, entry[1], tonumber(about['deliveries']) or 0, fields, bytes }
end
return out
`);

/** `dead, streams | id`: puts a dead letter back to the end of where it came from. 1, or 0 when there is none of this id. */
export const RESEND: Script = script(`
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry then return 0 end
local about = {}
for index = 1, #entry[2], 2 do about[entry[2][index]] = entry[2][index + 1] end
redis.call('XADD', KEYS[1 + tonumber(about['band'])], '*', 'id', about['id'] or '', 'body', about['body'] or '',
  'traceparent', about['traceparent'] or '', 'producer', about['producer'] or '')
redis.call('XDEL', KEYS[1], ARGV[1])
return 1
`);

/**
 * `streams by kind | what id keys begin with, how long an id is remembered, about how many are kept, then for each: number of its kind, id,
 * agent, body`. What is known already is left out. Answers how many were new.
 */
export const EMIT: Script = script(`
local new = 0
for index = 4, #ARGV, 4 do
  local key = KEYS[tonumber(ARGV[index])]
  local id, agent, body = ARGV[index + 1], ARGV[index + 2], ARGV[index + 3]
  if redis.call('EXISTS', ARGV[1] .. id) == 0 then
    redis.call('XADD', key, 'MAXLEN', '~', ARGV[3], '*', 'id', id, 'agent', agent, 'event', body)
    redis.call('SET', ARGV[1] .. id, 1, 'PX', ARGV[2])
    new = new + 1
  end
end
return new
`);
