import assert from "node:assert/strict";

import { makeOrigin, MAX_ANSWER_BYTES } from "./origin.ts";
import { Problem } from "./problems.ts";
import type { Settings } from "./settings.ts";

const SETTINGS = { supabaseUrl: "http://supabase.test", serviceKey: "service", anonKey: "anon" } as Settings;

function originOf(...answers: (() => Response | Promise<Response>)[]) {
  const asked: RequestInit[] = [];
  const pauses: number[] = [];
  const fetch = ((_url: string, init: RequestInit) => {
    asked.push(init);
    return Promise.resolve(answers[Math.min(asked.length, answers.length) - 1]!());
  }) as typeof globalThis.fetch;
  const pause = (milliseconds: number) => {
    pauses.push(milliseconds);
    return Promise.resolve();
  };
  return { origin: makeOrigin(SETTINGS, { fetch, pause }), asked, pauses };
}

const refusal =
  (status: number, code: string, message: string, details = "", hint: string | null = null) => () =>
    Response.json({ code, message, details, hint }, { status });

async function failureOf(work: Promise<unknown>): Promise<Problem> {
  const error = await work.then(() => "it went well", (error) => error);
  assert.ok(error instanceof Problem, String(error));
  return error;
}

function problemOf(...answers: (() => Response)[]): Promise<Problem> {
  return failureOf(originOf(...answers).origin.command("token", "publish_product", "{}"));
}

Deno.test("the database's own refusals keep code, status, detail, hint and failures", async () => {
  const stale = await problemOf(
    refusal(409, "PT409", "version.stale", "the stored version is 4.", "Read again."),
  );
  assert.deepEqual([stale.status, stale.code, stale.detail, stale.more.hint, stale.more.sqlstate], [
    409,
    "version.stale",
    "the stored version is 4.",
    "Read again.",
    "PT409",
  ]);
  const failures = [{ code: "a", detail: "No price." }, { code: "b", detail: "No name." }];
  const invalid = await problemOf(refusal(422, "PT422", "product.invalid", JSON.stringify(failures)));
  assert.deepEqual(invalid.more.failures, failures);
  assert.equal(invalid.detail, "No price. And 1 more: see failures.");
});

Deno.test("what Postgres refuses is classified by its SQLSTATE, whatever PostgREST's status", async () => {
  const cases: [string, string, number, string][] = [
    [
      "23505",
      'duplicate key value violates unique constraint "products_sku_living"',
      409,
      "product.sku_living",
    ],
    ["23514", 'new row violates check constraint "products_price_scale"', 422, "product.price_scale"],
    ["22P05", "unsupported Unicode escape sequence", 400, "value.invalid"],
    ["42501", "permission denied for table products", 403, "access.denied"],
    ["57014", "canceling statement due to statement timeout", 503, "database.timeout"],
    ["53300", "too many connections", 503, "origin.unavailable"],
    ["PGRST301", "JWSError JWSInvalidSignature", 503, "origin.token_refused"],
    ["PGRST000", "Could not connect", 503, "origin.unavailable"],
    ["PGRST202", "Could not find the function", 502, "origin.answer_invalid"],
  ];
  for (const [code, message, status, ours] of cases) {
    const problem = await problemOf(refusal(code.startsWith("PGRST2") ? 404 : 500, code, message));
    assert.deepEqual([problem.status, problem.code], [status, ours], code);
  }
});

Deno.test("a sku that is taken is told in words, with its field", async () => {
  const taken = await problemOf(
    refusal(
      409,
      "23505",
      'duplicate key value violates unique constraint "products_sku_living"',
      "Key (a)=(b).",
    ),
  );
  assert.equal(taken.detail, "Another product has this sku.");
  assert.deepEqual(taken.more.failures?.map((failure) => [failure.in, failure.field]), [["body", "sku"]]);
  assert.match(taken.more.hint!, /another sku.*products\?sku=/);
});

Deno.test("an answer that is no error of PostgREST's is a gateway's", async () => {
  assert.equal((await problemOf(() => new Response("<html>", { status: 503 }))).code, "origin.unavailable");
  assert.equal((await problemOf(() => new Response("not JSON"))).code, "origin.answer_invalid");
});

Deno.test("a deadlock is tried again, a bounded number of times, and then it is a 503", async () => {
  const deadlock = refusal(500, "40P01", "deadlock detected");
  const { origin, asked, pauses } = originOf(deadlock, deadlock, () => Response.json({ ok: true }));
  assert.deepEqual(await origin.command("token", "adjust_stock", "{}"), { ok: true });
  assert.deepEqual([asked.length, pauses.length], [3, 2]);
  const always = originOf(refusal(500, "40001", "could not serialize access"));
  const error = await failureOf(always.origin.command("token", "adjust_stock", "{}"));
  assert.deepEqual([error.status, error.code, always.asked.length], [503, "database.contended", 4]);
});

Deno.test("a refusal that is final is not tried again", async () => {
  const { origin, asked } = originOf(refusal(409, "PT409", "stock.insufficient"));
  await origin.command("token", "adjust_stock", "{}").catch(() => {});
  assert.equal(asked.length, 1);
});

Deno.test("an answer that does not end is left at its bound", async () => {
  let sent = 0;
  const endless = () =>
    new Response(
      new ReadableStream({
        pull(controller) {
          sent += 1 << 20;
          controller.enqueue(new Uint8Array(1 << 20).fill(32));
        },
      }),
    );
  const error = await failureOf(originOf(endless).origin.service("log_seq", {}));
  assert.equal(error.code, "answer.too_large");
  assert.ok(sent <= MAX_ANSWER_BYTES + (4 << 20));
});

Deno.test("a database that does not answer in time is a 504, one that is not there a 503", async () => {
  const hangs =
    ((_url: string, init: RequestInit) =>
      new Promise((_, reject) =>
        init.signal!.addEventListener("abort", () => reject(init.signal!.reason))
      )) as unknown;
  const origin = makeOrigin(SETTINGS, { fetch: hangs as typeof fetch, pause: () => Promise.resolve() });
  const slow = await failureOf(origin.service("log_seq", {}, 20));
  assert.deepEqual([slow.status, slow.code], [504, "origin.timeout"]);
  const { origin: gone } = originOf(() => Promise.reject(new TypeError("connection refused")));
  const away = await failureOf(gone.service("log_seq", {}));
  assert.deepEqual([away.status, away.code], [503, "origin.unreachable"]);
});
