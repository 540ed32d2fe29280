#!lua
-- Leases that the ledger knows and the server has not any more, and states of parts that are gone; each is told once.
-- KEYS  1 the ledger's hash, then for each lease its hash and that of its parts
-- Returns for each lease {1 if it is gone or was since the last look, else 0; how many parts' states are gone}.

local ledger, result = KEYS[1], {}
for k = 2, #KEYS, 2 do
  local lease, parts = KEYS[k], KEYS[k + 1]
  local gone = redis.call('HDEL', ledger, 'gone ' .. lease)
  local held = redis.call('HMGET', lease, 'epoch', 'parts')
  if not held[1] and redis.call('HGET', ledger, 'lease ' .. lease)
    and redis.call('HSET', ledger, 'told ' .. lease, 1) == 1 then gone = 1 end
  local noted, there = tonumber(held[2] or '0'), redis.call('HLEN', parts)
  if there < noted then redis.call('HSET', lease, 'parts', there) end
  result[#result + 1] = {gone, math.max(0, noted - there)}
end
return result
