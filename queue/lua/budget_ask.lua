-- Asks a budget for one call: granted now, or the moment that is set aside for this ticket.
-- KEYS: bucket (hash), slots (sorted set of tickets by their moment)
-- ARGV: now (microseconds), ticket, usual time between calls (us), burst, how long an unused slot is kept (us)
-- Returns: the moment (us) from which the call may be made, as a string: not after now = granted, and the ticket is used up.
--
-- GCRA: `tat` is the theoretical arrival time of the next call if all came evenly spaced. A ticket that was given a slot
-- gets the same answer until its moment has come: asking twice never takes twice.
--
-- A slot is good for as long after its moment as the other side's bucket would still have saved the call up; after that it
-- has run over, and the ticket asks anew. Otherwise workers that were away would come back to a heap of old slots and use
-- all at once. With a burst of 1 nothing is saved up, but nobody comes in the very microsecond: there it is one interval.
local now, burst = tonumber(ARGV[1]), tonumber(ARGV[4])
local bucket = redis.call('HMGET', KEYS[1], 'tat', 'interval')
local interval = tonumber(bucket[2] or ARGV[3])
local slot = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[2]) or nil)
if slot and slot <= now then redis.call('ZREM', KEYS[2], ARGV[2]) end
if slot and now - slot <= math.max(burst - 1, 1) * interval then return string.format('%.0f', slot) end
local tat = math.max(tonumber(bucket[1] or '0'), now)
local moment = math.max(now, tat - (burst - 1) * interval)
redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', tat + interval))
local keep = math.ceil((tat + interval - now + tonumber(ARGV[5])) / 1000)
if moment > now then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - tonumber(ARGV[5])))
  redis.call('ZADD', KEYS[2], string.format('%.0f', moment), ARGV[2])
  redis.call('PEXPIRE', KEYS[2], keep)
end
-- A rate that was told has a time of its own to be believed; the slots set aside may reach beyond it.
if not bucket[2] or redis.call('PTTL', KEYS[1]) < keep then redis.call('PEXPIRE', KEYS[1], keep) end
return string.format('%.0f', moment)
