// The edge adapter, deployed as the function `api`: its paths read /functions/v1/api/pms/…, and each one also answers
// under /pms/v1/. Nothing here reads the environment, the clock or the network but through `Dependencies`.

import { checkHealth } from "./health.ts";
import { problem, withCors } from "./responses.ts";

export interface Dependencies {
  fetch: typeof fetch;
  now: () => number;
  supabaseUrl: string;
  serviceKey: string;
}

type Route = (request: Request, deps: Dependencies) => Response | Promise<Response>;

const routes: Record<string, Record<string, Route>> = {
  "/health": { GET: (_request, deps) => checkHealth(deps) },
};

export function makeHandler(deps: Dependencies): (request: Request) => Promise<Response> {
  return async (request) => {
    if (request.method === "OPTIONS") return withCors(new Response(null, { status: 204 }));
    return withCors(await answer(request, deps));
  };
}

/** Throws with the variable's name: a function without its platform must fail at its first request, not later. */
export function dependenciesFrom(env: { get(name: string): string | undefined }): Dependencies {
  const required = (name: string): string => {
    const value = env.get(name);
    if (!value) throw new Error(`${name} is not set`);
    return value;
  };
  return {
    fetch: globalThis.fetch,
    now: Date.now,
    supabaseUrl: required("SUPABASE_URL"),
    serviceKey: required("SUPABASE_SERVICE_ROLE_KEY"),
  };
}

async function answer(request: Request, deps: Dependencies): Promise<Response> {
  const path = new URL(request.url).pathname;
  const methods = routes[routeOf(path)];
  if (methods === undefined) {
    return problem(404, "route.not_found", `There is nothing at ${path}.`);
  }
  const route = methods[request.method === "HEAD" ? "GET" : request.method];
  if (route === undefined) {
    const allow = Object.keys(methods).join(", ");
    return problem(405, "route.method", `${path} answers ${allow} only.`, { Allow: allow });
  }
  try {
    return await route(request, deps);
  } catch (error) {
    console.error("request.failed", request.method, path, error);
    return problem(500, "internal", "The request failed; it is safe to try again.");
  }
}

/** `/api/pms/v1/health` and `/api/pms/health` → `/health`; a path elsewhere stays as it is and matches nothing. */
function routeOf(path: string): string {
  const match = /^(?:\/api)?\/pms(?:\/v1)?(\/.+?)\/?$/.exec(path);
  return match?.[1] ?? path;
}
