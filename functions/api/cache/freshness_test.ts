// An entry that was filled while a change ran must not pass as fresh: the cache, and the naive ones that fail at it.

import assert from "node:assert/strict";

import { openRedis, type RedisLink } from "../../_shared/redis.ts";
import { testWithRedis } from "../../_shared/redis_server.ts";
import { type Fill, makeCache, type ReadRequest } from "./cache.ts";
import { makeWorld, signedRequest, TENANT_ID } from "../testing.ts";
import { EPOCH, invalidate, Origin, request, workerLives } from "./origin_double.ts";

type Read = (request: ReadRequest, fill: Fill) => Promise<{ body: string }>;
type Invalidate = (seq: number) => Promise<void>;
type Naive = (redis: RedisLink) => { read: Read; invalidate: Invalidate };

const sound: Naive = (redis) => ({
  read: (asked, fill) => makeCache(redis, { random: () => 0 }).read(asked, fill),
  invalidate: (seq) => invalidate(redis, "t1", seq),
});

const byTimeAlone: Naive = (redis) => ({ read: keep(redis), invalidate: () => Promise.resolve() });

const byDeleting: Naive = (redis) => ({
  read: keep(redis),
  invalidate: async () => {
    await redis.run(["DEL", "naive"]);
  },
});

function keep(redis: RedisLink): Read {
  return async (_asked, fill) => {
    const there = await redis.run(["GET", "naive"]);
    if (typeof there === "string") return { body: there };
    const { body } = await fill();
    await redis.run(["SET", "naive", body, "EX", "60"]);
    return { body };
  };
}

/** Every moment at which a change and its invalidation can fall into a fill: what is read afterwards each time. */
async function readsAfter(
  redis: RedisLink,
  naive: Naive,
  fillOf: (origin: Origin) => Fill,
): Promise<string[]> {
  const moments: [string, keyof Pick<Origin, "between" | "after"> | "later"][] = [
    ["between place and data", "between"],
    ["after the data, before it is kept", "after"],
    ["when it is kept", "later"],
  ];
  const wrong: string[] = [];
  for (const [change, moment] of moments) {
    for (const [told, when] of moments.slice(moments.findIndex(([name]) => name === change))) {
      await redis.run(["FLUSHALL"]);
      await workerLives(redis);
      const origin = new Origin();
      const cache = naive(redis);
      const happen = async (now: string) => {
        if (now === moment) origin.last = 2;
        if (now === when) await cache.invalidate(2);
      };
      origin.between = () => happen("between");
      origin.after = () => happen("after");
      await invalidate(redis, "t1", 1);
      await cache.read(request(), fillOf(origin));
      await happen("later");
      origin.between = origin.after = () => Promise.resolve();
      const { body } = await cache.read(request(), fillOf(origin));
      if (body !== "2") wrong.push(`change ${change}, invalidation ${told}: ${body}`);
    }
  }
  return wrong;
}

testWithRedis("no order of change, invalidation and fill leaves an old answer", async (server) => {
  const redis = openRedis(server.url);
  try {
    await workerLives(redis);
    assert.deepEqual(await readsAfter(redis, sound, (origin) => origin.fill), []);
    for (
      const [naive, fill] of [
        [byTimeAlone, (origin: Origin) => origin.fill],
        [byDeleting, (origin: Origin) => origin.fill],
        [sound, (origin: Origin) => origin.fillSeqLast],
      ] as const
    ) {
      assert.notDeepEqual(await readsAfter(redis, naive, fill), [], "a naive cache passes");
    }
  } finally {
    await redis.close();
  }
});

testWithRedis(
  "a tag that was lost proves nothing, not even when it is lost during a fill",
  async (server) => {
    const redis = openRedis(server.url);
    try {
      await workerLives(redis);
      const cache = makeCache(redis, { random: () => 0 });
      const origin = new Origin();
      assert.equal((await cache.read(request(), origin.fill)).from, "miss");
      assert.equal((await cache.read(request(), origin.fill)).from, "hit", "no change is needed to begin");

      await redis.run(["DEL", "pms:{t1}:tag:products"]);
      origin.after = async () => {
        origin.last = 2;
        await invalidate(redis, "t1", 2);
        await redis.run(["DEL", "pms:{t1}:tag:products"]); // evicted: nobody remembers change 2
      };
      await cache.read(request(), origin.fill);
      origin.after = () => Promise.resolve();
      assert.equal((await cache.read(request(), origin.fill)).body, "2");
    } finally {
      await redis.close();
    }
  },
);

testWithRedis("X-Min-Seq: what lies there is served only if it is as new", async (server) => {
  const redis = openRedis(server.url);
  try {
    await workerLives(redis);
    await invalidate(redis, "t1", 1);
    const cache = makeCache(redis, { random: () => 0 });
    const origin = new Origin();
    await cache.read(request(), origin.fill);
    origin.last = 2; // the worker has not heard of it yet
    const min = (seq: number, epoch = EPOCH) => request({ minSeq: { epoch, seq } });
    assert.equal((await cache.read(min(1), origin.fill)).body, "1");
    assert.equal((await cache.read(min(2), origin.fill)).body, "2");
    assert.equal((await cache.read(min(2), origin.fill)).from, "hit");
    assert.equal((await cache.read(min(1, "e0"), origin.fill)).from, "miss", "another epoch says nothing");

    origin.last = 9; // a change of another kind, worked: the entry is as new as that
    await invalidate(redis, "t1", 9, "orders");
    const served = await cache.read(min(9), origin.fill);
    assert.deepEqual([served.from, served.seq.seq], ["hit", 9]);
  } finally {
    await redis.close();
  }
});

testWithRedis(
  "who asks to be led past the cache gets what is there now, and joins nobody",
  async (server) => {
    const redis = openRedis(server.url);
    try {
      await workerLives(redis);
      await invalidate(redis, "t1", 1);
      const cache = makeCache(redis, { random: () => 0 });
      const origin = new Origin();
      await cache.read(request(), origin.fill);
      origin.last = 2; // written, and neither told to the worker nor to the writer where
      assert.equal((await cache.read(request(), origin.fill)).body, "1");
      const now = await cache.read(request({ past: true }), origin.fill);
      assert.deepEqual([now.body, now.from], ["2", "bypass"]);

      const slow = new Origin();
      const begun = Promise.withResolvers<void>(), go = Promise.withResolvers<void>();
      slow.after = () => (begun.resolve(), go.promise);
      const before = cache.read(request({ query: "/pms/products/other" }), slow.fill);
      await begun.promise;
      const later = cache.read(request({ query: "/pms/products/other", past: true }), origin.fill);
      assert.equal((await later).body, "2");
      go.resolve();
      assert.equal((await before).body, "1");
      origin.failing = true;
      await assert.rejects(cache.read(request({ past: true }), origin.fill), "nothing older instead");
    } finally {
      await redis.close();
    }
  },
);

testWithRedis("Cache-Control: no-cache leads a request past the cache", async (server) => {
  const redis = openRedis(server.url);
  try {
    await workerLives(redis);
    await invalidate(redis, TENANT_ID, 1);
    const world = makeWorld({ redis, environment: { REDIS_URL: server.url } });
    const from = async (said?: string) => {
      const headers: Record<string, string> = said === undefined ? {} : { "Cache-Control": said };
      const answer = await world.handle(await signedRequest(world, "GET", "/pms/products", { headers }));
      await answer.body?.cancel();
      return [answer.status, answer.headers.get("X-Cache")];
    };
    assert.deepEqual(await from(), [200, "miss"]);
    for (const said of ["no-cache", "max-age=0, No-Cache", "no-store"]) {
      assert.deepEqual(await from(said), [200, "bypass"], said);
    }
    for (const said of ["max-age=0", "no-cachet", undefined]) {
      assert.deepEqual(await from(said), [200, "hit"], said);
    }
  } finally {
    await redis.close();
  }
});

testWithRedis("an older fill that ends late does not replace a newer one", async (server) => {
  const redis = openRedis(server.url);
  try {
    await workerLives(redis);
    await invalidate(redis, "t1", 1);
    const [cache, other] = [makeCache(redis, { random: () => 0 }), makeCache(redis, { random: () => 0 })];
    const origin = new Origin();
    const newer = new Origin();
    newer.last = 2;
    origin.after = async () => {
      await other.read(request({ minSeq: { epoch: EPOCH, seq: 2 } }), newer.fill);
    };
    await cache.read(request(), origin.fill);
    assert.equal((await cache.read(request(), origin.fill)).body, "2");
  } finally {
    await redis.close();
  }
});

testWithRedis("tenants and rights never meet in an entry", async (server) => {
  const redis = openRedis(server.url);
  try {
    await workerLives(redis);
    const cache = makeCache(redis);
    const own = (body: string): Fill => () =>
      Promise.resolve({ seq: { epoch: EPOCH, seq: 1 }, status: 200, headers: {}, body });
    const whose = ["t1", "t2"].flatMap((tenant) =>
      ["viewer", "clerk"].map((fingerprint) => request({ tenant, fingerprint }))
    );
    for (let turn = 0; turn < 2; turn++) {
      for (const each of whose) {
        const name = `${each.tenant} ${each.fingerprint}`;
        assert.equal((await cache.read(each, own(name))).body, name);
      }
    }
    assert.deepEqual([cache.counts().miss, cache.counts().hit], [4, 4]);
  } finally {
    await redis.close();
  }
});
