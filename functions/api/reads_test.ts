// How new a read is: asked for by X-Min-Seq, told by X-Seq, and what became of the key meanwhile.

import assert from "node:assert/strict";

import { keyRecord, makeWorld, PRODUCT_ROW, signedRequest } from "./testing.ts";

const ONE = "/pms/products/" + PRODUCT_ROW.id;

const reach = (seq: number, until: number | null = null) => ({
  epoch: "e1",
  seq,
  through: until === null,
  until,
});

Deno.test("X-Min-Seq: what lies ahead is dispatched and looked for once more, then refused", async () => {
  for (const [reached, status] of [[50, 200], [49, 409]] as const) {
    const log_seq = ({ p_wait }: Record<string, unknown>) => reach(p_wait ? reached : 41);
    const world = makeWorld({ answers: { log_seq, stock_movements: [] } });
    for (const target of [ONE, "/pms/inventory/history"]) {
      const ask = async (seq: string) =>
        await world.handle(await signedRequest(world, "GET", target, { headers: { "X-Min-Seq": seq } }));
      assert.equal((await ask("e1:50")).status, status);
      assert.equal((await ask("e1:41")).status, 200);
      assert.equal((await ask("e0:9999")).status, 200, "of another epoch nothing is known");
      assert.equal((await ask("nonsense")).status, 400);
    }
  }
});

Deno.test("X-Min-Seq ahead of the log loads nothing, and fails nobody who joined and asked for less", async () => {
  const gate = Promise.withResolvers<void>();
  const log_seq = async ({ p_wait }: Record<string, unknown>) => {
    if (p_wait) await gate.promise;
    return reach(41);
  };
  const world = makeWorld({ answers: { log_seq } });
  const loads = () => world.asked.filter(([url]) => url.includes("/rest/v1/products")).length;
  const ahead = world.handle(
    await signedRequest(world, "GET", ONE, { headers: { "X-Min-Seq": "e1:99999" } }),
  );
  const joined = [];
  for (let n = 0; n < 3; n++) joined.push(world.handle(await signedRequest(world, "GET", ONE)));
  await new Promise((resolve) => setTimeout(resolve, 20));
  gate.resolve();
  assert.equal((await (await ahead).json()).code, "seq.ahead");
  for (const answer of await Promise.all(joined)) assert.equal(answer.status, 200);
  const before = loads();
  assert.ok(before >= 1);
  const again = await signedRequest(world, "GET", ONE, { headers: { "X-Min-Seq": "e1:99999" } });
  assert.equal((await world.handle(again)).status, 409);
  assert.equal(loads(), before);
});

Deno.test("the log is brought on slice by slice, for some seconds and not for what came later", async () => {
  const untils: unknown[] = [];
  let left = 3;
  const log_seq = ({ p_wait, p_until }: Record<string, unknown>) => {
    if (!p_wait) return reach(41);
    untils.push(p_until);
    world.clock.now += 1_000;
    return left-- > 0 ? reach(42, 700) : reach(43);
  };
  const world = makeWorld({ answers: { log_seq, publish_product: PRODUCT_ROW } });
  const publish = async () => world.handle(await signedRequest(world, "POST", ONE + "/publish"));
  assert.equal((await publish()).headers.get("X-Seq"), "e1:43");
  assert.deepEqual(untils, [null, 700, 700, 700]);
  left = 1_000;
  const behind = await publish();
  assert.deepEqual(
    [behind.status, behind.headers.get("X-Seq")],
    [200, null],
    "the write stands all the same",
  );
  assert.ok(world.logged.some(({ event }) => event === "seq.behind"));
  const headers = { "X-Min-Seq": "e1:50" };
  const read = await world.handle(await signedRequest(world, "GET", ONE, { headers }));
  assert.deepEqual([read.status, (await read.json()).code], [503, "seq.busy"]);
  assert.ok(untils.length < 4 + 6 + 6);
  const enough = { "X-Min-Seq": "e1:42" };
  assert.equal((await world.handle(await signedRequest(world, "GET", ONE, { headers: enough }))).status, 200);
});

Deno.test("a key that was revoked during an empty read is not known, one whose scopes changed is asked again", async () => {
  for (
    const [then, status, code] of [
      [keyRecord(), 404, "product.not_found"],
      [keyRecord({ fingerprint: "f2", permissions: ["orders.read"] }), 503, "auth.changed"],
      [null, 401, "auth.invalid"],
    ] as const
  ) {
    let looks = 0;
    const read_api_key = () => looks++ === 0 ? keyRecord() : then;
    const world = makeWorld({ answers: { read_api_key, products: [] } });
    const answer = await world.handle(await signedRequest(world, "GET", ONE));
    assert.deepEqual([answer.status, (await answer.json()).code], [status, code]);
  }
});
