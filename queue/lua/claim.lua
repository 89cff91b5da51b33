-- Takes ready entries for a worker, a few from each group in turn, and leases them to it in the same step.
-- KEYS: ring, group list prefix, workers, lease of the worker, fence
-- ARGV: now (ms), lease end (ms), worker instance, most entries to take (at most 256)
-- Returns: fence token as a string, then the entries; an empty list when nothing is ready.
--
-- Redis calls: 6, and 3 or 4 for each group visited.
local ring, groups, workers, lease, fence_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local most = tonumber(ARGV[4])
local waiting = redis.call('LLEN', ring)
if waiting == 0 then return {} end

-- Everybody gets a turn within one claim while there are fewer groups than places.
local turn = math.max(1, math.ceil(most / waiting))
local result, leased = { '' }, {}
while #result <= most do
  local group = redis.call('LPOP', ring)
  if not group then break end
  local want = math.min(turn, most + 1 - #result)
  local taken = redis.call('LPOP', groups .. group, want) or {}
  for _, entry in ipairs(taken) do
    result[#result + 1] = entry
    -- What is too short to have an id is shown and dropped: nothing could ever end its lease.
    if #entry >= 16 then
      leased[#leased + 1] = entry:sub(1, 16)
      leased[#leased + 1] = entry
    end
  end
  if #taken == want and redis.call('EXISTS', groups .. group) == 1 then
    redis.call('RPUSH', ring, group)
  end
end
if #result == 1 then return {} end

if #leased > 0 then
  redis.call('HSET', lease, unpack(leased))
  redis.call('ZADD', workers, ARGV[2], ARGV[3])
end
-- Never lower than the time: after a loss of Redis, tokens still grow.
local fence = math.max(tonumber(redis.call('GET', fence_key) or '0') + 1, tonumber(ARGV[1]) * 1000)
result[1] = string.format('%.0f', fence)
redis.call('SET', fence_key, result[1])
return result
