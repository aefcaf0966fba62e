// `pms:key:<id>` in Redis: the place in the log of the last change of an API key, as a worker told it.

import { RedisAway, type RedisLink } from "../../_shared/redis.ts";
import { parseSeq, type Seq, seqText } from "../seq.ts";
import { SETTLE } from "./scripts.ts";

export interface KeyNews {
  /** none: a worker tells of changes, and of none to this key. unheard: Redis holds no change, but nobody tells either.
   * changed: what was read may be out of date. away: Redis does not answer. */
  said: "none" | "unheard" | "changed" | "away";
  /** What lies there. */
  mark?: string;
}

export interface KeyMarks {
  /** What was told of the key since it was read at `seq`. One question to Redis; never throws. */
  since(apiKeyId: string, seq: Seq): Promise<KeyNews>;
  /** The key was read at `seq`, after `mark` was seen: one of another epoch is from before a restore of the database, and
   * gives way if nobody changed it meanwhile. Never throws. */
  settle(apiKeyId: string, mark: string, seq: Seq): Promise<void>;
}

export function makeKeyMarks(link: RedisLink | undefined, isTold: () => Promise<boolean>): KeyMarks {
  return {
    async since(apiKeyId, seq) {
      const told = await isTold();
      try {
        const mark = await link?.run(["GET", nameOf(apiKeyId)]);
        if (mark === undefined) return { said: "away" };
        if (mark === null) return { said: told ? "none" : "unheard" };
        const last = parseSeq(String(mark));
        const isCovered = last !== undefined && last.epoch === seq.epoch && last.seq <= seq.seq;
        return { said: !isCovered ? "changed" : told ? "none" : "unheard", mark: String(mark) };
      } catch (error) {
        if (error instanceof RedisAway) return { said: "away" };
        throw error;
      }
    },
    async settle(apiKeyId, mark, seq) {
      if (parseSeq(mark)?.epoch === seq.epoch) return;
      try {
        await link?.script(SETTLE, [nameOf(apiKeyId)], [mark, seqText(seq)]);
      } catch (error) {
        if (!(error instanceof RedisAway)) throw error;
      }
    },
  };
}

function nameOf(apiKeyId: string): string {
  return `pms:key:${apiKeyId}`;
}
