-- Moves a budget's rate to what the other side says. What has been used stays used: the debt is kept in calls, not in time.
-- KEYS: bucket, slots, free
-- ARGV: now (us), time between calls from now on (us), documented time between calls (us), burst, how long to believe it (us)
-- Returns: nothing.
local all, now = read()
local b = all[1]
carry_out(b, now)
b.told, b.believed = tonumber(ARGV[2]), now + tonumber(ARGV[5])
local interval = in_force(b)
if interval ~= b.interval then
  turn(b, now, interval)
  carry_out(b, now)
end
write(b, now)
