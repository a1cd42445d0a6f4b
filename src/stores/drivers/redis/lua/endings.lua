-- Ends that somebody else than the agent decides on, and what is done seldom with deliveries.

local function connected(akey)
  local status = call("HGET", P .. "a:" .. akey, "s")
  return status and status ~= "disconnected"
end

-- Ended: { event, agent, revision, state, entry, which of the endings }
local function finish(ekey, d, to, now, ending, which, result)
  local seq = take(ekey, d, to, 0, ending[1], now, raw(ending[2]), result)
  return { ekey, d.ag, d.rv, d.st, seq, which }
end

-- Whether it is only to be looked at by now, and due later: its execution has begun since.
local function putOff(ekey, d, nowMs)
  local due = dueAt(d)
  if due <= nowMs then return false end
  postpone(ekey, d, due)
  return true
end

-- x: ends what is due. 2 now, 3 most, endings { message, raw log }: 4 expired, 5 never answered, 6 deadline passed
function ops.x(a)
  local now = a[2]
  local ended = {}
  local due = call("ZRANGEBYSCORE", P .. "due", "-inf", now, "LIMIT", 0, a[3])
  for _, text in ipairs(due) do
    local ekey, revision = memberOf(text)
    local d = find_(ekey, revision)
    if d and not putOff(ekey, d, now) then
      if SIDE[d.st] == "q" then
        ended[#ended + 1] = finish(ekey, d, EXPIRED, now, a[4], 0, false)
      elseif d.st == ASSIGNED and connected(tenantOf(ekey) .. d.ag) then
        -- Its agent has it and is there. Looked at again later, or those that are left alone would hide all that are due after them.
        postpone(ekey, d, now + GRACE_MS)
      else
        local which = d.st == ASSIGNED and 1 or 2
        ended[#ended + 1] = finish(ekey, d, FAILED, now, a[4 + which], which, true)
      end
    end
  end
  return { #due, ended }
end

-- xn: when the next is due.
function looks.xn()
  for put = 0, MOST_PUT_OFF do
    local found = call("ZRANGE", P .. "due", 0, 0, "WITHSCORES")
    if #found == 0 then return false end
    local due = tonumber(found[2])
    local ekey, revision = memberOf(found[1])
    local d = find_(ekey, revision)
    if not d or put == MOST_PUT_OFF or dueAt(d) <= due or not writable() then return due end
    postpone(ekey, d, dueAt(d))
  end
end

-- ar: removes an agent in steps. 2 agent, 3 now, 4 most, endings: 5 cancelled, 6 unknown; 7 audit
function ops.ar(a)
  local akey, now, most = a[2], a[3], a[4]
  local key = P .. "a:" .. akey
  local replica = call("HGET", key, "r")
  if not replica then return 0 end
  local texts = {}
  for _, lane in ipairs({ "h", "w", "y" }) do
    if #texts < most then
      for _, text in ipairs(call("ZRANGE", P .. lane .. ":" .. akey, 0, most - #texts - 1)) do texts[#texts + 1] = text end
    end
  end
  local ended = {}
  for _, text in ipairs(texts) do
    local ekey, revision = memberOf(text)
    local d = find_(ekey, revision)
    if d then
      if SIDE[d.st] == "q" then
        ended[#ended + 1] = finish(ekey, d, CANCELLED, now, a[5], 0, false)
      else
        ended[#ended + 1] = finish(ekey, d, FAILED, now, a[6], 1, true)
      end
    end
  end
  local last = #texts < most
  if last then
    call("DEL", key)
    epochs[akey] = nil
    call("ZREM", P .. "as", akey)
    if replica ~= "" then call("SREM", P .. "ra:" .. replica, akey) end
    audit(a[7])
  end
  return { last and 1 or 0, ended }
end

-- k: cancels. 2 event, 3 now, 4 message, 5 raw log, 6 raw log of the wish, 7 audit
function ops.k(a)
  local ekey = a[2]
  local d = newest(ekey)
  if not d then return { 5 } end
  if d.st == CANCELLED then return { 3 } end
  if SIDE[d.st] == "q" then
    local seq = take(ekey, d, CANCELLED, 0, a[4], a[3], raw(a[5]), false)
    audit(a[7])
    return { 1, seq, d.ag, d.rv }
  end
  if not OPEN[d.st] or call("HGET", P .. "a:" .. tenantOf(ekey) .. d.ag, "k") ~= "1" then return { 4, d.st } end
  if d.ca then return { 2, 0, d.ag, d.rv } end
  local seq = append(ekey, d, d.st, raw(a[6]))
  d.ca = a[3]
  changed(ekey, d)
  audit(a[7])
  return { 2, seq, d.ag, d.rv, d.st }
end

-- r: the next revision of an event that has ended. 2 event, 3 now, 4 message, 5 raw log, 6 audit, 7 principal
function ops.r(a)
  local ekey, now = a[2], a[3]
  local before = newest(ekey)
  if not before then return { 3 } end
  local found = call("HMGET", eventKey(ekey), "m", "c")
  -- Of what was imported nobody knows what was asked, so it cannot be asked again.
  if OPEN[before.st] or found[2] == "" then return { 2, before.st } end
  local meta = cjson.decode(found[1])
  -- Its delay is over; the time that it must not start before still holds.
  local start = max(now, meta.n or 0)
  local text = member(ekey, before)
  call("ZREM", P .. "fin", text)
  call("ZREM", P .. "evu", ekey)
  local head = before.la
  before.la = nil
  call("HSET", eventKey(ekey), "d" .. before.rv, pack(before))
  local d = {
    od = add("ord", 1), no = before.no or before.od, rv = before.rv + 1, st = QUEUED, ph = 0, ag = before.ag, pr = before.pr,
    ex = ceil(start + meta.t / 1e6), pb = before.pb, up = now, ms = a[4], nb = start > now and start or nil, dl = before.dl, la = head,
    of = max(before.fa, before.of or 0), pc = a[7],
  }
  local old = events[ekey].old or {}
  old[before.rv] = { d = before }
  events[ekey] = { d = d, old = old }
  local seq = begin(ekey, d, raw(a[5]))
  changed(ekey, d)
  audit(a[6])
  return { 1, seq, view(ekey, d) }
end

-- i: an event that ended elsewhere. 2 event, 3 agent, 4 state, 5 phase, 6 message, 7 received, 8 finished, 9 has a result, 10 raw meta,
-- 11 log: { state, raw }
function ops.i(a)
  local ekey = a[2]
  if newest(ekey) then return 0 end
  local ord = add("ord", 1)
  local d = {
    od = ord, rv = 1, st = a[4], ph = a[5], ag = a[3], pr = 0, ex = a[7], pb = 0, up = a[8], fa = a[8], ms = a[6], en = 0, at = 0, du = a[8],
  }
  events[ekey] = { d = d }
  for _, entry in ipairs(a[11]) do append(ekey, d, entry[1], raw(entry[2])) end
  if a[9] == 1 then d.rs = d.la end
  call("HSET", eventKey(ekey), "c", "", "m", raw(a[10]), "d", pack(d))
  call("ZADD", P .. "evs", ord, ekey)
  call("ZADD", P .. "fin", a[8], member(ekey, d))
  if d.st ~= COMPLETED then call("ZADD", P .. "evu", ord, ekey) end
  -- Up to there the order of numbers is not that of time.
  call("HSET", P .. "n", "imported", ord)
  if numbers then numbers.imported = ord end
  return 1
end

-- ic: what another system counted. 2 source, 3 names, 4 counts
function ops.ic(a)
  if call("HSETNX", P .. "sources", a[2], "1") == 0 then return 0 end
  for at, name in ipairs(a[3]) do add(name, a[4][at]) end
  return 1
end
