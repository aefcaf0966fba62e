import assert from "node:assert/strict";

import { makeCursors } from "./cursors.ts";
import { Problem } from "./problems.ts";

const cursors = makeCursors("secret");
const PLACE: [string, string] = ['Mütze, "blau"', "3f6c1f7e-6a54-4c1b-9d3a-0b6f5a1c2d3e"];

const refuses = (work: Promise<unknown>) =>
  assert.rejects(
    work,
    (error) => error instanceof Problem && error.status === 400 && error.code === "cursor.invalid",
  );

Deno.test("a cursor comes back as the place that it is of", async () => {
  assert.deepEqual(
    await cursors.read("t products name asc", await cursors.write("t products name asc", PLACE)),
    PLACE,
  );
});

Deno.test("each change of a cursor is refused, and so is another tenant, list, order or project", async () => {
  const cursor = await cursors.write("t products name asc", PLACE);
  for (let at = 0; at < cursor.length; at++) {
    const other = cursor[at] === "A" ? "B" : "A";
    await refuses(cursors.read("t products name asc", cursor.slice(0, at) + other + cursor.slice(at + 1)));
  }
  await refuses(cursors.read("u products name asc", cursor));
  await refuses(cursors.read("t products name desc", cursor));
  await refuses(makeCursors("another").read("t products name asc", cursor));
});

Deno.test("what is no cursor at all is refused too", async () => {
  for (const odd of ["", "A", "====", "null", "a b", "é", "A".repeat(2000), btoa('["a","b"]')]) {
    await refuses(cursors.read("t products name asc", odd));
  }
});
