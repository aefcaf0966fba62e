// Orders and inbound webhooks.

import { z } from "@hono/zod-openapi";

import { Count, Moment, Money, Stamp } from "./common.ts";

export const ORDER_FIELDS = [
  "id",
  "number",
  "status",
  "review_reason",
  "currency",
  "net_total",
  "tax_total",
  "total",
  "paid_total",
  "refunded_total",
  "quantity",
  "fulfilled",
  "cancelled",
  "returned",
  "customer",
  "placed_at",
  "paid_at",
  "version",
  "created_at",
  "updated_at",
] as const;

export const LINE_FIELDS = [
  "id",
  "position",
  "product_id",
  "sku",
  "name",
  "unit_price",
  "quantity",
  "tax_rate",
  "net_total",
  "tax_total",
  "total",
  "fulfilled",
  "cancelled",
  "returned",
] as const;

const Line = z.object({
  id: z.string(),
  position: Count,
  product_id: z.string(),
  sku: z.string(),
  name: z.string(),
  unit_price: Money,
  quantity: Count,
  tax_rate: z.number(),
  net_total: Money,
  tax_total: Money,
  total: Money,
  fulfilled: Count,
  cancelled: Count,
  returned: Count,
}).openapi("OrderLine");

export const Order = z.object({
  id: z.string(),
  number: z.string(),
  status: z.string(),
  review_reason: z.string().nullable(),
  currency: z.string(),
  net_total: Money,
  tax_total: Money,
  total: Money,
  paid_total: Money,
  refunded_total: Money,
  quantity: Count,
  fulfilled: Count,
  cancelled: Count,
  returned: Count,
  customer: z.looseObject({}),
  placed_at: Stamp,
  paid_at: Stamp.nullable(),
  version: Count,
  created_at: Stamp,
  updated_at: Stamp,
  legal_events: z.array(z.string()).openapi({ description: "What may happen to it next." }),
  lines: z.array(Line),
}).openapi("Order");

export const WebhookBody = z.strictObject({
  id: z.string().regex(/^[\x21-\x7e]{1,200}$/, "has 1 to 200 visible ASCII characters, no blanks")
    .openapi({
      description:
        "The event's id, 1 to 200 visible characters: an event is stored once, however often it is sent.",
    }),
  type: z.string().regex(/^[A-Za-z0-9_.:/-]{1,100}$/, "has 1 to 100 of A-Z a-z 0-9 _ . : / -")
    .openapi({
      description:
        "Up to 100 letters, digits and `_ . : / -`. Types that are not known are kept and reported.",
    }),
  timestamp: Moment.openapi({
    description: "When it happened over there; at most 5 minutes ahead of the time here.",
  }),
  data: z.record(z.string(), z.unknown()).openapi({
    type: "object",
    additionalProperties: true,
    description: "Names what it is about, and tells of it; see the route. At most 128 KiB.",
  }),
}).openapi("WebhookBody");

export const WebhookAnswer = z.object({
  id: z.string(),
  status: z.enum(["queued", "done", "duplicate", "stale", "rejected", "unknown"]).openapi({
    description:
      "`queued`: taken, and worked afterwards. `done`: the order's event happened. `duplicate`: nothing to write. `stale`: older than what was said before. `rejected`: cannot be done. `unknown`: nobody knows the type.",
  }),
  repeated: z.boolean().openapi({ description: "The event had been received before." }),
}).openapi("WebhookAnswer");
