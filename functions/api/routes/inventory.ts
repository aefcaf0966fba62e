// Stock: what there is, what happened to it, and corrections.

import { Filters, type Operator } from "../filters.ts";
import { isRow, type Row } from "../json.ts";
import { canonical, picked, readPage } from "../lists.ts";
import { define } from "../operation.ts";
import { readCached, readDirectly } from "../reads.ts";
import { ADJUSTMENT, LOCATION_ID, MOVEMENT, PRODUCT_ID, STOCK } from "../schemas/examples.ts";
import { ReadHeaders, WriteHeaders } from "../schemas/headers.ts";
import {
  AdjustAnswer,
  AdjustBody,
  MovementPage,
  MovementQuery,
  StockPage,
  StockQuery,
} from "../schemas/inventory.ts";
import { command, written } from "../writes.ts";

const LEVEL = ["on_hand", "reserved", "available", "safety", "reorder_point", "backorder_limit", "shortfall"];
const STATUS_COLUMNS = `product_id,location_id,${LEVEL},low_since,out_since,version,updated_at,` +
  "products!inner(sku,name),locations!inner(code)";

export const stockStatus = define({
  method: "get",
  path: "/inventory/status",
  access: "key",
  needs: ["inventory.read", "products.read"],
  id: "stockStatus",
  tag: "Inventory",
  summary: "What places have of products",
  description: "Per product and location. A page may be up to 60 s old, unless X-Min-Seq asks for more.",
  asks: { query: StockQuery, headers: ReadHeaders },
  examples: { query: { sku: "MUG-BLUE" } },
  answers: { 200: { description: "A page", schema: StockPage, example: { data: [STOCK], next: null } } },
  refuses: { 400: ["cursor.invalid"] },
  answer({ query }, call) {
    // names of products and codes of locations are shown, so changes of products count too
    const read = {
      tags: ["stock" as const, "products" as const],
      query: canonical("/inventory/status", query),
    };
    return readCached(call, read, (token) => {
      const filters = new Filters(STATUS_COLUMNS).where("tenant_id", "eq", call.principal.tenantId)
        .whereNull("products.deleted_at");
      placed(filters, query, "");
      if (query.low !== undefined) filters.whereNull("low_since", query.low === "false");
      const order = {
        scope: "stock",
        columns: ["product_id", "location_id"] as [string, string],
        direction: "asc" as const,
      };
      return readPage(call, token, "stock_levels", filters, {
        ...query,
        order,
        after: query.after,
        shape: statusOf,
      });
    });
  },
});

const MOVEMENT_COLUMNS = [
  "kind",
  "quantity",
  "reserved_quantity",
  "on_hand_after",
  "reserved_after",
  "level_version",
  "reason",
  "order_id",
  "actor",
  "created_at",
];

export const stockHistory = define({
  method: "get",
  path: "/inventory/history",
  access: "key",
  needs: ["inventory.read", "products.read"],
  id: "stockHistory",
  tag: "Inventory",
  summary: "The ledger of stock, newest first",
  asks: { query: MovementQuery, headers: ReadHeaders },
  examples: { query: { product_id: PRODUCT_ID, kind: "receive" } },
  answers: {
    200: { description: "A page", schema: MovementPage, example: { data: [MOVEMENT], next: null } },
  },
  refuses: { 400: ["cursor.invalid"] },
  answer({ query }, call) {
    return readDirectly(call, undefined, (token) => {
      const columns =
        `id,${MOVEMENT_COLUMNS},stock_levels!inner(product_id,location_id,products!inner(sku),locations!inner(code))`;
      const filters = new Filters(columns).where("tenant_id", "eq", call.principal.tenantId);
      placed(filters, query, "stock_levels.");
      if (query.kind !== undefined) filters.where("kind", "eq", query.kind);
      for (const [name, operator] of [["since", "gte"], ["until", "lt"]] as ["since" | "until", Operator][]) {
        if (query[name] !== undefined) filters.where("created_at", operator, query[name]);
      }
      const order = {
        scope: "movements",
        columns: ["created_at", "id"] as [string, string],
        direction: "desc" as const,
      };
      return readPage(call, token, "stock_movements", filters, {
        ...query,
        order,
        after: query.after,
        shape: movementOf,
      });
    });
  },
});

export const adjustStock = define({
  method: "post",
  path: "/inventory/adjust",
  access: "key",
  needs: ["inventory.write"],
  id: "adjustStock",
  tag: "Inventory",
  summary: "Corrects stock by signed quantities, all lines or none",
  description: "A repeated correction corrects twice: send an Idempotency-Key.",
  asks: { headers: WriteHeaders, body: AdjustBody },
  examples: { body: ADJUSTMENT },
  answers: {
    200: {
      description: "The levels after it",
      schema: AdjustAnswer,
      example: {
        levels: [{ product_id: PRODUCT_ID, location_id: LOCATION_ID, on_hand: 11, reserved: 2, version: 4 }],
      },
    },
  },
  refuses: { 404: ["stock.not_found"], 409: ["stock.insufficient"] },
  answer({ headers, body, exact }, call) {
    const args = {
      p_lines: (exact as { lines: unknown }).lines,
      p_key: headers["idempotency-key"] ?? null,
      p_reason: body.reason ?? null,
      p_allow_shortfall: body.allow_shortfall ?? false,
    };
    return written(call, command(call, "adjust_stock", args));
  },
});

interface Placed {
  product_id?: string;
  location_id?: string;
  sku?: string;
  location?: string;
}

function placed(filters: Filters, query: Placed, prefix: string): void {
  if (query.product_id !== undefined) filters.where(`${prefix}product_id`, "eq", query.product_id);
  if (query.location_id !== undefined) filters.where(`${prefix}location_id`, "eq", query.location_id);
  if (query.sku !== undefined) filters.where(`${prefix}products.sku`, "eq", query.sku);
  if (query.location !== undefined) filters.where(`${prefix}locations.code`, "eq", query.location);
}

function statusOf(row: Row): Row {
  const product = embedded(row, "products");
  const location = embedded(row, "locations");
  return {
    product_id: row["product_id"],
    sku: product["sku"],
    name: product["name"],
    location_id: row["location_id"],
    location: location["code"],
    ...picked(row, LEVEL),
    low: row["low_since"] !== null,
    ...picked(row, ["low_since", "out_since", "version", "updated_at"]),
  };
}

function movementOf(row: Row): Row {
  const level = embedded(row, "stock_levels");
  return {
    id: row["id"],
    product_id: level["product_id"],
    sku: embedded(level, "products")["sku"],
    location_id: level["location_id"],
    location: embedded(level, "locations")["code"],
    ...picked(row, MOVEMENT_COLUMNS),
  };
}

function embedded(row: Row, name: string): Row {
  const value = row[name];
  return isRow(value) ? value : {};
}
