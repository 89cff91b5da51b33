-- Shared by every script that ends leases or changes limits; placed after put_ready.lua and before the script that uses it.
--
-- Where a limit is in force, who runs is noted: a hash of job id to worker for each limited kind (k<kind>), group
-- (g<group>) and group within a kind (e<kind>, a zero byte, <group>). Ids and not numbers, so that nothing is ever
-- released twice; a sweep drops those that no lease holds. A group at its limit leaves its rings: its lanes are parked
-- until one of its jobs has ended.

-- Brings a group's parked lanes back into their rings.
local function unpark(group)
  local lanes = redis.call('SMEMBERS', BASE .. PARKED .. group)
  if #lanes == 0 then return end
  redis.call('DEL', BASE .. PARKED .. group)
  redis.call('SREM', BASE .. PARKED_GROUPS, group)
  for _, lane in ipairs(lanes) do
    if redis.call('EXISTS', BASE .. LANE .. lane) == 1 then
      enter_ring(lane:sub(2, 1 + lane:byte(1)), { group })
    end
  end
end

-- Forgets that these ran. `entries` are those that were leased until now; at most 500.
local function release(channel, entries)
  if #entries == 0 or redis.call('EXISTS', BASE .. HELD_SCOPES) == 0 then return end
  local ids, scopes, groups, seen = {}, {}, {}, {}
  local function note(scope, id)
    if not ids[scope] then
      ids[scope] = {}
      scopes[#scopes + 1] = scope
    end
    local some = ids[scope]
    some[#some + 1] = id
  end
  for _, entry in ipairs(entries) do
    local group_at = 18 + (entry:byte(17) or 0)
    local kind = entry:sub(20, group_at - 1)
    local group = entry:sub(group_at + 1, group_at + (entry:byte(group_at) or 0))
    local id = entry:sub(1, 16)
    note('k' .. kind, id)
    note('g' .. group, id)
    note('e' .. kind .. '\0' .. group, id)
    if not seen[group] then
      seen[group] = true
      groups[#groups + 1] = group
    end
  end
  local limited = redis.call('SMISMEMBER', BASE .. HELD_SCOPES, unpack(scopes))
  local released = false
  for i, scope in ipairs(scopes) do
    if limited[i] == 1 then
      redis.call('HDEL', BASE .. HELD .. scope, unpack(ids[scope]))
      if redis.call('EXISTS', BASE .. HELD .. scope) == 0 then
        redis.call('SREM', BASE .. HELD_SCOPES, scope)
      end
      released = true
    end
  end
  if not released then return end
  for _, group in ipairs(groups) do unpark(group) end
  redis.call('PUBLISH', channel, '')
end
