import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";

import { apiKeyId, apiKeyName, sign, type Signable, signedText, verify } from "./signature.ts";

const SECRET = "pms_sk_" + "a".repeat(43);
const REQUEST: Signable = {
  timestamp: "1764240000",
  nonce: "abcdefghijklmnop",
  method: "POST",
  target: "/pms/products?fields=sku%2Cname",
  body: new TextEncoder().encode('{"sku":"Mütze"}'),
};

Deno.test("the signature is what any HMAC of the signed text gives", async () => {
  const text = "v1:1764240000:abcdefghijklmnop:POST:/pms/products?fields=sku%2Cname:" +
    createHash("sha256").update('{"sku":"Mütze"}').digest("hex");
  assert.equal(await signedText(REQUEST), text);
  assert.equal(await sign(SECRET, REQUEST), "v1=" + createHmac("sha256", SECRET).update(text).digest("hex"));
});

Deno.test("no body is the hash of nothing", async () => {
  const empty = await signedText({ ...REQUEST, body: new Uint8Array() });
  assert.ok(empty.endsWith(":e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
});

Deno.test("either secret of a rotation verifies, another does not", async () => {
  const signature = await sign(SECRET, REQUEST);
  assert.equal(await verify([SECRET], signature, REQUEST), true);
  assert.equal(await verify(["pms_sk_new", SECRET], signature, REQUEST), true);
  assert.equal(await verify(["pms_sk_new"], signature, REQUEST), false);
  assert.equal(await verify([], signature, REQUEST), false);
});

Deno.test("whatever is changed, the signature no longer holds", async () => {
  const signature = await sign(SECRET, REQUEST);
  const changes: Partial<Signable>[] = [
    { timestamp: "1764240001" },
    { nonce: "abcdefghijklmnoq" },
    { method: "PUT" },
    { target: "/pms/products" },
    { target: "/pms/products?fields=sku,name" },
    { target: "/pms/v1/products?fields=sku%2Cname" },
    { body: new TextEncoder().encode('{"sku":"Mutze"}') },
    { body: new Uint8Array() },
  ];
  for (const change of changes) {
    assert.equal(await verify([SECRET], signature, { ...REQUEST, ...change }), false, JSON.stringify(change));
  }
});

Deno.test("a signature of another form is false, not an error", async () => {
  const signature = await sign(SECRET, REQUEST);
  for (
    const odd of ["", "v1=", signature.slice(3), signature.toUpperCase(), `${signature}0`, `${signature}\n`]
  ) {
    assert.equal(await verify([SECRET], odd, REQUEST), false, odd);
  }
});

Deno.test("a key's name is its id without hyphens", () => {
  const id = "0189f7f2-7c3a-7b1e-9c55-2f1e0a4b6d77";
  assert.equal(apiKeyId(apiKeyName(id)), id);
  for (
    const odd of ["", "key_", id, "KEY_" + "a".repeat(32), "key_" + "a".repeat(33), "key_" + "g".repeat(32)]
  ) {
    assert.equal(apiKeyId(odd), undefined, odd);
  }
});
