-- Takes entries from one worker whose lease has ended, and makes them ready.
-- KEYS: base of the queue's keys
-- ARGV: wake channel, now (ms), most entries to move (at most 500)
-- Returns: the worker's instance, how many were moved, and when its lease ended (ms, as a string); an empty list when no lease has ended. Call again until then.
local found = redis.call('ZRANGEBYSCORE', BASE .. WORKERS, '-inf', '(' .. ARGV[2], 'WITHSCORES', 'LIMIT', 0, 1)
local lost, ended = found[1], found[2]
if not lost then return {} end
local lease = BASE .. LEASE .. lost
local held = redis.call('HRANDFIELD', lease, ARGV[3], 'WITHVALUES')
local ids, entries = {}, {}
for i = 1, #held, 2 do
  ids[#ids + 1] = held[i]
  entries[#entries + 1] = held[i + 1]
end
if #ids > 0 then
  redis.call('HDEL', lease, unpack(ids))
  -- By their ids, so by birth: the oldest come first.
  table.sort(entries)
  release(ARGV[1], entries)
  put_ready(ARGV[1], entries)
end
if #ids < tonumber(ARGV[3]) then redis.call('ZREM', BASE .. WORKERS, lost) end
return { lost, #ids, ended }
