import assert from "node:assert/strict";

import { OriginBusy, OriginQueue } from "./origin_queue.ts";

function origin() {
  const gates: (() => void)[] = [];
  let most = 0, running = 0;
  const read = async () => {
    most = Math.max(most, ++running);
    await new Promise<void>((resolve) => gates.push(resolve));
    running--;
  };
  return { gates, read, most: () => most };
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("no more than the cap read at once, and everybody has a turn", async () => {
  const { gates, read, most } = origin();
  const direct = new OriginQueue({ atOnce: 3 });
  const all = Promise.all(Array.from({ length: 20 }, () => direct.run(read)));
  for (let n = 0; n < 20; n++) {
    await turn();
    gates.shift()!();
  }
  await all;
  assert.equal(most(), 3);
});

Deno.test("a full queue and a long wait are refused, with a count", async () => {
  const { gates, read } = origin();
  const direct = new OriginQueue({ atOnce: 1, mostWaiting: 1, longestWaitMs: 30 });
  const first = direct.run(read);
  const second = direct.run(read);
  await assert.rejects(direct.run(read), OriginBusy);
  await assert.rejects(second, OriginBusy);
  assert.equal(direct.refused, 2);
  gates.shift()!();
  await first;
  const next = direct.run(read);
  await turn();
  gates.shift()!();
  await next;
});

Deno.test("patient reads come after all others, and a failing read gives its place back", async () => {
  const { gates, read } = origin();
  const direct = new OriginQueue({ atOnce: 1 });
  const order: string[] = [];
  const failing = direct.run(async () => {
    await read();
    throw new Error("origin");
  });
  const patient = direct.run(() => Promise.resolve(order.push("patient")), true);
  const hasty = direct.run(() => Promise.resolve(order.push("hasty")));
  gates.shift()!();
  await assert.rejects(failing, /origin/);
  await Promise.all([patient, hasty]);
  assert.deepEqual(order, ["hasty", "patient"]);
});
