import assert from "node:assert/strict";

import { BodyBudget, readBody } from "./bodies.ts";
import { Problem } from "./problems.ts";

const request = (bytes: number) =>
  new Request("http://functions.test/", { method: "POST", body: new Uint8Array(bytes) });

Deno.test("bodies of strangers share what memory they may have, and give it back", async () => {
  const budget = new BodyBudget(1000);
  const one = budget.open();
  const other = budget.open();
  await readBody(request(700), 900, one.take);
  await assert.rejects(
    readBody(request(400), 900, other.take),
    (error) => error instanceof Problem && error.status === 503 && error.code === "body.busy",
  );
  other.release();
  one.release();
  one.release();
  const third = budget.open();
  assert.equal((await readBody(request(900), 900, third.take)).byteLength, 900);
});
