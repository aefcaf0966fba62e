// API keys as the database knows them: remembered for seconds where somebody tells of changes, and while the database is
// away for as long as the answers that they may read.

import type { KeyMarks, KeyNews } from "../cache/key_marks.ts";
import { KEPT_MS } from "../cache/lifetimes.ts";
import { OriginBusy } from "../origin_queue.ts";
import { Problem } from "../problems.ts";
import type { Seq } from "../seq.ts";
import { type KeyRecord, parseRecord, RecordMemory } from "./record_memory.ts";

export type { KeyRecord } from "./record_memory.ts";

const MEMORY_MS = 10_000;
/** How long after an outage nobody who can do without asks the database again, unless it has answered somebody. */
const OUTAGE_MS = 1_000;
const NOWHERE: Seq = { epoch: "none", seq: 0 };

export interface Found {
  record: KeyRecord;
  /** The key could not be looked up, for this: it may have been revoked for as long as KEPT_MS. */
  outage?: unknown;
}

type Holds = (record: KeyRecord | undefined) => Promise<boolean>;

export interface Keys {
  /** Undefined for a key that is unknown, revoked or expired. Throws a Problem when the database does not answer. */
  find(apiKeyId: string): Promise<KeyRecord | undefined>;
  /**
   * As `find`, if `holds` says yes to it. A no costs the same calls whether or not there is such a key, and whether or
   * not it is remembered: else time would tell. With `orLastKnown` the last record that was read, at most KEPT_MS ago,
   * will do while the database is away and Redis, which must answer, holds no change of the key.
   */
  findIf(apiKeyId: string, holds: Holds, orLastKnown?: boolean): Promise<Found | undefined>;
  /** As find, never from memory. */
  look(apiKeyId: string): Promise<KeyRecord | undefined>;
}

interface Wiring {
  /** `worker.read_api_key`. */
  read: (apiKeyId: string) => Promise<unknown>;
  /** Absent without Redis: then nothing says that a key changed, and each call looks it up. */
  marks?: KeyMarks;
  now: () => number;
}

/** What is known before the database is asked. */
interface Recalled {
  /** Good by itself. */
  good?: Found;
  /** Good while the database is away. */
  last?: KeyRecord;
  news: KeyNews;
}

export function makeKeys({ read, marks, now }: Wiring): Keys {
  let outage: { error: unknown; at: number } | undefined;

  const look = async (apiKeyId: string) => {
    try {
      const record = parseRecord(await read(apiKeyId));
      outage = undefined;
      return record;
    } catch (error) {
      if (isOutage(error)) outage = { error, at: now() };
      throw error;
    }
  };
  const memory = new RecordMemory(look, now);

  const isLiving = ({ expires_at }: KeyRecord) => !expires_at || Date.parse(expires_at) > now();
  const living = (record: KeyRecord | undefined) => record && isLiving(record) ? record : undefined;

  /** One question to Redis whatever is remembered, and none to the database. */
  const recall = async (apiKeyId: string, marks: KeyMarks, orLastKnown: boolean): Promise<Recalled> => {
    // time must not tell: of any key's outage, whether or not this one is known
    const failed = orLastKnown ? outage : undefined;
    if (failed === undefined) await memory.settled(apiKeyId);
    const isAway = failed && (now() - failed.at < OUTAGE_MS || memory.isUnderWay(apiKeyId));
    const known = memory.get(apiKeyId);
    const news = await marks.since(apiKeyId, known?.record ?? NOWHERE);
    if (news.said === "changed") memory.forget(apiKeyId, known);
    const age = known === undefined ? Infinity : now() - known.at;
    const record = living(known?.record);
    if (record === undefined || age >= KEPT_MS || news.said === "changed" || news.said === "away") {
      return { news };
    }
    if (age < MEMORY_MS && news.said === "none") return { good: { record }, last: record, news };
    return { ...(isAway ? { good: { record, outage: failed.error } } : {}), last: record, news };
  };

  /** Reads it, and has a mark of another epoch, which says nothing of what is read now, give way. */
  const lookUp = async (apiKeyId: string, begun: number, marks: KeyMarks, { mark }: KeyNews) => {
    const seen = memory.begun;
    const record = await memory.lookUpAfter(begun, apiKeyId);
    const known = memory.get(apiKeyId);
    const isReadSince = known !== undefined && known.number > seen;
    if (mark !== undefined && isReadSince) await marks.settle(apiKeyId, mark, known.record);
    return living(record);
  };

  const findIf = async (apiKeyId: string, holds: Holds, orLastKnown = false): Promise<Found | undefined> => {
    if (marks === undefined) {
      const record = living(await look(apiKeyId));
      return await holds(record) && record ? { record } : undefined;
    }
    const begun = memory.begun;
    const { good, last, news } = await recall(apiKeyId, marks, orLastKnown);
    if (await holds(good?.record)) return good;
    try {
      const record = await lookUp(apiKeyId, begun, marks, news);
      return await holds(record) && record ? { record } : undefined;
    } catch (error) {
      if (orLastKnown && isOutage(error) && await holds(last) && last) return { record: last, outage: error };
      throw error;
    }
  };

  return {
    look: async (apiKeyId) => living(await look(apiKeyId)),
    find: async (apiKeyId) =>
      (await findIf(apiKeyId, (record) => Promise.resolve(record !== undefined)))?.record,
    findIf,
  };
}

/** Whether the database did not answer. That it refused this function is an answer. */
function isOutage(error: unknown): boolean {
  if (error instanceof OriginBusy) return true;
  return error instanceof Problem && error.status >= 500 &&
    !["origin.answer_invalid", "origin.token_refused"].includes(error.code);
}
