#!lua
-- Say that a member of a stage's owners is alive, for its partitions too, and look at who owns which.
-- KEYS  1 the sorted set of members, by the time of their last sign of life   2... the leases of the partitions, then
--       the streams of each
-- ARGV  1 the member, or ''   2 milliseconds after which a silent one is gone   3 group   4 how many partitions there are
--       5... for each lease the epoch that the member holds it with, or ''
-- Returns {the members, in order of their names; for each lease {owner, beat, epoch, commits, 1 if it is the member's and
-- the group stands where the last commit left it on all streams}; the server's time}.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local text = string.format('%.0f', now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - tonumber(ARGV[2])))
if ARGV[1] ~= '' then redis.call('ZADD', KEYS[1], text, ARGV[1]) end
local members = redis.call('ZRANGE', KEYS[1], 0, -1)
table.sort(members)

local count = tonumber(ARGV[4])
local each = (#KEYS - 1 - count) / count
local function stands(lease, stream)
  if redis.call('TYPE', stream).ok ~= 'stream' then return false end
  for _, reply in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local found = {}
    for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
    if found['name'] == ARGV[3] then return found['last-delivered-id'] == redis.call('HGET', lease, 'at ' .. stream) end
  end
  return false
end

local leases = {}
for number = 1, count do
  local lease = KEYS[1 + number]
  local held, ours = redis.call('HMGET', lease, 'owner', 'beat', 'epoch', 'commits'), 0
  if ARGV[4 + number] ~= '' and held[3] == ARGV[4 + number] and held[1] == ARGV[1] then
    redis.call('HSET', lease, 'beat', text)
    held[2], ours = text, 1
    for k = 1, each do
      if not stands(lease, KEYS[1 + count + (number - 1) * each + k]) then ours = 0 end
    end
  end
  leases[number] = {held[1] or '', held[2] or '0', held[3] or '0', held[4] or '0', ours}
end
return {members, leases, text}
