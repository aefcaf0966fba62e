// Orders, with their lines.

import { Filters } from "../filters.ts";
import { isRow } from "../json.ts";
import { picked } from "../lists.ts";
import { define } from "../operation.ts";
import { Problem } from "../problems.ts";
import { type Loaded, readDirectly } from "../reads.ts";
import { IdInPath } from "../schemas/common.ts";
import { ORDER, ORDER_ID } from "../schemas/examples.ts";
import { ReadHeaders } from "../schemas/headers.ts";
import { LINE_FIELDS, Order, ORDER_FIELDS } from "../schemas/orders.ts";
import { etagOf } from "../writes.ts";

export const getOrder = define({
  method: "get",
  path: "/orders/{id}",
  access: "key",
  needs: ["orders.read"],
  id: "getOrder",
  tag: "Orders",
  summary: "Gets an order with its lines",
  description:
    "By its id, which webhooks tell: keys neither list orders nor find one by its number. People's applications place them.",
  asks: { path: IdInPath, headers: ReadHeaders },
  examples: { path: { id: ORDER_ID } },
  answers: {
    200: { description: "The order", schema: Order, example: ORDER, headers: { ETag: '"1"' } },
    304: { description: "It is still of the version that If-None-Match names" },
  },
  refuses: { 404: ["order.not_found"] },
  answer({ path }, call) {
    const missing = new Problem(404, "order.not_found", `There is no order ${path.id} in this tenant.`);
    return readDirectly(call, missing, async (token): Promise<Loaded> => {
      const filters = new Filters(`${ORDER_FIELDS},legal_events,order_lines(${LINE_FIELDS})`)
        .where("tenant_id", "eq", call.principal.tenantId).where("id", "eq", path.id)
        .set("order_lines.order", "position.asc").limit(1);
      const [row] = await call.services.origin.rows(token, "orders", filters.query);
      if (row === undefined) return { status: 404, headers: {}, body: "", empty: true };
      const lines = Array.isArray(row["order_lines"]) ? row["order_lines"].filter(isRow) : [];
      const order = {
        ...picked(row, [...ORDER_FIELDS, "legal_events"]),
        lines: lines.map((line) => picked(line, LINE_FIELDS)),
      };
      return { status: 200, headers: { ETag: etagOf(row) }, body: JSON.stringify(order), empty: false };
    });
  },
});
