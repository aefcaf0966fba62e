-- Categories: a tree per tenant, at most ten levels deep. A slug is unique among its siblings. A category that is still
-- used, by products or by categories below it, cannot be deleted: its foreign keys answer.

create table public.categories (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  parent_id uuid,
  name text not null
    constraint categories_name_length check (length(name) between 1 and 200)
    constraint categories_name_clean check (private.is_clean(name)),
  slug text not null constraint categories_slug_form check (slug ~ '^[a-z0-9]([a-z0-9-]{0,98}[a-z0-9])?$'),
  position integer not null default 1 constraint categories_position_positive check (position > 0),
  attribute_schema jsonb
    constraint categories_attribute_schema_object check (jsonb_typeof(attribute_schema) = 'object')
    constraint categories_attribute_schema_plain check (private.is_plain(attribute_schema))
    constraint categories_attribute_schema_size check (octet_length(attribute_schema::text) <= 65536),
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint categories_within_tenant unique (tenant_id, id),
  constraint categories_slug_unique unique nulls not distinct (tenant_id, parent_id, slug),
  constraint categories_parent foreign key (tenant_id, parent_id) references public.categories (tenant_id, id),
  constraint categories_not_own_parent check (parent_id <> id)
);
comment on table public.categories is 'A tenant''s tree of categories';
comment on column public.categories.attribute_schema is 'JSON schema of the attributes of its products; null: any';

alter table public.categories enable row level security;
create policy "only within one's own tenants" on public.categories
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's categories" on public.categories
  for select to authenticated using (tenant_id = any ((select private.tenants_with('products.read'))::uuid[]));
create policy "managers add categories to their tenant" on public.categories
  for insert to authenticated with check (tenant_id = any ((select private.tenants_with('products.write'))::uuid[]));
create policy "managers change their tenant's categories" on public.categories
  for update to authenticated
  using (tenant_id = any ((select private.tenants_with('products.write'))::uuid[]))
  with check (tenant_id = any ((select private.tenants_with('products.write'))::uuid[]));
create policy "managers delete their tenant's categories" on public.categories
  for delete to authenticated using (tenant_id = any ((select private.tenants_with('products.delete'))::uuid[]));
revoke all on public.categories from anon, authenticated, service_role;
grant select, insert, update, delete on public.categories to authenticated, service_role;
create trigger stamp_version before insert or update on public.categories
  for each row execute function private.stamp_version();

-- The ids of a category and of everything below it.
create function private.category_subtree(p_tenant_id uuid, p_category_id uuid) returns setof uuid
language sql stable security definer set search_path = ''
as $$
  with recursive tree as (
    select c.id, 1 as depth from public.categories c where c.tenant_id = p_tenant_id and c.id = p_category_id
    union all
    select c.id, t.depth + 1 from tree t
    join public.categories c on c.tenant_id = p_tenant_id and c.parent_id = t.id
    where t.depth < 12
  )
  select t.id from tree t
$$;
revoke all on function private.category_subtree(uuid, uuid) from public, anon, authenticated, service_role;

-- AFTER row trigger, so that it sees the whole statement. Moves within one tenant wait for each other: two that are
-- harmless alone can close a ring together.
create function private.guard_category_tree() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_above integer;
  v_below integer;
  v_cycle boolean;
begin
  perform pg_advisory_xact_lock(hashtextextended('categories ' || new.tenant_id, 0));
  with recursive up as (
    select c.id, c.parent_id, 1 as depth from public.categories c where c.id = new.id
    union all
    select c.id, c.parent_id, u.depth + 1 from up u
    join public.categories c on c.tenant_id = new.tenant_id and c.id = u.parent_id
    where u.depth < 12 and u.parent_id <> new.id
  )
  select max(u.depth), bool_or(u.parent_id = new.id) into v_above, v_cycle from up u;
  if v_cycle then
    perform private.fail('PT422', 'category.cycle', format('The category %s would lie below itself.', new.slug));
  end if;
  with recursive down as (
    select new.id as id, 0 as depth
    union all
    select c.id, d.depth + 1 from down d
    join public.categories c on c.tenant_id = new.tenant_id and c.parent_id = d.id
    where d.depth < 12
  )
  select max(d.depth) into v_below from down d;
  if v_above + v_below > 10 then
    perform private.fail('PT422', 'category.too_deep', format('%s levels; the most is 10.', v_above + v_below));
  end if;
  return null;
end $$;
revoke all on function private.guard_category_tree() from public, anon, authenticated, service_role;
create trigger guard_tree_of_new after insert on public.categories
  for each row when (new.parent_id is not null) execute function private.guard_category_tree();
create trigger guard_tree_of_moved after update on public.categories
  for each row when (new.parent_id is distinct from old.parent_id) execute function private.guard_category_tree();

insert into private.event_map (entity, operation, verb, description) values
  ('category', 'INSERT', 'created',
    'A category was added.'),
  ('category', 'UPDATE', 'updated',
    'A category was renamed or moved, or its attribute schema changed.'),
  ('category', 'DELETE', 'deleted',
    'A category that nothing used is gone.');

select private.log_changes_of('public.categories', 'category', 'products.read');
