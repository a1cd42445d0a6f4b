-- One call: 1 client, 2 number of the call (0 where it only looks), 3 the oldest that the client has no answer to, 4 operations as JSON, then raws.
-- Answers the outcomes as JSON, in order, and the raws that they name. What was refused is { e = why }.
local function failure(thrown)
  return { e = type(thrown) == "table" and (thrown.err or "?") or tostring(thrown) }
end

-- Those that only remove go on where the server is out of memory.
local frees = { po = true, sw = true, su = true, dd = true, ge = true }

local before = nil
if batch > 0 then
  local slot = "k" .. batch % KEPT_ANSWERS
  local was = call("HMGET", ckey, "last", slot)
  local last = tonumber(was[1] or 0)
  if batch <= last then
    -- Done already, and its answer was lost on the way. The expiry is written so that whoever waits for replicas waits for this too.
    local kept = was[2] or ""
    local colon = find(kept, ":", 1, true)
    if not colon or tonumber(sub(kept, 1, colon - 1)) ~= batch then return redis.error_reply("FORGOTTEN the answer of this call is not kept any more") end
    before = cjson.decode(sub(kept, colon + 1))
    call("PEXPIRE", ckey, KEPT_MS)
  elseif batch > max(last + 1, tonumber(ARGV[3])) then
    return redis.error_reply("ORDER a call before this one has not come")
  end
end

local answers, writes = {}, {}
for at, a in ipairs(cjson.decode(ARGV[4])) do
  local name = a[1]
  local write, look = ops[name], looks[name]
  if not write and not look then
    if cold then
      cold(ops, looks)
      cold = nil
    end
    write, look = ops[name], looks[name]
  end
  local answer
  if write then
    if before then
      answer = before[#writes + 1]
    elseif writable() or frees[name] then
      local done, outcome = pcall(write, a)
      answer = done and outcome or failure(outcome)
    elseif find(refusal, "READONLY", 1, true) == 1 then
      -- Not the master any more: whoever asks has to find the one that is, and asks it the same.
      return redis.error_reply(refusal)
    else
      answer = { e = refusal }
    end
    writes[#writes + 1] = answer
  elseif look then
    local done, outcome = pcall(look, a)
    if done then answer = outcome else answer = failure(outcome) end
  else
    answer = { e = "ERR no such operation" }
  end
  if answer == nil then answer = false end
  answers[at] = answer
end

writeEvents()
writeMoves()
if numbered then
  local fields = {}
  for name, value in pairs(numbered) do
    fields[#fields + 1] = name
    fields[#fields + 1] = fmt("%.17g", value)
  end
  call("HSET", P .. "n", unpack(fields))
end
if batch > 0 and not before and refusal == false then
  call("HSET", ckey, "k" .. batch % KEPT_ANSWERS, fmt("%d:", batch) .. cjson.encode(writes))
  call("PEXPIRE", ckey, KEPT_MS)
end
given[1] = cjson.encode(answers)
return given
