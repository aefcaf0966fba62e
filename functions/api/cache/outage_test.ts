// The database is away, and the worker's heartbeat with it: what lies in Redis is read on, by who was let in before.

import assert from "node:assert/strict";

import { openRedis, type RedisLink } from "../../_shared/redis.ts";
import { testWithRedis } from "../../_shared/redis_server.ts";
import {
  KEY_ID,
  keyRecord,
  makeWorld,
  PRODUCT_ROW,
  type Sending,
  signedRequest,
  TENANT_ID,
} from "../testing.ts";
import { makeCache } from "./cache.ts";
import { invalidate, Origin, request, workerLives } from "./origin_double.ts";

const LIST = "/pms/products";

/** A handler whose database answers until `state.away`, and its caller. */
async function worldOver(redis: RedisLink, url: string) {
  const state = { away: false };
  const answers = {
    read_api_key: keyRecord(),
    log_seq: { epoch: "e1", seq: 41, through: true, until: null },
    products: [PRODUCT_ROW],
    admit_request: { admitted: true, why: null, remaining: 599, reset_seconds: 1 },
  };
  const unlessAway = Object.entries(answers).map(([name, answer]) =>
    [name, () => state.away ? new Response("", { status: 503 }) : answer] as const
  );
  const world = makeWorld({
    redis,
    environment: { REDIS_URL: url },
    answers: Object.fromEntries(unlessAway),
  });
  await workerLives(redis);
  await invalidate(redis, TENANT_ID, 41);
  await redis.run(["SET", "pms:{admission}:since", "0"]); // Redis knows all nonces
  const send = async (method: string, target: string, sending?: Sending) => {
    const answer = await world.handle(await signedRequest(world, method, target, sending));
    const { code } = await answer.json();
    return [answer.status, answer.headers.get("X-Cache") ?? code];
  };
  return { world, state, send };
}

async function whileAway(
  server: { url: string },
  play: (redis: RedisLink, world: Awaited<ReturnType<typeof worldOver>>) => Promise<void>,
): Promise<void> {
  const redis = openRedis(server.url, { timeoutMs: 2_000 });
  try {
    const made = await worldOver(redis, server.url);
    assert.deepEqual(await made.send("GET", LIST), [200, "miss"]);
    made.state.away = true;
    await play(redis, made);
  } finally {
    await redis.close();
  }
}

const AWAY = [503, "origin.unavailable"];

testWithRedis("warm reads go on for ten minutes; nothing else does", async (server) => {
  await whileAway(server, async (redis, { world, state, send }) => {
    const start = world.clock.now;
    world.clock.now = start + 11_000;
    assert.deepEqual(await send("GET", LIST), [200, "hit"], "the worker still tells");
    await redis.run(["DEL", "pms:cache:alive"]);
    for (const seconds of [16, 60, 599]) {
      world.clock.now = start + seconds * 1000;
      assert.deepEqual(await send("GET", LIST), [200, "stale"], `after ${seconds} s`);
      assert.deepEqual(await send("GET", `${LIST}?sku=COLD`), AWAY);
      assert.deepEqual(await send("GET", LIST, { headers: { "Cache-Control": "no-cache" } }), AWAY);
      assert.deepEqual(await send("GET", `/pms/orders/${PRODUCT_ROW.id}`), AWAY);
      assert.deepEqual(await send("POST", LIST, { body: '{"sku":"A","name":"A"}' }), AWAY);
      assert.deepEqual(await send("GET", LIST, { secret: "pms_sk_other" }), AWAY);
    }
    world.clock.now = start + 600_000;
    assert.deepEqual(await send("GET", LIST), AWAY);
    state.away = false;
    assert.deepEqual(await send("GET", LIST), [200, "bypass"]);
  });
});

testWithRedis(
  "an outage makes no nonce good twice, and no answer older than what is asked for",
  async (server) => {
    await whileAway(server, async (redis, { world, send }) => {
      world.clock.now += 20_000;
      await redis.run(["DEL", "pms:cache:alive"]);
      const nonce = "a-nonce-of-the-outage-1";
      assert.deepEqual(await send("GET", LIST, { nonce }), [200, "stale"]);
      assert.deepEqual(await send("GET", LIST, { nonce }), [401, "auth.replayed"]);
      const since = (seq: string) => send("GET", LIST, { headers: { "X-Min-Seq": seq } });
      assert.deepEqual(await since("e1:41"), [200, "stale"]);
      assert.deepEqual(await since("e1:42"), AWAY);
      assert.deepEqual(await since("e2:1"), AWAY);
    });
  },
);

testWithRedis("a key whose change Redis holds is not let in, worker or not", async (server) => {
  await whileAway(server, async (redis, { world, send }) => {
    world.clock.now += 20_000;
    assert.deepEqual(await send("GET", LIST), [200, "hit"]);
    await redis.run(["SET", `pms:key:${KEY_ID}`, "e1:41"]);
    assert.deepEqual(await send("GET", LIST), AWAY);
    await redis.run(["DEL", "pms:cache:alive"]);
    world.clock.now += 2_000;
    assert.deepEqual(await send("GET", LIST), AWAY);
  });
});

testWithRedis(
  "who looks while nobody tells of changes leaves no lock behind, and no mark",
  async (server) => {
    const redis = openRedis(server.url, { timeoutMs: 2_000 });
    try {
      await workerLives(redis);
      await redis.run(["DEL", "pms:cache:alive"]);
      const origin = new Origin();
      origin.failing = true;
      const cache = makeCache(redis);
      await assert.rejects(cache.read(request(), origin.fill), /the origin is away/);
      await assert.rejects(cache.read(request({ keptOnly: true }), origin.fill), /the origin is away/);
      assert.deepEqual([await redis.run(["KEYS", "*:lock"]), await redis.run(["KEYS", "*:tag:*"])], [[], []]);
    } finally {
      await redis.close();
    }
  },
);
