import assert from "node:assert/strict";

import { makeUsage } from "./usage.ts";

// deno-lint-ignore no-explicit-any
type Sent = any;

function world() {
  const state = { fails: false, sent: [] as Sent[], delays: [] as number[], logged: [] as string[] };
  const usage = makeUsage({
    send: (rows) => {
      if (state.fails) return Promise.reject(new Error("away"));
      state.sent.push(structuredClone(rows));
      return Promise.resolve();
    },
    now: () => Date.parse("2026-11-27T10:00:00Z"),
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
