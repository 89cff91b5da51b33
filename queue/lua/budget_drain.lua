-- The other side said that the bucket is empty (429): from now on one call per interval, until it has filled again.
-- KEYS: bucket
-- ARGV: now (us), usual time between calls (us), burst
-- Returns: the moment (us) of the next free call, as a string.
local bucket = redis.call('HMGET', KEYS[1], 'tat', 'interval')
local interval = tonumber(bucket[2] or ARGV[2])
local burst = tonumber(ARGV[3])
local tat = math.max(tonumber(bucket[1] or '0'), tonumber(ARGV[1]) + burst * interval)
redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', tat))
if not bucket[2] then redis.call('PEXPIRE', KEYS[1], math.ceil((tat - tonumber(ARGV[1])) / 1000) + 60000) end
return string.format('%.0f', tat - (burst - 1) * interval)
