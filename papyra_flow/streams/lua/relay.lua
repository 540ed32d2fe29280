#!lua
-- The far side of a sink on another server: add each entry's records once.
-- KEYS  1 the target stream   2 the lease's hash there   3 a set of ids added and not yet known to be acked
--       4 a key that never exists
-- ARGV  1 the lease's epoch   2 number of ids to forget, then those ids   then for each record: id data
-- Records of one entry come together, in one call. Returns how many were added.

local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'stream' and kind ~= 'none' then
  return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ' holds a ' .. kind .. ', not a stream')
end
redis.call('XADD', KEYS[4], 'NOMKSTREAM', '*', 'p', 'p')
if redis.call('HGET', KEYS[2], 'epoch') ~= ARGV[1] then
  return redis.error_reply('FENCED ' .. KEYS[2] .. ' has another owner')
end

local i = 3
for _ = 1, tonumber(ARGV[2]) do
  redis.call('SREM', KEYS[3], ARGV[i])
  i = i + 1
end

-- An entry is noted as seen after all of its records are there; one that cannot be added is taken back whole.
local added = 0
while i <= #ARGV do
  local id, ours = ARGV[i], {}
  local fresh = redis.call('SISMEMBER', KEYS[3], id) == 0
  while ARGV[i] == id do
    if fresh then
      local result = redis.pcall('XADD', KEYS[1], '*', 'data', ARGV[i + 1])
      if type(result) == 'table' then
        for _, entry in ipairs(ours) do redis.call('XDEL', KEYS[1], entry) end
        return result
      end
      ours[#ours + 1] = result
    end
    i = i + 2
  end
  if fresh then redis.call('SADD', KEYS[3], id) end
  added = added + #ours
end
return added
