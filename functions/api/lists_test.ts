import assert from "node:assert/strict";

import { makeWorld, PRODUCT_ROW, signedRequest } from "./testing.ts";

const SMILES = "🙂".repeat(100);

Deno.test("the longest place and filters stay below 4 KiB of URL", async () => {
  const row = { ...PRODUCT_ROW, name_head: SMILES.slice(0, 160), sku: SMILES, name: "🙂".repeat(500) };
  const world = makeWorld({ answers: { products: [row, { ...row, id: row.id.replace("3", "4") }] } });
  const asked = {
    sku: "漢".repeat(100),
    status: "archived",
    currency: "USD",
    category_id: row.id,
    parent_id: row.id,
    price_min: "1".repeat(14) + ".1234",
    price_max: "1".repeat(14) + ".1234",
    created_since: "2026-11-27T09:30:00.12345678901+00:00",
    updated_since: "2026-11-27T09:30:00.12345678901+00:00",
  };
  for (const sort of ["name", "-name", "sku", "price", "created_at"]) {
    const query = new URLSearchParams({ ...asked, sort, limit: "1" });
    const page = async () => {
      const answer = await world.handle(await signedRequest(world, "GET", `/pms/products?${query}`));
      assert.equal(answer.status, 200, await answer.clone().text());
      return (await answer.json()).next as string;
    };
    if (sort === "price") Object.assign(row, { price: 99999999999999.99 });
    query.set("after", await page());
    await page();
    const [url] = world.asked.filter(([url]) => url.includes("/rest/v1/products")).at(-1)!;
    assert.ok(url.includes("or=") && url.length < 4096, `${sort}: ${url.length}`);
  }
});
