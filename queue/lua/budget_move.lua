-- Moves a budget's rate to what the other side says.
-- KEYS: bucket
-- ARGV: time between calls (us), how long to believe it (ms)
-- Returns: nothing.
redis.call('HSET', KEYS[1], 'interval', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
