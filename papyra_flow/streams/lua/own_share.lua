#!lua
-- Say that a member of a stage's owners is alive, for its partitions too, and look at who owns which.
-- KEYS  1 the sorted set of members, by the time of their last sign of life   2... the leases of the partitions
-- ARGV  1 the member, or ''   2 milliseconds after which a silent one is gone   3... for each lease the epoch that the
--       member holds it with, or ''
-- Returns {the members, in order of their names; for each lease {owner, beat, epoch}; the server's time}.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local text = string.format('%.0f', now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - tonumber(ARGV[2])))
if ARGV[1] ~= '' then redis.call('ZADD', KEYS[1], text, ARGV[1]) end
local members = redis.call('ZRANGE', KEYS[1], 0, -1)
table.sort(members)
local leases = {}
for k = 2, #KEYS do
  local held = redis.call('HMGET', KEYS[k], 'owner', 'beat', 'epoch')
  if ARGV[k + 1] ~= '' and held[3] == ARGV[k + 1] then
    redis.call('HSET', KEYS[k], 'beat', text)
    held[2] = text
  end
  leases[#leases + 1] = {held[1] or '', held[2] or '0', held[3] or '0'}
end
return {members, leases, text}
