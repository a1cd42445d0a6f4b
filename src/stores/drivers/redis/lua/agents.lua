-- Agents as they last registered, who owns them, and which control planes there are.
-- `a:AGENT`: j registration and what comes with it, s status, l last seen, o clock offset, x disconnected at, p paused, e epoch, r replica, u
-- cluster, k can be called back. `as`: all of them, by id. `ra:REPLICA`: those that stand as connected to it. `rs`: replicas with any.

local function leased(replica)
  return replica ~= "" and call("EXISTS", P .. "lease:" .. replica) == 1
end

local function connect(replica, akey)
  call("SADD", P .. "ra:" .. replica, akey)
  call("SADD", P .. "rs", replica)
end

local function agent(akey)
  local all = call("HMGET", P .. "a:" .. akey, "j", "s", "l", "o", "x", "p", "e", "r")
  if not all[1] then return 0 end
  return { akey, give(all[1]), all[2], all[3], all[4], all[5], all[6], all[7], all[8] }
end

-- ac: 2 agent, 3 replica, 4 epoch seen, 5 raw j, 6 status, 7 last seen, 8 offset, 9 disconnected, 10 cluster, 11 can be called back, 12 audit
function ops.ac(a)
  local akey, replica = a[2], a[3]
  local key = P .. "a:" .. akey
  local was = call("HMGET", key, "s", "p", "e", "r")
  local epoch = max(tonumber(was[3] or 0), a[4]) + 1
  local before = was[1] and was[1] ~= "disconnected" and was[4] or ""
  if was[4] and was[4] ~= "" and was[4] ~= replica then call("SREM", P .. "ra:" .. was[4], akey) end
  call("HSET", key, "j", raw(a[5]), "s", a[6], "l", a[7], "o", a[8], "x", a[9], "u", a[10], "k", a[11], "e", fmt("%d", epoch), "r", replica,
    "p", was[2] or "0")
  epochs[akey] = epoch
  if not was[1] then call("ZADD", P .. "as", 0, akey) end
  connect(replica, akey)
  audit(a[12])
  return { exact(epoch), was[2] == "1" and 1 or 0, before ~= "" and leased(before) and before or "" }
end

-- al: its connection has ended. 2 agent, 3 epoch, 4 disconnected, 5 last seen, 6 offset, 7 audit
function ops.al(a)
  local akey = a[2]
  if not epochOf(akey) or not admits(akey, a[3]) then return 0 end
  local key = P .. "a:" .. akey
  local replica = call("HGET", key, "r")
  call("HSET", key, "s", "disconnected", "x", a[4], "l", a[5], "o", a[6], "r", "")
  if replica and replica ~= "" then call("SREM", P .. "ra:" .. replica, akey) end
  audit(a[7])
  return 1
end

-- ai: one from somewhere else. 2 agent, 3 raw j, 4 last seen, 5 offset, 6 disconnected, 7 cluster, 8 can be called back
function ops.ai(a)
  local key = P .. "a:" .. a[2]
  if call("EXISTS", key) == 1 then return 0 end
  call("HSET", key, "j", raw(a[3]), "s", "disconnected", "l", a[4], "o", a[5], "x", a[6], "u", a[7], "k", a[8], "e", "0", "r", "", "p", "0")
  epochs[a[2]] = 0
  call("ZADD", P .. "as", 0, a[2])
  return 1
end

-- at: when they were last heard of. 2 agents: { agent, epoch, status, last seen, offset, replica or "" }
function ops.at(a)
  local others = {}
  for at, seen in ipairs(a[2]) do
    local akey = seen[1]
    if not epochOf(akey) or not admits(akey, seen[2]) then
      others[#others + 1] = at
    else
      local key = P .. "a:" .. akey
      local was = call("HMGET", key, "s", "r")
      local before = was[2] or ""
      local replica = seen[6] ~= "" and seen[6] or before
      if replica ~= before and before ~= "" then call("SREM", P .. "ra:" .. before, akey) end
      if replica ~= "" and (replica ~= before or was[1] == "disconnected") then connect(replica, akey) end
      call("HSET", key, "s", seen[3], "l", seen[4], "o", seen[5], "x", "", "r", replica)
    end
  end
  return others
end

-- ap: 2 agent, 3 paused, 4 audit
function ops.ap(a)
  local key = P .. "a:" .. a[2]
  if call("EXISTS", key) == 0 then return 0 end
  call("HSET", key, "p", a[3])
  audit(a[4])
  return 1
end

-- ag: one agent.
function looks.ag(a)
  return agent(a[2])
end

-- as: a page of them. 2 tenant, 3 after, 4 most to look at, 5 most to answer, 6 cluster or ""
function looks.as(a)
  local tenant = a[2]
  local found = call("ZRANGEBYLEX", P .. "as", a[3] == "" and "[" .. tenant or "(" .. tenant .. a[3], "+", "LIMIT", 0, a[4])
  local out, last = {}, ""
  local more = #found == a[4]
  for _, akey in ipairs(found) do
    if sub(akey, 1, #tenant) ~= tenant then more = false break end
    last = sub(akey, #tenant + 1)
    if a[6] == "" or call("HGET", P .. "a:" .. akey, "u") == a[6] then
      out[#out + 1] = agent(akey)
      if #out >= a[5] then break end
    end
  end
  return { out, last, more and 1 or 0 }
end

-- Those of a replica stand as disconnected; whose they were stays known, as it may only have been away for a while. Answers them.
local function disconnect(replica, nowMs, most)
  local some = call("SRANDMEMBER", P .. "ra:" .. replica, most)
  local gone = {}
  for _, akey in ipairs(some) do
    local key = P .. "a:" .. akey
    local was = call("HMGET", key, "s", "r")
    if was[2] == replica and was[1] ~= "disconnected" then
      call("HSET", key, "s", "disconnected", "x", nowMs)
      gone[#gone + 1] = akey
    end
    call("SREM", P .. "ra:" .. replica, akey)
  end
  if #some < most then call("SREM", P .. "rs", replica) end
  return gone, #some
end

-- gr: renews a lease. 2 replica, 3 raw, 4 ttl, 5 now, 6 renewed before, 7 most to disconnect
function ops.gr(a)
  local key = P .. "lease:" .. a[2]
  local lapsed = a[6] == 1 and call("EXISTS", key) == 0
  call("SET", key, raw(a[3]), "PX", a[4])
  call("SADD", P .. "replicas", a[2])
  local orphaned, left = {}, a[7]
  for _, replica in ipairs(call("SMEMBERS", P .. "rs")) do
    if left > 0 and not leased(replica) then
      local gone, looked = disconnect(replica, a[5], left)
      left = left - looked
      for _, akey in ipairs(gone) do orphaned[#orphaned + 1] = akey end
    end
  end
  local replicas = {}
  for _, replica in ipairs(call("SMEMBERS", P .. "replicas")) do
    local text = call("GET", P .. "lease:" .. replica)
    if text then replicas[#replicas + 1] = text else call("SREM", P .. "replicas", replica) end
  end
  return { lapsed and 1 or 0, replicas, orphaned, left <= 0 and 1 or 0 }
end

-- ge: ends a lease, in steps. 2 replica, 3 now, 4 most
function ops.ge(a)
  call("DEL", P .. "lease:" .. a[2])
  call("SREM", P .. "replicas", a[2])
  for _, duty in ipairs({ "expiry", "retention", "publish" }) do
    if call("GET", P .. "duty:" .. duty) == a[2] then call("DEL", P .. "duty:" .. duty) end
  end
  local _, looked = disconnect(a[2], a[3], a[4])
  return looked == a[4] and 1 or 0
end

-- gd: takes a duty. 2 duty, 3 replica, 4 ttl
function ops.gd(a)
  local key = P .. "duty:" .. a[2]
  local has = call("GET", key)
  if has and has ~= a[3] then return 0 end
  call("SET", key, a[3], "PX", a[4])
  return 1
end

-- ms, mg: a text under a name.
function ops.ms(a)
  call("HSET", P .. "marks", a[2], a[3])
  return 1
end
function looks.mg(a)
  return call("HGET", P .. "marks", a[2])
end
