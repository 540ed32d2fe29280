#!lua
-- Note what is tried by itself, before it is: it may end its worker, as something has before.
-- KEYS  1 the lease's hash   ARGV  1 the lease's epoch and owner   2 where it is from   3 what is tried
-- Returns how often that was tried, this time included; 0 if the lease has another owner.

local held = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'trying ' .. ARGV[2], 'tries ' .. ARGV[2])
if (held[1] or '') .. ' ' .. (held[2] or '') ~= ARGV[1] then return 0 end
local tries = held[3] == ARGV[3] and tonumber(held[4]) + 1 or 1
redis.call('HSET', KEYS[1], 'trying ' .. ARGV[2], ARGV[3], 'tries ' .. ARGV[2], tries)
return tries
