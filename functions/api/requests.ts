// What is decided about a request by its headers alone.

import { Problem } from "./problems.ts";

/** The caller's X-Request-Id where it is harmless in logs and headers, else a new one. */
export function requestIdOf(headers: Headers): string {
  const sent = headers.get("X-Request-Id") ?? "";
  return /^[A-Za-z0-9_.-]{1,64}$/.test(sent) ? sent : crypto.randomUUID();
}

const OVERRIDES = ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"];

/** The method is what was signed; a header that names another one is a mistake or an attack. */
export function refuseOverrides(headers: Headers): void {
  const sent = OVERRIDES.find((name) => headers.has(name));
  if (sent !== undefined) throw new Problem(400, "request.method_override", `${sent} is not taken here.`);
}
