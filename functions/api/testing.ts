// For tests: a handler whose outside is pretended, and requests signed as callers sign them.

import { apiKeyName, sign } from "../_shared/signature.ts";
import type { RedisLink } from "../_shared/redis.ts";
import { type Handler, makeHandler } from "./handler.ts";

export const KEY_ID = "0189f7f2-7c3a-4b1e-9c55-2f1e0a4b6d77";
export const TENANT_ID = "7b1e9c55-2f1e-4a4b-8d77-0189f7f27c3a";
export const SECRET = "pms_sk_" + "s".repeat(43);
export const BASE = "http://functions.test/api";

export const PRODUCT_ROW = {
  id: "3f6c1f7e-6a54-4c1b-9d3a-0b6f5a1c2d3e",
  tenant_id: TENANT_ID,
  sku: "MUG-BLUE",
  name: "Blue mug",
  name_head: "Blue mug",
  version: 3,
  created_at: "2026-11-27T09:30:00+00:00",
};

const ENVIRONMENT = {
  SUPABASE_URL: "http://supabase.test",
  SUPABASE_SERVICE_ROLE_KEY: "service",
  SUPABASE_ANON_KEY: "anon",
  PMS_JWT_KEY: "a secret of at least thirty-two characters",
  PMS_CORS_ORIGINS: "https://shop.example",
};

/** What PostgREST answers, by the last part of the path: a value is 200 with it as JSON; a Response is itself. */
export type Answers = Record<string, unknown | ((args: Record<string, unknown>, url: URL) => unknown)>;

export interface World {
  handle: Handler;
  /** Every call of the origin. */
  asked: [string, RequestInit | undefined][];
  logged: Record<string, unknown>[];
  clock: { now: number };
}

export interface Options {
  environment?: Record<string, string | undefined>;
  answers?: Answers;
  redis?: RedisLink;
}

export function keyRecord(changes: Record<string, unknown> = {}) {
  return {
    api_key_id: KEY_ID,
    tenant_id: TENANT_ID,
    role: "integration",
    permissions: [
      "products.read",
      "products.write",
      "inventory.read",
      "inventory.write",
      "orders.read",
      "orders.write",
    ],
    fingerprint: "f1",
    secrets: [SECRET],
    expires_at: null,
    allowed_ips: null,
    rate_per_minute: null,
    version: 1,
    epoch: "e1",
    seq: 40,
    ...changes,
  };
}

const ADMITTED = { admitted: true, why: null, remaining: 599, reset_seconds: 1 };

export function makeWorld({ environment = {}, answers = {}, redis }: Options = {}): World {
  const settings: Record<string, string | undefined> = { ...ENVIRONMENT, ...environment };
  const nonces = new Set<unknown>();
  const all: Answers = {
    read_api_key: (args: Record<string, unknown>) => args["p_api_key_id"] === KEY_ID ? keyRecord() : null,
    admit_address: ADMITTED,
    admit_request: ({ p_nonce }: Record<string, unknown>) => {
      const replayed = nonces.has(p_nonce);
      nonces.add(p_nonce);
      return replayed ? { ...ADMITTED, admitted: false, why: "replayed" } : ADMITTED;
    },
    log_seq: { epoch: "e1", seq: 41, through: true, until: null },
    schema_version: 1,
    note_api_use: null,
    products: [PRODUCT_ROW],
    ...answers,
  };
  const world: Omit<World, "handle"> = { asked: [], logged: [], clock: { now: 1_764_240_000_000 } };
  const fetch: typeof globalThis.fetch = async (input, init) => {
    world.asked.push([String(input), init]);
    const url = new URL(String(input));
    const name = url.pathname.split("/").at(-1)!;
    const told = all[name];
    const args = typeof init?.body === "string" ? JSON.parse(init.body) : {};
    const answer = await (typeof told === "function" ? told(args, url) : told);
    if (answer instanceof Response) return answer;
    if (answer === undefined) throw new TypeError(`nobody answers ${url.pathname}`);
    return new Response(JSON.stringify(answer));
  };
  const handle = makeHandler({
    environment: { get: (name) => settings[name] },
    fetch,
    now: () => world.clock.now,
    openRedis: () => redis!,
    later: (work) => void work(),
    waitUntil: () => {},
    log: (event, fields) => world.logged.push({ event, ...fields }),
  });
  return { ...world, handle };
}

export interface Sending {
  body?: string | Uint8Array;
  headers?: Record<string, string>;
  secret?: string;
  keyId?: string;
  nonce?: string;
  timestamp?: number;
  /** What is signed instead of the target, the method, the body. */
  signing?: { target?: string; method?: string; body?: string };
}

let counter = 0;

export async function signedRequest(
  world: { clock: { now: number } },
  method: string,
  target: string,
  sending: Sending = {},
): Promise<Request> {
  const { secret = SECRET, keyId = KEY_ID, signing = {} } = sending;
  const bytes = (body: string | Uint8Array | undefined) =>
    typeof body === "string" ? new TextEncoder().encode(body) : body ?? new Uint8Array();
  const timestamp = String(sending.timestamp ?? Math.floor(world.clock.now / 1000));
  const nonce = sending.nonce ?? `nonce-number-${String(++counter).padStart(8, "0")}`;
  const signature = await sign(secret, {
    timestamp,
    nonce,
    method: signing.method ?? method,
    target: signing.target ?? target,
    body: bytes(signing.body ?? sending.body),
  });
  return new Request(BASE + target, {
    method,
    headers: {
      "X-API-Key": apiKeyName(keyId),
      "X-Request-Timestamp": timestamp,
      "X-Request-Nonce": nonce,
      "X-Request-Signature": signature,
      ...(sending.body === undefined ? {} : { "Content-Type": "application/json" }),
      ...sending.headers,
    },
    ...(sending.body === undefined ? {} : { body: sending.body as BodyInit }),
  });
}
