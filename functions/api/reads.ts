// Reads: through the cache or past it, never older than the X-Min-Seq that the caller asks for.

import { z } from "@hono/zod-openapi";

import { notKnown } from "./auth/authenticate.ts";
import type { ReadRequest } from "./cache/cache.ts";
import { invalidHeader, Problem } from "./problems.ts";
import type { Call } from "./operation.ts";
import type { Reply } from "./responses.ts";
import { parseSeq, type Seq, seqText } from "./seq.ts";

export interface Loaded {
  /** 200, or 404 for a row that is not there; 401 is for `fill` to find. */
  status: 200 | 401 | 404;
  headers: Record<string, string>;
  body: string;
  /** No row was found: so it is, or so the policies have it for who may not read. */
  empty: boolean;
}

type Load = (token: string) => Promise<Loaded>;
type Tag = ReadRequest["tags"][number];

const Reach = z.object({ epoch: z.string(), seq: z.number().int() });

/** What the cache holds, or what `load` reads. `missing` is thrown when there is no such row. */
export async function readCached(
  call: Call,
  { tags, query, missing }: { tags: Tag[]; query: string; missing?: Problem },
  load: Load,
): Promise<Reply> {
  const { tenantId, fingerprint, apiKeyId } = call.principal;
  const request: ReadRequest = {
    tenant: tenantId,
    fingerprint,
    tags,
    query,
    minSeq: minSeqOf(call),
    apiKeyId,
    warming: call.warming,
  };
  const served = await call.services.cache.read(request, () => fill(call, load, request.minSeq));
  call.cache = served.from;
  call.services.gate.usage.noteCache(apiKeyId, served.from);
  const headers = { ...served.headers, "X-Cache": served.from, Age: String(Math.floor(served.ageSeconds)) };
  return settled(call, { status: served.status, headers, body: served.body, seq: served.seq, missing });
}

/** What `load` reads, at this moment. */
export async function readDirectly(call: Call, missing: Problem | undefined, load: Load): Promise<Reply> {
  const least = minSeqOf(call);
  const filled = await call.services.direct.run(() => fill(call, load, least));
  return settled(call, { ...filled, missing });
}

async function fill(call: Call, load: Load, least?: Seq): Promise<Loaded & { seq: Seq }> {
  // the place in the log is read first: what is read then is at least as new
  let seq = await logSeq(call, false);
  if (isAhead(least, seq)) seq = await logSeq(call, true);
  const { tokens } = call.services;
  const loaded = await load(await tokens.tokenOf(call.principal.apiKeyId));
  if (loaded.empty && !await isStill(call)) return { ...loaded, seq, status: 401 };
  return { ...loaded, seq };
}

/**
 * Whether the key may still do what it might when the request came in. A key that was revoked meanwhile reads nothing, and
 * its nothing must not be kept for, or handed to, others of the same permissions.
 */
async function isStill({ principal, services }: Call): Promise<boolean> {
  const record = await services.gate.keys.look(principal.apiKeyId);
  return record?.fingerprint === principal.fingerprint;
}

function settled(
  call: Call,
  read: { status: number; headers: Record<string, string>; body: string; seq: Seq; missing?: Problem },
): Reply {
  // not in fill: others wait for that, who asked for less
  if (isAhead(minSeqOf(call), read.seq)) {
    throw new Problem(409, "seq.ahead", "X-Min-Seq lies ahead of the log of changes.");
  }
  if (read.status === 401) throw notKnown();
  if (read.status === 404) {
    throw read.missing ?? new Problem(404, "route.not_found", "There is no such thing.");
  }
  const headers = { ...read.headers, "X-Seq": seqText(read.seq) };
  if (isKnown(call.headers.get("If-None-Match"), read.headers["ETag"])) return { status: 304, headers };
  return { status: read.status, headers, body: read.body };
}

/** Of another epoch nothing is known, and what is read now is the newest there is. */
function isAhead(least: Seq | undefined, seq: Seq): boolean {
  return least !== undefined && least.epoch === seq.epoch && least.seq > seq.seq;
}

function isKnown(ifNoneMatch: string | null, etag: string | undefined): boolean {
  if (ifNoneMatch === null || etag === undefined) return false;
  const named = ifNoneMatch.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return named.includes(etag) || named.includes("*");
}

function minSeqOf(call: Call): Seq | undefined {
  const text = call.headers.get("X-Min-Seq");
  if (text === null) return undefined;
  const seq = parseSeq(text);
  if (seq === undefined) throw invalidHeader("X-Min-Seq", "is no X-Seq that an answer carried");
  return seq;
}

/** How far the tenant's log got; `wait` first puts into it whatever was committed before. */
export async function logSeq(call: Call, wait: boolean): Promise<Seq> {
  const args = { p_tenant_id: call.principal.tenantId, p_wait: wait };
  return Reach.parse(await call.services.origin.service("log_seq", args, wait ? 12_000 : undefined));
}
