-- Inbound webhooks: events that another system sends, one at a time, by the edge adapter.
--
-- receive_webhook keeps each event once, by its id, for whoever signed the call. What is to be done of it is never done in the
-- call, so that the answer is quick:
--
--   products, stock   become a message of the inbox, in the same transaction, and take the way of sync from there
--   orders            are a job: a worker calls apply_webhook as the principal, the events of an order as they occurred
--   what is not there are a job too, whatever they are about: they wait for ten minutes for it to come
--   other types       are kept in part, 1,000 a tenant and day, counted beyond that, and reported once per kind and day
--
--   queued ──► done       an order's event happened (that of a product: see sync_changes)
--          ├─► duplicate  an order's event happened long ago: its id is known as long as the order is
--          └─► rejected   it was refused: `error` has the code; reported once per code and day
--   duplicate, stale      the sender had said the same, or something newer, before
--   unknown               nothing here knows what to do with its type
--
-- An event waits while it is queued and is no message of the inbox. What was rejected because it was not found is tried again when it
-- is sent again.
--
-- product:   {"id": uuid (or "sku": of a product that there is), "version"?, fields…}: product.created, .updated, .deleted
-- inventory: {"level_id" or "product_id"/"sku" with "location_id"/"location": code, "version"?, "on_hand"…}: inventory.updated
-- order:     {"order_id" or "number", "version"?: the one that we had, what order_event takes…}: order.paid and the like
--
-- The number of a state over there is its "version", else the microseconds of the event's timestamp; of two events of one moment the
-- later to arrive is the newer. Nobody does both of one object: the numbers would not compare.
--
-- An event waits for those of its thing whose turn (private.turn_of) is before its own. One whose thing is not there yet, or whose
-- order does not know it yet but may still come to, is put off: for ten minutes it is tried again.

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
  about text,
  put_off_at timestamptz,
  constraint inbound_webhooks_once unique (tenant_id, principal_id, event_id),
  constraint inbound_webhooks_error_of_rejected check ((status = 'rejected') = (error is not null))
);
comment on table public.inbound_webhooks is 'Events that other systems sent, and what became of them; kept 30 days';
comment on column public.inbound_webhooks.principal_id is 'Who sent it, an API key for example: its permissions decide';
comment on column public.inbound_webhooks.inbox_message_id is 'The message that it became: inbox_messages, as long as that is kept';
comment on column public.inbound_webhooks.data is 'As it was sent; of an unknown type {"part": the first 2 KiB of its text, "bytes"}, if longer';
comment on column public.inbound_webhooks.about is 'How it names what it is about; null: it names nothing';
comment on column public.inbound_webhooks.put_off_at is 'When its thing was first not found, or its order first did not know it: it is tried again for ten minutes';
comment on column public.inbound_webhooks.change_id is 'What was pushed for it: sync_changes says what became of that';
create index inbound_webhooks_by_age on public.inbound_webhooks (received_at);
create index inbound_webhooks_newest on public.inbound_webhooks (tenant_id, received_at desc);
create index inbound_webhooks_unsettled on public.inbound_webhooks (status, received_at) where status = 'rejected'
  or status = 'queued' and inbox_message_id is null;
create index inbound_webhooks_waiting on public.inbound_webhooks (tenant_id, kind, about)
  where status = 'queued' and inbox_message_id is null;
create index inbound_webhooks_put_off on public.inbound_webhooks (tenant_id, principal_id)
  where status = 'queued' and inbox_message_id is null and put_off_at is not null;
create index inbound_webhooks_of_order on public.inbound_webhooks (order_id) where order_id is not null;

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

-- Kept as long as the order: a refund that is sent again after a month is still the same refund.
create table private.order_webhooks (
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  principal_id uuid not null,
  event_id text not null,
  order_id uuid not null references public.orders (id) on delete cascade,
  type text not null,
  primary key (tenant_id, principal_id, event_id)
);
comment on table private.order_webhooks is 'The events that happened to orders, by the ids that their senders gave them';
create index order_webhooks_of_order on private.order_webhooks (order_id);
alter table private.order_webhooks enable row level security;
revoke all on private.order_webhooks from public, anon, authenticated, service_role;

create table private.unknown_webhooks (
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  day date not null,
  events bigint not null,
  primary key (tenant_id, day)
);
comment on table private.unknown_webhooks is 'How many events of unknown types came on a day, in UTC';
alter table private.unknown_webhooks enable row level security;
revoke all on private.unknown_webhooks from public, anon, authenticated, service_role;

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
    -- all that came after it would be old
    when (p_event ->> 'timestamp')::timestamptz > private.now() + interval '5 minutes' then 'timestamp lies more than 5 minutes ahead'
    when jsonb_typeof(p_event -> 'data') is distinct from 'object' then 'data must be an object'
    when not private.is_plain(p_event -> 'data') then 'data nests too deep, or has numbers of more than 40 digits'
    when octet_length(p_event ->> 'data') > 131072 then 'data is too large (128 KiB)'
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

-- The product that an event is about: by id, else (an id that is no UUID is the sender's own) by the sku of a living one; null when
-- there is none.
create function private.webhook_product(p_tenant_id uuid, p_id text, p_sku text) returns uuid
language plpgsql stable set search_path = '' set enable_seqscan = off
as $$
begin
  return coalesce(private.uuid_or_null(p_id), (select p.id from public.products p where p.tenant_id = p_tenant_id and p.sku = p_sku and p.deleted_at is null));
end $$;
revoke all on function private.webhook_product(uuid, text, text) from public, anon, authenticated, service_role;

-- The level that an event is about; null when there is none. Ids that are no UUID are the sender's own, and say nothing.
create function private.webhook_level(p_tenant_id uuid, p_data jsonb) returns uuid
language plpgsql stable set search_path = '' set enable_seqscan = off
as $$
begin
  if private.uuid_or_null(p_data ->> 'level_id') is not null then
    return (select l.id from public.stock_levels l where l.tenant_id = p_tenant_id and l.id = private.uuid_or_null(p_data ->> 'level_id'));
  end if;
  return (
    select l.id from public.stock_levels l join public.locations s on s.id = l.location_id
    where l.tenant_id = p_tenant_id and s.tenant_id = p_tenant_id
      and l.product_id = private.webhook_product(p_tenant_id, p_data ->> 'product_id', p_data ->> 'sku')
      and case when private.uuid_or_null(p_data ->> 'location_id') is not null then s.id = private.uuid_or_null(p_data ->> 'location_id')
        else s.code = p_data ->> 'location' end
  );
end $$;
revoke all on function private.webhook_level(uuid, jsonb) from public, anon, authenticated, service_role;

-- What an event is about: a product, a level or an order; null when there is none. A product with an id of ours need not be there: a
-- word on it makes it.
create function private.webhook_thing(p_webhook public.inbound_webhooks) returns uuid
language plpgsql stable set search_path = '' set enable_seqscan = off
as $$
declare
  v_data constant jsonb := p_webhook.data;
begin
  return case p_webhook.kind
    when 'product' then private.webhook_product(p_webhook.tenant_id, v_data ->> 'id', v_data ->> 'sku')
    when 'inventory' then private.webhook_level(p_webhook.tenant_id, v_data)
    else (
      select o.id from public.orders o
      where o.tenant_id = p_webhook.tenant_id and case
        when p_webhook.order_id is not null then o.id = p_webhook.order_id
        when private.uuid_or_null(v_data ->> 'order_id') is not null then o.id = private.uuid_or_null(v_data ->> 'order_id')
        else o.number = v_data ->> 'number' end
    ) end;
end $$;
revoke all on function private.webhook_thing(public.inbound_webhooks) from public, anon, authenticated, service_role;

-- How an event names what it is about; null: it names nothing. Cut, as an index wants it: names of ours are shorter.
create function private.webhook_about(p_kind text, p_data jsonb) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_product constant text := coalesce('product ' || private.uuid_or_null(p_data ->> case p_kind when 'product' then 'id' else 'product_id' end),
    'sku ' || (p_data ->> 'sku'));
begin
  return left(case p_kind
    when 'product' then v_product
    when 'inventory' then coalesce('level ' || private.uuid_or_null(p_data ->> 'level_id'), v_product || ' at '
      || coalesce('location ' || private.uuid_or_null(p_data ->> 'location_id'), 'code ' || (p_data ->> 'location')))
    else coalesce('order ' || private.uuid_or_null(p_data ->> 'order_id'), 'number ' || (p_data ->> 'number')) end, 200);
end $$;
revoke all on function private.webhook_about(text, jsonb) from public, anon, authenticated, service_role;

-- The inbox's name of a sender.
create function private.webhook_source(p_principal_id uuid) returns text
language sql immutable set search_path = ''
as $$ select 'key_' || replace(p_principal_id::text, '-', '') $$;
revoke all on function private.webhook_source(uuid) from public, anon, authenticated, service_role;

-- Every name that events may have for the thing of this one. Of a product also the sku that its sender gave it: it may not be made yet.
create function private.names_of_thing(p_webhook public.inbound_webhooks, p_thing uuid) returns text[]
language plpgsql stable set search_path = '' set enable_seqscan = off
as $$
begin
  return case p_webhook.kind
    when 'product' then array['product ' || p_thing, 'sku ' || left(p_webhook.data ->> 'sku', 196),
      (select 'sku ' || p.sku from public.products p where p.tenant_id = p_webhook.tenant_id and p.id = p_thing),
      (select 'sku ' || left(s.state ->> 'sku', 196) from private.inbox_states s
        where s.tenant_id = p_webhook.tenant_id and s.source = private.webhook_source(p_webhook.principal_id) and s.entity = 'product'
          and s.entity_id = p_thing)]
    when 'inventory' then (
      select array_agg(p.name || ' at ' || s.name) || ('level ' || p_thing)
      from public.stock_levels l
      cross join lateral (
        select unnest(array['product ' || r.id, 'sku ' || r.sku]) from public.products r where r.tenant_id = l.tenant_id and r.id = l.product_id
      ) p (name)
      cross join lateral (
        select unnest(array['location ' || r.id, 'code ' || r.code]) from public.locations r where r.tenant_id = l.tenant_id and r.id = l.location_id
      ) s (name)
      where l.tenant_id = p_webhook.tenant_id and l.id = p_thing
    )
    else (select array['order ' || o.id, 'number ' || o.number] from public.orders o where o.tenant_id = p_webhook.tenant_id and o.id = p_thing) end;
end $$;
revoke all on function private.names_of_thing(public.inbound_webhooks, uuid) from public, anon, authenticated, service_role;

-- The inbox's message of an event of a product or a level.
create function private.webhook_message(p_webhook public.inbound_webhooks, p_entity_id uuid, p_number jsonb) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_data constant jsonb := p_webhook.data;
  v_is_product constant boolean := p_webhook.kind = 'product';
begin
  return jsonb_build_object('message_id', p_webhook.event_id,
    'entity', case when v_is_product then 'product' else 'stock_level' end,
    'entity_id', p_entity_id,
    'sender_version', p_number,
    'occurred_at', p_webhook.occurred_at,
    'body', case when p_webhook.type <> 'product.deleted' then v_data - case when v_is_product
      -- what rows of ours have and no sender changes
      then '{id,version,tenant_id,created_at,updated_at,deleted_at}'::text[]
      else '{level_id,product_id,sku,location_id,location,version}'::text[] end end);
end $$;
revoke all on function private.webhook_message(public.inbound_webhooks, uuid, jsonb) from public, anon, authenticated, service_role;

-- The number of a word without a version: it is newer than the last (p_known) unless it occurred before that. Call under the lock of
-- its source.
create function private.number_of_time(p_at timestamptz, p_known private.inbox_states) returns bigint
language sql immutable set search_path = ''
as $$
  select greatest(floor(extract(epoch from p_at) * 1000000)::bigint, 0, case when p_at >= p_known.timed_at then p_known.sender_version + 1 end)
$$;
revoke all on function private.number_of_time(timestamptz, private.inbox_states) from public, anon, authenticated, service_role;

-- Hands an event of a product or a level to the inbox. What that refuses for good is kept as refused; a lock or a time limit
-- fails the call, which keeps nothing then. Call under the lock of its source.
create function private.pass_to_inbox(p_webhook public.inbound_webhooks, p_entity_id uuid) returns void
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_data constant jsonb := p_webhook.data;
  v_source constant text := private.webhook_source(p_webhook.principal_id);
  v_entity constant text := case p_webhook.kind when 'product' then 'product' else 'stock_level' end;
  v_version constant jsonb := nullif(v_data -> 'version', 'null');
  v_known private.inbox_states;
  v_code text;
  v_detail text;
begin
  select * into v_known from private.inbox_states s
  where s.tenant_id = p_webhook.tenant_id and s.source = v_source and s.entity = v_entity and s.entity_id = p_entity_id;
  if v_known.entity_id is not null and (v_version is null) <> (v_known.timed_at is not null) then
    perform private.reject_webhook(p_webhook, 'webhook.version_mixed', format('Earlier events of this object came %s version; send this one so too, or by another key',
      case when v_version is null then 'with a' else 'without' end));
    return;
  end if;
  begin
    perform private.receive_changes(p_webhook.tenant_id, v_source, jsonb_build_array(private.webhook_message(p_webhook, p_entity_id,
      coalesce(v_version, to_jsonb(private.number_of_time(p_webhook.occurred_at, v_known))))));
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
  elsif v_version is null and p_webhook.status <> 'stale' then
    update private.inbox_states s set timed_at = greatest(s.timed_at, p_webhook.occurred_at)
    where s.tenant_id = p_webhook.tenant_id and s.source = v_source and s.entity = v_entity and s.entity_id = p_entity_id;
  end if;
end $$;
revoke all on function private.pass_to_inbox(public.inbound_webhooks, uuid) from public, anon, authenticated, service_role;

-- One at a time of those that name a thing in one way; what names it otherwise waits for the locks of apply_webhook.
create function private.webhook_serial(p_webhook public.inbound_webhooks) returns text
language sql immutable set search_path = ''
as $$ select 'inbound:' || p_webhook.tenant_id || ' ' || p_webhook.about $$;
revoke all on function private.webhook_serial(public.inbound_webhooks) from public, anon, authenticated, service_role;

-- Queues the job of an event that waits; harmless when there is one.
create function private.enqueue_webhook(p_webhook public.inbound_webhooks, p_in_seconds numeric default 0) returns void
language sql volatile security definer set search_path = ''
as $$
  select worker.enqueue_job('inbound.apply',
    jsonb_build_object('webhook_id', p_webhook.id, 'principal_id', p_webhook.principal_id),
    p_webhook.tenant_id, 'inbound:' || p_webhook.id, private.webhook_serial(p_webhook), p_in_seconds)
$$;
revoke all on function private.enqueue_webhook(public.inbound_webhooks, numeric) from public, anon, authenticated, service_role;

-- Whether an order that is p_status may come to know an event that it does not know now.
create function private.may_come_to_know(p_status text, p_event text) returns boolean
language sql stable set search_path = ''
as $$
  with recursive ahead (status) as (
    values (p_status)
    union
    select n.status from ahead a join private.order_transitions t on t.from_status = a.status
    cross join lateral (values (t.to_status), (t.else_status)) n (status) where n.status is not null
  )
  select exists (select from ahead a join private.order_transitions t on t.from_status = a.status and t.event = p_event)
$$;
revoke all on function private.may_come_to_know(text, text) from public, anon, authenticated, service_role;

-- Whose turn it is, of the events of a thing that wait: the least is first. An event waits for
--
--   another of                 that                                 if that one
--   its sender                 was not tried, or found nothing      is less
--   its sender                 came before its order knew it        is less: occurred before, not at the same moment
--   another sender (orders)    was not tried, or found nothing      is less
--   another sender (orders)    came before its order knew it        never
create type private.webhook_turn as (
  number bigint,
  occurred_at timestamptz,
  too_early boolean,
  received_at timestamptz,
  id uuid
);
create function private.turn_of(p_webhook public.inbound_webhooks) returns private.webhook_turn
language sql stable set search_path = ''
as $$
  select row(
    -- the sender's, of products and stock; an order's version is ours
    case when p_webhook.kind <> 'order' and p_webhook.data ->> 'version' ~ '^[0-9]{1,18}$' then (p_webhook.data ->> 'version')::bigint else 0 end,
    p_webhook.occurred_at,
    p_webhook.put_off_at is not null and p_webhook.order_id is not null,
    p_webhook.received_at,
    p_webhook.id
  )::private.webhook_turn
$$;
revoke all on function private.turn_of(public.inbound_webhooks) from public, anon, authenticated, service_role;

-- Whether others of its thing are to be worked first.
create function private.waits_for_others(p_webhook public.inbound_webhooks, p_thing uuid) returns boolean
language plpgsql stable set search_path = '' set enable_seqscan = off
as $$
declare
  v_names constant text[] := private.names_of_thing(p_webhook, p_thing);
begin
  return exists (
    select from public.inbound_webhooks o
    where o.tenant_id = p_webhook.tenant_id and o.kind = p_webhook.kind and o.about = any (v_names)
      and o.status = 'queued' and o.inbox_message_id is null
      and (o.principal_id = p_webhook.principal_id or o.kind = 'order' and not (private.turn_of(o)).too_early)
      and private.turn_of(o) < private.turn_of(p_webhook)
  );
end $$;
revoke all on function private.waits_for_others(public.inbound_webhooks, uuid) from public, anon, authenticated, service_role;

-- The answer for an event that waits: look again the later, the longer it does (from p_since), 1 to p_at_most seconds.
create function private.still_queued(p_since timestamptz, p_at_most integer default 10) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object('status', 'queued',
    'in_seconds', least(greatest(floor(extract(epoch from private.now() - p_since) / 10), 1), p_at_most))
$$;
revoke all on function private.still_queued(timestamptz, integer) from public, anon, authenticated, service_role;

-- An event cannot be worked now. It is put off when that may change (p_may_change); else that is what became of it.
create function private.put_off_or_reject(p_webhook public.inbound_webhooks, p_may_change boolean, p_code text, p_detail text, p_at_most integer)
returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_since constant timestamptz := coalesce(p_webhook.put_off_at, private.now());
begin
  if p_may_change and v_since > private.now() - interval '10 minutes' then
    update public.inbound_webhooks w set put_off_at = v_since where w.id = p_webhook.id;
    return private.still_queued(v_since, p_at_most);
  end if;
  perform private.reject_webhook(p_webhook, p_code, p_detail);
  return jsonb_build_object('status', 'rejected');
end $$;
revoke all on function private.put_off_or_reject(public.inbound_webhooks, boolean, text, text, integer)
  from public, anon, authenticated, service_role;

-- What an event is about is not there. Up to 500 of a sender wait for that, so that one who speaks of what nobody has here does not keep
-- workers busy.
create function private.not_found(p_webhook public.inbound_webhooks) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
begin
  return private.put_off_or_reject(p_webhook,
    p_webhook.about is not null and (p_webhook.put_off_at is not null or 500 > (
      select count(*) from (
        select from public.inbound_webhooks o
        where o.tenant_id = p_webhook.tenant_id and o.principal_id = p_webhook.principal_id
          and o.status = 'queued' and o.inbox_message_id is null and o.put_off_at is not null
        limit 500
      ) waiting
    )),
    case p_webhook.kind when 'product' then 'product.not_found' when 'inventory' then 'stock.not_found' else 'order.not_found' end,
    'data names nothing that there is in this tenant', 30);
end $$;
revoke all on function private.not_found(public.inbound_webhooks) from public, anon, authenticated, service_role;

-- Lets an event happen to its order, which it does once. Call under the lock of the order.
create function private.let_happen(p_webhook public.inbound_webhooks) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_event constant text := (select t.order_event from private.inbound_types t where t.type = p_webhook.type);
  v_before private.order_webhooks;
  v_code text;
  v_detail text;
  v_status text := 'done';
begin
  select * into v_before from private.order_webhooks o
  where o.tenant_id = p_webhook.tenant_id and o.principal_id = p_webhook.principal_id and o.event_id = p_webhook.event_id;
  if (v_before.order_id, v_before.type) <> (p_webhook.order_id, p_webhook.type) then
    return private.put_off_or_reject(p_webhook, false, 'webhook.id_reused', 'the id was that of another event, long ago', 0);
  elsif v_before.event_id is not null then
    v_status := 'duplicate';
  else
    begin
      insert into private.order_webhooks (tenant_id, principal_id, event_id, order_id, type)
      values (p_webhook.tenant_id, p_webhook.principal_id, p_webhook.event_id, p_webhook.order_id, p_webhook.type);
      -- event ids are the sender's, and may be keys of its other calls
      perform private.order_event(p_webhook.tenant_id, p_webhook.order_id, v_event, (p_webhook.data ->> 'version')::bigint,
        'webhook ' || p_webhook.id, p_webhook.data - '{order_id,number,version}'::text[]);
    exception when others then
      get stacked diagnostics v_code = message_text, v_detail = pg_exception_detail;
      -- what the database refuses it will refuse again; locks, time limits and the like are the worker's to try once more
      if sqlstate not like 'PT4%' and sqlstate not like '23%' and sqlstate not like '22%' then
        raise;
      elsif sqlstate not like 'PT4%' then
        -- the database's own words are no code
        return private.put_off_or_reject(p_webhook, false, 'row.invalid', v_code, 0);
      end if;
      return private.put_off_or_reject(p_webhook, v_code = 'order.transition_illegal' and exists (
        select from public.orders o where o.id = p_webhook.order_id and private.may_come_to_know(o.status, v_event)
      ), v_code, v_detail, 10);
    end;
  end if;
  update public.inbound_webhooks w set status = v_status, settled_at = private.now() where w.id = p_webhook.id;
  return jsonb_build_object('status', v_status);
end $$;
revoke all on function private.let_happen(public.inbound_webhooks) from public, anon, authenticated, service_role;

-- The lock under which an event is worked, until the end of the transaction: of its order, as redact_customer takes it, or of its
-- source. Two of one thing never pass each other: what the first did, or that it waits, the second sees.
create function private.lock_for_webhook(p_webhook public.inbound_webhooks) returns void
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
begin
  if p_webhook.kind = 'order' then
    perform from public.orders o where o.id = private.webhook_thing(p_webhook) for update;
  else
    perform private.lock_inbox(p_webhook.tenant_id, private.webhook_source(p_webhook.principal_id));
  end if;
end $$;
revoke all on function private.lock_for_webhook(public.inbound_webhooks) from public, anon, authenticated, service_role;

-- Works an event that waits, if it is its turn. Call under its lock.
create function private.work_webhook(p_webhook public.inbound_webhooks) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_thing constant uuid := private.webhook_thing(p_webhook);
begin
  if v_thing is null then
    return private.not_found(p_webhook);
  end if;
  if p_webhook.kind = 'order' and p_webhook.order_id is null then
    -- that it was not there is no reason to let others pass, now that it is
    update public.inbound_webhooks w set order_id = v_thing, put_off_at = null where w.id = p_webhook.id returning w.* into p_webhook;
  end if;
  if private.waits_for_others(p_webhook, v_thing) then
    return private.still_queued(coalesce(p_webhook.put_off_at, p_webhook.received_at));
  elsif p_webhook.kind = 'order' then
    return private.let_happen(p_webhook);
  end if;
  perform private.pass_to_inbox(p_webhook, v_thing);
  return (select jsonb_build_object('status', case w.status when 'queued' then 'done' else w.status end)
    from public.inbound_webhooks w where w.id = p_webhook.id);
end $$;
revoke all on function private.work_webhook(public.inbound_webhooks) from public, anon, authenticated, service_role;

-- Begins an event, one that is new or one that was not found before: that of an order with its job, others at once.
create function private.begin_webhook(p_webhook public.inbound_webhooks) returns void
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_told jsonb;
begin
  if p_webhook.kind <> 'order' then
    perform private.lock_for_webhook(p_webhook);
  end if;
  update public.inbound_webhooks w set status = 'queued', error = null, settled_at = null, put_off_at = null, inbox_message_id = null
  where w.id = p_webhook.id and w.status = 'rejected';
  if found then
    delete from public.inbox_messages m
    where m.tenant_id = p_webhook.tenant_id and m.source = private.webhook_source(p_webhook.principal_id) and m.message_id = p_webhook.event_id
      and m.status = 'rejected';
  end if;
  select * into p_webhook from public.inbound_webhooks w where w.id = p_webhook.id;
  if p_webhook.status <> 'queued' or p_webhook.inbox_message_id is not null then
    -- a twin did it
    return;
  elsif p_webhook.kind <> 'order' or p_webhook.about is null then
    v_told := private.work_webhook(p_webhook);
    if v_told ->> 'status' = 'queued' then
      perform private.enqueue_webhook(p_webhook, (v_told ->> 'in_seconds')::numeric);
    end if;
  elsif p_webhook.data ->> 'version' is not null
    and (jsonb_typeof(p_webhook.data -> 'version') <> 'number' or p_webhook.data ->> 'version' !~ '^[0-9]{1,18}$') then
    perform private.reject_webhook(p_webhook, 'webhook.event_invalid', 'version must be a whole number');
  else
    -- so that a customer who is forgotten is forgotten in it too
    update public.inbound_webhooks w set order_id = private.webhook_thing(p_webhook) where w.id = p_webhook.id;
    perform private.enqueue_webhook(p_webhook);
  end if;
end $$;
revoke all on function private.begin_webhook(public.inbound_webhooks) from public, anon, authenticated, service_role;

-- What is kept of the data of an event that nobody knows.
create function private.part_of_data(p_data jsonb) returns jsonb
language plpgsql immutable set search_path = ''
as $$
declare
  v_text constant text := p_data::text;
begin
  if octet_length(v_text) <= 2048 then
    return p_data;
  end if;
  return jsonb_build_object('bytes', octet_length(v_text),
    -- a character has 4 bytes at most
    'part', left(v_text, case when octet_length(left(v_text, 2048)) <= 2048 then 2048 else 512 end));
end $$;
revoke all on function private.part_of_data(jsonb) from public, anon, authenticated, service_role;

-- Counts a new event of an unknown type, and keeps it if it is one of the first 1,000 of the day: types are the sender's, and without
-- end. Null when it is not kept.
create function private.keep_unknown(p_tenant_id uuid, p_kind text, p_event jsonb) returns void
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_events bigint;
  v_id uuid;
begin
  insert into private.unknown_webhooks as u (tenant_id, day, events) values (p_tenant_id, private.today(), 1)
  on conflict (tenant_id, day) do update set events = u.events + 1
  returning u.events into v_events;
  if v_events > 1000 then
    return;
  end if;
  insert into public.inbound_webhooks (tenant_id, principal_id, event_id, kind, type, data, occurred_at, status, settled_at)
  values (p_tenant_id, auth.uid(), p_event ->> 'id', p_kind, p_event ->> 'type', private.part_of_data(p_event -> 'data'),
    (p_event ->> 'timestamp')::timestamptz, 'unknown', private.now())
  on conflict (tenant_id, principal_id, event_id) do nothing
  returning id into v_id;
  perform private.notify_tenant(p_tenant_id, format('inbound %s unknown %s', p_kind, private.today()),
    'inbound.unknown', 'info', v_id, format('Inbound %s events of an unknown type', p_kind),
    format('A sender sends %s to the %s webhook. The first 1,000 such events of a day are kept in inbound_webhooks, and nothing is done with them.',
      p_event ->> 'type', p_kind));
end $$;
revoke all on function private.keep_unknown(uuid, text, jsonb) from public, anon, authenticated, service_role;

-- The event that has this one's id; none: it is new. Raises webhook.id_reused when it is another one.
create function private.same_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) returns public.inbound_webhooks
language plpgsql stable security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_webhook public.inbound_webhooks;
begin
  select * into v_webhook from public.inbound_webhooks w
  where w.tenant_id = p_tenant_id and w.principal_id = auth.uid() and w.event_id = p_event ->> 'id';
  if v_webhook.id is not null and ((v_webhook.kind, v_webhook.type) is distinct from (p_kind, p_event ->> 'type')
    or v_webhook.data <> case v_webhook.status when 'unknown' then private.part_of_data(p_event -> 'data') else p_event -> 'data' end
      -- of a redacted event it is not known any more
      and not v_webhook.data @> '{"redacted": true}') then
    perform private.fail('PT409', 'webhook.id_reused', format('The id %s was used for another event.', left(p_event ->> 'id', 80)),
      'Give every event an id of its own; the first one stands.');
  end if;
  return v_webhook;
end $$;
revoke all on function private.same_webhook(uuid, text, jsonb) from public, anon, authenticated, service_role;

create function private.receive_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_fault text;
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
  perform private.require_plain(p_event);
  v_fault := private.webhook_fault(p_event);
  if v_fault is not null then
    perform private.fail('PT400', 'webhook.event_invalid', format('It is no event: %s.', v_fault));
  end if;

  if not exists (select from private.inbound_types t where t.type = p_event ->> 'type' and t.kind = p_kind) then
    v_webhook := private.same_webhook(p_tenant_id, p_kind, p_event);
    if v_webhook.id is null then
      perform private.keep_unknown(p_tenant_id, p_kind, p_event);
    end if;
    return jsonb_build_object('id', p_event ->> 'id', 'status', 'unknown', 'repeated', v_webhook.id is not null);
  end if;
  -- a twin waits here for the first, and finds what it kept
  insert into public.inbound_webhooks (tenant_id, principal_id, event_id, kind, type, data, occurred_at, about)
  values (p_tenant_id, auth.uid(), p_event ->> 'id', p_kind, p_event ->> 'type', p_event -> 'data', (p_event ->> 'timestamp')::timestamptz,
    private.webhook_about(p_kind, p_event -> 'data'))
  on conflict (tenant_id, principal_id, event_id) do nothing
  returning * into v_webhook;
  v_new := v_webhook.id is not null;
  if not v_new then
    v_webhook := private.same_webhook(p_tenant_id, p_kind, p_event);
  end if;
  if v_new or v_webhook.status = 'rejected' and v_webhook.error ->> 'code' like '%.not_found' and not v_webhook.data @> '{"redacted": true}' then
    perform private.begin_webhook(v_webhook);
  elsif v_webhook.status = 'queued' and v_webhook.inbox_message_id is null then
    -- its job may have been buried
    perform private.enqueue_webhook(v_webhook);
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
begin
  select * into v_webhook from public.inbound_webhooks w where w.id = p_webhook_id and w.principal_id = auth.uid();
  if v_webhook.id is not null then
    -- before the row: then a twin waits, and finds it settled
    perform private.lock_for_webhook(v_webhook);
    select * into v_webhook from public.inbound_webhooks w where w.id = p_webhook_id for update;
  end if;
  if v_webhook.id is null then
    return jsonb_build_object('status', 'gone');
  elsif v_webhook.status <> 'queued' then
    return jsonb_build_object('status', v_webhook.status);
  elsif v_webhook.inbox_message_id is not null then
    return jsonb_build_object('status', 'done');
  end if;
  return private.work_webhook(v_webhook);
end $$;
revoke all on function private.apply_webhook(uuid) from public, anon, authenticated, service_role;
grant execute on function private.apply_webhook(uuid) to authenticated;

-- For the worker, as the sender of the event: lets one that waits happen, or hands it to the inbox, once. {"status"}; "gone": there
-- is none of the caller's; "queued": not yet, look again "in_seconds".
create function public.apply_webhook(p_webhook_id uuid) returns jsonb
language sql volatile set search_path = ''
as $$ select private.apply_webhook(p_webhook_id) $$;
revoke all on function public.apply_webhook(uuid) from public, anon, authenticated, service_role;
grant execute on function public.apply_webhook(uuid) to authenticated;

-- Queues again what waits for more than an hour and has no job, because that was buried: those of up to p_limit events.
create function private.requeue_webhooks(p_limit integer) returns integer
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_webhook public.inbound_webhooks;
  v_queued integer := 0;
begin
  for v_webhook in
    select w.* from public.inbound_webhooks w
    where w.status = 'queued' and w.inbox_message_id is null and w.received_at < private.now() - interval '1 hour'
      and not exists (select from queue.jobs j where j.unique_key = 'inbound:' || w.id and j.state = 'waiting')
      and not exists (select from queue.jobs j where j.serial_key = private.webhook_serial(w) and j.state = 'running')
    order by w.received_at limit p_limit
  loop
    -- the new one says why, should it fail as well
    delete from queue.jobs j where j.state = 'buried' and j.unique_key = 'inbound:' || v_webhook.id;
    perform private.enqueue_webhook(v_webhook);
    v_queued := v_queued + 1;
  end loop;
  return v_queued;
end $$;
revoke all on function private.requeue_webhooks(integer) from public, anon, authenticated, service_role;

-- Forgets events of p_keep_days ago and earlier, up to p_limit, but for those that still wait, and queues again those of them that have
-- no job: {"forgotten", "requeued", "more"}.
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
    where o.received_at < v_before and not (o.status = 'queued' and o.inbox_message_id is null)
    order by o.received_at limit p_limit for update skip locked
  );
  get diagnostics v_forgotten = row_count;
  delete from private.unknown_webhooks u where u.day < (v_before at time zone 'UTC')::date;
  return jsonb_build_object('forgotten', v_forgotten, 'requeued', private.requeue_webhooks(1000), 'more', v_forgotten >= p_limit);
end $$;
revoke all on function worker.forget_webhooks(integer, integer) from public, anon, authenticated, service_role;
grant execute on function worker.forget_webhooks(integer, integer) to service_role;

-- What the edge adapter is doing, for /metrics: {"inbound": {"rejected": of the last 24 hours, "unknown": of today (UTC), "queued":
-- that wait, "oldest_queued_seconds"}, "instances": {"redis", "none": those that were heard of in the last 5 minutes, by what they have},
-- "invalidations": {"waiting": tenants of which Redis was not told the last changes, up to 10,000, "oldest_seconds"},
-- "counts": {name: n, see private.api_counts}}.
create function worker.adapter_health() returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off
as $$
begin
  return jsonb_build_object(
    'inbound', (
      select jsonb_build_object(
        'rejected', count(*) filter (where w.status = 'rejected' and w.received_at > private.now() - interval '1 day'),
        'unknown', (select coalesce(sum(u.events), 0) from private.unknown_webhooks u where u.day = private.today()),
        'queued', count(*) filter (where w.status = 'queued'),
        'oldest_queued_seconds', coalesce(extract(epoch from private.now() - min(w.received_at) filter (where w.status = 'queued')), 0)::float)
      from public.inbound_webhooks w
      where w.status = 'rejected' and w.received_at > private.now() - interval '1 day' or w.status = 'queued' and w.inbox_message_id is null
    ),
    'instances', (
      select jsonb_build_object('redis', count(*) filter (where i.cached), 'none', count(*) filter (where not i.cached))
      from private.api_instances i where i.seen_at > private.now() - interval '5 minutes'
    ),
    'invalidations', (
      select jsonb_build_object('waiting', count(*),
        'oldest_seconds', coalesce(extract(epoch from private.now() - min(j.created_at)), 0)::float)
      from (select q.created_at from queue.jobs q where q.kind = 'cache.invalidate' order by q.created_at limit 10000) j
    ),
    'counts', (
      select coalesce(jsonb_object_agg(c.name, c.count), '{}')
      from (select a.name, sum(a.count) as count from private.api_counts a group by a.name) c
    ));
end $$;
revoke all on function worker.adapter_health() from public, anon, authenticated, service_role;
grant execute on function worker.adapter_health() to service_role;
