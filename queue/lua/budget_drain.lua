-- The other side said that the bucket is empty (429): from now on one call per interval, until it has filled again. The second
-- time within an hour, somebody else uses a part of the rate: three quarters of ours are used for an hour from then on.
-- KEYS: bucket, slots, free
-- ARGV: now (us), nothing, documented time between calls (us), burst
-- Returns: the moment (us) of the next free call, as a string.
local all, now = read()
local b = all[1]
carry_out(b, now)
local since = b.refused > 0 and now - b.refused
if since and since >= ONE_REFUSAL and since <= SHARED_FOR then
  b.share, b.shared = math.max(LEAST_SHARE, math.floor(b.share * 3 / 4)), now + SHARED_FOR
  local interval = in_force(b)
  if interval ~= b.interval then
    turn(b, now, interval)
    carry_out(b, now)
  end
end
if not since or since >= ONE_REFUSAL then b.refused = now end
b.next = math.max(b.next, now + b.interval)
redis.call('ZREMRANGEBYSCORE', b.free, '-inf', text(now))
write(b, now)
return text(free_moment(b, now))
