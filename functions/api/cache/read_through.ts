// The way of a read: joined to one that is under way in this instance, else looked up in Redis, else filled by whoever
// holds the lock, while others wait for what it brings. Whatever Redis does, the way ends at the origin.

import { RedisAway, type RedisLink } from "../../_shared/redis.ts";
import type {
  CacheCounts,
  CacheOptions,
  Fill,
  Filled,
  ReadCache,
  ReadRequest,
  Served,
  Source,
} from "./cache.ts";
import type { Seq } from "../seq.ts";
import type { OriginQueue } from "../origin_queue.ts";
import { Entries, type Entry, entryKey, type Look } from "./entries.ts";
import { type KeyMarks, makeKeyMarks } from "./key_marks.ts";
import { FRESH_MS, KEPT_MS } from "./lifetimes.ts";
import { Usage } from "./usage.ts";

const MAX_BODY = 1024 * 1024;
/** How long a lock outlives an instance that died filling, and how long others wait for one that does not. */
const LOCK_MS = 5_000;
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 50;
const ALIVE_KNOWN_MS = 1_000;
/** Others' reads that came to nothing for a caller, before it reads for itself. */
const JOINS = 3;

interface Flight {
  min?: Seq;
  readers: number;
  landed: Promise<Served>;
}

export class ReadThrough implements ReadCache {
  readonly keyMarks: KeyMarks;
  readonly #flights = new Map<string, Flight>();
  readonly #counts = counters();
  readonly #entries: Entries | undefined;
  readonly #usage: Usage | undefined;
  readonly #now: () => number;
  readonly #random: () => number;
  #alive: { at: number; known: Promise<boolean> } | undefined;

  constructor(
    readonly link: RedisLink | undefined,
    readonly direct: OriginQueue,
    readonly options: CacheOptions,
  ) {
    this.#now = options.now ?? Date.now;
    this.#random = options.random ?? Math.random;
    this.keyMarks = makeKeyMarks(link, () => this.#invalidating());
    if (link === undefined) return;
    const { freshMs = FRESH_MS, keptMs = KEPT_MS } = options;
    this.#entries = new Entries(link, { freshMs, keptMs, lockMs: LOCK_MS });
    this.#usage = new Usage(link, this.#now);
  }

  async read(request: ReadRequest, fill: Fill): Promise<Served> {
    if (request.warming !== true) this.#background(this.#usage?.note(request));
    const served = await this.#served(request, fill);
    this.#counts[served.from]++;
    return served;
  }

  async used(tenant: string, most: number): Promise<ReadRequest[]> {
    return await orElse([], this.#usage?.most(tenant, most));
  }

  counts(): CacheCounts {
    return { ...this.#counts, refused: this.direct.refused };
  }

  async #served(request: ReadRequest, fill: Fill): Promise<Served> {
    if (request.past) return await this.#fromOrigin(request, fill);
    if (request.keptOnly) return await this.#kept(request, fill);
    return await this.#join(request, fill);
  }

  async #join(request: ReadRequest, fill: Fill): Promise<Served> {
    const key = await entryKey(request);
    for (let joins = 0; joins < JOINS; joins++) {
      const flight = this.#flights.get(key);
      if (flight === undefined || !satisfies(flight.min, request.minSeq)) {
        return await this.#fly(key, request, fill);
      }
      if (++flight.readers === 2) this.#counts.stampedes++;
      const served = await flight.landed;
      const from = served.from === "miss" || served.from === "bypass" ? "joined" : served.from;
      if (served.refusal === undefined) return { ...served, from };
    }
    return await this.#fromOrigin(request, fill);
  }

  async #fly(key: string, request: ReadRequest, fill: Fill): Promise<Served> {
    const landed = this.#find(key, request, fill);
    const flight: Flight = { min: request.minSeq, readers: 1, landed };
    this.#flights.set(key, flight);
    try {
      return await landed;
    } finally {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    }
  }

  async #find(key: string, request: ReadRequest, fill: Fill): Promise<Served> {
    if (this.#entries === undefined) return await this.#fromOrigin(request, fill);
    if (!await this.#invalidating()) return await this.#bypass(this.#entries, key, request, fill);
    return await this.#lookAndFill(this.#entries, key, request, fill);
  }

  async #lookAndFill(entries: Entries, key: string, request: ReadRequest, fill: Fill): Promise<Served> {
    const token = crypto.randomUUID();
    const until = this.#now() + LOCK_MS;
    let draw = -Math.log(1 - this.#random());
    let known: Entry | undefined;
    for (let pause = FIRST_PAUSE_MS;; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      const look = await orElse(undefined, entries.look(request, key, token, draw, known));
      if (look === undefined) return await this.#fromOrigin(request, fill);
      const waited = pause > FIRST_PAUSE_MS;
      if (look.entry !== undefined && (look.state === "fresh" || look.state === "early")) {
        if (look.state === "early") this.#renew(entries, key, request, fill, token, look);
        return serve(look.entry, waited ? "joined" : "hit");
      }
      known = look.entry ?? known;
      if (look.state === "locked") {
        return await this.#fillAndStore(entries, key, request, fill, token, look, known);
      }
      if (!satisfies(look.lockedFor, request.minSeq) || this.#now() >= until) {
        return await this.#fillAndStore(entries, key, request, fill, token, look, known);
      }
      draw = 0;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  async #fillAndStore(
    entries: Entries,
    key: string,
    request: ReadRequest,
    fill: Fill,
    token: string,
    look: Look,
    stale?: Entry,
    patient = false,
  ): Promise<Served> {
    const started = performance.now();
    let filled: Filled | undefined;
    try {
      filled = await this.direct.run(fill, { tenant: request.tenant, patient });
      return serve({ ...filled, ageSeconds: 0 }, "miss");
    } catch (error) {
      if (stale === undefined || !isOutage(error)) throw error;
      return serve(stale, "stale");
    } finally {
      const kept = filled !== undefined && this.#keeps(filled) ? filled : undefined;
      await orElse(
        undefined,
        entries.store(request, key, token, look.tags, kept, performance.now() - started),
      );
    }
  }

  /** Nobody works invalidations, so what lies in Redis may be old without looking so: good only if all else fails. */
  async #bypass(entries: Entries, key: string, request: ReadRequest, fill: Fill): Promise<Served> {
    try {
      return await this.#fromOrigin(request, fill);
    } catch (error) {
      if (!isOutage(error)) throw error;
      const look = await orElse(undefined, entries.peek(request, key));
      if (look?.entry === undefined) throw error;
      return serve(look.entry, "stale");
    }
  }

  /** Looks only: whoever may read this and nothing else neither begins what others would join, nor joins it. */
  async #kept(request: ReadRequest, fill: Fill): Promise<Served> {
    const look = await orElse(undefined, this.#entries?.peek(request, await entryKey(request)));
    if (look?.entry === undefined) return await this.#fromOrigin(request, fill);
    return serve(look.entry, look.state === "fresh" && await this.#invalidating() ? "hit" : "stale");
  }

  async #fromOrigin({ tenant }: ReadRequest, fill: Fill): Promise<Served> {
    return serve({ ...await this.direct.run(fill, { tenant }), ageSeconds: 0 }, "bypass");
  }

  #renew(entries: Entries, key: string, request: ReadRequest, fill: Fill, token: string, look: Look): void {
    this.#counts.early++;
    // others are served what is there meanwhile, so this one may wait
    this.#background(this.#fillAndStore(entries, key, request, fill, token, look, look.entry, true));
  }

  /** Whether a worker says that it works invalidations; asked for once a second. */
  async #invalidating(): Promise<boolean> {
    if (this.link === undefined || this.link.away) return false;
    if (this.#alive === undefined || this.#now() - this.#alive.at >= ALIVE_KNOWN_MS) {
      const known = orElse(null, this.link.run(["GET", "pms:cache:alive"])).then((value) => value !== null);
      this.#alive = { at: this.#now(), known };
    }
    return await this.#alive.known;
  }

  #keeps(filled: Filled): boolean {
    return filled.refusal === undefined && filled.status === 200 &&
      filled.body.length <= (this.options.maxBody ?? MAX_BODY);
  }

  #background(work: Promise<unknown> | undefined): void {
    const quiet = work?.catch(() => {});
    if (quiet !== undefined) this.options.waitUntil?.(quiet);
  }
}

/** Whether what was begun for `held` is new enough for `asked`. */
function satisfies(held: Seq | undefined, asked: Seq | undefined): boolean {
  return asked === undefined || (held !== undefined && held.epoch === asked.epoch && held.seq >= asked.seq);
}

/** Whether the origin failed; one that refused (a status below 500) has answered. */
function isOutage(error: unknown): boolean {
  const status = (error as { status?: unknown }).status;
  return typeof status !== "number" || status >= 500;
}

function serve(entry: Filled & { ageSeconds: number }, from: Source): Served {
  const { seq, status, headers, body, refusal, ageSeconds } = entry;
  return { seq, status, headers, body, refusal, ageSeconds, from };
}

/** What Redis answers, or `otherwise` while it is away. */
async function orElse<T, O>(otherwise: O, answer: Promise<T> | undefined): Promise<T | O> {
  try {
    return answer === undefined ? otherwise : await answer;
  } catch (error) {
    if (error instanceof RedisAway) return otherwise;
    throw error;
  }
}

function counters(): CacheCounts {
  return { hit: 0, miss: 0, joined: 0, stale: 0, bypass: 0, stampedes: 0, early: 0, refused: 0 };
}
