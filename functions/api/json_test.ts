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

Deno.test("numbers have 40 digits before the point and 40 after it, however few bytes they are written in", () => {
  const nines = "9".repeat(40);
  for (
    const short of [
      nines,
      `-${nines}.${nines}`,
      "1e39",
      "0.1E+40",
      "1e-40",
      "10e-40",
      "0e99999",
      `0.${"0".repeat(38)}12`,
      "12.5",
      "0",
      "1e2",
      `${"0.0000000001e49"}`,
      JSON.stringify("1e131071"),
      `"1e131071\\"", 1`,
      `{"1e131071":"\\"1e131071"}`,
    ]
  ) assert.equal(limitOf(`[${short}]`), undefined, short);
  for (
    const long of [
      "1e131071",
      "-1e131071",
      "1E+131071",
      "1e40",
      `1${"0".repeat(40)}`,
      "1e-41",
      "0e-16383",
      "1e-16383",
      `0.${"0".repeat(40)}1`,
      "0.1e41",
      "10e39",
      "1e99999999999999999999",
      `1e${"9".repeat(400)}`,
      `1e-${"9".repeat(400)}`,
    ]
  ) {
    assert.equal(limitOf(long), "numbers", long);
    assert.equal(limitOf(`{"a":[1,{"b":${long}\r\n}],"c":"d"}`), "numbers", long);
  }
  assert.equal(
    limitOf(`[1e131071,${"1,".repeat(MAX_VALUES)}1]`),
    "values",
    "answers with it are bounded too",
  );
});
