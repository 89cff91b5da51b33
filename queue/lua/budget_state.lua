-- Shared by every script about budgets: reads them, says which moment is free, writes them; placed before the script that uses it.
-- KEYS: for each budget its bucket (hash), slots (sorted set of tickets by moment), free (sorted set of moments given back)
-- ARGV: now (us), something of the script's own, then for each budget its documented time between calls (us) and its burst
--
-- GCRA: `next` is the moment of who comes next. In the past it means that calls are saved up, as far back as the burst
-- reaches; each call that is taken, or set aside, moves it on by one interval. So the moments that were ever given lie an
-- interval apart, and each is used within the burst's reach after it: no span of time sees more than the burst and what
-- the rate gives in that time.
--
-- A slot is good for as long after its moment as the other side's bucket would still have saved the call up; after that it
-- has run over. Otherwise workers that were away would come back to a heap of old slots and use all at once. With a burst
-- of 1 nothing is saved up, but nobody comes in the very microsecond: there it is one interval.
--
-- A bucket holds: `next` (us); `interval` (us), by which `next` was last moved; `told` (us), the interval that the other side
-- named, and until when it is `believed` (us); `seen`, the latest time (us) at which it was written; `last`, the latest
-- moment (us) ever set aside; `refused`, when (us) the other side last refused a call; `share`, the part of the rate (per
-- mille) that is used because somebody else uses the rest, and until when that is assumed (`shared`, us). Fields that are
-- no sensible number count as missing.

-- Beyond any moment that is meant; doubles are exact that far.
local FAR = 8e15
-- A clock that went back less is waited for: processes differ a little. One that went back more is believed, and the
-- budget begins anew, empty.
local WENT_BACK = 6e7
-- Calls are saved up for 30 years at most, however large the burst.
local LONGEST_REACH = 1e15
local MOST_WALKED, MOST_KEPT = 100, 500
-- Refusals closer together (us) are one; one that comes at most this long after another shows that somebody else uses a
-- part of the rate, and for so long that is assumed.
local ONE_REFUSAL, SHARED_FOR = 6e7, 3.6e9
local WHOLE, LEAST_SHARE = 1000, 250

local function number(text)
  local value = tonumber(text or nil)
  if value and value >= 0 and value <= FAR then return math.floor(value) end
end

local function text(value) return string.format('%.0f', value) end

-- At most `most` moments of a sorted set: an array of member, moment, member, moment …
local function moments(key, from, to, most)
  return redis.call('ZRANGEBYSCORE', key, from, to, 'WITHSCORES', 'LIMIT', 0, most)
end

local function latest(key, at_most)
  return number(redis.call('ZREVRANGEBYSCORE', key, text(at_most), 0, 'WITHSCORES', 'LIMIT', 0, 1)[2])
end

local function set_interval(b, interval)
  b.interval = interval
  b.reach = math.min((b.burst - 1) * interval, LONGEST_REACH)
  b.late = math.max(b.reach, interval)
end

-- The time between calls that is to be in force.
local function in_force(b)
  return math.ceil((b.told > 0 and b.told or b.documented) * WHOLE / b.share)
end

-- Changes the time between calls. What was used stays used, counted in calls, and moments given back are forgotten: they
-- are free again if there is room for them.
local function turn(b, now, interval)
  -- The first moment that is not used, as far as now matters: what is set aside for later does not count.
  local due = latest(b.slots, now)
  if due and due >= now - b.late then b.next = math.max(b.next, due + b.interval) end
  local after = '(' .. text(now)
  local slot, free = number(moments(b.slots, after, FAR, 1)[2]), number(moments(b.free, after, FAR, 1)[2])
  local open = math.min(b.next, slot or FAR, free or FAR, now + b.interval)
  local calls_kept = math.ceil((open - now) * interval / b.interval)
  b.turned, b.fell_from = true, interval > b.interval and b.late
  set_interval(b, interval)
  b.next = math.max(now + calls_kept, now - b.reach)
end

-- Reads all budgets as they are now, and that is the second result: time never goes back for a budget. Changes nothing, but
-- fails if a key is of another type.
local function read()
  local told_now = tonumber(ARGV[1])
  local now, all = told_now, {}
  for i = 1, #KEYS / 3 do
    local b = { bucket = KEYS[3 * i - 2], slots = KEYS[3 * i - 1], free = KEYS[3 * i] }
    b.documented, b.burst = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
    local found = redis.call('HMGET', b.bucket, 'next', 'interval', 'told', 'believed', 'seen', 'last', 'refused',
      'share', 'shared')
    b.no_slots, b.none_free = redis.call('ZCARD', b.slots) == 0, redis.call('ZCARD', b.free) == 0
    b.next, b.before, b.told = number(found[1]) or 0, number(found[2]) or 0, number(found[3]) or 0
    b.believed, b.last = number(found[4]) or 0, number(found[6]) or 0
    b.refused, b.share, b.shared = number(found[7]) or 0, number(found[8]) or 0, number(found[9]) or 0
    local seen = number(found[5])
    b.forgotten = seen and seen - told_now > WENT_BACK
    if seen and not b.forgotten then now = math.max(now, seen) end
    all[i] = b
  end
  for _, b in ipairs(all) do
    if b.believed <= now or b.told < 1 then b.told, b.believed = 0, 0 end
    if b.shared <= now or b.share < 1 or b.share > WHOLE then b.share, b.shared = WHOLE, 0 end
    local interval = in_force(b)
    set_interval(b, b.before > 0 and b.before or interval)
    b.next = math.max(b.next, now - b.reach)
    if b.forgotten then b.last, b.next = 0, now + b.interval end
    -- Nothing but what was set aside can make `next` later than this.
    b.next = math.min(b.next, math.max(now, b.last) + b.interval)
    if interval ~= b.interval then turn(b, now, interval) end
  end
  return all, now
end

-- Keeps a key until the budget is full again, the told rate is believed no more, and refusals are forgotten; and for a
-- minute beyond.
local function keep(b, key, now)
  local full = math.max(b.next, b.last) + b.late + b.interval
  local refused = b.refused > 0 and b.refused + SHARED_FOR or 0
  redis.call('PEXPIRE', key, text(math.ceil((math.max(full, b.believed, refused, b.shared) - now) / 1000) + 60000))
end

-- Carries out what reading or turning found. A rate that fell moves slots apart, no further than they must: those that are
-- due into the past, the others on.
local function carry_out(b, now)
  if b.forgotten or b.turned then redis.call('DEL', b.free) end
  if b.forgotten then redis.call('DEL', b.slots) end
  if b.fell_from then
    local held = moments(b.slots, text(now - b.fell_from), FAR, MOST_KEPT)
    local due = 0
    while due < #held and tonumber(held[due + 2]) <= now do due = due + 2 end
    local at_most, at_least = b.next - b.interval, b.next
    for i = due, 2, -2 do
      held[i] = math.min(tonumber(held[i]), at_most)
      at_most = held[i] - b.interval
    end
    for i = due + 2, #held, 2 do
      held[i] = math.max(tonumber(held[i]), at_least)
      at_least = held[i] + b.interval
    end
    b.last = held[#held] or 0
    redis.call('DEL', b.slots)
    local pairs_to_add = {}
    for i = 1, #held, 2 do
      pairs_to_add[i], pairs_to_add[i + 1] = text(held[i + 1]), held[i]
    end
    if #held > 0 then
      redis.call('ZADD', b.slots, unpack(pairs_to_add))
      keep(b, b.slots, now)
    end
  end
  b.forgotten, b.turned, b.fell_from = false, false, false
end

-- Good slots that `moment` would have to keep a distance from, and later ones.
local function slots_from(b, moment, to, now, most)
  if b.forgotten or b.no_slots then return {} end
  return moments(b.slots, text(math.max(moment - b.interval + 1, now - b.late)), text(to), most)
end

-- The first moment from `moment` on that keeps an interval's distance from every slot. Slots beyond `next` are there after
-- the rate rose: they keep their moments, and others get what is free between them.
local function spaced(b, moment, now)
  local held = slots_from(b, moment, FAR, now, MOST_WALKED)
  for i = 2, #held, 2 do
    local slot = tonumber(held[i])
    if slot >= moment + b.interval then return moment end
    moment = slot + b.interval
  end
  if #held == 2 * MOST_WALKED then moment = math.max(moment, latest(b.slots, FAR) + b.interval) end
  return moment
end

-- The moment of who comes now: the earliest good one that was given back, or the next that nobody has.
local function free_moment(b, now)
  local given_back = not (b.forgotten or b.turned or b.none_free) and moments(b.free, text(now - b.late), FAR, 1)[2]
  return number(given_back) or math.min(spaced(b, math.max(b.next, now - b.reach), now), FAR)
end

-- Takes the moment that `free_moment` named.
local function take(b, moment)
  if b.none_free or redis.call('ZREM', b.free, text(moment)) == 0 then b.next = moment + b.interval end
end

-- Frees a slot. What lies beyond `next` is free without being remembered.
local function give_back(b, ticket, slot, now)
  redis.call('ZREM', b.slots, ticket)
  if now - slot <= b.late and slot + b.interval <= b.next then
    redis.call('ZREMRANGEBYSCORE', b.free, '-inf', '(' .. text(now - b.late))
    redis.call('ZADD', b.free, text(slot), text(slot))
    keep(b, b.free, now)
  end
end

local function write(b, now)
  redis.call('HSET', b.bucket, 'next', text(math.min(b.next, FAR)), 'interval', text(b.interval), 'told', text(b.told),
    'believed', text(b.believed), 'seen', text(now), 'last', text(b.last), 'refused', text(b.refused), 'share', text(b.share),
    'shared', text(b.shared))
  keep(b, b.bucket, now)
end
