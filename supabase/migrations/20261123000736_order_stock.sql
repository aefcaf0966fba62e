-- The stock of orders.
--
-- An order's reservations are one pool per product: two lines of one product share it. They may be touched by others
-- too (a hold expires, a clerk releases one), so what an order still needs is always computed from what is there.

-- What the order still needs and has no living reservation for: lines of reserve_stock, or null. At any location: one
-- that was wished for when the order was placed may have sold out since.
create function private.missing_order_stock(p_order public.orders) returns jsonb
language sql volatile security definer set search_path = ''
as $$
  with clock as materialized (select private.now() as at), needed as (
    select l.product_id, sum(l.quantity - l.fulfilled - l.cancelled) as quantity
    from public.order_lines l where l.order_id = p_order.id
    group by l.product_id
  ), kept as (
    select r.product_id, sum(r.quantity - r.shipped) as quantity
    from public.reservations r, clock c
    where r.order_id = p_order.id and (r.status = 'committed' or r.status = 'held' and r.expires_at > c.at)
    group by r.product_id
  )
  select jsonb_agg(jsonb_build_object('product_id', n.product_id, 'location_id', null,
    'quantity', n.quantity - coalesce(k.quantity, 0)) order by n.product_id)
  from needed n left join kept k using (product_id)
  where n.quantity > coalesce(k.quantity, 0)
$$;
revoke all on function private.missing_order_stock(public.orders) from public, anon, authenticated, service_role;

-- Commits what the order still holds. A hold that ends between the look and the commit is not there at the second look.
create function private.commit_order_holds(p_order public.orders) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_now timestamptz;
  v_held uuid[];
begin
  for v_try in 1..2 loop
    begin
      v_now := private.now();
      select array_agg(r.id) into v_held from public.reservations r
      where r.order_id = p_order.id and r.status = 'held' and r.expires_at > v_now;
      if v_held is not null then
        perform private.commit_for(p_order.tenant_id, v_held);
      end if;
      return;
    exception when sqlstate 'PT409' then
      if sqlerrm <> 'reservation.expired' or v_try = 2 then
        raise;
      end if;
    end;
  end loop;
end $$;
revoke all on function private.commit_order_holds(public.orders) from public, anon, authenticated, service_role;

-- Commits what the order holds and reserves what it lacks: null if it then has all it needs, else what is lacking. What
-- it held stays committed in either case. The levels of all its products are locked first.
create function private.secure_order_stock(p_order public.orders) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_missing jsonb;
  v_detail text;
begin
  perform 1 from public.stock_levels s
  where s.tenant_id = p_order.tenant_id
    and s.product_id in (select l.product_id from public.order_lines l where l.order_id = p_order.id)
  order by s.id
  for update;
  perform private.commit_order_holds(p_order);
  v_missing := private.missing_order_stock(p_order);
  if v_missing is null then
    return null;
  end if;
  begin
    perform private.reserve_for(p_order.tenant_id, v_missing, interval '1 hour', p_order.id);
    perform private.commit_order_holds(p_order);
    return null;
  exception when sqlstate 'PT409' then
    get stacked diagnostics v_detail = pg_exception_detail;
    if sqlerrm <> 'stock.insufficient' then
      raise;
    end if;
    return v_detail;
  end;
end $$;
revoke all on function private.secure_order_stock(public.orders) from public, anon, authenticated, service_role;

-- What an event is about: lines [{line_id, product_id, quantity, location_id, restock}] from payload.lines, or all that
-- can still go out (or, with p_back, come back). Raises order.lines_invalid, order.quantity_exceeded.
create function private.asked_order_lines(p_order public.orders, p_payload jsonb, p_back boolean) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_asked jsonb;
  v_wrong text;
begin
  if p_payload ? 'lines' then
    v_asked := p_payload -> 'lines';
    if jsonb_typeof(v_asked) <> 'array' or jsonb_array_length(v_asked) not between 1 and 500 or exists (
      select from jsonb_array_elements(v_asked) e
      where jsonb_typeof(e -> 'line_id') is distinct from 'string'
        or not private.is_order_quantity(coalesce(e -> 'quantity', 'null'))
    ) then
      perform private.fail('PT400', 'order.lines_invalid',
        'payload.lines must be an array of 1 to 500 lines, each with a line_id and a whole quantity from 1 to 1,000,000.');
    end if;
  else
    v_asked := (
      select jsonb_agg(jsonb_build_object('line_id', l.id, 'quantity', m.room) order by l.position)
      from public.order_lines l
      cross join lateral (
        select case when p_back then l.fulfilled - l.returned else l.quantity - l.fulfilled - l.cancelled end as room) m
      where l.order_id = p_order.id and m.room > 0
    );
  end if;

  select string_agg(format('line %s has %s left', a.line_id, coalesce(m.room, 0)), '; ' order by a.line_id) into v_wrong
  from (
    select e.line_id, sum(e.quantity) as quantity
    from jsonb_to_recordset(v_asked) as e (line_id uuid, quantity bigint) group by e.line_id
  ) a
  left join public.order_lines l on l.order_id = p_order.id and l.id = a.line_id
  cross join lateral (
    select case when p_back then l.fulfilled - l.returned else l.quantity - l.fulfilled - l.cancelled end as room) m
  where a.quantity > coalesce(m.room, 0);
  if v_asked is null or v_wrong is not null then
    perform private.fail('PT422', 'order.quantity_exceeded', coalesce(upper(left(v_wrong, 1)) || substr(v_wrong, 2) || '.',
      'Nothing of this order is left for it.'));
  end if;
  return (
    select jsonb_agg(jsonb_build_object('line_id', l.id, 'product_id', l.product_id, 'quantity', e.quantity,
      'location_id', e.location_id, 'restock', coalesce(e.restock, true)))
    from jsonb_to_recordset(v_asked) as e (line_id uuid, quantity bigint, location_id uuid, restock boolean)
    join public.order_lines l on l.id = e.line_id
  );
end $$;
revoke all on function private.asked_order_lines(public.orders, jsonb, boolean)
  from public, anon, authenticated, service_role;

-- Which committed reservations of the order give these pieces: lines of ship_reservation, the oldest first; null if they
-- do not suffice.
create function private.pick_order_stock(p_order public.orders, p_asked jsonb) returns jsonb
language sql volatile security definer set search_path = ''
as $$
  with wanted as (
    select a.product_id, sum(a.quantity) as quantity
    from jsonb_to_recordset(p_asked) as a (product_id uuid, quantity bigint) group by a.product_id
  ), pool as (
    select r.id, r.product_id, r.quantity - r.shipped as rest,
      sum(r.quantity - r.shipped) over (partition by r.product_id order by r.created_at, r.id)
        - (r.quantity - r.shipped) as before
    from public.reservations r where r.order_id = p_order.id and r.status = 'committed'
  ), picked as (
    select p.id, least(p.rest, w.quantity - p.before) as quantity
    from pool p join wanted w using (product_id) where w.quantity > p.before
  )
  select case when sum(p.quantity) = (select sum(w.quantity) from wanted w)
    then jsonb_agg(jsonb_build_object('reservation_id', p.id, 'quantity', p.quantity)) end
  from picked p
$$;
revoke all on function private.pick_order_stock(public.orders, jsonb) from public, anon, authenticated, service_role;
