import assert from "node:assert/strict";

import { Filters } from "./filters.ts";

const HOSTILE = [
  "a,b",
  "(x)",
  'quo"te',
  "back\\slash",
  "is.null",
  "*",
  "%",
  'x"),status.eq."active',
  "a&select=*",
  "null",
  "in.(1,2)",
  "Ü 🙂",
];

Deno.test("a value stays within its parameter, whatever it holds", () => {
  for (const value of HOSTILE) {
    const text = new Filters("id").where("sku", "eq", value).query.toString();
    const read = new URLSearchParams(text);
    assert.deepEqual([...read.keys()], ["select", "sku"]);
    assert.equal(read.get("sku"), `eq.${value}`);
  }
});

/** Reads `(col.op."value",…)` as PostgREST does: a quoted value ends at the first quote without a backslash. */
function conditions(tree: string): string[][] {
  const found: string[][] = [];
  let rest = tree.slice(1, -1);
  while (rest !== "") {
    const [all, column, operator, value] = /^([a-z_]+)\.([a-z]+)\."((?:[^"\\]|\\.)*)",?/s.exec(rest) ??
      assert.fail(`what is left is no condition: ${rest}`);
    found.push([column!, operator!, value!.replace(/\\(.)/gs, "$1")]);
    rest = rest.slice(all.length);
  }
  return found;
}

Deno.test("a place in an order is quoted, so that it holds no operator", () => {
  for (const value of HOSTILE) {
    const { query } = new Filters("id").after(["name", "id"], "desc", [value, "7"]);
    assert.equal(query.get("name"), `lte.${value}`);
    assert.deepEqual(conditions(query.get("or")!), [["name", "lt", value], ["id", "lt", "7"]]);
  }
});

Deno.test("a list of values is quoted one by one", () => {
  const { query } = new Filters("id").whereIn("sku", ['a"b', "c,d"]);
  assert.equal(query.get("sku"), 'in.("a\\"b","c,d")');
});
