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
      data: { sku: "MUG-BLUE", location: "MAIN", on_hand: 14 },
    },
    order: {
      id: "evt_2026_0003",
      type: "order.paid",
      timestamp: TIMESTAMP,
      data: { number: "A-000001", amount: 39.8 },
    },
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
    description:
      "Stored once by the event's id, in which it is idempotent, and worked by sync. A type that is not known is kept and reported.",
    asks: { body: WebhookBody },
    examples: { body: EXAMPLES[kind] },
    answers: {
      202: {
        description: "It is stored",
        schema: WebhookAnswer,
        example: { id: EXAMPLES[kind].id, status: "queued", repeated: false },
      },
    },
    refuses: { 400: ["webhook.event_invalid"], 409: ["webhook.id_reused"] },
    async answer({ exact }, call) {
      return json(await command(call, "receive_webhook", { p_kind: kind, p_event: exact }), 202);
    },
  });
}

export const webhooks: Operation[] = [webhookOf("product"), webhookOf("inventory"), webhookOf("order")];
