// Lets a request in: its nonce is new, and its key and its address stay within their rates. With Redis by one script, else
// (or while Redis is away) by worker.admit_request and worker.admit_address.
//
// What Redis has forgotten, Postgres knows: each nonce is handed to it as well (usage.ts). `since` in Redis says since when
// its nonces are whole; a request signed before that, give or take both clocks, is asked of Postgres too, and so is every write.

import { z } from "@hono/zod-openapi";

import { RedisAway, type RedisLink } from "../../_shared/redis.ts";
import { SKEW_SECONDS } from "../../_shared/signature.ts";
import type { OriginQueue } from "../origin_queue.ts";
import { ADMIT, SINCE } from "./admission_script.ts";

export interface Verdict {
  admitted: boolean;
  /** `changed`: the key, since it was looked up, and again when it was renewed. */
  why: "replayed" | "limited" | "changed" | null;
  remaining: number;
  resetSeconds: number;
  /** Whether Postgres recorded the nonce, so that nobody needs to tell it. */
  recorded: boolean;
}

export interface Admission {
  admitAddress(address: string, perMinute: number): Promise<Verdict>;
  admitKey(use: KeyUse): Promise<Verdict>;
}

export interface KeyUse {
  apiKeyId: string;
  nonce: string;
  /** Unix seconds, as signed. */
  timestamp: number;
  perMinute: number;
  /** What may change something is never taken on Redis' word alone: another instance may have lost it, and taken the nonce. */
  writes: boolean;
  /** Of the key as it was looked up; who admits a write knows whether it is still that. */
  version: number;
  /** Looks the key up anew and checks the request against it; its version. Throws for a key that is good no more. */
  renew: () => Promise<number>;
}

const Answer = z.object({
  admitted: z.boolean(),
  why: z.enum(["replayed", "limited", "changed"]).nullish(),
  remaining: z.number(),
  reset_seconds: z.number(),
});

interface Wiring {
  redis: RedisLink | undefined;
  service: (name: string, args: Record<string, unknown>) => Promise<unknown>;
  /** The cap on admissions by Postgres: with a fresh Redis, or none, every request is one. */
  queue: OriginQueue;
  now: () => number;
}

export function makeAdmission({ redis, service, queue, now }: Wiring): Admission {
  // While Redis was away, nonces went to Postgres alone: Redis is told at the next call, and is whole from then on.
  let misses = 0;
  let confessed = 0;

  const inPostgres = async (name: string, args: Record<string, unknown>): Promise<Verdict> => {
    const { admitted, why, remaining, reset_seconds } = Answer.parse(
      await queue.run(() => service(name, args)),
    );
    return { admitted, why: why ?? null, remaining, resetSeconds: Math.ceil(reset_seconds), recorded: true };
  };

  const inRedis = async (rateKey: string, perMinute: number, nonce?: { key: string; at: number }) => {
    if (redis === undefined) return undefined;
    const keys = nonce === undefined ? [rateKey] : [rateKey, nonce.key, SINCE];
    const missed = misses;
    const args = [
      String(perMinute),
      String(nonce ? lifeOfNonce(nonce.at, now()) : 0),
      missed > confessed ? "missed" : "",
    ];
    try {
      const [admitted, why, remaining, reset, since] = Script.parse(await redis.script(ADMIT, keys, args));
      if (nonce !== undefined) confessed = Math.max(confessed, missed);
      const resetSeconds = Math.ceil(reset / 1000);
      const verdict: Verdict = {
        admitted: admitted === 1,
        why: why || null,
        remaining,
        resetSeconds,
        recorded: false,
      };
      return { verdict, since };
    } catch (error) {
      if (!(error instanceof RedisAway)) throw error;
      misses++;
      return undefined;
    }
  };

  return {
    async admitAddress(address, perMinute) {
      const told = await inRedis(`pms:{admission}:address:${address}`, perMinute);
      return told?.verdict ??
        await inPostgres("admit_address", { p_address: address, p_rate_per_minute: perMinute });
    },
    async admitKey({ apiKeyId, nonce, timestamp, perMinute, writes, version, renew }) {
      const key = `pms:{admission}:nonce:${apiKeyId}:${nonce}`;
      const told = await inRedis(`pms:{admission}:key:${apiKeyId}`, perMinute, { key, at: timestamp });
      const enough = told !== undefined && !writes && timestamp > told.since + SKEW_SECONDS;
      if (told !== undefined && (enough || !told.verdict.admitted)) return told.verdict;
      const ask = (p_version: number) =>
        inPostgres("admit_request", {
          p_api_key_id: apiKeyId,
          p_nonce: nonce,
          p_signed_at: new Date(timestamp * 1000).toISOString(),
          p_rate_per_minute: perMinute,
          p_version,
        });
      let known = await ask(version);
      if (known.why === "changed") known = await ask(await renew());
      // the rate that callers are told is the one that counts all their requests
      return told !== undefined && known.admitted ? { ...told.verdict, recorded: true } : known;
    },
  };
}

const Script = z.tuple([
  z.number(),
  z.union([z.instanceof(Uint8Array).transform((bytes) => new TextDecoder().decode(bytes)), z.string()])
    .pipe(z.enum(["", "replayed", "limited"])),
  z.number(),
  z.number(),
  z.number(),
]);

/** Seconds for which the timestamp would be taken again, and a little for Redis' clock. */
function lifeOfNonce(timestamp: number, nowMs: number): number {
  return Math.max(1, timestamp + SKEW_SECONDS - Math.floor(nowMs / 1000) + 10);
}
