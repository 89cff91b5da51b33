-- Ends leases: drops what is finished, delays what runs later, makes ready what is handed back.
-- KEYS: lease of the worker, delayed, ring, group list prefix
-- ARGV: wake channel, number of finished, number of delayed,
--       ids of the finished, then pairs of due (ms) and id of the delayed, then ids of the handed back. At most 500 ids in all.
-- Returns: how many ids the worker did not hold (its lease was lost meanwhile; whoever has them now decides).
local lease = KEYS[1]
local finished, delayed = tonumber(ARGV[2]), tonumber(ARGV[3])
local first_delayed = 4 + finished
local first_back = first_delayed + 2 * delayed

local later, back, gone = {}, {}, {}
local missing = 0
for i = 4, first_delayed - 1 do gone[#gone + 1] = ARGV[i] end
for i = first_delayed, first_back - 1, 2 do
  local entry = redis.call('HGET', lease, ARGV[i + 1])
  if entry then
    later[#later + 1] = ARGV[i]
    later[#later + 1] = entry
    gone[#gone + 1] = ARGV[i + 1]
  else
    missing = missing + 1
  end
end
for i = first_back, #ARGV do
  local entry = redis.call('HGET', lease, ARGV[i])
  if entry then
    back[#back + 1] = entry
    gone[#gone + 1] = ARGV[i]
  else
    missing = missing + 1
  end
end

if #later > 0 then redis.call('ZADD', KEYS[2], unpack(later)) end
put_ready(KEYS[3], KEYS[4], ARGV[1], back)
if #gone > 0 then missing = missing + #gone - redis.call('HDEL', lease, unpack(gone)) end
return missing
