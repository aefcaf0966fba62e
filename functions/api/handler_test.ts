import assert from "node:assert/strict";

import { BASE, KEY_ID, makeWorld, PRODUCT_ROW, SECRET, signedRequest, TENANT_ID } from "./testing.ts";

const ONE = "/pms/products/" + PRODUCT_ROW.id;

Deno.test("a signed read is answered as the key's principal, within its tenant", async () => {
  const world = makeWorld();
  const answer = await world.handle(await signedRequest(world, "GET", ONE));
  assert.equal(answer.status, 200, await answer.clone().text());
  assert.equal((await answer.json()).sku, "MUG-BLUE");
  assert.equal(answer.headers.get("ETag"), '"3"');
  assert.equal(answer.headers.get("X-Seq"), "e1:41");
  assert.equal(answer.headers.get("RateLimit-Limit"), "600");
  const [url, init] = world.asked.find(([url]) => url.includes("/rest/v1/products"))!;
  assert.equal(new URL(url).searchParams.get("tenant_id"), `eq.${TENANT_ID}`);
  const headers = new Headers(init?.headers);
  const claims = JSON.parse(atob(headers.get("authorization")!.split(".")[1]!));
  assert.deepEqual([claims.sub, claims.role, claims.exp - claims.iat], [KEY_ID, "authenticated", 60]);
  assert.equal(headers.get("apikey"), "anon");
});

Deno.test("one line is logged per request, without secrets, queries or bodies", async () => {
  const world = makeWorld();
  const request = await signedRequest(world, "GET", "/pms/v1/products?sku=SECRET-SKU", {
    headers: { "X-Request-Id": "mine-1" },
  });
  const signature = request.headers.get("X-Request-Signature")!;
  await (await world.handle(request)).body?.cancel();
  const lines = world.logged.filter((line) => line["event"] === "request.done");
  assert.equal(lines.length, 1);
  const { request_id, path, status, api_key_id, tenant_id } = lines[0]!;
  assert.deepEqual([request_id, path, status], ["mine-1", "/pms/v1/products", 200]);
  assert.deepEqual([api_key_id, tenant_id], [KEY_ID, TENANT_ID]);
  for (const secret of [SECRET, signature, "SECRET-SKU"]) {
    assert.ok(!JSON.stringify(world.logged).includes(secret));
  }
});

Deno.test("what is not there is 404, a wrong method 405 with Allow, and an override of the method is refused", async () => {
  const world = makeWorld();
  for (
    const path of [
      "/pms/nothing",
      "/pms",
      "/health",
      "/pms/v2/health",
      "/pms/products/",
      "/pms/products/../health",
    ]
  ) {
    const answer = await world.handle({ ...plain("GET", path), url: BASE + path } as Request);
    assert.deepEqual([answer.status, (await answer.json()).code], [404, "route.not_found"], path);
  }
  const wrong = await world.handle(new Request(BASE + "/pms/products", { method: "DELETE" }));
  assert.deepEqual([wrong.status, wrong.headers.get("Allow")], [405, "GET, HEAD, POST, OPTIONS"]);
  const bulk = await world.handle(new Request(BASE + "/pms/products/bulk"));
  assert.deepEqual([bulk.status, bulk.headers.get("Allow")], [405, "POST, OPTIONS"]);
  const over = await signedRequest(world, "GET", ONE, { headers: { "X-HTTP-Method-Override": "DELETE" } });
  assert.equal((await (await world.handle(over)).json()).code, "request.method_override");
});

function plain(method: string, path: string) {
  return { method, headers: new Headers(), body: null, url: BASE + path };
}

Deno.test("a body is refused at the first byte too many, whatever Content-Length says", async () => {
  const world = makeWorld();
  let sent = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      sent += 65536;
      controller.enqueue(new Uint8Array(65536));
    },
  });
  const { headers } = await signedRequest(world, "POST", "/pms/products");
  const answer = await world.handle(
    new Request(BASE + "/pms/products", { method: "POST", headers, body: endless }),
  );
  assert.deepEqual([answer.status, (await answer.json()).code], [413, "body.too_large"]);
  assert.ok(sent < 2 * 1024 * 1024);
});

Deno.test("a request id of the caller's is kept only where it is harmless", async () => {
  const world = makeWorld();
  const idOf = async (sent: string) => {
    const answer = await world.handle(new Request(BASE + "/pms/none", { headers: { "X-Request-Id": sent } }));
    assert.equal((await answer.json()).request_id, answer.headers.get("X-Request-Id"));
    return answer.headers.get("X-Request-Id");
  };
  assert.equal(await idOf("job-7.a_b"), "job-7.a_b");
  for (const odd of ["a b", "a,b", "é", "x".repeat(65), '"><script>']) {
    assert.match((await idOf(odd))!, /^[0-9a-f-]{36}$/);
  }
});

Deno.test("a missing setting is named in the answer and the log, and its value is not", async () => {
  const world = makeWorld({
    environment: { PMS_JWT_KEY: undefined, REDIS_URL: "http://user:password@redis" },
  });
  const answer = await world.handle(new Request(BASE + "/pms/health"));
  const body = await answer.json();
  assert.deepEqual([answer.status, body.code], [500, "settings.invalid"]);
  assert.match(body.detail, /REDIS_URL is no redis/);
  assert.match(body.detail, /PMS_JWT_KEY is not set/);
  assert.ok(!JSON.stringify([body, world.logged]).includes("password"));
});

Deno.test("an unforeseen error is a 500 that tells nothing", async () => {
  const world = makeWorld({ answers: { read_api_key: { nonsense: "the database's own" } } });
  const answer = await world.handle(await signedRequest(world, "GET", ONE));
  const text = await answer.text();
  assert.equal(answer.status, 500);
  assert.ok(!text.includes("nonsense") && JSON.parse(text).code === "internal");
});

Deno.test("health needs no key, and is 503 when the database does not answer", async () => {
  const well = await makeWorld().handle(new Request(BASE + "/pms/health"));
  assert.equal(well.status, 200);
  assert.equal((await well.json()).checks.cache.status, "off");
  const world = makeWorld({ answers: { schema_version: new Response("gone", { status: 502 }) } });
  const ill = await world.handle(new Request(BASE + "/pms/v1/health"));
  assert.deepEqual([ill.status, (await ill.json()).status], [503, "failed"]);
});

Deno.test("If-None-Match on a change is refused, not read over", async () => {
  const world = makeWorld({ answers: { replace_product: PRODUCT_ROW } });
  for (const [header, status] of [[{ "If-None-Match": "*" }, 400], [{}, 200]] as const) {
    const body = JSON.stringify({ sku: "MUG-BLUE", name: "Blue mug" });
    const answer = await world.handle(await signedRequest(world, "PUT", ONE, { body, headers: header }));
    assert.equal(answer.status, status, await answer.clone().text());
  }
  assert.equal(world.asked.filter(([url]) => url.includes("replace_product")).length, 1);
});

Deno.test("the log tells how many addresses arrived, for whoever sets PMS_TRUSTED_PROXIES", async () => {
  const world = makeWorld();
  const headers = { "X-Forwarded-For": "203.0.113.9, 10.0.0.1" };
  await world.handle(new Request(BASE + "/pms/health", { headers }));
  assert.equal(world.logged.find(({ event }) => event === "request.done")!["forwarded"], 2);
});

Deno.test("a service key of the function's own goes before the platform's", async () => {
  const world = makeWorld({ environment: { PMS_SERVICE_KEY: "sb_secret_mine" } });
  for (const [key, status] of [["sb_secret_mine", 200], ["service", 401]] as const) {
    const answer = await world.handle(
      new Request(BASE + "/pms/cache/warm", {
        method: "POST",
        headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
        body: JSON.stringify({ tenant_id: TENANT_ID }),
      }),
    );
    assert.equal(answer.status, status, key);
  }
  const only = { PMS_SERVICE_KEY: "sb_secret_mine", SUPABASE_SERVICE_ROLE_KEY: undefined };
  assert.equal(
    (await makeWorld({ environment: only }).handle(new Request(BASE + "/pms/health"))).status,
    200,
  );
});

Deno.test("warming needs the service key, and reads as the key that asked", async () => {
  const world = makeWorld();
  const warm = (authorization: string) =>
    world.handle(
      new Request(BASE + "/pms/cache/warm", {
        method: "POST",
        headers: { Authorization: authorization, "Content-Type": "application/json" },
        body: JSON.stringify({ tenant_id: TENANT_ID }),
      }),
    );
  for (const wrong of ["", "Bearer", "Bearer servicf", "Bearer service2", "service"]) {
    assert.equal((await warm(wrong)).status, 401, wrong);
  }
  const answer = await warm("Bearer service");
  assert.deepEqual(await answer.json(), { warmed: 0, queries: 0 });
});

Deno.test("a method that every object has is no operation", async () => {
  const world = makeWorld();
  for (const method of ["constructor", "toString", "__proto__", "valueOf"]) {
    const answer = await world.handle(new Request(BASE + "/pms/products", { method, body: "x" }));
    assert.deepEqual([answer.status, (await answer.json()).code], [405, "route.method"], method);
  }
});

Deno.test("no body is waited for whose headers could not be right", async () => {
  const world = makeWorld();
  let read = 0;
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      read++;
      controller.enqueue(new Uint8Array(1024));
    },
  }, { highWaterMark: 0 });
  const answer = await world.handle(new Request(BASE + "/pms/products", { method: "POST", body }));
  assert.equal((await answer.json()).code, "auth.header_missing");
  assert.equal(read, 0);
});
