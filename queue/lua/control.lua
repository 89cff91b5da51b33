-- Puts a queue's controls in force (what is paused, what is limited, what weighs more) in place of those before, and opens
-- the queue: without them nothing is claimed. What was parked under the old ones is brought back by unpark.lua.
-- KEYS: base of the queue's keys
-- ARGV: now (ms), then pairs of field and value; at most 2,000
-- Returns: nothing.
local head = BASE .. HEAD
local kept = { fence = true, epoch = true, open = true }
for i = 2, #ARGV, 2 do kept[ARGV[i]] = true end
local gone = {}
for _, field in ipairs(redis.call('HKEYS', head)) do
  if not kept[field] then gone[#gone + 1] = field end
end
if #gone > 0 then redis.call('HDEL', head, unpack(gone)) end
-- Since when it is open: no run of these data began before.
redis.call('HSETNX', head, 'open', ARGV[1])
if #ARGV > 1 then redis.call('HSET', head, unpack(ARGV, 2)) end
