-- Placing orders.
--
-- place_order prices the lines from the catalogue, reserves their stock and numbers the order, in one transaction.
--
-- Lock order, here and in …_order_events.sql: the order's row, then levels and reservations (inside the inventory's
-- functions, by its one lock rule), then the tenant's counter of order numbers. Lines are covered by their order's lock.

-- True for the JSON number of pieces that a line may have: whole, 1 to 1,000,000.
create function private.is_order_quantity(p_value jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select case when jsonb_typeof(p_value) = 'number' and p_value #>> '{}' ~ '^[0-9]{1,7}$'
    then p_value::integer between 1 and 1000000 else false end
$$;
revoke all on function private.is_order_quantity(jsonb) from public, anon, authenticated, service_role;

-- True for a JSON number from 0 to 1 with at most six decimal places.
create function private.is_tax_rate(p_value jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select case when jsonb_typeof(p_value) = 'number'
    then p_value::numeric between 0 and 1 and p_value::numeric = round(p_value::numeric, 6) else false end
$$;
revoke all on function private.is_tax_rate(jsonb) from public, anon, authenticated, service_role;

-- Refuses lines of place_order whose form is wrong, all of them in one answer.
create function private.check_order_lines(p_lines jsonb) returns void
language plpgsql set search_path = ''
as $$
declare
  v_wrong text;
begin
  if jsonb_typeof(p_lines) is distinct from 'array' or jsonb_array_length(p_lines) not between 1 and 500 then
    perform private.fail('PT400', 'order.lines_invalid', 'p_lines must be an array of 1 to 500 lines.');
  end if;
  select string_agg(l.n::text, ', ' order by l.n) into v_wrong
  from jsonb_array_elements(p_lines) with ordinality as l (line, n)
  where jsonb_typeof(l.line -> 'product_id') is distinct from 'string'
    or not private.is_order_quantity(coalesce(l.line -> 'quantity', 'null'))
    or not private.is_tax_rate(coalesce(l.line -> 'tax_rate', '0'));
  if v_wrong is not null then
    perform private.fail('PT400', 'order.lines_invalid', format(
      'Lines %s: each needs a product_id, a whole quantity from 1 to 1,000,000 and, if it has a tax_rate, one from 0 to 1.',
      v_wrong));
  end if;
end $$;
revoke all on function private.check_order_lines(jsonb) from public, anon, authenticated, service_role;

-- The lines with what the catalogue says at this moment: rows of order_lines as a JSON array, and their currency.
-- Products are looked up one by one, for the reason that move_stock gives.
create function private.price_order_lines(p_tenant_id uuid, p_lines jsonb, out lines jsonb, out currency text)
language plpgsql stable security definer set search_path = ''
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_missing text;
  v_currencies text[];
begin
  select string_agg(l.n::text, ', ' order by l.n) filter (where p.id is null), array_agg(distinct p.currency),
    jsonb_agg(jsonb_build_object('position', l.n, 'product_id', p.id, 'sku', p.sku, 'name', p.name,
      'unit_price', p.price, 'quantity', l.quantity, 'tax_rate', l.tax_rate, 'net_total', m.net,
      'tax_total', m.tax, 'total', m.net + m.tax) order by l.n)
  into v_missing, v_currencies, lines
  from (
    select e.n, (e.line ->> 'product_id')::uuid as product_id, (e.line ->> 'quantity')::numeric::bigint as quantity,
      coalesce((e.line ->> 'tax_rate')::numeric, 0) as tax_rate
    from jsonb_array_elements(p_lines) with ordinality as e (line, n)
  ) l
  left join public.products p
    on p.tenant_id = p_tenant_id and p.id = l.product_id and p.status = 'active' and p.deleted_at is null
  -- round() of numeric goes half away from zero: half up, as nothing here is negative.
  cross join lateral (select p.price * l.quantity as net,
    round(p.price * l.quantity * l.tax_rate, private.minor_units(p.currency)) as tax) m;
  if v_missing is not null then
    perform private.fail('PT422', 'order.product_unavailable',
      format('Lines %s name no active product of this tenant.', v_missing));
  end if;
  if cardinality(v_currencies) > 1 then
    perform private.fail('PT422', 'order.currency_mixed',
      format('The products have prices in %s.', array_to_string(v_currencies, ', ')), 'Place one order per currency.');
  end if;
  currency := v_currencies[1];
end $$;
revoke all on function private.price_order_lines(uuid, jsonb) from public, anon, authenticated, service_role;

create function private.legal_order_events(p_status text) returns text[]
language sql stable security definer set search_path = ''
as $$
  select coalesce(array_agg(t.event order by t.event), '{}')
  from private.order_transitions t where t.from_status = p_status
$$;
revoke all on function private.legal_order_events(text) from public, anon, authenticated, service_role;
grant execute on function private.legal_order_events(text) to authenticated, service_role;

-- What may happen to an order next. A computed field: select=*,legal_events.
create function public.legal_events(p_order public.orders) returns text[]
language sql stable set search_path = ''
as $$ select private.legal_order_events(p_order.status) $$;
revoke all on function public.legal_events(public.orders) from public, anon, authenticated, service_role;
grant execute on function public.legal_events(public.orders) to authenticated, service_role;

-- What the commands answer with: the order, its lines, its reservations, and the events that are legal now.
create function private.order_as_json(p_order public.orders) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select to_jsonb(p_order) || jsonb_build_object(
    'lines', (
      select jsonb_agg(to_jsonb(l) order by l.position) from public.order_lines l
      where l.order_id = p_order.id),
    'legal_events', private.legal_order_events(p_order.status)
  ) || private.reservations_json(array(select r from public.reservations r where r.order_id = p_order.id))
$$;
revoke all on function private.order_as_json(public.orders) from public, anon, authenticated, service_role;

create function private.record_order_event(p_order public.orders, p_event text, p_from text, p_payload jsonb)
returns void
language sql security definer set search_path = ''
as $$
  insert into public.order_history
    (tenant_id, order_id, order_version, event, from_status, to_status, payload, actor, command_id)
  values (p_order.tenant_id, p_order.id, p_order.version, p_event, p_from, p_order.status, p_payload, auth.uid(),
    nullif(current_setting('pms.command_id', true), ''))
$$;
revoke all on function private.record_order_event(public.orders, text, text, jsonb)
  from public, anon, authenticated, service_role;

-- The next number of a tenant, such as A-000123. Its row stays locked until the transaction ends: that is what makes
-- numbers gapless, and why it is taken last.
create function private.next_order_number(p_tenant_id uuid) returns text
language sql security definer set search_path = ''
as $$
  insert into private.order_counters as c (tenant_id, last) values (p_tenant_id, 1)
  on conflict (tenant_id) do update set last = c.last + 1
  returning 'A-' || lpad(c.last::text, greatest(6, length(c.last::text)), '0')
$$;
revoke all on function private.next_order_number(uuid) from public, anon, authenticated, service_role;

-- The rows of a new order whose lines are priced.
create function private.insert_order(p_id uuid, p_tenant_id uuid, p_currency text, p_lines jsonb, p_customer jsonb)
returns public.orders
language plpgsql security definer set search_path = ''
as $$
declare
  v_order public.orders;
begin
  insert into public.orders (id, tenant_id, number, currency, net_total, tax_total, total, quantity, customer)
  select p_id, p_tenant_id, private.next_order_number(p_tenant_id), p_currency, sum(l.net_total), sum(l.tax_total),
    sum(l.total), sum(l.quantity), p_customer
  from jsonb_populate_recordset(null::public.order_lines, p_lines) l
  returning * into v_order;
  insert into public.order_lines (tenant_id, order_id, position, product_id, sku, name, unit_price, quantity, tax_rate,
    net_total, tax_total, total)
  select p_tenant_id, p_id, l.position, l.product_id, l.sku, l.name, l.unit_price, l.quantity, l.tax_rate,
    l.net_total, l.tax_total, l.total
  from jsonb_populate_recordset(null::public.order_lines, p_lines) l
  order by l.position;
  return v_order;
exception when numeric_value_out_of_range then
  perform private.fail('PT422', 'order.total_too_large', 'A total must be below 100,000,000,000,000.');
end $$;
revoke all on function private.insert_order(uuid, uuid, text, jsonb, jsonb) from public, anon, authenticated, service_role;

-- The body of place_order. Its pins hold for everything it calls: see private.move_stock.
create function private.place_order(
  p_tenant_id uuid, p_lines jsonb, p_customer jsonb, p_key text, p_reserve_for interval
) returns jsonb
language plpgsql security definer set search_path = ''
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_id constant uuid := gen_random_uuid();
  v_known jsonb;
  v_priced record;
  v_order public.orders;
begin
  perform private.require(p_tenant_id, 'orders.write');
  perform private.require_plain(p_lines);
  perform private.require_plain(p_customer);
  perform private.check_order_lines(p_lines);
  v_known := private.begin_command(p_tenant_id, 'place_order', p_key,
    jsonb_build_object('lines', p_lines, 'customer', p_customer, 'reserve_for', p_reserve_for));
  if v_known is not null then
    return v_known;
  end if;
  v_priced := private.price_order_lines(p_tenant_id, p_lines);
  perform private.reserve_for(p_tenant_id, p_lines, p_reserve_for, v_id);
  v_order := private.insert_order(v_id, p_tenant_id, v_priced.currency, v_priced.lines, coalesce(p_customer, '{}'));
  perform private.record_order_event(v_order, 'place', null, '{}');
  return private.end_command(p_tenant_id, 'place_order', p_key, private.order_as_json(v_order));
end $$;
revoke all on function private.place_order(uuid, jsonb, jsonb, text, interval)
  from public, anon, authenticated, service_role;
grant execute on function private.place_order(uuid, jsonb, jsonb, text, interval) to authenticated, service_role;

-- Places an order: lines [{"product_id", "quantity", "location_id"?, "tax_rate"?}] (a share, 0.19), the prices those of
-- this moment. Stock is held for p_reserve_for. Returns the order with `lines`, `reservations` and `legal_events`.
-- Raises order.lines_invalid, order.product_unavailable, order.currency_mixed, stock.insufficient.
create function public.place_order(
  p_tenant_id uuid, p_lines jsonb, p_customer jsonb default '{}', p_key text default null,
  p_reserve_for interval default '15 minutes'
) returns jsonb
language sql volatile set search_path = ''
as $$ select private.place_order(p_tenant_id, p_lines, p_customer, p_key, p_reserve_for) $$;
revoke all on function public.place_order(uuid, jsonb, jsonb, text, interval)
  from public, anon, authenticated, service_role;
grant execute on function public.place_order(uuid, jsonb, jsonb, text, interval) to authenticated, service_role;
