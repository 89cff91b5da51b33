-- Puts entries on a queue.
-- KEYS: base of the queue's keys
-- ARGV: wake channel, then pairs of: due (milliseconds since 1970; 0 for now), entry. At most 500 pairs.
-- Returns: nothing. Pushing an entry twice leaves two copies; the ledger runs one.
local ready, later = {}, {}
for i = 2, #ARGV, 2 do
  if ARGV[i] == '0' then
    ready[#ready + 1] = ARGV[i + 1]
  else
    later[#later + 1] = ARGV[i]
    later[#later + 1] = ARGV[i + 1]
  end
end
if #later > 0 then redis.call('ZADD', BASE .. DELAYED, unpack(later)) end
put_ready(ARGV[1], ready)
