// Writing products: one at a time, or a thousand.

import { isRow, type Row, textOf } from "../json.ts";
import { picked } from "../lists.ts";
import { type Call, define } from "../operation.ts";
import { PATIENCE } from "../origin.ts";
import { type Failure, invalid } from "../problems.ts";
import { json, type Reply } from "../responses.ts";
import { IdInPath } from "../schemas/common.ts";
import { BULK, NEW_PRODUCT, PRODUCT, PRODUCT_ID } from "../schemas/examples.ts";
import { ChangeHeaders, WriteHeaders } from "../schemas/headers.ts";
import { BulkAnswer, BulkBody, Product, PRODUCT_FIELDS, ProductBody } from "../schemas/products.ts";
import { changing, command, etagOf, seqHeader, written } from "../writes.ts";

const REFUSALS = {
  409: ["product.sku_living", "product.deleted"],
  412: ["version.stale"],
  422: ["product.invalid"],
};

export const createProduct = define({
  method: "post",
  path: "/products",
  access: "key",
  needs: ["products.write"],
  id: "createProduct",
  tag: "Products",
  summary: "Creates a product",
  asks: { headers: WriteHeaders, body: ProductBody },
  examples: { body: NEW_PRODUCT },
  answers: {
    201: {
      description: "The product; Location is where it is read",
      schema: Product,
      example: { ...PRODUCT, ...NEW_PRODUCT, price: 19.9 },
      headers: { ETag: '"1"', Location: `/functions/v1/api/pms/v1/products/${PRODUCT_ID}` },
    },
  },
  refuses: { ...REFUSALS, 404: ["product.parent_missing"], 412: [] },
  answer({ headers, exact }, call) {
    checkPrices(exact);
    const args = { p_product: exact, p_key: headers["idempotency-key"] ?? null };
    return created(call, command(call, "create_product", args));
  },
});

export const replaceProduct = define({
  method: "put",
  path: "/products/{id}",
  access: "key",
  needs: ["products.write"],
  id: "replaceProduct",
  tag: "Products",
  summary: "Replaces a product",
  description:
    "What the body leaves out becomes as it is in a new product: a draft, of price 0. Send all of it, or change some fields by bulk, of one row if need be. Send If-Match, or the last writer wins.",
  asks: { path: IdInPath, headers: ChangeHeaders, body: ProductBody },
  examples: { path: { id: PRODUCT_ID }, body: { ...NEW_PRODUCT, sku: "MUG-BLUE", name: "Blue mug, large" } },
  answers: {
    200: {
      description: "The product",
      schema: Product,
      example: {
        ...PRODUCT,
        ...NEW_PRODUCT,
        sku: "MUG-BLUE",
        name: "Blue mug, large",
        price: 19.9,
        version: 2,
      },
      headers: { ETag: '"2"' },
    },
  },
  refuses: { ...REFUSALS, 404: ["product.not_found", "product.parent_missing"] },
  answer({ path, headers, exact }, call) {
    checkPrices(exact);
    const args = { p_product_id: path.id, p_product: exact, p_key: headers["idempotency-key"] ?? null };
    return productReply(call, changing(call, headers["if-match"], "replace_product", args));
  },
});

export const deleteProduct = define({
  method: "delete",
  path: "/products/{id}",
  access: "key",
  needs: ["products.delete"],
  id: "deleteProduct",
  tag: "Products",
  summary: "Deletes a product",
  description: "Refused while something holds it, such as stock; `failures` lists what.",
  asks: { path: IdInPath, headers: ChangeHeaders },
  examples: { path: { id: PRODUCT_ID } },
  answers: { 204: { description: "It is deleted" } },
  refuses: { 404: ["product.not_found"], 409: ["product.held"], 412: ["version.stale"] },
  async answer({ path, headers }, call) {
    const args = { p_product_id: path.id, p_key: headers["idempotency-key"] ?? null };
    await changing(call, headers["if-match"], "delete_product", args);
    return { status: 204, headers: await seqHeader(call) };
  },
});

export const publishProduct = define({
  method: "post",
  path: "/products/{id}/publish",
  access: "key",
  needs: ["products.write"],
  id: "publishProduct",
  tag: "Products",
  summary: "Publishes a product",
  description: "Refused with every rule that it breaks. An active product stays as it is.",
  asks: { path: IdInPath, headers: ChangeHeaders },
  examples: { path: { id: PRODUCT_ID } },
  answers: {
    200: {
      description: "The product, active",
      schema: Product,
      example: { ...PRODUCT, status: "active", version: 2 },
      headers: { ETag: '"2"' },
    },
  },
  refuses: {
    ...REFUSALS,
    404: ["product.not_found"],
    422: ["product.not_publishable"],
  },
  answer({ path, headers }, call) {
    const args = { p_product_id: path.id, p_key: headers["idempotency-key"] ?? null };
    return productReply(call, changing(call, headers["if-match"], "publish_product", args));
  },
});

export const bulkProducts = define({
  method: "post",
  path: "/products/bulk",
  access: "key",
  needs: ["products.write"],
  id: "bulkProducts",
  tag: "Products",
  summary: "Creates and changes up to 1,000 products",
  description:
    "A field that a row leaves out stays as it is. A row of a wrong form, with a field that does not exist for example, refuses the whole call with 400; `failures` counts rows from 0. Of what the database refuses, each row has an answer of its own, with `line` from 1, and good rows are kept, unless `all_or_nothing` is set. If-Match does not count here: a row has `version`.",
  bodyBytes: 5 * 1024 * 1024,
  asks: { headers: WriteHeaders, body: BulkBody },
  examples: { body: BULK },
  answers: {
    200: {
      description: "What became of each row",
      schema: BulkAnswer,
      example: {
        created: 1,
        updated: 1,
        unchanged: 0,
        refused: 0,
        rows: [
          { line: 1, sku: "MUG-BLUE", result: "updated", product_id: PRODUCT_ID, version: 2, error: null },
          {
            line: 2,
            sku: "MUG-GREEN",
            result: "created",
            product_id: "7b1e9c55-2f1e-4a4b-8d77-0189f7f27c3a",
            version: 1,
            error: null,
          },
        ],
      },
    },
  },
  refuses: { 422: ["product.rows_refused"] },
  answer({ headers, body, exact }, call) {
    const args = {
      p_rows: (exact as { rows: unknown }).rows,
      p_all_or_nothing: body.all_or_nothing ?? false,
      p_key: headers["idempotency-key"] ?? null,
    };
    return written(call, command(call, "upsert_products", args, PATIENCE.bulk));
  },
});

async function productReply(call: Call, writing: Promise<Row>): Promise<Reply> {
  const row = await writing;
  return json(picked(row, PRODUCT_FIELDS), 200, { ETag: etagOf(row), ...await seqHeader(call) });
}

async function created(call: Call, writing: Promise<Row>): Promise<Reply> {
  const { headers, ...reply } = await productReply(call, writing);
  const place = `${call.target.base}/products/${textOf((await writing)["id"])}`;
  return { ...reply, status: 201, headers: { ...headers, Location: place } };
}

/** A number of more than 4 decimals, which the column would round in silence, or in powers of ten. */
function checkPrices(exact: unknown): void {
  const price = isRow(exact) ? textOf(exact["price"]) : undefined;
  if (price === undefined || /^\d{1,14}(\.\d{1,4}0*)?$/.test(price)) return;
  const failure: Failure = {
    in: "body",
    field: "price",
    code: "price_scale",
    detail: "has more than 4 decimals",
  };
  throw invalid([failure]);
}
