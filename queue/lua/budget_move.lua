-- Moves a budget's rate to what the other side says. What has been used stays used: the debt is kept in calls, not in time.
-- KEYS: bucket
-- ARGV: now (us), usual time between calls (us), time between calls from now on (us), how long to believe it (ms)
-- Returns: nothing.
local now, told = tonumber(ARGV[1]), tonumber(ARGV[3])
local bucket = redis.call('HMGET', KEYS[1], 'tat', 'interval')
local before = tonumber(bucket[2] or ARGV[2])
local debt = math.max(tonumber(bucket[1] or '0') - now, 0) / before
redis.call('HSET', KEYS[1], 'interval', ARGV[3], 'tat', string.format('%.0f', now + debt * told))
redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[4]), math.ceil(debt * told / 1000)))
