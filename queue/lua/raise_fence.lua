-- Raises the fence to at least a token that the ledger knows: the clock of Redis went back after it lost its data.
-- KEYS: fence
-- ARGV: token
-- Returns: nothing.
local current = tonumber(redis.call('GET', KEYS[1]) or '0')
if tonumber(ARGV[1]) > current then redis.call('SET', KEYS[1], ARGV[1]) end
