#!lua
-- Take a lease: become the one owner of a source or sink, and fence off whoever owned it before.
-- KEYS  1 the lease's hash    ARGV  1 owner   2 'take' or 'wait'   3 seconds after which a silent owner is gone
--       4 a beat that the caller has seen to stand still for so long by its own clock, or ''
-- Returns {epoch, or 0 if another owner holds it; checkpoint; commits; done; records; the owner's last beat}.

local lease, now = KEYS[1], tonumber(redis.call('TIME')[1])
local held = redis.call('HMGET', lease, 'owner', 'beat', 'checkpoint', 'commits', 'done', 'records')
local owner = held[1] or ''
local beat = held[2] or '0'
-- After the server's clock went back a beat lies in the future; one that stands still is told by whoever watches it.
local alive = now - tonumber(beat) < tonumber(ARGV[3]) and beat ~= ARGV[4]
if ARGV[2] == 'wait' and owner ~= '' and owner ~= ARGV[1] and alive then
  return {0, held[3] or '', held[4] or '0', held[5] or '0', held[6] or '0', beat}
end
local epoch = redis.call('HINCRBY', lease, 'epoch', 1)
redis.call('HSET', lease, 'owner', ARGV[1], 'beat', now)
return {epoch, held[3] or '', held[4] or '0', held[5] or '0', held[6] or '0', beat}
