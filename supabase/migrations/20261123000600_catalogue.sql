-- Catalogue.
--
-- A product belongs to a tenant; a variant is a product with a parent. The living of a tenant have distinct SKUs; a
-- product with deleted_at set is gone for the PMS but keeps its history (…_product_history.sql). Money is numeric and may have no more decimal
-- places than its currency has.

-- Decimal places of a currency (ISO 4217, list one); null for a code that is none.
create function private.minor_units(p_currency text) returns integer
language sql immutable set search_path = ''
as $$
  select case
    when p_currency = any ('{BIF,CLP,DJF,GNF,ISK,JPY,KMF,KRW,PYG,RWF,UGX,UYI,VND,VUV,XAF,XOF,XPF}') then 0
    when p_currency = any ('{BHD,IQD,JOD,KWD,LYD,OMR,TND}') then 3
    when p_currency = any ('{CLF,UYW}') then 4
    when p_currency = any (
      '{AED,AFN,ALL,AMD,AOA,ARS,AUD,AWG,AZN,BAM,BBD,BDT,BMD,BND,BOB,BRL,BSD,BTN,BWP,BYN,BZD,CAD,CDF,CHF,CNY,COP,CRC,CUP,
        CVE,CZK,DKK,DOP,DZD,EGP,ERN,ETB,EUR,FJD,FKP,GBP,GEL,GHS,GIP,GMD,GTQ,GYD,HKD,HNL,HTG,HUF,IDR,ILS,INR,IRR,JMD,KES,
        KGS,KHR,KPW,KYD,KZT,LAK,LBP,LKR,LRD,LSL,MAD,MDL,MGA,MKD,MMK,MNT,MOP,MRU,MUR,MVR,MWK,MXN,MYR,MZN,NAD,NGN,NIO,NOK,
        NPR,NZD,PAB,PEN,PGK,PHP,PKR,PLN,QAR,RON,RSD,RUB,SAR,SBD,SCR,SDG,SEK,SGD,SHP,SLE,SOS,SRD,SSP,STN,SVC,SYP,SZL,THB,
        TJS,TMT,TOP,TRY,TTD,TWD,TZS,UAH,USD,UYU,UZS,VED,VES,WST,XCD,YER,ZAR,ZMW,ZWG}'::text[]) then 2
  end
$$;
revoke all on function private.minor_units(text) from public, anon, authenticated, service_role;
grant execute on function private.minor_units(text) to authenticated, service_role;

alter table public.tenants
  add constraint tenants_currency_known check (private.minor_units(currency) is not null);

create table public.products (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  parent_id uuid,
  category_id uuid,
  sku text not null
    constraint products_sku_length check (length(sku) between 1 and 100)
    constraint products_sku_clean check (sku !~ '[\x01-\x1f\x7f-\x9f]' and sku = btrim(sku)),
  name text not null
    constraint products_name_length check (length(name) between 1 and 500)
    constraint products_name_clean check (private.is_clean(name)),
  description text not null default ''
    constraint products_description_length check (octet_length(description) <= 65536)
    constraint products_description_clean check (private.is_clean(description)),
  status text not null default 'draft'
    constraint products_status_known check (status in ('draft', 'active', 'archived')),
  price numeric(18, 4) not null default 0
    constraint products_price_not_negative check (price >= 0)
    -- NaN counts as larger than any number, and as equal to itself rounded.
    constraint products_price_a_number check (price <> 'NaN'),
  currency text not null default 'USD'
    constraint products_currency_known check (private.minor_units(currency) is not null),
  attributes jsonb not null default '{}'
    constraint products_attributes_object check (jsonb_typeof(attributes) = 'object')
    -- before the size, in the order of names in which checks are made
    constraint products_attributes_plain check (private.is_plain(attributes))
    constraint products_attributes_size check (octet_length(attributes::text) <= 65536),
  publish_at timestamptz constraint products_publish_at_finite check (isfinite(publish_at)),
  publish_failures jsonb
    constraint products_publish_failures_array check (jsonb_typeof(publish_failures) = 'array')
    constraint products_publish_failures_plain check (private.is_plain(publish_failures)),
  version bigint not null default 1,
  deleted_at timestamptz,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint products_price_scale check (price = round(price, private.minor_units(currency))),
  constraint products_within_tenant unique (tenant_id, id),
  constraint products_parent foreign key (tenant_id, parent_id) references public.products (tenant_id, id),
  constraint products_category foreign key (tenant_id, category_id) references public.categories (tenant_id, id),
  constraint products_not_own_parent check (parent_id <> id),
  constraint products_publish_at_of_drafts check (publish_at is null or status = 'draft')
);
comment on table public.products is 'What a tenant sells; a variant has a parent_id';
comment on column public.products.parent_id is 'The product that this is a variant of; a variant inherits nothing from it';
comment on column public.products.publish_at is 'When the worker is to publish this draft';
comment on column public.products.publish_failures is 'Why it could not be published at publish_at';
create unique index products_sku_living on public.products (tenant_id, sku) where deleted_at is null;
create index products_by_parent on public.products (tenant_id, parent_id) where parent_id is not null;
create index products_by_category on public.products (tenant_id, category_id) where category_id is not null;
-- Pages of the living, oldest or newest first.
create index products_living_by_age on public.products (tenant_id, created_at, id) where deleted_at is null;
create index products_deleted on public.products (deleted_at) where deleted_at is not null;
create index products_to_publish on public.products (publish_at, id) where publish_at is not null and deleted_at is null;

alter table public.products enable row level security;
create policy "only within one's own tenants" on public.products
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's products" on public.products
  for select to authenticated using (tenant_id = any ((select private.tenants_with('products.read'))::uuid[]));
create policy "managers add products to their tenant" on public.products
  for insert to authenticated with check (tenant_id = any ((select private.tenants_with('products.write'))::uuid[]));
create policy "managers change their tenant's products" on public.products
  for update to authenticated
  using (tenant_id = any ((select private.tenants_with('products.write'))::uuid[]))
  with check (tenant_id = any ((select private.tenants_with('products.write'))::uuid[]));
create policy "managers delete their tenant's products" on public.products
  for delete to authenticated using (tenant_id = any ((select private.tenants_with('products.delete'))::uuid[]));
revoke all on public.products from anon, authenticated, service_role;
grant select, insert, update, delete on public.products to authenticated, service_role;

-- What pages by name are ordered by, as `order=name_head`. A page's place stands in the URL of the next one, where a name
-- of 500 letters takes 9 kB, more than gateways let through; names with one head are told apart by their id.
create function public.name_head(public.products) returns text
language sql immutable set search_path = ''
as $$ select left($1.name, 80) $$;
comment on function public.name_head(public.products) is 'The first 80 characters of the name; pages by name are in its order';
revoke all on function public.name_head(public.products) from public, anon, authenticated, service_role;
grant execute on function public.name_head(public.products) to authenticated, service_role;

create trigger stamp_version before insert or update on public.products
  for each row execute function private.stamp_version();

-- Setting or clearing deleted_at is deleting or restoring, which no policy can tell from another update.
create function private.guard_deletion() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if current_user = 'authenticated' then
    perform private.require(old.tenant_id, 'products.delete');
  end if;
  return new;
end $$;
revoke all on function private.guard_deletion() from public, anon, authenticated, service_role;
create trigger guard_deletion before update on public.products
  for each row when (new.deleted_at is distinct from old.deleted_at) execute function private.guard_deletion();

-- Variants are one level deep, and a living one has a living parent. BEFORE row trigger. The parent is locked, so that
-- it cannot become a variant, or be deleted, at the same moment.
create function private.guard_variant() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_parent public.products;
begin
  select * into v_parent from public.products p where p.tenant_id = new.tenant_id and p.id = new.parent_id for share;
  if not found then
    return new;  -- the foreign key answers
  end if;
  if v_parent.parent_id is not null then
    perform private.fail('PT422', 'product.variant_depth',
      format('%s is itself a variant, and variants are one level deep.', v_parent.sku));
  end if;
  if exists (select from public.products v where v.tenant_id = new.tenant_id and v.parent_id = new.id) then
    perform private.fail('PT422', 'product.variant_depth',
      format('%s has variants, so it cannot become one.', new.sku));
  end if;
  if v_parent.deleted_at is not null and new.deleted_at is null then
    perform private.fail('PT404', 'product.parent_missing', format('The product %s is deleted.', v_parent.sku));
  end if;
  return new;
end $$;
revoke all on function private.guard_variant() from public, anon, authenticated, service_role;
create trigger guard_variant_of_new before insert on public.products
  for each row when (new.parent_id is not null) execute function private.guard_variant();
create trigger guard_variant before update on public.products
  for each row
  when (new.parent_id is not null and (new.parent_id is distinct from old.parent_id or new.deleted_at is distinct from old.deleted_at))
  execute function private.guard_variant();

insert into private.event_map (entity, operation, rank, when_field, when_null, verb, description) values
  ('product',       'INSERT', 9, null,         null,  'created',
    'A product was added.'),
  ('product',       'UPDATE', 1, 'deleted_at', false, 'deleted',
    'A product was deleted: deleted_at was set, or the row is gone for good.'),
  ('product',       'UPDATE', 2, 'deleted_at', true,  'restored',
    'A deleted product is back.'),
  ('product',       'UPDATE', 9, null,         null,  'updated',
    'Fields of a product changed, in no way that has a type of its own.'),
  ('product',       'DELETE', 9, null,         null,  'deleted',
    'A product was deleted: deleted_at was set, or the row is gone for good.');

select private.log_changes_of('public.products', 'product', 'products.read');
