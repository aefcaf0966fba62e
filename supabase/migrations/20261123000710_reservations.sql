-- Reservations.
--
-- A reservation promises a quantity of one level. What it still waits for, quantity - shipped, is part of the level's
-- `reserved` while it is held or committed:
--
--            commit            ship (the last of it)
--   held ──────────► committed ─────────► shipped
--    │ │ release         │ release
--    │ └────────────► released ◄── (what was not shipped goes back)
--    └──────────────► expired       only a held one expires, at expires_at
--
-- A hold ends at expires_at, whether somebody has noticed or not: reserve_stock gives the expired holds of its levels
-- back first, and a sweeper does the same for levels that nobody asks for. The one lock rule: whoever changes a
-- reservation has locked its level before, all levels in primary-key order. So a reservation is never locked by itself, and
-- what was read of it under its level's lock stays true.
--
-- private.reserve_for, extend_for, release_for, commit_for, ship_for and return_for are the bodies without the question
-- who may; other commands call them in their own transaction.

create table public.reservations (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null,
  product_id uuid not null,
  location_id uuid not null,
  level_id uuid not null,
  order_id uuid,
  quantity bigint not null constraint reservations_quantity_positive check (quantity > 0),
  shipped bigint not null default 0,
  status text not null default 'held'
    constraint reservations_status_known check (status in ('held', 'committed', 'shipped', 'released', 'expired')),
  expires_at timestamptz,
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint reservations_only_holds_expire check ((status = 'held') = (expires_at is not null)),
  constraint reservations_shipped_by_status check (case
    when status in ('held', 'expired') then shipped = 0
    when status = 'shipped' then shipped = quantity
    else shipped >= 0 and shipped < quantity end),
  -- By id alone: with more columns the check may pick an index that reads a whole location, before there are statistics.
  constraint reservations_level foreign key (level_id) references public.stock_levels (id)
);
comment on table public.reservations is 'Promises of stock; changed by commands only';
create index reservations_open on public.reservations (level_id) where status in ('held', 'committed');
create index reservations_expiring on public.reservations (level_id, expires_at) where status = 'held';
create index reservations_due on public.reservations (expires_at) where status = 'held';
create index reservations_by_order on public.reservations (order_id) where order_id is not null;
create index reservations_by_tenant on public.reservations (tenant_id, created_at desc);

alter table public.reservations enable row level security;
create policy "only within one's own tenants" on public.reservations
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's reservations" on public.reservations
  for select to authenticated using (tenant_id = any ((select private.tenants_with('inventory.read'))::uuid[]));
revoke all on public.reservations from anon, authenticated, service_role;
grant select on public.reservations to authenticated, service_role;
create trigger stamp_version before insert or update on public.reservations
  for each row execute function private.stamp_version();

-- The moment at which a hold that is made or extended now ends.
create function private.hold_until(p_expires_in interval) returns timestamptz
language plpgsql volatile set search_path = ''
as $$
begin
  if p_expires_in is null or p_expires_in < interval '1 second' or p_expires_in > interval '90 days' then
    perform private.fail('PT400', 'reservation.expiry_invalid', 'A hold lasts from 1 second to 90 days.');
  end if;
  return private.now() + p_expires_in;
end $$;
revoke all on function private.hold_until(interval) from public, anon, authenticated, service_role;

-- Gives back what reservations still wait for, and closes them. The caller has locked their levels.
create function private.give_back(p_kind text, p_status text, p_ids uuid[]) returns setof public.reservations
language plpgsql security definer set search_path = ''
as $$
declare
  v_closed public.reservations[];
begin
  with closed as (
    update public.reservations r set status = p_status, expires_at = null
    where r.id = any (p_ids) and r.status in ('held', 'committed')
    returning r.*
  )
  select array_agg(c) into v_closed from closed c;
  perform private.move_levels(p_kind, array_agg(b.level_id), array_agg(0::bigint), array_agg(-b.rest), null, b.order_id)
  from (
    -- One movement a level; it names the order if there is one only.
    select c.level_id, sum(c.quantity - c.shipped)::bigint as rest,
      case when count(distinct c.order_id) = 1 and count(c.order_id) = count(*)
        then (array_agg(c.order_id))[1] end as order_id
    from unnest(v_closed) c group by c.level_id
  ) b
  group by b.order_id;
  return query select * from unnest(v_closed);
end $$;
revoke all on function private.give_back(text, text, uuid[]) from public, anon, authenticated, service_role;

-- Ends the holds of locked levels whose time is over.
create function private.expire_holds(p_level_ids uuid[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_now constant timestamptz := private.now();
  v_ids constant uuid[] := (
    select array_agg(r.id) from public.reservations r
    where r.level_id = any (p_level_ids) and r.status = 'held' and r.expires_at <= v_now
  );
begin
  if v_ids is not null then
    perform private.give_back('expire', 'expired', v_ids);
  end if;
end $$;
revoke all on function private.expire_holds(uuid[]) from public, anon, authenticated, service_role;

-- How lines are shared out over levels, as far as these reach. Lines that name their place come first; a line without
-- one takes from where most is available. It reads no table, so it may join in any way.
create function private.allocate(p_levels public.stock_levels[], p_lines jsonb)
returns table (level_id uuid, quantity bigint)
language plpgsql immutable set search_path = '' set enable_hashjoin = on
as $$
begin
  return query
  with line as (
    select l.product_id, l.location_id, sum(l.quantity) as quantity
    from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid, quantity bigint)
    group by l.product_id, l.location_id
  ), level as (
    select s.id, s.product_id, coalesce(l.quantity, 0) as named,
      case when s.shortfall > 0 then 0
        else greatest(0, s.on_hand - s.reserved - s.safety + s.backorder_limit) end as available
    from unnest(p_levels) s
    left join line l on l.product_id = s.product_id and l.location_id = s.location_id
  ), queue as (
    select v.*, greatest(0, v.available - v.named) as spare,
      coalesce(sum(greatest(0, v.available - v.named)) over (
        partition by v.product_id order by v.available - v.named desc, v.id
        rows between unbounded preceding and 1 preceding
      ), 0) as before
    from level v
  ), taken as (
    select q.id,
      (least(q.named, q.available) + greatest(0, least(q.spare, coalesce(l.quantity, 0) - q.before)))::bigint as quantity
    from queue q
    left join line l on l.product_id = q.product_id and l.location_id is null
  )
  select t.id, t.quantity from taken t where t.quantity > 0;
end $$;
revoke all on function private.allocate(public.stock_levels[], jsonb) from public, anon, authenticated, service_role;

-- Reserves lines [{product_id, location_id, quantity}], all or nothing, one reservation a level; a line without a
-- location_id may take from several places. Pinned as private.move_stock is.
create function private.reserve_for(
  p_tenant_id uuid, p_lines jsonb, p_expires_in interval default '15 minutes', p_order_id uuid default null
) returns setof public.reservations
language plpgsql security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_until constant timestamptz := private.hold_until(p_expires_in);
  v_ids uuid[];
  v_levels public.stock_levels[];
  v_taken uuid[];
  v_quantities bigint[];
  v_wanted numeric;
begin
  perform private.check_lines(p_lines, 'quantity', 1);
  select array_agg(distinct s.id) into v_ids
  from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid)
  cross join lateral (
    select k.id from public.stock_levels k
    where k.tenant_id = p_tenant_id and k.product_id = l.product_id
      and (l.location_id is null or k.location_id = l.location_id)
    offset 0 -- line by line: before there are statistics, the planner would read the tenant's levels first
  ) s;
  perform 1 from public.stock_levels s where s.id = any (v_ids) order by s.id for update;
  perform private.expire_holds(v_ids);
  select array_agg(s) into v_levels from public.stock_levels s where s.id = any (v_ids);
  select array_agg(a.level_id order by a.level_id), array_agg(a.quantity order by a.level_id)
  into v_taken, v_quantities
  from private.allocate(v_levels, p_lines) a;
  v_wanted := (select sum(l.quantity) from jsonb_to_recordset(p_lines) as l (quantity bigint));

  if v_wanted is distinct from (select sum(q) from unnest(v_quantities) q) then
    perform private.explain_shortage(p_tenant_id, p_lines);
  end if;
  perform private.move_levels('reserve', v_taken, array_fill(0::bigint, array[cardinality(v_taken)]), v_quantities, null,
    p_order_id);
  return query
  insert into public.reservations (tenant_id, product_id, location_id, level_id, order_id, quantity, expires_at)
  select s.tenant_id, s.product_id, s.location_id, s.id, p_order_id, t.quantity, v_until
  from unnest(v_taken, v_quantities) as t (level_id, quantity)
  join public.stock_levels s on s.id = t.level_id
  returning *;
end $$;
revoke all on function private.reserve_for(uuid, jsonb, interval, uuid) from public, anon, authenticated, service_role;

-- Raises what reserve_for could not do: stock.not_found, or stock.insufficient with the first lines that ask too much.
create function private.explain_shortage(p_tenant_id uuid, p_lines jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_missing text;
  v_short text;
begin
  select string_agg(distinct case when p.id is null then 'product ' || coalesce(l.product_id::text, 'null')
                                  else 'location ' || l.location_id::text end, ', ')
  into v_missing
  from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid)
  left join public.products p on p.tenant_id = p_tenant_id and p.id = l.product_id
  left join public.locations o on o.tenant_id = p_tenant_id and o.id = l.location_id
  where p.id is null or (l.location_id is not null and o.id is null);
  if v_missing is not null then
    perform private.fail('PT404', 'stock.not_found', format('Not in this tenant: %s.', v_missing));
  end if;
  select string_agg(format('%s of product %s%s, available %s', w.quantity, w.product_id,
    coalesce(' at location ' || w.location_id, ''), w.available), '; ' order by w.product_id, w.location_id)
  into v_short
  from (
    -- All lines of a product together: those without a place draw on what the others leave.
    select l.product_id, l.location_id, l.quantity, coalesce(sum(public.available(s)), 0) as available,
      sum(l.quantity) over (partition by l.product_id) as of_product
    from (
      select l.product_id, l.location_id, sum(l.quantity) as quantity
      from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid, quantity bigint)
      group by l.product_id, l.location_id
    ) l
    left join public.stock_levels s on s.tenant_id = p_tenant_id and s.product_id = l.product_id
      and (l.location_id is null or s.location_id = l.location_id)
    group by l.product_id, l.location_id, l.quantity
    order by 1, 2
  ) w
  where w.quantity > w.available or (w.location_id is null and w.of_product > w.available);
  perform private.fail('PT409', 'stock.insufficient', format('Wanted: %s.', left(v_short, 1000)),
    'Read what is available and decide anew.');
end $$;
revoke all on function private.explain_shortage(uuid, jsonb) from public, anon, authenticated, service_role;

-- Locks the levels of reservations; raises reservation.not_found if one is not there. Afterwards they stand still.
create function private.lock_reservations(p_tenant_id uuid, p_ids uuid[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_levels uuid[];
  v_missing text;
begin
  if coalesce(cardinality(p_ids), 0) not between 1 and 10000 then
    perform private.fail('PT400', 'reservation.ids_invalid', 'Name 1 to 10,000 reservations.');
  end if;
  select array_agg(distinct r.level_id), string_agg(coalesce(i.id::text, 'null'), ', ') filter (where r.id is null)
  into v_levels, v_missing
  from unnest(p_ids) as i (id)
  left join public.reservations r on r.id = i.id and r.tenant_id = p_tenant_id;
  if v_missing is not null then
    perform private.fail('PT404', 'reservation.not_found', format('Not in this tenant: %s.', left(v_missing, 1000)));
  end if;
  perform 1 from public.stock_levels s where s.id = any (v_levels) order by s.id for update;
end $$;
revoke all on function private.lock_reservations(uuid, uuid[]) from public, anon, authenticated, service_role;

-- Refuses reservations that are in none of the allowed states; a hold whose time is over counts as expired.
create function private.check_reservations(p_ids uuid[], p_allowed text[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_now constant timestamptz := private.now();
  v_wrong record;
begin
  select r.id, s.status into v_wrong
  from public.reservations r
  cross join lateral (select case when r.expires_at <= v_now then 'expired' else r.status end as status) s
  where r.id = any (p_ids) and s.status <> all (p_allowed)
  order by s.status = 'expired' desc, r.id
  limit 1;
  if v_wrong.status = 'expired' then
    perform private.fail('PT409', 'reservation.expired', format('Reservation %s has expired.', v_wrong.id),
      'Reserve again; the goods may be sold by now.');
  elsif v_wrong.status is not null then
    perform private.fail('PT409', 'reservation.wrong_status',
      format('Reservation %s is %s; this needs %s.', v_wrong.id, v_wrong.status, array_to_string(p_allowed, ' or ')));
  end if;
end $$;
revoke all on function private.check_reservations(uuid[], text[]) from public, anon, authenticated, service_role;

-- Holds end p_expires_in from now instead.
create function private.extend_for(p_tenant_id uuid, p_ids uuid[], p_expires_in interval)
returns setof public.reservations
language plpgsql security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_until constant timestamptz := private.hold_until(p_expires_in);
begin
  perform private.lock_reservations(p_tenant_id, p_ids);
  perform private.check_reservations(p_ids, '{held}');
  return query update public.reservations r set expires_at = v_until where r.id = any (p_ids) returning r.*;
end $$;
revoke all on function private.extend_for(uuid, uuid[], interval) from public, anon, authenticated, service_role;

-- Gives back what is not shipped. One that was given back already, or has expired, stays as it is.
create function private.release_for(p_tenant_id uuid, p_ids uuid[]) returns setof public.reservations
language plpgsql security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan set jit = off
as $$
begin
  perform private.lock_reservations(p_tenant_id, p_ids);
  perform private.check_reservations(p_ids, '{held,committed,released,expired}');
  perform private.give_back('release', 'released', p_ids);
  return query select r.* from public.reservations r where r.id = any (p_ids);
end $$;
revoke all on function private.release_for(uuid, uuid[]) from public, anon, authenticated, service_role;

-- Holds become promises without an end. The level's amounts stay, so the ledger has no line of it. Raises
-- reservation.expired for a hold whose time is over, even if nobody has taken the goods yet.
create function private.commit_for(p_tenant_id uuid, p_ids uuid[]) returns setof public.reservations
language plpgsql security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan set jit = off
as $$
begin
  perform private.lock_reservations(p_tenant_id, p_ids);
  perform private.check_reservations(p_ids, '{held,committed}');
  update public.reservations r set status = 'committed', expires_at = null
  where r.id = any (p_ids) and r.status = 'held';
  return query select r.* from public.reservations r where r.id = any (p_ids);
end $$;
revoke all on function private.commit_for(uuid, uuid[]) from public, anon, authenticated, service_role;

-- Committed goods leave the house: lines [{reservation_id, quantity?}]; without a quantity, all that is left.
create function private.ship_for(p_tenant_id uuid, p_lines jsonb) returns setof public.reservations
language plpgsql security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_ids constant uuid[] := (
    select array_agg(distinct l.reservation_id) from jsonb_to_recordset(p_lines) as l (reservation_id uuid)
  );
  v_constraint text;
  v_bad uuid;
begin
  perform private.lock_reservations(p_tenant_id, v_ids);
  perform private.check_reservations(v_ids, '{committed}');
  select r.id into v_bad
  from jsonb_to_recordset(p_lines) as l (reservation_id uuid, quantity bigint)
  join public.reservations r on r.id = l.reservation_id
  group by r.id
  having sum(coalesce(l.quantity, r.quantity - r.shipped)) > r.quantity - r.shipped
    or bool_or(coalesce(l.quantity, 1) < 1);
  if v_bad is not null then
    perform private.fail('PT409', 'reservation.too_much',
      format('Reservation %s: ship at least 1, and at most what is left of it.', v_bad));
  end if;

  perform private.move_levels('ship', array_agg(b.level_id), array_agg(-b.quantity), array_agg(-b.quantity), null, b.order_id)
  from (
    select r.level_id, sum(coalesce(l.quantity, r.quantity - r.shipped))::bigint as quantity,
      case when count(distinct r.order_id) = 1 and count(r.order_id) = count(*)
        then (array_agg(r.order_id))[1] end as order_id
    from jsonb_to_recordset(p_lines) as l (reservation_id uuid, quantity bigint)
    join public.reservations r on r.id = l.reservation_id
    group by r.level_id
  ) b
  group by b.order_id;
  update public.reservations r
  set shipped = r.shipped + l.quantity,
      status = case when r.shipped + l.quantity = r.quantity then 'shipped' else r.status end
  from (
    select l.reservation_id, sum(coalesce(l.quantity, o.quantity - o.shipped))::bigint as quantity
    from jsonb_to_recordset(p_lines) as l (reservation_id uuid, quantity bigint)
    join public.reservations o on o.id = l.reservation_id
    group by l.reservation_id
  ) l
  where r.id = l.reservation_id;
  return query select r.* from public.reservations r where r.id = any (v_ids);
exception when check_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_if_short(v_constraint, (
    select jsonb_agg(jsonb_build_object('product_id', r.product_id, 'location_id', r.location_id,
      'quantity', -coalesce(l.quantity, r.quantity - r.shipped)))
    from jsonb_to_recordset(p_lines) as l (reservation_id uuid, quantity bigint)
    join public.reservations r on r.id = l.reservation_id), p_may_fall_short => true);
  raise;
end $$;
revoke all on function private.ship_for(uuid, jsonb) from public, anon, authenticated, service_role;

-- Goods come back: lines [{product_id, location_id, quantity}]. Returns the levels, as private.move_stock does.
create function private.return_for(p_tenant_id uuid, p_lines jsonb, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.check_lines(p_lines, 'quantity', 1);
  return private.move_stock(p_tenant_id, 'return', p_lines, p_reason);
end $$;
revoke all on function private.return_for(uuid, jsonb, text) from public, anon, authenticated, service_role;

-- The answer of the commands below.
create function private.reservations_json(p_reservations public.reservations[]) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return (
    select jsonb_build_object('reservations', coalesce(jsonb_agg(jsonb_build_object(
      'reservation_id', r.id, 'product_id', r.product_id, 'location_id', r.location_id, 'order_id', r.order_id,
      'quantity', r.quantity, 'shipped', r.shipped, 'status', r.status, 'expires_at', r.expires_at, 'version', r.version
    ) order by r.level_id, r.id), '[]'))
    from unnest(p_reservations) r
  );
end $$;
revoke all on function private.reservations_json(public.reservations[]) from public, anon, authenticated, service_role;

-- The body of the public commands: may the caller, was it done before, do it.
create function private.reservation_command(p_tenant_id uuid, p_command text, p_key text, p_request jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_known jsonb;
  v_ids uuid[];
  v_done public.reservations[];
begin
  perform private.require(p_tenant_id, 'inventory.write');
  perform private.require_plain(p_request);
  v_known := private.begin_command(p_tenant_id, p_command, p_key, p_request);
  if v_known is not null then
    return v_known;
  end if;
  select array_agg(i.id::uuid) into v_ids from jsonb_array_elements_text(nullif(p_request -> 'ids', 'null')) i (id);
  case p_command
    when 'reserve_stock' then
      v_done := array(select r from private.reserve_for(p_tenant_id, p_request -> 'lines',
        (p_request ->> 'expires_in')::interval, (p_request ->> 'order_id')::uuid) r);
    when 'extend_reservation' then
      v_done := array(select r from private.extend_for(p_tenant_id, v_ids, (p_request ->> 'expires_in')::interval) r);
    when 'release_reservation' then
      v_done := array(select r from private.release_for(p_tenant_id, v_ids) r);
    when 'commit_reservation' then
      v_done := array(select r from private.commit_for(p_tenant_id, v_ids) r);
    when 'ship_reservation' then
      v_done := array(select r from private.ship_for(p_tenant_id, p_request -> 'lines') r);
  end case;
  return private.end_command(p_tenant_id, p_command, p_key, private.reservations_json(v_done));
end $$;
revoke all on function private.reservation_command(uuid, text, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.reservation_command(uuid, text, text, jsonb) to authenticated, service_role;

-- Holds goods for a while: see private.reserve_for. Lines: [{"product_id", "location_id" or null, "quantity"}].
create function public.reserve_stock(
  p_tenant_id uuid, p_lines jsonb, p_expires_in interval default '15 minutes', p_key text default null,
  p_order_id uuid default null
) returns jsonb
language sql volatile set search_path = ''
as $$
  select private.reservation_command(p_tenant_id, 'reserve_stock', p_key,
    jsonb_build_object('lines', p_lines, 'expires_in', p_expires_in, 'order_id', p_order_id))
$$;
revoke all on function public.reserve_stock(uuid, jsonb, interval, text, uuid)
  from public, anon, authenticated, service_role;
grant execute on function public.reserve_stock(uuid, jsonb, interval, text, uuid) to authenticated, service_role;

-- Lets holds that have not expired last p_expires_in from now.
create function public.extend_reservation(
  p_tenant_id uuid, p_reservation_ids uuid[], p_expires_in interval default '15 minutes', p_key text default null
) returns jsonb
language sql volatile set search_path = ''
as $$
  select private.reservation_command(p_tenant_id, 'extend_reservation', p_key,
    jsonb_build_object('ids', p_reservation_ids, 'expires_in', p_expires_in))
$$;
revoke all on function public.extend_reservation(uuid, uuid[], interval, text)
  from public, anon, authenticated, service_role;
grant execute on function public.extend_reservation(uuid, uuid[], interval, text) to authenticated, service_role;

-- Gives back what held or committed reservations still wait for.
create function public.release_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text default null)
returns jsonb
language sql volatile set search_path = ''
as $$
  select private.reservation_command(p_tenant_id, 'release_reservation', p_key, jsonb_build_object('ids', p_reservation_ids))
$$;
revoke all on function public.release_reservation(uuid, uuid[], text) from public, anon, authenticated, service_role;
grant execute on function public.release_reservation(uuid, uuid[], text) to authenticated, service_role;

-- Makes holds lasting: the goods are sold.
create function public.commit_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text default null)
returns jsonb
language sql volatile set search_path = ''
as $$
  select private.reservation_command(p_tenant_id, 'commit_reservation', p_key, jsonb_build_object('ids', p_reservation_ids))
$$;
revoke all on function public.commit_reservation(uuid, uuid[], text) from public, anon, authenticated, service_role;
grant execute on function public.commit_reservation(uuid, uuid[], text) to authenticated, service_role;

-- Ships committed reservations: all that is left of p_reservation_ids, or the quantities of p_lines
-- [{"reservation_id", "quantity"}].
create function public.ship_reservation(
  p_tenant_id uuid, p_reservation_ids uuid[] default null, p_key text default null, p_lines jsonb default null
) returns jsonb
language sql volatile set search_path = ''
as $$
  select private.reservation_command(p_tenant_id, 'ship_reservation', p_key, jsonb_build_object('lines',
    coalesce(p_lines, (select jsonb_agg(jsonb_build_object('reservation_id', i)) from unnest(p_reservation_ids) i), '[]')))
$$;
revoke all on function public.ship_reservation(uuid, uuid[], text, jsonb) from public, anon, authenticated, service_role;
grant execute on function public.ship_reservation(uuid, uuid[], text, jsonb) to authenticated, service_role;

-- Ends up to p_limit holds whose time is over, the oldest first, and says whether more may be due. Levels that somebody
-- works on are left to them, or to the next sweep.
create function worker.sweep_reservations(p_limit integer default 1000) returns jsonb
language plpgsql volatile security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_now constant timestamptz := private.now();
  v_due uuid[];
  v_levels uuid[];
  v_expired integer;
begin
  select array_agg(d.id), array_agg(distinct d.level_id) into v_due, v_levels
  from (
    select r.id, r.level_id from public.reservations r
    where r.status = 'held' and r.expires_at <= v_now
    order by r.expires_at
    limit greatest(1, least(p_limit, 10000))
  ) d;
  select array_agg(s.id) into v_levels
  from (select s.id from public.stock_levels s where s.id = any (v_levels) order by s.id for update skip locked) s;
  -- Read again under the locks: one that was extended meanwhile goes on.
  select count(*) into v_expired from private.give_back('expire', 'expired', array(
    select r.id from public.reservations r
    where r.id = any (v_due) and r.level_id = any (v_levels) and r.status = 'held' and r.expires_at <= v_now
  ));
  return jsonb_build_object('expired', v_expired, 'more', v_expired > 0 and cardinality(v_due) >= p_limit);
end $$;
revoke all on function worker.sweep_reservations(integer) from public, anon, authenticated, service_role;
grant execute on function worker.sweep_reservations(integer) to service_role;

insert into private.event_map (entity, operation, rank, when_field, when_value, verb, description) values
  ('reservation', 'INSERT', 9, null,     null,        'created',
    'Stock was promised: it is held until expires_at.'),
  ('reservation', 'UPDATE', 1, 'status', 'committed', 'committed',
    'The hold became firm and expires no longer.'),
  ('reservation', 'UPDATE', 2, 'status', 'shipped',   'shipped',
    'The last of it left the stock.'),
  ('reservation', 'UPDATE', 3, 'status', 'released',  'released',
    'What was not shipped was given back.'),
  ('reservation', 'UPDATE', 4, 'status', 'expired',   'expired',
    'The hold ran out and was given back.'),
  ('reservation', 'UPDATE', 9, null,     null,        'updated',
    'A part was shipped, or the hold was extended.');

select private.log_changes_of('public.reservations', 'reservation', 'inventory.read');
