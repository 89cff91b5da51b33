-- Makes ready what is due.
-- KEYS: delayed, ring, group list prefix
-- ARGV: wake channel, now (ms), most entries to move (at most 500)
-- Returns: how many were moved, and when the next one is due (ms; -1 if nothing is delayed).
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
if #due > 0 then
  redis.call('ZREM', KEYS[1], unpack(due))
  put_ready(KEYS[2], KEYS[3], ARGV[1], due)
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { #due, first[2] and string.format('%.0f', tonumber(first[2])) or '-1' }
