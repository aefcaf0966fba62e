import type { Dependencies } from "./handler.ts";
import { json } from "./responses.ts";

export const HEALTH_TIMEOUT_MS = 2_000;

interface Check {
  status: "ok" | "failed";
  milliseconds: number;
  detail?: string;
}

/** 200 if the database answers through PostgREST, else 503; says how long it took, and what failed. */
export async function checkHealth(deps: Dependencies): Promise<Response> {
  const database = await checkDatabase(deps);
  const body = { status: database.status, checks: { database } };
  return json(body, database.status === "ok" ? 200 : 503);
}

async function checkDatabase(deps: Dependencies): Promise<Check> {
  const started = deps.now();
  const since = () => deps.now() - started;
  try {
    const answer = await deps.fetch(`${deps.supabaseUrl}/rest/v1/tenants?select=id&limit=1`, {
      method: "HEAD",
      headers: { apikey: deps.serviceKey },
      signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS),
    });
    await answer.body?.cancel();
    if (answer.ok) return { status: "ok", milliseconds: since() };
    return { status: "failed", milliseconds: since(), detail: `PostgREST answered ${answer.status}` };
  } catch (error) {
    const timedOut = error instanceof DOMException && error.name === "TimeoutError";
    const detail = timedOut ? `no answer within ${HEALTH_TIMEOUT_MS} ms` : "PostgREST cannot be reached";
    return { status: "failed", milliseconds: since(), detail };
  }
}
