-- Commands on one product, for clients that repeat a call until it is answered: an idempotency key, and the row as JSON.
--
-- They write what a direct write would, and meet the same guards and the same validation. Replacing sets every field
-- that may be written; one that is left out gets its default, and what the database keeps itself (version, deleted_at, …)
-- may stand in the body and is left alone, so that what was read can be sent back.

-- The product that p_product describes, defaults filled in, over p_base. Raises row.invalid, row.field_unknown, product.invalid,
-- product.parent_missing.
create function private.described_product(p_tenant_id uuid, p_base public.products, p_product jsonb) returns public.products
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_fault jsonb;
  v_failures jsonb;
  v_fields jsonb;
begin
  if jsonb_typeof(p_product) is distinct from 'object' or octet_length(p_product::text) > 262144 then
    perform private.fail('PT422', 'row.invalid', 'p_product must be a JSON object of at most 256 KiB.');
  end if;
  v_fault := private.row_fault(p_product || '{"sku": "any"}');
  if v_fault ->> 'code' = 'row.field_unknown' then
    perform private.fail('PT422', 'row.field_unknown', v_fault ->> 'detail');
  end if;
  v_failures := private.type_failures(p_product - 'parent_sku');
  if v_failures = '[]' and v_fault is not null then
    v_failures := jsonb_build_array(private.failure(v_fault ->> 'code', 'price', v_fault ->> 'detail'));
  end if;
  if v_failures <> '[]' then
    perform private.fail('PT422', 'product.invalid', v_failures::text,
      'Correct every field that is listed, then send all of it again.');
  end if;
  v_fields := (
    select jsonb_build_object('parent_id', null, 'category_id', null, 'sku', null, 'name', null, 'description', '', 'status', 'draft',
      'price', 0, 'currency', t.currency, 'attributes', '{}'::jsonb, 'publish_at', null)
    from public.tenants t where t.id = p_tenant_id
  ) || (p_product - '{id,tenant_id,parent_sku,version,deleted_at,created_at,updated_at,publish_failures}'::text[]);
  if p_product ->> 'parent_sku' is not null then
    v_fields := v_fields || jsonb_build_object('parent_id', (
      select p.id from public.products p
      where p.tenant_id = p_tenant_id and p.sku = p_product ->> 'parent_sku' and p.deleted_at is null));
    if v_fields ->> 'parent_id' is null then
      perform private.fail('PT404', 'product.parent_missing', format('There is no product %s.', p_product ->> 'parent_sku'));
    end if;
  end if;
  return jsonb_populate_record(p_base, v_fields);
end $$;
revoke all on function private.described_product(uuid, public.products, jsonb) from public, anon, authenticated, service_role;

create function private.create_product(p_tenant_id uuid, p_product jsonb, p_key text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_known jsonb;
  v_product public.products;
begin
  perform private.require(p_tenant_id, 'products.write');
  perform private.require_plain(p_product);
  v_known := private.begin_command(p_tenant_id, 'create_product', p_key, coalesce(p_product, 'null'));
  if v_known is not null then
    return v_known;
  end if;
  v_product := private.described_product(p_tenant_id, null, p_product);
  insert into public.products
    (id, tenant_id, parent_id, category_id, sku, name, description, status, price, currency, attributes, publish_at)
  values (coalesce((p_product ->> 'id')::uuid, gen_random_uuid()), p_tenant_id, v_product.parent_id, v_product.category_id,
    v_product.sku, v_product.name, v_product.description, v_product.status, v_product.price, v_product.currency,
    v_product.attributes, v_product.publish_at)
  returning * into v_product;
  return private.end_command(p_tenant_id, 'create_product', p_key, to_jsonb(v_product));
end $$;
revoke all on function private.create_product(uuid, jsonb, text) from public, anon, authenticated, service_role;
grant execute on function private.create_product(uuid, jsonb, text) to authenticated, service_role;

-- Adds a product and returns it. Fields that are left out get their defaults, currency the tenant's; parent_sku names a
-- parent. Refused like a direct write, and as row.field_unknown.
create function public.create_product(p_tenant_id uuid, p_product jsonb, p_key text default null) returns jsonb
language sql volatile set search_path = ''
as $$ select private.create_product(p_tenant_id, p_product, p_key) $$;
revoke all on function public.create_product(uuid, jsonb, text) from public, anon, authenticated, service_role;
grant execute on function public.create_product(uuid, jsonb, text) to authenticated, service_role;

create function private.replace_product(
  p_tenant_id uuid, p_product_id uuid, p_product jsonb, p_expected_version bigint, p_key text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_known jsonb;
  v_new public.products;
  v_product public.products;
begin
  perform private.require(p_tenant_id, 'products.write');
  perform private.require_plain(p_product);
  v_known := private.begin_command(p_tenant_id, 'replace_product', p_key,
    jsonb_build_object('product_id', p_product_id, 'product', p_product, 'expected_version', p_expected_version));
  if v_known is not null then
    return v_known;
  end if;
  v_new := private.described_product(p_tenant_id, null, p_product);
  -- Parents before variants, as everywhere: the triggers lock the parent too.
  perform 1 from public.products p
  where p.tenant_id = p_tenant_id and (p.id = v_new.parent_id or p.id = (select v.parent_id from public.products v where v.id = p_product_id))
  order by p.id for share;
  v_product := private.lock_product(p_tenant_id, p_product_id, coalesce(p_expected_version, (p_product ->> 'version')::bigint));
  if (p_product ->> 'id')::uuid <> p_product_id then
    perform private.fail('PT400', 'row.id_changed', 'The id in p_product is not p_product_id.');
  elsif (p_product ->> 'tenant_id')::uuid <> p_tenant_id then
    perform private.fail('PT400', 'row.tenant_changed', 'A product cannot move to another tenant.');
  elsif v_product.deleted_at is not null then
    perform private.fail('PT409', 'product.deleted', 'The product is deleted.', 'Restore it first.');
  end if;
  update public.products p
  set parent_id = v_new.parent_id, category_id = v_new.category_id, sku = v_new.sku, name = v_new.name, description = v_new.description,
      status = v_new.status, price = v_new.price, currency = v_new.currency, attributes = v_new.attributes,
      publish_at = v_new.publish_at, version = coalesce((p_product ->> 'version')::bigint, p.version)
  where p.id = p_product_id
  returning * into v_product;
  return private.end_command(p_tenant_id, 'replace_product', p_key, to_jsonb(v_product));
end $$;
revoke all on function private.replace_product(uuid, uuid, jsonb, bigint, text) from public, anon, authenticated, service_role;
grant execute on function private.replace_product(uuid, uuid, jsonb, bigint, text) to authenticated, service_role;

-- Replaces a living product and returns it: every field that may be written is as p_product says, or its default. p_expected_version,
-- and a version in p_product, must be the stored one. Refused like a direct write, and as row.field_unknown.
create function public.replace_product(
  p_tenant_id uuid, p_product_id uuid, p_product jsonb, p_expected_version bigint default null, p_key text default null
) returns jsonb
language sql volatile set search_path = ''
as $$ select private.replace_product(p_tenant_id, p_product_id, p_product, p_expected_version, p_key) $$;
revoke all on function public.replace_product(uuid, uuid, jsonb, bigint, text) from public, anon, authenticated, service_role;
grant execute on function public.replace_product(uuid, uuid, jsonb, bigint, text) to authenticated, service_role;
