import assert from "node:assert/strict";

import { type Sums, Tally } from "../tally.ts";
import { makeUsage } from "./usage.ts";

// deno-lint-ignore no-explicit-any
type Sent = any;

function world() {
  const state = {
    fails: false,
    /** It is taken, and the answer does not come back. */
    mute: false,
    now: Date.parse("2026-11-27T10:00:00Z"),
    also: {} as Record<string, number>,
    sent: [] as Sent[],
    instances: [] as (Sums | null)[],
    delays: [] as number[],
    logged: [] as string[],
  };
  const now = () => state.now;
  const usage = makeUsage({
    send: (rows, instance) => {
      if (state.fails) return Promise.reject(new Error("away"));
      state.sent.push(structuredClone(rows));
      state.instances.push(structuredClone(instance));
      return state.mute ? Promise.reject(new Error("no answer")) : Promise.resolve();
    },
    tally: new Tally({ cached: true, also: () => state.also, now }),
    now,
    later: (_work, milliseconds) => state.delays.push(milliseconds),
    log: (event) => state.logged.push(event),
  });
  return { state, usage };
}

const NONCE = { nonce: "n1", signedAt: 1_764_240_000 };

Deno.test("what a key did is told at once for many requests", async () => {
  const { state, usage } = world();
  usage.note({ apiKeyId: "a", refused: false, nonce: NONCE });
  usage.note({ apiKeyId: "a", refused: true });
  usage.noteCache("a", "hit");
  usage.noteCache("a", "hit");
  usage.note({ apiKeyId: "b", refused: false });
  await usage.flush();
  assert.equal(state.sent.length, 1);
  const [a, b] = state.sent[0];
  assert.deepEqual([a.api_key_id, a.day, a.requests, a.refused, a.cache], ["a", "2026-11-27", 2, 1, {
    hit: 2,
  }]);
  assert.deepEqual(a.nonces, [{ nonce: "n1", signed_at: "2025-11-27T10:40:00.000Z" }]);
  assert.equal(b.requests, 1);
  await usage.flush();
  assert.equal(state.sent.length, 1, "nothing is told twice");
});

Deno.test("nonces are told within 100 ms, counts within a second", () => {
  const { state, usage } = world();
  usage.note({ apiKeyId: "a", refused: false });
  usage.note({ apiKeyId: "a", refused: false });
  usage.note({ apiKeyId: "a", refused: false, nonce: NONCE });
  assert.deepEqual(state.delays, [1000, 100]);
});

Deno.test("when it cannot be told, nonces wait for the next time and counts do not", async () => {
  const { state, usage } = world();
  usage.note({ apiKeyId: "a", refused: false, nonce: NONCE });
  state.fails = true;
  await usage.flush();
  assert.deepEqual(state.logged, ["usage.lost"]);
  state.fails = false;
  await usage.flush();
  const [row] = state.sent[0];
  assert.deepEqual([row.requests, row.nonces.length], [0, 1]);
});

/** What Postgres makes of what it was handed: the highest of each instance, added up. */
function summed(instances: (Sums | null)[]): Record<string, number> {
  const kept = new Map<string, Map<string, number>>();
  for (const sums of instances) {
    if (sums === null) continue;
    const had = kept.get(sums.id) ?? new Map<string, number>();
    kept.set(sums.id, had);
    for (const [name, count] of Object.entries(sums.counts)) {
      had.set(name, Math.max(had.get(name) ?? 0, count));
    }
  }
  const all: Record<string, number> = {};
  for (const had of kept.values()) for (const [name, count] of had) all[name] = (all[name] ?? 0) + count;
  return all;
}

Deno.test("what an instance counted is handed in once, through failures and answers that got lost", async () => {
  const { state, usage } = world();
  for (const status of [200, 304, 404, 401, 403, 429, 503, 500]) usage.noteEnd(status);
  state.also = { hit: 3, stampedes: 1 };
  state.fails = true;
  await usage.flush();
  assert.deepEqual(state.delays, [1000, 5000], "it is tried again though nobody asks for anything");
  state.fails = false;
  state.mute = true;
  await usage.flush();
  state.mute = false;
  usage.noteEnd(200);
  await usage.flush();
  assert.equal(state.instances.length, 2);
  const rows = state.sent.at(-1);
  assert.deepEqual(rows, [], "requests of no key are told too");
  const whole = { ok: 3, invalid: 1, refused: 2, limited: 1, busy: 1, failed: 1, hit: 3, stampedes: 1 };
  assert.deepEqual(summed(state.instances), whole);
  await usage.flush();
  assert.equal(state.instances.length, 2, "nothing is told that is known");
});

Deno.test("what the cache counts by itself goes along", async () => {
  const { state, usage } = world();
  state.also = { early: 2 };
  await usage.flush();
  state.also = { early: 5 };
  await usage.flush();
  assert.deepEqual(state.instances.map((sums) => sums?.counts["early"]), [2, 5]);
});

Deno.test("what is counted while a call is under way is told by the next", async () => {
  const { state, usage } = world();
  usage.noteEnd(200);
  const flushed = usage.flush();
  usage.noteEnd(200);
  await flushed;
  assert.equal(state.instances.length, 1, "one call, not one after the other for as long as requests come");
  await usage.flush();
  assert.deepEqual(summed(state.instances), { ok: 2 });
});

Deno.test("an instance that was not heard for an hour goes on under another name, and nothing counts twice", async () => {
  const { state, usage } = world();
  usage.noteEnd(200);
  await usage.flush();
  state.now += 7_200_000; // Postgres added it up meanwhile, and forgot its name
  usage.noteEnd(200);
  usage.noteEnd(429);
  await usage.flush();
  usage.noteEnd(200);
  await usage.flush();
  const [first, second, third] = state.instances;
  assert.notEqual(first!.id, second!.id);
  assert.equal(second!.id, third!.id);
  assert.deepEqual(summed(state.instances), { ok: 3, limited: 1 });
});

Deno.test("a thousand requests a second are told ten times a second", async () => {
  let moment = 0;
  let calls = 0;
  const timers: { at: number; work: () => Promise<void> }[] = [];
  const now = () => moment;
  const usage = makeUsage({
    send: () => Promise.resolve(void calls++),
    tally: new Tally({ cached: true, also: () => ({}), now }),
    now,
    later: (work, milliseconds) => void timers.push({ at: moment + milliseconds, work }),
    log: () => {},
  });
  const nonces: number[] = [];
  for (; moment < 3_000; moment++) {
    usage.noteCache("k", "hit");
    usage.note({ apiKeyId: "k", refused: false, nonce: { nonce: `n${moment}`, signedAt: 0 } });
    usage.noteEnd(200);
    for (const due of timers.filter(({ at }) => at <= moment)) {
      timers.splice(timers.indexOf(due), 1);
      await due.work();
    }
    nonces.push(calls);
  }
  assert.ok(nonces[100]! >= 1, "within 100 ms");
  assert.ok(calls >= 29 && calls <= 31, `${calls} calls`);
});
