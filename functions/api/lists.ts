// Lists: a page of rows in an order, and the cursor of the next page.

import { z } from "@hono/zod-openapi";

import type { Direction, Filters } from "./filters.ts";
import { type Row, textOf } from "./json.ts";
import type { Call } from "./operation.ts";
import { oddAnswer } from "./origin.ts";
import type { Loaded } from "./reads.ts";

export const MOST_ROWS = 200;

export const Limit = z.string().regex(/^[1-9][0-9]{0,2}$/, "is no whole number from 1 to 200").transform(
  Number,
)
  .pipe(z.number().max(MOST_ROWS)).default(50)
  .openapi({ type: "integer", minimum: 1, maximum: MOST_ROWS, default: 50, description: "Rows of a page." });

export const After = z.string().regex(/^[A-Za-z0-9_-]{1,4000}$/, "is no `next` of a page").optional()
  .openapi({ description: "`next` of the page before, as it was." });

/** `sku,name`: some of `names`, each once. */
export function fieldsOf<const N extends string>(names: readonly N[]) {
  const known = new Set<string>(names);
  return z.string().max(1000).transform((text) => text.split(","))
    .refine((list) => list.every((name) => known.has(name)), `is a comma list of ${names.join(", ")}`)
    .refine((list) => new Set(list).size === list.length, "names a field twice")
    .transform((list) => list as N[])
    .optional()
    .openapi({
      type: "string",
      pattern: `^(${names.join("|")})(,(${names.join("|")}))*$`,
      description: `The fields to answer, of ${names.join(", ")}; all of them without it.`,
      example: names.slice(0, 2).join(","),
    });
}

export interface Order {
  /** What a cursor is good for, besides its tenant: the list and its order. */
  scope: string;
  columns: [string, string];
  direction: Direction;
}

export interface Page {
  order: Order;
  limit: number;
  after: string | undefined;
  /** A row as callers see it. */
  shape: (row: Row) => Row;
}

/** `{"data": […], "next": cursor | null}`. One row more than asked for tells whether there is a next page. */
export async function readPage(
  call: Call,
  token: string,
  table: string,
  filters: Filters,
  page: Page,
): Promise<Loaded> {
  const { cursors, origin } = call.services;
  const { columns, direction } = page.order;
  const scope = `${call.principal.tenantId} ${page.order.scope} ${columns[0]} ${direction}`;
  if (page.after !== undefined) filters.after(columns, direction, await cursors.read(scope, page.after));
  filters.order(columns, direction).limit(page.limit + 1);
  const rows = await origin.rows(token, table, filters.query);
  const data = rows.slice(0, page.limit);
  const last = data.at(-1);
  const next = rows.length > data.length && last !== undefined
    ? await cursors.write(scope, [placeIn(last, columns[0]), placeIn(last, columns[1])])
    : null;
  const body = JSON.stringify({ data: data.map(page.shape), next });
  return { status: 200, headers: {}, body, empty: data.length === 0 };
}

function placeIn(row: Row, column: string): string {
  const text = textOf(row[column]);
  if (text === undefined) throw oddAnswer();
  return text;
}

/** Some fields of a row, in their order. */
export function picked(row: Row, names: readonly string[]): Row {
  return Object.fromEntries(names.map((name) => [name, row[name] ?? null]));
}

/** A query in one form, whatever order and escapes it came in: the cache's key. */
export function canonical(path: string, query: Record<string, unknown>): string {
  const parameters = new URLSearchParams();
  for (const name of Object.keys(query).sort()) {
    if (query[name] !== undefined) parameters.set(name, String(query[name]));
  }
  const text = parameters.toString();
  return text === "" ? `/pms${path}` : `/pms${path}?${text}`;
}
