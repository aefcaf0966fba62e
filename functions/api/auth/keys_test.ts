import assert from "node:assert/strict";

import { until } from "../../_shared/redis_server.ts";
import { keyRecord } from "../testing.ts";
import type { KeyNews } from "../cache/key_marks.ts";
import { OriginBusy } from "../origin_queue.ts";
import { Problem } from "../problems.ts";
import { type KeyRecord, makeKeys } from "./keys.ts";

const AWAY = new Problem(503, "origin.unreachable", "away");

function world(said?: () => KeyNews["said"]) {
  const state = { now: 0, reads: 0, answer: keyRecord() as unknown, hold: Promise.resolve() };
  const marks = said && {
    since: () => Promise.resolve({ said: said() }),
    settle: () => Promise.reject(new Error("there is no mark")),
  };
  const keys = makeKeys({
    read: async () => {
      state.reads++;
      const { answer } = state;
      await state.hold;
      return answer;
    },
    marks,
    now: () => state.now,
  });
  return { state, keys };
}

Deno.test("a key is remembered for ten seconds, where somebody tells that it changed", async () => {
  let changed = false;
  const { state, keys } = world(() => changed ? "changed" : "none");
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
  const { state, keys } = world(() => "none");
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
  for (const [tells, reads] of [[() => "none" as const, 1], [undefined, 1000]] as const) {
    const { state, keys } = world(tells);
    await Promise.all(Array.from({ length: 1000 }, () => keys.find("k")));
    assert.equal(state.reads, reads);
  }
});

Deno.test("a key that expires while it is remembered is gone", async () => {
  const { state, keys } = world(() => "none");
  state.answer = keyRecord({ expires_at: new Date(5_000).toISOString() });
  assert.ok(await keys.find("k"));
  state.now = 5_000;
  assert.equal(await keys.find("k"), undefined);
});

Deno.test("a failed look-up is not remembered", async () => {
  const { state, keys } = world(() => "none");
  state.hold = Promise.reject(new Error("away"));
  await assert.rejects(keys.find("k"));
  state.hold = Promise.resolve();
  assert.ok(await keys.find("k"));
});

Deno.test("a no costs the same calls, whether there is such a key, and whether it is remembered", async () => {
  const costs: [string, number, number][] = [];
  for (const kind of ["unknown", "known", "remembered"]) {
    let asked = 0;
    const { state, keys } = world(() => (asked++, "none"));
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
  const { state, keys } = world(() => "none");
  await keys.find("k");
  assert.ok(await keys.findIf("k", (record) => Promise.resolve(record !== undefined)));
  assert.equal(state.reads, 1);
  state.answer = keyRecord({ secrets: ["newer"] });
  assert.ok(await keys.findIf("k", (record) => Promise.resolve(record?.secrets[0] === "newer")));
  assert.equal(state.reads, 2);
});

const yes = (record: KeyRecord | undefined) => Promise.resolve(record !== undefined);

Deno.test("while the database is away, the last known record serves reads for ten minutes, and never a write", async () => {
  for (const said of ["none", "unheard"] as const) {
    const { state, keys } = world(() => said);
    await keys.findIf("k", yes);
    state.hold = Promise.reject(AWAY);
    for (const now of [10_000, 15_000, 300_000, 599_999]) {
      state.now = now;
      const found = await keys.findIf("k", yes, true);
      assert.deepEqual([found?.record, found?.outage], [keyRecord(), AWAY], `at ${now}`);
      await assert.rejects(keys.findIf("k", yes), AWAY, "a write");
      await assert.rejects(keys.find("k"), AWAY);
      await assert.rejects(keys.look("k"), AWAY);
    }
    state.now = 600_000;
    await assert.rejects(keys.findIf("k", yes, true), AWAY, "kept no longer");
  }
});

Deno.test("what is last known ends with a change that Redis holds, with Redis, and with the key's own end", async () => {
  for (const end of ["changed", "away", "expired"] as const) {
    let said: KeyNews["said"] = "none";
    const { state, keys } = world(() => said);
    state.answer = keyRecord({ expires_at: new Date(60_000).toISOString() });
    await keys.findIf("k", yes);
    state.hold = Promise.reject(AWAY);
    state.now = 30_000;
    assert.ok(await keys.findIf("k", yes, true));
    if (end === "expired") state.now = 60_000;
    else said = end;
    await assert.rejects(keys.findIf("k", yes, true), AWAY, end);
    if (end !== "changed") continue;
    said = "unheard"; // the mark was evicted
    await assert.rejects(keys.findIf("k", yes, true), AWAY, "told once is told");
  }
});

Deno.test("a database that refuses, or finds no such key, is not away; one that is too busy is", async () => {
  const { state, keys } = world(() => "none");
  await keys.find("k");
  state.now = 20_000;
  for (const code of ["origin.token_refused", "origin.answer_invalid"]) {
    const refusal = new Problem(503, code, "");
    state.hold = Promise.reject(refusal);
    await assert.rejects(keys.findIf("k", yes, true), refusal);
  }
  state.hold = Promise.reject(new OriginBusy());
  assert.ok(await keys.findIf("k", yes, true));
  state.now = 21_000;
  state.hold = Promise.resolve();
  state.answer = null;
  assert.equal(await keys.findIf("k", yes, true), undefined);
  state.hold = Promise.reject(AWAY);
  await assert.rejects(keys.findIf("k", yes, true), AWAY, "revoked is revoked");
});

Deno.test("an outage tells nobody who cannot sign whether there is such a key", async () => {
  const no = () => Promise.resolve(false);
  const told: unknown[] = [];
  for (const kind of ["unknown", "known"]) {
    const { state, keys } = world(() => "unheard");
    if (kind === "known") await keys.find("k");
    state.now = 20_000;
    state.hold = Promise.reject(AWAY);
    const reads = state.reads;
    for (let n = 0; n < 2; n++) await assert.rejects(keys.findIf("k", no, true), AWAY);
    told.push(state.reads - reads);
  }
  assert.deepEqual(told, [2, 2]);
});

Deno.test("while look-ups hang, one caller waits for each, and reads of others for none", async () => {
  const { state, keys } = world(() => "unheard");
  await keys.find("k");
  state.now = 20_000;
  state.hold = Promise.reject(AWAY);
  await keys.findIf("k", yes, true);
  const reads = state.reads;
  assert.ok((await keys.findIf("k", yes, true))?.outage);
  assert.equal(state.reads, reads, "not again within the second");

  state.now = 21_000;
  const back = Promise.withResolvers<void>();
  state.hold = back.promise;
  const waiting = keys.findIf("k", yes, true);
  await until(() => state.reads > reads);
  assert.ok((await keys.findIf("k", yes, true))?.outage);
  assert.equal(state.reads, reads + 1);
  back.resolve();
  assert.equal((await waiting)?.outage, undefined, "it is back");
  assert.equal((await keys.findIf("k", yes, true))?.outage, undefined);
});
