-- Reports.
--
-- What owners and managers (reports.read) ask of orders, the ledger and webhook attempts. Nothing is stored: views say how
-- it is now, functions how it was in a period. All run as their caller, so row-level security decides about every row,
-- and the permission comes on top: a view is empty without it, a function refuses.
--
-- A period is p_from to p_to, both days included, at most 366 of them, as days begin in p_time_zone. Past stock is
-- computed backwards, from what is there now and the ledger since: a report costs what happened since p_from, in one
-- tenant, and no more. Functions are stable, so that GET, filters, order and pages work on them.

create index orders_by_payment on public.orders (tenant_id, paid_at) where paid_at is not null;

-- From when to when a report looks; refuses who may not read it, and periods that make no sense.
create function private.report_period(
  p_tenant_id uuid, p_from date, p_to date, p_time_zone text, out starts timestamptz, out ends timestamptz
)
language plpgsql stable set search_path = ''
as $$
begin
  perform private.require(p_tenant_id, 'reports.read');
  if p_from is null or p_to is null or not isfinite(p_from) or not isfinite(p_to) or p_to - p_from not between 0 and 365 then
    perform private.fail('PT400', 'report.period_invalid', 'A report covers 1 to 366 days, from p_from to p_to.');
  end if;
  starts := p_from::timestamp at time zone coalesce(p_time_zone, 'UTC');
  ends := (p_to + 1)::timestamp at time zone coalesce(p_time_zone, 'UTC');
exception when invalid_parameter_value then
  perform private.fail('PT400', 'report.time_zone_unknown', format('There is no time zone %s.', p_time_zone));
end $$;
revoke all on function private.report_period(uuid, date, date, text) from public, anon, authenticated, service_role;
grant execute on function private.report_period(uuid, date, date, text) to authenticated, service_role;

-- -- now ------------------------------------------------------------------------------------------------------------

-- The gate of the views is asked once a statement. The project itself passes, as it does everywhere.
create view public.stock_valuation with (security_invoker = true) as
  select s.tenant_id, s.location_id, p.currency, count(*) as products, sum(s.on_hand)::bigint as on_hand,
    sum(s.on_hand * p.price) as value
  from public.stock_levels s
  join public.products p on p.tenant_id = s.tenant_id and p.id = s.product_id
  where s.on_hand > 0
    and ((select auth.role()) = 'service_role'
      or s.tenant_id = any ((select private.tenants_with('reports.read'))::uuid[]))
  group by s.tenant_id, s.location_id, p.currency;
comment on view public.stock_valuation is 'What lies at each location, at today''s prices, per currency';
revoke all on public.stock_valuation from public, anon, authenticated, service_role;
grant select on public.stock_valuation to authenticated, service_role;

create view public.stock_outs with (security_invoker = true) as
  select s.tenant_id, s.product_id, p.sku, p.name, s.location_id, l.code as location_code, s.out_since, s.on_hand,
    s.reserved, s.safety, s.shortfall
  from public.stock_levels s
  join public.products p on p.tenant_id = s.tenant_id and p.id = s.product_id
  join public.locations l on l.tenant_id = s.tenant_id and l.id = s.location_id
  where s.out_since is not null and p.deleted_at is null
    and ((select auth.role()) = 'service_role'
      or s.tenant_id = any ((select private.tenants_with('reports.read'))::uuid[]));
comment on view public.stock_outs is 'Levels of which nothing can be sold, and since when';
revoke all on public.stock_outs from public, anon, authenticated, service_role;
grant select on public.stock_outs to authenticated, service_role;

-- -- in a period ----------------------------------------------------------------------------------------------------

-- Paid orders by day of payment and product, in the currency of the order. Cancelled and returned pieces are taken out, on
-- the day that they were sold; a refund of money alone is not: it belongs to no line. Tax is rounded as place_order does.
create function public.sales_by_day(p_tenant_id uuid, p_from date, p_to date, p_time_zone text default 'UTC')
returns table (
  day date, product_id uuid, sku text, currency text, orders bigint, quantity bigint, returned bigint,
  net_total numeric, tax_total numeric, total numeric
)
language plpgsql stable set search_path = '' set plan_cache_mode = force_custom_plan
as $$
declare
  v_period constant record := private.report_period(p_tenant_id, p_from, p_to, p_time_zone);
begin
  return query
  select (o.paid_at at time zone coalesce(p_time_zone, 'UTC'))::date, l.product_id, (array_agg(l.sku order by o.paid_at desc))[1],
    o.currency, count(distinct o.id), sum(k.pieces)::bigint, sum(l.returned)::bigint, sum(k.net), sum(k.tax), sum(k.net + k.tax)
  from public.orders o
  join public.order_lines l on l.tenant_id = o.tenant_id and l.order_id = o.id
  cross join lateral (select l.quantity - l.cancelled - l.returned as pieces) s
  cross join lateral (
    select s.pieces, l.unit_price * s.pieces as net,
      round(l.unit_price * s.pieces * l.tax_rate, private.minor_units(o.currency)) as tax
  ) k
  where o.tenant_id = p_tenant_id and o.paid_at >= v_period.starts and o.paid_at < v_period.ends
  group by 1, 2, 4
  order by 1, 2, 4;
end $$;
revoke all on function public.sales_by_day(uuid, date, date, text) from public, anon, authenticated, service_role;
grant execute on function public.sales_by_day(uuid, date, date, text) to authenticated, service_role;

-- Of each product: pieces shipped and returned, stock at the ends of the period, stock on average over its time (up to
-- now), and how often the average was sold: turnover, null without stock.
create function public.stock_turnover(p_tenant_id uuid, p_from date, p_to date, p_time_zone text default 'UTC')
returns table (
  product_id uuid, sku text, shipped bigint, returned bigint, opening bigint, closing bigint, average numeric,
  turnover numeric
)
language plpgsql stable set search_path = '' set plan_cache_mode = force_custom_plan
as $$
declare
  v_period constant record := private.report_period(p_tenant_id, p_from, p_to, p_time_zone);
  v_ends constant timestamptz := least(v_period.ends, private.now());
  v_seconds constant numeric := greatest(extract(epoch from v_ends - v_period.starts), 0);
begin
  return query
  with moved as (
    select m.level_id, sum(m.quantity) as since,
      sum(m.quantity) filter (where m.created_at < v_ends) as within,
      -- a piece that came in counts for the rest of the period
      sum(m.quantity * extract(epoch from v_ends - m.created_at)) filter (where m.created_at < v_ends) as piece_seconds,
      -sum(m.quantity) filter (where m.kind = 'ship' and m.created_at < v_ends) as shipped,
      sum(m.quantity) filter (where m.kind = 'return' and m.created_at < v_ends) as returned
    from public.stock_movements m
    where m.tenant_id = p_tenant_id and m.created_at >= v_period.starts
    group by m.level_id
  ), told as (
    select s.product_id, sum(coalesce(m.shipped, 0))::bigint as shipped, sum(coalesce(m.returned, 0))::bigint as returned,
      sum(s.on_hand - coalesce(m.since, 0))::bigint as opening,
      sum(s.on_hand - coalesce(m.since, 0) + coalesce(m.within, 0))::bigint as closing,
      sum(s.on_hand - coalesce(m.since, 0) + coalesce(m.piece_seconds, 0) / nullif(v_seconds, 0)) as average
    from public.stock_levels s
    left join moved m on m.level_id = s.id
    where s.tenant_id = p_tenant_id
    group by s.product_id
  )
  select t.product_id, p.sku, t.shipped, t.returned, t.opening, t.closing, round(t.average, 4),
    round((t.shipped - t.returned) / nullif(t.average, 0), 4)
  from told t
  join public.products p on p.tenant_id = p_tenant_id and p.id = t.product_id
  order by 8 desc nulls last, 2;
end $$;
revoke all on function public.stock_turnover(uuid, date, date, text) from public, anon, authenticated, service_role;
grant execute on function public.stock_turnover(uuid, date, date, text) to authenticated, service_role;

-- When levels had nothing free (on_hand - reserved at 0 or below: the ledger knows no limits), cut to the period;
-- out_until is null where it lasts beyond it. A level that never had anything is not out.
create function public.stock_out_history(p_tenant_id uuid, p_from date, p_to date, p_time_zone text default 'UTC')
returns table (product_id uuid, sku text, location_id uuid, out_from timestamptz, out_until timestamptz, lasted interval)
language plpgsql stable set search_path = '' set plan_cache_mode = force_custom_plan
as $$
declare
  v_period constant record := private.report_period(p_tenant_id, p_from, p_to, p_time_zone);
  v_ends constant timestamptz := least(v_period.ends, private.now());
begin
  return query
  with moved as (
    select m.level_id, m.id, m.created_at as at, m.on_hand_after - m.reserved_after as free,
      m.quantity - m.reserved_quantity as change
    from public.stock_movements m
    where m.tenant_id = p_tenant_id and m.created_at >= v_period.starts
  ), first as (
    select distinct on (m.level_id) m.level_id, m.free - m.change as free from moved m order by m.level_id, m.id
  ), state as (
    -- how each level that was there began, by its first movement since, or by what it is now
    select s.id as level_id, 0::bigint as id, v_period.starts as at, coalesce(f.free, s.on_hand - s.reserved) <= 0 as is_out
    from public.stock_levels s left join first f on f.level_id = s.id
    where s.tenant_id = p_tenant_id and s.created_at < v_period.starts
    union all
    select m.level_id, m.id, m.at, m.free <= 0 from moved m where m.at < v_ends
  ), turn as (
    select t.level_id, t.id, t.at, t.is_out, lag(t.is_out) over (partition by t.level_id order by t.id) as was_out
    from state t
  ), spell as (
    select t.level_id, t.is_out, t.at, lead(t.at) over (partition by t.level_id order by t.id) as until
    from turn t where t.was_out is distinct from t.is_out
  )
  select s.product_id, p.sku, s.location_id, e.at, e.until, coalesce(e.until, v_ends) - e.at
  from spell e
  join public.stock_levels s on s.id = e.level_id
  join public.products p on p.tenant_id = p_tenant_id and p.id = s.product_id
  where e.is_out
  order by e.at, p.sku, s.location_id;
end $$;
revoke all on function public.stock_out_history(uuid, date, date, text) from public, anon, authenticated, service_role;
grant execute on function public.stock_out_history(uuid, date, date, text) to authenticated, service_role;

-- Living products with stock of which at most p_at_most pieces were shipped, the most valuable stock first.
create function public.slow_movers(
  p_tenant_id uuid, p_from date, p_to date, p_time_zone text default 'UTC', p_at_most bigint default 0
) returns table (
  product_id uuid, sku text, name text, shipped bigint, on_hand bigint, currency text, value numeric
)
language plpgsql stable set search_path = '' set plan_cache_mode = force_custom_plan
as $$
declare
  v_period constant record := private.report_period(p_tenant_id, p_from, p_to, p_time_zone);
begin
  return query
  with sold as (
    select m.level_id, -sum(m.quantity) as shipped
    from public.stock_movements m
    where m.tenant_id = p_tenant_id and m.kind = 'ship' and m.created_at >= v_period.starts and m.created_at < v_period.ends
    group by m.level_id
  ), held as (
    select s.product_id, sum(s.on_hand)::bigint as on_hand, sum(coalesce(o.shipped, 0))::bigint as shipped
    from public.stock_levels s left join sold o on o.level_id = s.id
    where s.tenant_id = p_tenant_id
    group by s.product_id
    having sum(s.on_hand) > 0 and sum(coalesce(o.shipped, 0)) <= p_at_most
  )
  select h.product_id, p.sku, p.name, h.shipped, h.on_hand, p.currency, h.on_hand * p.price
  from held h
  join public.products p on p.tenant_id = p_tenant_id and p.id = h.product_id
  where p.deleted_at is null
  order by 7 desc, 2;
end $$;
revoke all on function public.slow_movers(uuid, date, date, text, bigint) from public, anon, authenticated, service_role;
grant execute on function public.slow_movers(uuid, date, date, text, bigint) to authenticated, service_role;

-- Of each endpoint: attempts begun in the period, the share that was delivered, how long they took (milliseconds, by
-- nearest rank), and the first failure since the last success, null while all is well.
create function public.delivery_health(p_tenant_id uuid, p_from date, p_to date, p_time_zone text default 'UTC')
returns table (
  endpoint_id uuid, url text, status text, attempts bigint, delivered bigint, success_rate numeric, p50_ms numeric,
  p95_ms numeric, failing_since timestamptz
)
language plpgsql stable set search_path = '' set plan_cache_mode = force_custom_plan
as $$
declare
  v_period constant record := private.report_period(p_tenant_id, p_from, p_to, p_time_zone);
begin
  return query
  with tried as (
    select a.endpoint_id, a.outcome, a.duration_ms, a.started_at,
      max(a.started_at) filter (where a.outcome = 'delivered') over (partition by a.endpoint_id) as last_success
    from public.webhook_attempts a
    where a.tenant_id = p_tenant_id and a.started_at >= v_period.starts and a.started_at < v_period.ends
      and a.kind <> 'test' and a.outcome not in ('probe', 'expired')
      -- for pruning: an attempt lies in the partition of the day, in UTC, on which it was settled
      and a.attempted_on >= (v_period.starts at time zone 'UTC')::date
  )
  select e.id, e.url, e.status, count(t.outcome), count(*) filter (where t.outcome = 'delivered'),
    round(count(*) filter (where t.outcome = 'delivered')::numeric / nullif(count(t.outcome), 0), 4),
    percentile_disc(0.5) within group (order by t.duration_ms), percentile_disc(0.95) within group (order by t.duration_ms),
    min(t.started_at) filter (where t.outcome <> 'delivered' and (t.last_success is null or t.started_at > t.last_success))
  from public.webhook_endpoints e
  left join tried t on t.endpoint_id = e.id
  where e.tenant_id = p_tenant_id
  group by e.id
  order by 6 nulls last, e.id;
end $$;
revoke all on function public.delivery_health(uuid, date, date, text) from public, anon, authenticated, service_role;
grant execute on function public.delivery_health(uuid, date, date, text) to authenticated, service_role;
