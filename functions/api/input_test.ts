import assert from "node:assert/strict";

import { makeWorld, PRODUCT_ROW, type Sending, signedRequest } from "./testing.ts";

async function problem(method: string, target: string, sending: Sending = {}) {
  const world = makeWorld();
  const answer = await world.handle(await signedRequest(world, method, target, sending));
  const body = await answer.json();
  assert.ok(
    !world.asked.some(([url]) => /\/(products|create_product|adjust_stock)/.test(url)),
    "the database was asked",
  );
  return { status: answer.status, ...body };
}

const places = (told: { failures: { in: string; field: string }[] }) =>
  told.failures.map((failure) => `${failure.in} ${failure.field}`);

Deno.test("every failure of a query is told at once, with its place", async () => {
  const told = await problem(
    "GET",
    "/pms/products?limit=0&sort=color&fields=sku,secret&nonsense=1&parent_id=x",
  );
  assert.deepEqual([told.status, told.code], [400, "request.invalid"]);
  assert.deepEqual(places(told).sort(), [
    "query fields",
    "query limit",
    "query nonsense",
    "query parent_id",
    "query sort",
  ]);
});

Deno.test("numbers are strict, and a parameter comes once", async () => {
  for (
    const query of [
      "limit=201",
      "limit=1.0",
      "limit=%201",
      "limit=1e1",
      "limit=0x1",
      "limit=",
      "limit=1&limit=2",
    ]
  ) {
    assert.deepEqual(places(await problem("GET", `/pms/products?${query}`)), ["query limit"], query);
  }
});

Deno.test("what is no UTF-8, and control characters, are refused", async () => {
  for (const query of ["sku=%ff", "sku=%00", "sku=a%0d%0aX-Evil:%201"]) {
    assert.deepEqual(places(await problem("GET", `/pms/products?${query}`)), ["query sku"], query);
  }
});

Deno.test("a path's id and headers are checked too, together with the body", async () => {
  const told = await problem("PUT", "/pms/products/7", {
    body: '{"sku":"","price":"1,5","colour":"red"}',
    headers: { "If-Match": "3", "Idempotency-Key": "a, a" },
  });
  assert.deepEqual(places(told).sort(), [
    "body colour",
    "body name",
    "body price",
    "body sku",
    "header idempotency-key",
    "header if-match",
    "path id",
  ]);
});

Deno.test("a refusal says in words what is taken instead", async () => {
  const id = PRODUCT_ROW.id;
  const line = { product_id: id, location_id: id, quantity: 0 };
  const product = (more: string) => `{"sku":"A","name":"A",${more}}`;
  const cases: [string, string, Sending, string, RegExp][] = [
    [
      "PUT",
      `/pms/products/${id}`,
      { body: product('"price":1'), headers: { "If-Match": "2" } },
      "header if-match",
      /in quotes.*"3"/,
    ],
    [
      "PUT",
      `/pms/products/${id}`,
      { body: product('"price":1'), headers: { "Idempotency-Key": "a,b" } },
      "header idempotency-key",
      /no comma/,
    ],
    ["GET", "/pms/products", { headers: { "X-Min-Seq": "12" } }, "header x-min-seq", /no X-Seq/],
    ["GET", "/pms/products/abc", {}, "path id", /no UUID/],
    ["GET", "/pms/products?price_min=-1", {}, "query price_min", /such as 1\.50/],
    ["GET", "/pms/products?currency=eur", {}, "query currency", /three capital letters/],
    ["GET", "/pms/products?parent_id=x", {}, "query parent_id", /UUID of a product nor null/],
    ["GET", "/pms/products?after=a.b", {}, "query after", /no `next`/],
    [
      "GET",
      "/pms/products?created_since=2026-11-27T09:30:00+00:00",
      {},
      "query created_since",
      /with its zone.*%2B/,
    ],
    ["GET", "/pms/products?created_since=2026-11-27", {}, "query created_since", /with its zone/],
    ["GET", "/pms/inventory/status?location=a%20b", {}, "query location", /no code of a location/],
    ["POST", "/pms/products", { body: '{"sku":"A"}' }, "body name", /^is missing$/],
    ["POST", "/pms/products", { body: product('"price":"1,50"') }, "body price", /such as 1\.50/],
    ["POST", "/pms/products", { body: product('"price":-1') }, "body price", /such as 1\.50/],
    [
      "POST",
      "/pms/products",
      { body: product('"currency":"eur"') },
      "body currency",
      /three capital letters/,
    ],
    [
      "POST",
      "/pms/products",
      { body: product('"publish_at":"soon"') },
      "body publish_at",
      /with its zone[^%]*$/,
    ],
    [
      "POST",
      "/pms/inventory/adjust",
      { body: JSON.stringify({ lines: [line] }) },
      "body lines.0.quantity",
      /is 0/,
    ],
    [
      "POST",
      "/pms/webhook/order",
      { body: '{"id":"a b","type":"x","timestamp":"2026-11-27T09:30:00Z","data":{}}' },
      "body id",
      /no blanks/,
    ],
  ];
  for (const [method, target, sending, place, words] of cases) {
    const told = await problem(method, target, sending);
    assert.deepEqual(places(told), [place], target);
    assert.match(told.failures[0].detail, words);
  }
});

Deno.test("a condition that a route does not take is refused, not passed over", async () => {
  const id = PRODUCT_ROW.id;
  const body = '{"sku":"A","name":"A"}';
  const bulk = '{"rows":[{"sku":"A"}]}';
  const adjust = JSON.stringify({ lines: [{ product_id: id, location_id: id, quantity: 1 }] });
  for (
    const [method, target, sent, header] of [
      ["POST", "/pms/products", body, "If-Match"],
      ["POST", "/pms/products", body, "If-None-Match"],
      ["POST", "/pms/products/bulk", bulk, "If-Match"],
      ["POST", "/pms/inventory/adjust", adjust, "If-Match"],
      ["POST", "/pms/inventory/adjust", adjust, "If-None-Match"],
      ["GET", `/pms/products/${id}`, undefined, "If-Match"],
      ["POST", `/pms/products/${id}/publish`, undefined, "If-None-Match"],
    ] as const
  ) {
    const told = await problem(method, target, { body: sent, headers: { [header]: '"1"' } });
    assert.deepEqual([told.status, told.code], [400, "request.invalid"], target);
    assert.deepEqual(places(told), [`header ${header.toLowerCase()}`], target);
    assert.match(told.failures[0].detail, /not taken here/);
  }
  const openly = await problem("GET", "/pms/health", { headers: { "If-None-Match": '"1"' } });
  assert.equal(openly.status, "ok", "the health of it, for browsers too");
});

Deno.test("places in lists are told by index", async () => {
  const body = JSON.stringify({ lines: [{ product_id: PRODUCT_ROW.id, location_id: "x", quantity: 1.5 }] });
  const told = await problem("POST", "/pms/inventory/adjust", { body });
  assert.deepEqual(places(told).sort(), ["body lines.0.location_id", "body lines.0.quantity"]);
});

Deno.test("a price is exact or refused: nothing is rounded in silence", async () => {
  for (const price of ["1.23456", "1e2", "1e-5"]) {
    const told = await problem("POST", "/pms/products", { body: `{"sku":"A","name":"A","price":${price}}` });
    assert.deepEqual(places(told), ["body price"], price);
  }
});

Deno.test("a body of another type or coding is 415, one that is no JSON 400", async () => {
  const body = '{"sku":"A","name":"A"}';
  for (
    const type of [
      "text/plain",
      "application/x-www-form-urlencoded",
      "application/json, application/json",
      "application/jsonp",
      "application/json; charset=latin1",
    ]
  ) {
    const told = await problem("POST", "/pms/products", { body, headers: { "Content-Type": type } });
    assert.deepEqual([told.status, told.code], [415, "body.type"], type);
  }
  const packed = await problem("POST", "/pms/products", { body, headers: { "Content-Encoding": "gzip" } });
  assert.deepEqual([packed.status, packed.code], [415, "body.encoding"]);
  const cases: [string | Uint8Array, string][] = [
    ['{"sku":', "body.malformed"],
    [new Uint8Array([0x22, 0xff, 0x22]), "body.malformed"],
    ["[".repeat(100) + "]".repeat(100), "body.too_deep"],
    ["null", "request.invalid"],
    ["", "body.malformed"],
    ['{"sku":"A","name":"A","price":1,"price":2}', "body.malformed"],
    ['{"sku":"A","name":"A","attributes":{"a":["\\u0000"]}}', "body.malformed"],
    ['{"sku":"A","name":"A","attributes":{"\\ud800":1}}', "body.malformed"],
    ['{"sku":"A\\\\u0000","name":"","price":-1}', "request.invalid"],
  ];
  for (const [odd, code] of cases) {
    const told = await problem("POST", "/pms/products", { body: odd });
    assert.deepEqual([told.status, told.code], [400, code]);
  }
  const none = await problem("POST", `/pms/products/${PRODUCT_ROW.id}/publish`, { body: "{}" });
  assert.equal(none.code, "body.unexpected");
});
