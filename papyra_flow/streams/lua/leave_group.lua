#!lua
-- Remove a consumer from a group, unless it still has entries pending, which XGROUP DELCONSUMER would throw away.
-- One script, because a consumer that is thought to be gone may be alive and read between a check and the removal.
-- KEYS  1 the stream    ARGV  1 group   2 consumer
-- Returns 1, or 0 if it was left alone.

if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
