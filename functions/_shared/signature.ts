// Signatures of requests, for the adapter that checks them and the client that makes them. What is signed:
//
//   v1:{timestamp}:{nonce}:{METHOD}:{path?query}:{sha256 hex of the body}
//
// `path?query` begins at /pms/ and stands exactly as it was sent. The key is the secret's own text, so that
// `printf %s "$TEXT" | openssl dgst -sha256 -hmac "$SECRET"` makes the same.

/** Seconds that a caller's clock may be ahead or behind. */
export const SKEW_SECONDS = 300;

export const API_KEY_FORM = /^key_[0-9a-f]{32}$/;
export const TIMESTAMP_FORM = /^[1-9][0-9]{0,11}$/;
export const NONCE_FORM = /^[A-Za-z0-9_-]{16,64}$/;
export const SIGNATURE_FORM = /^v1=[0-9a-f]{64}$/;

export interface Signable {
  /** Unix seconds, as sent. */
  timestamp: string;
  nonce: string;
  method: string;
  target: string;
  body: Uint8Array;
}

const encoder = new TextEncoder();

export async function sha256Hex(data: Uint8Array | string): Promise<string> {
  const bytes = typeof data === "string" ? encoder.encode(data) : data;
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as BufferSource)));
}

/** The text whose HMAC is the signature. */
export async function signedText(request: Signable): Promise<string> {
  const { timestamp, nonce, method, target, body } = request;
  return `v1:${timestamp}:${nonce}:${method}:${target}:${await sha256Hex(body)}`;
}

/** The value of X-Request-Signature: `v1=` and 64 hex digits. */
export async function sign(secret: string, request: Signable): Promise<string> {
  const key = await hmacKey(secret, "sign");
  const made = await crypto.subtle.sign("HMAC", key, encoder.encode(await signedText(request)));
  return `v1=${hex(new Uint8Array(made))}`;
}

/**
 * Whether one of `secrets` made `signature`. All of them are tried whatever the first ones say, and WebCrypto compares
 * in constant time. A signature of another form is false.
 */
export async function verify(secrets: string[], signature: string, request: Signable): Promise<boolean> {
  if (!SIGNATURE_FORM.test(signature)) return false;
  const text = encoder.encode(await signedText(request));
  const sent = unhex(signature.slice(3));
  let holds = false;
  for (const secret of secrets) {
    const key = await hmacKey(secret, "verify");
    if (await crypto.subtle.verify("HMAC", key, sent as BufferSource, text)) holds = true;
  }
  return holds;
}

/** `key_…` of a key's id, and back; undefined for what is no key id. */
export function apiKeyName(id: string): string {
  return `key_${id.replaceAll("-", "")}`;
}

export function apiKeyId(name: string): string | undefined {
  if (!API_KEY_FORM.test(name)) return undefined;
  return name.slice(4).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function hmacKey(secret: string, use: "sign" | "verify"): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, [
    use,
  ]);
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function unhex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
