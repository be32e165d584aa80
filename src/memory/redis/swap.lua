-- Which of these changes may be made, each only if its key still holds what the asker has seen?
--   KEYS[1]        the shard's index of groups that have something to tell: group -> event time
--   KEYS[1 + i]    the key of change i, or where one of a shard's buckets begins; all keys of a call share a hash slot
--   ARGV[1]        how long a bucket takes in, in s
--   ARGV[2]        1 = the first change guards the others: if it may not be made, none is
--   then, six for each change
--     field        '' = the key itself; else the field in the shard's buckets
--     seen         8 bytes: the version that the asker has seen there; empty = nothing
--     becomes      8 bytes: the version of the new value
--     value        the new value
--     keep         ms after which Redis may forget it; housekeeping, never a decision. A bucket has its own.
--     due          '' = not a group; '-' = a group with nothing to tell; else <event time in ms>:<group, 16 bytes>
--                  ('-' is followed by the group too)
--   returns, per change, 1 made (now or before), 0 not made; nothing at all if the guard was not
-- A key holds the version, 8 bytes, then the value.
-- Promise: asked again, it answers 1 again and leaves the same state.
-- Because: a change that was made is recognised by its own version, which is a hash of its value.
-- Redis undoes nothing of a script that is refused half-way, as by an ACL. So the index knows of what is to be told before
-- the value says so, and forgets it after: asked again it is made whole, and a group too many in it is found told.
local index, span, guarded, answers, longest = KEYS[1], tonumber(ARGV[1]), ARGV[2] == '1', {}, 0
local bucket = math.floor(redis.call('TIME')[1] / span)

local function note_due(due)
  local colon = string.find(due, ':', 1, true)
  redis.call('ZADD', index, string.sub(due, 1, colon - 1), string.sub(due, colon + 1))
end

local function holds(key, field)
  if field == '' then return redis.call('GETRANGE', key, 0, 7) end
  local held = redis.call('HGET', key .. bucket, field) or redis.call('HGET', key .. (bucket - 1), field)
  return held and string.sub(held, 1, 8) or ''
end

-- A bucket takes in for `span`, is looked at for as long again, and goes as a whole.
local function keep_field(key, field, held)
  if redis.call('HSET', key .. bucket, field, held) == 1 then
    redis.call('HDEL', key .. (bucket - 1), field)
    redis.call('EXPIRE', key .. bucket, 2 * span)
  end
end

for i = 2, #KEYS do
  local at = (i - 2) * 6 + 2
  local field, seen, becomes, value = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local keep, due = ARGV[at + 5], ARGV[at + 6]
  local known = holds(KEYS[i], field)
  local told = string.sub(due, 1, 1) == '-'
  if known == seen or known == becomes then
    if due ~= '' and not told then note_due(due) end
    if field == '' then
      redis.call('SET', KEYS[i], becomes .. value, 'PX', keep)
    else
      keep_field(KEYS[i], field, becomes .. value)
    end
    if told then redis.call('ZREM', index, string.sub(due, 2)) end
    if due ~= '' then longest = math.max(longest, tonumber(keep)) end
    answers[i - 1] = 1
  elseif guarded and i == 2 then
    return {}
  else
    answers[i - 1] = 0
  end
end
if longest > 0 and longest > redis.call('PTTL', index) then redis.call('PEXPIRE', index, longest) end
return answers
