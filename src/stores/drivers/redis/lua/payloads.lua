-- Large payloads in pieces, once for each digest, and what retention removes. `x:DIGEST`: b bytes, eb encoded bytes, h hash of the encoding, n
-- pieces, ok whether it is whole, at saved, refs events that refer to it. Pieces: `xp:DIGEST:NUMBER`. `xo`: those without an event, by when saved.

-- ps: the next few pieces. 2 digest, 3 bytes, 4 encoded bytes, 5 hash, 6 all pieces, 7 now, 8 first piece, 9 raws.
-- Answers { pieces that are there, whole }
function ops.ps(a)
  local digest, all, now = a[2], a[6], a[7]
  local key = P .. "x:" .. digest
  local was = call("HMGET", key, "h", "eb", "n", "ok", "refs")
  if was[4] == "1" then
    -- Its event is about to come: the hour that it is kept without one begins anew.
    call("HSET", key, "at", now)
    if tonumber(was[5] or 0) <= 0 then call("ZADD", P .. "xo", now, digest) end
    return { all, 1 }
  end
  local there = tonumber(was[3] or 0)
  if was[1] and (was[1] ~= a[5] or tonumber(was[2]) ~= a[4]) then
    -- Another version of the encoder left it half written: its pieces do not fit to these.
    for at = 0, there - 1 do call("DEL", P .. "xp:" .. digest .. ":" .. at) end
    there = 0
  end
  if a[8] == there then
    for _, piece in ipairs(a[9]) do
      call("SET", P .. "xp:" .. digest .. ":" .. there, raw(piece))
      there = there + 1
    end
  end
  local whole = there >= all
  call("HSET", key, "b", a[3], "eb", a[4], "h", a[5], "n", there, "ok", whole and "1" or "0", "at", now)
  if tonumber(was[5] or 0) <= 0 then call("ZADD", P .. "xo", now, digest) end
  return { there, whole and 1 or 0 }
end

-- po: removes some pieces of a payload that no event came to refer to. 2 saved before, 3 most pieces
function ops.po(a)
  local found = call("ZRANGEBYSCORE", P .. "xo", "-inf", a[2], "LIMIT", 0, 1)
  local digest = found[1]
  if not digest then return 0 end
  local key = P .. "x:" .. digest
  local pieces = tonumber(call("HGET", key, "n") or 0)
  -- From the end, so that what is left is the beginning of a payload, as it may be half written.
  local left = max(0, pieces - a[3])
  for at = left, pieces - 1 do call("DEL", P .. "xp:" .. digest .. ":" .. at) end
  if left == 0 then
    call("DEL", key)
    call("ZREM", P .. "xo", digest)
  else
    call("HSET", key, "n", left, "ok", "0")
  end
  return 1
end

-- sw: removes finished events. 2 before, 3 most. In the index are newest revisions alone, by when the last of all ended.
function ops.sw(a)
  local found = call("ZRANGEBYSCORE", P .. "fin", "-inf", "(" .. fmt("%.17g", a[2]), "LIMIT", 0, a[3])
  for _, text in ipairs(found) do
    local ekey = memberOf(text)
    local key = eventKey(ekey)
    local d = newest(ekey)
    call("ZREM", P .. "fin", text)
    if d and member(ekey, d) == text then
      local seq, ids = d.la or 0, {}
      while seq > 0 do
        local id = fmt("%d-0", seq)
        local entry = call("XRANGE", P .. "log", id, id)[1]
        ids[#ids + 1] = id
        seq = entry and entryBefore(entry[2][2]) or 0
      end
      for at = 1, #ids, 100 do call("XDEL", P .. "log", unpack(ids, at, min(at + 99, #ids))) end
      local lies = call("HMGET", key, "t", "a")
      call("DEL", key)
      call("ZREM", P .. "evs", ekey)
      if d.st ~= COMPLETED then call("ZREM", P .. "evu", ekey) end
      if lies[1] and call("HINCRBY", P .. "t:" .. lies[1], "n", -1) <= 0 then call("DEL", P .. "t:" .. lies[1]) end
      if lies[2] and call("HINCRBY", P .. "x:" .. lies[2], "refs", -1) <= 0 then
        call("ZADD", P .. "xo", call("HGET", P .. "x:" .. lies[2], "at") or 0, lies[2])
      end
      events[ekey] = false
    end
  end
  return #found
end

-- su: removes old entries of the audit. 2 before, 3 most, 4 after, 5 most to look at. Answers { removed, last looked at, whether there may be more }
function ops.su(a)
  local found = call("XRANGE", P .. "audit", fmt("%d", a[4] + 1), "+", "COUNT", a[5])
  local ids, last, all = {}, a[4], true
  for _, one in ipairs(found) do
    if #ids >= a[3] then all = false break end
    last = tonumber(match(one[1], "^%d+"))
    if cjson.decode(match(one[2][2], "^[^\n]*"))[2] < a[2] then ids[#ids + 1] = one[1] end
  end
  for at = 1, #ids, 100 do call("XDEL", P .. "audit", unpack(ids, at, min(at + 99, #ids))) end
  return { #ids, last, all and #found == a[5] and 1 or 0 }
end
