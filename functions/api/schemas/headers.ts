// Headers that routes read. Others are nobody's business here, so these schemas are open.

import { z } from "@hono/zod-openapi";

export const ReadHeaders = z.object({
  "x-min-seq": z.string().regex(
    /^[A-Za-z0-9_-]{1,64}:(0|[1-9][0-9]{0,15})$/,
    "is no X-Seq of an answer: send one back whole, with the part before its colon",
  ).optional().openapi({
    description: "The X-Seq of an answer, as it was: this one will be at least as new.",
  }),
  "cache-control": z.string().max(200).optional().openapi({
    description: "`no-cache`: past the cache, to the database. After a write that answered without X-Seq.",
  }),
  "if-none-match": z.string().max(1000).optional().openapi({
    description: "ETags in their quotes; where one is still right, the answer is 304.",
  }),
});

/** 1-200 visible characters; no comma, because a header that came twice is joined by one. */
const IdempotencyKey = z.string().regex(
  /^[\x21-\x2b\x2d-\x7e]{1,200}$/,
  "has 1 to 200 visible ASCII characters, no blank and no comma, and is sent once",
).optional().openapi({
  description:
    "1 to 200 visible characters, no comma. The same key and request again give the stored answer, for 24 hours; another request with it, of any operation, is refused. Without it a repeated write is done again.",
});

const IfMatch = z.string().regex(
  /^("(0|[1-9][0-9]{0,14})"|\*)$/,
  'is one version in quotes, as ETag has it, such as "3"; or *',
).optional().openapi({
  description:
    'The ETag of the row as you know it, in its quotes, `"3"`: if it changed since, the answer is 412 version.stale. `*`: any.',
});

export const WriteHeaders = z.object({ "idempotency-key": IdempotencyKey });
export const ChangeHeaders = z.object({ "idempotency-key": IdempotencyKey, "if-match": IfMatch });
