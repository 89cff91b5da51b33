-- Looks at budgets and changes nothing.
-- KEYS: for each budget bucket, slots, free
-- ARGV: now (us), nothing, then for each budget its documented time between calls (us) and its burst
-- Returns: for each budget: calls that could be made at once now; the moment (us, a string) that the next who asks would hear; slots set aside; the told time between calls (us, 0 = the documented one is in force) and until when it is believed (us, a string); the share of the rate that is used (per mille) and until when (us, a string).
--
-- Right after a rate fell, slots may still move apart with the next question: then the next moment is a guess.
local all, now = read()
local levels = {}
for i, b in ipairs(all) do
  local function moments_in(from, to) return math.max(0, math.floor((to - from) / b.interval) + 1) end
  local moment, calls = math.max(b.next, now - b.reach), 0
  if not (b.forgotten or b.turned or b.none_free) then calls = redis.call('ZCOUNT', b.free, text(now - b.late), text(now)) end
  local held = slots_from(b, moment, now + b.interval - 1, now, MOST_KEPT)
  for n = 2, #held, 2 do
    local slot = tonumber(held[n])
    calls = calls + moments_in(moment, math.min(now, slot - b.interval))
    moment = slot + b.interval
  end
  calls = calls + moments_in(moment, now)
  local set_aside = b.forgotten and 0 or redis.call('ZCOUNT', b.slots, text(now - b.late), '+inf')
  levels[i] = { calls, text(math.max(now, free_moment(b, now))), set_aside, b.told, text(b.believed),
    b.share, text(b.shared) }
end
return levels
