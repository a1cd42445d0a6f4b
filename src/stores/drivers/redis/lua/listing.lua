-- Looking things up.

-- An entry of the log as it is answered: number, event, agent, what is known of it, what was said.
local function logRow(seq, text)
  local facts, agent, event, at = match(text, "^(%d+ %d+ %d+ %d+) (%d+) (%d+)\n()")
  agent, event = tonumber(agent), tonumber(event)
  return { seq, sub(text, at + agent, at + agent + event - 1), sub(text, at, at + agent - 1), facts, give(sub(text, at + agent + event)) }
end

-- g: one event. 2 event, 3 with its payload, 4 with its log
local function logOf(ekey, after, most)
  local d = newest(ekey)
  local entries, seq = {}, d and d.la or 0
  while seq > after do
    local found = call("XRANGE", P .. "log", fmt("%d", seq), fmt("%d", seq), "COUNT", 1)[1]
    if not found then break end
    local text = found[2][2]
    entries[#entries + 1] = { seq, text }
    seq = entryBefore(text)
  end
  -- The oldest of them, oldest first.
  local out = {}
  for at = #entries, max(1, #entries - most + 1), -1 do
    out[#out + 1] = logRow(entries[at][1], entries[at][2])
  end
  return out
end

function looks.g(a)
  local ekey = a[2]
  local d = newest(ekey)
  if not d then return 0 end
  local found = call("HMGET", eventKey(ekey), "m", "x")
  local result = 0
  if d.rs then
    local entry = call("XRANGE", P .. "log", fmt("%d", d.rs), fmt("%d", d.rs))[1]
    if entry then result = logRow(d.rs, entry[2][2])[5] end
  end
  local payload = a[3] == 1 and handOut(item(ekey, d))[4] or 0
  return { view(ekey, d), give(found[1]), found[2] and give(found[2]) or 0, payload, result, a[4] == 1 and logOf(ekey, 0, 1e9) or {} }
end

-- ho: what was handed over to an agent: id, revision, whether somebody wants it back. 2 agent
function looks.ho(a)
  local out = {}
  for _, text in ipairs(call("ZRANGE", P .. "h:" .. a[2], 0, -1)) do
    local ekey, revision = memberOf(text)
    local d = find_(ekey, revision)
    if d then out[#out + 1] = { idOf(ekey), revision, d.ca and 1 or 0 } end
  end
  return out
end

-- d: what tells it from another of the same id.
function looks.d(a)
  local d = newest(a[2])
  if not d then return 0 end
  return { call("HGET", eventKey(a[2]), "c"), d.st }
end

-- le: the log of one event. 2 event, 3 after, 4 most
function looks.le(a)
  return logOf(a[2], a[3], a[4])
end

-- la: the log of all of a tenant. 2 tenant, 3 after, 4 most to look at. Answers { entries, last looked at, whether there may be more }
function looks.la(a)
  local found = call("XRANGE", P .. "log", fmt("%d", a[3] + 1), "+", "COUNT", a[4])
  local out, last = {}, a[3]
  for _, one in ipairs(found) do
    last = tonumber(match(one[1], "^%d+"))
    local agent, at = match(one[2][2], "^%d+ %d+ %d+ %d+ (%d+) %d+\n()")
    at = at + tonumber(agent)
    if sub(one[2][2], at, at + #a[2] - 1) == a[2] then out[#out + 1] = logRow(last, one[2][2]) end
  end
  return { out, last, #found == a[4] and 1 or 0 }
end

-- n: the numbers; oc: what is open.
function looks.n()
  number("total")
  -- As they are now: what comes later in this call changes the table.
  local now = {}
  for name, value in pairs(numbers) do now[name] = value end
  return now
end
function looks.oc()
  writeMoves()
  return { call("HGETALL", P .. "oq"), call("HGETALL", P .. "of") }
end

-- l: some events from `before` down. 2 tenant, 3 index, 4 before or "", 5 most to look at, 6 most to answer, 7 filter
function looks.l(a)
  local tenant, f = a[2], a[7]
  local states
  if f.states then
    states = {}
    for _, state in ipairs(f.states) do states[state] = true end
  end
  local ordered = number("imported") == 0
  local reads = f.type or f.by or f.since or f["until"] or f.labels
  local found = call("ZREVRANGEBYSCORE", P .. a[3], a[4] == "" and "+inf" or "(" .. a[4], "-inf", "WITHSCORES", "LIMIT", 0, a[5])
  local out, from, last = {}, a[4], #found < a[5] * 2
  for at = 1, #found, 2 do
    local ekey = found[at]
    from = found[at + 1]
    if sub(ekey, 1, #tenant) == tenant then
      local d = newest(ekey)
      if d and (not states or states[d.st]) and (not f.agent or f.agent == d.ag) then
        local text = call("HGET", eventKey(ekey), "m")
        local fits = true
        if reads then
          local meta = cjson.decode(text)
          -- Even a clock that was set back by this much cannot have hidden a match below.
          if f.since and ordered and meta.r < f.since - CLOCK_SLACK_MS then
            last = true
            break
          end
          fits = (not f.type or meta.y == f.type) and (not f.by or meta.b == f.by) and (not f.since or meta.r >= f.since)
            and (not f["until"] or meta.r < f["until"])
          if fits and f.labels then
            for name, value in pairs(f.labels) do
              if not meta.l or meta.l[name] ~= value then fits = false end
            end
          end
        end
        if fits then
          out[#out + 1] = { view(ekey, d), give(text) }
          if #out >= a[6] then
            last = false
            break
          end
        end
      end
    end
  end
  return { out, from, last and 1 or 0 }
end

-- Of the audit: number and text.
local function auditRow(one)
  return { tonumber(match(one[1], "^%d+")), give(one[2][2]) }
end

-- ul: some of the audit from `before` down. 2 tenant, 3 before or "", 4 most to look at, 5 most to answer, 6 filter
function looks.ul(a)
  local filter = a[6]
  local found = call("XREVRANGE", P .. "audit", a[3] == "" and "+" or fmt("%d", a[3] - 1), "-", "COUNT", a[4])
  local out, from, last = {}, a[3], #found < a[4]
  for _, one in ipairs(found) do
    local tenant, at, action, event, agent = unpack(cjson.decode(match(one[2][2], "^[^\n]*")))
    from = tonumber(match(one[1], "^%d+"))
    if tenant == a[2] and (not filter.action or action == filter.action) and (not filter.event or event == filter.event)
      and (not filter.agent or agent == filter.agent) and (not filter.since or at >= filter.since) and (not filter["until"] or at < filter["until"]) then
      out[#out + 1] = auditRow(one)
      if #out >= a[5] then last = false break end
    end
    if filter.since and at < filter.since - CLOCK_SLACK_MS then last = true break end
  end
  return { out, from, last and 1 or 0 }
end

-- ua: what came after. 2 tenant, 3 after, 4 most to look at
function looks.ua(a)
  local found = call("XRANGE", P .. "audit", fmt("%d", a[3] + 1), "+", "COUNT", a[4])
  local out, last = {}, a[3]
  for _, one in ipairs(found) do
    last = tonumber(match(one[1], "^%d+"))
    if cjson.decode(match(one[2][2], "^[^\n]*"))[1] == a[2] then out[#out + 1] = auditRow(one) end
  end
  return { out, last, #found == a[4] and 1 or 0 }
end
