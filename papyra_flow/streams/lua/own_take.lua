#!lua
-- Take the lease of a partition: become its one owner, and fence off whoever owned it before.
-- KEYS  1 the lease's hash   2 the ledger's hash   3 the hash of state   4 the set of timers   5... the streams read
-- ARGV  1 owner   2 milliseconds after which a silent owner is gone   3 the beat of an owner that the caller knows to be
--       gone, or ''   4 group   5 entries of a batch   6 what the meaning of the state depends on, or ''
-- Returns {epoch, or 0 if another owner holds it; the owner's last beat; the owner; the lease's fields, flat; fields of
-- state lost since the last commit; for each stream {where the group stands, entries pending}}.

local lease, ledger = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = {}
local flat = redis.call('HGETALL', lease)
for i = 1, #flat, 2 do held[flat[i]] = flat[i + 1] end
local owner, beat = held['owner'] or '', held['beat'] or '0'
-- After the server's clock went back a beat lies in the future; one that stands still is told by whoever watches it.
-- Another beat than that is another owner's: it was quicker.
local alive = now - tonumber(beat) < tonumber(ARGV[2]) and beat ~= ARGV[3]
if owner ~= '' and owner ~= ARGV[1] and alive then return {0, beat, owner, {}, 0, {}} end

if ARGV[6] ~= '' and (held['shape'] or ARGV[6]) ~= ARGV[6] and redis.call('EXISTS', KEYS[3], KEYS[4]) > 0 then
  return redis.error_reply('RESHAPED ' .. lease)
end

local streams = {}
for k = 5, #KEYS do
  if redis.call('TYPE', KEYS[k]).ok == 'stream' then
    for _, reply in ipairs(redis.call('XINFO', 'GROUPS', KEYS[k])) do
      local found = {}
      for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
      if found['name'] == ARGV[4] then streams[k - 4] = {found['last-delivered-id'], found['pending']} end
    end
  end
  if not streams[k - 4] then
    return redis.error_reply('NOGROUP No such key \'' .. KEYS[k] .. '\' or consumer group \'' .. ARGV[4] .. '\'')
  end
end

-- An owner that let go left nothing in flight. One that did not may have died of what it had: the next one takes less
-- at once, down to one at a time, and notes what it tries (`own_try.lua`).
local limit = tonumber(held['limit'] or '0')
if owner ~= '' then limit = math.max(1, math.floor((limit > 0 and limit or tonumber(ARGV[5])) / 2)) end

-- The ledger knows how many owners there have been: one from before does not pass for the new one where the lease was
-- lost alone.
local before = redis.call('HGET', ledger, 'lease ' .. lease)
if before and not held['epoch'] then redis.call('HSET', lease, 'epoch', before) end
local epoch = redis.call('HINCRBY', lease, 'epoch', 1)
redis.call('HSET', ledger, 'lease ' .. lease, epoch)
local lost = 0
if held['fields'] then lost = math.max(0, tonumber(held['fields']) - redis.call('HLEN', KEYS[3])) end
redis.call('HSET', lease, 'owner', ARGV[1], 'beat', string.format('%.0f', now), 'limit', limit, 'fields',
  redis.call('HLEN', KEYS[3]))
if ARGV[6] ~= '' then redis.call('HSET', lease, 'shape', ARGV[6]) end
local fields = redis.call('HGETALL', lease)
for k = 5, #KEYS do redis.call('HSET', lease, 'at ' .. KEYS[k], streams[k - 4][1]) end
return {epoch, beat, owner, fields, lost, streams}
