import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";

import { later, type Options, PmsApi, PmsError } from "./mod.ts";

const BASE = "https://pms.test/functions/v1/api";
const KEY = "key_0193b6e56f5b7cc08a4e6d1a3c9d2f10";
const SECRET = "pms_sk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const NOW = 1_764_201_600_000;
const ID = "0193b6e5-6f5b-7cc0-8a4e-6d1a3c9d2f10";
const ROW = { id: ID, sku: "BOOT-42", version: 3 };

interface Heard {
  method: string;
  url: URL;
  headers: Headers;
  body: string;
}
type Answering = (signal: AbortSignal) => Response | Promise<Response>;

const answered = (data: unknown, headers: Record<string, string> = {}, status = 200): Answering => () =>
  Response.json(data, { status, headers });
const problem =
  (status: number, code: string, more = {}, headers: Record<string, string> = {}): Answering => () =>
    Response.json({ status, code, detail: "why", request_id: "r-1", ...more }, { status, headers });
const AWAY = problem(503, "origin.unavailable");
const cutOff: Answering = () => Promise.reject(new TypeError("connection reset"));

/** Checks signatures with node's crypto, clocks and nonces; then gives its answers, the last for ever. */
function open(answers: Answering[], options: Partial<Options> & { ahead?: number } = {}) {
  const heard: Heard[] = [], slept: number[] = [], nonces = new Set<string>();
  let taken = 0;
  const fetch = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    const one = {
      method: request.method,
      url: new URL(request.url),
      headers: request.headers,
      body: await request.text(),
    };
    heard.push(one);
    assert.equal(init?.redirect, "manual");
    const header = (name: string) => one.headers.get(name)!;
    const time = header("X-Request-Timestamp"), nonce = header("X-Request-Nonce");
    assert.match(nonce, /^[\w-]{16,64}$/);
    assert.equal(header("X-API-Key"), KEY);
    if (Math.abs(Number(time) - NOW / 1000) > 300) {
      return problem(401, "auth.clock_skew", { server_time: NOW / 1000 })(init!.signal!);
    }
    const target = (one.url.pathname + one.url.search).replace("/functions/v1/api", "");
    const hash = createHash("sha256").update(one.body).digest("hex");
    const made = createHmac("sha256", SECRET).update(`v1:${time}:${nonce}:${one.method}:${target}:${hash}`);
    assert.equal(header("X-Request-Signature"), `v1=${made.digest("hex")}`);
    assert.ok(!nonces.has(nonce), "a nonce was used twice");
    nonces.add(nonce);
    return await answers[Math.min(taken++, answers.length - 1)]!(init!.signal!);
  };
  const { ahead = 0, ...more } = options;
  const sleep = (milliseconds: number) => Promise.resolve(void slept.push(milliseconds));
  const now = () => NOW + ahead * 1000;
  const api = new PmsApi({ baseUrl: BASE, key: KEY, secret: SECRET, fetch, now, sleep, ...more });
  return { api, heard, slept };
}

const refusal = async (promise: Promise<unknown>): Promise<PmsError> => {
  const error = await promise.then(() => undefined, (reason) => reason);
  assert.ok(error instanceof PmsError, String(error));
  return error;
};

Deno.test("what is signed is what is sent, whatever is in it", async () => {
  const { api, heard } = open([answered({ data: [], next: null })]);
  const odd = "Stövel / 50 % + more & <b> 'x' \"y\"";
  await api.products({ q: odd, limit: 5, low: true, after: undefined });
  assert.deepEqual([...heard[0]!.url.searchParams], [["q", odd], ["limit", "5"], ["low", "true"]]);
  await api.order("../products/7?x=1#y");
  assert.equal(heard[1]!.url.pathname, "/functions/v1/api/pms/v1/orders/..%2Fproducts%2F7%3Fx%3D1%23y");
  await assert.rejects(() => api.order(".."), TypeError);
});

Deno.test("a read is tried again, a write too, under one idempotency key", async () => {
  const reading = open([AWAY, cutOff, problem(429, "rate.limited"), answered(ROW)]);
  assert.deepEqual(await reading.api.product(ID), ROW);
  assert.equal(reading.heard.length, 4);
  assert.equal(reading.heard[0]!.headers.get("Idempotency-Key"), null);

  const { api, heard } = open([cutOff, problem(401, "auth.replayed"), answered(ROW)]);
  await api.createProduct({ sku: "BOOT-42" });
  const keys = heard.map(({ headers }) => headers.get("Idempotency-Key"));
  assert.equal(keys.length, 3);
  assert.equal(new Set(keys).size, 1);
  await api.createProduct({ sku: "BOOT-43" }, { idempotencyKey: "mine" });
  assert.equal(heard[3]!.headers.get("Idempotency-Key"), "mine");
  assert.equal(heard[3]!.body, '{"sku":"BOOT-43"}');
});

Deno.test("what would be refused again is not tried again", async () => {
  const { api, heard, slept } = open([
    problem(409, "stock.insufficient", { hint: "do this", failures: [{ code: "x" }] }),
  ]);
  const error = await refusal(api.adjustStock([{ product_id: ID, delta: -1 }]));
  assert.equal(
    `${error.code} ${error.status} ${error.requestId} ${error.failures[0]!.code}`,
    "stock.insufficient 409 r-1 x",
  );
  assert.equal(error.message, "stock.insufficient - why (do this)");
  assert.equal(heard.length, 1);
  assert.equal(slept.length, 0);
});

Deno.test("it gives up, and pauses stay below their cap", async () => {
  const { api, heard, slept } = open([AWAY], { rules: { tries: 6, firstPause: 1000, longestPause: 4000 } });
  assert.equal((await refusal(api.order(ID))).code, "origin.unavailable");
  assert.equal(heard.length, 6);
  [1000, 2000, 4000, 4000, 4000].forEach((most, at) => assert.ok(slept[at]! < most));
  assert.ok(new Set(slept).size > 1);
});

Deno.test("Retry-After is obeyed, or told", async () => {
  const soon = open([problem(429, "rate.limited", {}, { "Retry-After": "30" }), answered(ROW)]);
  await soon.api.product(ID);
  assert.ok(soon.slept[0]! >= 30_000 && soon.slept[0]! < 46_000);
  const dated = open([
    problem(503, "x", {}, { "Retry-After": new Date(NOW + 20_000).toUTCString() }),
    answered(ROW),
  ]);
  await dated.api.product(ID);
  assert.ok(dated.slept[0]! >= 20_000);
  const late = open([problem(429, "rate.limited", {}, { "Retry-After": "3600" })]);
  assert.equal((await refusal(late.api.product(ID))).retryAfter, 3600);
  assert.equal(late.heard.length, 1);
});

Deno.test("a wrong clock is corrected once", async () => {
  for (const ahead of [4000, -86400]) {
    const { api, heard, slept } = open([answered(ROW)], { ahead });
    await api.product(ID);
    await api.product(ID);
    assert.equal(heard.length, 3, "the correction is kept");
    assert.equal(slept.length, 0);
  }
});

Deno.test("a time that helps nothing, or is none, is not taken and not kept", async () => {
  for (const time of ["1e999", "99999999999999", "-5", "null", '"soon"', String(NOW / 1000 + 90_000)]) {
    const lie: Answering = () =>
      new Response(`{"code": "auth.clock_skew", "server_time": ${time}}`, { status: 401 });
    const { api, heard } = open([lie, answered(ROW)]);
    assert.equal((await refusal(api.product(ID))).code, "auth.clock_skew", time);
    assert.equal(heard.length, 1, time);
    await api.product(ID); // the double refuses what is signed at another time
    assert.equal(heard.length, 2, time);
  }
  const lie = problem(401, "auth.clock_skew", { server_time: NOW / 1000 + 250 });
  const { api, heard } = open([lie, lie, answered(ROW)]);
  assert.equal((await refusal(api.product(ID))).code, "auth.clock_skew");
  await api.product(ID);
  const times = heard.map(({ headers }) => Number(headers.get("X-Request-Timestamp")) - NOW / 1000);
  assert.deepEqual(times, [0, 250, 0]);
});

Deno.test("reads ask for what was written", async () => {
  const { api, heard } = open(["e1:10", "e1:9", "e1:99"].map((seq) => answered(ROW, { "X-Seq": seq })));
  await api.publishProduct(ID);
  await api.deleteProduct(ID, { expectedVersion: 3 });
  await api.product(ID);
  assert.deepEqual(heard.map(({ headers }) => headers.get("X-Min-Seq")), [null, null, "e1:10"]);
  assert.equal(heard[1]!.headers.get("If-Match"), '"3"');
  assert.equal(api.minSeq, "e1:10");
  assert.equal(later("e:10", "f:1"), "f:1");
});

Deno.test("reads after a write of which nobody knows the place go past the cache, until it holds nothing older", async () => {
  let moment = NOW;
  const { api, heard } = open(
    [{ "X-Seq": "e1:10" }, {}, {}, {}, {}, {}, { "X-Seq": "e1:12" }, {}]
      .map((headers) => answered(ROW, headers as Record<string, string>)),
    { now: () => moment },
  );
  await api.publishProduct(ID);
  await api.sendWebhook("order", { id: "evt_1" });
  await api.product(ID);
  await api.publishProduct(ID); // no X-Seq
  await api.product(ID);
  await api.product(ID);
  await api.publishProduct(ID);
  await api.product(ID);
  const said = () => heard.map(({ headers }) => headers.get("Cache-Control"));
  assert.deepEqual(said(), [null, null, null, null, "no-cache", "no-cache", null, null]);
  assert.equal(heard[5]!.headers.get("X-Min-Seq"), "e1:10");
  assert.equal(heard[7]!.headers.get("X-Min-Seq"), "e1:12");

  await api.publishProduct(ID);
  moment += 299_000; // no clock skew
  await api.product(ID);
  assert.equal(said().at(-1), "no-cache");
});

Deno.test("pages are followed to the end; what is unchanged is not sent", async () => {
  const { api, heard } = open([
    answered({ data: [{ n: 1 }, { n: 2 }], next: "c1" }),
    answered({ data: [{ n: 3 }], next: null }),
  ]);
  const seen = [];
  for await (const row of api.everyLevel({ limit: 2 })) seen.push(row.n);
  assert.deepEqual(seen, [1, 2, 3]);
  assert.deepEqual(heard.map(({ url }) => url.searchParams.get("after")), [null, "c1"]);
  const known = open([() => new Response(null, { status: 304 })]);
  assert.equal(await known.api.product(ID, { ifNoneMatch: '"3"' }), undefined);
});

Deno.test("what cannot be read is refused, and not asked for again", async () => {
  const bodies = ["not json", '["no object"]', " ".repeat(5000)];
  for (const body of bodies) {
    const { api, heard } = open([() => new Response(body)], { rules: { answerBytes: 4096 } });
    assert.equal((await refusal(api.product(ID))).code, "unreadable");
    assert.equal(heard.length, 1);
  }
  const moved = open([
    () => new Response(null, { status: 302, headers: { Location: "https://elsewhere.test/" } }),
  ]);
  assert.equal((await refusal(moved.api.product(ID))).code, "unreadable");
  for (const body of ["", "<html>", "[1]", '{"code": 7, "failures": "x"}']) {
    const { api } = open([() => new Response(body, { status: 403 })]);
    assert.equal((await refusal(api.product(ID))).code, "http.403");
  }
});

Deno.test("an answer without end is cut off, and a silent one not waited for", async () => {
  let sent = 0, cancelled = false;
  const endless = () =>
    new ReadableStream({
      pull: (controller) => (sent += 1024, controller.enqueue(new Uint8Array(1024).fill(32))),
      cancel: () => void (cancelled = true),
    });
  const flood = open([() => new Response(endless())], { rules: { answerBytes: 65536 } });
  assert.equal((await refusal(flood.api.product(ID))).code, "unreadable");
  assert.ok(cancelled && sent <= 65536 + 4096);

  const silent = open([() => new Response(new ReadableStream())], { rules: { oneTry: 20, tries: 2 } });
  assert.equal((await refusal(silent.api.product(ID))).code, "unreachable");
  assert.equal(silent.heard.length, 2);
});

Deno.test("what is no key, secret or address is refused before it is sent, without being shown", () => {
  const wrong: Partial<Options>[] = [{ key: ID }, { secret: KEY }, { secret: SECRET + "\n" }, {
    baseUrl: "ftp://x",
  }, { baseUrl: "" }];
  for (const options of wrong) {
    assert.throws(
      () => open([], options),
      (error: Error) => error instanceof TypeError && !error.message.includes(SECRET),
    );
  }
});

Deno.test("after a write of which nobody knows whether it was done, reads go past the cache", async () => {
  const cases: [Answering, string | null][] = [
    [problem(504, "origin.timeout"), "no-cache"],
    [cutOff, "no-cache"],
    [problem(429, "rate.limited"), "no-cache"],
    [() => new Response("<html>", { status: 201 }), "no-cache"],
    [problem(409, "product.sku_living"), null],
    [problem(400, "request.invalid"), null],
  ];
  for (const [ending, said] of cases) {
    const placed = answered(ROW, { "X-Seq": "e1:10" });
    const { api, heard } = open([ending, placed], { rules: { tries: 1 } });
    await refusal(api.createProduct({ sku: "BOOT-42" }));
    await api.publishProduct(ID); // its place says nothing of what may yet be done
    await api.product(ID);
    assert.equal(heard.at(-1)!.headers.get("Cache-Control"), said);
  }
});
