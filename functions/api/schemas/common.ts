// Schemas that more than one resource uses. What they say in `openapi` is what the document shows.

import { z } from "@hono/zod-openapi";

export const Id = z.guid("is no UUID such as 3f6b2c1e-9a57-4a0e-8f3d-2b7c5d1e6a90").transform((id) =>
  id.toLowerCase()
).openapi({ type: "string", format: "uuid" });

/** As Id, or null. */
export const IdOrNull = Id.nullable().openapi({ type: ["string", "null"], format: "uuid" });

export const IdInPath = z.object({ id: Id });

/** JSON's text may hold what Postgres' cannot: NUL, and halves of surrogate pairs. */
export const text = (least: number, most: number) =>
  z.string().min(least).max(most)
    .refine((value) => value.isWellFormed() && !value.includes("\0"), "holds characters that are none");

const MOMENT = "is no time with its zone, such as 2026-11-27T09:30:00Z or 2026-11-27T10:30:00+01:00";

export const Moment = z.iso.datetime({ offset: true, error: MOMENT }).max(40)
  .openapi({ type: "string", format: "date-time", example: "2026-11-27T09:30:00Z" });

/** In a query, where a bare "+" is a space. */
export const Since = Moment.optional().openapi({
  description: "From this moment on, itself included: with `Z`, or an offset whose + is sent as `%2B`.",
});

export const MomentOrNull = Moment.nullable()
  .openapi({ type: ["string", "null"], format: "date-time", example: "2026-11-27T09:30:00Z" });

/** As PostgREST writes it. */
export const Stamp = z.string().openapi({ format: "date-time", example: "2026-11-27T09:30:00.123456+00:00" });

export const Count = z.number().int();

export const Money = z.number().openapi({
  description:
    "An exact decimal, with up to 4 places, written as a JSON number with all its digits: read it with a decimal parser where rounding matters.",
  example: 19.9,
});

export const ProblemBody = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  code: z.string().openapi({ description: "Stable; for programs.", example: "product.not_found" }),
  detail: z.string().openapi({ description: "For people; may change." }),
  hint: z.string().optional(),
  sqlstate: z.string().optional().openapi({ description: "The database's, where it refused." }),
  failures: z.array(z.looseObject({
    in: z.enum(["path", "query", "header", "body"]).optional(),
    field: z.string().nullish(),
    code: z.string().optional(),
    detail: z.string().nullish(),
  })).optional().openapi({ description: "Everything that is wrong, at once." }),
  server_time: z.number().int().optional().openapi({
    description: "Of auth.clock_skew: the time here, in unix seconds.",
  }),
  request_id: z.string(),
}).openapi("Problem", { description: "What went wrong, as RFC 9457 has it." });
