// Writes: as the principal, once per Idempotency-Key, answered with the X-Seq from which on reads show them.

import { isRow, type Row, textOf } from "./json.ts";
import { told } from "./log.ts";
import type { Call } from "./operation.ts";
import { oddAnswer } from "./origin.ts";
import { Problem } from "./problems.ts";
import { logThrough } from "./reads.ts";
import { json, type Reply } from "./responses.ts";
import { seqText } from "./seq.ts";

// Neither these two nor the routes that call them are async with a body in hand: a frame that waits keeps all it has, and a
// body as it was read takes several times the memory of the text that is sent.

/** Calls a command of the database as the principal. */
export function command(call: Call, name: string, args: Row, patience?: number): Promise<Row> {
  return send(call, name, JSON.stringify({ p_tenant_id: call.principal.tenantId, ...args }), patience);
}

/** As `command`, for the version that If-Match names; another one is 412. */
export function changing(call: Call, ifMatch: string | undefined, name: string, args: Row): Promise<Row> {
  const version = ifMatch === undefined || ifMatch === "*" ? null : Number(ifMatch.slice(1, -1));
  return command(call, name, { ...args, p_expected_version: version }).catch((error) => {
    if (version !== null && error instanceof Problem && error.code === "version.stale") {
      throw new Problem(412, error.code, error.detail, error.more);
    }
    throw error;
  });
}

async function send(call: Call, name: string, args: string, patience?: number): Promise<Row> {
  const { tokens, origin, writes } = call.services;
  const { apiKeyId, tenantId } = call.principal;
  const token = await tokens.tokenOf(apiKeyId);
  const answer = await writes.run(() => origin.command(token, name, args, patience), { tenant: tenantId });
  if (!isRow(answer)) throw oddAnswer();
  return answer;
}

/** What the command answers, with the X-Seq from which on reads show it. */
export async function written(call: Call, writing: Promise<Row>): Promise<Reply> {
  const answer = await writing;
  return json(answer, 200, await seqHeader(call));
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
