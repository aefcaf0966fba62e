-- Sync: how pushed changes are worked off.
--
-- A job for each tenant reads the oldest pending change of each entity, with the row as it is, the row as the client knew it
-- and what was written in between (read_changes); merges in the worker, where the rules of merging are plain functions; and
-- writes what came out (apply_changes) as the principal that pushed, with the version that was read: a row that was changed
-- meanwhile is read again. What is written and what is said of it are one transaction, so a worker that dies has done both or
-- neither; and the attempt of the job is held meanwhile, so one that lost its lease does nothing.

-- When fields were written, as the clients that wrote them say; elements of sets as field, U+001F, element. `version`: the row's, then.
create table private.sync_stamps (
  entity_id uuid not null,
  field text not null,
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  version bigint not null,
  stamp text not null,
  settled_at timestamptz not null default private.now(),
  primary key (entity_id, field)
);
comment on table private.sync_stamps is 'When clients wrote fields, for the merges of what others did at the same time';
create index sync_stamps_by_tenant on private.sync_stamps (tenant_id);
create index sync_stamps_by_age on private.sync_stamps (settled_at);
alter table private.sync_stamps enable row level security;
revoke all on private.sync_stamps from public, anon, authenticated, service_role;

-- The fields in which two states of a row differ; attributes key by key.
create function private.changed_fields(p_old jsonb, p_new jsonb) returns text[]
language sql immutable set search_path = ''
as $$
  select coalesce(array_agg(d.field), '{}')
  from (
    select k.key as field from (select jsonb_object_keys(p_old || p_new) as key) k
    where k.key not in ('version', 'updated_at', 'created_at', 'attributes', 'publish_failures')
      and p_old -> k.key is distinct from p_new -> k.key
    union all
    select 'attributes.' || a.key
    from (select jsonb_object_keys((p_old -> 'attributes') || (p_new -> 'attributes')) as key) a
    where p_old -> 'attributes' -> a.key is distinct from p_new -> 'attributes' -> a.key
  ) d
$$;
revoke all on function private.changed_fields(jsonb, jsonb) from public, anon, authenticated, service_role;

-- Of a product: the row, the row at version p_base (null when that is not known), and which fields were last written after it
-- by others than a client itself, at which version and when, [[field, version, milliseconds]]; `own`: the client's own edits
-- since, for one that edits twice while it is offline knows what it did first. Nulls when there is no such product of the tenant.
create function private.product_since(
  p_tenant_id uuid, p_product_id uuid, p_base bigint, p_principal_id uuid, p_client text,
  out "row" jsonb, out base jsonb, out touched jsonb, out own jsonb
)
language sql stable set search_path = '' set enable_seqscan = off set timezone = 'UTC'
as $$
  with now as (
    select to_jsonb(p) as state, p.version from public.products p where p.tenant_id = p_tenant_id and p.id = p_product_id
  ), states as (
    select h.version, h.state, h.replaced_at, h.command_id from public.product_versions h, now n
    -- further back is not worth reading
    where h.product_id = p_product_id and h.version >= p_base and h.version < n.version and n.version - p_base <= 500
  ), steps as (
    select s.version + 1 as version, s.replaced_at, s.state, s.command_id,
      lead(s.state, 1, n.state) over (order by s.version, s.replaced_at) as next
    from states s, now n
  ), own as (
    select c.id::text as id, c.seq, c.edit from public.sync_changes c
    where c.entity_id = p_product_id and c.version > p_base and c.tenant_id = p_tenant_id
      and c.principal_id = p_principal_id and c.client = p_client
  ), fields as (
    select distinct on (f.field) f.field, s.version, floor(extract(epoch from s.replaced_at) * 1000)::bigint as millis,
      s.command_id
    from steps s cross join lateral unnest(private.changed_fields(s.state, s.next)) f (field)
    -- to compare states is what takes time, and is for nothing where the client was alone
    where exists (select from steps o where not exists (select from own where own.id = o.command_id))
    order by f.field, s.version desc
  )
  select n.state,
    case when n.version = p_base then n.state
         else (select s.state from states s where s.version = p_base order by s.replaced_at desc limit 1) end,
    (
      select coalesce(jsonb_agg(jsonb_build_array(f.field, f.version, f.millis)), '[]') from fields f
      where not exists (select from own o where o.id = f.command_id)
    ),
    (select coalesce(jsonb_agg(o.edit order by o.seq), '[]') from own o)
  from (select 1) one left join now n on true
$$;
revoke all on function private.product_since(uuid, uuid, bigint, uuid, text) from public, anon, authenticated, service_role;

-- Of a stock level, whose history is its ledger alone: a base is known only while nobody but the client itself has changed it.
create function private.stock_level_since(
  p_tenant_id uuid, p_level_id uuid, p_base bigint, p_principal_id uuid, p_client text,
  out "row" jsonb, out base jsonb, out touched jsonb, out own jsonb
)
language sql stable set search_path = '' set enable_seqscan = off set timezone = 'UTC'
as $$
  select n.state, case when n.version - p_base = (
      select count(distinct c.version) from public.sync_changes c
      where c.entity_id = p_level_id and c.version > p_base and c.version <= n.version and c.wrote
        and c.tenant_id = p_tenant_id and c.client = p_client and c.principal_id = p_principal_id
    ) then n.state end, '[]'::jsonb, '[]'::jsonb
  from (select 1) one
  left join (
    select to_jsonb(s) as state, s.version from public.stock_levels s where s.tenant_id = p_tenant_id and s.id = p_level_id
  ) n on true
$$;
revoke all on function private.stock_level_since(uuid, uuid, bigint, uuid, text) from public, anon, authenticated, service_role;

-- What can be worked off now, in the order of pushing: of up to p_limit pending changes after p_after those that are the oldest
-- of their entity, with what a merge takes. {"changes": [{"id", "principal_id", "entity", "entity_id", "operation",
-- "base_version", "edit", "stamp", "pushed_at", "row", "base", "touched", "own", "stamps", "unfit"}], "policies": {entity: {field:
-- policy}}, "now", "after", "more"}; unfit: its row or its base holds what workers cannot read, and they are left out.
create function worker.read_changes(p_tenant_id uuid, p_after bigint default 0, p_limit integer default 200) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off set jit = off set timezone = 'UTC'
as $$
  with page as (
    select c.* from public.sync_changes c
    where c.tenant_id = p_tenant_id and c.status = 'pending' and c.seq > p_after
    order by c.seq limit p_limit
  ), first as (
    select p.* from page p
    where not exists (
      select from public.sync_changes o
      where o.entity_id = p.entity_id and o.tenant_id = p_tenant_id and o.status = 'pending' and o.seq < p.seq
    )
  ), told as (
    select f.*, s."row", s.base, s.touched, s.own,
      not private.is_plain(coalesce(s."row", '{}')) or not private.is_plain(coalesce(s.base, '{}')) as unfit
    from first f
    cross join lateral (
      select * from private.product_since(p_tenant_id, f.entity_id, f.base_version, f.principal_id, f.client)
      where f.entity = 'product'
      union all
      select * from private.stock_level_since(p_tenant_id, f.entity_id, f.base_version, f.principal_id, f.client)
      where f.entity = 'stock_level'
    ) s
  )
  select jsonb_build_object(
    'changes', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'id', t.id, 'principal_id', t.principal_id, 'entity', t.entity, 'entity_id', t.entity_id, 'operation', t.operation,
        'base_version', t.base_version, 'edit', t.edit, 'stamp', t.stamp, 'pushed_at', t.pushed_at,
        'row', case when not t.unfit then t."row" end, 'base', case when not t.unfit then t.base end,
        'touched', t.touched, 'own', t.own, 'unfit', t.unfit, 'stamps', (
          select coalesce(jsonb_agg(jsonb_build_array(s.field, s.version, s.stamp)), '[]')
          from private.sync_stamps s where s.entity_id = t.entity_id and t.edit ? split_part(s.field, chr(31), 1)
        )
      ) order by t.seq), '[]')
      from told t
    ),
    'policies', (
      select jsonb_object_agg(d.entity, d.policies) from (
        select d.entity, jsonb_object_agg(d.field, d.policy) || coalesce((
          select jsonb_object_agg(p.field, p.policy) from public.sync_policies p
          where p.tenant_id = p_tenant_id and p.entity = d.entity
        ), '{}') as policies
        from private.sync_defaults d group by d.entity
      ) d
    ),
    'now', private.now(),
    'after', (select max(p.seq) from page p),
    'more', (select count(*) >= p_limit from page p)
  )
$$;
revoke all on function worker.read_changes(uuid, bigint, integer) from public, anon, authenticated, service_role;
grant execute on function worker.read_changes(uuid, bigint, integer) to service_role;

-- Holds the attempt of a job that works off changes for this transaction; answers its tenant. Whoever lost the lease, or is
-- no worker, is refused.
create function private.hold_sync_attempt(p_attempt_id uuid) returns uuid
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_tenant_id uuid;
begin
  select j.tenant_id into v_tenant_id from queue.jobs j
  where j.attempt_id = p_attempt_id and j.kind = 'sync.work' and j.state = 'running' and j.due_at > private.now()
  for share;
  if v_tenant_id is null then
    perform private.fail('PT409', 'sync.attempt_lost', 'This is no attempt of a worker that works off changes, or its lease is over.');
  end if;
  return v_tenant_id;
end $$;
revoke all on function private.hold_sync_attempt(uuid) from public, anon, authenticated, service_role;
grant execute on function private.hold_sync_attempt(uuid) to authenticated;

-- Whether a change is there to be written: pending, and the caller's. It is locked then.
create function private.begin_change(p_attempt_id uuid, p_write jsonb) returns boolean
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
begin
  perform 1 from public.sync_changes c
  where c.id = (p_write ->> 'change_id')::uuid and c.tenant_id = private.hold_sync_attempt(p_attempt_id)
    and c.principal_id = auth.uid() and c.status = 'pending'
    and c.entity = p_write ->> 'entity' and c.entity_id = (p_write ->> 'entity_id')::uuid
  for update;
  return found;
end $$;
revoke all on function private.begin_change(uuid, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.begin_change(uuid, jsonb) to authenticated;

-- Says what became of a change that was begun, with the decisions that were made and when its fields were written.
create function private.settle_change(p_attempt_id uuid, p_write jsonb, p_version bigint, p_status text, p_error jsonb) returns void
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_tenant_id constant uuid := private.hold_sync_attempt(p_attempt_id);
  v_change public.sync_changes;
begin
  update public.sync_changes c
  set status = p_status, version = p_version, wrote = p_version is not null and p_write ->> 'action' <> 'none', error = p_error,
      settled_at = private.now()
  where c.id = (p_write ->> 'change_id')::uuid and c.tenant_id = v_tenant_id and c.principal_id = auth.uid()
    and c.status = 'pending'
  returning * into v_change;
  if not found then
    perform private.fail('PT409', 'sync.change_settled', 'The change was settled before.');
  end if;
  if p_status = 'rejected' then
    return;
  end if;
  insert into public.sync_conflicts (tenant_id, change_id, principal_id, entity, entity_id, field, policy, base, ours, theirs,
    winner, decided_at)
  select v_tenant_id, v_change.id, v_change.principal_id, v_change.entity, v_change.entity_id, d.field, d.policy, d.base, d.ours,
    d.theirs, d.winner, case when d.winner is not null then private.now() end
  from jsonb_to_recordset(p_write -> 'decisions') as d (field text, policy text, base jsonb, ours jsonb, theirs jsonb, winner text);
  insert into private.sync_stamps (entity_id, field, tenant_id, version, stamp)
  select v_change.entity_id, s.key, v_tenant_id, p_version, s.value
  from jsonb_each_text(p_write -> 'stamps') s where p_version is not null
  on conflict (entity_id, field) do update set version = excluded.version, stamp = excluded.stamp, settled_at = private.now();
end $$;
revoke all on function private.settle_change(uuid, jsonb, bigint, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.settle_change(uuid, jsonb, bigint, text, jsonb) to authenticated;

-- A row with fields laid over it, attributes key by key; an attribute that is null goes.
create function private.laid_over(p_row jsonb, p_fields jsonb) returns jsonb
language sql immutable set search_path = ''
as $$
  select p_row
    || coalesce(jsonb_object_agg(f.key, f.value) filter (where f.key not like 'attributes.%'), '{}')
    || case when bool_or(f.key like 'attributes.%') then jsonb_build_object('attributes',
        (coalesce(p_fields -> 'attributes', p_row -> 'attributes', '{}')
          || coalesce(jsonb_object_agg(substr(f.key, 12), f.value) filter (where f.key like 'attributes.%'), '{}'))
        - coalesce(array_agg(substr(f.key, 12)) filter (where f.key like 'attributes.%' and f.value = 'null'), '{}'))
      else '{}' end
  from jsonb_each(p_fields) f
$$;
revoke all on function private.laid_over(jsonb, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.laid_over(jsonb, jsonb) to authenticated, service_role;

-- Refuses fields that clients may not change by sync.
create function private.check_sync_fields(p_entity text, p_fields jsonb) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_unknown constant text := (
    select string_agg(k.key, ', ' order by k.key) from jsonb_object_keys(p_fields) k (key)
    where not exists (
      select from private.sync_entities e where e.entity = p_entity and split_part(k.key, '.', 1) = any (e.fields)
        and (k.key not like '%.%' or k.key like 'attributes.%')
    )
  );
begin
  if v_unknown is not null then
    perform private.fail('PT422', 'sync.field_unknown', format('Of a %s no client changes: %s.', p_entity, v_unknown));
  end if;
end $$;
revoke all on function private.check_sync_fields(text, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.check_sync_fields(text, jsonb) to authenticated, service_role;

-- Writes fields of a row as the caller may, at p_version (null: whatever it is). The row's version then, or null: it was
-- another already, and nothing was written.
create function private.write_fields(p_tenant_id uuid, p_entity text, p_entity_id uuid, p_version bigint, p_fields jsonb)
returns bigint
language plpgsql volatile set search_path = '' set enable_seqscan = off
as $$
declare
  v_product public.products;
  v_level public.stock_levels;
  v_version bigint;
begin
  perform private.check_sync_fields(p_entity, p_fields);
  if p_entity = 'product' then
    perform private.require(p_tenant_id, 'products.write');
    select * into v_product from public.products p where p.tenant_id = p_tenant_id and p.id = p_entity_id;
    if v_product.id is null then
      perform private.fail('PT404', 'product.not_found', format('There is no product %s in this tenant.', p_entity_id));
    end if;
    v_version := v_product.version;
    if v_version <> p_version then
      return null;
    end if;
    select * into v_product from jsonb_populate_record(v_product, private.laid_over(to_jsonb(v_product), p_fields));
    update public.products p
    set sku = v_product.sku, name = v_product.name, description = v_product.description, status = v_product.status,
        price = v_product.price, currency = v_product.currency, attributes = v_product.attributes,
        category_id = v_product.category_id, parent_id = v_product.parent_id, publish_at = v_product.publish_at
    where p.id = p_entity_id and p.version = v_version
    returning p.version into v_version;
  else
    perform private.require(p_tenant_id, 'inventory.write');
    select * into v_level from public.stock_levels s where s.tenant_id = p_tenant_id and s.id = p_entity_id;
    if v_level.id is null then
      perform private.fail('PT404', 'stock.not_found', format('There is no stock level %s in this tenant.', p_entity_id));
    end if;
    v_version := v_level.version;
    if v_version <> p_version then
      return null;
    end if;
    select * into v_level from jsonb_populate_record(v_level, p_fields);
    update public.stock_levels s
    set safety = v_level.safety, reorder_point = v_level.reorder_point, backorder_limit = v_level.backorder_limit
    where s.id = p_entity_id and s.version = v_version
    returning s.version into v_version;
  end if;
  return case when found then v_version end;
end $$;
revoke all on function private.write_fields(uuid, text, uuid, bigint, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.write_fields(uuid, text, uuid, bigint, jsonb) to authenticated, service_role;

-- Writes one merged change as the caller may. The row's version then (null for a row that is gone for good); stale: the row was
-- another already, and nothing was written.
create function private.apply_change(p_tenant_id uuid, p_write jsonb, out version bigint, out stale boolean)
language plpgsql volatile set search_path = '' set enable_seqscan = off
as $$
declare
  v_id constant uuid := (p_write ->> 'entity_id')::uuid;
  v_entity constant text := p_write ->> 'entity';
  v_action constant text := p_write ->> 'action';
  v_fields constant jsonb := coalesce(p_write -> 'fields', '{}');
  v_new public.products;
begin
  stale := false;
  version := (p_write ->> 'version')::bigint;
  case v_action
    when 'insert' then
      perform private.check_sync_fields(v_entity, v_fields);
      perform private.require(p_tenant_id, 'products.write');
      insert into public.products (id, tenant_id, sku, name, description, status, price, currency, attributes, category_id, parent_id,
        publish_at)
      select v_id, p_tenant_id, n.sku, n.name, n.description, n.status, n.price, n.currency, n.attributes, n.category_id, n.parent_id,
        n.publish_at
      from jsonb_populate_record(null::public.products, private.laid_over(
        jsonb_build_object('description', '', 'status', 'draft', 'price', 0, 'attributes', '{}'::jsonb,
          'currency', (select t.currency from public.tenants t where t.id = p_tenant_id)), v_fields)) n
      returning * into v_new;
      version := v_new.version;
    when 'delete' then
      version := (public.delete_product(p_tenant_id, v_id, version)).version;
    when 'update' then
      if (p_write ->> 'restore')::boolean then
        version := (public.restore_product(p_tenant_id, v_id, version)).version;
      end if;
      if v_fields <> '{}' then
        version := private.write_fields(p_tenant_id, v_entity, v_id, version, v_fields);
        stale := version is null;
      end if;
      if not stale and p_write -> 'deltas' ? 'on_hand' then
        perform public.adjust_stock(p_tenant_id, jsonb_build_array(jsonb_build_object(
          'product_id', s.product_id, 'location_id', s.location_id, 'quantity', p_write -> 'deltas' -> 'on_hand')),
          p_write ->> 'change_id', 'sync')
        from public.stock_levels s
        where s.tenant_id = p_tenant_id and s.id = v_id and p_write #> '{deltas,on_hand}' <> '0';  -- which adjust_stock refuses
        version := (select s.version from public.stock_levels s where s.tenant_id = p_tenant_id and s.id = v_id);
        if version is null then
          perform private.fail('PT404', 'stock.not_found', format('There is no stock level %s in this tenant.', v_id));
        end if;
      end if;
    else
      null;
  end case;
end $$;
revoke all on function private.apply_change(uuid, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.apply_change(uuid, jsonb) to authenticated;

-- For the worker, which calls it as the principal that pushed: writes merged changes under an attempt of its job, each for
-- itself, and says what became of them. [{"change_id", "outcome": "written" | "rejected" | "stale" | "gone"}]; stale: to be read
-- and merged again; gone: it was settled before.
create function public.apply_changes(p_attempt_id uuid, p_writes jsonb) returns jsonb
language plpgsql volatile set search_path = ''
as $$
declare
  v_tenant_id constant uuid := private.hold_sync_attempt(p_attempt_id);
  v_write jsonb;
  v_done record;
  v_state text;
  v_code text;
  v_detail text;
  v_outcome text;
  v_outcomes jsonb := '[]';
begin
  perform private.require_plain(p_writes);
  for v_write in select w from jsonb_array_elements(p_writes) w loop
    v_outcome := 'written';
    if not private.begin_change(p_attempt_id, v_write) then
      v_outcome := 'gone';
    elsif v_write -> 'error' <> 'null' then
      v_outcome := 'rejected';
      perform private.settle_change(p_attempt_id, v_write, null, 'rejected', v_write -> 'error');
    else
      begin
        -- so that the log says which change made the event
        perform set_config('pms.command_id', v_write ->> 'change_id', true);
        v_done := private.apply_change(v_tenant_id, v_write);
        if v_done.stale then
          raise exception using errcode = 'PT409', message = 'version.stale';
        end if;
        perform private.settle_change(p_attempt_id, v_write, v_done.version, v_write ->> 'status', null);
      exception
        when serialization_failure or deadlock_detected or lock_not_available or query_canceled then
          raise;
        when others then
          get stacked diagnostics v_state = returned_sqlstate, v_code = message_text, v_detail = pg_exception_detail;
          v_outcome := case v_code when 'version.stale' then 'stale' else 'rejected' end;
          if v_outcome = 'rejected' then
            perform private.settle_change(p_attempt_id, v_write, null, 'rejected',
              jsonb_build_object('sqlstate', v_state, 'code', v_code, 'detail', v_detail));
          end if;
      end;
    end if;
    v_outcomes := v_outcomes || jsonb_build_object('change_id', v_write -> 'change_id', 'outcome', v_outcome);
  end loop;
  return v_outcomes;
end $$;
revoke all on function public.apply_changes(uuid, jsonb) from public, anon, authenticated, service_role;
grant execute on function public.apply_changes(uuid, jsonb) to authenticated;

-- Forgets what was settled p_keep_days ago or earlier, up to p_limit changes and as many stamps: but for changes of which a
-- conflict is open. From then on their ids are as good as new ones. And messages of
-- the inbox, its last words on what is gone, and clients that have not pulled since. What somebody holds is left for the next
-- time, for it may be renewed just now. {"forgotten", "more"}
create function worker.forget_changes(p_keep_days integer default 30, p_limit integer default 10000) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_before timestamptz;
  v_changes integer;
  v_stamps integer;
  v_clients integer;
  v_messages integer;
begin
  if p_keep_days is null or p_keep_days < 1 then
    perform private.fail('PT400', 'retention.too_short', 'Keep at least one day.');
  end if;
  v_before := private.now() - make_interval(days => p_keep_days);
  delete from public.sync_changes c
  where c.settled_at < v_before and c.status <> 'conflict' and c.id in (
    select o.id from public.sync_changes o
    where o.settled_at < v_before and o.status <> 'conflict' order by o.settled_at limit p_limit for update skip locked
  );
  get diagnostics v_changes = row_count;
  delete from private.sync_stamps s
  where s.settled_at < v_before and (s.entity_id, s.field) in (
    select o.entity_id, o.field from private.sync_stamps o
    where o.settled_at < v_before order by o.settled_at limit p_limit for update skip locked
  );
  get diagnostics v_stamps = row_count;
  delete from public.sync_clients c
  where c.pulled_at < v_before and (c.tenant_id, c.principal_id, c.client) in (
    select o.tenant_id, o.principal_id, o.client from public.sync_clients o
    where o.pulled_on <= (v_before at time zone 'UTC')::date and o.pulled_at < v_before
    order by o.pulled_on limit p_limit for update skip locked
  );
  get diagnostics v_clients = row_count;
  delete from public.inbox_messages m
  where m.received_at < v_before and m.id in (
    select o.id from public.inbox_messages o
    where o.received_at < v_before order by o.received_at limit p_limit for update skip locked
  );
  get diagnostics v_messages = row_count;
  return jsonb_build_object('forgotten', v_changes,
    'more', greatest(v_changes, v_stamps, v_clients, v_messages, private.forget_last_words(v_before, p_limit)) >= p_limit);
end $$;
revoke all on function worker.forget_changes(integer, integer) from public, anon, authenticated, service_role;
grant execute on function worker.forget_changes(integer, integer) to service_role;
