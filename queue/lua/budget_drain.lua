-- The other side said that the bucket is empty (429): from now on one call per interval, until it has filled again.
-- KEYS: bucket, slots, free
-- ARGV: now (us), nothing, documented time between calls (us), burst
-- Returns: the moment (us) of the next free call, as a string.
local all, now = read()
local b = all[1]
carry_out(b, now)
b.next = math.max(b.next, now + b.interval)
redis.call('ZREMRANGEBYSCORE', b.free, '-inf', text(now))
write(b, now)
return text(free_moment(b, now))
