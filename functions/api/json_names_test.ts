import assert from "node:assert/strict";

import { repeatedNameIn } from "./json_names.ts";

Deno.test("a name that an object has twice is found, at any depth and however it is written", () => {
  const cases: [string, string][] = [
    ['{"sku":"A","sku":"B"}', '"sku"'],
    ['{"a":1,"rows":[{"b":[{"c":1}],"b":2}]}', '"b"'],
    ['{"price":1,"pric\\u0065":2}', '"pric\\u0065"'],
    ['{"":1,"":2}', '""'],
    ['{"__proto__":1,"__proto__":2}', '"__proto__"'],
    ['{"a\\"b" : 1 , "c" : {} , "a\\"b" : 2}', '"a\\"b"'],
    ['[{},{"x":{"y":1,"z":2,"y":3}}]', '"y"'],
  ];
  for (const [text, name] of cases) {
    JSON.parse(text);
    assert.equal(repeatedNameIn(text), name, text);
  }
});

Deno.test("names of different objects, and texts that look like names, are none", () => {
  const texts = [
    '{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}',
    '{"a":"b","b":"a","c":["a","a","b"]}',
    '{"a":"\\"a\\":1,{\\"a\\"","A":1}',
    '{"a":[1,{"b":2},"c"],"c":"{\\\\"}',
    '["a","a",["a"],{"constructor":1,"a":"a"}]',
    '"a"',
    "1",
  ];
  for (const text of texts) {
    JSON.parse(text);
    assert.equal(repeatedNameIn(text), undefined, text);
  }
});
