// How much memory bodies may stand for while the database takes its time, and while strangers send slowly.

import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { COST } from "./bodies.ts";
import { BASE, makeWorld, PRODUCT_ROW, signedRequest } from "./testing.ts";

const MIB = 1024 * 1024;
const BULK = "/pms/products/bulk";
const DONE = { created: 0, updated: 0, unchanged: 0, refused: 0, rows: [] };

const bulkOf = (bytes: number) =>
  JSON.stringify({ rows: [{ sku: "A", name: "n", description: "" }] }).padEnd(bytes);

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

async function until(holds: () => boolean): Promise<void> {
  for (let n = 0; !holds(); n++) {
    assert.ok(n < 20_000, "it never came to that");
    await turn();
  }
}

Deno.test("large bodies that wait for the database are as many as the budget holds; the others are refused at once", async () => {
  const gate = Promise.withResolvers<void>();
  let waiting = 0;
  const slow = (answer: unknown) => async () => {
    waiting++;
    await gate.promise;
    return answer;
  };
  const world = makeWorld({
    answers: { upsert_products: slow(DONE), create_product: slow({ ...PRODUCT_ROW }) },
  });
  const answers: Promise<Response>[] = [];
  const early: Response[] = [];
  for (let n = 0; n < 8; n++) {
    const sent = world.handle(await signedRequest(world, "POST", BULK, { body: bulkOf(4.7 * MIB) }));
    let isHere = false;
    void sent.then((answer) => (isHere = true, early.push(answer)));
    answers.push(sent);
    await until(() => isHere || waiting === n + 1 - early.length);
  }
  assert.ok(waiting >= 4 && waiting * 4.7 * COST <= 96 * 7 / 8, `${waiting} wait`);
  assert.equal(early.length, 8 - waiting);
  for (const answer of early) {
    assert.deepEqual([answer.status, answer.headers.get("Retry-After")], [503, "1"]);
    assert.equal((await answer.json()).code, "body.busy");
  }
  const large = waiting;
  const body = JSON.stringify({ sku: "B", name: "n" });
  answers.push(world.handle(await signedRequest(world, "POST", "/pms/products", { body })));
  await until(() => waiting === large + 1);
  gate.resolve();
  const statuses = (await Promise.all(answers)).map(({ status }) => status);
  assert.equal(statuses.filter((status) => status === 200).length, large);
  assert.equal(statuses.at(-1), 201);
  const again = await world.handle(await signedRequest(world, "POST", BULK, { body: bulkOf(4.7 * MIB) }));
  assert.equal(again.status, 200, "all of it was given back");
});

Deno.test("while a command waits, its text alone is kept of the body", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const gate = Promise.withResolvers<void>();
  let waiting = 0;
  const world = makeWorld({
    answers: {
      upsert_products: async () => {
        waiting++;
        await gate.promise;
        return DONE;
      },
    },
  });
  const rows = Array.from(
    { length: 900 },
    (_, n) => ({ sku: `S${n}`, name: "n", attributes: { a: Array(50).fill(1.50) } }),
  );
  const text = JSON.stringify({ rows }).replaceAll("1.5", "1.50");
  const sent = [];
  for (let n = 0; n < 2; n++) sent.push(await signedRequest(world, "POST", BULK, { body: text }));
  collect();
  const before = Deno.memoryUsage().heapUsed;
  const answers = sent.map((request) => world.handle(request));
  await until(() => waiting === 2);
  await turn();
  collect();
  const each = (Deno.memoryUsage().heapUsed - before) / 2;
  gate.resolve();
  for (const answer of await Promise.all(answers)) assert.equal(answer.status, 200);
  assert.ok(each < 4 * text.length, `${Math.round(each / text.length)} times its ${text.length} bytes`);
});

/** A request of `headers` that sends `bytes` and then nothing more, and how to end it. */
function stalling(headers: Headers, bytes: number) {
  let left = bytes;
  const end = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (left <= 0) {
        await end.promise;
        return controller.close();
      }
      controller.enqueue(new Uint8Array(Math.min(left, 65_536)));
      left -= 65_536;
    },
  }, { highWaterMark: 0 });
  const request = new Request(BASE + BULK, { method: "POST", headers, body });
  return { request, stalls: () => left <= 0, end: end.resolve };
}

Deno.test("strangers who hold large bodies open block neither others nor small writes of their own address", async () => {
  const world = makeWorld({ answers: { create_product: PRODUCT_ROW } });
  const strange = { "X-Forwarded-For": "198.51.100.1" };
  const held = [];
  for (let n = 0; n < 13; n++) {
    const { headers } = await signedRequest(world, "POST", BULK, {
      headers: strange,
      body: "{}",
      secret: "pms_sk_x",
    });
    const one = stalling(headers, n === 12 ? 4 * MIB : 5 * MIB - 1);
    let isHere = false;
    const answer = world.handle(one.request).finally(() => isHere = true);
    await until(() => isHere || one.stalls());
    held.push({ ...one, answer });
  }
  for (const address of ["203.0.113.9", "198.51.100.1"]) {
    for (let n = 0; n < 3; n++) {
      const body = JSON.stringify({ sku: "B", name: "n" });
      const headers = { "X-Forwarded-For": address };
      const write = await world.handle(
        await signedRequest(world, "POST", "/pms/products", { body, headers }),
      );
      assert.equal(write.status, 201, `${address}: ${await write.text()}`);
    }
  }
  const headers = { "X-Forwarded-For": "203.0.113.9" };
  const bulk = await signedRequest(world, "POST", BULK, { body: bulkOf(4.7 * MIB), headers });
  assert.notEqual((await (await world.handle(bulk)).json()).code, "body.busy");
  held.forEach(({ end }) => end());
  const answers = await Promise.all(held.map(({ answer }) => answer));
  assert.ok(answers.filter(({ status }) => status === 503).length >= 10);
});

Deno.test("a large body under an unknown key meets what one under a wrong signature meets", async () => {
  const met: unknown[] = [];
  for (const signing of [{ secret: "pms_sk_x" }, { keyId: "11111111-1111-4111-8111-111111111111" }]) {
    const world = makeWorld();
    const one = await signedRequest(world, "POST", BULK, { body: bulkOf(5 * MIB), ...signing });
    const answer = await world.handle(one);
    const { request_id: _own, ...told } = await answer.json();
    const looks = world.asked.filter(([url]) => url.endsWith("/read_api_key")).length;
    met.push({ status: answer.status, told, looks });
  }
  assert.deepEqual(met[0], met[1]);
  assert.equal((met[0] as { status: number }).status, 401);
});
