-- Renews all leases of a worker: they hang on its one entry among the workers.
-- KEYS: base of the queue's keys
-- ARGV: lease end (ms), worker instance
-- Returns: 1 if the worker was known; 0 if it had been given up (or Redis lost its data) and holds no lease any more.
local known = redis.call('ZSCORE', BASE .. WORKERS, ARGV[2])
redis.call('ZADD', BASE .. WORKERS, ARGV[1], ARGV[2])
return known and 1 or 0
