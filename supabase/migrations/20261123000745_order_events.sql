-- Order events.
--
-- order_event locks the order, compares its version, looks the transition up, lets its effect happen, asks its guard,
-- and writes down where the order went; whatever fails on the way takes all of it back. Guards look at the order's own
-- amounts alone.

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
  -- By its primary key: on empty tables any index that begins with the tenant looks as good, and such a plan stays.
  select * into locked from public.orders o
  where o.id = p_order_id and (o.tenant_id = p_tenant_id) is true for update;
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

-- The body of order_event. Its pins hold for everything it calls: see private.move_stock.
create function private.order_event(
  p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, p_key text, p_payload jsonb
) returns jsonb
language plpgsql security definer set search_path = ''
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_known jsonb;
  v_open record;
  v_order public.orders;
begin
  perform private.require(p_tenant_id, 'orders.write');
  perform private.require_plain(p_payload);
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
