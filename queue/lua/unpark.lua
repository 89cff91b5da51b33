-- Brings what is parked back into the rings, some groups at a time; claims park again what must be. Wakes idle workers.
-- KEYS: base of the queue's keys
-- ARGV: wake channel, cursor of SSCAN
-- Returns: the next cursor ("0" at the end). One call brings back about 500 groups.
local page = redis.call('SSCAN', BASE .. PARKED_GROUPS, ARGV[2], 'COUNT', 500)
table.sort(page[2])
for _, group in ipairs(page[2]) do unpark(group) end
redis.call('PUBLISH', ARGV[1], '')
return page[1]
