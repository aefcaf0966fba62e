// Whether the function can do its work: for probes, unauthenticated.

import { z } from "@hono/zod-openapi";

import { RedisAway } from "../../_shared/redis.ts";
import { define } from "../operation.ts";
import { json } from "../responses.ts";
import type { Services } from "../services.ts";

export const HEALTH_TIMEOUT_MS = 2_000;
/** An answer serves whoever asks within this time: probes must not be a load. */
const KEPT_MS = 1_000;

const Check = z.object({
  status: z.enum(["ok", "failed", "away", "off"]),
  milliseconds: z.number().int(),
  detail: z.string().optional(),
});
type Check = z.output<typeof Check>;

const Health = z.object({
  status: z.enum(["ok", "failed"]),
  checks: z.object({ database: Check, cache: Check }),
}).openapi("Health");

const kept = new WeakMap<Services, { at: number; health: Promise<z.output<typeof Health>> }>();

export const health = define({
  method: "get",
  path: "/health",
  access: "public",
  id: "health",
  tag: "Service",
  summary: "Whether the service can do its work",
  description: "503 when the database does not answer. Without a cache everything works, slower.",
  answers: {
    200: {
      description: "It can",
      schema: Health,
      example: {
        status: "ok",
        checks: { database: { status: "ok", milliseconds: 3 }, cache: { status: "ok", milliseconds: 1 } },
      },
    },
    503: { description: "It cannot", schema: Health },
  },
  async answer(_asked, { services }) {
    const now = services.now();
    let known = kept.get(services);
    if (known === undefined || now - known.at >= KEPT_MS || now < known.at) {
      known = { at: now, health: check(services) };
      kept.set(services, known);
    }
    const told = await known.health;
    return json(told, told.status === "ok" ? 200 : 503, told.status === "ok" ? {} : { "Retry-After": "1" });
  },
});

async function check(services: Services): Promise<z.output<typeof Health>> {
  const [database, cache] = await Promise.all([checkDatabase(services), checkCache(services)]);
  return { status: database.status === "ok" ? "ok" : "failed", checks: { database, cache } };
}

async function checkDatabase({ origin, now }: Services): Promise<Check> {
  const started = now();
  try {
    await origin.service("schema_version", {}, HEALTH_TIMEOUT_MS);
    return { status: "ok", milliseconds: now() - started };
  } catch (error) {
    const detail = error instanceof Error ? error.message : "failed";
    return { status: "failed", milliseconds: now() - started, detail };
  }
}

async function checkCache({ redis, now, settings }: Services): Promise<Check> {
  if (settings.redisUrl === undefined || redis === undefined) return { status: "off", milliseconds: 0 };
  const started = now();
  try {
    await redis.run(["PING"]);
    return { status: "ok", milliseconds: now() - started };
  } catch (error) {
    if (!(error instanceof RedisAway)) throw error;
    return { status: "away", milliseconds: now() - started };
  }
}
