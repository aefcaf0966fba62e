import assert from "node:assert/strict";

import { isRow, limitOf, MAX_DEPTH, MAX_VALUES, parseExactly, textOf } from "./json.ts";

Deno.test("numbers come out with the digits that went in", () => {
  for (const number of ["19.9000", "12345678901234.5678", "9007199254740993", "0", "-1", "1e400", "1.0"]) {
    const text = `{"price":${number},"list":[${number}]}`;
    assert.equal(JSON.stringify(parseExactly(text)), text);
    assert.equal(textOf((parseExactly(text) as Record<string, unknown>)["price"]), number);
  }
  assert.notEqual(
    JSON.stringify(JSON.parse('{"a":9007199254740993}')),
    '{"a":9007199254740993}',
    "what it is for",
  );
});

Deno.test("a number that kept its digits is no row", () => {
  assert.equal(isRow(parseExactly("1.50")), false);
  assert.equal(isRow(parseExactly('{"a":1}')), true);
  assert.equal(textOf(parseExactly("null")), undefined);
});

Deno.test("depth counts brackets outside of strings", () => {
  const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
  assert.equal(limitOf(nested(MAX_DEPTH)), undefined);
  assert.equal(limitOf(nested(MAX_DEPTH + 1)), "depth");
  assert.equal(limitOf("[".repeat(100_000)), "depth");
  assert.equal(limitOf(JSON.stringify("[".repeat(200) + '\\"')), undefined);
  assert.equal(limitOf("[]".repeat(200)), undefined);
  assert.equal(limitOf(`[${"1,".repeat(MAX_VALUES - 2)}1]`), undefined);
  assert.equal(limitOf(`[${"1,".repeat(MAX_VALUES)}1]`), "values");
  assert.equal(limitOf("[" + "[],".repeat(MAX_VALUES) + "1]"), "values");
  assert.equal(limitOf(JSON.stringify(",".repeat(MAX_VALUES * 2))), undefined);
});
