#!lua flags=no-writes
-- One consistent look at streams and leases, for draining, status and plan. Nothing here copies an entry or walks over
-- entries, so that a look takes as long as there are groups, whatever is in the streams; except for the last question.
-- KEYS  streams, then leases    ARGV  1 how many of the keys are streams   then pairs: a stream's number, a group
-- Returns for each stream {type, length, groups}, where a group is {name, consumers, pending, last-delivered-id,
-- lag or -1 where the server does not know it, entries ever read or -1}; for each lease {owner, checkpoint, done, records,
-- epoch};
-- and last, which of the pairs is the first whose group has an entry before it that was not delivered to it yet, or 0.

local streams = tonumber(ARGV[1])
local result, delivered = {}, {}

local function number(value) return type(value) == 'number' and value or -1 end

for k = 1, #KEYS do
  local key = KEYS[k]
  if k > streams then
    local held = redis.call('HMGET', key, 'owner', 'checkpoint', 'done', 'records', 'epoch')
    result[k] = {held[1] or '', held[2] or '', held[3] or '0', held[4] or '0', held[5] or '0'}
  else
    local kind, length, groups = redis.call('TYPE', key).ok, 0, {}
    if kind == 'stream' then
      length = redis.call('XLEN', key)
      for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
        local info = {}
        for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
        groups[#groups + 1] = {
          info['name'], info['consumers'], info['pending'], info['last-delivered-id'], number(info['lag']),
          number(info['entries-read'])
        }
        delivered[k .. ' ' .. info['name']] = info['last-delivered-id']
      end
    end
    result[k] = {kind, length, groups}
  end
end

-- An entry is copied to see that it is there: asked only where the answer is most likely that there is none.
local first = 0
for i = 2, #ARGV, 2 do
  local id = delivered[ARGV[i] .. ' ' .. ARGV[i + 1]]
  if id and #redis.call('XRANGE', KEYS[tonumber(ARGV[i])], '(' .. id, '+', 'COUNT', 1) > 0 then
    first = i / 2
    break
  end
end
result[#KEYS + 1] = first
return result
