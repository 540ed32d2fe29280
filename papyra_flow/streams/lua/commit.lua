#!lua
-- The commit: acknowledge entries and forward what they became, in one atomic step.
-- No flags in the first line: a server that is out of memory, read-only or short of replicas refuses the
-- whole script before its first write.
--
-- KEYS  1 the stream read   2 a key that never exists   3 the lease's hash   4... targets
-- ARGV  1 group   2 consumer   3 the lease's epoch, or ''   4 the sink's checkpoint   then for each entry
--       id '0'                                  acknowledge only
--       id K data                               forward one record to KEYS[K], its field `data` alone
--       id '*M' (K nargs field value ...) x M   forward M records
-- Returns {entries acked, ids that were not ours any more, error or '', ids of entries that are not pending}.

local group, consumer, epoch = ARGV[1], ARGV[2], ARGV[3]
local source, lease = KEYS[1], KEYS[3]
local FIRST = 5

-- Whatever could make a write fail is found out before the first one.
for k = 4, #KEYS do
  local kind = redis.call('TYPE', KEYS[k]).ok
  if kind ~= 'stream' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[k] .. ' holds a ' .. kind .. ', not a stream')
  end
end
redis.call('XACK', source, group, '0-0')
redis.call('XADD', KEYS[2], 'NOMKSTREAM', '*', 'p', 'p')

local function next_entry(i)
  local spec = ARGV[i + 1]
  if spec == '0' then return i + 2 end
  if string.byte(spec) ~= 42 then return i + 3 end
  local at = i + 2
  for _ = 1, tonumber(string.sub(spec, 2)) do at = at + 2 + tonumber(ARGV[at + 1]) end
  return at
end

-- An exclusive owner (a sink) commits all or nothing: what it wrote outside cannot be taken back by entry.
if epoch ~= '' then
  if redis.call('HGET', lease, 'epoch') ~= epoch then
    return redis.error_reply('FENCED ' .. lease .. ' has another owner')
  end
  local missing, i = {}, FIRST
  while i <= #ARGV do
    if #redis.call('XPENDING', source, group, ARGV[i], ARGV[i], 1) == 0 then missing[#missing + 1] = ARGV[i] end
    i = next_entry(i)
  end
  if #missing > 0 then return {0, {}, '', missing} end
  redis.call('HSET', lease, 'checkpoint', ARGV[4])
end

local acked, stale, i = 0, {}, FIRST
while i <= #ARGV do
  local id, spec = ARGV[i], ARGV[i + 1]
  -- The gate (invariants I1, I2): only the consumer whose XACK counts forwards.
  if redis.call('XACK', source, group, id) == 1 then
    local added, failure = {}, nil
    if spec ~= '0' and string.byte(spec) ~= 42 then
      local result = redis.pcall('XADD', KEYS[tonumber(spec)], '*', 'data', ARGV[i + 2])
      if type(result) == 'table' then failure = result.err end
    elseif spec ~= '0' then
      local at = i + 2
      for _ = 1, tonumber(string.sub(spec, 2)) do
        local key, nargs = KEYS[tonumber(ARGV[at])], tonumber(ARGV[at + 1])
        local result = redis.pcall('XADD', key, '*', unpack(ARGV, at + 2, at + 1 + nargs))
        if type(result) == 'table' then failure = result.err break end
        added[#added + 1] = {key, result}
        at = at + 2 + nargs
      end
    end
    if failure then
      -- Foreseen by no check above: take this one entry back as a whole, it stays pending.
      for _, entry in ipairs(added) do redis.call('XDEL', entry[1], entry[2]) end
      redis.call('XCLAIM', source, group, consumer, 0, id, 'FORCE', 'JUSTID')
      return {acked, stale, failure, {}}
    end
    acked = acked + 1
  else
    stale[#stale + 1] = id
  end
  i = next_entry(i)
end
return {acked, stale, '', {}}
