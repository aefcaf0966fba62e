// Many readers, several instances, and a Redis that goes, comes back empty, or stops in the middle.

import assert from "node:assert/strict";

import { openRedis, type RedisLink } from "../../_shared/redis.ts";
import { type RedisServer, testWithRedis, until } from "../../_shared/redis_server.ts";
import { type CacheOptions, makeCache, type ReadCache, type Served } from "./cache.ts";
import { EPOCH, Origin, request, workerLives } from "./origin_double.ts";

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

interface Instance {
  redis: RedisLink;
  cache: ReadCache;
}

async function withInstances(
  server: RedisServer,
  options: CacheOptions,
  play: (...instances: Instance[]) => Promise<void>,
): Promise<void> {
  const instances = [1, 2].map(() => {
    const redis = openRedis(server.url);
    return { redis, cache: makeCache(redis, { random: () => 0, ...options }) };
  });
  try {
    await workerLives(instances[0]!.redis);
    await play(...instances);
  } finally {
    for (const { redis } of instances) await redis.close();
  }
}

function readers(count: number, instances: Instance[], origin: Origin, more = {}): Promise<Served[]> {
  const reads = Array.from(
    { length: count },
    (_, n) => instances[n % instances.length]!.cache.read(request(more), origin.fill),
  );
  return Promise.all(reads);
}

testWithRedis("2,000 readers of a cold key at two instances cause one read of the origin", async (server) => {
  await withInstances(server, {}, async (...instances) => {
    const origin = new Origin();
    origin.between = () => pause(150);
    const served = await readers(2_000, instances, origin);
    assert.equal(origin.fills, 1);
    assert.ok(served.every((each) => each.body === "1"));
    const from = served.map((each) => each.from);
    assert.deepEqual([from.filter((it) => it === "miss").length, new Set(from).size], [1, 2]);
    assert.equal(instances.reduce((sum, { cache }) => sum + cache.counts().stampedes, 0), 2);
    await readers(100, instances, origin);
    assert.equal(origin.fills, 1);
  });
});

testWithRedis("who asks for a later place does not join a fill that began before", async (server) => {
  await withInstances(server, {}, async (one, two) => {
    const origin = new Origin();
    let began = () => {};
    const begun = new Promise<void>((resolve) => began = resolve);
    let first = true;
    origin.between = () => Promise.resolve();
    origin.after = () => {
      if (!first) return Promise.resolve();
      first = false;
      began();
      return pause(200);
    };
    const early = one!.cache.read(request(), origin.fill);
    await begun;
    origin.last = 2;
    const minSeq = { epoch: EPOCH, seq: 2 };
    const late = await Promise.all(
      [one!, two!].map(({ cache }) => cache.read(request({ minSeq }), origin.fill)),
    );
    assert.deepEqual(late.map((each) => each.body), ["2", "2"]);
    assert.equal((await early).body, "1");
  });
});

testWithRedis(
  "the origin fails: what is there is served, unless it is too old for the asker",
  async (server) => {
    await withInstances(server, { freshMs: 1 }, async (one) => {
      const origin = new Origin();
      await one!.cache.read(request(), origin.fill);
      await pause(5);
      origin.failing = true;
      const stale = await one!.cache.read(request(), origin.fill);
      assert.deepEqual([stale.from, stale.body], ["stale", "1"]);
      const minSeq = { epoch: EPOCH, seq: 2 };
      await assert.rejects(one!.cache.read(request({ minSeq }), origin.fill), /the origin is away/);
      await assert.rejects(one!.cache.read(request({ fingerprint: "x" }), origin.fill), /the origin is away/);

      await one!.redis.run(["DEL", "pms:cache:alive"]);
      await pause(1_050); // as long as an instance believes that a worker is there
      assert.equal((await one!.cache.read(request(), origin.fill)).from, "stale");
      origin.failing = false;
      assert.equal((await one!.cache.read(request(), origin.fill)).from, "bypass", "nobody invalidates");
      assert.deepEqual(await one!.cache.keyMarks.since("k1", { epoch: EPOCH, seq: 1 }), { said: "unheard" });
    });
  },
);

testWithRedis("an instance that dies filling holds others up for no longer than its lock", async (server) => {
  await withInstances(server, {}, async (one) => {
    const key = await one!.redis.run(["SET", "x", "y"]).then(async () =>
      (await import("./entries.ts")).entryKey(request())
    );
    await one!.redis.run(["SET", `${key}:lock`, "dead|:0", "NX", "PX", "300"]);
    const origin = new Origin();
    assert.equal((await one!.cache.read(request(), origin.fill)).body, "1");
    assert.equal(origin.fills, 1);
  });
});

testWithRedis("entries are renewed before they run out, by one, while others are served", async (server) => {
  await withInstances(server, { freshMs: 10_000, random: () => 1 - 1e-300 }, async (one, two) => {
    const origin = new Origin();
    origin.between = () => pause(30); // × 690, the draw: it would end beyond the 10 s
    await one!.cache.read(request(), origin.fill);
    origin.last = 2;
    const served = await readers(50, [one!, two!], origin);
    assert.ok(served.every((each) => each.from === "hit" && each.body === "1"));
    await until(async () => (await one!.redis.run(["EXISTS", "none"])) === 0 && origin.fills >= 2);
    await pause(60);
    const early = [one!, two!].reduce((sum, { cache }) => sum + cache.counts().early, 0);
    assert.ok(
      early >= 1 && early <= 2 && origin.fills === 1 + early,
      `${early} early, ${origin.fills} fills`,
    );
  });
});

testWithRedis("answers too long, or not 200, are not kept", async (server) => {
  await withInstances(server, { maxBody: 10 }, async (one) => {
    const seq = { epoch: EPOCH, seq: 1 };
    for (const [status, body] of [[200, "x".repeat(11)], [404, "none"]] as const) {
      const fill = () => Promise.resolve({ seq, status, headers: {}, body });
      for (let turn = 0; turn < 2; turn++) {
        assert.equal((await one!.cache.read(request(), fill)).from, "miss");
      }
    }
  });
});

testWithRedis(
  "Redis killed, emptied, and paused among 4,000 reads: no error, nothing old, and it is used again",
  async (server) => {
    await withInstances(server, {}, async (...instances) => {
      const origin = new Origin();
      origin.between = () => pause(2);
      const trouble = (async () => {
        await pause(100);
        await server.kill();
        await pause(300);
        await server.start();
        await pause(1_300);
        server.pause();
        await pause(400);
        server.resume();
      })();
      let over = false;
      trouble.finally(() => over = true);
      let reads = 0;
      while (!over || reads < 4_000) {
        const minSeq = { epoch: EPOCH, seq: ++origin.last };
        const queries = Array.from({ length: 20 }, (_, n) => ({ query: `/pms/products/${n}`, minSeq }));
        const served = await Promise.all(
          queries.flatMap((more) => instances.map(({ cache }) => cache.read(request(more), origin.fill))),
        );
        reads += served.length;
        for (const each of served) assert.ok(Number(each.body) >= minSeq.seq, `${each.body} < ${minSeq.seq}`);
      }
      await trouble;
      await until(() => workerLives(instances[0]!.redis).then(() => true, () => false));
      await until(async () => (await instances[0]!.cache.read(request(), origin.fill)).from === "hit");
      assert.ok(instances[0]!.cache.counts().bypass > 0);
    });
  },
);

testWithRedis("the most used queries come first, each once", async (server) => {
  let now = 0;
  await withInstances(server, { now: () => now }, async (one) => {
    const origin = new Origin();
    const read = (query: string, more = {}) => one!.cache.read(request({ query, ...more }), origin.fill);
    for (let n = 0; n < 3; n++) await read("/often");
    await read("/often", { apiKeyId: "k2" });
    await read("/once");
    for (let n = 0; n < 9; n++) await read("/warmed", { warming: true });
    for (let n = 0; n < 60; n++) await read(`/other/${n}`);
    now = 2_000;
    await read("/often");
    await until(async () => (await one!.cache.used("t1", 10)).length === 10);
    const used = await one!.cache.used("t1", 100);
    assert.equal(used[0]!.query, "/often");
    assert.equal(used.filter((each) => each.query === "/often").length, 1);
    assert.ok(used.length <= 50 && used.every((each) => each.warming && each.query !== "/warmed"));
    assert.deepEqual(await one!.cache.used("t2", 10), []);
  });
});

testWithRedis("a key is looked up again after its change, and whenever nobody can tell", async (server) => {
  await withInstances(server, {}, async (one) => {
    const said = async (seq: number, epoch = EPOCH) =>
      (await one!.cache.keyMarks.since("k1", { epoch, seq })).said;
    assert.equal(await said(5), "none");
    await one!.redis.run(["SET", "pms:key:k1", `${EPOCH}:6`]);
    assert.deepEqual([await said(5), await said(6), await said(6, "e2")], ["changed", "none", "changed"]);
    await server.kill();
    assert.equal(await said(6), "away");
  });
});

Deno.test("without Redis reads are direct, and equal ones at the same time are one", async () => {
  const cache = makeCache(undefined);
  const origin = new Origin();
  origin.between = () => pause(300);
  const served = await Promise.all(Array.from({ length: 100 }, () => cache.read(request(), origin.fill)));
  assert.equal(origin.fills, 1);
  assert.deepEqual([...new Set(served.map((each) => each.from))].sort(), ["bypass", "joined"]);
  assert.deepEqual(await cache.used("t1", 10), []);
  assert.deepEqual(await cache.keyMarks.since("k1", { epoch: EPOCH, seq: 1 }), { said: "away" });
});

testWithRedis("an origin that refuses has answered: nothing old is served for it", async (server) => {
  await withInstances(server, { freshMs: 1 }, async (one) => {
    const origin = new Origin();
    await one!.cache.read(request(), origin.fill);
    await pause(5);
    for (const status of [403, 422]) {
      const refusal = Object.assign(new Error("refused"), { status });
      await assert.rejects(one!.cache.read(request(), () => Promise.reject(refusal)), refusal);
    }
    const away = Object.assign(new Error("away"), { status: 503 });
    assert.equal((await one!.cache.read(request(), () => Promise.reject(away))).from, "stale");
  });
});

testWithRedis("a tenant cannot fill what all share", async (server) => {
  await withInstances(server, {}, async (one) => {
    const body = "x".repeat(1024 * 1024 - 1);
    const fill = () => Promise.resolve({ seq: { epoch: EPOCH, seq: 1 }, status: 200, headers: {}, body });
    for (let n = 0; n < 20; n++) await one!.cache.read(request({ query: `/pms/products?limit=${n}` }), fill);
    const kept = await one!.redis.run(["DBSIZE"]);
    assert.ok(Number(kept) < 22, `${kept} keys of 16 answers, tags and marks`);
    const again = await one!.cache.read(request({ query: "/pms/products?limit=19" }), fill);
    assert.equal(again.from, "miss");
    assert.equal((await one!.cache.read(request({ query: "/pms/products?limit=1" }), fill)).from, "hit");
  });
});
