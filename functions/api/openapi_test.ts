import assert from "node:assert/strict";

import { BASE, makeWorld } from "./testing.ts";

// deno-lint-ignore no-explicit-any
async function document(): Promise<any> {
  const answer = await makeWorld().handle(new Request(BASE + "/pms/openapi.json"));
  assert.equal(answer.status, 200);
  return await answer.json();
}

Deno.test("the document is served to everybody, and tells of every route but the worker's", async () => {
  const told = await document();
  assert.equal(told.openapi, "3.1.0");
  assert.deepEqual(
    Object.entries(told.paths).flatMap(([path, item]) =>
      Object.keys(item as object).map((method) => `${method} ${path.replace("/pms/v1", "")}`)
    ).sort(),
    [
      "delete /products/{id}",
      "get /health",
      "get /inventory/history",
      "get /inventory/status",
      "get /orders/{id}",
      "get /products",
      "get /products/{id}",
      "post /inventory/adjust",
      "post /products",
      "post /products/bulk",
      "post /products/{id}/publish",
      "post /webhook/inventory",
      "post /webhook/order",
      "post /webhook/product",
      "put /products/{id}",
    ],
  );
  assert.equal(told.servers[0].url, "http://supabase.test/functions/v1/api");
  assert.equal(told.externalDocs.url, "http://supabase.test/rest/v1/");
});

Deno.test("each signed operation tells its security, its refusals and an example of what it answers", async () => {
  const { paths, components } = await document();
  assert.equal(components.securitySchemes.signature.name, "X-Request-Signature");
  for (const [path, item] of Object.entries(paths)) {
    // deno-lint-ignore no-explicit-any
    for (const [method, operation] of Object.entries(item as Record<string, any>)) {
      const where = `${method} ${path}`;
      const good = Object.keys(operation.responses).filter((status) => status < "300");
      assert.equal(good.length, 1, where);
      const answer = operation.responses[good[0]!];
      if (good[0] !== "204") assert.ok(answer.content["application/json"].example, where);
      if (path.endsWith("/health")) continue;
      assert.equal(Object.keys(operation.security[0]).length, 4, where);
      for (const status of ["400", "401", "403", "413", "429", "503"]) {
        assert.ok(operation.responses[status].content["application/problem+json"], `${where} ${status}`);
      }
      if (operation.requestBody) assert.ok(operation.requestBody.content["application/json"].example, where);
    }
  }
});
