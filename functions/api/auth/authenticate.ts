// Who a request is from. The order is part of the promise: form, clock, key, signature, address, nonce and rate.

import { verify } from "../../_shared/signature.ts";
import { Problem, unavailable } from "../problems.ts";
import { isAllowed } from "./addresses.ts";
import type { Admission, KeyUse, Verdict } from "./admission.ts";
import { checkClock, type Credentials, readCredentials } from "./headers.ts";
import type { KeyRecord, Keys } from "./keys.ts";
import type { Usage } from "./usage.ts";

export interface Principal {
  apiKeyId: string;
  tenantId: string;
  permissions: string[];
  fingerprint: string;
  /** Why the key could not be looked up: such a principal reads what lies in the cache, and nothing else. */
  outage?: unknown;
}

export interface Signed {
  method: string;
  /** From /pms/ on, as sent. */
  target: string;
  credentials: Credentials;
  body: Uint8Array;
  address: string;
}

export interface Gate {
  keys: Keys;
  admission: Admission;
  usage: Usage;
  /** Requests a minute of a key without a rate of its own. */
  keyRate: number;
  now: () => number;
}

export interface Admitted {
  principal: Principal;
  rateHeaders: Record<string, string>;
}

/** What an unknown key is checked against, so that it takes as long as a known one. */
const NO_SECRET = ["pms_sk_of_nobody"];

/** What the headers say, in its form and at its time; nobody knows yet whether it is true. Throws a Problem. */
export function presented(headers: Headers, now: number): Credentials {
  const credentials = readCredentials(headers);
  checkClock(credentials.timestamp, now);
  return credentials;
}

/** Throws a Problem. Unknown, revoked, expired and wrongly signed are one answer. */
export async function authenticate(request: Signed, gate: Gate): Promise<Admitted> {
  const { credentials } = request;
  const { timestamp, nonce, signature } = credentials;
  const { method, target, body } = request;
  const signed = { timestamp, nonce, method, target, body };
  const holds = async (found: KeyRecord | undefined) => {
    const isSigned = await verify(found?.secrets.length ? found.secrets : NO_SECRET, signature, signed);
    return found !== undefined && isSigned;
  };
  const found = await gate.keys.findIf(credentials.apiKeyId, holds, isRead(method));
  let record = checked(found?.record, request, gate);
  const renew = async () => {
    const anew = await gate.keys.look(credentials.apiKeyId);
    record = checked(await holds(anew) ? anew : undefined, request, gate);
    return record.version;
  };
  const { version } = record;
  const use = { nonce, timestamp: Number(timestamp), writes: !isRead(method), version, renew };
  const rateHeaders = await admit(record, use, gate);
  const outage = found?.outage === undefined ? {} : { outage: found.outage };
  return { principal: { ...principalOf(record), ...outage }, rateHeaders };
}

/** The record of a key whose secret signed the request, if it may be used from where it came. */
function checked(record: KeyRecord | undefined, { address }: Signed, gate: Gate): KeyRecord {
  if (record === undefined) throw notKnown();
  if (record.allowed_ips && !isAllowed(address, record.allowed_ips)) {
    gate.usage.note({ apiKeyId: record.api_key_id, refused: true });
    throw new Problem(403, "auth.address_refused", "The key may not be used from this address.");
  }
  return record;
}

/** One answer for all that is wrong with a key or a signature: telling more would help an attacker. */
export function notKnown(): Problem {
  return new Problem(401, "auth.invalid", "The key is not known, or the signature is not this request's.", {
    hint:
      "Check that the key is not revoked and not expired, and what is signed: with the whole secret, pms_sk_ included; path and query from /pms/ on, and the body, byte for byte as sent.",
  });
}

async function admit(record: KeyRecord, use: Omit<KeyUse, "apiKeyId" | "perMinute">, gate: Gate) {
  const rate = record.rate_per_minute ?? gate.keyRate;
  const verdict = await gate.admission.admitKey({ ...use, apiKeyId: record.api_key_id, perMinute: rate });
  const isTold = verdict.recorded || !verdict.admitted;
  const told = isTold ? {} : { nonce: { nonce: use.nonce, signedAt: use.timestamp } };
  gate.usage.note({ apiKeyId: record.api_key_id, refused: !verdict.admitted, ...told });
  const headers = rateHeaders(rate, verdict);
  if (verdict.why === "replayed") {
    throw new Problem(401, "auth.replayed", "This nonce was used before.", {
      hint: "Sign anew, with a fresh nonce.",
    });
  }
  if (verdict.why === "changed") {
    throw unavailable("auth.changed", "The key is being changed at this moment.");
  }
  if (!verdict.admitted) throw limited("The key", rate, verdict, headers);
  return headers;
}

/** Throws `rate.limited` for an address that calls too often, before anything is looked up. */
export async function admitAddress(group: string, perMinute: number, admission: Admission): Promise<void> {
  const verdict = await admission.admitAddress(group, perMinute);
  if (!verdict.admitted) throw limited("This address", perMinute, verdict, rateHeaders(perMinute, verdict));
}

function isRead(method: string): boolean {
  return method === "GET" || method === "HEAD";
}

function limited(who: string, rate: number, verdict: Verdict, headers: Record<string, string>): Problem {
  return new Problem(429, "rate.limited", `${who} may make ${rate} requests a minute.`, {
    hint: "Wait for Retry-After, and sign anew.",
    headers: { ...headers, "Retry-After": String(Math.max(1, verdict.resetSeconds)) },
  });
}

function rateHeaders(rate: number, verdict: Verdict): Record<string, string> {
  return {
    "RateLimit-Limit": String(rate),
    "RateLimit-Remaining": String(Math.max(0, verdict.remaining)),
    "RateLimit-Reset": String(Math.max(0, secondsToAll(rate, verdict))),
  };
}

/** A refused one is told when the next may pass. By then one is back, and the others take the rest of the minute. */
function secondsToAll(rate: number, { admitted, resetSeconds }: Verdict): number {
  return admitted ? resetSeconds : Math.min(60, resetSeconds + Math.ceil(60 - 60 / rate));
}

export function principalOf(record: KeyRecord): Principal {
  return {
    apiKeyId: record.api_key_id,
    tenantId: record.tenant_id,
    permissions: record.permissions,
    fingerprint: record.fingerprint,
  };
}
