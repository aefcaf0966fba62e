import assert from "node:assert/strict";

import { keyRecord } from "../testing.ts";
import { makeKeys } from "./keys.ts";

function world(changed?: () => boolean) {
  const state = { now: 0, reads: 0, answer: keyRecord() as unknown, hold: Promise.resolve() };
  const keys = makeKeys({
    read: async () => {
      state.reads++;
      const { answer } = state;
      await state.hold;
      return answer;
    },
    changedSince: changed && (() => Promise.resolve(changed())),
    now: () => state.now,
  });
  return { state, keys };
}

Deno.test("a key is remembered for ten seconds, where somebody tells that it changed", async () => {
  let changed = false;
  const { state, keys } = world(() => changed);
  await keys.find("k");
  state.now = 9_999;
  await keys.find("k");
  assert.equal(state.reads, 1);
  changed = true;
  state.answer = null;
  assert.equal(await keys.find("k"), undefined, "revoked at once");
  changed = false;
  assert.equal(await keys.find("k"), undefined);
  assert.equal(state.reads, 3, "what is not there is not remembered");
});

Deno.test("after ten seconds it is read again", async () => {
  const { state, keys } = world(() => false);
  await keys.find("k");
  state.now = 10_000;
  await keys.find("k");
  assert.equal(state.reads, 2);
});

Deno.test("where nobody tells, each call reads it", async () => {
  const { state, keys } = world();
  await keys.find("k");
  await keys.find("k");
  assert.equal(state.reads, 2);
});

Deno.test("a thousand calls at once look a key up once; where nobody tells of changes, each for itself", async () => {
  for (const [tells, reads] of [[() => false, 1], [undefined, 1000]] as const) {
    const { state, keys } = world(tells);
    await Promise.all(Array.from({ length: 1000 }, () => keys.find("k")));
    assert.equal(state.reads, reads);
  }
});

Deno.test("a key that expires while it is remembered is gone", async () => {
  const { state, keys } = world(() => false);
  state.answer = keyRecord({ expires_at: new Date(5_000).toISOString() });
  assert.ok(await keys.find("k"));
  state.now = 5_000;
  assert.equal(await keys.find("k"), undefined);
});

Deno.test("a failed look-up is not remembered", async () => {
  const { state, keys } = world(() => false);
  state.hold = Promise.reject(new Error("away"));
  await assert.rejects(keys.find("k"));
  state.hold = Promise.resolve();
  assert.ok(await keys.find("k"));
});

Deno.test("a no costs the same calls, whether there is such a key, and whether it is remembered", async () => {
  const costs: [string, number, number][] = [];
  for (const kind of ["unknown", "known", "remembered"]) {
    let asked = 0;
    const { state, keys } = world(() => (asked++, false));
    if (kind === "unknown") state.answer = null;
    if (kind === "remembered") await keys.find("k");
    const reads = state.reads;
    asked = 0;
    assert.equal(await keys.findIf("k", () => Promise.resolve(false)), undefined);
    costs.push([kind, state.reads - reads, asked]);
  }
  assert.deepEqual(costs, [["unknown", 1, 1], ["known", 1, 1], ["remembered", 1, 1]]);
});

Deno.test("a yes to what is remembered reads nothing; a secret that was made since is found", async () => {
  const { state, keys } = world(() => false);
  await keys.find("k");
  assert.ok(await keys.findIf("k", (record) => Promise.resolve(record !== undefined)));
  assert.equal(state.reads, 1);
  state.answer = keyRecord({ secrets: ["newer"] });
  assert.ok(await keys.findIf("k", (record) => Promise.resolve(record?.secrets[0] === "newer")));
  assert.equal(state.reads, 2);
});
