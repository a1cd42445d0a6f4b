-- What an agent still has to do.

-- Lets those wait like all others whose time has come; as many as are asked for at least, or a part would look like the whole. A server that
-- takes no writes just now leaves them where they are.
local function release(akey, nowMs, most)
  local ready = call("ZRANGEBYSCORE", P .. "y:" .. akey, "-inf", nowMs, "LIMIT", 0, max(RELEASED_AT_ONCE, min(most, 10000)))
  if #ready == 0 or not writable() then return end
  for _, text in ipairs(ready) do
    local ekey, revision = memberOf(text)
    local d = find_(ekey, revision)
    if d then
      d.nb = nil
      changed(ekey, d)
      relane(ekey, d, "y")
    end
  end
end

-- One delivery as it is handed out: 1 view, 2 meta, 3 extra or 0, 4 payload: text (a number of a raw) or { digest, bytes, encoded bytes }
local function item(ekey, d)
  local found = call("HMGET", eventKey(ekey), "m", "x", "p", "t", "a")
  local payload, inline = 0, 0
  if found[3] then
    payload, inline = found[3], d.pb
  elseif found[4] then
    payload, inline = call("HGET", P .. "t:" .. found[4], "v") or "{}", d.pb
  elseif found[5] then
    local apart = call("HMGET", P .. "x:" .. found[5], "b", "eb")
    payload = { found[5], tonumber(apart[1] or 0), tonumber(apart[2] or 0) }
  else
    payload = "{}"
  end
  return { d = view(ekey, d), m = found[1], x = found[2], p = payload, inline = inline }
end
local function handOut(one)
  return { one.d, give(one.m), one.x and give(one.x) or 0, type(one.p) == "table" and one.p or give(one.p) }
end

local function items(chosen, maxItems, maxBytes)
  local out, bytes = {}, 0
  for _, candidate in ipairs(chosen) do
    if #out >= maxItems then break end
    local ekey, revision = memberOf(candidate)
    local d = find_(ekey, revision)
    if d then
      local one = item(ekey, d)
      bytes = bytes + one.inline
      if #out > 0 and bytes > maxBytes then break end
      out[#out + 1] = handOut(one)
    end
  end
  return out
end

-- o: 2 agent, 3 states, 4 in the order accepted, 5 now, 6 most, 7 most bytes, 8 ids to skip
function looks.o(a)
  local akey, accepted, most = a[2], a[4] == 1, a[6]
  local wanted, waits, handed = {}, false, false
  for _, state in ipairs(a[3]) do
    wanted[state] = true
    if SIDE[state] == "q" then waits = true end
    if SIDE[state] == "f" then handed = true end
  end
  local skip, skipped = {}, #a[8]
  for _, id in ipairs(a[8]) do skip[id] = true end
  local from = #tenantOf(akey)
  local chosen = {}
  local function choose(texts, step, all)
    local count = 0
    for at = 1, #texts, step do
      local text = texts[at]
      local ekey, revision = memberOf(text)
      if not skip[sub(ekey, from + 1)] then
        local d = all or find_(ekey, revision)
        if all or (d and wanted[d.st]) then
          chosen[#chosen + 1] = { text, step == 2 and tonumber(texts[at + 1]) or 0 }
          count = count + 1
          if count >= most then return end
        end
      end
    end
  end
  if waits then
    release(akey, a[5], most)
    -- What is skipped belongs to this agent too, so with that many more there is always enough to choose from.
    local whole = wanted[CREATED] and wanted[QUEUED]
    local last = whole and most + skipped - 1 or -1
    if accepted then
      choose(call("ZRANGE", P .. "v:" .. akey, 0, last), 1, whole)
    else
      choose(call("ZRANGE", P .. "w:" .. akey, 0, last, "WITHSCORES"), 2, whole)
    end
  end
  if handed then
    local texts = call("ZRANGE", P .. "h:" .. akey, 0, -1, "WITHSCORES")
    if accepted then
      local plain = {}
      for at = 1, #texts, 2 do plain[#plain + 1] = texts[at] end
      table.sort(plain)
      choose(plain, 1, wanted[ASSIGNED] and wanted[IN_PROGRESS])
    else
      choose(texts, 2, wanted[ASSIGNED] and wanted[IN_PROGRESS])
    end
  end
  if waits and handed then
    -- Members begin with the number in the order accepted, all of one width.
    table.sort(chosen, function(one, other)
      if one[2] ~= other[2] then return one[2] < other[2] end
      return sub(one[1], 1, 16) < sub(other[1], 1, 16)
    end)
  end
  local texts = {}
  for at, one in ipairs(chosen) do texts[at] = one[1] end
  return items(texts, most, a[7])
end

-- b: waiting ones between two places. 2 agent, 3 after, 4 before, 5 now, 6 most, 7 most bytes
function looks.b(a)
  release(a[2], a[5], a[6])
  local texts = call("ZRANGEBYSCORE", P .. "v:" .. a[2], "(" .. fmt("%d", a[3]), "(" .. fmt("%d", a[4]), "LIMIT", 0, a[6])
  return items(texts, a[6], a[7])
end

-- ns: when the next may start that waits for its time. 2 agent, 3 now
function looks.ns(a)
  local found = call("ZRANGEBYSCORE", P .. "y:" .. a[2], "(" .. fmt("%.17g", a[3]), "+inf", "WITHSCORES", "LIMIT", 0, 1)
  return found[2] or false
end
