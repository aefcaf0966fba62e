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
  const patient = direct.run(() => Promise.resolve(order.push("patient")), { patient: true });
  const hasty = direct.run(() => Promise.resolve(order.push("hasty")));
  gates.shift()!();
  await assert.rejects(failing, /origin/);
  await Promise.all([patient, hasty]);
  assert.deepEqual(order, ["hasty", "patient"]);
});

Deno.test("one tenant has a quarter of the places, and its excess holds up nobody else", async () => {
  const { gates, read } = origin();
  const direct = new OriginQueue({ atOnce: 8 });
  const started: string[] = [];
  const run = (tenant: string) => direct.run(() => (started.push(tenant), read()), { tenant });
  const all = Array.from({ length: 20 }, () => run("a"));
  await turn();
  assert.deepEqual(started, ["a", "a"]);
  all.push(run("b"), run("c"), run("c"), run("c"));
  await turn();
  assert.deepEqual(started.slice(2), ["b", "c", "c"]);
  gates.splice(2, 1)[0]!(); // b's
  await turn();
  assert.equal(started.length, 5, "both others have all they may have");
  gates.splice(0, 1)[0]!();
  await turn();
  assert.equal(started.at(-1), "a", "a tenant's place goes to its own");
  while (started.length < 24 || gates.length > 0) {
    gates.shift()?.();
    await turn();
  }
  await Promise.all(all);
  assert.deepEqual(started.filter((tenant) => tenant === "c").length, 3);
});

Deno.test("one tenant has a quarter of the queue, too", async () => {
  const { gates, read } = origin();
  const direct = new OriginQueue({ atOnce: 1, mostWaiting: 8 });
  const run = (tenant?: string) => direct.run(read, tenant === undefined ? {} : { tenant });
  const all = [run(), run("a"), run("a")];
  await assert.rejects(run("a"), OriginBusy);
  all.push(run("b"));
  for (let n = 0; n < 4; n++) {
    await turn();
    gates.shift()!();
  }
  await Promise.all(all);
});
