// Entries, tags and locks as they lie in Redis (DESIGN §5). Every decision that depends on several keys is one
// script, so that nothing comes between its reading and its writing; all times are of Redis' clock, which all share.
//
// An entry carries the `seq` of the tenant's log read before its fill, a tag the `seq` of the last change of its
// kind: an entry is fresh only if no tag is ahead of it, whenever and in whatever order the two were written. A tag
// that is not there proves nothing (expired, evicted, or Redis was emptied), so whoever looks puts a mark there; the
// fill replaces the mark by its own seq only if it is still the same one, for then no change came between.

import { defineScript, type RedisLink } from "../../_shared/redis.ts";
import { sha256Hex } from "../../_shared/signature.ts";
import { parseSeq, type Seq } from "../seq.ts";
import type { Filled, ReadRequest } from "./cache.ts";

/** Longer than any entry lives. */
const TAG_SECONDS = 2 * 24 * 3600;

/** Of answers that a tenant stores in a minute; they live for 11. What is beyond is read and not stored, so that nobody
 * who asks for ever new queries fills what all share. */
export const STORED_BYTES = 16 * 1024 * 1024;

const SEQ = `
local function place(text)
  local epoch, seq = string.match(text or '', '^(.*):(%d+)$')
  return epoch, tonumber(seq)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** KEYS entry, lock, through, tags…; ARGV token, min epoch, min seq, lock ms, XFetch's draw, mark seen of the entry. */
export const LOOK = defineScript(`${SEQ}
local e, s, f, u, d = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'filled', 'until', 'took'))
local tags, current = {}, e ~= false
for n = 4, #KEYS do
  local tag = redis.call('GET', KEYS[n])
  if not tag then
    tag = '?' .. ARGV[1]
    redis.call('SET', KEYS[n], tag, 'EX', ${TAG_SECONDS})
  end
  local epoch, seq = place(tag)
  if epoch ~= e or not seq or seq > tonumber(s or -1) then current = false end
  tags[#tags + 1] = tag
end
local through = s
if current then
  local epoch, seq = place(redis.call('GET', KEYS[3]))
  if epoch == e and seq > tonumber(s) then through = tostring(seq) end
end
local wanted = e and (ARGV[2] == '' or (e == ARGV[2] and tonumber(through) >= tonumber(ARGV[3])))
local fresh = current and wanted and now < tonumber(u)
local state = 'busy'
if fresh then state = 'fresh' end
local early = fresh and now + tonumber(d) * tonumber(ARGV[5]) >= tonumber(u)
if early or not fresh then
  if redis.call('SET', KEYS[2], ARGV[1] .. '|' .. ARGV[2] .. ':' .. ARGV[3], 'NX', 'PX', ARGV[4]) then
    state = early and 'early' or 'locked'
  end
end
local answer = false
if fresh or (wanted and f ~= ARGV[6]) then answer = redis.call('HGET', KEYS[1], 'answer') end
return {state, now, e, through, f, answer, redis.call('GET', KEYS[2]), tags}
`);

/** KEYS entry, lock, stored, tags…; ARGV token, epoch, seq, took ms, answer, fresh ms, kept ms, tags as seen… */
const STORE = defineScript(`${SEQ}
local holder = redis.call('GET', KEYS[2])
if holder and string.sub(holder, 1, #ARGV[1] + 1) == ARGV[1] .. '|' then redis.call('DEL', KEYS[2]) end
if ARGV[5] == '' then return 0 end
local stored = redis.call('INCRBY', KEYS[3], #ARGV[5])
if stored == #ARGV[5] then redis.call('EXPIRE', KEYS[3], 60) end
if stored > ${STORED_BYTES} then return 0 end
for n = 4, #KEYS do
  local tag = redis.call('GET', KEYS[n])
  if not tag or (string.sub(tag, 1, 1) == '?' and tag ~= ARGV[n + 4]) then return 0 end
  if string.sub(tag, 1, 1) == '?' then
    redis.call('SET', KEYS[n], ARGV[2] .. ':' .. ARGV[3], 'EX', ${TAG_SECONDS})
  end
end
local e, s = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'seq'))
if e == ARGV[2] and tonumber(s) > tonumber(ARGV[3]) then return 0 end
local filled = now - tonumber(ARGV[4])
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'seq', ARGV[3], 'filled', filled, 'until', filled + ARGV[6],
  'took', ARGV[4], 'answer', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6] + ARGV[7])
return 1
`);

export interface Entry extends Filled {
  ageSeconds: number;
  /** When it was filled: tells whether the answer was already seen. */
  mark: string;
}

export interface Look {
  /** fresh: serve it. early: serve it and renew it, you hold the lock. locked: fill, you hold the lock. busy: another
   * fills; `lockedFor` is the least seq that it will satisfy. */
  state: "fresh" | "early" | "locked" | "busy";
  /** What is there and not older than `minSeq`; it may be stale unless the state says fresh or early. */
  entry?: Entry;
  lockedFor?: Seq;
  /** The tags as seen, for `store`. */
  tags: string[];
}

export interface Lifetimes {
  freshMs: number;
  keptMs: number;
  lockMs: number;
}

export class Entries {
  constructor(readonly link: RedisLink, readonly lifetimes: Lifetimes) {}

  /** Throws RedisAway. `token` names the caller; `draw` is XFetch's -ln(random); 0 for no early renewal. */
  async look(request: ReadRequest, key: string, token: string, draw: number, known?: Entry): Promise<Look> {
    const min = request.minSeq;
    const reply = await this.link.script(
      LOOK,
      [key, `${key}:lock`, `pms:{${request.tenant}}:through`, ...tagKeys(request)],
      [
        token,
        min?.epoch ?? "",
        String(min?.seq ?? 0),
        String(this.lifetimes.lockMs),
        String(draw),
        known?.mark ?? "",
      ],
    );
    return parsed(reply as Reply);
  }

  /** Keeps what was filled, unless newer is there; gives the lock back. Nothing is kept without an answer. */
  async store(
    request: ReadRequest,
    key: string,
    token: string,
    tags: string[],
    filled: Filled | undefined,
    tookMs: number,
  ): Promise<void> {
    const { freshMs, keptMs } = this.lifetimes;
    const answer = filled === undefined ? "" : JSON.stringify([filled.status, filled.headers, filled.body]);
    const stored = `pms:{${request.tenant}}:stored`;
    await this.link.script(STORE, [key, `${key}:lock`, stored, ...tagKeys(request)], [
      token,
      filled?.seq.epoch ?? "",
      String(filled?.seq.seq ?? 0),
      String(Math.max(1, Math.round(tookMs))),
      answer,
      String(freshMs),
      String(keptMs),
      ...tags,
    ]);
  }
}

/** Where the answer to the request lies. */
export async function entryKey(request: ReadRequest): Promise<string> {
  const digest = await sha256Hex(`${request.fingerprint}\n${request.query}`);
  return `pms:{${request.tenant}}:read:${digest}`;
}

function tagKeys(request: ReadRequest): string[] {
  return request.tags.map((tag) => `pms:{${request.tenant}}:tag:${tag}`);
}

type Reply = [
  Look["state"],
  number,
  string | null,
  string | null,
  string | null,
  string | null,
  string | null,
  string[],
];

function parsed([state, now, epoch, seq, filled, answer, lock, tags]: Reply): Look {
  const look: Look = { state, tags, ...(state === "busy" ? { lockedFor: leastOf(lock) } : {}) };
  if (epoch === null || seq === null || filled === null || answer === null) return look;
  const [status, headers, body] = JSON.parse(answer) as [number, Record<string, string>, string];
  const ageSeconds = Math.max(0, Math.floor((now - Number(filled)) / 1000));
  return {
    ...look,
    entry: { seq: { epoch, seq: Number(seq) }, status, headers, body, ageSeconds, mark: filled },
  };
}

/** The least seq for which the holder of a lock reads; undefined if it reads for anybody. */
function leastOf(lock: string | null): Seq | undefined {
  return parseSeq((lock ?? "").replace(/^[^|]*\|/, ""));
}
