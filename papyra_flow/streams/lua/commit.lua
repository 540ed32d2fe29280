#!lua
-- The commit: acknowledge entries and forward what they became, in one atomic step.
-- No flags in the first line: a server that is out of memory, read-only or short of replicas refuses the
-- whole script before its first write.
--
-- KEYS  1 the stream read   2 a key that never exists   3 the lease's hash   4... targets, and last but one the set of
--       records that wait for another attempt, last the ledger's hash
-- ARGV  1 group   2 consumer   3 the lease's epoch, 'all', or ''   4 the sink's checkpoint before   5 and after it
--       6 an id that must not be pending any more, or ''   7 how many entries
--       then three arguments for each entry
--         id '0' ''       acknowledge only
--         id K data       forward one record to KEYS[K], its field `data` alone
--         id '*' M        forward M records
--       then, for each entry with '*' in their order, M times:  K nargs field value ...
--         or  'later' nargs milliseconds field value ...: it waits for so long, and is put back then (wake.lua)
-- Returns {entries acked, ids that were not ours any more, error or '', ids of entries that are not pending}.

local group, consumer, epoch = ARGV[1], ARGV[2], ARGV[3]
local source, lease = KEYS[1], KEYS[3]
local FIRST, PORTION = 8, 1000
local later, ledger, account = KEYS[#KEYS - 1], KEYS[#KEYS], 'acked ' .. source .. ' ' .. group
local behind = FIRST + 3 * tonumber(ARGV[7])

-- Whatever could make a write fail is found out before the first one.
for k = 4, #KEYS - 1 do
  local kind = redis.call('TYPE', KEYS[k]).ok
  if KEYS[k] == later and kind == 'zset' then kind = 'none' end
  if kind ~= 'stream' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[k] .. ' holds a ' .. kind .. ', not a stream')
  end
end
redis.call('XACK', source, group, '0-0')
redis.call('XADD', KEYS[2], 'NOMKSTREAM', '*', 'p', 'p')

-- Portions of a commit come in one go: where one was refused, those behind it do nothing, which keeps the order.
if ARGV[6] ~= '' and #redis.call('XPENDING', source, group, ARGV[6], ARGV[6], 1) > 0 then
  return {0, {}, 'EARLY', {}}
end

-- The ledger counts what is acked here (`audit.lua`). It is written before anything else, because it may fail.
local function count(entries)
  if entries ~= 0 then redis.call('HINCRBY', ledger, account, entries) end
end

-- `at` is where the next records of an entry with '*' begin.
local at = behind

-- Let a record wait: ARGV[from] milliseconds, by this server's clock; the rest are its fields. Returns what ZADD said,
-- and the member.
local function wait(from, to)
  local time = redis.call('TIME')
  local due = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + tonumber(ARGV[from])
  local member, result = {0}, 0
  for i = from + 1, to do member[#member + 1] = ARGV[i] end
  while result == 0 do -- another one like it waits until the same moment: neither may take the other's place
    member[1] = member[1] + 1
    result = redis.pcall('ZADD', later, 'NX', due, cmsgpack.pack(member))
  end
  return result, cmsgpack.pack(member)
end

-- Add what one entry became, or pass over it; how to take back what was added goes to `added`. Returns the error of an
-- XADD, with all of `added` taken back.
local function forward(spec, data, really, added)
  local count, many = 1, spec == '*'
  if many then count = tonumber(data) elseif spec == '0' then return nil end
  for _ = 1, count do
    local key, result, member
    if many then
      local nargs = tonumber(ARGV[at + 1])
      key = KEYS[tonumber(ARGV[at])]
      if really and ARGV[at] == 'later' then result, member = wait(at + 2, at + 1 + nargs)
      elseif really then result = redis.pcall('XADD', key, '*', unpack(ARGV, at + 2, at + 1 + nargs)) end
      at = at + 2 + nargs
    elseif really then
      key = KEYS[tonumber(spec)]
      result = redis.pcall('XADD', key, '*', 'data', data)
    end
    if type(result) == 'table' then
      for _, back in ipairs(added) do redis.call(back[1], back[2], back[3]) end
      return result.err
    end
    added[#added + 1] = member and {'ZREM', later, member} or {'XDEL', key, result}
  end
end

-- All or nothing: what a sink's exclusive owner wrote outside cannot be taken back by entry, nor what entries became
-- together ('all').
if epoch ~= '' then
  if epoch ~= 'all' then
    local held = redis.call('HMGET', lease, 'epoch', 'checkpoint')
    if held[1] ~= epoch then return redis.error_reply('FENCED ' .. lease .. ' has another owner') end
    -- A server that has lost what it confirmed is behind what was written outside: that has to be cut back first.
    local at = held[2] or ''
    if at ~= ARGV[4] and at ~= ARGV[5] then
      return redis.error_reply('FENCED ' .. lease .. ' is not where its owner had moved it')
    end
  end
  local ids, pending, found = {}, {}, 0
  for i = FIRST, behind - 1, 3 do ids[#ids + 1] = ARGV[i] end
  for i = 1, #ids, PORTION do
    -- Those that are still pending, whoever has them: they become ours, to be acked in a moment.
    local last = math.min(i + PORTION - 1, #ids)
    local args = {source, group, consumer, 0, unpack(ids, i, last)}
    args[#args + 1] = 'JUSTID'
    for _, id in ipairs(redis.call('XCLAIM', unpack(args))) do
      pending[id] = true
      found = found + 1
    end
  end
  if found < #ids then
    local missing = {}
    for _, id in ipairs(ids) do if not pending[id] then missing[#missing + 1] = id end end
    return {0, {}, '', missing}
  end
  local added, acked = {}, 0
  count(#ids)
  for i = FIRST, behind - 1, 3 do
    local failure = forward(ARGV[i + 1], ARGV[i + 2], true, added)
    if failure then
      count(-#ids)
      return {0, {}, failure, {}}
    end
  end
  if epoch ~= 'all' then redis.call('HSET', lease, 'checkpoint', ARGV[5]) end
  for i = 1, #ids, PORTION do
    acked = acked + redis.call('XACK', source, group, unpack(ids, i, math.min(i + PORTION - 1, #ids)))
  end
  return {acked, {}, '', {}}
end

local acked, stale, entries = 0, {}, tonumber(ARGV[7])
count(entries)
for i = FIRST, behind - 1, 3 do
  local id, spec, failure = ARGV[i], ARGV[i + 1], nil
  -- The gate (invariants I1, I2): only the consumer whose XACK counts forwards.
  local ours = redis.call('XACK', source, group, id) == 1
  if spec == '*' then
    failure = forward(spec, ARGV[i + 2], ours, {})
  elseif ours and spec ~= '0' then -- what most entries become: no call and no table for it
    local result = redis.pcall('XADD', KEYS[tonumber(spec)], '*', 'data', ARGV[i + 2])
    if type(result) == 'table' then failure = result.err end
  end
  if failure then
    -- Foreseen by no check above: this one entry was taken back as a whole, and stays pending.
    redis.call('XCLAIM', source, group, consumer, 0, id, 'FORCE', 'JUSTID')
    count(acked - entries)
    return {acked, stale, failure, {}}
  end
  if ours then acked = acked + 1 else stale[#stale + 1] = id end
end
count(acked - entries)
return {acked, stale, '', {}}
