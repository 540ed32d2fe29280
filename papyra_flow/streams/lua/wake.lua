#!lua
-- Put records whose wait is over where their stage reads them again, each once.
-- KEYS  for each stage: the set of records that wait, and the stream that they go to
-- ARGV  1 the most records of a stage   2 bytes of a stage after which no more follow
-- Returns for each stage {records put back, records that still wait}.

local most, bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local result = {}

for k = 2, #KEYS, 2 do
  local kind = redis.call('TYPE', KEYS[k]).ok
  if kind ~= 'stream' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[k] .. ' holds a ' .. kind .. ', not a stream')
  end
end
for k = 1, #KEYS, 2 do
  local moved, size = 0, 0
  while moved < most and size < bytes do
    local member = redis.call('ZRANGE', KEYS[k], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
    if not member then break end
    redis.call('XADD', KEYS[k + 1], '*', unpack(cmsgpack.unpack(member), 2)) -- first: if it fails, the record still waits
    redis.call('ZREM', KEYS[k], member)
    moved, size = moved + 1, size + #member
  end
  result[#result + 1] = {moved, redis.call('ZCARD', KEYS[k])}
end
return result
