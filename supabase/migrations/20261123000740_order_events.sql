-- Order events.
--
-- order_event locks the order, compares its version, looks the transition up, lets its effect happen, asks its guard,
-- and writes down where the order went; whatever fails on the way takes all of it back. An effect is a function of the
-- order and the event's payload: it changes lines, reservations and stock, and gives back the order with its amounts
-- changed. Guards look at those amounts alone.
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
    from public.order_lines l where l.tenant_id = p_order.tenant_id and l.order_id = p_order.id
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
      where l.tenant_id = p_order.tenant_id and l.order_id = p_order.id and m.room > 0
    );
  end if;

  select string_agg(format('line %s has %s left', a.line_id, coalesce(m.room, 0)), '; ' order by a.line_id) into v_wrong
  from (
    select e.line_id, sum(e.quantity) as quantity
    from jsonb_to_recordset(v_asked) as e (line_id uuid, quantity bigint) group by e.line_id
  ) a
  left join public.order_lines l on l.tenant_id = p_order.tenant_id and l.order_id = p_order.id and l.id = a.line_id
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

-- The order with the sums of its lines.
create function private.sum_order_lines(p_order public.orders) returns public.orders
language plpgsql volatile security definer set search_path = ''
as $$
begin
  select sum(l.fulfilled), sum(l.cancelled), sum(l.returned)
  into p_order.fulfilled, p_order.cancelled, p_order.returned
  from public.order_lines l where l.tenant_id = p_order.tenant_id and l.order_id = p_order.id;
  return p_order;
end $$;
revoke all on function private.sum_order_lines(public.orders) from public, anon, authenticated, service_role;

-- Effect: these pieces leave the stock. Committed stock that somebody gave away is replaced if there is any.
create function private.ship_order_lines(p_order public.orders, p_payload jsonb) returns public.orders
language plpgsql security definer set search_path = ''
as $$
declare
  v_asked constant jsonb := private.asked_order_lines(p_order, p_payload, false);
  v_picked jsonb := private.pick_order_stock(p_order, v_asked);
  v_lacking text;
begin
  if v_picked is null then
    v_lacking := private.secure_order_stock(p_order);
    v_picked := private.pick_order_stock(p_order, v_asked);
  end if;
  if v_picked is null then
    perform private.fail('PT409', 'order.stock_missing', v_lacking,
      'Stock that was committed for the order was given away; receive some, or cancel the rest.');
  end if;
  perform private.ship_for(p_order.tenant_id, v_picked);
  update public.order_lines l set fulfilled = l.fulfilled + a.quantity
  from (
    select e.line_id, sum(e.quantity)::bigint as quantity
    from jsonb_to_recordset(v_asked) as e (line_id uuid, quantity bigint) group by e.line_id
  ) a
  where l.id = a.line_id;
  return private.sum_order_lines(p_order);
end $$;
revoke all on function private.ship_order_lines(public.orders, jsonb) from public, anon, authenticated, service_role;

-- Effect: what has not left the stock never will; its reservations are given back.
create function private.give_up_order_rest(p_order public.orders) returns public.orders
language plpgsql security definer set search_path = ''
as $$
declare
  v_open constant uuid[] := (
    select array_agg(r.id) from public.reservations r
    where r.order_id = p_order.id and r.status in ('held', 'committed')
  );
begin
  if v_open is not null then
    perform private.release_for(p_order.tenant_id, v_open);
  end if;
  update public.order_lines l set cancelled = l.quantity - l.fulfilled
  where l.tenant_id = p_order.tenant_id and l.order_id = p_order.id;
  return private.sum_order_lines(p_order);
end $$;
revoke all on function private.give_up_order_rest(public.orders) from public, anon, authenticated, service_role;

-- payload.amount, or p_most without one. Raises order.amount_invalid unless it is a number above 0, at most p_most, with
-- no more decimal places than the currency has.
create function private.asked_amount(p_order public.orders, p_payload jsonb, p_most numeric) returns numeric
language plpgsql stable set search_path = ''
as $$
declare
  v_amount numeric;
begin
  if not p_payload ? 'amount' then
    v_amount := p_most;
  elsif jsonb_typeof(p_payload -> 'amount') = 'number' then
    v_amount := (p_payload ->> 'amount')::numeric;
  end if;
  if v_amount is null or v_amount <= 0 or v_amount > p_most
    or v_amount <> round(v_amount, private.minor_units(p_order.currency)) then
    perform private.fail('PT422', 'order.amount_invalid', format('payload.amount must be above 0 and at most %s %s.',
      round(p_most, private.minor_units(p_order.currency)), p_order.currency));
  end if;
  return v_amount;
end $$;
revoke all on function private.asked_amount(public.orders, jsonb, numeric) from public, anon, authenticated, service_role;

-- Effect: the customer has paid all of it.
create function private.take_order_payment(p_order public.orders, p_payload jsonb) returns public.orders
language plpgsql security definer set search_path = ''
as $$
begin
  if p_payload ? 'amount' and (p_payload -> 'amount') is distinct from to_jsonb(p_order.total) then
    perform private.fail('PT422', 'order.amount_invalid', format('payload.amount must be the total, %s %s.',
      round(p_order.total, private.minor_units(p_order.currency)), p_order.currency));
  end if;
  p_order.paid_total := p_order.total;
  p_order.paid_at := private.now();
  p_order.review_reason := private.secure_order_stock(p_order);
  return p_order;
end $$;
revoke all on function private.take_order_payment(public.orders, jsonb) from public, anon, authenticated, service_role;

-- Effect: money goes back. Who got all of it back is owed no goods either.
create function private.refund_order_money(p_order public.orders, p_payload jsonb) returns public.orders
language plpgsql security definer set search_path = ''
as $$
begin
  p_order.refunded_total := p_order.refunded_total
    + private.asked_amount(p_order, p_payload, p_order.paid_total - p_order.refunded_total);
  if p_order.refunded_total = p_order.paid_total then
    return private.give_up_order_rest(p_order);
  end if;
  return p_order;
end $$;
revoke all on function private.refund_order_money(public.orders, jsonb) from public, anon, authenticated, service_role;

-- Effect: pieces come back, into stock at the location that they name, else at the one that most of the product left
-- from; those with restock false are booked out for good.
create function private.take_order_back(p_order public.orders, p_payload jsonb) returns public.orders
language plpgsql security definer set search_path = ''
as $$
declare
  v_asked constant jsonb := private.asked_order_lines(p_order, p_payload, true);
  v_stock jsonb;
begin
  select jsonb_agg(jsonb_build_object('product_id', a.product_id, 'quantity', a.quantity, 'location_id',
    coalesce(a.location_id, (
      select r.location_id from public.reservations r
      where r.order_id = p_order.id and r.product_id = a.product_id and r.shipped > 0
      group by r.location_id order by sum(r.shipped) desc, r.location_id limit 1
    ))))
  into v_stock
  from jsonb_to_recordset(v_asked) as a (product_id uuid, quantity bigint, location_id uuid, restock boolean)
  where a.restock;
  if v_stock is not null then
    perform private.return_for(p_order.tenant_id, v_stock, 'order ' || p_order.number);
  end if;
  update public.order_lines l set returned = l.returned + a.quantity
  from (
    select e.line_id, sum(e.quantity)::bigint as quantity
    from jsonb_to_recordset(v_asked) as e (line_id uuid, quantity bigint) group by e.line_id
  ) a
  where l.id = a.line_id;
  return private.sum_order_lines(p_order);
end $$;
revoke all on function private.take_order_back(public.orders, jsonb) from public, anon, authenticated, service_role;

create function private.apply_order_effect(p_order public.orders, p_effect text, p_payload jsonb) returns public.orders
language plpgsql security definer set search_path = ''
as $$
begin
  case p_effect
    when 'take_payment' then return private.take_order_payment(p_order, p_payload);
    when 'secure_stock' then
      p_order.review_reason := private.secure_order_stock(p_order);
      return p_order;
    when 'ship_lines' then return private.ship_order_lines(p_order, p_payload);
    when 'ship_rest' then
      if p_order.fulfilled + p_order.cancelled = p_order.quantity then
        return p_order;
      end if;
      return private.ship_order_lines(p_order, '{}');
    when 'give_up_rest' then return private.give_up_order_rest(p_order);
    when 'refund_money' then return private.refund_order_money(p_order, p_payload);
    when 'take_back' then return private.take_order_back(p_order, p_payload);
  end case;
end $$;
revoke all on function private.apply_order_effect(public.orders, text, jsonb)
  from public, anon, authenticated, service_role;

-- Whether a guard holds for an order as its effect left it; no guard always does.
create function private.order_guard_holds(p_order public.orders, p_guard text) returns boolean
language sql immutable set search_path = ''
as $$
  select case p_guard
    when 'stock_secured' then p_order.review_reason is null
    when 'all_fulfilled' then p_order.fulfilled + p_order.cancelled = p_order.quantity
    when 'all_refunded' then p_order.refunded_total = p_order.paid_total
    when 'all_returned' then p_order.returned = p_order.fulfilled
    else true end
$$;
revoke all on function private.order_guard_holds(public.orders, text) from public, anon, authenticated, service_role;

-- Locks an order for an event and says what the event does to it. Raises order.not_found, version.stale,
-- order.transition_illegal.
create function private.open_order(
  p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint,
  out locked public.orders, out rule private.order_transitions
)
language plpgsql security definer set search_path = ''
as $$
begin
  select * into locked from public.orders o where o.tenant_id = p_tenant_id and o.id = p_order_id for update;
  if locked.id is null then
    perform private.fail('PT404', 'order.not_found', format('There is no order %s in this tenant.', p_order_id));
  end if;
  if p_expected_version <> locked.version then
    perform private.fail('PT409', 'version.stale',
      format('You sent version %s; the stored version is %s.', p_expected_version, locked.version),
      'Read the order again, and send the version that you read.');
  end if;
  select * into rule from private.order_transitions t where t.from_status = locked.status and t.event = p_event;
  if rule.event is null then
    perform private.fail('PT409', 'order.transition_illegal', format('An order that is %s knows no %s; legal: %s.',
      locked.status, p_event, array_to_string(private.legal_order_events(locked.status), ', ')));
  end if;
end $$;
revoke all on function private.open_order(uuid, uuid, text, bigint) from public, anon, authenticated, service_role;

-- The transition itself, for an order that open_order locked.
create function private.move_order(p_order public.orders, p_rule private.order_transitions, p_payload jsonb)
returns public.orders
language plpgsql security definer set search_path = ''
as $$
declare
  v_new public.orders := private.apply_order_effect(p_order, p_rule.effect, p_payload);
begin
  v_new.status := case when private.order_guard_holds(v_new, p_rule.guard) then p_rule.to_status
    else p_rule.else_status end;
  if v_new.status is null then
    perform private.fail('PT409', 'order.guard_failed',
      concat_ws(' ', format('%s needs %s.', p_rule.event, p_rule.guard), v_new.review_reason));
  end if;
  update public.orders o
  set status = v_new.status, paid_total = v_new.paid_total, paid_at = v_new.paid_at,
      review_reason = case v_new.status when 'needs_review' then v_new.review_reason end,
      refunded_total = v_new.refunded_total,
      fulfilled = v_new.fulfilled, cancelled = v_new.cancelled, returned = v_new.returned
  where o.id = p_order.id
  returning * into v_new;
  perform private.record_order_event(v_new, p_rule.event, p_rule.from_status, p_payload);
  return v_new;
end $$;
revoke all on function private.move_order(public.orders, private.order_transitions, jsonb)
  from public, anon, authenticated, service_role;

create function private.order_event(
  p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, p_key text, p_payload jsonb
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_known jsonb;
  v_open record;
  v_order public.orders;
begin
  perform private.require(p_tenant_id, 'orders.write');
  if not exists (select from private.order_transitions t where t.event = p_event) then
    perform private.fail('PT400', 'order.event_unknown', format('%s is no event of an order.', coalesce(p_event, 'null')));
  end if;
  if jsonb_typeof(p_payload) is distinct from 'object' or octet_length(p_payload::text) > 65536 then
    perform private.fail('PT400', 'order.payload_invalid', 'p_payload must be an object of at most 64 KiB.');
  end if;
  v_known := private.begin_command(p_tenant_id, 'order_event', p_key, jsonb_build_object('order_id', p_order_id,
    'event', p_event, 'expected_version', p_expected_version, 'payload', p_payload));
  if v_known is not null then
    return v_known;
  end if;
  v_open := private.open_order(p_tenant_id, p_order_id, p_event, p_expected_version);
  v_order := private.move_order(v_open.locked, v_open.rule, p_payload);
  return private.end_command(p_tenant_id, 'order_event', p_key, private.order_as_json(v_order));
end $$;
revoke all on function private.order_event(uuid, uuid, text, bigint, text, jsonb)
  from public, anon, authenticated, service_role;
grant execute on function private.order_event(uuid, uuid, text, bigint, text, jsonb) to authenticated, service_role;

-- Lets an event happen to an order at the version that the caller read; null takes whatever version there is. Payload by
-- event: pay {amount?: the total}; fulfil {lines?: [{line_id, quantity}]}; return {lines?: [{line_id, quantity,
-- location_id?, restock?}]}; refund {amount?}; anything else in it (a payment's reference, a tracking number) is kept in
-- the history. Returns what place_order does. Raises order.not_found, version.stale, order.transition_illegal and what
-- docs/errors.md lists under order.
create function public.order_event(
  p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, p_key text default null,
  p_payload jsonb default '{}'
) returns jsonb
language sql volatile set search_path = ''
as $$ select private.order_event(p_tenant_id, p_order_id, p_event, p_expected_version, p_key, p_payload) $$;
revoke all on function public.order_event(uuid, uuid, text, bigint, text, jsonb)
  from public, anon, authenticated, service_role;
grant execute on function public.order_event(uuid, uuid, text, bigint, text, jsonb) to authenticated, service_role;
