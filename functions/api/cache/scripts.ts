// What Redis decides by itself, so that nothing comes between reading several keys and writing them. All times are of
// Redis' clock, which all instances share.

import { defineScript } from "../../_shared/redis.ts";

/** Of tags and of marks of API keys: longer than any entry lives. */
const TAG_SECONDS = 2 * 24 * 3600;

/** Of answers that a tenant stores in a minute; they live for 11. What is beyond is read and not stored, so that nobody
 * who asks for ever new queries fills what all share. */
export const STORED_BYTES = 16 * 1024 * 1024;

/** Histories that are known to be over, of a tenant: each restore of the database makes one. */
const MOST_PAST = 8;

/** KEYS of both scripts from here on are tags. */
export const FIXED_KEYS = 4;

const COMMON = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- '<epoch>:<seq>'; nothing for a mark.
local function place(text)
  local epoch, seq = string.match(text or '', '^(.*):(%d+)$')
  return epoch, tonumber(seq)
end
`;

/**
 * KEYS entry, lock, through, past, tags…; ARGV token, min epoch, min seq, lock ms (0: look, and change nothing), XFetch's draw,
 * when the entry was filled that the caller has. The reply is names and values in turn.
 */
export const LOOK = defineScript(`${COMMON}
local entry_key, lock_key, through_key, past_key = unpack(KEYS)
local token, min_epoch, min_seq, lock_ms, draw, filled_known = unpack(ARGV)
local may_write = lock_ms ~= '0'
local epoch, seq, filled, fresh_until, took =
  unpack(redis.call('HMGET', entry_key, 'epoch', 'seq', 'filled', 'until', 'took'))

local tags, current = {}, epoch ~= false
for n = ${FIXED_KEYS + 1}, #KEYS do
  local tag = redis.call('GET', KEYS[n])
  if not tag then
    tag = '?' .. token
    if may_write then redis.call('SET', KEYS[n], tag, 'EX', ${TAG_SECONDS}) end
  end
  local tag_epoch, tag_seq = place(tag)
  if tag_epoch ~= epoch or tag_seq > tonumber(seq) then current = false end
  tags[#tags + 1] = tag
end

local reach = seq
if current then
  local through_epoch, through_seq = place(redis.call('GET', through_key))
  if through_epoch == epoch and through_seq > tonumber(seq) then reach = string.format('%.0f', through_seq) end
end

local function is_as_new_as_asked()
  if not epoch then return false end
  if min_epoch == '' then return true end
  if min_epoch == epoch then return tonumber(reach) >= tonumber(min_seq) end
  return redis.call('SISMEMBER', past_key, epoch .. '|' .. min_epoch) == 1
end

local wanted = is_as_new_as_asked()
local fresh = current and wanted and now < tonumber(fresh_until)
local early = fresh and now + tonumber(took) * tonumber(draw) >= tonumber(fresh_until)
local state = fresh and 'fresh' or 'busy'
if may_write and (early or not fresh) then
  local lock = token .. '|' .. min_epoch .. ':' .. min_seq
  if redis.call('SET', lock_key, lock, 'NX', 'PX', lock_ms) then state = early and 'early' or 'locked' end
end

local answer = false
if fresh or (wanted and filled ~= filled_known) then answer = redis.call('HGET', entry_key, 'answer') end
return {
  'state', state, 'now', now, 'epoch', epoch, 'seq', reach, 'filled', filled, 'answer', answer,
  'lock', redis.call('GET', lock_key), 'tags', tags,
}
`);

/** KEYS entry, lock, stored, past, tags…; ARGV token, epoch, seq, took ms, answer, fresh ms, kept ms, min epoch, tags as seen… */
export const STORE = defineScript(`${COMMON}
local entry_key, lock_key, stored_key, past_key = unpack(KEYS)
local token, epoch, seq, took_ms, answer, fresh_ms, kept_ms, min_epoch = unpack(ARGV, 1, 8)
local tags = {}
for n = ${
  FIXED_KEYS + 1
}, #KEYS do tags[#tags + 1] = { key = KEYS[n], seen = ARGV[n - ${FIXED_KEYS} + 8] } end

local holder = redis.call('GET', lock_key)
if holder and string.sub(holder, 1, #token + 1) == token .. '|' then redis.call('DEL', lock_key) end
if answer == '' then return 0 end

-- asked for before the fill, which found another history: so that one is over
if min_epoch ~= '' and min_epoch ~= epoch then
  if redis.call('SCARD', past_key) >= ${MOST_PAST} then redis.call('DEL', past_key) end
  redis.call('SADD', past_key, epoch .. '|' .. min_epoch)
  redis.call('EXPIRE', past_key, ${TAG_SECONDS})
end

local stored = redis.call('INCRBY', stored_key, #answer)
if stored == #answer then redis.call('EXPIRE', stored_key, 60) end
if stored > ${STORED_BYTES} then return 0 end

for _, tag in ipairs(tags) do
  local is = redis.call('GET', tag.key)
  if place(is) ~= epoch then
    if not is or is ~= tag.seen then return 0 end
    redis.call('SET', tag.key, epoch .. ':' .. seq, 'EX', ${TAG_SECONDS})
  end
end

local kept_epoch, kept_seq = unpack(redis.call('HMGET', entry_key, 'epoch', 'seq'))
if kept_epoch == epoch and tonumber(kept_seq) > tonumber(seq) then return 0 end
local filled = now - tonumber(took_ms)
redis.call('HSET', entry_key, 'epoch', epoch, 'seq', seq, 'filled', filled, 'until', filled + fresh_ms,
  'took', took_ms, 'answer', answer)
redis.call('PEXPIRE', entry_key, fresh_ms + kept_ms)
return 1
`);

/** KEYS mark of an API key; ARGV the mark as seen, what takes its place. */
export const SETTLE = defineScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ${TAG_SECONDS})
return 1
`);
