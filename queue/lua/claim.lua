-- Takes ready entries for a worker and leases them to it in the same step: rings by weight, in a ring its groups in turn.
-- KEYS: base of the queue's keys
-- ARGV: now (ms), lease end (ms), worker instance, most entries to take (at most 256), rings that the worker knows: a line
--       each of payload version (0: any) and kind, with a newline before the first and after the last; empty for all
-- Returns: fence token as a string, then the entries; an empty list when nothing may be taken.
--
-- Redis calls: 9 and 2 for each group visited (at most 16 in a full claim from one ring), 5 more for each further ring;
-- where limits are in force, up to 8 more for each group.
local now, most, known = ARGV[1], tonumber(ARGV[4]), ARGV[5]
local head = BASE .. HEAD

-- Kinds times priorities times versions: few. What is beyond 500 comes when those before it are empty.
local listed = redis.call('ZRANGE', BASE .. RINGS, 0, 499, 'WITHSCORES')
if #listed == 0 then return {} end
local asked = { 'open', 'paused', 'fence', 'groups', 'limit:g' }
for i = 1, #listed, 2 do
  local kind = listed[i]:sub(3)
  local n = #asked
  asked[n + 1] = 'pause:k:' .. kind
  asked[n + 2] = 'limit:k:' .. kind
  asked[n + 3] = 'limit:e:' .. kind
  asked[n + 4] = 'weight:' .. kind
end
local said = redis.call('HMGET', head, unpack(asked))
-- Not open: Redis has lost its data, and what is paused or limited is not known yet.
if not said[1] or said[2] then return {} end
local group_limit = tonumber(said[5] or nil)
local groups_matter = said[4] or group_limit

local PRIORITIES = { h = 16, n = 4, l = 1 }
local kinds, open, paused = {}, {}, {}
for i = 1, #listed, 2 do
  local ring = listed[i]
  local kind, at = ring:sub(3), 4 + 2 * i
  local ours = known == '' or known:find('\n' .. ring:sub(2) .. '\n', 1, true)
    or known:find('\n\0' .. kind .. '\n', 1, true)
  if said[at] then
    paused[#paused + 1] = { ring = ring, pass = tonumber(listed[i + 1]) }
  elseif ours then
    if not kinds[kind] then
      local limit = tonumber(said[at + 1] or nil)
      local room = limit and limit - redis.call('HLEN', BASE .. HELD .. 'k' .. kind) or most
      kinds[kind] = { name = kind, limited = limit, room = room, each = tonumber(said[at + 2] or nil), held = {} }
    end
    open[#open + 1] = {
      ring = ring,
      kind = kinds[kind],
      pass = tonumber(listed[i + 1]),
      weight = (PRIORITIES[ring:sub(1, 1)] or 1) * tonumber(said[at + 3] or 1),
    }
  end
end

local result, leased = { '' }, {}

-- Remembers that these run, where their number is limited.
local function hold(scope, entries)
  local pairs_of = {}
  for _, entry in ipairs(entries) do
    pairs_of[#pairs_of + 1] = entry:sub(1, 16)
    pairs_of[#pairs_of + 1] = ARGV[3]
  end
  if #pairs_of == 0 then return end
  redis.call('HSET', BASE .. HELD .. scope, unpack(pairs_of))
  redis.call('SADD', BASE .. HELD_SCOPES, scope)
end

-- How many more a group may run by one limit.
local function room_of(scope, limit)
  return limit - redis.call('HLEN', BASE .. HELD .. scope)
end

-- Takes up to `count` entries from a ring. Returns how many; fewer only if the ring has no more that may run.
local function take(from, count)
  local ring, kind = from.ring, from.kind
  local key = BASE .. RING .. ring
  local lane_of_ring = string.char(#ring) .. ring
  -- Several from a group at a time, so that a claim of 256 visits no more than 16 groups; everybody gets a turn within one
  -- claim while there are fewer groups than places.
  local turn = math.max(math.ceil(count / math.max(redis.call('LLEN', key), 1)), math.ceil(most / 16))
  local got = 0
  while got < count do
    local visits = math.ceil((count - got) / turn)
    local groups = redis.call('LPOP', key, visits)
    if not groups then break end
    local limits
    if groups_matter then
      limits = {}
      for i, group in ipairs(groups) do
        limits[2 * i - 1] = 'pause:g:' .. group
        limits[2 * i] = 'limit:g:' .. group
      end
      limits = redis.call('HMGET', head, unpack(limits))
    end
    local back = {}
    for i, group in ipairs(groups) do
      local lane = lane_of_ring .. string.char(#group) .. group
      local of_group, of_each = 'g' .. group, 'e' .. kind.name .. '\0' .. group
      local limit = limits and tonumber(limits[2 * i] or group_limit or nil)
      local room = math.huge
      if limits and limits[2 * i - 1] then room = 0 end
      if limit then room = math.min(room, room_of(of_group, limit)) end
      if kind.each then room = math.min(room, room_of(of_each, kind.each)) end
      local want = math.min(turn, count - got, room)
      local taken = want > 0 and redis.call('LPOP', BASE .. LANE .. lane, want) or {}
      for _, entry in ipairs(taken) do
        result[#result + 1] = entry
        -- What is too short to have an id is shown and dropped: nothing could ever end its lease.
        if #entry >= 16 then
          leased[#leased + 1] = entry:sub(1, 16)
          leased[#leased + 1] = entry
          if kind.limited then kind.held[#kind.held + 1] = entry end
        end
      end
      got = got + #taken
      if limit then hold(of_group, taken) end
      if kind.each then hold(of_each, taken) end
      if #taken == math.max(want, 0) and redis.call('EXISTS', BASE .. LANE .. lane) == 1 then
        if room > #taken then
          back[#back + 1] = group
        else
          redis.call('SADD', BASE .. PARKED .. group, lane)
          redis.call('SADD', BASE .. PARKED_GROUPS, group)
        end
      end
    end
    if #back > 0 then
      redis.call('RPUSH', key, unpack(back))
    elseif redis.call('EXISTS', key) == 0 then
      break
    end
  end
  kind.room = kind.room - got
  from.pass = from.pass + got / from.weight
  if got < count then from.dry = true end
  return got
end

-- Weighted turns among the rings: the one that is furthest behind goes next.
local step = #open == 1 and most or math.max(1, math.floor(most / 16))
local left = most
while left > 0 do
  local next_ring
  for _, ring in ipairs(open) do
    if not ring.dry and ring.kind.room > 0 and (not next_ring or ring.pass < next_ring.pass) then next_ring = ring end
  end
  if not next_ring then break end
  left = left - take(next_ring, math.min(step, left, next_ring.kind.room))
  next_ring.visited = true
end

local passes, first = {}, nil
for _, ring in ipairs(open) do
  if ring.visited and redis.call('EXISTS', BASE .. RING .. ring.ring) == 0 then
    redis.call('ZREM', BASE .. RINGS, ring.ring)
  elseif #listed > 2 then
    passes[#passes + 1] = string.format('%.17g', ring.pass)
    passes[#passes + 1] = ring.ring
    first = math.min(first or ring.pass, ring.pass)
  end
end
-- What is paused does not save up turns.
for _, ring in ipairs(paused) do
  if first and ring.pass < first then
    passes[#passes + 1] = string.format('%.17g', first)
    passes[#passes + 1] = ring.ring
  end
end
if #passes > 0 then redis.call('ZADD', BASE .. RINGS, 'XX', unpack(passes)) end
if #result == 1 then return {} end

for _, kind in pairs(kinds) do hold('k' .. kind.name, kind.held) end
if #leased > 0 then
  redis.call('HSET', BASE .. LEASE .. ARGV[3], unpack(leased))
  redis.call('ZADD', BASE .. WORKERS, ARGV[2], ARGV[3])
end
-- Never lower than the time: after a loss of Redis, tokens still grow.
local fence = math.max(tonumber(said[3] or '0') + 1, tonumber(now) * 1000)
result[1] = string.format('%.0f', fence)
redis.call('HSET', head, 'fence', result[1])
return result
