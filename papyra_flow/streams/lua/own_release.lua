#!lua
-- Let go of a partition, with nothing in flight: the next owner takes it at once.
-- KEYS  1 the lease's hash   ARGV  1 the epoch
-- Returns 1, or 0 if it has another owner now.

if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'owner', '')
return 1
