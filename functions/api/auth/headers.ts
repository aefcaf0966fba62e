// The form of the headers that sign a request. A header that came twice reaches us joined by ", ", which no form here allows.

import {
  API_KEY_FORM,
  apiKeyId,
  NONCE_FORM,
  SIGNATURE_FORM,
  SKEW_SECONDS,
  TIMESTAMP_FORM,
} from "../../_shared/signature.ts";
import { Problem } from "../problems.ts";

export interface Credentials {
  apiKeyId: string;
  /** Unix seconds, as sent. */
  timestamp: string;
  nonce: string;
  signature: string;
}

const FORMS: [string, RegExp, string][] = [
  ["X-API-Key", API_KEY_FORM, "key_ and 32 hex digits"],
  ["X-Request-Timestamp", TIMESTAMP_FORM, "unix seconds"],
  ["X-Request-Nonce", NONCE_FORM, "16 to 64 of A-Z a-z 0-9 _ -"],
  ["X-Request-Signature", SIGNATURE_FORM, "v1= and 64 hex digits in lower case"],
];

const HOW_TO_SIGN =
  "How to sign stands in docs/api/README.md, and under X-API-Key in GET /functions/v1/api/pms/v1/openapi.json.";

/** Throws `auth.header_missing` or `auth.header_invalid`, each with every header that it is about. */
export function readCredentials(headers: Headers): Credentials {
  const missing = FORMS.filter(([name]) => !headers.get(name)).map(([name]) => name);
  if (missing.length > 0) {
    throw new Problem(400, "auth.header_missing", `The request lacks ${missing.join(", ")}.`, {
      hint: HOW_TO_SIGN,
    });
  }
  const odd = FORMS.filter(([name, form]) => !form.test(headers.get(name)!));
  if (odd.length > 0) {
    const detail = odd.map(([name, _form, rule]) => `${name} is not ${rule}`).join("; ");
    const isTwice = odd.some(([name]) => headers.get(name)!.includes(","));
    throw new Problem(
      400,
      "auth.header_invalid",
      `${detail}.${isTwice ? " Each header is sent once." : ""}`,
      {
        hint: HOW_TO_SIGN,
      },
    );
  }
  return {
    apiKeyId: apiKeyId(headers.get("X-API-Key")!)!,
    timestamp: headers.get("X-Request-Timestamp")!,
    nonce: headers.get("X-Request-Nonce")!,
    signature: headers.get("X-Request-Signature")!,
  };
}

/** Throws `auth.clock_skew`, with the time here, so that the caller can mend its clock and sign again. */
export function checkClock(timestamp: string, nowMs: number): void {
  const now = Math.floor(nowMs / 1000);
  const off = Number(timestamp) - now;
  if (Math.abs(off) <= SKEW_SECONDS) return;
  const which = off > 0 ? "ahead of" : "behind";
  throw new Problem(
    401,
    "auth.clock_skew",
    `X-Request-Timestamp is ${Math.abs(off)} s ${which} the time here.`,
    {
      hint: "Set your clock, or sign with an offset: server_time is the time here, in unix seconds.",
      body: { server_time: now },
    },
  );
}
