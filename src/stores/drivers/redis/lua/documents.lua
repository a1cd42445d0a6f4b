-- Documents: small pieces of knowledge under names. KEY is tenant, kind and id, the first two with their lengths before them. `d:KEY`: v version, s
-- number of the last write, t text, x when it expires or "". `ds` all of them, by name; `dq` by the number of their last write; `dx` those that
-- expire, by when.

-- As it is answered: key, version, number, expiry; the text comes beside it.
local function document(key)
  local all = call("HMGET", P .. "d:" .. key, "v", "s", "x", "t")
  if not all[1] then return 0 end
  return { key, tonumber(all[1]), tonumber(all[2]), all[3], give(all[4]) }
end

-- dw: writes one. 2 key, 3 version that it must have, 4 raw text, 5 expiry or "", 6 audit or 0. Answers { 1, version, number }, or { 2, what is there }:
-- with its text among the rest, as the answers of writing calls are kept without what is given beside them.
function ops.dw(a)
  local key = a[2]
  local was = call("HMGET", P .. "d:" .. key, "v", "s", "x", "t")
  local version = tonumber(was[1] or 0)
  if version ~= a[3] then return { 2, was[1] and { key, version, tonumber(was[2]), was[3], was[4] } or 0 } end
  local seq = add("document", 1)
  call("HSET", P .. "d:" .. key, "v", fmt("%d", version + 1), "s", fmt("%d", seq), "x", a[5], "t", raw(a[4]))
  call("ZADD", P .. "dq", seq, key)
  if version == 0 then call("ZADD", P .. "ds", 0, key) end
  if a[5] ~= "" then call("ZADD", P .. "dx", a[5], key) elseif was[3] and was[3] ~= "" then call("ZREM", P .. "dx", key) end
  if a[6] ~= 0 then audit(a[6]) end
  return { 1, version + 1, seq }
end

-- dg: one.
function looks.dg(a)
  return document(a[2])
end

-- dl: some of one kind, by name. 2 tenant and kind, 3 after, 4 most
function looks.dl(a)
  local prefix = a[2]
  local out = {}
  -- No text has the byte 255.
  for _, key in ipairs(call("ZRANGEBYLEX", P .. "ds", "(" .. prefix .. a[3], "(" .. prefix .. "\255", "LIMIT", 0, a[4])) do
    out[#out + 1] = document(key)
  end
  return out
end

-- da: those that were written after a number, by the last one. 2 number, 3 most
function looks.da(a)
  return call("ZRANGEBYSCORE", P .. "dq", "(" .. fmt("%d", a[2]), "+inf", "WITHSCORES", "LIMIT", 0, a[3])
end

-- dd: removes those that have expired. 2 now, 3 most
function ops.dd(a)
  local found = call("ZRANGEBYSCORE", P .. "dx", "-inf", "(" .. a[2], "LIMIT", 0, a[3])
  for _, key in ipairs(found) do
    call("DEL", P .. "d:" .. key)
    call("ZREM", P .. "ds", key)
    call("ZREM", P .. "dq", key)
    call("ZREM", P .. "dx", key)
  end
  return #found
end
