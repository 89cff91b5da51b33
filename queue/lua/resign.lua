-- A worker that stops takes itself off the list, unless it still holds something (then its lease runs out and is rescued).
-- KEYS: base of the queue's keys
-- ARGV: worker instance
-- Returns: 1 if it is off the list.
if redis.call('EXISTS', BASE .. LEASE .. ARGV[1]) == 1 then return 0 end
redis.call('ZREM', BASE .. WORKERS, ARGV[1])
return 1
