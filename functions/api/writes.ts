// Writes: as the principal, once per Idempotency-Key, answered with the X-Seq from which on reads show them.

import { isRow, type Row, textOf } from "./json.ts";
import { told } from "./log.ts";
import type { Call } from "./operation.ts";
import { oddAnswer } from "./origin.ts";
import { invalidHeader, Problem } from "./problems.ts";
import { logThrough } from "./reads.ts";
import { seqText } from "./seq.ts";

/** Calls a command of the database as the principal. */
export async function command(call: Call, name: string, args: Row, patience?: number): Promise<Row> {
  const { tokens, origin } = call.services;
  const token = await tokens.tokenOf(call.principal.apiKeyId);
  const all = { p_tenant_id: call.principal.tenantId, ...args };
  const answer = await call.services.writes.run(() => origin.command(token, name, all, patience));
  if (!isRow(answer)) throw oddAnswer();
  return answer;
}

/** As `command`, for the version that If-Match names; another one is 412. */
export async function changing(
  call: Call,
  ifMatch: string | undefined,
  name: string,
  args: Row,
): Promise<Row> {
  // read over, `*` of a caller who wants to create alone would replace what there is
  if (call.headers.has("If-None-Match")) {
    throw invalidHeader("If-None-Match", "is for reads; a change takes If-Match");
  }
  const version = ifMatch === undefined || ifMatch === "*" ? null : Number(ifMatch.slice(1, -1));
  try {
    return await command(call, name, { ...args, p_expected_version: version });
  } catch (error) {
    if (version !== null && error instanceof Problem && error.code === "version.stale") {
      throw new Problem(412, error.code, error.detail, error.more);
    }
    throw error;
  }
}

/** X-Seq after a write; absent when the log cannot be asked, or is far behind, because the write stands all the same. */
export async function seqHeader(call: Call): Promise<Record<string, string>> {
  try {
    const reach = await logThrough(call);
    if (reach.through) return { "X-Seq": seqText(reach) };
    call.services.log("seq.behind", { request_id: call.id });
    return {};
  } catch (error) {
    call.services.log("seq.unknown", { request_id: call.id, error: told(error) });
    return {};
  }
}

export function etagOf(row: Row): string {
  const version = textOf(row["version"]);
  if (version === undefined) throw oddAnswer();
  return `"${version}"`;
}
