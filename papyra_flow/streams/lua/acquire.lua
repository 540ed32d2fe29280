#!lua
-- Take a lease: become the one owner of a source or sink, and fence off whoever owned it before.
-- KEYS  1 the lease's hash   2 the ledger's hash, where there is one
-- ARGV  1 owner   2 'take' or 'wait'   3 seconds after which a silent owner is gone
--       4 a beat that the caller has seen to stand still for so long by its own clock, or ''
-- Returns {epoch, or 0 if another owner holds it; checkpoint; commits; done; records; the owner's last beat}.

local lease, ledger, now = KEYS[1], KEYS[2], tonumber(redis.call('TIME')[1])
local held = redis.call('HMGET', lease, 'owner', 'beat', 'checkpoint', 'commits', 'done', 'records', 'epoch')
local owner = held[1] or ''
local beat = held[2] or '0'
-- After the server's clock went back a beat lies in the future; one that stands still is told by whoever watches it.
local alive = now - tonumber(beat) < tonumber(ARGV[3]) and beat ~= ARGV[4]
if ARGV[2] == 'wait' and owner ~= '' and owner ~= ARGV[1] and alive then
  return {0, held[3] or '', held[4] or '0', held[5] or '0', held[6] or '0', beat}
end
-- The ledger knows how many owners there have been: if the lease alone is lost, that is told (audit_leases.lua), and
-- an owner from before does not pass for the new one.
local before = ledger and redis.call('HGET', ledger, 'lease ' .. lease)
if before and not held[7] then
  redis.call('HSET', lease, 'epoch', before)
  if redis.call('HDEL', ledger, 'told ' .. lease) == 0 then redis.call('HINCRBY', ledger, 'gone ' .. lease, 1) end
end
local epoch = redis.call('HINCRBY', lease, 'epoch', 1)
if ledger then redis.call('HSET', ledger, 'lease ' .. lease, epoch) end
-- Whoever takes a source reads it to its end again: until then it has not ended for those who drain (invariant I7).
redis.call('HSET', lease, 'owner', ARGV[1], 'beat', now, 'done', 0)
return {epoch, held[3] or '', held[4] or '0', held[5] or '0', held[6] or '0', beat}
