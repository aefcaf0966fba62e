// Reading products: pages of them, and one.

import { Filters } from "../filters.ts";
import type { Row } from "../json.ts";
import { canonical, type Order, picked, readPage } from "../lists.ts";
import { type Call, define } from "../operation.ts";
import { Problem } from "../problems.ts";
import { type Loaded, readCached } from "../reads.ts";
import { IdInPath } from "../schemas/common.ts";
import { PRODUCT, PRODUCT_ID } from "../schemas/examples.ts";
import {
  OneProductQuery,
  PRODUCT_FIELDS,
  ProductPage,
  ProductQuery,
  ProductView,
} from "../schemas/products.ts";
import { etagOf } from "../writes.ts";
import { ReadHeaders } from "../schemas/headers.ts";

type Field = (typeof PRODUCT_FIELDS)[number];

export const listProducts = define({
  method: "get",
  path: "/products",
  access: "key",
  needs: ["products.read"],
  id: "listProducts",
  tag: "Products",
  summary: "Lists products, page by page",
  description:
    "Deleted products are not listed. A page may be up to 60 s old, unless X-Min-Seq asks for more.",
  asks: { query: ProductQuery, headers: ReadHeaders },
  examples: { query: { limit: "2", sort: "-price", sku: "MUG-BLUE" } },
  answers: { 200: { description: "A page", schema: ProductPage, example: { data: [PRODUCT], next: null } } },
  refuses: { 400: ["cursor.invalid"] },
  answer({ query }, call) {
    const shown = query.fields ?? PRODUCT_FIELDS;
    const order = orderOf(query.sort);
    const read = { tags: ["products" as const], query: canonical("/products", query) };
    return readCached(call, read, (token) => {
      const filters = living(call, [...new Set([...shown, ...order.columns])]);
      for (const name of ["status", "sku", "currency", "category_id"] as const) {
        if (query[name] !== undefined) filters.where(name, "eq", query[name]);
      }
      if (query.parent_id === "null") filters.whereNull("parent_id");
      else if (query.parent_id !== undefined) filters.where("parent_id", "eq", query.parent_id);
      if (query.price_min !== undefined) filters.where("price", "gte", query.price_min);
      if (query.price_max !== undefined) filters.where("price", "lte", query.price_max);
      if (query.created_since !== undefined) filters.where("created_at", "gte", query.created_since);
      if (query.updated_since !== undefined) filters.where("updated_at", "gte", query.updated_since);
      const shape = (row: Row) => picked(row, shown);
      return readPage(call, token, "products", filters, {
        order,
        limit: query.limit,
        after: query.after,
        shape,
      });
    });
  },
});

export const getProduct = define({
  method: "get",
  path: "/products/{id}",
  access: "key",
  needs: ["products.read"],
  id: "getProduct",
  tag: "Products",
  summary: "Gets one product",
  asks: { path: IdInPath, query: OneProductQuery, headers: ReadHeaders },
  examples: { path: { id: PRODUCT_ID } },
  answers: {
    200: { description: "The product", schema: ProductView, example: PRODUCT, headers: { ETag: '"1"' } },
    304: { description: "It is still of the version that If-None-Match names" },
  },
  refuses: { 404: ["product.not_found"] },
  answer({ path, query }, call) {
    const read = {
      tags: ["products" as const],
      query: canonical(`/products/${path.id}`, query),
      missing: new Problem(404, "product.not_found", `There is no product ${path.id} in this tenant.`),
    };
    return readCached(call, read, async (token): Promise<Loaded> => {
      const shown = query.fields ?? PRODUCT_FIELDS;
      const filters = living(call, [...new Set([...shown, "version" as const])]).where("id", "eq", path.id)
        .limit(1);
      const [row] = await call.services.origin.rows(token, "products", filters.query);
      if (row === undefined) return { status: 404, headers: {}, body: "", empty: true };
      return {
        status: 200,
        headers: { ETag: etagOf(row) },
        body: JSON.stringify(picked(row, shown)),
        empty: false,
      };
    });
  },
});

function living(call: Call, columns: string[]): Filters {
  return new Filters(columns.join(",")).where("tenant_id", "eq", call.principal.tenantId).whereNull(
    "deleted_at",
  );
}

function orderOf(sort: string): Order {
  const name = sort.replace("-", "");
  // a whole name could make the URL of the next page longer than gateways let through
  const column = name === "name" ? "name_head" : name;
  return { scope: "products", columns: [column, "id"], direction: sort.startsWith("-") ? "desc" : "asc" };
}
