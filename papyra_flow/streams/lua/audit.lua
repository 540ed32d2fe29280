#!lua
-- The ledger's balance: what a group was given is acked by commits, pending, or lost; acked twice where it was given twice.
-- All of it at one moment: between two commands a commit could move an entry from one side to the other.
-- KEYS  1 the ledger's hash   2... streams, one for each group
-- ARGV  1 a name for a new ledger   2 '1' if what is found will be told   3... groups
-- Returns {the ledger's name, then for each group {found, outstanding, lost so far, of that not told yet, processed again
-- and not told yet}}.

local ledger = KEYS[1]
local name = redis.call('HGET', ledger, 'born')
if not name then
  name = ARGV[1]
  redis.call('HSET', ledger, 'born', name)
end

local function map_of(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

local function group_of(key, group)
  if redis.call('TYPE', key).ok ~= 'stream' then return nil end
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local found = map_of(flat)
    if found['name'] == group then return found end
  end
end

-- Entries ever added; asked for only where the group's own figures do not tell, because the reply holds whole entries.
local function added(key) return map_of(redis.call('XINFO', 'STREAM', key))['entries-added'] end

-- How many of all entries ever added lie behind the group, and whether those are all; nil where the server cannot tell.
-- `entries-read` alone leaves out what was trimmed before it was delivered (seen: Redis 7.0), so that the end counts.
local function position(key, group)
  local read, lag = group['entries-read'] or nil, group['lag'] or nil
  local left = lag ~= 0 and redis.call('XLEN', key) > 0
  if left and group['pending'] == 0 then
    left = #redis.pcall('XRANGE', key, '(' .. group['last-delivered-id'], '+', 'COUNT', 1) > 0
  end
  if not left then return read and lag and read + lag or added(key), true end
  return read or (lag and added(key) - lag), false
end

local result = {name}
for k = 2, #KEYS do
  local key, of = KEYS[k], KEYS[k] .. ' ' .. ARGV[k + 1]
  local group = group_of(key, ARGV[k + 1])
  local facts = redis.call('HMGET', ledger, 'acked ' .. of, 'base ' .. of, 'lost ' .. of, 'told ' .. of,
    'at ' .. of, 'off ' .. of, 'again ' .. of)
  local lost, missing, outstanding = tonumber(facts[3]) or 0, 0, 0
  local again = tonumber(facts[7]) or 0
  local told = tonumber(facts[4]) or lost -- it is kept only while it is another number
  if group then
    local length, at, all = redis.call('XLEN', key), position(key, group)
    outstanding = group['pending'] + (all and 0 or math.min(group['lag'] or length, length))
    if at then
      local balance = at - group['pending'] - (tonumber(facts[1]) or 0)
      local base = tonumber(facts[2]) or balance
      missing = math.max(0, balance - base)
      -- Where the group was moved back the balance falls; in the middle of a stream it may be too low for a while, and
      -- while entries are pending that were written off. A stream that begins again is another one.
      local rest = all and group['pending'] == 0
      if rest and at >= (tonumber(facts[5]) or 0) then
        again = again + math.max(0, base - balance - (tonumber(facts[6]) or 0))
      end
      if rest and facts[6] then redis.call('HDEL', ledger, 'off ' .. of) end
      if tonumber(facts[5]) ~= at then redis.call('HSET', ledger, 'at ' .. of, string.format('%.0f', at)) end
      if not facts[2] or missing > 0 or (rest and balance < base) then
        redis.call('HSET', ledger, 'base ' .. of, string.format('%.0f', balance))
      end
      if missing > 0 then redis.call('HINCRBY', ledger, 'lost ' .. of, string.format('%.0f', missing)) end
    end
  end
  if ARGV[2] == '1' then
    if facts[4] then redis.call('HDEL', ledger, 'told ' .. of) end
  elseif missing > 0 and not facts[4] then
    redis.call('HSET', ledger, 'told ' .. of, string.format('%.0f', lost))
  end
  if ARGV[2] ~= '1' and again > 0 then
    redis.call('HSET', ledger, 'again ' .. of, string.format('%.0f', again))
  elseif facts[7] then
    redis.call('HDEL', ledger, 'again ' .. of)
  end
  result[#result + 1] = {group and 1 or 0, outstanding, lost + missing, lost + missing - told, again}
end
return result
