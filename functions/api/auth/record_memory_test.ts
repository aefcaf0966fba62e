import assert from "node:assert/strict";

import { keyRecord } from "../testing.ts";
import { type KeyRecord, RecordMemory } from "./record_memory.ts";

Deno.test("a look-up that began before another and ends after it brings no revoked key back", async () => {
  const answers = [0, 1].map(() => Promise.withResolvers<KeyRecord | undefined>());
  let looks = 0;
  const memory = new RecordMemory(() => answers[looks++]!.promise, () => 0);
  const first = memory.lookUpAfter(memory.begun, "k");
  const second = memory.lookUpAfter(memory.begun, "k");
  answers[1]!.resolve(undefined);
  assert.equal(await second, undefined);
  answers[0]!.resolve(keyRecord());
  assert.ok(await first, "it was asked for before");
  assert.equal(memory.get("k"), undefined);
});

Deno.test("a look-up is shared by who asked before it began, whether or not it has ended", async () => {
  let looks = 0;
  const memory = new RecordMemory(() => Promise.resolve(keyRecord({ seq: ++looks })), () => 0);
  const begun = memory.begun;
  await Promise.all([1, 2, 3].map(() => memory.lookUpAfter(begun, "k")));
  assert.equal((await memory.lookUpAfter(begun, "k"))?.seq, 1);
  assert.equal((await memory.lookUpAfter(memory.begun, "k"))?.seq, 2);
});

Deno.test("what fails leaves what was known; what is beyond the room pushes out the oldest alone", async () => {
  let fails = false;
  const memory = new RecordMemory(
    () => fails ? Promise.reject(new Error("away")) : Promise.resolve(keyRecord()),
    () => 7,
  );
  for (let n = 0; n < 5_001; n++) await memory.lookUpAfter(memory.begun, `k${n}`);
  assert.deepEqual([memory.get("k0"), memory.get("k1")?.at, memory.get("k5000")?.at], [undefined, 7, 7]);
  fails = true;
  await assert.rejects(memory.lookUpAfter(memory.begun, "k1"), /away/);
  assert.equal(memory.get("k1")?.at, 7);
  assert.equal(memory.isUnderWay("k1"), false);
});
