#!lua flags=allow-oom
-- Retention: trim what every group of a stream has acked, and nothing else (invariant I3).
-- Allowed when memory is short, because it makes room.
-- KEYS  1 the stream    ARGV  1 '~' or '='   2 milliseconds that acked entries are kept, by the server's own clock
-- Returns how many entries were trimmed. A stream that no group reads is left alone.

local function before(a, b)
  local am, as = string.match(a, '(%d+)-(%d+)')
  local bm, bs = string.match(b, '(%d+)-(%d+)')
  am, bm, as, bs = tonumber(am), tonumber(bm), tonumber(as), tonumber(bs)
  return am < bm or (am == bm and as < bs)
end

local function after(id)
  local ms, seq = string.match(id, '(%d+)-(%d+)')
  if #seq > 15 then return id end -- beyond what a double holds: keep one entry rather than guess
  return ms .. '-' .. string.format('%.0f', tonumber(seq) + 1)
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
