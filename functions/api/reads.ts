// Reads: through the cache or past it, never older than the X-Min-Seq that the caller asks for.

import { z } from "@hono/zod-openapi";

import { notKnown } from "./auth/authenticate.ts";
import type { Filled, ReadRequest, Refusal } from "./cache/cache.ts";
import { invalidHeader, Problem, unavailable } from "./problems.ts";
import type { Call } from "./operation.ts";
import type { Reply } from "./responses.ts";
import { parseSeq, type Seq, seqText } from "./seq.ts";

export interface Loaded {
  /** 200, or 404 for a row that is not there. */
  status: 200 | 404;
  headers: Record<string, string>;
  body: string;
  /** No row was found: so it is, or so the policies have it for who may not read. */
  empty: boolean;
}

type Load = (token: string) => Promise<Loaded>;
type Tag = ReadRequest["tags"][number];

const Reach = z.object({
  epoch: z.string(),
  seq: z.number().int(),
  through: z.boolean(),
  until: z.number().int().nullable(),
});

/** How long to dispatch, slice by slice, for a caller who waits. */
const PATIENCE_MS = 5_000;
/** For one slice, with the wait for those who dispatch already. */
const SLICE_MS = 12_000;

/** Of a read that loaded nothing. */
const NOTHING = { status: 404, headers: {}, body: "" };

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
    past: isPast(call),
    keptOnly: call.principal.outage !== undefined,
    warming: call.warming,
  };
  const served = await call.services.cache.read(request, () => fill(call, load, request.minSeq));
  call.cache = served.from;
  call.services.gate.usage.noteCache(apiKeyId, served.from);
  const headers = { ...served.headers, "X-Cache": served.from, Age: String(Math.floor(served.ageSeconds)) };
  return settled(call, { ...served, headers }, missing);
}

/** What `load` reads, at this moment. */
export async function readDirectly(call: Call, missing: Problem | undefined, load: Load): Promise<Reply> {
  const least = minSeqOf(call);
  const { tenantId: tenant } = call.principal;
  const filled = await call.services.direct.run(() => fill(call, load, least), { tenant });
  return settled(call, { ...filled, headers: { ...filled.headers, "X-Cache": "bypass" } }, missing);
}

/** Its refusals are no errors: those would fail whoever joined, who asked for less, or with a key that nobody touched. */
async function fill(call: Call, load: Load, least?: Seq): Promise<Filled> {
  if (call.principal.outage !== undefined) throw call.principal.outage;
  // the place in the log is read first: what is read then is at least as new
  let seq = await logSeq(call);
  if (isAhead(least, seq)) {
    const reached = await logThrough(call, (reach) => !isAhead(least, reach));
    seq = reached;
    // before anything is loaded: a caller can name any number
    if (isAhead(least, seq)) return { ...NOTHING, seq, refusal: reached.through ? "ahead" : "busy" };
  }
  const { tokens } = call.services;
  const { empty, ...loaded } = await load(await tokens.tokenOf(call.principal.apiKeyId));
  return { ...loaded, seq, refusal: empty ? await endOfKey(call) : undefined };
}

/**
 * What became of the key while it read nothing; undefined if it may do what it might. The nothing of a key that was revoked
 * meanwhile must not be kept for, or handed to, others of the same permissions.
 */
async function endOfKey({ principal, services }: Call): Promise<Refusal | undefined> {
  const record = await services.gate.keys.look(principal.apiKeyId);
  if (record === undefined) return "keyGone";
  return record.fingerprint === principal.fingerprint ? undefined : "keyChanged";
}

function settled(call: Call, read: Filled, missing?: Problem): Reply {
  if (read.refusal !== undefined) throw refused(read.refusal);
  if (read.status === 404) throw missing ?? new Problem(404, "route.not_found", "There is no such thing.");
  const headers = { ...read.headers, "X-Seq": seqText(read.seq) };
  if (isKnown(call.headers.get("If-None-Match"), read.headers["ETag"])) return { status: 304, headers };
  return { status: read.status, headers, body: read.body };
}

function refused(refusal: Refusal): Problem {
  switch (refusal) {
    case "ahead":
      return new Problem(409, "seq.ahead", "X-Min-Seq lies ahead of the log of changes.");
    case "busy":
      return unavailable(
        "seq.busy",
        "Much is written at this moment, and the log is not at X-Min-Seq yet.",
      );
    case "keyGone":
      return notKnown();
    case "keyChanged":
      return unavailable("auth.changed", "What the key may do changed while it read.");
  }
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

/** Whether the caller wants to be led past the cache: after a write without X-Seq, say. */
function isPast(call: Call): boolean {
  return /(^|[\s,])no-(cache|store)\s*($|,)/i.test(call.headers.get("Cache-Control") ?? "");
}

/** How far the tenant's log got. */
async function logSeq(call: Call): Promise<Seq> {
  const args = { p_tenant_id: call.principal.tenantId, p_wait: false };
  return Reach.parse(await call.services.origin.service("log_seq", args));
}

/**
 * Puts into the log, slice by slice, whatever was committed before, and tells how far it got: `through` if that is all of
 * it. Ends sooner where `enough` says so, or after some seconds.
 */
export async function logThrough(
  call: Call,
  enough: (reach: Seq) => boolean = () => false,
): Promise<Seq & { through: boolean }> {
  const { origin, now } = call.services;
  const end = now() + PATIENCE_MS;
  let until: number | null = null;
  for (;;) {
    const args = { p_tenant_id: call.principal.tenantId, p_wait: true, p_until: until };
    const reach = Reach.parse(await origin.service("log_seq", args, SLICE_MS));
    if (reach.through || enough(reach) || now() >= end) return reach;
    until = reach.until;
  }
}
