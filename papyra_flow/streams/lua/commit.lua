#!lua
-- The commit: acknowledge entries, and do what follows from each, in one atomic step.
-- No flags in the first line: a server that is out of memory, read-only or short of replicas refuses the
-- whole script before its first write.
--
-- KEYS  1 the stream read   2 a key that never exists   3 the lease's hash   4... targets, then hashes of state, then
--       sorted sets of timers, last but one the set of records that wait for another attempt, last the ledger's hash
-- ARGV  1 group   2 consumer   3 the lease's epoch, 'all', or ''   4 the sink's checkpoint before   5 and after it
--       6 an id that must not be pending any more, or ''   7 how many hashes of state   8 how many sets of timers
--       9 how many entries
--       then three arguments for each entry
--         id '0' ''       acknowledge only
--         id K data       forward one record to KEYS[K], its field `data` alone
--         id '*' M        M operations
--       then, for each entry with '*' in their order, M operations, each with the number of arguments that follow
--         K nargs field value ...                      forward a record to KEYS[K], also a dead letter
--         'later' nargs milliseconds field value ...   it waits for so long, and is put back then (wake.lua)
--         'put' 3 N field value    'unput' 2 N field   in the Nth hash of state, from 0
--         'at' 3 N time member     'unat' 2 N member   in the Nth set of timers, from 0
-- Returns {entries acked, ids that were not ours any more, error or '', ids of entries that are not pending}.

local group, consumer, epoch = ARGV[1], ARGV[2], ARGV[3]
local source, lease = KEYS[1], KEYS[3]
local FIRST, PORTION = 10, 1000
local later, ledger, account = KEYS[#KEYS - 1], KEYS[#KEYS], 'acked ' .. source .. ' ' .. group
local behind = FIRST + 3 * tonumber(ARGV[9])
local timers = #KEYS - 1 - tonumber(ARGV[8])
local states = timers - tonumber(ARGV[7])

-- Whatever could make a write fail is found out before the first one.
for k = 4, #KEYS - 1 do
  local kind = redis.call('TYPE', KEYS[k]).ok
  if KEYS[k] == later and kind == 'zset' then kind = 'none' end
  local wanted = k < states and 'stream' or k < timers and 'hash' or k < #KEYS - 1 and 'zset' or 'stream'
  if kind ~= wanted and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[k] .. ' holds a ' .. kind .. ', not a ' .. wanted)
  end
end
for k = states, #KEYS - 2 do
  for _, command in ipairs(k < timers and {'HSET', 'HDEL'} or {'ZADD', 'ZREM'}) do
    if not redis.acl_check_cmd(command, KEYS[k], '0', '0') then
      return redis.error_reply('NOPERM no permissions to run ' .. command .. ' on ' .. KEYS[k])
    end
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

-- `at` is where the operations of the next entry with '*' begin.
local at = behind

-- Let a record wait: ARGV[from] milliseconds, by this server's clock; the rest are its fields. Returns what stands for
-- it there, or the error of the ZADD.
local function wait(from, to)
  local time = redis.call('TIME')
  local due = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + tonumber(ARGV[from])
  local member, packed, result = {0}, nil, 0
  for i = from + 1, to do member[#member + 1] = ARGV[i] end
  while result == 0 do -- another one like it waits until the same moment: neither may take the other's place
    member[1] = member[1] + 1
    packed = cmsgpack.pack(member)
    result = redis.pcall('ZADD', later, 'NX', due, packed)
  end
  return type(result) == 'table' and result or packed
end

-- Change state and timers, in the order of the operations. Nothing can make it fail that was not found out above; it is
-- done behind every XADD, which can.
local function change(changes)
  for _, i in ipairs(changes) do
    local name, n = ARGV[i], tonumber(ARGV[i + 2])
    if name == 'put' then redis.call('HSET', KEYS[states + n], ARGV[i + 3], ARGV[i + 4])
    elseif name == 'unput' then redis.call('HDEL', KEYS[states + n], ARGV[i + 3])
    elseif name == 'at' then redis.call('ZADD', KEYS[timers + n], ARGV[i + 3], ARGV[i + 4])
    else redis.call('ZREM', KEYS[timers + n], ARGV[i + 3]) end
  end
end
local CHANGES = {put = true, unput = true, at = true, unat = true}

-- Add what one entry became, or pass over it; what was added goes to `added`, and where its changes of state and timers
-- stand to `changes`. Returns the error of an XADD, with all that was added taken back.
local function forward(spec, data, really, added, changes)
  local count, many = 1, spec == '*'
  if many then count = tonumber(data) elseif spec == '0' then return nil end
  for _ = 1, count do
    local key, result
    if many then
      local name, nargs = ARGV[at], tonumber(ARGV[at + 1])
      key = name == 'later' and later or KEYS[tonumber(name)]
      if really and CHANGES[name] then changes[#changes + 1] = at
      elseif really and name == 'later' then result = wait(at + 2, at + 1 + nargs)
      elseif really then result = redis.pcall('XADD', key, '*', unpack(ARGV, at + 2, at + 1 + nargs)) end
      at = at + 2 + nargs
    elseif really then
      key = KEYS[tonumber(spec)]
      result = redis.pcall('XADD', key, '*', 'data', data)
    end
    if type(result) == 'table' then
      for _, entry in ipairs(added) do redis.call(entry[1] == later and 'ZREM' or 'XDEL', entry[1], entry[2]) end
      return result.err
    end
    if result then added[#added + 1] = {key, result} end
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
      return redis.error_reply('FENCED ' .. lease .. ' is not where its owner left it')
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
  local added, changes, acked = {}, {}, 0
  count(#ids)
  for i = FIRST, behind - 1, 3 do
    local failure = forward(ARGV[i + 1], ARGV[i + 2], true, added, changes)
    if failure then
      count(-#ids)
      return {0, {}, failure, {}}
    end
  end
  change(changes)
  if epoch ~= 'all' then redis.call('HSET', lease, 'checkpoint', ARGV[5]) end
  for i = 1, #ids, PORTION do
    acked = acked + redis.call('XACK', source, group, unpack(ids, i, math.min(i + PORTION - 1, #ids)))
  end
  return {acked, {}, '', {}}
end

local acked, stale, entries = 0, {}, tonumber(ARGV[9])
count(entries)
for i = FIRST, behind - 1, 3 do
  local id, spec, failure = ARGV[i], ARGV[i + 1], nil
  -- The gate (invariants I1, I2): only the consumer whose XACK counts forwards, and changes state.
  local ours = redis.call('XACK', source, group, id) == 1
  if spec == '*' then
    local changes = {}
    failure = forward(spec, ARGV[i + 2], ours, {}, changes)
    if not failure then change(changes) end
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
