-- What is kept under these keys?
--   KEYS[i]        a key, or where one of a shard's buckets begins; all keys of a call share a hash slot
--   ARGV[1]        how long a bucket takes in, in s
--   ARGV[1 + i]    '' = the key itself; else the field in the shard's buckets
--   returns, per key, what it holds, or nothing
-- Promise: it changes nothing.
local bucket = math.floor(redis.call('TIME')[1] / ARGV[1])

local answers = {}
for i = 1, #KEYS do
  local key, field = KEYS[i], ARGV[1 + i]
  if field == '' then
    answers[i] = redis.call('GET', key)
  else
    answers[i] = redis.call('HGET', key .. bucket, field) or redis.call('HGET', key .. (bucket - 1), field)
  end
end
return answers
