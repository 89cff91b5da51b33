-- Shared by every script that makes entries ready; placed before the script that uses it.
--
-- An entry is: id (16 bytes), length of the ring's name (1 byte), the ring's name, length of the group's name (1 byte), the
-- group's name, and a body that scripts never read.
-- Invariant: a group is in the ring exactly while its list is not empty; so a claim never visits an empty group, and the
-- cost of a claim depends neither on the backlog nor on the number of groups.
local function group_of(entry)
  local ring_ends = 17 + (entry:byte(17) or 0)
  return entry:sub(ring_ends + 2, ring_ends + 1 + (entry:byte(ring_ends + 1) or 0))
end

-- At most 500 entries. Wakes idle workers only if nothing was ready before: whoever is busy looks again by itself.
local function put_ready(ring, groups, channel, entries)
  if #entries == 0 then return end
  local lists, names = {}, {}
  for _, entry in ipairs(entries) do
    local group = group_of(entry)
    local list = lists[group]
    if not list then
      list = {}
      lists[group] = list
      names[#names + 1] = group
    end
    list[#list + 1] = entry
  end
  local idle = redis.call('EXISTS', ring) == 0
  for _, group in ipairs(names) do
    local list = lists[group]
    if redis.call('RPUSH', groups .. group, unpack(list)) == #list then
      redis.call('RPUSH', ring, group)
    end
  end
  if idle then redis.call('PUBLISH', channel, '') end
end
