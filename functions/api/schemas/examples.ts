// The small world of the examples: what is asked about these ids gives these answers. tests/edge seeds it.

export const PRODUCT_ID = "3f6c1f7e-6a54-4c1b-9d3a-0b6f5a1c2d3e";
export const LOCATION_ID = "8a1d2c3b-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
export const ORDER_ID = "c0ffee00-1234-4abc-8def-0123456789ab";

const MOMENT = "2026-11-27T09:30:00.123456+00:00";

export const PRODUCT = {
  id: PRODUCT_ID,
  sku: "MUG-BLUE",
  name: "Blue mug",
  description: "Holds 0.3 l.",
  status: "draft",
  price: 19.9,
  currency: "USD",
  attributes: { color: "blue" },
  parent_id: null,
  category_id: null,
  publish_at: null,
  publish_failures: null,
  version: 1,
  created_at: MOMENT,
  updated_at: MOMENT,
};

export const NEW_PRODUCT = {
  sku: "MUG-RED",
  name: "Red mug",
  description: "Holds 0.3 l.",
  price: "19.90",
  currency: "USD",
  attributes: { color: "red" },
};

export const BULK = {
  rows: [
    { sku: "MUG-BLUE", price: 21.5 },
    { sku: "MUG-GREEN", name: "Green mug", price: 18 },
  ],
};

export const STOCK = {
  product_id: PRODUCT_ID,
  sku: "MUG-BLUE",
  name: "Blue mug",
  location_id: LOCATION_ID,
  location: "MAIN",
  on_hand: 12,
  reserved: 2,
  available: 10,
  safety: 0,
  reorder_point: 5,
  backorder_limit: 0,
  shortfall: 0,
  low: false,
  low_since: null,
  out_since: null,
  version: 3,
  updated_at: MOMENT,
};

export const MOVEMENT = {
  id: 4711,
  product_id: PRODUCT_ID,
  sku: "MUG-BLUE",
  location_id: LOCATION_ID,
  location: "MAIN",
  kind: "receive",
  quantity: 12,
  reserved_quantity: 0,
  on_hand_after: 12,
  reserved_after: 0,
  level_version: 1,
  reason: "first delivery",
  order_id: null,
  actor: "0189f7f2-7c3a-4b1e-9c55-2f1e0a4b6d77",
  created_at: MOMENT,
};

export const ADJUSTMENT = {
  lines: [{ product_id: PRODUCT_ID, location_id: LOCATION_ID, quantity: -1 }],
  reason: "broken",
};

export const ORDER = {
  id: ORDER_ID,
  number: "A-000001",
  status: "placed",
  review_reason: null,
  currency: "USD",
  net_total: 39.8,
  tax_total: 0,
  total: 39.8,
  paid_total: 0,
  refunded_total: 0,
  quantity: 2,
  fulfilled: 0,
  cancelled: 0,
  returned: 0,
  customer: { name: "Ann" },
  placed_at: MOMENT,
  paid_at: null,
  version: 1,
  created_at: MOMENT,
  updated_at: MOMENT,
  legal_events: ["cancel", "pay"],
  lines: [{
    id: "d1e2f3a4-b5c6-4d7e-8f90-a1b2c3d4e5f6",
    position: 1,
    product_id: PRODUCT_ID,
    sku: "MUG-BLUE",
    name: "Blue mug",
    unit_price: 19.9,
    quantity: 2,
    tax_rate: 0,
    net_total: 39.8,
    tax_total: 0,
    total: 39.8,
    fulfilled: 0,
    cancelled: 0,
    returned: 0,
  }],
};
