#!lua
-- Change a lease that is still ours.
-- KEYS  1 the lease's hash    ARGV  1 epoch   2... fields and values; `beat` is always set to the server's time
-- Returns 1, or 0 if it has another owner now.

if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'beat', redis.call('TIME')[1])
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
