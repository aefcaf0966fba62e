-- Inbound webhooks: events that another system sends, one at a time, by the edge adapter.
--
-- receive_webhook keeps each event once, by its id, for whoever signed the call. What is to be done of it is never done in the
-- call, so that the answer is quick:
--
--   products, stock   become a message of the inbox, in the same transaction, and take the way of sync from there
--   orders            are a job: a worker calls apply_webhook as the principal, one event of an order after the other
--   other types       are kept, and reported once per type and day
--
--   queued ──► done       an order's event happened (that of a product: see sync_changes)
--          └─► rejected   it was refused: `error` has the code; reported once per code and day
--   duplicate, stale      the sender had said the same, or something newer, before
--   unknown               nothing here knows what to do with its type
--
-- product:   {"id": uuid (or "sku": of a product that there is), "version"?, fields…}: product.created, .updated, .deleted
-- inventory: {"level_id" or "product_id"/"sku" with "location_id"/"location": code, "version"?, "on_hand"…}: inventory.updated
-- order:     {"order_id" or "number", "version"?: the one that we had, what order_event takes…}: order.paid and the like
--
-- The number of a state over there is its "version", else the milliseconds of the event's timestamp.

create table private.inbound_types (
  type text primary key,
  kind text not null constraint inbound_types_kind_known check (kind in ('product', 'inventory', 'order')),
  order_event text,
  constraint inbound_types_event_of_orders check ((kind = 'order') = (order_event is not null))
);
comment on table private.inbound_types is 'The types of inbound webhooks that mean something here';
alter table private.inbound_types enable row level security;
revoke all on private.inbound_types from public, anon, authenticated, service_role;
insert into private.inbound_types (type, kind, order_event) values
  ('product.created', 'product', null), ('product.updated', 'product', null), ('product.deleted', 'product', null),
  ('inventory.updated', 'inventory', null), ('inventory.adjusted', 'inventory', null), ('stock.updated', 'inventory', null),
  ('order.paid', 'order', 'pay'), ('order.cancelled', 'order', 'cancel'), ('order.shipped', 'order', 'ship'),
  ('order.fulfilled', 'order', 'fulfil'), ('order.refunded', 'order', 'refund'), ('order.returned', 'order', 'return');

create table public.inbound_webhooks (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  principal_id uuid not null,
  event_id text not null constraint inbound_webhooks_event_id_form check (length(event_id) between 1 and 200 and private.is_clean(event_id)),
  kind text not null constraint inbound_webhooks_kind_known check (kind in ('product', 'inventory', 'order')),
  type text not null constraint inbound_webhooks_type_form check (type ~ '^[A-Za-z0-9_.:/-]{1,100}$'),
  data jsonb not null constraint inbound_webhooks_data_object check (jsonb_typeof(data) = 'object'),
  occurred_at timestamptz not null,
  received_at timestamptz not null default private.now(),
  status text not null default 'queued' constraint inbound_webhooks_status_known
    check (status in ('queued', 'done', 'duplicate', 'stale', 'rejected', 'unknown')),
  error jsonb,
  settled_at timestamptz,
  inbox_message_id uuid,
  change_id uuid,
  order_id uuid,
  constraint inbound_webhooks_once unique (tenant_id, principal_id, event_id),
  constraint inbound_webhooks_error_of_rejected check ((status = 'rejected') = (error is not null))
);
comment on table public.inbound_webhooks is 'Events that other systems sent, and what became of them; kept 30 days';
comment on column public.inbound_webhooks.principal_id is 'Who sent it, an API key for example: its permissions decide';
comment on column public.inbound_webhooks.inbox_message_id is 'The message that it became: inbox_messages, as long as that is kept';
comment on column public.inbound_webhooks.change_id is 'What was pushed for it: sync_changes says what became of that';
create index inbound_webhooks_by_age on public.inbound_webhooks (received_at);
create index inbound_webhooks_newest on public.inbound_webhooks (tenant_id, received_at desc);
create index inbound_webhooks_unsettled on public.inbound_webhooks (status, received_at) where status in ('rejected', 'unknown')
  or status = 'queued' and kind = 'order';

alter table public.inbound_webhooks enable row level security;
create policy "only within one's own tenants" on public.inbound_webhooks
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "senders see their own events, managers see everyone's" on public.inbound_webhooks
  for select to authenticated
  using (
    principal_id = (select auth.uid())
    or tenant_id = any ((select private.tenants_with('sync.manage'))::uuid[])
  );
revoke all on public.inbound_webhooks from anon, authenticated, service_role;
grant select on public.inbound_webhooks to authenticated, service_role;

-- Why this is no event; null when it is one.
create function private.webhook_fault(p_event jsonb) returns text
language plpgsql stable set search_path = ''
as $$
begin
  return case
    when jsonb_typeof(p_event) is distinct from 'object' then 'the event must be an object'
    when jsonb_typeof(p_event -> 'id') is distinct from 'string' or length(p_event ->> 'id') not between 1 and 200
      or not private.is_clean(p_event ->> 'id') then 'id must be a text of 1 to 200 characters'
    when jsonb_typeof(p_event -> 'type') is distinct from 'string' or p_event ->> 'type' !~ '^[A-Za-z0-9_.:/-]{1,100}$'
      then 'type must be a text of 1 to 100 letters, digits or "_.:/-"'
    when jsonb_typeof(p_event -> 'timestamp') is distinct from 'string' or p_event ->> 'timestamp' !~ '^[0-9]{4}-'
      or not pg_input_is_valid(p_event ->> 'timestamp', 'timestamptz') then 'timestamp must be a time, as 2026-11-23T07:19:23Z'
    when jsonb_typeof(p_event -> 'data') is distinct from 'object' then 'data must be an object'
    when octet_length(p_event ->> 'data') > 131072 or not private.is_plain(p_event -> 'data')
      then 'data is too large (128 KiB), too deep, or has numbers of more than 40 digits'
  end;
end $$;
revoke all on function private.webhook_fault(jsonb) from public, anon, authenticated, service_role;

-- Settles an event as refused, and tells the tenant's people once per code and day.
create function private.reject_webhook(p_webhook public.inbound_webhooks, p_code text, p_detail text) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update public.inbound_webhooks w
  set status = 'rejected', error = jsonb_build_object('code', p_code, 'detail', p_detail), settled_at = private.now()
  where w.id = p_webhook.id;
  perform private.notify_tenant(p_webhook.tenant_id, left(format('inbound %s %s %s', p_webhook.kind, p_code, private.today()), 200),
    'inbound.rejected', 'warning', p_webhook.id, format('An inbound %s event was refused: %s', p_webhook.kind, left(p_code, 100)),
    format('%s of %s: %s. Others like it may follow; inbound_webhooks lists them.', p_webhook.type, p_webhook.event_id, p_detail));
end $$;
revoke all on function private.reject_webhook(public.inbound_webhooks, text, text) from public, anon, authenticated, service_role;

-- Null for what is no UUID. By statements: within one, a planner may cast before it asks.
create function private.uuid_or_null(p_text text) returns uuid
language plpgsql immutable set search_path = ''
as $$
begin
  if pg_input_is_valid(p_text, 'uuid') then
    return p_text::uuid;
  end if;
  return null;
end $$;
revoke all on function private.uuid_or_null(text) from public, anon, authenticated, service_role;

-- The product that an event is about: by id, else by the sku of a living one; null when there is none.
create function private.webhook_product(p_tenant_id uuid, p_id text, p_sku text) returns uuid
language plpgsql stable set search_path = '' set enable_seqscan = off
as $$
begin
  if p_id is not null then
    return private.uuid_or_null(p_id);
  end if;
  return (select p.id from public.products p where p.tenant_id = p_tenant_id and p.sku = p_sku and p.deleted_at is null);
end $$;
revoke all on function private.webhook_product(uuid, text, text) from public, anon, authenticated, service_role;

-- The level that an event is about; null when there is none.
create function private.webhook_level(p_tenant_id uuid, p_data jsonb) returns uuid
language plpgsql stable set search_path = '' set enable_seqscan = off
as $$
begin
  if p_data ->> 'level_id' is not null then
    return private.uuid_or_null(p_data ->> 'level_id');
  end if;
  return (
    select l.id from public.stock_levels l join public.locations s on s.id = l.location_id
    where l.tenant_id = p_tenant_id and s.tenant_id = p_tenant_id
      and l.product_id = private.webhook_product(p_tenant_id, p_data ->> 'product_id', p_data ->> 'sku')
      and case when p_data ->> 'location_id' is not null then s.id = private.uuid_or_null(p_data ->> 'location_id')
        else s.code = p_data ->> 'location' end
  );
end $$;
revoke all on function private.webhook_level(uuid, jsonb) from public, anon, authenticated, service_role;

-- The inbox's message of an event of a product or a level; entity_id null: there is none of that name.
create function private.webhook_message(p_webhook public.inbound_webhooks) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_data constant jsonb := p_webhook.data;
  v_is_product constant boolean := p_webhook.kind = 'product';
begin
  return jsonb_build_object('message_id', p_webhook.event_id,
    'entity', case when v_is_product then 'product' else 'stock_level' end,
    'entity_id', case when v_is_product then private.webhook_product(p_webhook.tenant_id, v_data ->> 'id', v_data ->> 'sku')
      else private.webhook_level(p_webhook.tenant_id, v_data) end,
    'sender_version', coalesce(nullif(v_data -> 'version', 'null'), to_jsonb(floor(extract(epoch from p_webhook.occurred_at) * 1000)::bigint)),
    'occurred_at', p_webhook.occurred_at,
    'body', case when p_webhook.type <> 'product.deleted' then v_data - case when v_is_product
      -- what rows of ours have and no sender changes
      then '{id,version,tenant_id,created_at,updated_at,deleted_at}'::text[]
      else '{level_id,product_id,sku,location_id,location,version}'::text[] end end);
end $$;
revoke all on function private.webhook_message(public.inbound_webhooks) from public, anon, authenticated, service_role;

-- Hands an event of a product or a level to the inbox. What that refuses for good is kept as refused; a lock or a time limit
-- fails the call, which keeps nothing then.
create function private.pass_to_inbox(p_webhook public.inbound_webhooks) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_message constant jsonb := private.webhook_message(p_webhook);
  v_source constant text := 'key_' || replace(p_webhook.principal_id::text, '-', '');
  v_code text;
  v_detail text;
begin
  if v_message ->> 'entity_id' is null then
    perform private.reject_webhook(p_webhook, case p_webhook.kind when 'product' then 'product.not_found' else 'stock.not_found' end,
      'data names nothing that there is in this tenant');
    return;
  end if;
  begin
    perform private.receive_changes(p_webhook.tenant_id, v_source, jsonb_build_array(v_message));
  exception when others then
    get stacked diagnostics v_code = message_text, v_detail = pg_exception_detail;
    if sqlstate not like 'PT4%' then
      raise;
    end if;
    perform private.reject_webhook(p_webhook, v_code, v_detail);
    return;
  end;
  update public.inbound_webhooks w
  set status = i.status, error = i.error, inbox_message_id = i.id, change_id = i.change_id,
      settled_at = case when i.status <> 'queued' then private.now() end
  from public.inbox_messages i
  where w.id = p_webhook.id and i.tenant_id = p_webhook.tenant_id and i.source = v_source and i.message_id = p_webhook.event_id
  returning w.* into p_webhook;
  if p_webhook.status = 'rejected' then
    perform private.reject_webhook(p_webhook, p_webhook.error ->> 'code', p_webhook.error ->> 'detail');
  end if;
end $$;
revoke all on function private.pass_to_inbox(public.inbound_webhooks) from public, anon, authenticated, service_role;

-- Queues an order's event. Those of one order happen one after the other.
create function private.queue_order_webhook(p_webhook public.inbound_webhooks) returns void
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_data constant jsonb := p_webhook.data;
  v_order_id constant uuid := (
    select o.id from public.orders o
    where o.tenant_id = p_webhook.tenant_id and case
      when v_data ->> 'order_id' is not null then o.id = private.uuid_or_null(v_data ->> 'order_id')
      else o.number = v_data ->> 'number' end
  );
begin
  if v_order_id is null then
    perform private.reject_webhook(p_webhook, 'order.not_found', 'data names no order of this tenant by order_id or number');
  elsif v_data ->> 'version' is not null and (jsonb_typeof(v_data -> 'version') <> 'number' or v_data ->> 'version' !~ '^[0-9]{1,18}$') then
    perform private.reject_webhook(p_webhook, 'webhook.event_invalid', 'version must be a whole number');
  else
    update public.inbound_webhooks w set order_id = v_order_id where w.id = p_webhook.id;
    perform worker.enqueue_job('inbound.order',
      jsonb_build_object('webhook_id', p_webhook.id, 'principal_id', p_webhook.principal_id),
      p_webhook.tenant_id, 'inbound:' || p_webhook.id, 'inbound:' || v_order_id);
  end if;
end $$;
revoke all on function private.queue_order_webhook(public.inbound_webhooks) from public, anon, authenticated, service_role;

create function private.receive_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_fault constant text := private.webhook_fault(p_event);
  v_webhook public.inbound_webhooks;
  v_new boolean;
begin
  if p_kind in ('product', 'inventory') then
    perform private.require(p_tenant_id, 'sync.push');
  end if;
  perform private.require(p_tenant_id, case p_kind when 'product' then 'products.write' when 'inventory' then 'inventory.write' else 'orders.write' end);
  if auth.uid() is null then
    perform private.fail('PT401', 'auth.required', 'Sign in to hand events in: your permissions decide what becomes of them.');
  end if;
  if coalesce(p_kind, '') not in ('product', 'inventory', 'order') then
    perform private.fail('PT400', 'webhook.kind_unknown', 'p_kind must be product, inventory or order.');
  end if;
  if v_fault is not null then
    perform private.fail('PT400', 'webhook.event_invalid', format('It is no event: %s.', v_fault));
  end if;

  -- a twin waits here for the first, and finds what it kept
  insert into public.inbound_webhooks (tenant_id, principal_id, event_id, kind, type, data, occurred_at)
  values (p_tenant_id, auth.uid(), p_event ->> 'id', p_kind, p_event ->> 'type', p_event -> 'data', (p_event ->> 'timestamp')::timestamptz)
  on conflict (tenant_id, principal_id, event_id) do nothing
  returning * into v_webhook;
  v_new := v_webhook.id is not null;
  if not v_new then
    select * into v_webhook from public.inbound_webhooks w
    where w.tenant_id = p_tenant_id and w.principal_id = auth.uid() and w.event_id = p_event ->> 'id';
    if (v_webhook.kind, v_webhook.type, v_webhook.data) is distinct from (p_kind, p_event ->> 'type', p_event -> 'data') then
      perform private.fail('PT409', 'webhook.id_reused', format('The id %s was used for another event.', left(p_event ->> 'id', 80)),
        'Give every event an id of its own; the first one stands.');
    end if;
  elsif not exists (select from private.inbound_types t where t.type = v_webhook.type and t.kind = p_kind) then
    update public.inbound_webhooks w set status = 'unknown', settled_at = private.now() where w.id = v_webhook.id;
    perform private.notify_tenant(p_tenant_id, format('inbound %s unknown %s %s', p_kind, v_webhook.type, private.today()),
      'inbound.unknown', 'info', v_webhook.id, format('Inbound events of an unknown type: %s', v_webhook.type),
      format('A sender sends %s to the %s webhook. They are kept in inbound_webhooks, and nothing is done with them.', v_webhook.type, p_kind));
  elsif p_kind = 'order' then
    perform private.queue_order_webhook(v_webhook);
  else
    perform private.pass_to_inbox(v_webhook);
  end if;
  return (
    select jsonb_build_object('id', w.event_id, 'status', w.status, 'repeated', not v_new)
    from public.inbound_webhooks w where w.id = v_webhook.id
  );
end $$;
revoke all on function private.receive_webhook(uuid, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.receive_webhook(uuid, text, jsonb) to authenticated, service_role;

-- Keeps an event of another system, {"id", "type", "timestamp", "data"}, and has it worked; kind: product, inventory or order. Answers
-- {"id", "status": "queued" | "duplicate" | "stale" | "rejected" | "unknown", "repeated"}; repeated: it came before, and its status is
-- that of now (then also "done"). Raises webhook.kind_unknown, webhook.event_invalid, webhook.id_reused.
create function public.receive_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) returns jsonb
language sql volatile set search_path = ''
as $$ select private.receive_webhook(p_tenant_id, p_kind, p_event) $$;
revoke all on function public.receive_webhook(uuid, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function public.receive_webhook(uuid, text, jsonb) to authenticated, service_role;

create function private.apply_webhook(p_webhook_id uuid) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_webhook public.inbound_webhooks;
  v_event text;
  v_code text;
  v_detail text;
begin
  -- a twin waits, and finds it settled
  select * into v_webhook from public.inbound_webhooks w
  where w.id = p_webhook_id and w.principal_id = auth.uid() and w.kind = 'order' for update;
  if v_webhook.id is null then
    return jsonb_build_object('status', 'gone');
  end if;
  if v_webhook.status <> 'queued' then
    return jsonb_build_object('status', v_webhook.status);
  end if;
  select t.order_event into v_event from private.inbound_types t where t.type = v_webhook.type;
  begin
    perform private.order_event(v_webhook.tenant_id, v_webhook.order_id, v_event, (v_webhook.data ->> 'version')::bigint,
      v_webhook.event_id, v_webhook.data - '{order_id,number,version}'::text[]);
  exception when others then
    get stacked diagnostics v_code = message_text, v_detail = pg_exception_detail;
    -- what the database refuses it will refuse again; locks, time limits and the like are the worker's to try once more
    if sqlstate not like 'PT4%' and sqlstate not like '23%' and sqlstate not like '22%' then
      raise;
    end if;
    perform private.reject_webhook(v_webhook, v_code, v_detail);
    return jsonb_build_object('status', 'rejected');
  end;
  update public.inbound_webhooks w set status = 'done', settled_at = private.now() where w.id = p_webhook_id;
  return jsonb_build_object('status', 'done');
end $$;
revoke all on function private.apply_webhook(uuid) from public, anon, authenticated, service_role;
grant execute on function private.apply_webhook(uuid) to authenticated;

-- For the worker, as the sender of the event: lets a queued event of an order happen, once. {"status"}; "gone": there is none of
-- the caller's.
create function public.apply_webhook(p_webhook_id uuid) returns jsonb
language sql volatile set search_path = ''
as $$ select private.apply_webhook(p_webhook_id) $$;
revoke all on function public.apply_webhook(uuid) from public, anon, authenticated, service_role;
grant execute on function public.apply_webhook(uuid) to authenticated;

-- Forgets events of p_keep_days ago and earlier, up to p_limit, but for those that still wait: {"forgotten", "more"}.
create function worker.forget_webhooks(p_keep_days integer default 30, p_limit integer default 10000) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_before timestamptz;
  v_forgotten integer;
begin
  if p_keep_days is null or p_keep_days < 1 then
    perform private.fail('PT400', 'retention.too_short', 'Keep at least one day.');
  end if;
  v_before := private.now() - make_interval(days => p_keep_days);
  delete from public.inbound_webhooks w
  where w.received_at < v_before and w.id in (
    select o.id from public.inbound_webhooks o
    where o.received_at < v_before and not (o.status = 'queued' and o.kind = 'order')
    order by o.received_at limit p_limit for update skip locked
  );
  get diagnostics v_forgotten = row_count;
  return jsonb_build_object('forgotten', v_forgotten, 'more', v_forgotten >= p_limit);
end $$;
revoke all on function worker.forget_webhooks(integer, integer) from public, anon, authenticated, service_role;
grant execute on function worker.forget_webhooks(integer, integer) to service_role;

-- What the edge adapter is doing, for /metrics: {"inbound": {"rejected", "unknown": of the last 24 hours, "queued": of orders,
-- "oldest_queued_seconds"}, "today": {"requests", "refused", "hit", "miss", "stale", "joined", "bypass"}}; today is UTC's, and begins with nothing.
create function worker.adapter_health() returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off
as $$
begin
  return jsonb_build_object(
    'inbound', (
      select jsonb_build_object(
        'rejected', count(*) filter (where w.status = 'rejected' and w.received_at > private.now() - interval '1 day'),
        'unknown', count(*) filter (where w.status = 'unknown' and w.received_at > private.now() - interval '1 day'),
        'queued', count(*) filter (where w.status = 'queued'),
        'oldest_queued_seconds', coalesce(extract(epoch from private.now() - min(w.received_at) filter (where w.status = 'queued')), 0)::float)
      from public.inbound_webhooks w
      where w.status in ('rejected', 'unknown') and w.received_at > private.now() - interval '1 day' or w.status = 'queued' and w.kind = 'order'
    ),
    'today', (
      select jsonb_build_object('requests', coalesce(sum(u.requests), 0), 'refused', coalesce(sum(u.refused), 0),
        'hit', coalesce(sum(u.cache_hit), 0), 'miss', coalesce(sum(u.cache_miss), 0), 'stale', coalesce(sum(u.cache_stale), 0),
        'joined', coalesce(sum(u.cache_joined), 0), 'bypass', coalesce(sum(u.cache_bypass), 0))
      from public.api_key_usage u where u.day = private.today()
    ));
end $$;
revoke all on function worker.adapter_health() from public, anon, authenticated, service_role;
grant execute on function worker.adapter_health() to service_role;
