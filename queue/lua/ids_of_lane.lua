-- Ids of a piece of a lane, counted from its end: entries leave at the head, so what stays is never skipped.
-- KEYS: base of the queue's keys
-- ARGV: lane, first, last (negative indices, as LRANGE takes them; at most 500 apart)
-- Returns: 16-byte ids.
local entries = redis.call('LRANGE', BASE .. LANE .. ARGV[1], ARGV[2], ARGV[3])
for i, entry in ipairs(entries) do entries[i] = entry:sub(1, 16) end
return entries
