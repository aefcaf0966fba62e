// After the database was restored, and its log has another name: quiet tenants, old keys' marks and callers from before.

import assert from "node:assert/strict";

import { openRedis, type RedisLink } from "../../_shared/redis.ts";
import { testWithRedis } from "../../_shared/redis_server.ts";
import { makeKeys } from "../auth/keys.ts";
import { keyRecord } from "../testing.ts";
import { makeCache, type ReadCache } from "./cache.ts";
import { EPOCH, invalidate, Origin, request, workerLives } from "./origin_double.ts";

const TAG = "pms:{t1}:tag:products";

async function withCache(
  server: { url: string },
  play: (redis: RedisLink, cache: ReadCache, origin: Origin) => Promise<void>,
): Promise<void> {
  const redis = openRedis(server.url, { timeoutMs: 2_000 });
  try {
    await workerLives(redis);
    await play(redis, makeCache(redis, { random: () => 0 }), new Origin());
  } finally {
    await redis.close();
  }
}

testWithRedis("a quiet tenant's cache works again after its first read", async (server) => {
  await withCache(server, async (redis, cache, origin) => {
    await invalidate(redis, "t1", 5);
    await redis.run(["SET", TAG, "old:5"]);
    await redis.run(["SET", "pms:{t1}:through", "old:9"]);
    origin.last = 2;
    const from = async () => (await cache.read(request(), origin.fill)).from;
    assert.deepEqual([await from(), await from(), await from()], ["miss", "hit", "hit"]);
    origin.last = 3;
    await invalidate(redis, "t1", 3);
    assert.equal((await cache.read(request(), origin.fill)).body, "3", "changes count as ever");
  });
});

testWithRedis("a tag of another epoch that changed during a fill is no mark", async (server) => {
  await withCache(server, async (redis, cache, origin) => {
    for (const [before, during] of [["old:5", `${EPOCH}:2`], ["old:5", "old:6"], ["old:5", "older:5"]]) {
      await redis.run(["FLUSHALL"]);
      await workerLives(redis);
      await redis.run(["SET", TAG, before!]);
      origin.last = 1;
      origin.after = async () => {
        origin.last = 2;
        await redis.run(["SET", TAG, during!]);
      };
      await cache.read(request(), origin.fill);
      origin.after = () => Promise.resolve();
      assert.equal(await redis.run(["GET", TAG]), during, "nobody takes back what was told");
      assert.equal((await cache.read(request(), origin.fill)).body, "2", `${before}, then ${during}`);
    }
  });
});

testWithRedis("a fill of the old history that ends late takes no new one's place", async (server) => {
  await withCache(server, async (redis, cache, origin) => {
    await redis.run(["SET", TAG, "old:5"]);
    const begun = Promise.withResolvers<void>(), go = Promise.withResolvers<void>();
    const late = makeCache(redis, { random: () => 0 }).read(request(), async () => {
      begun.resolve();
      await go.promise;
      return { seq: { epoch: "old", seq: 5 }, status: 200, headers: {}, body: "old" };
    });
    await begun.promise;
    const minSeq = { epoch: EPOCH, seq: 1 }; // not held up by the other's lock
    assert.equal((await cache.read(request({ minSeq }), origin.fill)).body, "1");
    go.resolve();
    assert.equal((await late).body, "old");
    const again = await cache.read(request(), origin.fill);
    assert.deepEqual([again.from, again.body], ["hit", "1"]);
  });
});

testWithRedis(
  "who holds a place from before the restore hits again, after one read of the origin",
  async (server) => {
    await withCache(server, async (redis, cache, origin) => {
      await invalidate(redis, "t1", 1);
      const before = { minSeq: { epoch: "old", seq: 900 } };
      const from = async (more = {}) => (await cache.read(request(more), origin.fill)).from;
      assert.deepEqual([await from(before), await from(before)], ["miss", "hit"]);
      const other = { query: "/pms/products?limit=7" };
      assert.equal(await from(other), "miss");
      assert.equal(await from({ ...before, ...other }), "hit", "what others filled since is as good");
      origin.last = 2;
      await invalidate(redis, "t1", 2);
      assert.equal((await cache.read(request(before), origin.fill)).body, "2", "if it is fresh");
      assert.equal(await from({ ...before, tenant: "t2" }), "miss", "each tenant finds out for itself");
    });
  },
);

testWithRedis("who wrote after the restore is not given what was read before it", async (server) => {
  await withCache(server, async (redis, cache) => {
    const old = () =>
      Promise.resolve({ seq: { epoch: "old", seq: 5 }, status: 200, headers: {}, body: "old" });
    await cache.read(request(), old);
    assert.equal((await cache.read(request(), old)).from, "hit", "no worker has heard of the restore");
    const origin = new Origin();
    const minSeq = { epoch: EPOCH, seq: 1 };
    for (const keptOnly of [true, false]) {
      assert.equal(
        (await cache.read(request({ minSeq, keptOnly }), origin.fill)).body,
        "1",
        "a naive one: old",
      );
    }
    assert.equal((await cache.read(request(), origin.fill)).body, "1");
    assert.equal(Number(await redis.run(["SCARD", "pms:{t1}:past"])), 0);
  });
});

testWithRedis("a caller's inventions fill nothing", async (server) => {
  await withCache(server, async (redis, cache, origin) => {
    for (let n = 0; n < 30; n++) {
      await cache.read(request({ minSeq: { epoch: `invented-${n}`, seq: 1 } }), origin.fill);
    }
    assert.ok(Number(await redis.run(["SCARD", "pms:{t1}:past"])) <= 8);
    assert.ok(Number(await redis.run(["TTL", "pms:{t1}:past"])) > 0);
  });
});

testWithRedis(
  "a key's mark of another epoch costs one look-up, unless the key changed since",
  async (server) => {
    await withCache(server, async (redis, cache) => {
      let looks = 0;
      let between: () => Promise<unknown> = () => Promise.resolve();
      const keys = makeKeys({
        read: async () => {
          looks++;
          const answer = keyRecord({ epoch: EPOCH, seq: 5 });
          await between();
          return answer;
        },
        marks: cache.keyMarks,
        now: () => 0,
      });
      await redis.run(["SET", "pms:key:k", "old:90"]);
      for (let n = 0; n < 5; n++) assert.ok(await keys.find("k"));
      assert.deepEqual([looks, await redis.run(["GET", "pms:key:k"])], [1, `${EPOCH}:5`]);

      await redis.run(["SET", "pms:key:k", "old:90"]);
      between = () => redis.run(["SET", "pms:key:k", `${EPOCH}:6`]);
      await keys.find("k");
      assert.equal(await redis.run(["GET", "pms:key:k"]), `${EPOCH}:6`, "told meanwhile: it stays told");
      await keys.find("k");
      assert.equal(looks, 3);
    });
  },
);
