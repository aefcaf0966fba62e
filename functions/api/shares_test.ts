// What one tenant's calls leave to the others, of reads and of writes.

import assert from "node:assert/strict";

import { KEY_ID, keyRecord, makeWorld, PRODUCT_ROW, signedRequest } from "./testing.ts";

const OTHER_KEY = "11111111-1111-4111-8111-111111111111";
const OTHER_TENANT = "22222222-2222-4222-8222-222222222222";

Deno.test("a tenant whose reads and writes all hang leaves the others three quarters of the places", async () => {
  const gate = Promise.withResolvers<void>();
  const begun = { reads: 0, writes: 0 };
  const hang = async (kind: "reads" | "writes", isOther: boolean, answer: unknown) => {
    if (isOther) return answer;
    begun[kind]++;
    await gate.promise;
    return answer;
  };
  const ofOther = { api_key_id: OTHER_KEY, tenant_id: OTHER_TENANT, fingerprint: "f2" };
  const read = (_args: unknown, url: URL) =>
    hang("reads", url.searchParams.get("tenant_id") === `eq.${OTHER_TENANT}`, []);
  const world = makeWorld({
    answers: {
      read_api_key: ({ p_api_key_id }: Record<string, unknown>) =>
        p_api_key_id === KEY_ID ? keyRecord() : keyRecord(ofOther),
      create_product: ({ p_tenant_id }: Record<string, unknown>) =>
        hang("writes", p_tenant_id === OTHER_TENANT, PRODUCT_ROW),
      stock_movements: read,
      products: read,
    },
  });
  const ask = async (keyId: string) => [
    world.handle(
      await signedRequest(world, "POST", "/pms/products", { keyId, body: '{"sku":"A","name":"n"}' }),
    ),
    world.handle(await signedRequest(world, "GET", "/pms/inventory/history", { keyId })),
    world.handle(
      await signedRequest(world, "GET", "/pms/products", { keyId, headers: { "Cache-Control": "no-cache" } }),
    ),
  ];
  const hanging: Promise<Response>[] = [];
  for (let n = 0; n < 40; n++) hanging.push(...await ask(KEY_ID));
  for (const answer of await Promise.all(await ask(OTHER_KEY))) {
    assert.ok(answer.ok, `${answer.status} ${await answer.text()}`);
  }
  assert.deepEqual(begun, { reads: 8, writes: 8 });
  gate.resolve();
  for (const answer of await Promise.all(hanging)) assert.ok(answer.ok);
});
