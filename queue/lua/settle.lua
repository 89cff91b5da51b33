-- Ends leases: drops what is finished, delays what runs later, makes ready what is handed back.
-- KEYS: base of the queue's keys
-- ARGV: wake channel, worker instance, number of finished, number of delayed,
--       ids of the finished, then pairs of due (ms) and id of the delayed, then ids of the handed back. At most 500 ids in all.
-- Returns: how many ids the worker did not hold (its lease was lost meanwhile; whoever has them now decides).
local lease = BASE .. LEASE .. ARGV[2]
local finished, delayed = tonumber(ARGV[3]), tonumber(ARGV[4])
local first_delayed = 5 + finished
local first_back = first_delayed + 2 * delayed

local ids, due = {}, {}
for i = first_delayed, first_back - 1, 2 do
  due[#due + 1] = ARGV[i]
  ids[#ids + 1] = ARGV[i + 1]
end
for i = first_back, #ARGV do ids[#ids + 1] = ARGV[i] end
local moved = #ids
for i = 5, first_delayed - 1 do ids[#ids + 1] = ARGV[i] end
if #ids == 0 then return 0 end

-- Only who moves on, or counts against a limit, must be read.
local limited = redis.call('EXISTS', BASE .. HELD_SCOPES) == 1
if moved > 0 or limited then
  local later, back, held = {}, {}, {}
  local entries = redis.call('HMGET', lease, unpack(ids))
  for i = 1, #ids do
    local entry = entries[i]
    if entry then
      held[#held + 1] = entry
      if i <= delayed then
        later[#later + 1] = due[i]
        later[#later + 1] = entry
      elseif i <= moved then
        back[#back + 1] = entry
      end
    end
  end
  if #later > 0 then redis.call('ZADD', BASE .. DELAYED, unpack(later)) end
  put_ready(ARGV[1], back)
  if limited then release(ARGV[1], held) end
end
return #ids - redis.call('HDEL', lease, unpack(ids))
