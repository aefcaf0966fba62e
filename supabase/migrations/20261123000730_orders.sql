-- Orders.
--
-- An order is what a customer bought: a snapshot of each product at that moment, and a place in a state machine that is
-- kept as data, in private.order_transitions. An event is legal in a status if it has a row there; the row names the
-- event's effect, and the guard that decides afterwards between two statuses. Orders change by place_order and
-- order_event only (the next files), but for the customer, which a clerk may correct.
--
-- Stock follows the order: placing holds it, paying commits it, fulfilling takes it out, cancelling gives it back. An
-- order that was paid after its hold had expired, with nothing left to sell, waits in needs_review: never oversold.
--
-- Every money column has the currency's decimal places; tax is rounded per line, half up, and totals are sums of lines.
-- Everything personal is in orders.customer.

create table private.order_transitions (
  from_status text not null,
  event text not null,
  effect text not null constraint order_transitions_effect_known check (effect in
    ('take_payment', 'secure_stock', 'ship_lines', 'ship_rest', 'give_up_rest', 'refund_money', 'take_back')),
  guard text constraint order_transitions_guard_known
    check (guard in ('stock_secured', 'all_fulfilled', 'all_refunded', 'all_returned')),
  to_status text not null,
  else_status text,
  primary key (from_status, event),
  constraint order_transitions_else_needs_guard check (guard is not null or else_status is null)
);
comment on table private.order_transitions is
  'Which event is legal in which status; after the effect: to_status if the guard holds, else else_status, else refused';
alter table private.order_transitions enable row level security;
revoke all on private.order_transitions from public, anon, authenticated, service_role;

insert into private.order_transitions (from_status, event, effect, guard, to_status, else_status) values
  ('placed',              'pay',      'take_payment', 'stock_secured', 'paid',      'needs_review'),
  ('placed',              'cancel',   'give_up_rest', null,            'cancelled', null),
  ('needs_review',        'allocate', 'secure_stock', 'stock_secured', 'paid',      null),
  ('needs_review',        'cancel',   'give_up_rest', null,            'cancelled', null),
  ('needs_review',        'refund',   'refund_money', 'all_refunded',  'refunded',  'needs_review'),
  ('paid',                'fulfil',   'ship_lines',   'all_fulfilled', 'fulfilled', 'partially_fulfilled'),
  ('paid',                'ship',     'ship_rest',    null,            'shipped',   null),
  ('paid',                'cancel',   'give_up_rest', null,            'cancelled', null),
  ('paid',                'refund',   'refund_money', 'all_refunded',  'refunded',  'paid'),
  ('partially_fulfilled', 'fulfil',   'ship_lines',   'all_fulfilled', 'fulfilled', 'partially_fulfilled'),
  ('partially_fulfilled', 'ship',     'ship_rest',    null,            'shipped',   null),
  ('partially_fulfilled', 'cancel',   'give_up_rest', 'all_returned',  'returned',  'fulfilled'),
  ('partially_fulfilled', 'refund',   'refund_money', 'all_refunded',  'refunded',  'partially_fulfilled'),
  ('partially_fulfilled', 'return',   'take_back',    null,            'partially_fulfilled', null),
  ('fulfilled',           'ship',     'ship_rest',    null,            'shipped',   null),
  ('fulfilled',           'refund',   'refund_money', 'all_refunded',  'refunded',  'fulfilled'),
  ('fulfilled',           'return',   'take_back',    'all_returned',  'returned',  'fulfilled'),
  ('shipped',             'refund',   'refund_money', 'all_refunded',  'refunded',  'shipped'),
  ('shipped',             'return',   'take_back',    'all_returned',  'returned',  'shipped'),
  ('cancelled',           'refund',   'refund_money', 'all_refunded',  'refunded',  'cancelled'),
  ('returned',            'refund',   'refund_money', 'all_refunded',  'refunded',  'returned'),
  ('refunded',            'return',   'take_back',    null,            'refunded',  null);

create table private.order_counters (
  tenant_id uuid primary key references public.tenants (id) on delete cascade,
  last bigint not null
);
comment on table private.order_counters is 'The last order number of each tenant: gapless, given when an order is placed';
alter table private.order_counters enable row level security;
revoke all on private.order_counters from public, anon, authenticated, service_role;

create table public.orders (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  number text not null,
  status text not null default 'placed'
    constraint orders_status_known check (status in ('placed', 'needs_review', 'paid', 'partially_fulfilled',
      'fulfilled', 'shipped', 'cancelled', 'refunded', 'returned')),
  review_reason text,
  currency text not null,
  net_total numeric(18, 4) not null,
  tax_total numeric(18, 4) not null,
  total numeric(18, 4) not null,
  paid_total numeric(18, 4) not null default 0,
  refunded_total numeric(18, 4) not null default 0,
  quantity bigint not null,
  fulfilled bigint not null default 0,
  cancelled bigint not null default 0,
  returned bigint not null default 0,
  customer jsonb not null default '{}'
    constraint orders_customer_object check (jsonb_typeof(customer) = 'object')
    constraint orders_customer_plain check (private.is_plain(customer))
    constraint orders_customer_size check (octet_length(customer::text) <= 8192)
    constraint orders_customer_email check (customer ->> 'email' ~ '^[^@\s]+@[^@\s]+$'),
  placed_at timestamptz not null default private.now(),
  paid_at timestamptz,
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint orders_number_unique unique (tenant_id, number),
  constraint orders_within_tenant unique (tenant_id, id),
  constraint orders_reviewed_with_reason check ((status = 'needs_review') = (review_reason is not null)),
  constraint orders_total_is_sum check (total = net_total + tax_total),
  constraint orders_refund_within_payment check (refunded_total between 0 and paid_total and paid_total <= total),
  constraint orders_quantities_within check (fulfilled + cancelled <= quantity and returned between 0 and fulfilled)
);
comment on table public.orders is 'What customers bought; changed by place_order and order_event';
comment on column public.orders.customer is 'name, email, address, …: all that is personal';
comment on column public.orders.fulfilled is 'How many pieces left the stock; returned ones count here too';
create index orders_by_time on public.orders (tenant_id, placed_at desc, id);
create index orders_by_status on public.orders (tenant_id, status, placed_at desc);

alter table public.orders enable row level security;
create policy "only within one's own tenants" on public.orders
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's orders" on public.orders
  for select to authenticated using (tenant_id = any ((select private.tenants_with('orders.read'))::uuid[]));
create policy "clerks correct the customer of their tenant's orders" on public.orders
  for update to authenticated
  using (tenant_id = any ((select private.tenants_with('orders.write'))::uuid[]))
  with check (tenant_id = any ((select private.tenants_with('orders.write'))::uuid[]));
revoke all on public.orders from anon, authenticated, service_role;
grant select on public.orders to authenticated, service_role;
grant update (customer, version) on public.orders to authenticated, service_role;
-- Before the checks, of which the first reads the address as text.
create function private.check_customer() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform private.require_plain(new.customer, 'strict $.**{40}');
  return new;
end $$;
revoke all on function private.check_customer() from public, anon, authenticated, service_role;
create trigger check_customer before insert or update of customer on public.orders
  for each row execute function private.check_customer();
create trigger stamp_version before insert or update on public.orders
  for each row execute function private.stamp_version();

create table public.order_lines (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null,
  order_id uuid not null,
  position integer not null,
  product_id uuid not null,
  sku text not null,
  name text not null,
  unit_price numeric(18, 4) not null,
  quantity bigint not null constraint order_lines_quantity_positive check (quantity > 0),
  tax_rate numeric(7, 6) not null default 0 constraint order_lines_tax_rate_share check (tax_rate between 0 and 1),
  net_total numeric(18, 4) not null,
  tax_total numeric(18, 4) not null,
  total numeric(18, 4) not null,
  fulfilled bigint not null default 0 constraint order_lines_fulfilled_not_negative check (fulfilled >= 0),
  cancelled bigint not null default 0 constraint order_lines_cancelled_not_negative check (cancelled >= 0),
  returned bigint not null default 0 constraint order_lines_returned_not_negative check (returned >= 0),
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint order_lines_total_is_sum check (total = net_total + tax_total),
  constraint order_lines_fulfilled_within check (fulfilled + cancelled <= quantity),
  constraint order_lines_returned_within check (returned <= fulfilled),
  constraint order_lines_one_per_position unique (order_id, position),
  constraint order_lines_order foreign key (tenant_id, order_id)
    references public.orders (tenant_id, id) on delete cascade,
  constraint order_lines_product foreign key (tenant_id, product_id) references public.products (tenant_id, id)
);
comment on table public.order_lines is 'The lines of orders: each product as it was when the order was placed';
create index order_lines_by_product on public.order_lines (tenant_id, product_id);

alter table public.order_lines enable row level security;
create policy "only within one's own tenants" on public.order_lines
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's order lines" on public.order_lines
  for select to authenticated using (tenant_id = any ((select private.tenants_with('orders.read'))::uuid[]));
revoke all on public.order_lines from anon, authenticated, service_role;
grant select on public.order_lines to authenticated, service_role;
create trigger stamp_version before insert or update on public.order_lines
  for each row execute function private.stamp_version();

create table public.order_history (
  id bigint generated always as identity primary key,
  tenant_id uuid not null,
  order_id uuid not null,
  order_version bigint not null,
  event text not null,
  from_status text,
  to_status text not null,
  payload jsonb not null default '{}',
  actor uuid,
  command_id text,
  created_at timestamptz not null default private.now(),
  constraint order_history_one_per_version unique (order_id, order_version),
  constraint order_history_order foreign key (tenant_id, order_id)
    references public.orders (tenant_id, id) on delete cascade
);
comment on table public.order_history is 'Who did what to an order, when, and where it went';

alter table public.order_history enable row level security;
create policy "only within one's own tenants" on public.order_history
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's order history" on public.order_history
  for select to authenticated using (tenant_id = any ((select private.tenants_with('orders.read'))::uuid[]));
revoke all on public.order_history from anon, authenticated, service_role;
grant select on public.order_history to authenticated, service_role;

-- Deferred: place_order reserves first, and takes the order's number last.
alter table public.reservations add constraint reservations_order
  foreign key (tenant_id, order_id) references public.orders (tenant_id, id) deferrable initially deferred;

insert into private.event_map (entity, operation, rank, when_field, when_value, verb, description) values
  ('order',      'INSERT', 9, null,     null,                  'created',
    'An order was placed.'),
  ('order',      'UPDATE', 1, 'status', 'paid',                'paid',
    'The order is paid and its stock is committed.'),
  ('order',      'UPDATE', 2, 'status', 'needs_review',        'needs_review',
    'The payment came, but the hold had expired and the stock is gone: review_reason says what is lacking.'),
  ('order',      'UPDATE', 3, 'status', 'partially_fulfilled', 'partially_fulfilled',
    'Some of the pieces left the stock.'),
  ('order',      'UPDATE', 4, 'status', 'fulfilled',           'fulfilled',
    'Every piece that was not cancelled left the stock.'),
  ('order',      'UPDATE', 5, 'status', 'shipped',             'shipped',
    'The order is on its way.'),
  ('order',      'UPDATE', 6, 'status', 'cancelled',           'cancelled',
    'The order was cancelled and its stock given back.'),
  ('order',      'UPDATE', 7, 'status', 'refunded',            'refunded',
    'All that was paid was paid back.'),
  ('order',      'UPDATE', 8, 'status', 'returned',            'returned',
    'Every piece that had left came back.'),
  ('order',      'UPDATE', 9, null,     null,                  'updated',
    'Something else changed, such as the customer, or a part was refunded or returned.'),
  ('order',      'DELETE', 9, null,     null,                  'deleted',
    'The order is gone.'),
  ('order_line', 'INSERT', 9, null,     null,                  'created',
    'A line was placed with its order.'),
  ('order_line', 'UPDATE', 9, null,     null,                  'updated',
    'Pieces of the line left, were cancelled, or came back.'),
  ('order_line', 'DELETE', 9, null,     null,                  'deleted',
    'The line is gone with its order.');

select private.log_changes_of('public.orders', 'order', 'orders.read');
select private.log_changes_of('public.order_lines', 'order_line', 'orders.read');
