import assert from "node:assert/strict";

import { type Dependencies, dependenciesFrom, makeHandler } from "./handler.ts";
import { HEALTH_TIMEOUT_MS } from "./health.ts";

type Fetch = Dependencies["fetch"];

function deps(fetch: Fetch): Dependencies {
  let clock = 1_000;
  return { fetch, now: () => clock += 7, supabaseUrl: "http://supabase.test", serviceKey: "service" };
}

const databaseAnswers = (status: number): Fetch => () => Promise.resolve(new Response(null, { status }));

function request(path: string, init?: RequestInit): Request {
  return new Request(`http://functions.test${path}`, init);
}

Deno.test("health asks the database with the service key and says how long it took", async () => {
  const asked: [string, RequestInit | undefined][] = [];
  const fetch: Fetch = (input, init) => {
    asked.push([String(input), init]);
    return Promise.resolve(new Response(null, { status: 200 }));
  };
  for (const path of ["/api/pms/health", "/api/pms/v1/health", "/api/pms/health/"]) {
    const answer = await makeHandler(deps(fetch))(request(path));
    assert.equal(answer.status, 200);
    assert.deepEqual(await answer.json(), {
      status: "ok",
      checks: { database: { status: "ok", milliseconds: 7 } },
    });
  }
  const [url, init] = asked[0]!;
  assert.equal(url, "http://supabase.test/rest/v1/tenants?select=id&limit=1");
  assert.equal(new Headers(init?.headers).get("apikey"), "service");
  assert.equal(asked.length, 3);
});

Deno.test("health is 503 when PostgREST refuses or cannot be reached", async () => {
  const refusing = await makeHandler(deps(databaseAnswers(500)))(request("/api/pms/health"));
  assert.equal(refusing.status, 503);
  assert.equal((await refusing.json()).checks.database.detail, "PostgREST answered 500");

  const gone = await makeHandler(deps(() => Promise.reject(new TypeError("refused"))))(
    request("/api/pms/health"),
  );
  assert.equal(gone.status, 503);
  assert.equal((await gone.json()).status, "failed");
});

Deno.test("health does not wait for ever: its request carries a time-out", async () => {
  const timesOut: Fetch = (_input, init) => {
    assert.ok(init?.signal instanceof AbortSignal);
    return Promise.reject(new DOMException("Signal timed out.", "TimeoutError"));
  };
  const answer = await makeHandler(deps(timesOut))(request("/api/pms/health"));
  assert.equal(answer.status, 503);
  assert.equal((await answer.json()).checks.database.detail, `no answer within ${HEALTH_TIMEOUT_MS} ms`);
});

Deno.test("what is not there is a 404 problem, a wrong method a 405 that names the right one", async () => {
  const handler = makeHandler(deps(databaseAnswers(200)));
  for (const path of ["/api/pms/nothing", "/api/health", "/api/pms", "/api/pms/v2/health", "/"]) {
    const answer = await handler(request(path));
    assert.equal(answer.status, 404, path);
    assert.equal(answer.headers.get("Content-Type"), "application/problem+json");
    assert.equal((await answer.json()).code, "route.not_found");
  }
  const wrong = await handler(request("/api/pms/health", { method: "DELETE" }));
  assert.equal(wrong.status, 405);
  assert.equal(wrong.headers.get("Allow"), "GET");
  await wrong.body?.cancel();
});

Deno.test("every answer can be read by a browser, a preflight too", async () => {
  const handler = makeHandler(deps(databaseAnswers(200)));
  const preflight = await handler(request("/api/pms/health", { method: "OPTIONS" }));
  assert.equal(preflight.status, 204);
  for (const answer of [preflight, await handler(request("/api/pms/none"))]) {
    assert.equal(answer.headers.get("Access-Control-Allow-Origin"), "*");
    await answer.body?.cancel();
  }
});

Deno.test("a missing setting is named", () => {
  const env = { get: (name: string) => (name === "SUPABASE_URL" ? "http://supabase.test" : undefined) };
  assert.throws(() => dependenciesFrom(env), /SUPABASE_SERVICE_ROLE_KEY is not set/);
});
