import assert from "node:assert/strict";

import { openRedis, RedisAway, type RedisLink } from "../../_shared/redis.ts";
import { testWithRedis } from "../../_shared/redis_server.ts";
import { OriginQueue } from "../origin_queue.ts";
import { makeAdmission } from "./admission.ts";

const NOW = 1_764_240_000;
const ADMITTED = { admitted: true, why: null, remaining: 5, reset_seconds: 1.2 };

const read = (nonce: string) => ({
  apiKeyId: "k",
  nonce,
  timestamp: NOW,
  perMinute: 60,
  writes: false,
  version: 7,
  renew: () => Promise.reject(new Error("nothing changed")),
});

function world(reply?: (keys: string[], args: string[]) => unknown, said: object = ADMITTED) {
  const calls: [string, Record<string, unknown>][] = [];
  const scripts: { keys: string[]; args: string[] }[] = [];
  const under = { now: 0, most: 0 };
  const redis = reply && {
    script(_lua: unknown, keys: string[], args: string[]) {
      scripts.push({ keys, args });
      return Promise.resolve().then(() => reply(keys, args));
    },
  } as unknown as RedisLink;
  const admission = makeAdmission({
    redis,
    now: () => NOW * 1000,
    queue: new OriginQueue({ atOnce: 3 }),
    service: async (name, args) => {
      calls.push([name, args]);
      under.most = Math.max(under.most, ++under.now);
      await new Promise((resolve) => setTimeout(resolve));
      under.now--;
      return said;
    },
  });
  return { admission, calls, scripts, under };
}

const away = () => {
  throw new RedisAway("away");
};

Deno.test("Postgres is asked by a few at a time", async () => {
  const { admission, calls, under } = world(away);
  await Promise.all(Array.from({ length: 40 }, (_, n) => admission.admitKey(read(`n${n}`))));
  assert.equal(calls.length, 40);
  assert.equal(under.most, 3);
});

Deno.test("without Redis, Postgres admits", async () => {
  const { admission, calls } = world();
  const verdict = await admission.admitKey(read("n"));
  assert.deepEqual(verdict, { admitted: true, why: null, remaining: 5, resetSeconds: 2, recorded: true });
  assert.deepEqual(calls[0], ["admit_request", {
    p_api_key_id: "k",
    p_nonce: "n",
    p_signed_at: "2025-11-27T10:40:00.000Z",
    p_rate_per_minute: 60,
    p_version: 7,
  }]);
  await admission.admitAddress("192.0.2.1", 9);
  assert.deepEqual(calls[1], ["admit_address", { p_address: "192.0.2.1", p_rate_per_minute: 9 }]);
});

Deno.test("with a Redis that is whole, Postgres is not asked", async () => {
  const { admission, calls, scripts } = world(() => [1, "", 3, 1500, NOW - 301]);
  const verdict = await admission.admitKey(read("n"));
  assert.deepEqual(verdict, { admitted: true, why: null, remaining: 3, resetSeconds: 2, recorded: false });
  assert.equal(calls.length, 0);
  assert.deepEqual(scripts[0]!.args, ["60", "310", ""], "the nonce is kept for as long as its time is good");
});

Deno.test("a request that may have been taken before Redis forgot is asked of Postgres too", async () => {
  const { admission, calls } = world(() => [1, "", 3, 0, NOW - 300]);
  const verdict = await admission.admitKey(read("n"));
  assert.deepEqual([calls[0]![0], verdict.recorded], ["admit_request", true]);
});

Deno.test("a write is asked of Postgres, however whole this instance's Redis is", async () => {
  const whole = () => [1, "", 3, 1500, NOW - 301];
  const { admission, calls } = world(whole);
  const verdict = await admission.admitKey({ ...read("n"), writes: true });
  assert.deepEqual(calls.map(([name]) => name), ["admit_request"]);
  assert.deepEqual(verdict, { admitted: true, why: null, remaining: 3, resetSeconds: 2, recorded: true });

  const takenElsewhere = { admitted: false, why: "replayed", remaining: 0, reset_seconds: 0 };
  const again = await world(whole, takenElsewhere).admission.admitKey({ ...read("n"), writes: true });
  assert.deepEqual([again.admitted, again.why], [false, "replayed"]);
});

Deno.test("what Redis refuses is refused, without asking further", async () => {
  for (const why of ["replayed", "limited"] as const) {
    const { admission, calls } = world(() => [0, why, 0, 4000, NOW]);
    const verdict = await admission.admitKey(read("n"));
    assert.deepEqual([verdict.admitted, verdict.why, verdict.resetSeconds, calls.length], [false, why, 4, 0]);
  }
});

Deno.test("while Redis is away Postgres admits; when it is back it is told that it missed nonces", async () => {
  let isAway = true;
  const { admission, calls, scripts } = world(() => isAway ? away() : [1, "", 3, 0, NOW]);
  await admission.admitKey(read("n1"));
  assert.equal(calls.length, 1);
  isAway = false;
  await admission.admitAddress("192.0.2.1", 60);
  await admission.admitKey(read("n2"));
  await admission.admitKey(read("n3"));
  const told = scripts.filter(({ keys }) => keys.length === 3).map(({ args }) => args[2]);
  assert.deepEqual(told, ["", "missed", ""]);
});

Deno.test("a fault of ours in the script is not taken for a Redis that is away", async () => {
  const { admission } = world(() => ["nonsense"]);
  await assert.rejects(admission.admitKey(read("n")));
});

testWithRedis(
  "in Redis, one over the rate leaves no nonce, and a replay counts for no rate",
  async (server) => {
    const redis = openRedis(server.url);
    try {
      await redis.run(["SET", "pms:{admission}:since", String(NOW - 3600)]);
      const admission = makeAdmission({
        redis,
        service: () => Promise.reject(new Error("Postgres was asked")),
        queue: new OriginQueue(),
        now: () => NOW * 1000,
      });
      const admit = async (nonce: string) => (await admission.admitKey({ ...read(nonce), perMinute: 2 })).why;
      assert.deepEqual(
        [
          await admit("a"),
          await admit("a"),
          await admit("a"),
          await admit("b"),
          await admit("c"),
          await admit("b"),
        ],
        [null, "replayed", "replayed", null, "limited", "replayed"],
      );
      assert.equal(await redis.run(["EXISTS", "pms:{admission}:nonce:k:c"]), 0);
      assert.equal(await redis.run(["EXISTS", "pms:{admission}:nonce:k:b"]), 1);
    } finally {
      await redis.close();
    }
  },
);

Deno.test("a key that changed is read anew and asked for once more, and no oftener", async () => {
  const changed = { admitted: false, why: "changed", remaining: 0, reset_seconds: 0 };
  for (const [now, why] of [[8, null], [9, "changed"]] as const) {
    const versions: unknown[] = [];
    const admission = makeAdmission({
      redis: undefined,
      now: () => NOW * 1000,
      queue: new OriginQueue({}),
      service: (_name, { p_version }) => {
        versions.push(p_version);
        return Promise.resolve(p_version === 8 ? ADMITTED : changed);
      },
    });
    const verdict = await admission.admitKey({ ...read("n"), renew: () => Promise.resolve(now) });
    assert.equal(verdict.why, why);
    assert.deepEqual(versions, [7, now]);
  }
  const { admission, calls } = world(undefined, changed);
  const gone = () => Promise.reject(new Error("revoked"));
  await assert.rejects(admission.admitKey({ ...read("n"), renew: gone }), /revoked/);
  assert.equal(calls.length, 1);
});
