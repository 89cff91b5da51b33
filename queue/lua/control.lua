-- Puts a queue's controls in force (what is paused, what is limited, what weighs more) in place of those before, and opens
-- the queue: without them nothing is claimed. What was parked under the old ones is brought back by unpark.lua.
-- KEYS: base of the queue's keys
-- ARGV: pairs of field and value; at most 2,000
-- Returns: nothing.
local head = BASE .. HEAD
local kept = { fence = true, epoch = true }
for i = 1, #ARGV, 2 do kept[ARGV[i]] = true end
local gone = {}
for _, field in ipairs(redis.call('HKEYS', head)) do
  if not kept[field] then gone[#gone + 1] = field end
end
if #gone > 0 then redis.call('HDEL', head, unpack(gone)) end
redis.call('HSET', head, 'open', '1', unpack(ARGV))
