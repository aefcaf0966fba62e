// What the routes see of the read-through cache.

import type { RedisLink } from "../../_shared/redis.ts";
import type { Seq } from "../seq.ts";
import { OriginQueue, type OriginQueueOptions } from "../origin_queue.ts";
import type { KeyMarks } from "./key_marks.ts";
import { ReadThrough } from "./read_through.ts";

export type Tag = "products" | "stock" | "orders";

export interface ReadRequest {
  tenant: string;
  /** Equal for equal permissions within the tenant: whoever shares it may be given the same answer. */
  fingerprint: string;
  /** Of which changes make the answer old. */
  tags: Tag[];
  /** Canonical path?query, without the version prefix. */
  query: string;
  /** No answer older than this. */
  minSeq?: Seq;
  apiKeyId: string;
  /** Not what lies there, nor what somebody else began to read: the origin, now. */
  past?: boolean;
  /** Only what lies there, as new as asked for, however old else; `fill` says why there is nothing. */
  keptOnly?: boolean;
  /** A read that nobody waits for is not counted as use. */
  warming?: boolean;
}

/** What a read came to in place of data, for the caller who asked and nobody else: neither kept, nor told to who joined. */
export type Refusal = "ahead" | "busy" | "keyGone" | "keyChanged";

export interface Filled {
  /** Read before the data was: the data is at least as new. */
  seq: Seq;
  status: number;
  headers: Record<string, string>;
  body: string;
  /** Absent with data. */
  refusal?: Refusal;
}

export type Source = "hit" | "miss" | "joined" | "stale" | "bypass";

export interface Served extends Filled {
  from: Source;
  ageSeconds: number;
}

export interface CacheCounts extends Record<Source, number> {
  /** Fills that more than one reader was waiting for. */
  stampedes: number;
  /** Entries renewed before they ran out. */
  early: number;
  /** Reads of the origin that were refused because too many waited. */
  refused: number;
}

export type Fill = () => Promise<Filled>;

export interface ReadCache {
  /** Serves from the cache or by `fill`. Throws what `fill` throws if there is nothing that may be served instead,
   * and `OriginBusy` (503) when too many reads wait for the origin. Never throws because Redis does. */
  read(request: ReadRequest, fill: Fill): Promise<Served>;
  /** The most used queries of the tenant, most used first; [] while Redis is away. */
  used(tenant: string, most: number): Promise<ReadRequest[]>;
  /** What is told of changes of API keys. */
  readonly keyMarks: KeyMarks;
  counts(): CacheCounts;
}

export interface CacheOptions extends OriginQueueOptions {
  /** How long an entry is served as fresh. */
  freshMs?: number;
  /** How long after that it is kept for the day the origin fails. */
  keptMs?: number;
  /** The longest body that is kept, in UTF-16 units. */
  maxBody?: number;
  /** The cap on reads of the origin, where others share it. */
  direct?: OriginQueue;
  now?: () => number;
  random?: () => number;
  /** Told of work that goes on after the answer (`EdgeRuntime.waitUntil`). */
  waitUntil?: (work: Promise<unknown>) => void;
}

/** Without a link every read goes to the origin, under the cap of concurrent reads. */
export function makeCache(link: RedisLink | undefined, options: CacheOptions = {}): ReadCache {
  return new ReadThrough(link, options.direct ?? new OriginQueue(options), options);
}
