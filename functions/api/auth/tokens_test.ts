import assert from "node:assert/strict";

import { decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair, jwtVerify } from "jose";

import { makeTokens } from "./tokens.ts";

const ANNA = "3f6c1f7e-6a54-4c1b-9d3a-0b6f5a1c2d3e";

Deno.test("a token is the principal's for a minute, made with a JWK or with a secret", async () => {
  const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
  const jwk = JSON.stringify({
    ...await exportJWK(privateKey),
    kid: "k1",
    alg: "ES256",
    use: "sig",
    key_ops: ["verify"],
  });
  const now = Date.now();
  const tokens = await makeTokens(jwk, () => now);
  const token = await tokens.tokenOf(ANNA);
  assert.deepEqual(decodeProtectedHeader(token), { alg: "ES256", kid: "k1" });
  const { payload } = await jwtVerify(token, publicKey, { audience: "authenticated" });
  assert.deepEqual([payload.sub, payload["role"], payload.exp! - payload.iat!], [ANNA, "authenticated", 60]);

  const secret = "a legacy secret of thirty-two characters and more";
  const legacy = await (await makeTokens(secret, () => now)).tokenOf(ANNA);
  assert.equal((await jwtVerify(legacy, new TextEncoder().encode(secret))).payload.sub, ANNA);
});

Deno.test("a token is used again only while half its life is left, and by its principal alone", async () => {
  let now = 1_764_240_000_000;
  const tokens = await makeTokens("a legacy secret of thirty-two characters and more", () => now);
  const first = await tokens.tokenOf(ANNA);
  now += 29_000;
  assert.equal(await tokens.tokenOf(ANNA), first);
  assert.notEqual(decodeJwt(await tokens.tokenOf("another")).sub, ANNA);
  now += 1_000;
  const second = await tokens.tokenOf(ANNA);
  assert.notEqual(second, first);
  assert.equal(decodeJwt(second).exp! - now / 1000, 60);
});

Deno.test("a key that cannot sign is refused without being shown", async () => {
  const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
  const whole = await exportJWK(privateKey);
  for (
    const broken of [
      JSON.stringify({ ...await exportJWK(publicKey), kid: "k1" }),
      JSON.stringify(whole),
      JSON.stringify({ ...whole, kid: "k1" }).slice(0, -9),
      '{"kty":"EC","kid":"a","d":"AA"}',
    ]
  ) {
    const error = await makeTokens(broken, Date.now).catch((error) => error);
    assert.match(String(error), /PMS_JWT_KEY is no private JWK with a kid/);
    assert.ok(!String(error.stack).includes(whole.d!));
  }
});
