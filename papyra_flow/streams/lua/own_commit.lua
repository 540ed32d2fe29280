#!lua
-- The commit of a partition's owner: what leaves, state, timers, watermark and the group's position, in one atomic step
-- (invariants S2, S3). Nothing is pending and nothing is acknowledged: the group's last-delivered-id is the cursor.
-- No flags in the first line: a server that is out of memory, read-only or short of replicas refuses the
-- whole script before its first write.
--
-- KEYS  1 a key that never exists   2 the lease's hash   3 the stream read   4 the ledger's hash   5 the hash of state
--       6 the sorted set of timers   7 the hash of the sink's lease   8... targets
-- ARGV  1 group   2 the lease's epoch and owner   3 this commit's number   4 the id that the group stands at   5 the id that it
--       moves to, or '' if it stays   6 entries that it passes   7 the sink's epoch, or ''   8 the sink's checkpoint
--       before   9 and after it   10 how many fields of the lease change, then their names and values
--       then how many ids are acknowledged (of a stage that was shared), and they
--       then how many records there are, for each: K data, or '*' K nargs field value ...
--       then four lists, each behind its length: field value ... to set and field ... to delete of the state, time member
--       ... to set and member ... to delete of the timers
-- Returns {'DONE', 'AGAIN' if this very commit was done before, 'EARLY' if the one before it was not, 'MISSING' and the
-- ids that are not pending any more}. What was done before, and 'EARLY', tell of this same owner only: epochs may come
-- again where a server has lost the newest ones.

local source, lease, ledger, state, timers = KEYS[3], KEYS[2], KEYS[4], KEYS[5], KEYS[6]
local group, epoch, number = ARGV[1], ARGV[2], tonumber(ARGV[3])
local PORTION = 1000

local function wrong(key, kind, wanted)
  return redis.error_reply('WRONGTYPE ' .. key .. ' holds a ' .. kind .. ', not a ' .. wanted)
end

-- Whatever could make a write fail is found out before the first one.
for k = 3, #KEYS do
  local wanted = (k == 3 or k > 7) and 'stream' or k == 6 and 'zset' or 'hash'
  local kind = redis.call('TYPE', KEYS[k]).ok
  if kind ~= wanted and kind ~= 'none' and not (k == 7 and ARGV[7] == '') then return wrong(KEYS[k], kind, wanted) end
end
redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', 'p', 'p')
redis.call('HDEL', KEYS[1], 'p') -- as all of these, for a user who may not: on a key that is not there they do nothing
redis.call('ZADD', KEYS[1], 'XX', 0, 'p')
redis.call('ZREM', KEYS[1], 'p')
redis.call('XACK', KEYS[1], 'p', '0-1')
local may = redis.pcall('XGROUP', 'SETID', KEYS[1], 'p', '0')
if string.find(may.err, 'permission', 1, true) or string.find(may.err, 'can\'t run', 1, true) then return may end

local held = redis.call('HMGET', lease, 'epoch', 'commits', 'owner')
if (held[1] or '') .. ' ' .. (held[3] or '') ~= epoch then return redis.error_reply('FENCED ' .. lease .. ' has another owner') end
local commits = tonumber(held[2] or '0')
if commits >= number then return {'AGAIN'} end -- its reply was lost, and maybe those behind it: all of it is there
if commits < number - 1 then return {'EARLY'} end

local function group_of()
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', source)) do
    local found = {}
    for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
    if found['name'] == group then return found end
  end
end
-- Entries ever added; asked for once, because the reply holds whole entries.
local function entries_added()
  local flat = redis.call('XINFO', 'STREAM', source)
  for i = 1, #flat, 2 do if flat[i] == 'entries-added' then return flat[i + 1] end end
end

local at = redis.call('EXISTS', source) == 1 and group_of()
if not at then return redis.error_reply('NOGROUP No such key \'' .. source .. '\' or consumer group \'' .. group .. '\'') end
if at['last-delivered-id'] ~= ARGV[4] then
  return redis.error_reply('ELSEWHERE ' .. at['last-delivered-id'])
end

if ARGV[7] ~= '' then
  local sink = redis.call('HMGET', KEYS[7], 'epoch', 'checkpoint')
  if sink[1] ~= ARGV[7] then return redis.error_reply('FENCED ' .. KEYS[7] .. ' has another owner') end
  local written = sink[2] or ''
  if written ~= ARGV[8] and written ~= ARGV[9] then
    return redis.error_reply('FENCED ' .. KEYS[7] .. ' is not where its owner left it')
  end
end

local i = 11
local fields = {lease, 'commits', number}
for _ = 1, tonumber(ARGV[10]) do
  fields[#fields + 1], fields[#fields + 2] = ARGV[i], ARGV[i + 1]
  i = i + 2
end
local acks, ids = tonumber(ARGV[i]), {}
for n = 1, acks do ids[n] = ARGV[i + n] end
i = i + acks + 1

-- What was pending for consumers of a shared stage: all of it is still, or nothing happens.
if acks > 0 then
  local pending = {}
  for n = 1, acks, PORTION do
    local args = {source, group, 'owner', 0, unpack(ids, n, math.min(n + PORTION - 1, acks))}
    args[#args + 1] = 'JUSTID'
    for _, id in ipairs(redis.call('XCLAIM', unpack(args))) do pending[id] = true end
  end
  local missing = {'MISSING'}
  for _, id in ipairs(ids) do if not pending[id] then missing[#missing + 1] = id end end
  if #missing > 1 then return missing end
end

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', lease, 'beat', now) -- by itself harmless: one who may not set fields finds out here

-- The ledger counts what is passed here (`audit.lua`). It is written before anything else, because it may fail.
local passed, account = tonumber(ARGV[6]) + acks, 'acked ' .. source .. ' ' .. group
if passed ~= 0 then redis.call('HINCRBY', ledger, account, passed) end

local added, records = {}, tonumber(ARGV[i])
i = i + 1
for _ = 1, records do
  local key, result
  if ARGV[i] == '*' then
    local nargs = tonumber(ARGV[i + 2])
    key = KEYS[tonumber(ARGV[i + 1])]
    result = redis.pcall('XADD', key, '*', unpack(ARGV, i + 3, i + 2 + nargs))
    i = i + 3 + nargs
  else
    key = KEYS[tonumber(ARGV[i])]
    result = redis.pcall('XADD', key, '*', 'data', ARGV[i + 1])
    i = i + 2
  end
  if type(result) == 'table' then -- foreseen by no check above: take all of it back
    for _, entry in ipairs(added) do redis.call('XDEL', entry[1], entry[2]) end
    if passed ~= 0 then redis.call('HINCRBY', ledger, account, -passed) end
    return result
  end
  added[#added + 1] = {key, result}
end

-- From here on nothing can fail that was not found out above.
local changed = false
for _, change in ipairs({{'HSET', state}, {'HDEL', state}, {'ZADD', timers}, {'ZREM', timers}}) do
  local size = tonumber(ARGV[i])
  for n = i + 1, i + size, 2 * PORTION do
    redis.call(change[1], change[2], unpack(ARGV, n, math.min(n + 2 * PORTION - 1, i + size)))
  end
  changed = changed or size > 0
  i = i + size + 1
end
if changed then fields[#fields + 1], fields[#fields + 2] = 'fields', redis.call('HLEN', state) end
if ARGV[5] ~= '' then
  -- A new group's reads are not known to the server; nor are they, or a lag, where entries ahead were deleted.
  local read = at['lag'] and (at['entries-read'] or entries_added() - at['lag'])
  if read then
    read = string.format('%.0f', read + tonumber(ARGV[6]))
    redis.call('XGROUP', 'SETID', source, group, ARGV[5], 'ENTRIESREAD', read)
  else
    redis.call('XGROUP', 'SETID', source, group, ARGV[5])
  end
  fields[#fields + 1], fields[#fields + 2] = 'at ' .. source, ARGV[5]
end
for n = 1, acks, PORTION do redis.call('XACK', source, group, unpack(ids, n, math.min(n + PORTION - 1, acks))) end
-- A consumer that still has something takes it along when it goes.
if acks > 0 and #redis.call('XPENDING', source, group, '-', '+', 1, 'owner') == 0 then
  redis.call('XGROUP', 'DELCONSUMER', source, group, 'owner')
end
redis.call('HSET', unpack(fields))
if ARGV[7] ~= '' then redis.call('HSET', KEYS[7], 'checkpoint', ARGV[9]) end
return {'DONE'}
