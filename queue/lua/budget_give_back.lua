-- Frees the slots that a ticket holds: it will not come, and whoever asks next gets their moments.
-- KEYS: for each budget bucket, slots, free
-- ARGV: now (us), ticket, then for each budget its documented time between calls (us) and its burst
-- Returns: how many slots there were.
local all, now = read()
local given_back = 0
for _, b in ipairs(all) do
  carry_out(b, now)
  local slot = number(redis.call('ZSCORE', b.slots, ARGV[2]))
  if slot then
    give_back(b, ARGV[2], slot, now)
    given_back = given_back + 1
  end
  write(b, now)
end
return given_back
