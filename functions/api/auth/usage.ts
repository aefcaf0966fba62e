// What keys did, told to Postgres in the background: requests, refusals, cache outcomes, and the nonces that Redis took; and
// what the instance counted, of whichever key or none.

import { type Log, told } from "../log.ts";
import type { Sums, Tally } from "../tally.ts";

/** Nonces are waited for by whoever must refuse their replay; counts are not. */
const NONCES_WITHIN_MS = 100;
const COUNTS_WITHIN_MS = 1_000;
/** When nobody took them. */
const AGAIN_WITHIN_MS = 5_000;
/** Rows of one call. */
const MOST_ROWS = 1_000;
/** Nonces that wait for Postgres, over all failures; beyond that they are dropped. */
const WAITING = 20_000;

export type CacheOutcome = "hit" | "miss" | "stale" | "joined" | "bypass";

export interface Use {
  apiKeyId: string;
  refused: boolean;
  /** Unix seconds at which it was signed. */
  nonce?: { nonce: string; signedAt: number };
}

export interface Usage {
  note(use: Use): void;
  noteCache(apiKeyId: string, outcome: CacheOutcome): void;
  /** How a request ended that wanted to be let in, by the status of its answer. */
  noteEnd(status: number): void;
  /** Sends what waits; for the end of an instance, and tests. */
  flush(): Promise<void>;
}

interface Row {
  api_key_id: string;
  day: string;
  requests: number;
  refused: number;
  cache: Partial<Record<CacheOutcome, number>>;
  last_used_at: string;
  nonces: { nonce: string; signed_at: string }[];
}

interface Wiring {
  send: (uses: Row[], instance: Sums | null) => Promise<unknown>;
  tally: Tally;
  now: () => number;
  /** Does it so many milliseconds later, and keeps the instance alive until then. */
  later: (work: () => Promise<void>, milliseconds: number) => void;
  log: Log;
}

export function makeUsage({ send, tally, now, later, log }: Wiring): Usage {
  let rows = new Map<string, Row>();
  let flushAt = Infinity;

  const rowOf = (apiKeyId: string): Row => {
    const moment = new Date(now()).toISOString();
    const day = moment.slice(0, 10);
    const row = rows.get(apiKeyId + day) ??
      { api_key_id: apiKeyId, day, requests: 0, refused: 0, cache: {}, last_used_at: moment, nonces: [] };
    rows.set(apiKeyId + day, row);
    row.last_used_at = moment;
    plan(COUNTS_WITHIN_MS);
    return row;
  };

  const plan = (milliseconds: number) => {
    const at = now() + milliseconds;
    if (at >= flushAt) return;
    flushAt = at;
    // one that was overtaken does nothing: it would let the next request plan anew, and soon each had a call of its own
    later(() => flushAt === at ? flush() : Promise.resolve(), milliseconds);
  };

  const flush = async () => {
    flushAt = Infinity;
    const waiting = [...rows.values()];
    rows = new Map();
    const calls = Math.max(Math.ceil(waiting.length / MOST_ROWS), tally.toTell() === undefined ? 0 : 1);
    for (let call = 0; call < calls; call++) {
      await tell(waiting.slice(call * MOST_ROWS, (call + 1) * MOST_ROWS));
    }
  };

  const tell = async (uses: Row[]) => {
    const sums = tally.toTell();
    try {
      await send(uses, sums ?? null);
    } catch (error) {
      log("usage.lost", { keys: uses.length, error: told(error) });
      // counts of keys are best effort; a nonce that nobody knows can be replayed
      keepNonces(uses);
      if (sums !== undefined) plan(AGAIN_WITHIN_MS);
      return;
    }
    if (sums !== undefined) tally.heard(sums);
  };

  const keepNonces = (sent: Row[]) => {
    let room = WAITING - [...rows.values()].reduce((sum, row) => sum + row.nonces.length, 0);
    for (const old of sent) {
      const kept = old.nonces.slice(0, Math.max(0, room));
      if (kept.length === 0) continue;
      rowOf(old.api_key_id).nonces.push(...kept);
      room -= kept.length;
    }
  };

  return {
    note({ apiKeyId, refused, nonce }) {
      if (nonce) plan(NONCES_WITHIN_MS);
      const row = rowOf(apiKeyId);
      row.requests += 1;
      if (refused) row.refused += 1;
      if (nonce) {
        row.nonces.push({ nonce: nonce.nonce, signed_at: new Date(nonce.signedAt * 1000).toISOString() });
      }
    },
    noteCache(apiKeyId, outcome) {
      const { cache } = rowOf(apiKeyId);
      cache[outcome] = (cache[outcome] ?? 0) + 1;
    },
    noteEnd(status) {
      tally.ended(status);
      plan(COUNTS_WITHIN_MS);
    },
    flush,
  };
}
