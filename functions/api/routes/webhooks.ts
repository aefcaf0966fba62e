// Inbound webhooks: an event is stored, once, and worked later; the answer does not wait for that.

import { define, type Operation } from "../operation.ts";
import { json } from "../responses.ts";
import { WebhookAnswer, WebhookBody } from "../schemas/orders.ts";
import { command } from "../writes.ts";

type Kind = "product" | "inventory" | "order";

const TIMESTAMP = "2026-11-27T09:30:00Z";

const EXAMPLES: Record<Kind, { id: string; type: string; timestamp: string; data: Record<string, unknown> }> =
  {
    product: {
      id: "evt_2026_0001",
      type: "product.updated",
      timestamp: TIMESTAMP,
      data: { sku: "MUG-BLUE", name: "Blue mug, large" },
    },
    inventory: {
      id: "evt_2026_0002",
      type: "inventory.updated",
      timestamp: TIMESTAMP,
      data: { sku: "MUG-BLUE", location: "MAIN", on_hand: 12 },
    },
    order: {
      id: "evt_2026_0003",
      type: "order.paid",
      timestamp: TIMESTAMP,
      data: { number: "A-000001", amount: 39.8 },
    },
  };

/** What `type` and `data` may be, and what becomes of it. */
const TAKES: Record<Kind, string> = {
  product: `
    product.created  .updated  .deleted
    names   id (a UUID; of a new product: yours), or the sku of one that is there
    tells   sku name description status price currency attributes
            category_id parent_id publish_at

A first event on a product that is there has nothing to compare with: a field that differs counts if its \`timestamp\` is later than the last change here, and a price waits for a person. From the second on, what changed since the first is changed here. \`queued\` is the last that is told here: what became of it is in \`sync_changes\`.`,
  inventory: `
    inventory.updated  inventory.adjusted  stock.updated
    names   level_id, or sku or product_id with location (code) or location_id
    tells   on_hand safety reorder_point backorder_limit

\`on_hand\` is all that is there. Ours moves by the difference to the sender's last word, so the first sets nothing and is answered \`duplicate\`. The level is there once stock was moved, by \`adjust\` for example.`,
  order: `
    order.paid  .fulfilled  .shipped  .cancelled  .refunded  .returned
    names   order_id or number
    tells   what order_event takes, such as amount

A worker does it, the events of an order one after the other: sent again, the event is answered \`done\` or \`rejected\`.`,
};

const FIRST: Record<Kind, "queued" | "duplicate"> = {
  product: "queued",
  inventory: "duplicate",
  order: "queued",
};

const NEEDS: Record<Kind, string[]> = {
  product: ["sync.push", "products.write"],
  inventory: ["sync.push", "inventory.write"],
  order: ["orders.write"],
};

function webhookOf(kind: Kind): Operation {
  return define({
    method: "post",
    path: `/webhook/${kind}`,
    access: "key",
    needs: NEEDS[kind],
    id: `receive${kind[0]!.toUpperCase()}${kind.slice(1)}Event`,
    tag: "Inbound webhooks",
    summary: `Takes an event about ${kind === "inventory" ? "stock" : `${kind}s`}`,
    description: [
      "Stored once by the event's `id`: sent again it is not done again. It is worked after the answer.",
      "What is not there yet is waited for, for ten minutes; sent again after that, the event is tried again. A type that is not known is kept in part, and reported.",
      TAKES[kind],
      "`version`, a number that grows over there, may stand in `data`; without it `timestamp` orders the events. A field that is not in the list is `rejected`; only people can read why, in `inbound_webhooks`.",
    ].join("\n\n"),
    asks: { body: WebhookBody },
    examples: { body: EXAMPLES[kind] },
    answers: {
      202: {
        description: "It is stored; `status` says what became of it",
        schema: WebhookAnswer,
        example: { id: EXAMPLES[kind].id, status: FIRST[kind], repeated: false },
      },
    },
    refuses: { 400: ["webhook.event_invalid"], 409: ["webhook.id_reused"] },
    answer({ exact }, call) {
      const receiving = command(call, "receive_webhook", { p_kind: kind, p_event: exact });
      return receiving.then((answer) => json(answer, 202));
    },
  });
}

export const webhooks: Operation[] = [webhookOf("product"), webhookOf("inventory"), webhookOf("order")];
