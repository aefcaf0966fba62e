// How a request is signed: HMAC-SHA256, under the secret's own text, of
//
//   v1:{timestamp}:{nonce}:{METHOD}:{path?query}:{sha256 hex of the body}
//
// `path?query` begins at /pms/ and stands exactly as it is sent. A copy of what the adapter has in ../_shared, so that
// this folder can be taken elsewhere whole; the vectors of tests/edge hold both to what openssl makes.

export interface Signable {
  /** Unix seconds. */
  timestamp: string;
  /** 16 to 64 of A-Z a-z 0-9 _ -, never used before. */
  nonce: string;
  method: string;
  target: string;
  body: Uint8Array;
}

const encoder = new TextEncoder();

/** The value of X-Request-Signature. */
export async function sign(secret: string, request: Signable): Promise<string> {
  const { timestamp, nonce, method, target, body } = request;
  const hash = hex(await crypto.subtle.digest("SHA-256", body as BufferSource));
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), algorithm, false, ["sign"]);
  const text = `v1:${timestamp}:${nonce}:${method}:${target}:${hash}`;
  return `v1=${hex(await crypto.subtle.sign("HMAC", key, encoder.encode(text)))}`;
}

export function makeNonce(): string {
  return hex(crypto.getRandomValues(new Uint8Array(16)).buffer);
}

function hex(buffer: ArrayBuffer): string {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
