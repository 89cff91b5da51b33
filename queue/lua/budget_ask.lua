-- Asks budgets for one call of each: all are taken now, or none, and what is short sets a moment aside for this ticket.
-- KEYS: for each budget bucket, slots, free
-- ARGV: now (us), ticket, then for each budget its documented time between calls (us) and its burst
-- Returns: the moment (us) from which all can be had, as a string, and which budget it waits for, counted from 1; 0 = granted.
--
-- A ticket that holds a slot gets the same answer until its moment has come: asking twice never takes twice. Only the
-- budget that is shortest sets a moment aside; a slot that would have run over by then is given back.
local ticket = ARGV[2]
local all, now = read()
for _, b in ipairs(all) do carry_out(b, now) end

local all_free, waits_for = now, 0
for i, b in ipairs(all) do
  local slot = not b.no_slots and number(redis.call('ZSCORE', b.slots, ticket))
  if slot and now - slot <= b.late then b.slot = slot else b.ran_over = slot end
  b.moment = b.slot or free_moment(b, now)
  if b.moment > all_free then all_free, waits_for = b.moment, i end
end

for _, b in ipairs(all) do
  if waits_for == 0 and b.slot then
    redis.call('ZREM', b.slots, ticket)
    -- Used, and remembered nowhere else: what was free before a slot beyond `next` is given up.
    b.next = math.max(b.next, b.slot + b.interval)
  elseif waits_for == 0 then
    take(b, b.moment)
    if b.ran_over then redis.call('ZREM', b.slots, ticket) end
  elseif b.slot then
    if all_free - b.slot > b.late then give_back(b, ticket, b.slot, now) end
  elseif b.moment == all_free then
    take(b, all_free)
    b.last = math.max(b.last, all_free)
    redis.call('ZREMRANGEBYSCORE', b.slots, '-inf', '(' .. text(now - b.late))
    redis.call('ZADD', b.slots, text(all_free), ticket)
    keep(b, b.slots, now)
  elseif b.ran_over then
    redis.call('ZREM', b.slots, ticket)
  end
  write(b, now)
end
return { text(all_free), waits_for }
