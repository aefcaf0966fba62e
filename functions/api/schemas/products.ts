// Products: as they are answered, and as they are sent.

import { z } from "@hono/zod-openapi";

import { After, fieldsOf, Limit } from "../lists.ts";
import { Count, Id, IdOrNull, MomentOrNull, Money, Since, Stamp, text } from "./common.ts";
import { PRODUCT } from "./examples.ts";

export const PRODUCT_FIELDS = [
  "id",
  "sku",
  "name",
  "description",
  "status",
  "price",
  "currency",
  "attributes",
  "parent_id",
  "category_id",
  "publish_at",
  "publish_failures",
  "version",
  "created_at",
  "updated_at",
] as const;

const Status = z.enum(["draft", "active", "archived"]);
const Attributes = z.record(z.string(), z.unknown()).openapi({ type: "object", additionalProperties: true });

export const Product = z.object({
  id: z.string().openapi({ format: "uuid" }),
  sku: z.string(),
  name: z.string(),
  description: z.string(),
  status: Status,
  price: Money,
  currency: z.string(),
  attributes: Attributes,
  parent_id: z.string().nullable().openapi({
    format: "uuid",
    description: "The product that this is a variant of.",
  }),
  category_id: z.string().nullable().openapi({ format: "uuid" }),
  publish_at: Stamp.nullable().openapi({ description: "When this draft is to be published." }),
  publish_failures: z.array(z.looseObject({})).nullable()
    .openapi({ description: "Why it could not be published at publish_at." }),
  version: Count,
  created_at: Stamp,
  updated_at: Stamp,
}).openapi("Product", { example: PRODUCT });

export const ProductView = Product.partial().openapi("ProductView", {
  description: "A product, or the fields of it that `fields` names.",
  example: PRODUCT,
});

export const ProductPage = z.object({ data: z.array(ProductView), next: z.string().nullable() })
  .openapi("ProductPage");

const AMOUNT = "is no amount from 0 on with a point and up to 4 decimals, such as 1.50";
const Amount = z.string().regex(/^\d{1,14}(\.\d{1,4})?$/, AMOUNT);

/** A number, or its text: both are taken with all their digits. */
const Price = z.union([z.number().min(0, AMOUNT).lt(1e14, AMOUNT), Amount], AMOUNT)
  .openapi({
    type: ["number", "string"],
    minimum: 0,
    exclusiveMaximum: 1e14,
    pattern: "^\\d{1,14}(\\.\\d{1,4})?$",
    description: "Up to 4 decimals, and no more than the currency has; a number or its text.",
    example: 19.9,
  });

const Currency = z.string().regex(/^[A-Z]{3}$/, "is no code of three capital letters, such as USD").openapi({
  description: "ISO 4217, three capital letters.",
  example: "USD",
});

const AmountAsked = Amount.optional()
  .openapi({ description: "A price, as 19.90: a point, up to 4 decimals.", example: "19.90" });

export const ProductBody = z.strictObject({
  sku: text(1, 100),
  name: text(1, 500),
  description: text(0, 65536).optional(),
  status: Status.optional(),
  price: Price.optional(),
  currency: Currency.optional(),
  attributes: Attributes.optional(),
  parent_id: IdOrNull.optional(),
  parent_sku: text(1, 100).nullish(),
  category_id: IdOrNull.optional(),
  publish_at: MomentOrNull.optional(),
}).openapi("ProductBody", {
  description:
    "A product as it is to be. What is left out is as in a new product: a draft, price 0, the tenant's currency.",
});

export const ProductRow = z.strictObject({
  id: Id.optional(),
  sku: text(1, 100).optional(),
  name: text(0, 1000).optional(),
  description: text(0, 100_000).optional(),
  status: z.string().max(100).optional(),
  price: z.union([z.number(), z.string().max(40)], AMOUNT).optional().openapi({ type: ["number", "string"] }),
  currency: z.string().max(10).optional(),
  attributes: Attributes.optional(),
  parent_id: IdOrNull.optional(),
  parent_sku: text(1, 100).nullish(),
  category_id: IdOrNull.optional(),
  publish_at: MomentOrNull.optional(),
  version: z.int().min(0).optional(),
}).openapi("ProductRow", {
  description:
    "The fields that are to be set of the product with this id, or else this SKU; a new one if there is none.",
});

export const BulkBody = z.strictObject({
  rows: z.array(ProductRow).min(1).max(1000),
  all_or_nothing: z.boolean().optional().openapi({ description: "Write nothing if one row is refused." }),
}).openapi("BulkBody");

export const BulkAnswer = z.object({
  created: Count,
  updated: Count,
  unchanged: Count,
  refused: Count,
  rows: z.array(z.object({
    line: Count.openapi({ description: "From 1, in the order in which they were sent." }),
    sku: z.string().nullable(),
    result: z.enum(["created", "updated", "unchanged", "refused"]),
    product_id: z.string().nullable(),
    version: Count.nullable(),
    error: z.looseObject({ code: z.string(), detail: z.string() }).nullable(),
  })),
}).openapi("BulkAnswer");

export const SORTS = ["created_at", "updated_at", "name", "sku", "price"] as const;

export const ProductQuery = z.strictObject({
  limit: Limit,
  after: After,
  sort: z.enum([...SORTS, ...SORTS.map((name) => `-${name}` as const)]).default("created_at")
    .openapi({
      description:
        "What to order by; with a minus, downwards. Of names the first 80 characters count. A row whose value changes while you turn pages moves, and may come twice or not at all.",
    }),
  fields: fieldsOf(PRODUCT_FIELDS),
  status: Status.optional(),
  sku: text(1, 100).optional(),
  currency: Currency.optional(),
  category_id: Id.optional(),
  parent_id: z.union([z.literal("null"), Id], "is neither the UUID of a product nor null").optional()
    .openapi({
      type: "string",
      pattern: "^(null|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$",
      description: "The variants of a product, by its id; `null`: what is no variant.",
    }),
  price_min: AmountAsked,
  price_max: AmountAsked,
  created_since: Since,
  updated_since: Since,
});

export const OneProductQuery = z.strictObject({ fields: fieldsOf(PRODUCT_FIELDS) });
