#!lua
-- A source's commit: add its records, move its checkpoint and the states of its parts, in one atomic step
-- (invariant I6).
--
-- KEYS  1 a key that never exists   2 the lease's hash   3 the hash of its parts   4... targets
-- ARGV  1 the lease's epoch   2 number of this commit   3 the checkpoint after it   4 '1' at the source's end
--       5 records read in all   6 how many parts changed, then for each its name and its state ('' deletes it)
--       then for each record
--       K data   or   '*' K nargs field value ...
-- Returns {1 if done now, 0 if this very commit was done before; error or ''}.

local epoch, number, lease, parts = ARGV[1], tonumber(ARGV[2]), KEYS[2], KEYS[3]
local records = 7 + 2 * tonumber(ARGV[6])

for k = 4, #KEYS do
  local kind = redis.call('TYPE', KEYS[k]).ok
  if kind ~= 'stream' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[k] .. ' holds a ' .. kind .. ', not a stream')
  end
end
redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', 'p', 'p')

local held = redis.call('HMGET', lease, 'epoch', 'commits', 'checkpoint', 'done', 'records')
if held[1] ~= epoch then
  return redis.error_reply('FENCED ' .. lease .. ' has another owner')
end
local commits = tonumber(held[2] or '0')
if commits == number then return {0, ''} end -- our reply was lost: all of it is there
if commits ~= number - 1 then
  return redis.error_reply('FENCED ' .. lease .. ' was moved by another owner')
end

-- Read before the first write: what is kept of the parts, should all of this have to be taken back.
local kept = {}
for p = 7, records - 1, 2 do kept[p] = redis.call('HGET', parts, ARGV[p]) end

-- Returns how many more parts have a state now.
local function move(part, state)
  if state and state ~= '' then return redis.call('HSET', parts, part, state) end
  return -redis.call('HDEL', parts, part)
end

local more = 0
for p = 7, records - 1, 2 do more = more + move(ARGV[p], ARGV[p + 1]) end
if more ~= 0 then redis.call('HINCRBY', lease, 'parts', more) end
redis.call('HSET', lease, 'commits', number, 'checkpoint', ARGV[3], 'done', ARGV[4], 'records', ARGV[5],
  'beat', redis.call('TIME')[1])

local added, i = {}, records
while i <= #ARGV do
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
  if type(result) == 'table' then
    -- Foreseen by no check above: take all of it back.
    for _, entry in ipairs(added) do redis.call('XDEL', entry[1], entry[2]) end
    for p = 7, records - 1, 2 do move(ARGV[p], kept[p]) end
    if more ~= 0 then redis.call('HINCRBY', lease, 'parts', -more) end
    redis.call('HSET', lease, 'commits', commits, 'checkpoint', held[3] or '', 'done', held[4] or '0',
      'records', held[5] or '0')
    return {0, result.err}
  end
  added[#added + 1] = {key, result}
end
return {1, ''}
