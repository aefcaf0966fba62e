// Entries, tags and locks as they lie in Redis (DESIGN §5). Every decision that depends on several keys is one script.
//
// An entry carries the `seq` of the tenant's log read before its fill, a tag the `seq` of the last change of its
// kind: an entry is fresh only if no tag is ahead of it, whenever and in whatever order the two were written. A tag
// that is not there proves nothing (expired, evicted, or Redis was emptied), so whoever looks puts a mark there; the
// fill replaces the mark by its own seq only if it is still the same one, for then no change came between. A tag of
// another epoch, from before a restore of the database, proves nothing either, and gives way as a mark does.
//
// Who asks for a place of another epoch gets what was filled in this one, once a fill has shown that the other is over:
// it found this epoch after it was asked for that one. What the restore left of that history is in all that was read since.

import type { RedisLink } from "../../_shared/redis.ts";
import { sha256Hex } from "../../_shared/signature.ts";
import { parseSeq, type Seq } from "../seq.ts";
import type { Filled, ReadRequest } from "./cache.ts";
import { LOOK, STORE } from "./scripts.ts";

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
  look(request: ReadRequest, key: string, token: string, draw: number, known?: Entry): Promise<Look> {
    return this.#look(request, key, { token, draw, known, lockMs: this.lifetimes.lockMs });
  }

  /** As `look`, by somebody who will store nothing: nothing is locked or marked. fresh or busy. Throws RedisAway. */
  peek(request: ReadRequest, key: string): Promise<Look> {
    return this.#look(request, key, { token: "", draw: 0, lockMs: 0 });
  }

  async #look(
    request: ReadRequest,
    key: string,
    by: { token: string; draw: number; known?: Entry; lockMs: number },
  ): Promise<Look> {
    const min = request.minSeq;
    const { lock, past, through } = namesOf(request, key);
    const reply = await this.link.script(LOOK, [key, lock, through, past, ...tagKeys(request)], [
      by.token,
      min?.epoch ?? "",
      String(min?.seq ?? 0),
      String(by.lockMs),
      String(by.draw),
      by.known?.mark ?? "",
    ]);
    return parsed(named(reply as unknown[]));
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
    const { lock, past, stored } = namesOf(request, key);
    await this.link.script(STORE, [key, lock, stored, past, ...tagKeys(request)], [
      token,
      filled?.seq.epoch ?? "",
      String(filled?.seq.seq ?? 0),
      String(Math.max(1, Math.round(tookMs))),
      answer,
      String(freshMs),
      String(keptMs),
      request.minSeq?.epoch ?? "",
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

function namesOf({ tenant }: ReadRequest, key: string) {
  const own = `pms:{${tenant}}`;
  return { lock: `${key}:lock`, through: `${own}:through`, past: `${own}:past`, stored: `${own}:stored` };
}

/** LOOK's reply. */
interface Reply {
  state: Look["state"];
  /** Milliseconds, of Redis' clock; so is `filled`. */
  now: number;
  epoch: string | null;
  /** Up to where nothing of the entry's kinds changed. */
  seq: string | null;
  filled: string | null;
  /** Null where there is none that may be served, or the caller has it. */
  answer: string | null;
  lock: string | null;
  tags: string[];
}

function named(reply: unknown[]): Reply {
  const pairs = Array.from({ length: reply.length / 2 }, (_, n) => [reply[2 * n], reply[2 * n + 1]]);
  return Object.fromEntries(pairs);
}

function parsed({ state, now, epoch, seq, filled, answer, lock, tags }: Reply): Look {
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
