// The one place that owns status, CORS, security headers and the error body (RFC 9457).

import { Problem } from "./problems.ts";

/** An answer before it becomes a Response; `body` is JSON text. */
export interface Reply {
  status: number;
  headers: Record<string, string>;
  body?: string;
}

export const TITLES: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  412: "Precondition Failed",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

const SECURITY: Record<string, string> = {
  "Cache-Control": "private, no-store",
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
};

export const ALLOWED_HEADERS = [
  "cache-control",
  "content-type",
  "idempotency-key",
  "if-match",
  "if-none-match",
  "x-api-key",
  "x-min-seq",
  "x-request-id",
  "x-request-nonce",
  "x-request-signature",
  "x-request-timestamp",
];

const EXPOSED_HEADERS =
  "API-Version, Age, Allow, Date, Deprecation, ETag, Link, Location, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, " +
  "Retry-After, Sunset, X-Cache, X-Request-Id, X-Seq";

export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Reply {
  return { status, headers, body: JSON.stringify(body) };
}

/** The problem as application/problem+json. */
export function problemReply(problem: Problem, requestId: string): Reply {
  const { hint, failures, sqlstate, headers = {}, body = {} } = problem.more;
  const told = {
    type: "about:blank",
    title: TITLES[problem.status] ?? "Error",
    status: problem.status,
    code: problem.code,
    detail: problem.detail,
    ...(hint ? { hint } : {}),
    ...(sqlstate ? { sqlstate } : {}),
    ...(failures ? { failures } : {}),
    ...body,
    request_id: requestId,
  };
  const reply = json(told, problem.status, { "Content-Type": "application/problem+json", ...headers });
  if (problem.status === 401) reply.headers["WWW-Authenticate"] = 'PMS-HMAC-SHA256 realm="pms"';
  return reply;
}

/** What each and every answer carries is added here. HEAD is answered as GET, without the body. */
export function respond(reply: Reply, method: string, common: Record<string, string>): Response {
  const bare = reply.status === 204 || reply.status === 304;
  const headers = new Headers({ ...SECURITY, ...common });
  if (reply.body !== undefined && !bare) {
    headers.set("Content-Type", "application/json");
    if (method === "HEAD") {
      headers.set("Content-Length", String(new TextEncoder().encode(reply.body).byteLength));
    }
  }
  for (const [name, value] of Object.entries(reply.headers)) headers.set(name, value);
  return new Response(bare || method === "HEAD" ? null : reply.body ?? null, {
    status: reply.status,
    headers,
  });
}

/** For an answer to a page of `origin`: readable there if the origin is on the list. */
export function corsHeaders(origin: string | null, allowed: string[]): Record<string, string> {
  if (origin === null || !allowed.includes(origin)) return { Vary: "Origin" };
  return {
    Vary: "Origin",
    "Access-Control-Allow-Origin": origin,
    "Access-Control-Expose-Headers": EXPOSED_HEADERS,
    "Cross-Origin-Resource-Policy": "cross-origin",
  };
}

/** Answers OPTIONS: what the path takes, and to a preflight of an allowed origin what a page may send. */
export function optionsReply(headers: Headers, methods: string[], origins: string[]): Reply {
  const allow = [...methods, "OPTIONS"].join(", ");
  const origin = headers.get("Origin");
  if (origin === null || headers.get("Access-Control-Request-Method") === null || !origins.includes(origin)) {
    return { status: 204, headers: { Allow: allow } };
  }
  return {
    status: 204,
    headers: {
      Allow: allow,
      Vary: "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
      "Access-Control-Allow-Methods": methods.join(", "),
      "Access-Control-Allow-Headers": ALLOWED_HEADERS.join(", "),
      "Access-Control-Max-Age": "600",
    },
  };
}
