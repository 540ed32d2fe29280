#!lua
-- Say that the owner of partitions is alive, where it still is.
-- KEYS  the leases' hashes   ARGV  their epochs

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
for k = 1, #KEYS do
  local held = redis.call('HMGET', KEYS[k], 'epoch', 'owner')
  if (held[1] or '') .. ' ' .. (held[2] or '') == ARGV[k] then redis.call('HSET', KEYS[k], 'beat', now) end
end
return 1
