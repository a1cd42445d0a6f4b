-- The hot path: events come in, are handed over, are reported on. Each operation checks everything before its first write.
-- Those that write, and those that only look; `looks` may be done twice.
local ops, looks = {}, {}

-- Whether something may start now that was not handed over: it may have come in through another control plane a moment ago, or have waited for
-- its time where nobody has looked since, and nothing newer may overtake it.
local function somethingWaits(akey, nowMs)
  if call("EXISTS", P .. "w:" .. akey) == 1 then return true end
  local first = call("ZRANGE", P .. "y:" .. akey, 0, 0, "WITHSCORES")
  return first[2] ~= nil and tonumber(first[2]) <= nowMs
end

-- c: takes an event in.
-- 2 event, 3 agent, 4 content digest, 5 epoch, 6 state, 7 priority, 8 expires, 9 not before or 0, 10 deadline or 0, 11 payload bytes, 12 received,
-- 13 how its payload lies (i inline, t shared text, a apart), 14 digest, 15 message, 16 fenced message, raws: 17 meta, 18 extra or 0, 19 text or
-- 0, 20 log, 21 log when fenced; 22 audit
function ops.c(a)
  local ekey = a[2]
  local d = newest(ekey)
  if d then
    if call("HGET", eventKey(ekey), "c") ~= a[4] then return { 3 } end
    return { 2, d.st }
  end
  local how, digest = a[13], a[14]
  local apart = how == "a" and P .. "x:" .. digest
  if apart and call("HGET", apart, "ok") ~= "1" then return { 3 } end
  local state, message, body = a[6], a[15], a[20]
  local akey = tenantOf(ekey) .. a[3]
  if state == ASSIGNED and (not admits(akey, a[5]) or somethingWaits(akey, a[12])) then state, message, body = QUEUED, a[16], a[21] end
  local ord = add("ord", 1)
  local nb = a[9]
  d = {
    od = ord, rv = 1, st = state, ph = 0, ag = a[3], pr = a[7], ex = a[8], pb = a[11], up = a[12], ms = message,
    nb = nb > 0 and state == QUEUED and nb or nil, dl = a[10] > 0 and a[10] or nil,
  }
  local key = eventKey(ekey)
  local fields = { "c", a[4], "m", raw(a[17]) }
  if a[18] > 0 then fields[5], fields[6] = "x", raw(a[18]) end
  local at = #fields
  if how == "i" then
    fields[at + 1], fields[at + 2] = "p", raw(a[19])
  elseif how == "t" then
    fields[at + 1], fields[at + 2] = "t", digest
    local shared = P .. "t:" .. digest
    if call("HINCRBY", shared, "n", 1) == 1 then call("HSET", shared, "v", raw(a[19])) end
  else
    fields[at + 1], fields[at + 2] = "a", digest
    if call("HINCRBY", apart, "refs", 1) == 1 then call("ZREM", P .. "xo", digest) end
  end
  events[ekey] = { d = d }
  local seq = begin(ekey, d, raw(body))
  call("HSET", key, "d", pack(d), unpack(fields))
  call("ZADD", P .. "evs", ord, ekey)
  audit(a[22])
  return { 1, ord, seq, state }
end

-- s: a status. 2 event, 3 revision or 0, 4 agent, 5 epoch, 6 boot or "", 7 number, 8 state, 9 phase, 10 message, 11 now, 12 raw log, 13 has a result
function ops.s(a)
  local ekey = a[2]
  if not admits(tenantOf(ekey) .. a[4], a[5]) then return { 1 } end
  local d = find_(ekey, a[3])
  if not d or d.ag ~= a[4] then return { 2 } end
  local boot, number_ = a[6], a[7]
  if boot ~= "" then
    local last
    if d.bo == boot then
      last = d.sq
    elseif d.er then
      for _, one in ipairs(d.er) do
        if one[1] == boot then last = one[2] end
      end
    end
    if last and number_ <= last then return { 3, d.st } end
  end
  local to = a[8]
  local late = not OPEN[d.st]
  if not late and not find(TOLD[d.st], to, 1, true) then return { 4, d.st } end
  if boot ~= "" then
    -- Another process of the agent than before speaks: the word of that one stays known.
    if d.bo and d.bo ~= boot then
      local earlier = {}
      for _, one in ipairs(d.er or {}) do
        if one[1] ~= boot and one[1] ~= d.bo then earlier[#earlier + 1] = one end
      end
      earlier[#earlier + 1] = { d.bo, d.sq }
      while #earlier > EARLIER_BOOTS do table.remove(earlier, 1) end
      d.er = earlier
    end
    d.bo, d.sq = boot, number_
  end
  if late then
    local seq = append(ekey, d, to, raw(a[12]), 1)
    changed(ekey, d)
    return { 5, d.st, seq, d.rv }
  end
  return { 6, to, take(ekey, d, to, a[9], a[10], a[11], raw(a[12]), a[13] == 1), d.rv }
end

-- m: handed over, or waits again. 2 event, 3 revision, 4 state, 5 epoch, 6 now, 7 message, 8 raw log
function ops.m(a)
  local ekey = a[2]
  local d = find_(ekey, a[3])
  if not d then return { 2, 0 } end
  if not admits(tenantOf(ekey) .. d.ag, a[5]) then return { 3 } end
  local to = a[4]
  if d.st == to then
    if to == ASSIGNED then
      d.at = d.at + 1
      changed(ekey, d)
    end
    return { 1, 0, d.ag }
  end
  if not find(NEXT[d.st], to, 1, true) then return { 2, d.st } end
  return { 1, take(ekey, d, to, 0, a[7], a[6], raw(a[8])), d.ag, d.rv }
end

-- u: an entry of the audit.
function ops.u(a)
  audit(a[2])
  return 1
end

-- q: whether a write would be taken: the number of the call is one.
function ops.q()
  return 1
end

-- p: where these deliveries stand. 2 agent's id, 3 events, 4 revisions
function looks.p(a)
  local states = {}
  for at, ekey in ipairs(a[3]) do
    local d = find_(ekey, a[4][at])
    states[at] = d and d.ag == a[2] and d.st or 0
  end
  return states
end
