#!lua flags=no-writes
-- Count the entries after an id, as far as that holds the server for less than a millisecond: entries can only be counted
-- by copying them, which costs a microsecond each and up to 7 for each KiB (Redis 7.0), and scripts have no clock there.
-- KEYS  1 the stream    ARGV  1 the id   2 the most to count
-- Returns {how many, the last one's id, 1 if none is after it}.

local MOST, PAGE, BYTES = 256, 64, 48 * 1024
local at, counted, copied, page = ARGV[1], 0, 0, 1
local most = math.min(tonumber(ARGV[2]), MOST)

while counted < most do
  local asked = math.min(page, most - counted)
  local found = redis.call('XRANGE', KEYS[1], '(' .. at, '+', 'COUNT', asked)
  for _, entry in ipairs(found) do
    for _, text in ipairs(entry[2]) do copied = copied + #text end
  end
  counted = counted + #found
  if #found > 0 then at = found[#found][1] end
  if #found < asked then return {counted, at, 1} end
  if copied >= BYTES then break end
  -- Pages double from one entry on, and hold no more than what is left if entries go on being as large.
  page = math.max(1, math.min(2 * page, PAGE, math.floor((BYTES - copied) * counted / math.max(copied, 1))))
end
return {counted, at, 0}
