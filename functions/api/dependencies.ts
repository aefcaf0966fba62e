// The real outside of the function.

import { openRedis } from "../_shared/redis.ts";
import { logToConsole } from "./log.ts";
import type { Dependencies } from "./services.ts";

declare global {
  /** The hosted runtime's; elsewhere there is none, and a process lives on by itself. */
  var EdgeRuntime: { waitUntil(work: Promise<unknown>): void } | undefined;
}

export const dependencies: Dependencies = {
  environment: Deno.env,
  fetch: globalThis.fetch,
  now: Date.now,
  openRedis: (url) => openRedis(url),
  later(work, milliseconds) {
    waitUntil(new Promise<void>((resolve) => setTimeout(() => work().finally(resolve), milliseconds)));
  },
  waitUntil,
  log: logToConsole,
};

function waitUntil(work: Promise<unknown>): void {
  globalThis.EdgeRuntime?.waitUntil(work);
}
