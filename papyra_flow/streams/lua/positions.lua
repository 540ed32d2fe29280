#!lua flags=no-writes
-- One consistent look at streams and leases, for draining, status and plan.
-- KEYS  streams, then leases    ARGV  1 how many of the keys are streams   2 the most entries to count
-- Returns for each stream {type, length, first id, last id, last-generated-id, groups, entries ever added}, where a
-- group is {name, consumers, pending, last-delivered-id, undelivered, entries ever read}; for each lease {owner, checkpoint, done, records}.

local streams, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local result = {}

local function pairs_of(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

-- Entries that a group has not seen: its lag where the server knows it, else counted, as far as allowed.
local function undelivered(key, info, last)
  local seen = info['last-delivered-id']
  if seen == last then return 0 end
  if info['lag'] and type(info['lag']) == 'number' then
    if info['lag'] > 0 then return info['lag'] end
  end
  local counted = #redis.call('XRANGE', key, '(' .. seen, '+', 'COUNT', most)
  if counted < most then return counted end
  return redis.call('XLEN', key)
end

for k = 1, #KEYS do
  local key = KEYS[k]
  local kind = redis.call('TYPE', key).ok
  if k > streams then
    local held = redis.call('HMGET', key, 'owner', 'checkpoint', 'done', 'records')
    result[k] = {held[1] or '', held[2] or '', held[3] or '0', held[4] or '0'}
  elseif kind ~= 'stream' then
    result[k] = {kind, 0, '', '', '0-0', {}, 0}
  else
    local info = pairs_of(redis.call('XINFO', 'STREAM', key))
    local groups = {}
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
      local g = pairs_of(group)
      groups[#groups + 1] = {
        g['name'], g['consumers'], g['pending'], g['last-delivered-id'],
        undelivered(key, g, info['last-generated-id']), tonumber(g['entries-read'] or 0) or 0
      }
    end
    local first, last = info['first-entry'], info['last-entry']
    result[k] = {
      kind, info['length'], first and first[1] or '', last and last[1] or '', info['last-generated-id'], groups,
      info['entries-added'] or 0
    }
  end
end
return result
