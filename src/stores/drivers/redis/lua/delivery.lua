-- Deliveries. The newest of an event is the field `d` of its hash, earlier ones are `d1`, `d2`...; each is a packed map:
--   od ord, no event's ord (where it is another), rv revision, st state, ph phase, en entered, at attempts, bo boot, sq its last number, er
--   earlier boots, la last log entry of the EVENT (on the newest alone), rs entry with the result, du due, nb not before, ca cancel wished, up
--   updated, sa started, fa finished, of when an earlier revision finished, ms message, ag agent, pr priority, ex expires, dl deadline, pb bytes
local events = {}

local function eventKey(ekey)
  return P .. "e:" .. ekey
end

local function newest(ekey)
  local kept = events[ekey]
  if kept == nil then
    local text = call("HGET", eventKey(ekey), "d")
    kept = text and { d = unpack_(text) } or false
    events[ekey] = kept
  end
  return kept and kept.d or nil
end

-- The newest when none is named (0).
local function find_(ekey, revision)
  local d = newest(ekey)
  if not d or revision == 0 or d.rv == revision then return d end
  if revision > d.rv or revision < 1 then return nil end
  local kept = events[ekey]
  if not kept.old then kept.old = {} end
  local old = kept.old[revision]
  if not old then
    local text = call("HGET", eventKey(ekey), "d" .. revision)
    if not text then return nil end
    old = { d = unpack_(text) }
    kept.old[revision] = old
  end
  return old.d
end

local function changed(ekey, d)
  local kept = events[ekey]
  if kept.d == d then kept.dirty = true else kept.old[d.rv].dirty = true end
end

local function writeEvents()
  for ekey, kept in pairs(events) do
    if kept then
      if kept.dirty then
        kept.dirty = nil
        call("HSET", eventKey(ekey), "d", pack(kept.d))
      end
      if kept.old then
        for revision, old in pairs(kept.old) do
          if old.dirty then
            old.dirty = nil
            call("HSET", eventKey(ekey), "d" .. revision, pack(old.d))
          end
        end
      end
    end
  end
end

-- What stands for a delivery in indexes: its ord first, so that equal scores are in the order accepted.
local function member(ekey, d)
  return fmt("%016d%d:", d.od, d.rv) .. ekey
end
local function memberOf(text)
  local colon = find(text, ":", 17, true)
  return sub(text, colon + 1), tonumber(sub(text, 17, colon - 1))
end

-- Where an open delivery stands: `w` waits, `y` waits for its time, `h` was handed over; nil when it has ended.
local function laneOf(d)
  local side = SIDE[d.st]
  if side == "f" then return "h" end
  if side == "q" then return d.nb and "y" or "w" end
  return nil
end
local function enter(lane, akey, d, text)
  if lane == "y" then
    call("ZADD", P .. "y:" .. akey, d.nb, text)
    return
  end
  call("ZADD", P .. lane .. ":" .. akey, -d.pr, text)
  if lane == "w" then call("ZADD", P .. "v:" .. akey, d.od, text) end
end
local function leave(lane, akey, text)
  call("ZREM", P .. lane .. ":" .. akey, text)
  if lane == "w" then call("ZREM", P .. "v:" .. akey, text) end
end
local function relane(ekey, d, before)
  local now = laneOf(d)
  if now == before then return end
  local akey, text = tenantOf(ekey) .. d.ag, member(ekey, d)
  if before then leave(before, akey, text) end
  if now then enter(now, akey, d, text) end
end

-- As `dueAtMs` of ending.ts.
local function dueAt(d)
  if d.st == IN_PROGRESS and d.sa then return ceil(d.sa + (d.dl or DEADLINE_MS) + GRACE_MS) end
  if d.st == ASSIGNED then return ceil(d.ex + GRACE_MS) end
  return ceil(d.ex)
end

-- One more entry of the log: revision, the one before, state, whether it came late, and the lengths of agent and event, which follow with what
-- was said. All of an event hang together by the number of the one before, whatever their revision.
local function append(ekey, d, to, body, late)
  local head = newest(ekey) or d
  local seq = add("seq", 1)
  call("XADD", P .. "log", fmt("%d-0", seq), "v",
    fmt("%d %d %d %d %d %d\n", d.rv, head.la or 0, to, late or 0, #d.ag, #ekey) .. d.ag .. ekey .. body)
  head.la = seq
  if head ~= d then changed(ekey, head) end
  return seq
end

local function entryBefore(text)
  return tonumber(match(text, "^%d+ (%d+)"))
end

-- Takes a step that was judged: state, counters, due time and one log entry. `phase` 0 leaves the phase; `result` says that the entry has one.
local function take(ekey, d, to, phase, message, now, body, result)
  local from, before = d.st, laneOf(d)
  d.up = now
  d.ms = message
  if phase ~= 0 then d.ph = phase end
  local seq = append(ekey, d, to, body)
  changed(ekey, d)
  if from == to then return seq end
  d.st = to
  local bit = ENTERED[to]
  if not bit then
    add(STATES[to], 1)
  elseif floor(d.en / bit) % 2 == 0 then
    add(STATES[to], 1)
    d.en = d.en + bit
  end
  moved(d.ag, from, to)
  if not OPEN[to] then
    d.fa = now
    if result then d.rs = seq end
    local text = member(ekey, d)
    leave(before, tenantOf(ekey) .. d.ag, text)
    call("ZREM", P .. "due", text)
    call("ZREM", P .. "evo", ekey)
    call("ZADD", P .. "fin", max(now, d.of or now), text)
    if to ~= COMPLETED then call("ZADD", P .. "evu", d.no or d.od, ekey) end
    return seq
  end
  if to == IN_PROGRESS and not d.sa then d.sa = now end
  if to == ASSIGNED then d.at = d.at + 1 end
  if SIDE[to] == "f" then d.nb = nil end
  local due = dueAt(d)
  -- One that is looked at too early is put off then: the usual start of an execution leaves the index alone.
  if not (SIDE[from] == "f" and SIDE[to] == "f" and due >= d.du) and due ~= d.du then
    d.du = due
    call("ZADD", P .. "due", due, member(ekey, d))
  end
  relane(ekey, d, before)
  return seq
end

-- Looked at and left alone; to be looked at again then.
local function postpone(ekey, d, untilMs)
  d.du = untilMs
  changed(ekey, d)
  call("ZADD", P .. "due", untilMs, member(ekey, d))
end

-- A delivery that is there from now on: its rows in the indexes, the counters and the first entry of its log.
local function begin(ekey, d, body)
  d.en = ENTERED[CREATED] + ENTERED[d.st]
  d.at = d.st == ASSIGNED and 1 or 0
  d.du = dueAt(d)
  add("total", 1)
  add("created", 1)
  add(STATES[d.st], 1)
  moved(d.ag, 0, d.st)
  local text = member(ekey, d)
  enter(laneOf(d), tenantOf(ekey) .. d.ag, d, text)
  call("ZADD", P .. "due", d.du, text)
  call("ZADD", P .. "evo", d.no or d.od, ekey)
  return append(ekey, d, d.st, body)
end

-- What an answer says of a delivery.
local function view(ekey, d)
  return {
    ekey, d.od, d.ag, d.rv, d.st, d.pr, exact(d.ex), d.pb, d.ca and OPEN[d.st] and 1 or 0, d.ph, d.ms, d.at, exact(d.up), exact(d.fa), exact(d.nb),
    d.no or d.od,
  }
end
