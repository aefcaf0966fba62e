-- The effects of order events.
--
-- An effect is a function of the order and the event's payload: it changes lines, reservations and stock, and gives
-- back the order with its amounts changed, for order_event to store.

-- The order with the sums of its lines.
create function private.sum_order_lines(p_order public.orders) returns public.orders
language plpgsql volatile security definer set search_path = ''
as $$
begin
  select sum(l.fulfilled), sum(l.cancelled), sum(l.returned)
  into p_order.fulfilled, p_order.cancelled, p_order.returned
  from public.order_lines l where l.order_id = p_order.id;
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
  where l.order_id = p_order.id;
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
