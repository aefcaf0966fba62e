-- Publishing.
--
--             publish              archive (a plain write)
--   draft ─────────────► active ─────────────────────────► archived
--     ▲                    │ unpublish                        │ unpublish
--     └────────────────────┴──────────────────────────────────┘
--
-- An active product keeps the business rules of private.publishing_failures, whoever writes it and however; only the
-- import, which takes a catalogue as it is, may leave them out. A variant is active only while its parent is: a parent
-- that ends being active takes its variants along. A draft with a publish_at is published by the worker when it is due
-- (job catalogue.publish_due); where the rules forbid it then, publish_failures says why and the plan ends.

-- Why this product may not be active: [{"code", "field", "severity", "detail"}], empty when it may. p_was is the status
-- that it has now.
create function private.publishing_failures(p_product public.products, p_was text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'code', f.code, 'field', f.field, 'severity', 'error', 'detail', f.detail
  )), '[]')
  from (values
    ('publish.deleted', 'deleted_at', p_product.deleted_at is not null, 'A deleted product must be restored first.'),
    ('publish.archived', 'status', p_was = 'archived', 'An archived product must be unpublished first, which makes it a draft.'),
    ('publish.sku_missing', 'sku', btrim(p_product.sku) = '', 'An active product needs a SKU.'),
    ('publish.name_missing', 'name', btrim(p_product.name) = '', 'An active product needs a name.'),
    ('publish.price_missing', 'price', p_product.price = 0 and p_product.attributes -> 'free' is distinct from 'true',
      'An active product needs a price above 0, unless its attributes say "free": true.'),
    ('publish.parent_not_active', 'parent_id', p_product.parent_id is not null and not exists (
      select from public.products p
      where p.tenant_id = p_product.tenant_id and p.id = p_product.parent_id and p.status = 'active' and p.deleted_at is null
    ), 'The product that this is a variant of must be active.'),
    -- when it is published, not when one that is active gets another picture
    ('publish.alt_text_missing', 'images', p_was is distinct from 'active' and exists (
      select from public.product_images i
      where i.tenant_id = p_product.tenant_id and i.product_id = p_product.id and btrim(coalesce(i.alt_text, '')) = ''
    ), 'Each picture of an active product needs an alt text, for those who cannot see it.')
  ) as f (code, field, broken, detail)
  where f.broken
$$;
revoke all on function private.publishing_failures(public.products, text) from public, anon, authenticated, service_role;

create function private.status_after_restoring(p_product public.products) returns text
language plpgsql stable security definer set search_path = ''
as $$
begin
  p_product.deleted_at := null;
  return case when p_product.status = 'active' and private.publishing_failures(p_product, 'draft') <> '[]'
    then 'draft' else p_product.status end;
end $$;
revoke all on function private.status_after_restoring(public.products) from public, anon, authenticated, service_role;

-- BEFORE row trigger; its name sorts before stamp_version.
create function private.guard_publishing() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_was constant text := case tg_op when 'UPDATE' then old.status end;
  v_failures jsonb;
begin
  if tg_op = 'UPDATE' then
    if new.status <> 'draft' and new.status <> old.status then
      new.publish_at := null;
    end if;
    if new.publish_at is distinct from old.publish_at and new.publish_at is not null or new.status <> old.status then
      new.publish_failures := null;
    end if;
    if (new.status, new.sku, new.name, new.price, new.attributes, new.parent_id, new.deleted_at)
      is not distinct from (old.status, old.sku, old.name, old.price, old.attributes, old.parent_id, old.deleted_at) then
      return new;
    end if;
  end if;
  if new.status <> 'active' or (v_was = 'active' and new.deleted_at is not null)
    or current_setting('pms.importing', true) = 'yes' then
    return new;
  end if;
  -- A parent that is being unpublished at this moment takes this variant along, or is waited for.
  perform 1 from public.products p where p.tenant_id = new.tenant_id and p.id = new.parent_id for share;
  v_failures := private.publishing_failures(new, v_was);
  if v_failures <> '[]' then
    perform private.fail('PT422', 'product.not_publishable',
      (v_failures || private.failures_to_tell(private.sanitised_product(new)))::text, 'Mend all that is listed, then publish again.');
  end if;
  return new;
end $$;
revoke all on function private.guard_publishing() from public, anon, authenticated, service_role;
create trigger guard_publishing_of_new before insert on public.products
  for each row when (new.status = 'active') execute function private.guard_publishing();
create trigger guard_publishing before update on public.products
  for each row when (new.status = 'active' or old.status <> new.status or new.publish_at is distinct from old.publish_at)
  execute function private.guard_publishing();

create function private.take_variants_along() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  update public.products v set status = new.status
  where v.tenant_id = new.tenant_id and v.parent_id = new.id and v.status = 'active';
  return null;
end $$;
revoke all on function private.take_variants_along() from public, anon, authenticated, service_role;
create trigger take_variants_along after update on public.products
  for each row when (old.status = 'active' and new.status <> 'active' and new.parent_id is null)
  execute function private.take_variants_along();

-- AFTER statement trigger: a job for each new moment at which something is to be published. Sorted, so that two bulk
-- writers of the same moments do not wait for each other in a ring. The pins: see private.capture_changes.
create function private.schedule_publishing() returns trigger
language plpgsql security definer set search_path = '' set enable_nestloop = off set enable_hashjoin = on set jit = off
as $$
declare
  v_moments timestamptz[];
  v_at timestamptz;
begin
  if tg_op = 'INSERT' then
    select array_agg(distinct n.publish_at order by n.publish_at) into v_moments
    from new_rows n where n.publish_at is not null;
  else
    select array_agg(distinct n.publish_at order by n.publish_at) into v_moments
    from new_rows n join old_rows o on o.id = n.id
    where n.publish_at is not null and n.publish_at is distinct from o.publish_at;
  end if;
  foreach v_at in array coalesce(v_moments, '{}') loop
    perform worker.enqueue_job('catalogue.publish_due',
      p_unique_key => 'catalogue.publish_due:' || to_char(v_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
      p_due_in_seconds => greatest(0, extract(epoch from v_at - private.now())));
  end loop;
  return null;
end $$;
revoke all on function private.schedule_publishing() from public, anon, authenticated, service_role;
create trigger schedule_publishing_of_new after insert on public.products
  referencing new table as new_rows
  for each statement execute function private.schedule_publishing();
create trigger schedule_publishing after update on public.products
  referencing old table as old_rows new table as new_rows
  for each statement execute function private.schedule_publishing();

create function private.set_published(
  p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_status text, p_key text default null
) returns public.products
language plpgsql security definer set search_path = ''
as $$
declare
  v_known jsonb;
  v_product public.products;
begin
  perform private.require(p_tenant_id, 'products.write');
  v_known := private.begin_command(p_tenant_id, 'publish_product', p_key,
    jsonb_build_object('product_id', p_product_id, 'expected_version', p_expected_version));
  if v_known is not null then
    return jsonb_populate_record(null::public.products, v_known);
  end if;
  -- Parents before variants, as everywhere: the trigger locks the parent too.
  perform 1 from public.products p
  where p.tenant_id = p_tenant_id and p.id = (select v.parent_id from public.products v where v.id = p_product_id)
  for share;
  v_product := private.lock_product(p_tenant_id, p_product_id, p_expected_version);
  if v_product.deleted_at is not null then
    perform private.fail('PT409', 'product.deleted', 'The product is deleted.', 'Restore it first.');
  end if;
  update public.products p set status = p_status, publish_at = null where p.id = p_product_id
  returning * into v_product;
  perform private.end_command(p_tenant_id, 'publish_product', p_key, to_jsonb(v_product));
  return v_product;
end $$;
revoke all on function private.set_published(uuid, uuid, bigint, text, text) from public, anon, authenticated, service_role;
grant execute on function private.set_published(uuid, uuid, bigint, text, text) to authenticated, service_role;

-- Makes a draft active; refused as product.not_publishable with every broken rule. An active one stays as it is.
create function public.publish_product(
  p_tenant_id uuid, p_product_id uuid, p_expected_version bigint default null, p_key text default null
) returns public.products
language sql volatile set search_path = ''
as $$ select private.set_published(p_tenant_id, p_product_id, p_expected_version, 'active', p_key) $$;
revoke all on function public.publish_product(uuid, uuid, bigint, text) from public, anon, authenticated, service_role;
grant execute on function public.publish_product(uuid, uuid, bigint, text) to authenticated, service_role;

-- Makes a product a draft again, with its active variants, and ends a plan to publish it.
create function public.unpublish_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint default null)
returns public.products
language sql volatile set search_path = ''
as $$ select private.set_published(p_tenant_id, p_product_id, p_expected_version, 'draft') $$;
revoke all on function public.unpublish_product(uuid, uuid, bigint) from public, anon, authenticated, service_role;
grant execute on function public.unpublish_product(uuid, uuid, bigint) to authenticated, service_role;

-- Publishes one due draft; false where the rules forbid it, with the reasons in publish_failures.
create function private.publish_due_product(p_product_id uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_state text;
  v_message text;
  v_detail text;
  v_failures jsonb;
begin
  update public.products p set status = 'active' where p.id = p_product_id;
  return true;
exception when others then
  get stacked diagnostics v_state = returned_sqlstate, v_message = message_text, v_detail = pg_exception_detail;
  -- Only a rule that says no is final; anything else is the job's to try again.
  if v_state not like 'PT4%' and v_state not like '23%' then
    raise;
  end if;
  v_failures := case when v_message in ('product.not_publishable', 'product.invalid') then v_detail::jsonb else
    jsonb_build_array(jsonb_build_object('code', v_message, 'field', null, 'severity', 'error', 'detail', v_detail)) end;
  update public.products p set publish_at = null, publish_failures = v_failures where p.id = p_product_id;
  return false;
end $$;
revoke all on function private.publish_due_product(uuid) from public, anon, authenticated, service_role;

-- Publishes up to p_limit drafts whose time has come, parents before their variants.
create function worker.publish_due_products(p_limit integer default 500) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_now constant timestamptz := private.now();
  v_product record;
  v_published integer := 0;
  v_failed integer := 0;
begin
  for v_product in
    select p.id from public.products p
    where p.publish_at <= v_now and p.deleted_at is null
    order by p.publish_at, p.parent_id nulls first, p.id
    limit p_limit for no key update skip locked
  loop
    if private.publish_due_product(v_product.id) then
      v_published := v_published + 1;
    else
      v_failed := v_failed + 1;
    end if;
  end loop;
  return jsonb_build_object('published', v_published, 'failed', v_failed, 'more', v_published + v_failed >= p_limit);
end $$;
revoke all on function worker.publish_due_products(integer) from public, anon, authenticated, service_role;
grant execute on function worker.publish_due_products(integer) to service_role;

insert into private.event_map (entity, operation, rank, when_field, when_null, when_value, verb, description) values
  ('product', 'UPDATE', 3, 'status',           null,  'active',   'published',
    'The status became active: the product is on sale.'),
  ('product', 'UPDATE', 4, 'status',           null,  'draft',    'unpublished',
    'The status became draft again.'),
  ('product', 'UPDATE', 5, 'status',           null,  'archived', 'archived',
    'The status became archived.'),
  ('product', 'UPDATE', 6, 'publish_failures', false, null,       'publish_failed',
    'publish_at came and rules forbade it: publish_failures says which.');
