import assert from "node:assert/strict";

import { keyRecord, makeWorld, PRODUCT_ROW, signedRequest } from "../testing.ts";

const ONE = "/pms/products/" + PRODUCT_ROW.id;

Deno.test("whatever is altered under the signature is refused, as an unknown key is", async () => {
  const world = makeWorld();
  const bodies: string[] = [];
  const attacks = [
    await signedRequest(world, "GET", ONE, { signing: { method: "DELETE" } }),
    await signedRequest(world, "GET", ONE, { signing: { target: "/pms/products" } }),
    await signedRequest(world, "GET", ONE, { signing: { target: ONE + "?fields=id" } }),
    await signedRequest(world, "POST", "/pms/products", {
      body: '{"sku":"B"}',
      signing: { body: '{"sku":"A"}' },
    }),
    await signedRequest(world, "GET", ONE, { secret: "pms_sk_" + "x".repeat(43) }),
    await signedRequest(world, "GET", ONE, { keyId: "11111111-1111-4111-8111-111111111111" }),
  ];
  for (const attack of attacks) {
    const answer = await world.handle(attack);
    assert.equal(answer.status, 401);
    const { request_id: _own, ...body } = await answer.json();
    bodies.push(JSON.stringify(body));
  }
  assert.equal(new Set(bodies).size, 1, "one and the same answer");
  assert.equal(JSON.parse(bodies[0]!).code, "auth.invalid");
  const went = world.asked.filter(([url]) => /admit_request|rest\/v1\/products/.test(url));
  assert.equal(went.length, 0, "no nonce is recorded before the signature holds");
});

Deno.test("a nonce is good once", async () => {
  const world = makeWorld();
  const send = async () =>
    await world.handle(await signedRequest(world, "GET", ONE, { nonce: "the-same-nonce-16" }));
  await (await send()).body?.cancel();
  const again = await send();
  assert.equal(again.status, 401);
  assert.equal((await again.json()).code, "auth.replayed");
});

Deno.test("a clock that is off is told the time; 300 seconds are not off", async () => {
  const world = makeWorld();
  const now = world.clock.now / 1000;
  for (const off of [-301, 301]) {
    const answer = await world.handle(await signedRequest(world, "GET", ONE, { timestamp: now + off }));
    const body = await answer.json();
    assert.deepEqual([answer.status, body.code, body.server_time], [401, "auth.clock_skew", now]);
  }
  for (const off of [-300, 300]) {
    const answer = await world.handle(await signedRequest(world, "GET", ONE, { timestamp: now + off }));
    assert.equal(answer.status, 200);
    await answer.body?.cancel();
  }
});

Deno.test("missing, odd and doubled headers are refused by name", async () => {
  const world = makeWorld();
  const names = ["X-API-Key", "X-Request-Timestamp", "X-Request-Nonce", "X-Request-Signature"];
  for (const name of names) {
    const missing = await signedRequest(world, "GET", ONE);
    missing.headers.delete(name);
    const doubled = await signedRequest(world, "GET", ONE);
    doubled.headers.append(name, doubled.headers.get(name)!);
    for (
      const [request, code] of [[missing, "auth.header_missing"], [doubled, "auth.header_invalid"]] as const
    ) {
      const answer = await world.handle(request);
      const body = await answer.json();
      assert.deepEqual([answer.status, body.code], [400, code]);
      assert.ok(body.detail.includes(name));
      assert.match(body.hint, /openapi\.json/);
      assert.equal(body.detail.includes("sent once"), request === doubled);
    }
  }
});

Deno.test("an address outside of the key's list is refused, and takes no nonce", async () => {
  const world = makeWorld({ answers: { read_api_key: keyRecord({ allowed_ips: ["203.0.113.0/24"] }) } });
  const from = async (address: string) =>
    await world.handle(await signedRequest(world, "GET", ONE, { headers: { "X-Forwarded-For": address } }));
  assert.equal((await from("198.51.100.1")).status, 403);
  assert.equal((await from("203.0.113.9, 198.51.100.1")).status, 403, "what the caller wrote does not count");
  assert.ok(!world.asked.some(([url]) => url.endsWith("admit_request")));
  assert.equal((await from("203.0.113.9")).status, 200);
});

Deno.test("a limit is told with the time to wait", async () => {
  const limited = { admitted: false, why: "limited", remaining: 0, reset_seconds: 7 };
  for (const [name, who] of [["admit_request", "The key"], ["admit_address", "This address"]]) {
    const world = makeWorld({ answers: { [name!]: limited } });
    const answer = await world.handle(await signedRequest(world, "GET", ONE));
    const body = await answer.json();
    assert.deepEqual([answer.status, body.code], [429, "rate.limited"]);
    assert.ok(body.detail.startsWith(who));
    assert.equal(answer.headers.get("Retry-After"), "7");
    assert.equal(answer.headers.get("RateLimit-Remaining"), "0");
  }
});

Deno.test("RateLimit-Reset means one thing: when the whole rate is there again", async () => {
  // of 5 a minute, all used at once: the next may pass after 12 s, and all of them after 60
  const verdicts = [
    { admitted: true, why: null, remaining: 0, reset_seconds: 60 },
    { admitted: false, why: "limited", remaining: 0, reset_seconds: 12 },
  ];
  for (const verdict of verdicts) {
    const record = keyRecord({ rate_per_minute: 5 });
    const world = makeWorld({ answers: { read_api_key: record, admit_request: verdict } });
    const answer = await world.handle(await signedRequest(world, "GET", ONE));
    assert.equal(answer.headers.get("RateLimit-Reset"), "60");
    assert.equal(answer.headers.get("Retry-After"), verdict.admitted ? null : "12");
  }
});

Deno.test("a key without the permission is refused before the database is asked", async () => {
  const world = makeWorld({ answers: { read_api_key: keyRecord({ permissions: ["orders.read"] }) } });
  const answer = await world.handle(await signedRequest(world, "GET", ONE));
  assert.deepEqual([answer.status, (await answer.json()).code], [403, "access.denied"]);
});

Deno.test("a key that is revoked while it reads gets a refusal, not the nothing that the policies leave it", async () => {
  let looks = 0;
  const read_api_key = () => ++looks === 1 ? keyRecord() : null;
  for (const target of [ONE, "/pms/products", "/pms/inventory/history"]) {
    looks = 0;
    const world = makeWorld({ answers: { read_api_key, products: [], stock_movements: [] } });
    const answer = await world.handle(await signedRequest(world, "GET", target));
    assert.deepEqual([answer.status, (await answer.json()).code], [401, "auth.invalid"], target);
  }
});
