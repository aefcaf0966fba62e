// Stock: what places have of products, and the ledger of its movements.

import { z } from "@hono/zod-openapi";

import { After, Limit } from "../lists.ts";
import { Count, Id, Moment, Since, Stamp, text } from "./common.ts";

export const StockStatus = z.object({
  product_id: z.string(),
  sku: z.string(),
  name: z.string(),
  location_id: z.string(),
  location: z.string().openapi({ description: "The location's code." }),
  on_hand: Count,
  reserved: Count,
  available: Count.openapi({ description: "What a new reservation may take." }),
  safety: Count,
  reorder_point: Count.nullable(),
  backorder_limit: Count,
  shortfall: Count,
  low: z.boolean().openapi({
    description: "At or below the reorder point, and not yet well above it again.",
  }),
  low_since: Stamp.nullable(),
  out_since: Stamp.nullable(),
  version: Count,
  updated_at: Stamp,
}).openapi("StockStatus");

export const StockPage = z.object({ data: z.array(StockStatus), next: z.string().nullable() }).openapi(
  "StockPage",
);

/** By id or by code. */
const Location = z.string().regex(
  /^[A-Za-z0-9][A-Za-z0-9_.-]{0,49}$/,
  "is no code of a location: 1 to 50 of A-Z a-z 0-9 _ . -, the first a letter or digit",
).optional()
  .openapi({
    description: "The code of a location, up to 50 letters, digits and `_ . -`.",
    example: "MAIN",
  });

export const StockQuery = z.strictObject({
  limit: Limit,
  after: After,
  product_id: Id.optional(),
  sku: text(1, 100).optional(),
  location: Location,
  location_id: Id.optional(),
  low: z.enum(["true", "false"]).optional().openapi({
    description: "Only what is low, or only what is not.",
  }),
});

export const KINDS = [
  "receive",
  "adjust",
  "transfer",
  "count",
  "return",
  "reserve",
  "release",
  "expire",
  "ship",
  "repair",
] as const;

export const Movement = z.object({
  id: Count,
  product_id: z.string(),
  sku: z.string(),
  location_id: z.string(),
  location: z.string(),
  kind: z.enum(KINDS),
  quantity: Count.openapi({ description: "What was added to on_hand, or taken from it." }),
  reserved_quantity: Count,
  on_hand_after: Count,
  reserved_after: Count,
  level_version: Count,
  reason: z.string().nullable(),
  order_id: z.string().nullable(),
  actor: z.string().nullable(),
  created_at: Stamp,
}).openapi("Movement");

export const MovementPage = z.object({ data: z.array(Movement), next: z.string().nullable() })
  .openapi("MovementPage");

export const MovementQuery = z.strictObject({
  limit: Limit,
  after: After,
  product_id: Id.optional(),
  sku: text(1, 100).optional(),
  location: Location,
  location_id: Id.optional(),
  kind: z.enum(KINDS).optional(),
  since: Since,
  until: Moment.optional().openapi({
    description: "Up to this moment, itself excluded: with `Z`, or an offset whose + is sent as `%2B`.",
  }),
});

export const AdjustBody = z.strictObject({
  lines: z.array(z.strictObject({
    product_id: Id,
    location_id: Id.openapi({ description: "People make locations; `inventory/status` tells their ids." }),
    quantity: z.int().min(-1_000_000_000_000).max(1_000_000_000_000)
      .refine(
        (quantity) => quantity !== 0,
        "is 0, which changes nothing: send what is added, or below 0 what is taken",
      )
      .openapi({ not: { const: 0 }, description: "What is to be added, or with a minus taken away." }),
  })).min(1).max(1000),
  reason: text(1, 500).optional(),
  allow_shortfall: z.boolean().optional()
    .openapi({ description: "Take away even what is promised: the goods are gone all the same." }),
}).openapi("AdjustBody");

export const AdjustAnswer = z.object({
  levels: z.array(z.object({
    product_id: z.string(),
    location_id: z.string(),
    on_hand: Count,
    reserved: Count,
    version: Count,
  })),
}).openapi("AdjustAnswer");
