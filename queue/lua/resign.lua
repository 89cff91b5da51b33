-- A worker that stops takes itself off the list, unless it still holds something (then its lease runs out and is rescued).
-- KEYS: workers, lease of the worker
-- ARGV: worker instance
-- Returns: 1 if it is off the list.
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
