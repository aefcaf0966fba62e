import assert from "node:assert/strict";

import { BASE, makeWorld, PRODUCT_ROW, signedRequest } from "./testing.ts";

const SHOP = "https://shop.example";
const SECURITY = {
  "Cache-Control": "private, no-store",
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
  "Referrer-Policy": "no-referrer",
  "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
};

const options = (path: string, headers: Record<string, string> = {}) =>
  new Request(BASE + path, { method: "OPTIONS", headers });

Deno.test("every answer carries the security headers, Vary and a request id", async () => {
  const world = makeWorld();
  const broken = makeWorld({ environment: { PMS_JWT_KEY: undefined } });
  const answers = [
    await world.handle(await signedRequest(world, "GET", "/pms/products")),
    await world.handle(new Request(BASE + "/pms/none")),
    await world.handle(new Request(BASE + "/pms/products")),
    await world.handle(new Request(BASE + "/pms/products", { method: "DELETE" })),
    await world.handle(options("/pms/products", { Origin: SHOP, "Access-Control-Request-Method": "GET" })),
    await world.handle(new Request(BASE + "/pms/openapi.json")),
    await broken.handle(new Request(BASE + "/pms/health")),
  ];
  assert.deepEqual(answers.map(({ status }) => status), [200, 404, 400, 405, 204, 200, 500]);
  for (const answer of answers) {
    for (const [name, value] of Object.entries(SECURITY)) assert.equal(answer.headers.get(name), value);
    assert.match(answer.headers.get("Vary")!, /^Origin/);
    assert.ok(answer.headers.get("X-Request-Id"));
    await answer.body?.cancel();
  }
});

Deno.test("a preflight of an allowed origin learns what it may send, another one nothing", async () => {
  const { handle } = makeWorld();
  const ask = {
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "x-api-key, if-match",
  };
  const allowed = await handle(options(`/pms/products/${PRODUCT_ROW.id}`, { Origin: SHOP, ...ask }));
  assert.equal(allowed.headers.get("Access-Control-Allow-Origin"), SHOP);
  assert.equal(allowed.headers.get("Access-Control-Allow-Methods"), "GET, HEAD, PUT, DELETE");
  assert.match(
    allowed.headers.get("Access-Control-Allow-Headers")!,
    /if-match.*x-api-key.*x-request-signature/,
  );
  assert.equal(allowed.headers.get("Access-Control-Allow-Credentials"), null);
  for (const origin of ["https://evil.example", SHOP + ".evil.example", SHOP.toUpperCase(), "null"]) {
    const refused = await handle(options("/pms/products", { Origin: origin, ...ask }));
    const cors = [...refused.headers.keys()].filter((name) => name.startsWith("access-control"));
    assert.deepEqual([refused.status, cors], [204, []], origin);
  }
  assert.equal((await handle(options("/pms/products"))).headers.get("Allow"), "GET, HEAD, POST, OPTIONS");
  assert.equal((await handle(options("/pms/none"))).status, 404);
});

Deno.test("an answer, also one that refuses, can be read by pages of allowed origins alone", async () => {
  const world = makeWorld();
  for (const [origin, readable] of [[SHOP, SHOP], ["https://evil.example", null]] as const) {
    const answer = await world.handle(new Request(BASE + "/pms/none", { headers: { Origin: origin } }));
    assert.equal(answer.headers.get("Access-Control-Allow-Origin"), readable);
    if (readable) assert.match(answer.headers.get("Access-Control-Expose-Headers")!, /ETag.*X-Seq/);
    await answer.body?.cancel();
  }
});

Deno.test("HEAD is GET without the body, under a signature of its own", async () => {
  const world = makeWorld();
  const get = await world.handle(await signedRequest(world, "GET", "/pms/products"));
  const head = await world.handle(await signedRequest(world, "HEAD", "/pms/products"));
  assert.equal(head.status, 200);
  assert.equal(await head.text(), "");
  assert.equal(head.headers.get("Content-Length"), String((await get.bytes()).length));
  const as = await signedRequest(world, "HEAD", "/pms/products", { signing: { method: "GET" } });
  assert.equal((await world.handle(as)).status, 401);
});
