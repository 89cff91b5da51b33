-- Raises the fence to at least a token that the ledger knows: the clock of Redis went back after it lost its data.
-- KEYS: base of the queue's keys
-- ARGV: token
-- Returns: nothing.
local current = tonumber(redis.call('HGET', BASE .. HEAD, 'fence') or '0')
if tonumber(ARGV[1]) > current then redis.call('HSET', BASE .. HEAD, 'fence', ARGV[1]) end
