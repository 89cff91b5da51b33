-- Makes ready what is due.
-- KEYS: base of the queue's keys
-- ARGV: wake channel, now (ms), most entries to move (at most 500)
-- Returns: how many were moved, and when the next one is due (ms; -1 if nothing is delayed).
local delayed = BASE .. DELAYED
local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
if #due > 0 then
  -- By rank, not by name: they are the first, and Redis need not look each of them up.
  redis.call('ZREMRANGEBYRANK', delayed, 0, #due - 1)
  put_ready(ARGV[1], due)
end
local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
return { #due, first[2] and string.format('%.0f', tonumber(first[2])) or '-1' }
