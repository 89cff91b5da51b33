-- Drops from the notes of who runs those that no lease holds: a worker's note may outlive its lease when Redis fails over.
-- KEYS: base of the queue's keys
-- ARGV: wake channel, scope, cursor of HSCAN
-- Returns: the next cursor ("0" at the end), and how many were dropped. One call reads about 500.
local notes = BASE .. HELD .. ARGV[2]
local page = redis.call('HSCAN', notes, ARGV[3], 'COUNT', 500)
local stale = {}
for i = 1, #page[2], 2 do
  local id, worker = page[2][i], page[2][i + 1]
  if redis.call('HEXISTS', BASE .. LEASE .. worker, id) == 0 then stale[#stale + 1] = id end
end
if #stale > 0 then
  redis.call('HDEL', notes, unpack(stale))
  if ARGV[2]:sub(1, 1) == 'g' then unpark(ARGV[2]:sub(2)) end
  if ARGV[2]:sub(1, 1) == 'e' then unpark(ARGV[2]:match('%z(.*)$')) end
  redis.call('PUBLISH', ARGV[1], '')
end
if redis.call('EXISTS', notes) == 0 then redis.call('SREM', BASE .. HELD_SCOPES, ARGV[2]) end
return { page[1], #stale }
