#!lua flags=allow-oom
-- Retention: trim what every group of a stream has acked, and nothing else (invariant I3).
-- Allowed when memory is short, because it makes room.
-- KEYS  1 the stream    ARGV  1 '~' or '='   2 milliseconds that acked entries are kept, by the server's own clock
-- Returns how many entries were trimmed. A stream that no group reads is left alone.

-- Both halves of an id have 64 bits, and a number in Lua only 53: ids stay text, and are compared as text.
local LARGEST = '18446744073709551615'

local function less(a, b)
  a, b = string.match(a, '^0*(.*)$'), string.match(b, '^0*(.*)$')
  if #a ~= #b then return #a < #b end
  return a < b
end

local function before(a, b)
  local am, as = string.match(a, '^(%d+)%-(%d+)$')
  local bm, bs = string.match(b, '^(%d+)%-(%d+)$')
  return less(am, bm) or (not less(bm, am) and less(as, bs))
end

local function plus_one(digits)
  local head, digit, nines = string.match(digits, '^(.-)([0-8]?)(9*)$')
  return head .. (digit == '' and '1' or string.char(string.byte(digit) + 1)) .. string.rep('0', #nines)
end

-- The next id, as the server counts; after the largest there is none: one entry is kept.
local function after(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  if seq ~= LARGEST then return ms .. '-' .. plus_one(seq) end
  if ms ~= LARGEST then return plus_one(ms) .. '-0' end
  return id
end

local bound = nil
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local info = {}
  for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
  local unacked = after(info['last-delivered-id'])
  if info['pending'] > 0 then unacked = redis.call('XPENDING', KEYS[1], info['name'])[2] end
  if bound == nil or before(unacked, bound) then bound = unacked end
end
if bound == nil then return 0 end
if tonumber(ARGV[2]) > 0 then
  local now = redis.call('TIME')
  local old = string.format('%.0f', math.max(0, now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[2])) .. '-0'
  if before(old, bound) then bound = old end
end
return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1], bound)
