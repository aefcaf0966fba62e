// The script that admits a request in Redis. One over the rate leaves no nonce, and a replay counts for no rate.

import { defineScript } from "../../_shared/redis.ts";

/** Since when Redis' nonces are whole: unix seconds. All keys of the script share a slot. */
export const SINCE = "pms:{admission}:since";

// The rate is a GCRA: `rate` holds the moment (ms) at which the key would have used up nothing. A minute's worth may come
// at once. Answers {admitted, why, remaining, milliseconds until all of it is back, since}.
export const ADMIT = defineScript(`
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local since = 0
if KEYS[2] then
  since = ARGV[3] == '' and tonumber(redis.call('GET', KEYS[3])) or math.floor(now / 1000)
  redis.call('SET', KEYS[3], since, 'EX', 604800)
  if redis.call('EXISTS', KEYS[2]) == 1 then
    return {0, 'replayed', 0, 0, since}
  end
end
local step = 60000 / ARGV[1]
local used = math.max(tonumber(redis.call('GET', KEYS[1])) or 0, now) + step
if used - now > 60000 then
  return {0, 'limited', 0, math.ceil(used - now - 60000), since}
end
if KEYS[2] then
  redis.call('SET', KEYS[2], '', 'EX', ARGV[2])
end
redis.call('SET', KEYS[1], string.format('%.3f', used), 'PX', math.ceil(used - now) + 1000)
return {1, '', math.floor((60000 - (used - now)) / step), math.ceil(used - now), since}
`);
