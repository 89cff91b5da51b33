-- Ids of a piece of a group's list, counted from its end: entries leave at the head, so what stays is never skipped.
-- KEYS: list
-- ARGV: first, last (negative indices, as LRANGE takes them; at most 500 apart)
-- Returns: 16-byte ids.
local entries = redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])
for i, entry in ipairs(entries) do entries[i] = entry:sub(1, 16) end
return entries
