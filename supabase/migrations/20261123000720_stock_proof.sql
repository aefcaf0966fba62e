-- The stock proof: ledger, levels and reservations tell the same story three times, and this compares them.
--
-- One statement compares, so what commits meanwhile is seen in all three or in none. A difference is a finding:
--
--   on_hand    the level's on_hand is not the sum of its movements
--   reserved   the level's reserved is not what its open reservations wait for
--   ledger     the ledger's reserved, or its last after-amounts, are not the level's
--
-- A repair is asked for. It takes reservations as the truth of what is promised and the level as the truth of what is
-- there (nothing else knows), brings the level in line, and writes a movement of kind `repair` that closes the gap.

create table public.reconciliation_findings (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  run_id uuid not null,
  level_id uuid not null,
  product_id uuid not null,
  location_id uuid not null,
  kind text not null constraint reconciliation_findings_kind_known check (kind in ('on_hand', 'reserved', 'ledger')),
  level_amount bigint not null,
  other_amount bigint not null,
  level_version bigint not null,
  found_at timestamptz not null default private.now(),
  repaired_at timestamptz,
  constraint reconciliation_findings_differ check (level_amount <> other_amount)
);
comment on table public.reconciliation_findings is 'Where ledger, levels and reservations disagreed, by run of the proof';
create index reconciliation_findings_by_tenant on public.reconciliation_findings (tenant_id, found_at desc);
create index reconciliation_findings_open on public.reconciliation_findings (level_id) where repaired_at is null;

alter table public.reconciliation_findings enable row level security;
create policy "only within one's own tenants" on public.reconciliation_findings
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's findings" on public.reconciliation_findings
  for select to authenticated using (tenant_id = any ((select private.tenants_with('inventory.read'))::uuid[]));
revoke all on public.reconciliation_findings from anon, authenticated, service_role;
grant select on public.reconciliation_findings to authenticated, service_role;

-- What the three say of a tenant's levels (of p_level_ids only, if given): one row per level that disagrees.
create function private.stock_differences(p_tenant_id uuid, p_level_ids uuid[] default null)
returns table (
  level_id uuid, product_id uuid, location_id uuid, level_version bigint, on_hand bigint, reserved bigint,
  ledger_on_hand bigint, ledger_reserved bigint, on_hand_after bigint, reserved_after bigint, promised bigint
)
language sql stable security definer set search_path = ''
as $$
  with ledger as (
    select m.level_id, sum(m.quantity)::bigint as on_hand, sum(m.reserved_quantity)::bigint as reserved, max(m.id) as last
    from public.stock_movements m
    where m.tenant_id = p_tenant_id and (p_level_ids is null or m.level_id = any (p_level_ids))
    group by m.level_id
  ), promise as (
    select r.level_id, sum(r.quantity - r.shipped)::bigint as promised
    from public.reservations r
    where r.tenant_id = p_tenant_id and r.status in ('held', 'committed')
      and (p_level_ids is null or r.level_id = any (p_level_ids))
    group by r.level_id
  ), said as (
    select s.id, s.product_id, s.location_id, s.version, s.on_hand, s.reserved,
      coalesce(l.on_hand, 0) as ledger_on_hand, coalesce(l.reserved, 0) as ledger_reserved,
      coalesce(m.on_hand_after, 0) as on_hand_after, coalesce(m.reserved_after, 0) as reserved_after,
      coalesce(p.promised, 0) as promised
    from public.stock_levels s
    left join ledger l on l.level_id = s.id
    left join public.stock_movements m on m.id = l.last
    left join promise p on p.level_id = s.id
    where s.tenant_id = p_tenant_id and (p_level_ids is null or s.id = any (p_level_ids))
  )
  select * from said d
  where d.on_hand <> d.ledger_on_hand or d.on_hand <> d.on_hand_after or d.reserved <> d.promised
    or d.reserved <> d.ledger_reserved or d.reserved <> d.reserved_after
$$;
revoke all on function private.stock_differences(uuid, uuid[]) from public, anon, authenticated, service_role;

create function private.repair_stock(p_tenant_id uuid, p_level_ids uuid[]) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform 1 from public.stock_levels s where s.id = any (p_level_ids) order by s.id for update;
  -- The level comes in line with the promises, and the ledger with the level.
  with wrong as (
    select d.* from private.stock_differences(p_tenant_id, p_level_ids) d
  ), moved as (
    update public.stock_levels s
    set reserved = w.promised,
        shortfall = greatest(0, w.promised - s.on_hand - s.backorder_limit),
        repaired_at = private.now()
    from wrong w where s.id = w.level_id
    returning s as level, w.ledger_on_hand, w.ledger_reserved
  )
  insert into public.stock_movements (tenant_id, level_id, level_version, kind, quantity, reserved_quantity,
    on_hand_after, reserved_after, reason, actor, command_id)
  select p_tenant_id, (m.level).id, (m.level).version, 'repair', (m.level).on_hand - m.ledger_on_hand,
    (m.level).reserved - m.ledger_reserved, (m.level).on_hand, (m.level).reserved, 'stock proof', auth.uid(),
    nullif(current_setting('pms.command_id', true), '')
  from moved m;
end $$;
revoke all on function private.repair_stock(uuid, uuid[]) from public, anon, authenticated, service_role;

create function private.run_stock_proof(p_tenant_id uuid, p_repair boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_run constant uuid := gen_random_uuid();
  v_levels uuid[];
  v_findings jsonb;
begin
  perform private.require(p_tenant_id, case when p_repair then 'inventory.repair' else 'inventory.write' end);
  with found as (
    insert into public.reconciliation_findings
      (tenant_id, run_id, level_id, product_id, location_id, kind, level_amount, other_amount, level_version)
    select distinct p_tenant_id, v_run, d.level_id, d.product_id, d.location_id, k.kind, k.level_amount,
      k.other_amount, d.level_version
    from private.stock_differences(p_tenant_id) d
    cross join lateral (
      values ('on_hand', d.on_hand, d.ledger_on_hand), ('reserved', d.reserved, d.promised),
        ('ledger', d.reserved, d.ledger_reserved), ('ledger', d.on_hand, d.on_hand_after),
        ('ledger', d.reserved, d.reserved_after)
    ) as k (kind, level_amount, other_amount)
    where k.level_amount <> k.other_amount
    returning *
  )
  select array_agg(distinct f.level_id), coalesce(jsonb_agg(jsonb_build_object(
    'level_id', f.level_id, 'product_id', f.product_id, 'location_id', f.location_id, 'kind', f.kind,
    'level_amount', f.level_amount, 'other_amount', f.other_amount
  )), '[]')
  into v_levels, v_findings
  from found f;
  if p_repair and v_levels is not null then
    perform private.repair_stock(p_tenant_id, v_levels);
    update public.reconciliation_findings f set repaired_at = private.now()
    where f.tenant_id = p_tenant_id and f.level_id = any (v_levels) and f.repaired_at is null;
  end if;
  return jsonb_build_object('run_id', v_run, 'repaired', p_repair and v_levels is not null, 'findings', v_findings,
    'levels', (select count(*) from public.stock_levels s where s.tenant_id = p_tenant_id));
end $$;
revoke all on function private.run_stock_proof(uuid, boolean) from public, anon, authenticated, service_role;
grant execute on function private.run_stock_proof(uuid, boolean) to authenticated, service_role;

-- Compares ledger, levels and reservations of a tenant and records what differs; repairs it only when asked.
create function public.run_stock_proof(p_tenant_id uuid, p_repair boolean default false) returns jsonb
language sql volatile set search_path = ''
as $$ select private.run_stock_proof(p_tenant_id, p_repair) $$;
revoke all on function public.run_stock_proof(uuid, boolean) from public, anon, authenticated, service_role;
grant execute on function public.run_stock_proof(uuid, boolean) to authenticated, service_role;
