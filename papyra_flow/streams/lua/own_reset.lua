#!lua
-- Move a partition by hand, or drop its state: its lease and the groups that it stands for change together.
-- Whoever owns it is fenced off: what it has in flight is refused, and the next owner reads what is here.
-- KEYS  1 the lease's hash   2 the ledger's hash   3 the hash of state   4 the sorted set of timers   5... streams
-- ARGV  1 group   2 milliseconds after which a silent owner is gone   3 '1' to do it though one is alive   4 '1' to
--       drop the state   5 '1' to forget how far event time has got   6... for each stream the id to move to, or ''
-- Returns '' where it is done, or the owner that is alive.

local lease = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', lease, 'owner', 'beat')
local owner, beat = held[1] or '', tonumber(held[2] or '0')
if ARGV[3] ~= '1' and owner ~= '' and now - beat < tonumber(ARGV[2]) then return owner end

for k = 5, #KEYS do
  local there = false
  if redis.call('TYPE', KEYS[k]).ok == 'stream' then
    for _, reply in ipairs(redis.call('XINFO', 'GROUPS', KEYS[k])) do
      for i = 1, #reply, 2 do there = there or (reply[i] == 'name' and reply[i + 1] == ARGV[1]) end
    end
  end
  if not there then
    return redis.error_reply('NOGROUP No such key \'' .. KEYS[k] .. '\' or consumer group \'' .. ARGV[1] .. '\'')
  end
end

local before = redis.call('HGET', KEYS[2], 'lease ' .. lease)
if redis.call('EXISTS', lease) == 1 or before then
  if before and not redis.call('HGET', lease, 'epoch') then redis.call('HSET', lease, 'epoch', before) end
  local epoch = redis.call('HINCRBY', lease, 'epoch', 1)
  redis.call('HSET', KEYS[2], 'lease ' .. lease, epoch)
  redis.call('HSET', lease, 'owner', '')
end
if ARGV[4] == '1' then
  -- What is large is freed by another thread: for the server this takes as long for one field as for a million.
  redis.call('UNLINK', KEYS[3], KEYS[4])
  redis.call('HDEL', lease, 'fields', 'shape')
end
if ARGV[5] == '1' then
  local flat = redis.call('HGETALL', lease)
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, 9) == 'watermark' then redis.call('HDEL', lease, flat[i]) end
  end
end
for k = 5, #KEYS do
  local id = ARGV[k + 1]
  if id ~= '' then
    redis.call('XGROUP', 'SETID', KEYS[k], ARGV[1], id)
    redis.call('HSET', lease, 'at ' .. KEYS[k], id, 'limit', 0)
    redis.call('HDEL', lease, 'trying ' .. KEYS[k], 'tries ' .. KEYS[k])
  end
end
return ''
