#!lua
-- Put dead letters back: the original fields to the stage's replay stream, the dead letter away; each once.
-- A last field says where the record came from, and how often it was tried (`waiting.py`): should it die again, that is
-- told with it.
-- KEYS  1 the dead-letter stream   2 the replay stream    ARGV  ids
-- Returns how many were put back; one that is not there (any more), or has too many fields, is not counted.

local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'stream' and kind ~= 'none' then
  return redis.error_reply('WRONGTYPE ' .. KEYS[2] .. ' holds a ' .. kind .. ', not a stream')
end
local replayed = 0
for _, id in ipairs(ARGV) do
  local found = redis.call('XRANGE', KEYS[1], id, id)[1]
  if found then
    local fields, original, facts = found[2], {}, {}
    for i = 1, #fields, 2 do
      local name = fields[i]
      if string.sub(name, 1, 2) == '@@' then
        name = string.sub(name, 2)
      elseif string.sub(name, 1, 1) == '@' then
        facts[name] = fields[i + 1]
        name = nil
      end
      if name then
        original[#original + 1] = name
        original[#original + 1] = fields[i + 1]
      end
    end
    local stream, first, tried = facts['@stream'] or '', facts['@id'] or '', facts['@deliveries'] or ''
    if #original > 0 and stream ~= '' and string.match(first, '^%d+%-%d+$') then
      if not string.match(tried, '^%d+$') or #tried > 9 then tried = '0' end
      original[#original + 1] = '@waited'
      original[#original + 1] = '0+' .. tried .. ' ' .. first .. ' ' .. stream
    end
    if #original > 0 then
      redis.call('XADD', KEYS[2], '*', unpack(original)) -- first: if it fails, the dead letter is still there
      redis.call('XDEL', KEYS[1], id)
      replayed = replayed + 1
    end
  end
end
return replayed
