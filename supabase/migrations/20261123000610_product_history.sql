-- History of products, and their deletion.
--
-- Every former state of a product stays in product_versions, written by triggers: what the product was, until when, and
-- who replaced it. A rollback makes a new version out of an old one, so that history only ever grows.
--
-- Deleting sets deleted_at, for a product and its living variants at once; pictures stay, so that restoring brings
-- everything back. What still holds a product refuses it. Who holds products is a table of finders, so that a
-- capability that comes later (stock, orders) adds its own. A DELETE of the row itself works only where no foreign key
-- refers to it.

create table public.product_versions (
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  product_id uuid not null,
  version bigint not null,
  state jsonb not null,
  actor uuid,
  command_id text,
  replaced_at timestamptz not null default private.now(),
  -- A product that was deleted for good may come back under its id and count from 1 again.
  primary key (product_id, version, replaced_at)
);
comment on table public.product_versions is 'Every former state of a product; written by triggers only';
comment on column public.product_versions.actor is 'Who replaced this state; null: the worker or the project itself';
create index product_versions_by_tenant on public.product_versions (tenant_id, replaced_at);

alter table public.product_versions enable row level security;
create policy "only within one's own tenants" on public.product_versions
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's history" on public.product_versions
  for select to authenticated using (tenant_id = any ((select private.tenants_with('products.read'))::uuid[]));
revoke all on public.product_versions from anon, authenticated, service_role;
grant select on public.product_versions to authenticated, service_role;

-- The pins: see private.capture_changes.
create function private.keep_versions() returns trigger
language plpgsql security definer set search_path = '' set timezone = 'UTC'
  set enable_nestloop = off set enable_hashjoin = on set jit = off
as $$
declare
  v_now constant timestamptz := private.now();
  v_command constant text := nullif(current_setting('pms.command_id', true), '');
begin
  if tg_op = 'UPDATE' then
    insert into public.product_versions (tenant_id, product_id, version, state, actor, command_id, replaced_at)
    select o.tenant_id, o.id, o.version, to_jsonb(o), auth.uid(), v_command, v_now
    from old_rows o join new_rows n on n.id = o.id
    where n.version <> o.version;
  else
    insert into public.product_versions (tenant_id, product_id, version, state, actor, command_id, replaced_at)
    select o.tenant_id, o.id, o.version, to_jsonb(o), auth.uid(), v_command, v_now
    from old_rows o
    -- A tenant that is deleted takes its history along.
    where exists (select from public.tenants t where t.id = o.tenant_id);
  end if;
  return null;
end $$;
revoke all on function private.keep_versions() from public, anon, authenticated, service_role;
create trigger keep_versions_of_updated after update on public.products
  referencing old table as old_rows new table as new_rows
  for each statement execute function private.keep_versions();
create trigger keep_versions_of_deleted after delete on public.products
  referencing old table as old_rows
  for each statement execute function private.keep_versions();

-- The product, locked, for a command that was told which version its caller knows (null: any).
create function private.lock_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint)
returns public.products
language plpgsql security definer set search_path = ''
as $$
declare
  v_product public.products;
begin
  select * into v_product from public.products p
  where p.tenant_id = p_tenant_id and p.id = p_product_id
  -- Weaker than "for update": rows that refer to the product need not wait.
  for no key update;
  if not found then
    perform private.fail('PT404', 'product.not_found', format('There is no product %s in this tenant.', p_product_id));
  end if;
  if p_expected_version <> v_product.version then
    perform private.fail('PT409', 'version.stale',
      format('You sent version %s; the stored version is %s.', p_expected_version, v_product.version),
      'Read the row again, apply your change to it, and send the version that you read.');
  end if;
  return v_product;
end $$;
revoke all on function private.lock_product(uuid, uuid, bigint) from public, anon, authenticated, service_role;

create function private.rollback_product(
  p_tenant_id uuid, p_product_id uuid, p_to_version bigint, p_expected_version bigint
) returns public.products
language plpgsql security definer set search_path = ''
as $$
declare
  v_product public.products;
  v_old public.products;
begin
  perform private.require(p_tenant_id, 'products.write');
  v_product := private.lock_product(p_tenant_id, p_product_id, p_expected_version);
  if v_product.deleted_at is not null then
    perform private.fail('PT409', 'product.deleted', 'The product is deleted.', 'Restore it first.');
  end if;
  if p_to_version = v_product.version then
    return v_product;
  end if;
  select (jsonb_populate_record(v_product, h.state)).* into v_old
  from public.product_versions h
  where h.tenant_id = p_tenant_id and h.product_id = p_product_id and h.version = p_to_version
  order by h.replaced_at desc
  limit 1;
  if not found then
    perform private.fail('PT404', 'product.version_unknown', format('The product had no version %s.', p_to_version));
  end if;
  update public.products p
  set parent_id = v_old.parent_id, category_id = v_old.category_id, sku = v_old.sku, name = v_old.name,
      description = v_old.description, status = v_old.status, price = v_old.price, currency = v_old.currency,
      attributes = v_old.attributes
  where p.id = p_product_id
  returning * into v_product;
  return v_product;
end $$;
revoke all on function private.rollback_product(uuid, uuid, bigint, bigint) from public, anon, authenticated, service_role;
grant execute on function private.rollback_product(uuid, uuid, bigint, bigint) to authenticated, service_role;

-- Makes a new version whose fields are those of an old one; plans to publish, and whether it is deleted, stay as they are.
create function public.rollback_product(
  p_tenant_id uuid, p_product_id uuid, p_to_version bigint, p_expected_version bigint default null
) returns public.products
language sql volatile set search_path = ''
as $$ select private.rollback_product(p_tenant_id, p_product_id, p_to_version, p_expected_version) $$;
revoke all on function public.rollback_product(uuid, uuid, bigint, bigint) from public, anon, authenticated, service_role;
grant execute on function public.rollback_product(uuid, uuid, bigint, bigint) to authenticated, service_role;

-- Finders of what holds products: functions (p_tenant_id uuid, p_product_ids uuid[]) returns setof jsonb, an object
-- {"holder", "product_id", …} for each thing that must end before the products can be deleted.
create table private.product_holders (
  holder text primary key,
  finder text not null constraint product_holders_finder_form check (finder ~ '^private\.[a-z_]+$')
);
comment on table private.product_holders is 'Who may hold products back from deletion, and the function that finds it';
alter table private.product_holders enable row level security;
revoke all on private.product_holders from public, anon, authenticated, service_role;

-- Living variants that are not deleted along.
create function private.variants_holding(p_tenant_id uuid, p_product_ids uuid[]) returns setof jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('holder', 'variant', 'product_id', v.parent_id, 'variant_id', v.id, 'sku', v.sku)
  from public.products v
  where v.tenant_id = p_tenant_id and v.parent_id = any (p_product_ids) and v.id <> all (p_product_ids)
    and v.deleted_at is null
  order by v.sku
  limit 100
$$;
revoke all on function private.variants_holding(uuid, uuid[]) from public, anon, authenticated, service_role;

-- Stock that is there or promised. Locks the levels, in primary-key order, so that nothing comes in meanwhile.
create function private.stock_holding(p_tenant_id uuid, p_product_ids uuid[]) returns setof jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform 1 from public.stock_levels s
  where s.tenant_id = p_tenant_id and s.product_id = any (p_product_ids)
  order by s.id for update;
  return query
    select jsonb_build_object('holder', 'stock', 'product_id', s.product_id, 'location_id', s.location_id,
      'on_hand', s.on_hand, 'reserved', s.reserved)
    from public.stock_levels s
    where s.tenant_id = p_tenant_id and s.product_id = any (p_product_ids) and (s.on_hand > 0 or s.reserved > 0)
    order by s.product_id, s.location_id
    limit 100;
end $$;
revoke all on function private.stock_holding(uuid, uuid[]) from public, anon, authenticated, service_role;

insert into private.product_holders (holder, finder) values
  ('stock', 'private.stock_holding'),
  ('variant', 'private.variants_holding');

-- Refuses with the list of everything that holds one of the products.
create function private.refuse_held(p_tenant_id uuid, p_product_ids uuid[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_finder text;
  v_found jsonb;
  v_held jsonb := '[]';
begin
  for v_finder in select h.finder from private.product_holders h order by h.holder loop
    execute format('select coalesce(jsonb_agg(f), ''[]'') from %s($1, $2) f', v_finder)
      into v_found using p_tenant_id, p_product_ids;
    v_held := v_held || v_found;
  end loop;
  if v_held <> '[]' then
    perform private.fail('PT409', 'product.held', v_held::text, 'End what is listed, then delete again.');
  end if;
end $$;
revoke all on function private.refuse_held(uuid, uuid[]) from public, anon, authenticated, service_role;

-- BEFORE row trigger: whoever sets deleted_at, by command or by hand.
create function private.guard_held() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.refuse_held(old.tenant_id, array[old.id]);
  new.publish_at := null;
  return new;
end $$;
revoke all on function private.guard_held() from public, anon, authenticated, service_role;
create trigger guard_held before update on public.products
  for each row when (old.deleted_at is null and new.deleted_at is not null) execute function private.guard_held();

create function private.delete_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_key text)
returns public.products
language plpgsql security definer set search_path = ''
as $$
declare
  v_now constant timestamptz := private.now();
  v_known jsonb;
  v_product public.products;
  v_variants uuid[];
begin
  perform private.require(p_tenant_id, 'products.delete');
  v_known := private.begin_command(p_tenant_id, 'delete_product', p_key,
    jsonb_build_object('product_id', p_product_id, 'expected_version', p_expected_version));
  if v_known is not null then
    return jsonb_populate_record(null::public.products, v_known);
  end if;
  v_product := private.lock_product(p_tenant_id, p_product_id, p_expected_version);
  if v_product.deleted_at is not null then
    perform private.end_command(p_tenant_id, 'delete_product', p_key, to_jsonb(v_product));
    return v_product;
  end if;
  v_variants := array(
    select p.id from public.products p
    where p.tenant_id = p_tenant_id and p.parent_id = p_product_id and p.deleted_at is null
    order by p.id for no key update
  );
  perform private.refuse_held(p_tenant_id, p_product_id || v_variants);
  update public.products p set deleted_at = v_now where p.id = any (v_variants);
  update public.products p set deleted_at = v_now where p.id = p_product_id returning * into v_product;
  perform private.end_command(p_tenant_id, 'delete_product', p_key, to_jsonb(v_product));
  return v_product;
end $$;
revoke all on function private.delete_product(uuid, uuid, bigint, text) from public, anon, authenticated, service_role;
grant execute on function private.delete_product(uuid, uuid, bigint, text) to authenticated, service_role;

-- Deletes a product and its variants so that restore_product can bring them back; refused as product.held with the list.
create function public.delete_product(
  p_tenant_id uuid, p_product_id uuid, p_expected_version bigint default null, p_key text default null
) returns public.products
language sql volatile set search_path = ''
as $$ select private.delete_product(p_tenant_id, p_product_id, p_expected_version, p_key) $$;
revoke all on function public.delete_product(uuid, uuid, bigint, text) from public, anon, authenticated, service_role;
grant execute on function public.delete_product(uuid, uuid, bigint, text) to authenticated, service_role;

create function private.restore_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint)
returns public.products
language plpgsql security definer set search_path = ''
as $$
declare
  v_product public.products;
  v_deleted_at timestamptz;
  v_taken text;
begin
  perform private.require(p_tenant_id, 'products.delete');
  v_product := private.lock_product(p_tenant_id, p_product_id, p_expected_version);
  v_deleted_at := v_product.deleted_at;
  if v_deleted_at is null then
    return v_product;
  end if;
  select string_agg(l.sku, ', ' order by l.sku) into v_taken
  from public.products d
  join public.products l on l.tenant_id = p_tenant_id and l.sku = d.sku and l.deleted_at is null
  where d.tenant_id = p_tenant_id and (d.id = p_product_id or (d.parent_id = p_product_id and d.deleted_at = v_deleted_at));
  if v_taken is not null then
    perform private.fail('PT409', 'product.sku_taken', format('Living products have these SKUs: %s.', v_taken),
      'Change the SKU of one of them first.');
  end if;
  -- The parent first: a living variant needs a living parent. What may no longer be active comes back as a draft.
  update public.products p
  set deleted_at = null, status = private.status_after_restoring(p)
  where p.id = p_product_id returning * into v_product;
  update public.products p
  set deleted_at = null, status = private.status_after_restoring(p)
  where p.tenant_id = p_tenant_id and p.parent_id = p_product_id and p.deleted_at = v_deleted_at;
  return v_product;
end $$;
revoke all on function private.restore_product(uuid, uuid, bigint) from public, anon, authenticated, service_role;
grant execute on function private.restore_product(uuid, uuid, bigint) to authenticated, service_role;

-- Brings a deleted product back, with the variants that were deleted along with it. Its SKU must be free.
create function public.restore_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint default null)
returns public.products
language sql volatile set search_path = ''
as $$ select private.restore_product(p_tenant_id, p_product_id, p_expected_version) $$;
revoke all on function public.restore_product(uuid, uuid, bigint) from public, anon, authenticated, service_role;
grant execute on function public.restore_product(uuid, uuid, bigint) to authenticated, service_role;
