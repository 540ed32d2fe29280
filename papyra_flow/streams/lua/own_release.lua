#!lua
-- Let go of a partition, with nothing in flight: the next owner takes it at once.
-- KEYS  1 the lease's hash   ARGV  1 its epoch and owner
-- Returns 1, or 0 if it has another owner now.

local held = redis.call('HMGET', KEYS[1], 'epoch', 'owner')
if (held[1] or '') .. ' ' .. (held[2] or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'owner', '')
return 1
