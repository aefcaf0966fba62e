-- Inventory.
--
-- A stock level is what one location has of one product. Levels change only through commands; each change appends to
-- the ledger, stock_movements, with the amounts after it, one movement per level version. Many lines are summed per
-- level first, then the levels are locked in primary-key order: the one lock rule, which makes deadlocks impossible.
--
-- A command carries an idempotency key of the caller's choice. The same key and request again gives the stored result;
-- the same key with another request, of this command or another, is refused; a failure is not remembered. Keys are kept 24 h.

create table private.command_results (
  tenant_id uuid not null,
  principal_id uuid not null,
  command text not null,
  key text not null constraint command_results_key_length check (length(key) between 1 and 200),
  request_hash bytea not null,
  result jsonb,
  created_at timestamptz not null default private.now(),
  primary key (tenant_id, principal_id, key)
);
comment on table private.command_results is 'Results by idempotency key, kept 24 h';
create index command_results_by_age on private.command_results (created_at);
alter table private.command_results enable row level security;
revoke all on private.command_results from public, anon, authenticated, service_role;

-- The stored result of this key and request, or null for a first call. The row it inserts makes concurrent twins wait
-- for this transaction, and vanishes with it if the command fails.
create function private.begin_command(p_tenant_id uuid, p_command text, p_key text, p_request jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_hash bytea;
  v_principal constant uuid := coalesce(auth.uid(), '00000000-0000-0000-0000-000000000000');
  v_known private.command_results;
begin
  if p_key is null then
    return null;
  end if;
  v_hash := sha256(convert_to(p_request::text, 'UTF8'));
  perform set_config('pms.command_id', p_key, true);
  insert into private.command_results (tenant_id, principal_id, command, key, request_hash)
  values (p_tenant_id, v_principal, p_command, p_key, v_hash)
  on conflict do nothing;
  if found then
    return null;
  end if;
  select * into v_known from private.command_results r
  where r.tenant_id = p_tenant_id and r.principal_id = v_principal and r.key = p_key;
  if (v_known.command, v_known.request_hash) is distinct from (p_command, v_hash) then
    perform private.fail('PT422', 'idempotency.key_reused',
      format('The key %s was used for another %s request.', p_key, v_known.command), 'Use a fresh key for a new request.');
  end if;
  return v_known.result;
end $$;
revoke all on function private.begin_command(uuid, text, text, jsonb) from public, anon, authenticated, service_role;

-- Stores the result of a command that began with this key, and returns it.
create function private.end_command(p_tenant_id uuid, p_command text, p_key text, p_result jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  if p_key is not null then
    update private.command_results set result = p_result
    where tenant_id = p_tenant_id and command = p_command and key = p_key
      and principal_id = coalesce(auth.uid(), '00000000-0000-0000-0000-000000000000');
  end if;
  return p_result;
end $$;
revoke all on function private.end_command(uuid, text, text, jsonb) from public, anon, authenticated, service_role;

create table public.locations (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  code text not null constraint locations_code_form check (code ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,49}$'),
  name text not null
    constraint locations_name_length check (length(name) between 1 and 200)
    constraint locations_name_clean check (private.is_clean(name)),
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint locations_code_unique unique (tenant_id, code),
  constraint locations_within_tenant unique (tenant_id, id)
);
comment on table public.locations is 'Where a tenant keeps stock';

alter table public.locations enable row level security;
create policy "only within one's own tenants" on public.locations
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's locations" on public.locations
  for select to authenticated using (tenant_id = any ((select private.tenants_with('inventory.read'))::uuid[]));
create policy "managers add locations to their tenant" on public.locations
  for insert to authenticated with check (tenant_id = any ((select private.tenants_with('locations.write'))::uuid[]));
create policy "managers change their tenant's locations" on public.locations
  for update to authenticated
  using (tenant_id = any ((select private.tenants_with('locations.write'))::uuid[]))
  with check (tenant_id = any ((select private.tenants_with('locations.write'))::uuid[]));
create policy "managers delete their tenant's locations" on public.locations
  for delete to authenticated using (tenant_id = any ((select private.tenants_with('locations.write'))::uuid[]));
revoke all on public.locations from anon, authenticated, service_role;
grant select, insert, update, delete on public.locations to authenticated, service_role;
create trigger stamp_version before insert or update on public.locations
  for each row execute function private.stamp_version();

create table public.stock_levels (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null,
  product_id uuid not null,
  location_id uuid not null,
  on_hand bigint not null default 0 constraint stock_levels_on_hand_not_negative check (on_hand >= 0),
  reserved bigint not null default 0 constraint stock_levels_reserved_not_negative check (reserved >= 0),
  safety bigint not null default 0 constraint stock_levels_safety_not_negative check (safety >= 0),
  reorder_point bigint constraint stock_levels_reorder_point_not_negative check (reorder_point >= 0),
  backorder_limit bigint not null default 0
    constraint stock_levels_backorder_limit_not_negative check (backorder_limit >= 0),
  shortfall bigint not null default 0 constraint stock_levels_shortfall_not_negative check (shortfall >= 0),
  low_since timestamptz,
  out_since timestamptz,
  counted_at timestamptz,
  repaired_at timestamptz,
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint stock_levels_one_per_place unique (product_id, location_id),
  constraint stock_levels_promises_kept check (reserved <= on_hand + backorder_limit + shortfall),
  constraint stock_levels_product foreign key (tenant_id, product_id) references public.products (tenant_id, id),
  constraint stock_levels_location foreign key (tenant_id, location_id) references public.locations (tenant_id, id)
);
comment on table public.stock_levels is 'What a location has of a product; changed by commands only';
comment on column public.stock_levels.reserved is 'Promised: what held and committed reservations still wait for';
comment on column public.stock_levels.safety is 'Kept back: no reservation reaches into it';
comment on column public.stock_levels.backorder_limit is 'How much may be promised beyond what is there';
comment on column public.stock_levels.shortfall is
  'Promised beyond the limit, because a count found less; above 0 nothing more is promised';
create index stock_levels_by_tenant on public.stock_levels (tenant_id, product_id);
create index stock_levels_by_location on public.stock_levels (tenant_id, location_id);
alter table public.stock_levels set (fillfactor = 80);

alter table public.stock_levels enable row level security;
create policy "only within one's own tenants" on public.stock_levels
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's stock" on public.stock_levels
  for select to authenticated using (tenant_id = any ((select private.tenants_with('inventory.read'))::uuid[]));
create policy "clerks set limits of their tenant's stock" on public.stock_levels
  for update to authenticated
  using (tenant_id = any ((select private.tenants_with('inventory.write'))::uuid[]))
  with check (tenant_id = any ((select private.tenants_with('inventory.write'))::uuid[]));
revoke all on public.stock_levels from anon, authenticated, service_role;
grant select on public.stock_levels to authenticated, service_role;
grant update (safety, reorder_point, backorder_limit, version) on public.stock_levels to authenticated, service_role;
create trigger stamp_version before insert or update on public.stock_levels
  for each row execute function private.stamp_version();

-- What a new reservation may take from a level; never below 0. A computed field: select=*,available.
create function public.available(p_level public.stock_levels) returns bigint
language sql immutable set search_path = ''
as $$
  select case when p_level.shortfall > 0 then 0
    else greatest(0, p_level.on_hand - p_level.reserved - p_level.safety + p_level.backorder_limit) end
$$;
revoke all on function public.available(public.stock_levels) from public, anon, authenticated, service_role;
grant execute on function public.available(public.stock_levels) to authenticated, service_role;

-- BEFORE row trigger; its name sorts before stamp_version. Pays a shortfall back from whatever came in or was given
-- up, and notes since when a level is out (nothing can be sold) or low (nothing but the reorder point is left). Low ends
-- only a tenth of the reorder point above it, so that a level that wavers around the point does not ring each time.
create function private.note_alerts() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_free constant bigint := new.on_hand - new.reserved - new.safety;
begin
  new.shortfall := least(new.shortfall, greatest(0, new.reserved - new.on_hand - new.backorder_limit));
  new.out_since := case when new.shortfall > 0 or v_free + new.backorder_limit <= 0
    then coalesce(new.out_since, private.now()) end;
  new.low_since := case
    when v_free <= new.reorder_point then coalesce(new.low_since, private.now())
    when v_free <= new.reorder_point + greatest(1, new.reorder_point / 10) then new.low_since
  end;
  return new;
end $$;
revoke all on function private.note_alerts() from public, anon, authenticated, service_role;
create trigger note_alerts before insert or update on public.stock_levels
  for each row execute function private.note_alerts();

create table public.stock_movements (
  id bigint generated always as identity primary key,
  tenant_id uuid not null,
  level_id uuid not null references public.stock_levels (id),
  level_version bigint not null,
  kind text not null constraint stock_movements_kind_known check (kind in
    ('receive', 'adjust', 'transfer', 'count', 'return', 'reserve', 'release', 'expire', 'ship', 'repair')),
  quantity bigint not null,
  reserved_quantity bigint not null default 0,
  on_hand_after bigint not null,
  reserved_after bigint not null,
  reason text constraint stock_movements_reason_length check (length(reason) <= 500),
  source text constraint stock_movements_source_length check (length(source) <= 300),
  order_id uuid,
  actor uuid,
  command_id text,
  created_at timestamptz not null default private.now(),
  constraint stock_movements_one_per_version unique (level_id, level_version),
  -- A count that finds what was known, and a repair of amounts that cancel out, are worth a line.
  constraint stock_movements_not_nothing
    check (quantity <> 0 or reserved_quantity <> 0 or kind in ('count', 'repair')),
  constraint stock_movements_promises_by_kind
    check (reserved_quantity = 0 or kind in ('reserve', 'release', 'expire', 'ship', 'repair'))
);
comment on table public.stock_movements is 'The ledger: every change of a level''s amounts, with the amounts after it';
comment on column public.stock_movements.quantity is 'What was added to on_hand, or taken from it';
comment on column public.stock_movements.reserved_quantity is 'What was added to reserved, or taken from it';
create index stock_movements_by_level on public.stock_movements (level_id, id);
-- What was received from a place that counts only once, such as a line of an imported file.
create unique index stock_movements_source_once on public.stock_movements (tenant_id, source) where source is not null;
create index stock_movements_by_time on public.stock_movements (tenant_id, created_at desc);

alter table public.stock_movements enable row level security;
create policy "only within one's own tenants" on public.stock_movements
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's movements" on public.stock_movements
  for select to authenticated using (tenant_id = any ((select private.tenants_with('inventory.read'))::uuid[]));
revoke all on public.stock_movements from anon, authenticated, service_role;
grant select on public.stock_movements to authenticated, service_role;

create function private.refuse_ledger_change() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if tg_op = 'DELETE' and current_setting('pms.erasing', true) = 'yes' then
    return null;  -- a deleted tenant takes its ledger along (…_privacy.sql)
  end if;
  perform private.fail('PT405', 'ledger.append_only', 'Movements are never changed or deleted; record another one.');
  return null;
end $$;
revoke all on function private.refuse_ledger_change() from public, anon, authenticated, service_role;
create trigger append_only before update or delete or truncate on public.stock_movements
  for each statement execute function private.refuse_ledger_change();

-- The one place that changes amounts: adds to on_hand and reserved of the levels, each named once, and writes the
-- ledger. The caller has locked the levels. With p_may_fall_short a level may end with less than is promised.
create function private.move_levels(
  p_kind text, p_level_ids uuid[], p_on_hand bigint[], p_reserved bigint[], p_reason text default null,
  p_order_id uuid default null, p_sources text[] default null, p_may_fall_short boolean default false
) returns setof public.stock_levels
language plpgsql volatile security definer set search_path = ''
as $$
begin
  return query
  with moved as (
    update public.stock_levels s
    set on_hand = s.on_hand + c.on_hand,
        reserved = s.reserved + c.reserved,
        shortfall = case when p_may_fall_short
          then greatest(0, s.reserved + c.reserved - s.on_hand - c.on_hand - s.backorder_limit) else s.shortfall end,
        counted_at = case p_kind when 'count' then private.now() else s.counted_at end,
        repaired_at = case p_kind when 'repair' then private.now() else s.repaired_at end
    from unnest(p_level_ids, p_on_hand, p_reserved, p_sources) as c (level_id, on_hand, reserved, source)
    where s.id = c.level_id
    returning s as level, c.on_hand, c.reserved, c.source
  ), recorded as (
    insert into public.stock_movements (tenant_id, level_id, level_version, kind, quantity, reserved_quantity,
      on_hand_after, reserved_after, reason, source, order_id, actor, command_id)
    select (m.level).tenant_id, (m.level).id, (m.level).version, p_kind, m.on_hand, m.reserved,
      (m.level).on_hand, (m.level).reserved, p_reason, m.source, p_order_id, auth.uid(),
      nullif(current_setting('pms.command_id', true), '')
    from moved m order by (m.level).id
  )
  select (m.level).* from moved m order by (m.level).id;
end $$;
revoke all on function private.move_levels(text, uuid[], bigint[], bigint[], text, uuid, text[], boolean)
  from public, anon, authenticated, service_role;

-- Turns a broken check of a level into stock.insufficient; lets any other error be. The lines [{product_id, location_id,
-- quantity}] are what was to move: the first of a level that they take too much from is named, numbered where that is its
-- place in the call. The levels are read anew, unlocked, so that in a race none may look short any more. p_may_fall_short:
-- only what is on hand counts.
create function private.refuse_if_short(
  p_constraint text, p_lines jsonb, p_numbered boolean default false, p_may_fall_short boolean default false
) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_short text;
begin
  if p_constraint not like 'stock\_levels\_%' then
    return;
  end if;
  select format('%s %s at location %s has %s on hand, %s of them promised; %s cannot be taken.',
    case when p_numbered then format('Line %s: product', m.n) else 'Product' end, m.product_id, m.location_id, coalesce(s.on_hand, 0),
    least(coalesce(s.reserved, 0), coalesce(s.on_hand, 0)), -m.quantity)
  into v_short
  from (
    select (l.line ->> 'product_id')::uuid as product_id, (l.line ->> 'location_id')::uuid as location_id,
      sum((l.line ->> 'quantity')::numeric)::bigint as quantity, min(l.n) filter (where (l.line ->> 'quantity')::numeric < 0) as n
    from jsonb_array_elements(p_lines) with ordinality l (line, n)
    group by 1, 2
  ) m
  left join public.stock_levels s on s.product_id = m.product_id and s.location_id = m.location_id
  where m.quantity < 0 and coalesce(s.on_hand, 0) + m.quantity
    < case when p_may_fall_short then 0 else greatest(0, coalesce(s.reserved - s.backorder_limit - s.shortfall, 0)) end
  order by m.n
  limit 1;
  perform private.fail('PT409', 'stock.insufficient',
    coalesce(v_short, 'The move would take more than is there or break what is promised.'), 'Read what is there and decide anew.');
end $$;
revoke all on function private.refuse_if_short(text, jsonb, boolean, boolean)
  from public, anon, authenticated, service_role;

-- Makes the levels that lines [{product_id, location_id}] name and that are missing, and locks all of them.
create function private.open_levels(p_tenant_id uuid, p_lines jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_missing text;
begin
  select string_agg(distinct case when p.id is null then 'product ' || coalesce(l.product_id::text, 'null')
                                  else 'location ' || coalesce(l.location_id::text, 'null') end, ', ')
  into v_missing
  from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid)
  left join public.products p on p.tenant_id = p_tenant_id and p.id = l.product_id
  left join public.locations o on o.tenant_id = p_tenant_id and o.id = l.location_id
  where p.id is null or o.id is null;
  if v_missing is not null then
    perform private.fail('PT404', 'stock.not_found', format('Not in this tenant: %s.', v_missing));
  end if;

  insert into public.stock_levels (tenant_id, product_id, location_id)
  select distinct p_tenant_id, l.product_id, l.location_id
  from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid)
  where not exists (
    select from public.stock_levels s where s.product_id = l.product_id and s.location_id = l.location_id
  )
  order by 2, 3
  on conflict (product_id, location_id) do nothing;

  perform 1 from public.stock_levels s
  where (s.product_id, s.location_id) in (
    select l.product_id, l.location_id from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid)
  )
  order by s.id
  for update;
end $$;
revoke all on function private.open_levels(uuid, jsonb) from public, anon, authenticated, service_role;

-- Moves stock: lines [{product_id, location_id, quantity, source?}] of one kind, all or nothing. A level that is
-- missing is made. Returns the levels after the move, one entry per level, as a JSON array. Rows are looked up one by
-- one: a plan that a pooled connection made while the tables were empty would scan them for as long as it lives; and
-- plans are generic, because planning each call anew took longer than the call.
create function private.move_stock(
  p_tenant_id uuid, p_kind text, p_lines jsonb, p_reason text, p_may_fall_short boolean default false
) returns jsonb
language plpgsql security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_ids uuid[];
  v_quantities bigint[];
  v_sources text[];
  v_constraint text;
begin
  perform private.open_levels(p_tenant_id, p_lines);
  select array_agg(s.id order by s.id), array_agg(l.quantity order by s.id), array_agg(l.source order by s.id)
  into v_ids, v_quantities, v_sources
  from (
    select l.product_id, l.location_id, sum(l.quantity)::bigint as quantity, min(l.source) as source
    -- numeric, because JSON's 1.0 is a whole number and no bigint
    from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid, quantity numeric, source text)
    group by l.product_id, l.location_id
    having sum(l.quantity) <> 0 or p_kind = 'count'
  ) l
  join public.stock_levels s on s.product_id = l.product_id and s.location_id = l.location_id;

  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'product_id', m.product_id, 'location_id', m.location_id, 'on_hand', m.on_hand, 'reserved', m.reserved,
      'version', m.version
    )), '[]')
    from private.move_levels(p_kind, v_ids, v_quantities, array_fill(0::bigint, array[coalesce(cardinality(v_ids), 0)]),
      p_reason, null, v_sources, p_may_fall_short) m
  );
exception when check_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_if_short(v_constraint, p_lines,
    p_numbered => p_kind <> 'transfer',  -- each line of a transfer is two here
    p_may_fall_short => p_may_fall_short);
  raise;
end $$;
revoke all on function private.move_stock(uuid, text, jsonb, text, boolean)
  from public, anon, authenticated, service_role;

-- Refuses lines that are no array of 1 to 10,000, or whose p_field is no whole number of at least p_least. Where that is
-- below 0, the number is a difference, and 0 changes nothing.
create function private.check_lines(p_lines jsonb, p_field text, p_least numeric) returns void
language plpgsql immutable set search_path = ''
as $$
declare
  v_bad integer;
begin
  if jsonb_typeof(p_lines) is distinct from 'array' or jsonb_array_length(p_lines) not between 1 and 10000 then
    perform private.fail('PT400', 'stock.lines_invalid', 'p_lines must be an array of 1 to 10,000 lines.');
  end if;
  select min(l.n) into v_bad
  from jsonb_array_elements(p_lines) with ordinality as l (line, n)
  where case when jsonb_typeof(l.line -> p_field) = 'number' then
      (l.line ->> p_field)::numeric <> trunc((l.line ->> p_field)::numeric)
      or (l.line ->> p_field)::numeric not between p_least and 1000000000000
      or (p_least < 0 and (l.line ->> p_field)::numeric = 0)
    else true end;
  if v_bad is not null then
    perform private.fail('PT400', 'stock.quantity_invalid', format('Line %s: %s must be a whole number%s.', v_bad, p_field,
      case p_least when 0 then ', 0 or more' when 1 then ' above 0' else ', and not 0' end));
  end if;
end $$;
revoke all on function private.check_lines(jsonb, text, numeric) from public, anon, authenticated, service_role;

-- The body of the commands that move stock: check, remember, move.
create function private.stock_command(
  p_tenant_id uuid, p_kind text, p_lines jsonb, p_key text, p_reason text, p_may_fall_short boolean default false
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_command constant text := p_kind || '_stock';
  v_known jsonb;
begin
  perform private.require(p_tenant_id, 'inventory.write');
  perform private.require_plain(p_lines);
  perform private.check_lines(p_lines, 'quantity', case p_kind when 'adjust' then -1000000000000 else 1 end);
  v_known := private.begin_command(p_tenant_id, v_command, p_key,
    jsonb_build_object('lines', p_lines, 'reason', p_reason, 'may_fall_short', p_may_fall_short));
  if v_known is not null then
    return v_known;
  end if;
  -- A source counts once, for ever: it is the import's to give, and no client may take one away from it.
  return private.end_command(p_tenant_id, v_command, p_key, jsonb_build_object('levels', private.move_stock(p_tenant_id,
    p_kind, (select jsonb_agg(l.line - 'source') from jsonb_array_elements(p_lines) l (line)), p_reason, p_may_fall_short)));
end $$;
revoke all on function private.stock_command(uuid, text, jsonb, text, text, boolean)
  from public, anon, authenticated, service_role;
grant execute on function private.stock_command(uuid, text, jsonb, text, text, boolean) to authenticated, service_role;

-- Books goods in. Lines: [{"product_id", "location_id", "quantity"}], quantities above 0.
create function public.receive_stock(p_tenant_id uuid, p_lines jsonb, p_key text default null, p_reason text default null)
returns jsonb
language sql volatile set search_path = ''
as $$ select private.stock_command(p_tenant_id, 'receive', p_lines, p_key, p_reason) $$;
revoke all on function public.receive_stock(uuid, jsonb, text, text) from public, anon, authenticated, service_role;
grant execute on function public.receive_stock(uuid, jsonb, text, text) to authenticated, service_role;

-- Corrects levels by signed quantities; refused as stock.insufficient where a level would fall below what is promised,
-- unless p_allow_shortfall says that the goods are gone all the same.
create function public.adjust_stock(
  p_tenant_id uuid, p_lines jsonb, p_key text default null, p_reason text default null,
  p_allow_shortfall boolean default false
) returns jsonb
language sql volatile set search_path = ''
as $$ select private.stock_command(p_tenant_id, 'adjust', p_lines, p_key, p_reason, p_allow_shortfall) $$;
revoke all on function public.adjust_stock(uuid, jsonb, text, text, boolean) from public, anon, authenticated, service_role;
grant execute on function public.adjust_stock(uuid, jsonb, text, text, boolean) to authenticated, service_role;

insert into private.event_map (entity, operation, rank, when_field, when_null, verb, description) values
  ('location',    'INSERT', 9, null,        null,  'created',
    'A place that keeps stock was added.'),
  ('location',    'UPDATE', 9, null,        null,  'updated',
    'A place was renamed, or got another code.'),
  ('location',    'DELETE', 9, null,        null,  'deleted',
    'A place is gone.'),
  ('stock_level', 'INSERT', 9, null,        null,  'created',
    'A place keeps this product for the first time.'),
  ('stock_level', 'UPDATE', 1, 'out_since', true,  'back',
    'Something can be sold where nothing could, goods for the first time included.'),
  ('stock_level', 'UPDATE', 2, 'low_since', false, 'low',
    'What is free (on_hand - reserved - safety) fell to reorder_point or below it; it comes again only after more was free than the point and a tenth of it (at least 1) on top.'),
  ('stock_level', 'UPDATE', 9, null,        null,  'updated',
    'Amounts or limits changed otherwise.'),
  ('stock_level', 'DELETE', 9, null,        null,  'deleted',
    'A place no longer keeps this product.');

select private.log_changes_of('public.locations', 'location', 'inventory.read');
select private.log_changes_of('public.stock_levels', 'stock_level', 'inventory.read');
