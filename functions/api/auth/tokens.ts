// Acting for a principal: tokens of a minute, so that its policies decide. The Python twin is worker/gateway/principals.py.

import { importJWK, type JWK, SignJWT } from "jose";

export const LIFETIME_SECONDS = 60;

/** A token is used again for this long, and still has half its life when it is. */
const REUSE_SECONDS = 30;
const KEPT = 1_000;

export interface PrincipalTokens {
  tokenOf(principalId: string): Promise<string>;
}

/** `key`: a private JWK with a kid, or the project's legacy HS256 secret. Throws for a key that cannot sign. */
export async function makeTokens(key: string, now: () => number): Promise<PrincipalTokens> {
  const { header, signer } = await readKey(key);
  const kept = new Map<string, { token: Promise<string>; at: number }>();
  const made = (principalId: string, seconds: number) =>
    new SignJWT({ role: "authenticated" })
      .setProtectedHeader(header)
      .setSubject(principalId)
      .setAudience("authenticated")
      .setIssuedAt(seconds)
      .setExpirationTime(seconds + LIFETIME_SECONDS)
      .sign(signer);
  await made("00000000-0000-0000-0000-000000000000", 0);
  return {
    tokenOf(principalId) {
      const seconds = Math.floor(now() / 1000);
      const known = kept.get(principalId);
      if (known !== undefined && seconds - known.at < REUSE_SECONDS && seconds >= known.at) {
        return known.token;
      }
      if (kept.size >= KEPT) kept.clear();
      const token = made(principalId, seconds);
      kept.set(principalId, { token, at: seconds });
      return token;
    },
  };
}

/** Of a JWK that does not say. */
const ALGORITHMS: Record<string, string> = { EC: "ES256", RSA: "RS256", OKP: "EdDSA", oct: "HS256" };

type Signer = Parameters<InstanceType<typeof SignJWT>["sign"]>[0];

async function readKey(key: string): Promise<{ header: { alg: string; kid?: string }; signer: Signer }> {
  if (!key.trimStart().startsWith("{")) {
    return { header: { alg: "HS256" }, signer: new TextEncoder().encode(key) };
  }
  try {
    const jwk: JWK = JSON.parse(key);
    if (typeof jwk.kid !== "string" || (jwk.d === undefined && jwk.k === undefined)) throw new TypeError();
    const alg = jwk.alg ?? ALGORITHMS[jwk.kty ?? ""];
    if (alg === undefined) throw new TypeError();
    // use and key_ops of a public copy would forbid to sign
    const { use: _use, key_ops: _operations, ...bare } = jwk;
    return { header: { alg, kid: jwk.kid }, signer: await importJWK(bare, alg) };
  } catch {
    throw new TypeError("PMS_JWT_KEY is no private JWK with a kid"); // nothing of the key may escape
  }
}
