-- Which of these changes may be made, each only if its key still holds what the asker has seen?
--   KEYS[1]        the shard's index of groups that have something to tell: group -> event time
--   KEYS[1 + i]    the key of change i; all keys of a call share a hash slot
--   ARGV[1]        1 = the first change guards the others: if it may not be made, none is
--   then, five for each change
--     seen         8 bytes: the version that the asker has seen there; empty = nothing
--     becomes      8 bytes: the version of the new value
--     value        the new value
--     keep         ms after which Redis may forget it; housekeeping, never a decision
--     due          '' = not a group; '-' = a group with nothing to tell; else <event time in ms>:<group, 16 bytes>
--                  ('-' is followed by the group too)
--   returns, per change, 1 made (now or before), 0 not made; nothing at all if the guard was not
-- A key holds the version, 8 bytes, then the value.
-- Promise: asked again, it answers 1 again and leaves the same state.
-- Because: a change that was made is recognised by its own version, which is a hash of its value.
local index, guarded, answers, longest = KEYS[1], ARGV[1] == '1', {}, 0

local function note_due(due)
  local head = string.sub(due, 1, 1)
  if head == '-' then
    redis.call('ZREM', index, string.sub(due, 2))
  elseif head ~= '' then
    local colon = string.find(due, ':', 1, true)
    redis.call('ZADD', index, string.sub(due, 1, colon - 1), string.sub(due, colon + 1))
  end
end

for i = 2, #KEYS do
  local at = (i - 2) * 5 + 1
  local seen, becomes, value, keep, due = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  local holds = redis.call('GETRANGE', KEYS[i], 0, 7)
  if holds == seen or holds == becomes then
    redis.call('SET', KEYS[i], becomes .. value, 'PX', keep)
    if due ~= '' then
      note_due(due)
      longest = math.max(longest, tonumber(keep))
    end
    answers[i - 1] = 1
  elseif guarded and i == 2 then
    return {}
  else
    answers[i - 1] = 0
  end
end
if longest > redis.call('PTTL', index) then redis.call('PEXPIRE', index, longest) end
return answers
