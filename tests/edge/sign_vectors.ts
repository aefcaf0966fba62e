// Signs tests/edge/signature_vectors.json with both TypeScript implementations, for test_signature.py.

import { sign as clientSigns } from "../../functions/client/signature.ts";
import { sign as adapterSigns } from "../../functions/_shared/signature.ts";

interface Vector {
  secret: string;
  timestamp: number;
  nonce: string;
  method: string;
  target: string;
  body: string;
}

const vectors: Vector[] = JSON.parse(
  await Deno.readTextFile(new URL("signature_vectors.json", import.meta.url)),
);
const adapter: string[] = [];
const client: string[] = [];
for (const { secret, timestamp, nonce, method, target, body } of vectors) {
  const request = {
    timestamp: String(timestamp),
    nonce,
    method,
    target,
    body: new TextEncoder().encode(body),
  };
  adapter.push(await adapterSigns(secret, request));
  client.push(await clientSigns(secret, request));
}
console.log(JSON.stringify({ adapter, client }));
