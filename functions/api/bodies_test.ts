import assert from "node:assert/strict";

import { BodyBudget, COST, readBody, SMALL } from "./bodies.ts";
import { Problem } from "./problems.ts";

const MIB = 1024 * 1024;

const request = (bytes: number) =>
  new Request("http://functions.test/", { method: "POST", body: new Uint8Array(bytes).fill(1) });

const isBusy = (error: unknown) =>
  error instanceof Problem && error.status === 503 && error.code === "body.busy" &&
  error.more.headers?.["Retry-After"] === "1";

Deno.test("what a body holds is given back, once, and a body that was refused holds nothing on", async () => {
  const budget = new BodyBudget(8000);
  const one = budget.open("a");
  const other = budget.open("a");
  await readBody(request(700), { most: 900, take: one.take });
  await assert.rejects(readBody(request(400), { most: 900, take: other.take }), isBusy);
  other.release();
  one.release();
  one.release();
  assert.equal(budget.held, 0);
  const third = budget.open("a");
  assert.equal((await readBody(request(900), { most: 900, take: third.take })).byteLength, 900);
});

Deno.test("strangers of one address group have an eighth, and what is admitted is none of theirs", () => {
  const budget = new BodyBudget(80 * MIB);
  const first = budget.open("a");
  first.take(6 * MIB);
  assert.throws(() => budget.open("a").take(4 * MIB), isBusy);
  budget.open("b").take(6 * MIB);
  first.admit();
  budget.open("a").take(SMALL);
  assert.equal(budget.held, (6 * COST + 4 + 6) * MIB + SMALL);
});

Deno.test("an admitted body counts as what it costs, and large ones leave an eighth to small ones", () => {
  const budget = new BodyBudget(64 * MIB);
  const admitted = [];
  for (let n = 0; n < 100; n++) {
    const body = budget.open(`a${n}`);
    body.take(4 * MIB);
    try {
      body.admit();
      admitted.push(body);
    } catch (error) {
      assert.ok(isBusy(error));
      body.release();
    }
  }
  assert.equal(admitted.length, Math.floor(56 / 4 / COST));
  for (let n = 0; n < 200; n++) budget.open(`a${n}`).take(SMALL / 2);
  assert.ok(budget.held <= 64 * MIB);
  const small = budget.open("z");
  small.take(SMALL);
  small.admit();
});

Deno.test("a body that is not kept is read to its end, counted alike, and comes as zeros", async () => {
  const sizes: number[] = [];
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let n = 0; n < 5; n++) controller.enqueue(new Uint8Array(10).fill(7));
      controller.close();
    },
  });
  const told = new Request("http://functions.test/", { method: "POST", body });
  const keeps = (size: number) => size !== 30;
  const read = await readBody(told, { most: 50, take: (bytes) => sizes.push(bytes), keeps });
  assert.deepEqual([...read], Array(50).fill(0));
  assert.deepEqual(sizes, [10, 10, 10, 10, 10]);
});
