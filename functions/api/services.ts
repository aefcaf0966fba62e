// What routes work with, made once per instance from the settings.

import { makeAdmission } from "./auth/admission.ts";
import type { Gate } from "./auth/authenticate.ts";
import { makeKeys } from "./auth/keys.ts";
import { makeTokens, type PrincipalTokens } from "./auth/tokens.ts";
import { makeUsage } from "./auth/usage.ts";
import { BodyBudget } from "./bodies.ts";
import { OriginQueue } from "./origin_queue.ts";
import { makeCache, type ReadCache } from "./cache/cache.ts";
import { type Cursors, makeCursors } from "./cursors.ts";
import type { Log } from "./log.ts";
import { type Caller, makeOrigin } from "./origin.ts";
import type { RedisLink } from "../_shared/redis.ts";
import { Tally } from "./tally.ts";
import { type Environment, readSettings, type Settings, SettingsError } from "./settings.ts";

/** Short calls, before anything is known of the caller: they leave the database's places to reads and writes. */
const ADMISSIONS_AT_ONCE = 8;

/** Everything from outside; tests put in their own. */
export interface Dependencies {
  environment: Environment;
  fetch: typeof fetch;
  /** Milliseconds since 1970. */
  now: () => number;
  openRedis: (url: string) => RedisLink;
  /** Does it later, and keeps the instance alive until it is done. */
  later: (work: () => Promise<void>, milliseconds: number) => void;
  /** Keeps the instance alive until work that goes on after an answer is done. */
  waitUntil: (work: Promise<unknown>) => void;
  log: Log;
}

export interface Services {
  settings: Settings;
  origin: Caller;
  tokens: PrincipalTokens;
  gate: Gate;
  cache: ReadCache;
  /** The cap on reads that go past the cache. */
  direct: OriginQueue;
  /** The cap on commands. */
  writes: OriginQueue;
  /** What bodies may take of the memory until they are answered. */
  bodies: BodyBudget;
  cursors: Cursors;
  redis: RedisLink | undefined;
  now: () => number;
  log: Log;
}

/** Throws `SettingsError`. */
export async function makeServices(deps: Dependencies): Promise<Services> {
  const settings = readSettings(deps.environment);
  const { now, log } = deps;
  const tokens = await makeTokens(settings.jwtKey, now).catch((error: Error) => {
    throw new SettingsError([error.message]);
  });
  const pause = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));
  const origin = makeOrigin(settings, { fetch: deps.fetch, pause });
  const redis = settings.redisUrl === undefined ? undefined : deps.openRedis(settings.redisUrl);
  const direct = new OriginQueue();
  const admissions = new OriginQueue({ atOnce: ADMISSIONS_AT_ONCE });
  const cache = makeCache(redis, { direct, now, waitUntil: deps.waitUntil });
  const gate: Gate = {
    keys: makeKeys({
      read: (id) =>
        admissions.run(() =>
          origin.service("read_api_key", { p_api_key_id: id, p_cached: redis !== undefined })
        ),
      marks: redis && cache.keyMarks,
      now,
    }),
    admission: makeAdmission({
      redis,
      service: origin.service,
      queue: admissions,
      now,
    }),
    usage: makeUsage({
      send: (uses, instance) => origin.service("note_api_use", { p_uses: uses, p_instance: instance }),
      tally: new Tally({ cached: redis !== undefined, also: () => countsOf(cache), now }),
      now,
      later: deps.later,
      log,
    }),
    keyRate: settings.keyRate,
    now,
  };
  const cursors = makeCursors(settings.serviceKey);
  return {
    settings,
    origin,
    tokens,
    gate,
    cache,
    direct,
    writes: new OriginQueue(),
    bodies: new BodyBudget(),
    cursors,
    redis,
    now,
    log,
  };
}

function countsOf(cache: ReadCache): Record<string, number> {
  const { refused, ...others } = cache.counts();
  return { ...others, origin_refused: refused };
}
