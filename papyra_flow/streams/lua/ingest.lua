#!lua
-- A source's commit: add its records and move its checkpoint, in one atomic step (invariant I6).
--
-- KEYS  1 a key that never exists   2 the lease's hash   3... targets
-- ARGV  1 the lease's epoch   2 number of this commit   3 the checkpoint after it   4 '1' at the source's end
--       5 records read in all   then for each record
--       K data   or   '*' K nargs field value ...
-- Returns {1 if done now, 0 if this very commit was done before; error or ''}.

local epoch, number, lease = ARGV[1], tonumber(ARGV[2]), KEYS[2]

for k = 3, #KEYS do
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

redis.call('HSET', lease, 'commits', number, 'checkpoint', ARGV[3], 'done', ARGV[4], 'records', ARGV[5],
  'beat', redis.call('TIME')[1])

local added, i = {}, 6
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
    redis.call('HSET', lease, 'commits', commits, 'checkpoint', held[3] or '', 'done', held[4] or '0',
      'records', held[5] or '0')
    return {0, result.err}
  end
  added[#added + 1] = {key, result}
end
return {1, ''}
