// What the adapter, or the way to it, says no with.

export interface Failure {
  in?: "path" | "query" | "header" | "body";
  field?: string | null;
  code: string;
  detail: string;
  [more: string]: unknown;
}

export interface Told {
  status?: number;
  detail?: string;
  hint?: string;
  failures?: Failure[];
  requestId?: string;
  /** Seconds. */
  retryAfter?: number;
  /** Unix seconds, with `auth.clock_skew`. */
  serverTime?: number;
}

/**
 * `code` is stable; docs/errors.md lists them. `unreachable` (no whole answer after all tries: a write may have taken
 * effect) and `unreadable` (too large, or no JSON) are this client's own.
 */
export class PmsError extends Error {
  readonly code: string;
  readonly status: number | undefined;
  readonly detail: string;
  readonly hint: string | undefined;
  readonly failures: Failure[];
  readonly requestId: string | undefined;
  readonly retryAfter: number | undefined;
  readonly serverTime: number | undefined;

  constructor(code: string, told: Told = {}, cause?: unknown) {
    super(
      [code, told.detail && `- ${told.detail}`, told.hint && `(${told.hint})`].filter(Boolean).join(" "),
      { cause },
    );
    this.name = "PmsError";
    this.code = code;
    this.status = told.status;
    this.detail = told.detail ?? "";
    this.hint = told.hint;
    this.failures = told.failures ?? [];
    this.requestId = told.requestId;
    this.retryAfter = told.retryAfter;
    this.serverTime = told.serverTime;
  }

  /** Whether the same request may succeed later. */
  get transient(): boolean {
    const { code, status = 0 } = this;
    // a proxy that sends a request twice has used up its nonce: the first may have taken effect
    return code === "unreachable" || code === "auth.replayed" || status >= 500 ||
      [408, 425, 429].includes(status);
  }

  /** Whether a write that ended so was surely not done, however often it was tried. */
  get withoutEffect(): boolean {
    const { status = 0 } = this;
    return status >= 400 && status < 500 && ![401, 408, 425, 429].includes(status);
  }
}

/** The error that an answer of 300 and above stands for; a body of any form will do. */
export function errorFrom(response: Response, body: string, now: number): PmsError {
  const told = fields(body);
  const text = (name: string) => typeof told[name] === "string" ? told[name] as string : undefined;
  const { status } = response;
  const fallback = status < 400 ? "unreadable" : `http.${status}`;
  return new PmsError(text("code") || fallback, {
    status,
    detail: text("detail"),
    hint: text("hint"),
    failures: Array.isArray(told.failures) ? told.failures : undefined,
    requestId: text("request_id"),
    retryAfter: secondsOf(response.headers.get("Retry-After"), now),
    serverTime: Number.isFinite(told.server_time) ? told.server_time as number : undefined,
  });
}

function fields(body: string): Record<string, unknown> {
  try {
    const told: unknown = JSON.parse(body);
    return typeof told === "object" && told !== null ? told as Record<string, unknown> : {};
  } catch {
    return {};
  }
}

/** Retry-After: seconds or a date. `now` in milliseconds. */
function secondsOf(text: string | null, now: number): number | undefined {
  if (text === null) return undefined;
  if (/^\d{1,9}$/.test(text.trim())) return Number(text);
  const moment = Date.parse(text);
  return Number.isNaN(moment) ? undefined : Math.max(0, (moment - now) / 1000);
}
