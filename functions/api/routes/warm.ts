// Warming: after an invalidation the worker has the most used queries of a tenant read again, each as the key that used it.

import { timingSafeEqual } from "node:crypto";

import { z } from "@hono/zod-openapi";

import { principalOf } from "../auth/authenticate.ts";
import type { ReadRequest } from "../cache/cache.ts";
import { told } from "../log.ts";
import { type Call, define, type Operation } from "../operation.ts";
import { Problem } from "../problems.ts";
import { json } from "../responses.ts";
import { Id } from "../schemas/common.ts";

const MOST = 10;
const AT_ONCE = 2;

/** Throws unless the request carries the service key, compared in constant time. */
export function requireService(headers: Headers, serviceKey: string): void {
  const encoder = new TextEncoder();
  const sent = encoder.encode(headers.get("Authorization") ?? "");
  const right = encoder.encode(`Bearer ${serviceKey}`);
  const same = sent.length === right.length ? sent : right.map((byte) => byte ^ 1);
  if (!timingSafeEqual(same, right)) {
    throw new Problem(401, "auth.invalid", "This needs the project's service key.");
  }
}

/** `find` gives the operation that answers a GET of this path?query, and what it is asked. */
export function warmRoute(
  find: (pathAndQuery: string) => { operation: Operation; sent: SentQuery } | undefined,
) {
  const refill = async (request: ReadRequest, call: Call): Promise<boolean> => {
    const record = await call.services.gate.keys.find(request.apiKeyId);
    const found = find(request.query);
    if (found === undefined || record === undefined || record.tenant_id !== request.tenant) return false;
    const { operation, sent } = found;
    if (!operation.needs?.every((permission) => record.permissions.includes(permission))) return false;
    const headers = new Headers();
    const asking: Call = { ...call, method: "GET", headers, principal: principalOf(record), warming: true };
    await operation.run({ ...sent, headers, body: new Uint8Array() }, asking);
    return true;
  };

  return define({
    method: "post",
    path: "/cache/warm",
    access: "service",
    id: "warmCache",
    tag: "Service",
    summary: "Reads the most used queries of a tenant again",
    asks: { body: z.strictObject({ tenant_id: Id }) },
    answers: { 200: { description: "How many were read" } },
    async answer({ body }, call) {
      const requests = await call.services.cache.used(body.tenant_id, MOST);
      let warmed = 0;
      const waiting = [...requests];
      const work = async () => {
        for (let request = waiting.shift(); request !== undefined; request = waiting.shift()) {
          try {
            if (await refill(request, call)) warmed++;
          } catch (error) {
            call.services.log("cache.not_warmed", { request_id: call.id, error: told(error) });
          }
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      return json({ warmed, queries: requests.length });
    },
  });
}

export interface SentQuery {
  path: Record<string, string>;
  query: string;
}
