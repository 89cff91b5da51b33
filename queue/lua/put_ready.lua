-- Shared by every script that makes entries ready; placed before the script that uses it.
--
-- An entry is: id (16 bytes), length of the ring's name (1 byte), the ring's name, length of the group's name (1 byte), the
-- group's name, and a body that scripts never read. A ring's name is priority (1 byte), payload version (1 byte) and kind.
-- From the ring's length to the group's name is the name of its lane: the list in which it waits.
--
-- Invariant: a group is in a ring exactly while its lane there is not empty and not parked, and a ring is among the rings
-- exactly while it holds a group. So a claim never visits what is empty, and its cost does not depend on the backlog.

-- Gives groups a turn in a ring. Returns whether the ring was empty before.
local function enter_ring(ring, groups)
  if redis.call('RPUSH', BASE .. RING .. ring, unpack(groups)) ~= #groups then return false end
  -- Who comes anew begins where the others are: neither ahead for having been away, nor behind.
  local first = redis.call('ZRANGE', BASE .. RINGS, 0, 0, 'WITHSCORES')
  redis.call('ZADD', BASE .. RINGS, first[2] or '0', ring)
  return true
end

-- At most 500 entries. Wakes idle workers only if a ring was empty before: whoever is busy looks again by itself.
local function put_ready(channel, entries)
  if #entries == 0 then return end
  local lanes, order = {}, {}
  for i = 1, #entries do
    local entry = entries[i]
    local group_at = 18 + (entry:byte(17) or 0)
    local lane = entry:sub(17, group_at + (entry:byte(group_at) or 0))
    local list = lanes[lane]
    if list then
      list[#list + 1] = entry
    else
      lanes[lane] = { entry }
      order[#order + 1] = lane
    end
  end
  local groups, rings = {}, {}
  for _, lane in ipairs(order) do
    local list = lanes[lane]
    if redis.call('RPUSH', BASE .. LANE .. lane, unpack(list)) == #list then
      local ring_ends = 1 + (lane:byte(1) or 0)
      local ring = lane:sub(2, ring_ends)
      if not groups[ring] then
        groups[ring] = {}
        rings[#rings + 1] = ring
      end
      local some = groups[ring]
      some[#some + 1] = lane:sub(ring_ends + 2)
    end
  end
  local idle = false
  for _, ring in ipairs(rings) do
    if enter_ring(ring, groups[ring]) then idle = true end
  end
  if idle then redis.call('PUBLISH', channel, '') end
end
