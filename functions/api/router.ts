// The table of contents: every route of the API, each also below /pms/v1.

import { TrieRouter } from "hono/router/trie-router";

import type { Operation } from "./operation.ts";
import { getOrder } from "./routes/orders.ts";
import { health } from "./routes/health.ts";
import { adjustStock, stockHistory, stockStatus } from "./routes/inventory.ts";
import { openApi } from "./routes/openapi.ts";
import { getProduct, listProducts } from "./routes/products.ts";
import {
  bulkProducts,
  createProduct,
  deleteProduct,
  publishProduct,
  replaceProduct,
} from "./routes/product_writes.ts";
import { warmRoute } from "./routes/warm.ts";
import { webhooks } from "./routes/webhooks.ts";

/** What the document tells of. */
const described: Operation[] = [
  listProducts, //     GET    /products
  createProduct, //    POST   /products
  bulkProducts, //     POST   /products/bulk
  getProduct, //       GET    /products/{id}
  replaceProduct, //   PUT    /products/{id}
  deleteProduct, //    DELETE /products/{id}
  publishProduct, //   POST   /products/{id}/publish
  stockStatus, //      GET    /inventory/status
  stockHistory, //     GET    /inventory/history
  adjustStock, //      POST   /inventory/adjust
  getOrder, //         GET    /orders/{id}
  ...webhooks, //      POST   /webhook/product | inventory | order
  health, //           GET    /health
];

const operations: Operation[] = [
  ...described,
  openApi(described), // GET  /openapi.json
  warmRoute((target) => findQuery(target)), // POST /cache/warm, for the worker
];

export interface Found {
  /** By method, in capitals; HEAD is answered as GET. */
  operations: Record<string, Operation>;
  path: Record<string, string>;
}

const table = new TrieRouter<Operation>();
for (const operation of operations) {
  table.add("ALL", operation.path.replace(/\{(\w+)\}/g, ":$1"), operation);
}

/** What is at a path, whatever the method; undefined when there is nothing. */
export function find(path: string): Found | undefined {
  const [matches] = table.match("ALL", path);
  const all = matches as [Operation, Record<string, string>][];
  // /products/bulk is also a product's path by its form: what stands there literally is meant
  const literal = all.filter(([operation]) => operation.path === path);
  const meant = literal.length > 0 ? literal : all;
  if (meant.length === 0) return undefined;
  // without a prototype: "constructor" is a method that a request may name
  const found: Found = { operations: Object.create(null), path: { ...meant[0]![1] } };
  for (const [operation] of meant) found.operations[operation.method.toUpperCase()] = operation;
  return found;
}

/** The methods that a path takes, HEAD included. */
export function methodsOf(found: Found): string[] {
  const methods = Object.keys(found.operations);
  return methods.includes("GET") ? ["GET", "HEAD", ...methods.filter((method) => method !== "GET")] : methods;
}

function findQuery(target: string) {
  const [, path, query] = /^\/pms(\/[^?]*)(.*)$/s.exec(target) ?? [];
  const found = path === undefined ? undefined : find(path);
  const operation = found?.operations["GET"];
  return found === undefined || operation === undefined
    ? undefined
    : { operation, sent: { path: found.path, query: query ?? "" } };
}
