// One signed call: tried again where that is harmless, and for a bounded time. A read may be repeated; a write may because
// it carries an Idempotency-Key, the same for all its tries. Each try has a nonce and a timestamp of its own.

import { errorFrom, PmsError } from "./errors.ts";
import { makeNonce, sign } from "./signature.ts";

/** Milliseconds, unless said otherwise. */
export interface Rules {
  oneTry: number;
  tries: number;
  firstPause: number;
  longestPause: number;
  /** Who is told to wait longer hears of it at once, instead. */
  longestRetryAfter: number;
  answerBytes: number;
}

export const RULES: Rules = {
  // longer than the adapter waits for the database with 1,000 rows
  oneTry: 75_000,
  tries: 5,
  firstPause: 250,
  longestPause: 15_000,
  longestRetryAfter: 90_000,
  answerBytes: 16 * 1024 * 1024,
};

/** Milliseconds that a clock may be off and still be corrected. */
const MOST_AHEAD = 24 * 3600_000;

export interface Options {
  /** What stands before /pms/: `https://<project>.supabase.co/functions/v1/api`. */
  baseUrl: string;
  key: string;
  secret: string;
  rules?: Partial<Rules>;
  fetch?: typeof fetch;
  now?: () => number;
  sleep?: (milliseconds: number) => Promise<void>;
}

export interface Sent {
  method: string;
  /** From behind the version on, with its query. */
  path: string;
  body?: unknown;
  headers?: Record<string, string>;
  idempotencyKey?: string;
}

export interface Answer {
  status: number;
  headers: Headers;
  /** Its JSON; undefined where there is no body (304). */
  data: unknown;
}

export type Call = (sent: Sent) => Promise<Answer>;

/** Throws TypeError for a key, a secret or an address of another form. */
export function makeCall(options: Options): Call {
  const { key, secret, fetch = globalThis.fetch, now = Date.now, sleep = slept } = options;
  const base = baseOf(options.baseUrl);
  if (!/^key_[0-9a-f]{32}$/.test(key)) throw new TypeError("an API key is key_ and 32 hex digits");
  if (!/^pms_sk_[\w-]{43}$/.test(secret)) throw new TypeError("the secret is pms_sk_ and 43 characters");
  const rules = { ...RULES, ...options.rules };
  let ahead = 0;

  async function tryOnce(
    sent: Sent,
    body: Uint8Array,
    headers: Record<string, string>,
    ahead: number,
  ): Promise<Answer> {
    // as fetch will send it: what is signed has to be that, to the letter
    const url = new URL(`${base}/pms/v1${sent.path}`);
    const target = (url.pathname + url.search).slice(new URL(base).pathname.replace(/\/$/, "").length);
    const timestamp = String(Math.floor((now() + ahead) / 1000));
    const nonce = makeNonce();
    const signature = await sign(secret, { timestamp, nonce, method: sent.method, target, body });
    const auth = {
      "X-API-Key": key,
      "X-Request-Timestamp": timestamp,
      "X-Request-Nonce": nonce,
      "X-Request-Signature": signature,
    };
    const limit = AbortSignal.timeout(rules.oneTry);
    let response: Response;
    let text: string;
    try {
      response = await fetch(url, {
        method: sent.method,
        headers: { ...headers, ...auth },
        body: body.byteLength > 0 ? body as BodyInit : undefined,
        redirect: "manual", // a signature is for one address
        signal: limit,
      });
      text = await readText(response, rules.answerBytes, limit);
    } catch (error) {
      if (error instanceof PmsError) throw error;
      throw new PmsError("unreachable", { detail: String(error) }, error);
    }
    // a redirect that a browser does not show has status 0
    if (response.status === 304) return { status: 304, headers: response.headers, data: undefined };
    if (!response.ok) throw errorFrom(response, text, now() + ahead);
    return { status: response.status, headers: response.headers, data: parsed(text, response) };
  }

  async function withRightClock(
    sent: Sent,
    body: Uint8Array,
    headers: Record<string, string>,
  ): Promise<Answer> {
    let moment: number;
    try {
      return await tryOnce(sent, body, headers, ahead);
    } catch (error) {
      if (!(error instanceof PmsError) || error.code !== "auth.clock_skew") throw error;
      moment = (error.serverTime ?? NaN) * 1000 - now();
      // no clock that was ever set is so far off: whoever says so may want signatures for another day
      if (!(Math.abs(moment) <= MOST_AHEAD)) throw error;
    }
    try {
      const answer = await tryOnce(sent, body, headers, moment);
      ahead = moment;
      return answer;
    } catch (error) {
      if (error instanceof PmsError && error.status !== undefined && error.status !== 401) ahead = moment;
      throw error;
    }
  }

  return async (sent) => {
    const headers: Record<string, string> = { Accept: "application/json", ...sent.headers };
    const body = sent.body === undefined
      ? new Uint8Array()
      : new TextEncoder().encode(JSON.stringify(sent.body));
    if (sent.body !== undefined) headers["Content-Type"] = "application/json";
    if (sent.method !== "GET") headers["Idempotency-Key"] = sent.idempotencyKey ?? crypto.randomUUID();
    for (let attempt = 1;; attempt++) {
      try {
        return await withRightClock(sent, body, headers);
      } catch (error) {
        const told = error instanceof PmsError ? (error.retryAfter ?? 0) * 1000 : Infinity;
        const isWorthATry = error instanceof PmsError && error.transient && told <= rules.longestRetryAfter;
        if (!isWorthATry || attempt >= rules.tries) throw error;
        const most = Math.min(rules.firstPause * 2 ** (attempt - 1), rules.longestPause);
        await sleep(told + most * Math.random()); // never sooner than told, and not all at once
      }
    }
  };
}

function baseOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "") {
    throw new TypeError(
      "baseUrl is what stands before /pms/: https://<project>.supabase.co/functions/v1/api",
    );
  }
  return url.href.replace(/\/$/, "");
}

/** The whole body, unless it is larger than allowed; `limit` ends the wait for it too. */
async function readText(response: Response, most: number, limit: AbortSignal): Promise<string> {
  if (response.body === null) return "";
  const reader = response.body.getReader();
  const stop = () => void reader.cancel(limit.reason).catch(() => {});
  limit.addEventListener("abort", stop, { once: true });
  const decoder = new TextDecoder();
  let text = "", size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      limit.throwIfAborted();
      if (done) return text + decoder.decode();
      size += value.byteLength;
      if (size > most) {
        stop();
        throw unreadable(response, `the answer has more than ${most} bytes`);
      }
      text += decoder.decode(value, { stream: true });
    }
  } finally {
    limit.removeEventListener("abort", stop);
  }
}

function parsed(text: string, response: Response): unknown {
  if (text === "") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    throw unreadable(response, "the answer is no JSON");
  }
}

function unreadable(response: Response, detail: string): PmsError {
  const requestId = response.headers.get("X-Request-Id") ?? undefined;
  // not 5xx, whatever it was: asking again would bring the same
  return new PmsError("unreadable", { detail, requestId });
}

function slept(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
