-- What every operation stands on. The whole engine is one chunk, made of the files of this folder in a fixed order: what a file calls `local`
-- at its outermost level is known in those after it. JavaScript puts constants of the protocol before it (`engine.ts`).
--
-- Within one call everything that is read is kept (deliveries, epochs, numbers) and what changed is written once, at the end (`settle`).
-- Nobody else can come in between: Redis runs one script at a time.
local call, pcall_ = redis.call, redis.pcall
local pack, unpack_ = cmsgpack.pack, cmsgpack.unpack
local sub, find, fmt, match = string.sub, string.find, string.format, string.match
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

-- All keys begin with the hash tag of the installation: `{prefix}:`.
local P = sub(KEYS[1], 1, -2)
local RAW = 4

-- Long texts come beside the operations and go beside the answers, so that nobody has to parse them.
local function raw(at)
  return ARGV[RAW + at]
end
local given = { "" }
local function give(text)
  given[#given + 1] = text
  return #given
end

-- Whether the server takes writes just now, found out by the first of a call: Redis refuses that one for want of memory, and none after it.
local ckey = P .. "c:" .. ARGV[1]
local batch = tonumber(ARGV[2])
local refusal = nil
local function writable()
  if refusal == nil then
    local answer = pcall_("HSET", ckey, batch > 0 and "last" or "look", batch)
    refusal = type(answer) == "table" and answer.err or false
  end
  return not refusal
end

-- JSON has fourteen digits of a number here; what has a fraction goes as text.
local function exact(n)
  if n == nil then return false end
  if n % 1 == 0 and n < 1e14 and n > -1e14 then return n end
  return fmt("%.17g", n)
end

-- The numbers of the store: counters, and the last number given to each kind of row.
local numbers, numbered = nil, nil
local function number(name)
  if not numbers then
    numbers = {}
    local all = call("HGETALL", P .. "n")
    for at = 1, #all, 2 do numbers[all[at]] = tonumber(all[at + 1]) end
  end
  return numbers[name] or 0
end
local function add(name, by)
  local value = number(name) + by
  numbers[name] = value
  if not numbered then numbered = {} end
  numbered[name] = value
  return value
end

-- Deliveries that wait and that were handed over, by agent: changes of this call.
local openMoves = nil
local function moved(agent, from, to)
  local before, after = SIDE[from], SIDE[to]
  if before == after then return end
  if not openMoves then openMoves = {} end
  if before then
    local side = openMoves[before]
    if not side then side = {} openMoves[before] = side end
    side[agent] = (side[agent] or 0) - 1
  end
  if after then
    local side = openMoves[after]
    if not side then side = {} openMoves[after] = side end
    side[agent] = (side[agent] or 0) + 1
  end
end

local function writeMoves()
  if not openMoves then return end
  for side, agents in pairs(openMoves) do
    local key = P .. "o" .. side
    for agent, by in pairs(agents) do
      if by ~= 0 and call("HINCRBY", key, agent, by) == 0 then call("HDEL", key, agent) end
    end
  end
  openMoves = nil
end

-- Keys of events and agents within the installation carry their tenant with its length before it: `7:default:ID`.
local function tenantOf(ekey)
  local colon = find(ekey, ":", 1, true)
  return sub(ekey, 1, colon + tonumber(sub(ekey, 1, colon - 1)) + 1)
end
local function idOf(key)
  return sub(key, #tenantOf(key) + 1)
end

-- Epochs of agents; false where there is no row.
local epochs = {}
local function epochOf(akey)
  local epoch = epochs[akey]
  if epoch == nil then
    local text = call("HGET", P .. "a:" .. akey, "e")
    epoch = text and tonumber(text) or false
    epochs[akey] = epoch
  end
  return epoch
end
-- Whether a write of the connection with this epoch counts. One above what is known here counts too, and holds from then on: the store lost
-- something, and the connection is the newest all the same.
local function admits(akey, epoch)
  local stored = epochOf(akey)
  if not stored then return true end
  if epoch < stored then return false end
  if epoch > stored then
    call("HSET", P .. "a:" .. akey, "e", fmt("%d", epoch))
    epochs[akey] = epoch
  end
  return true
end

-- Adds an entry to the audit: { raw }. A stream's field costs as much as a small operation, so there is one: what is looked for, as JSON, a line
-- break, and the rest, which nobody here reads.
local function audit(entry)
  local seq = add("audit", 1)
  call("XADD", P .. "audit", fmt("%d-0", seq), "v", raw(entry[1]))
end
