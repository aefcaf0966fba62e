-- Validation: what a product must be, said by the database itself, so that every way in gets the same answer.
--
-- Three BEFORE row triggers run in the order of their names. `sanitise` brings text into one form where nothing is lost
-- (NFC, line breaks, spaces around a name). `stamp_version` then sees whether anything changed, and refuses stale writes
-- first. `validate` judges a living row whose content changed, and raises once, PT422 product.invalid, with all failures as a JSON
-- array in the detail. The table's checks stay behind it as the backstop; a failure that one of them would find too has
-- the check's name: products_price_scale is product.price_scale.
--
-- A tenant's own rules (validation_rules) come last. One of severity `warning` refuses nothing: after the statement it is
-- noted in validation_warnings, and the note goes when the product or the rule is put right.

create table public.validation_rules (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  name text not null constraint validation_rules_name_form check (name ~ '^[a-z][a-z0-9_]{0,62}$'),
  entity text not null default 'product' constraint validation_rules_entity_known check (entity = 'product'),
  condition jsonb not null constraint validation_rules_condition_plain check (private.is_plain(condition)),
  severity text not null default 'error' constraint validation_rules_severity_known check (severity in ('error', 'warning')),
  message text not null
    constraint validation_rules_message_length check (length(message) between 1 and 500)
    constraint validation_rules_message_clean check (private.is_clean(message)),
  enabled boolean not null default true,
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint validation_rules_one_name unique (tenant_id, entity, name),
  constraint validation_rules_within_tenant unique (tenant_id, id)
);
comment on table public.validation_rules is 'Conditions that a tenant''s products must meet, of its own making; see docs/validation.md';

alter table public.validation_rules enable row level security;
create policy "only within one's own tenants" on public.validation_rules
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's rules" on public.validation_rules
  for select to authenticated using (tenant_id = any ((select private.tenants_with('products.read'))::uuid[]));
create policy "managers add rules to their tenant" on public.validation_rules
  for insert to authenticated with check (tenant_id = any ((select private.tenants_with('rules.write'))::uuid[]));
create policy "managers change their tenant's rules" on public.validation_rules
  for update to authenticated
  using (tenant_id = any ((select private.tenants_with('rules.write'))::uuid[]))
  with check (tenant_id = any ((select private.tenants_with('rules.write'))::uuid[]));
create policy "managers delete their tenant's rules" on public.validation_rules
  for delete to authenticated using (tenant_id = any ((select private.tenants_with('rules.write'))::uuid[]));
revoke all on public.validation_rules from anon, authenticated, service_role;
grant select, insert, update, delete on public.validation_rules to authenticated, service_role;
create trigger stamp_version before insert or update on public.validation_rules
  for each row execute function private.stamp_version();

create table public.validation_warnings (
  tenant_id uuid not null,
  product_id uuid not null,
  rule_id uuid not null,
  code text not null,
  field text not null,
  detail text not null,
  version bigint not null,
  noted_at timestamptz not null default private.now(),
  primary key (product_id, rule_id),
  constraint validation_warnings_product foreign key (tenant_id, product_id)
    references public.products (tenant_id, id) on delete cascade,
  constraint validation_warnings_rule foreign key (tenant_id, rule_id)
    references public.validation_rules (tenant_id, id) on delete cascade
);
comment on table public.validation_warnings is 'Rules of severity warning that a product breaks, as of its `version`';
create index validation_warnings_by_rule on public.validation_warnings (tenant_id, rule_id);
create index validation_warnings_by_product on public.validation_warnings (tenant_id, product_id);

alter table public.validation_warnings enable row level security;
create policy "only within one's own tenants" on public.validation_warnings
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's warnings" on public.validation_warnings
  for select to authenticated using (tenant_id = any ((select private.tenants_with('products.read'))::uuid[]));
revoke all on public.validation_warnings from anon, authenticated, service_role;
grant select on public.validation_warnings to authenticated, service_role;

-- BEFORE row trigger: a rule is understood in full, or not saved.
create function private.check_rule() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_problems text[];
begin
  perform private.require_plain(new.condition, 'strict $.**{40}');
  v_problems := private.condition_problems(new.entity, new.condition);
  if v_problems <> '{}' then
    perform private.fail('PT422', 'rule.invalid', array_to_json(v_problems)::text, 'docs/validation.md shows the language.');
  end if;
  if tg_op = 'INSERT' and (select count(*) from public.validation_rules r where r.tenant_id = new.tenant_id) >= 100 then
    perform private.fail('PT422', 'rule.too_many', 'A tenant has at most 100 rules.', 'Join conditions with and.');
  end if;
  return new;
end $$;
revoke all on function private.check_rule() from public, anon, authenticated, service_role;
create trigger check_rule before insert or update on public.validation_rules
  for each row execute function private.check_rule();

-- AFTER row trigger: what a rule said before it changed counts no longer. Each product is judged anew when it is written.
create function private.forget_warnings() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from public.validation_warnings w where w.tenant_id = old.tenant_id and w.rule_id = old.id;
  return null;
end $$;
revoke all on function private.forget_warnings() from public, anon, authenticated, service_role;
create trigger forget_warnings after update on public.validation_rules
  for each row when (new.condition <> old.condition or new.severity <> old.severity or new.message <> old.message
    or new.enabled <> old.enabled or new.name <> old.name)
  execute function private.forget_warnings();

create function private.failure(p_code text, p_field text, p_detail text, p_severity text default 'error') returns jsonb
language sql immutable set search_path = ''
as $$ select jsonb_build_object('code', p_code, 'field', p_field, 'severity', p_severity, 'detail', p_detail) $$;
revoke all on function private.failure(text, text, text, text) from public, anon, authenticated, service_role;

-- Text in one form: NFC, and \n for every line break. It reads the same as before.
create function private.normal_text(p_text text) returns text
language sql immutable set search_path = ''
as $$
  select case when position(E'\r' in p_text) = 0 and p_text is nfc normalized then p_text
    else normalize(replace(replace(p_text, E'\r\n', E'\n'), E'\r', E'\n'), nfc) end
$$;
revoke all on function private.normal_text(text) from public, anon, authenticated, service_role;

-- A product as it is stored. An SKU is an identifier that others hold too: it is refused rather than altered.
create function private.sanitised_product(p public.products) returns public.products
language plpgsql immutable set search_path = ''
as $$
begin
  p.name := btrim(private.normal_text(p.name), E' \t\n\u00a0');
  p.description := private.normal_text(p.description);
  -- Nothing of JSON's own syntax composes with what follows it.
  if p.attributes::text is not nfc normalized then
    p.attributes := normalize(p.attributes::text, nfc)::jsonb;
  end if;
  return p;
end $$;
revoke all on function private.sanitised_product(public.products) from public, anon, authenticated, service_role;

create function private.sanitise_product() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.require_plain(new.attributes, 'strict $.**{40}');
  return private.sanitised_product(new);
end $$;
revoke all on function private.sanitise_product() from public, anon, authenticated, service_role;
create trigger sanitise before insert or update on public.products
  for each row execute function private.sanitise_product();

-- What is wrong with the texts of a product.
create function private.text_failures(p public.products) returns jsonb
language plpgsql immutable set search_path = ''
as $$
declare
  v_found jsonb := '[]';
  v_offences text[];
begin
  if p.sku is null or p.sku = '' or length(p.sku) > 100 then
    v_found := v_found || private.failure('product.sku_length', 'sku', 'An SKU has 1 to 100 characters.');
  elsif p.sku ~ '[\x01-\x1f\x7f-\x9f]' or p.sku <> btrim(p.sku) or p.sku is not nfc normalized then
    v_found := v_found || private.failure('product.sku_clean', 'sku',
      'An SKU has no control characters, no spaces around it, and its characters are in composed form (NFC).');
  end if;
  if p.name is null or p.name = '' or length(p.name) > 500 then
    v_found := v_found || private.failure('product.name_length', 'name', 'A name has 1 to 500 characters.');
  elsif not private.is_clean(p.name) then
    v_found := v_found || private.failure('product.name_clean', 'name', 'A name has no control characters.');
  elsif p.name ~ '[<&%\\\uff1c\ufe64]' and (p.name ~* '<[a-z/!?]' or private.html_offences(p.name) <> '{}') then
    v_found := v_found || private.failure('product.name_html', 'name', 'A name is plain text, without HTML.');
  end if;
  if p.description is null then
    v_found := v_found || private.failure('product.description_missing', 'description', 'Leave it out or send empty text.');
  elsif octet_length(p.description) > 65536 then
    v_found := v_found || private.failure('product.description_length', 'description', 'A description has at most 64 KiB.');
  elsif not private.is_clean(p.description) then
    v_found := v_found || private.failure('product.description_clean', 'description',
      'A description has no control characters but tabs and line breaks.');
  else
    v_offences := private.html_offences(p.description);
    if v_offences <> '{}' then
      v_found := v_found || private.failure('product.description_html', 'description',
        'This HTML could run a script or is not allowed: ' || array_to_string(v_offences, '; '));
    end if;
  end if;
  return v_found;
end $$;
revoke all on function private.text_failures(public.products) from public, anon, authenticated, service_role;

-- What is wrong with price, currency, status and their relations.
create function private.business_failures(p public.products) returns jsonb
language plpgsql immutable set search_path = ''
as $$
declare
  v_found jsonb := '[]';
  v_units constant integer := private.minor_units(p.currency);
begin
  if p.status is null or p.status not in ('draft', 'active', 'archived') then
    v_found := v_found || private.failure('product.status_known', 'status', 'A status is draft, active or archived.');
  end if;
  if v_units is null then
    v_found := v_found || private.failure('product.currency_known', 'currency',
      format('%s is no currency of ISO 4217 in use.', coalesce(left(p.currency, 20), 'null')));
  end if;
  if p.price is null then
    v_found := v_found || private.failure('product.price_missing', 'price', 'A product has a price, be it 0.');
  elsif p.price = 'NaN' then
    v_found := v_found || private.failure('product.price_a_number', 'price', 'A price is a number.');
  elsif p.price < 0 then
    v_found := v_found || private.failure('product.price_not_negative', 'price', format('The price %s is below 0.', trim_scale(p.price)));
  elsif p.price <> round(p.price, v_units) then
    v_found := v_found || private.failure('product.price_scale', 'price',
      format('%s has prices of %s decimal places; %s has more.', p.currency, v_units, trim_scale(p.price)));
  end if;
  if p.parent_id = p.id then
    v_found := v_found || private.failure('product.not_own_parent', 'parent_id', 'A product is not its own variant.');
  end if;
  return v_found;
end $$;
revoke all on function private.business_failures(public.products) from public, anon, authenticated, service_role;

-- What is wrong with the attributes, whatever the category.
create function private.attribute_failures(p_attributes jsonb) returns jsonb
language plpgsql immutable set search_path = ''
as $$
declare
  v_text constant text := p_attributes::text;
  v_offences text[];
begin
  if jsonb_typeof(p_attributes) is distinct from 'object' then
    return jsonb_build_array(private.failure('product.attributes_object', 'attributes', 'Attributes are a JSON object.'));
  elsif octet_length(v_text) > 65536 then
    return jsonb_build_array(private.failure('product.attributes_size', 'attributes', 'Attributes have at most 64 KiB.'));
  elsif v_text !~ '[<&%\\\uff1c\ufe64\x7f-\x9f]' then
    return '[]';
  end if;
  -- Now word by word: in the text of JSON a control character is an escape, and so is a backslash.
  if exists (
    select from jsonb_path_query(p_attributes, 'strict $.**') v
    where jsonb_typeof(v) = 'string' and not private.is_clean(v #>> '{}')
      or jsonb_typeof(v) = 'object' and exists (
        select from jsonb_object_keys(case jsonb_typeof(v) when 'object' then v else '{}' end) k where not private.is_clean(k))
  ) then
    return jsonb_build_array(private.failure('product.attributes_clean', 'attributes', 'Attributes have no control characters.'));
  end if;
  select array_agg(o) into v_offences
  from jsonb_path_query(p_attributes, 'strict $.** ? (@.type() == "string")') v
  cross join lateral unnest(private.html_offences(v #>> '{}')) o;
  return case when v_offences is null then '[]' else jsonb_build_array(private.failure('product.attributes_html', 'attributes',
    'This HTML could run a script or is not allowed: ' || array_to_string(v_offences[:5], '; '))) end;
end $$;
revoke all on function private.attribute_failures(jsonb) from public, anon, authenticated, service_role;

-- Where its attributes break the schema of its category.
create function private.category_failures(p_product public.products) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_schema jsonb;
begin
  if p_product.category_id is null or jsonb_typeof(p_product.attributes) is distinct from 'object' then
    return '[]';
  end if;
  select c.attribute_schema into v_schema from public.categories c
  where c.tenant_id = p_product.tenant_id and c.id = p_product.category_id;
  if v_schema is null then
    return '[]';
  end if;
  return (
    select coalesce(jsonb_agg(private.failure('product.attributes_schema', f.found ->> 'field', f.found ->> 'detail')), '[]')
    from (select jsonb_array_elements(private.schema_failures(v_schema, p_product.attributes, 'attributes')) limit 100) f (found)
  );
end $$;
revoke all on function private.category_failures(public.products) from public, anon, authenticated, service_role;

-- BEFORE row trigger: a schema is carried out in full, or not saved.
create function private.check_schema() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_problems text[];
begin
  perform private.require_plain(new.attribute_schema, 'strict $.**{40}');
  v_problems := private.schema_problems(new.attribute_schema);
  if v_problems <> '{}' then
    perform private.fail('PT422', 'schema.invalid', array_to_json(v_problems)::text, 'docs/validation.md lists the keywords.');
  end if;
  return new;
end $$;
revoke all on function private.check_schema() from public, anon, authenticated, service_role;
create trigger check_schema before insert or update on public.categories
  for each row when (new.attribute_schema is not null) execute function private.check_schema();

-- Which of its tenant's own rules a product breaks.
create function private.rule_failures(p_product public.products, p_severities text[]) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_rule record;
  v_row jsonb;
  v_found jsonb := '[]';
begin
  for v_rule in
    select r.name, r.condition, r.message, r.severity from public.validation_rules r
    where r.tenant_id = p_product.tenant_id and r.entity = 'product' and r.enabled and r.severity = any (p_severities)
    order by r.name
  loop
    v_row := coalesce(v_row, to_jsonb(p_product));
    if not private.condition_holds(v_rule.condition, v_row) then
      v_found := v_found || private.failure('rule.' || v_rule.name,
        jsonb_path_query_first(v_rule.condition, 'lax $.**.field') #>> '{}', v_rule.message, v_rule.severity);
    end if;
  end loop;
  return v_found;
end $$;
revoke all on function private.rule_failures(public.products, text[]) from public, anon, authenticated, service_role;

-- Everything that is wrong with a sanitised product, in the order of the stages.
create function private.product_failures(p_product public.products, p_severities text[] default '{error,warning}') returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.text_failures(p_product) || private.business_failures(p_product)
    || private.attribute_failures(p_product.attributes) || private.category_failures(p_product)
    || private.rule_failures(p_product, p_severities)
$$;
revoke all on function private.product_failures(public.products, text[]) from public, anon, authenticated, service_role;

-- What a writer is told: all errors. To a stranger the tenant's rules are none of his business, and the policies refuse
-- him next.
create function private.failures_to_tell(p_product public.products) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_failures constant jsonb := private.product_failures(p_product, '{error}');
begin
  if v_failures <> '[]' and auth.role() = 'authenticated'
    and not coalesce(p_product.tenant_id = any (private.my_tenants()), false) then
    return '[]';
  end if;
  return v_failures;
end $$;
revoke all on function private.failures_to_tell(public.products) from public, anon, authenticated, service_role;

-- Whether a write of a product is one to judge. One that a later rule finds wrong can still be deleted, taken off sale and
-- have its plan to publish ended.
create function private.is_to_be_judged(p_old public.products, p_new public.products) returns boolean
language sql immutable set search_path = ''
as $$
  select p_new.deleted_at is null and ((p_old).id is null or (
    p_new.sku, p_new.name, p_new.description, p_new.price, p_new.currency, p_new.attributes, p_new.category_id, p_new.parent_id,
    null::timestamptz, case when p_new.status in ('draft', 'archived') then p_old.status else p_new.status end
  ) is distinct from (
    p_old.sku, p_old.name, p_old.description, p_old.price, p_old.currency, p_old.attributes, p_old.category_id, p_old.parent_id,
    p_old.deleted_at, p_old.status
  ))
$$;
revoke all on function private.is_to_be_judged(public.products, public.products) from public, anon, authenticated, service_role;

create function private.refuse_invalid_product() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_failures jsonb;
begin
  if private.is_to_be_judged(old, new) then
    v_failures := private.failures_to_tell(new);
    if v_failures <> '[]' then
      perform private.fail('PT422', 'product.invalid', v_failures::text,
        'Correct every field that is listed, then send all of it again.');
    end if;
  end if;
  return new;
end $$;
revoke all on function private.refuse_invalid_product() from public, anon, authenticated, service_role;
create trigger validate before insert or update on public.products
  for each row execute function private.refuse_invalid_product();

-- What the trigger would raise for a product that upsert_products is about to write, as its row's error; null when nothing.
create function private.refusal_of_product(p_tenant_id uuid, p_old public.products, p_new public.products) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_failures jsonb;
begin
  p_new.tenant_id := p_tenant_id;
  p_new := private.sanitised_product(p_new);
  if private.is_to_be_judged(p_old, p_new) then
    v_failures := private.failures_to_tell(p_new);
  end if;
  return case when v_failures <> '[]' then private.first_failure(v_failures) end;
end $$;
revoke all on function private.refusal_of_product(uuid, public.products, public.products) from public, anon, authenticated, service_role;

-- AFTER statement trigger: the warnings of the statement's products become those of their new state.
create function private.note_warnings() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if not exists (
    select from public.validation_rules r
    where r.severity = 'warning' and r.enabled and r.tenant_id in (select n.tenant_id from new_rows n)
  ) then
    return null;
  end if;
  delete from public.validation_warnings w using new_rows n
  where w.tenant_id = n.tenant_id and w.product_id = n.id;
  insert into public.validation_warnings (tenant_id, product_id, rule_id, code, field, detail, version)
  select p.tenant_id, p.id, r.id, f.code, f.field, f.detail, p.version
  from public.products p
  cross join lateral jsonb_to_recordset(private.rule_failures(p, '{warning}')) as f (code text, field text, detail text)
  join public.validation_rules r on r.tenant_id = p.tenant_id and r.entity = 'product' and 'rule.' || r.name = f.code
  where p.id in (select n.id from new_rows n where n.deleted_at is null);
  return null;
end $$;
revoke all on function private.note_warnings() from public, anon, authenticated, service_role;
create trigger note_warnings_of_insert after insert on public.products
  referencing new table as new_rows for each statement execute function private.note_warnings();
create trigger note_warnings_of_update after update on public.products
  referencing new table as new_rows for each statement execute function private.note_warnings();

-- The fields of a product that have no such column or are not of its type.
create function private.type_failures(p_product jsonb) returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(jsonb_agg(case
      when a.attname is null then private.failure('product.field_unknown', g.key, 'A product has no such field.')
      else private.failure(format('product.%s_type', g.key), g.key, format('This is no %s.', format_type(a.atttypid, null)))
    end order by g.key), '[]')
  from jsonb_each(p_product) g
  left join pg_catalog.pg_attribute a
    on a.attrelid = 'public.products'::regclass and a.attname = g.key and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
  where a.attname is null
    or a.atttypid <> 'jsonb'::regtype and jsonb_typeof(g.value) <> 'null'
      and not pg_input_is_valid(g.value #>> '{}', format_type(a.atttypid, a.atttypmod))
$$;
revoke all on function private.type_failures(jsonb) from public, anon, authenticated, service_role;

-- What a write would meet behind the triggers: a taken SKU, a parent that is not there, a stale version.
create function private.reference_failures(p_product public.products, p_stored_version bigint) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(f.failure), '[]') from (
    select private.failure('product.sku_taken', 'sku', format('Another product has the SKU %s.', p_product.sku))
    where p_product.deleted_at is null and exists (
      select from public.products p
      where p.tenant_id = p_product.tenant_id and p.sku = p_product.sku and p.deleted_at is null and p.id is distinct from p_product.id)
    union all
    select private.failure('product.parent_missing', 'parent_id', format('There is no product %s.', p_product.parent_id))
    where p_product.parent_id is not null and not exists (
      select from public.products p where p.tenant_id = p_product.tenant_id and p.id = p_product.parent_id)
    union all
    select private.failure('product.category_missing', 'category_id', format('There is no category %s.', p_product.category_id))
    where p_product.category_id is not null and not exists (
      select from public.categories c where c.tenant_id = p_product.tenant_id and c.id = p_product.category_id)
    union all
    select private.failure('version.stale', 'version',
      format('You sent version %s; the stored version is %s.', p_product.version, p_stored_version))
    where p_product.version <> p_stored_version
  ) f (failure)
$$;
revoke all on function private.reference_failures(public.products, bigint) from public, anon, authenticated, service_role;

create function private.validate_product(p_tenant_id uuid, p_product jsonb) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_types jsonb;
  v_product public.products;
  v_stored_version bigint;
  v_was text;
  v_failures jsonb;
begin
  perform private.require(p_tenant_id, 'products.read');
  perform private.require_plain(p_product);
  if jsonb_typeof(p_product) is distinct from 'object' or octet_length(p_product::text) > 262144 then
    perform private.fail('PT400', 'product.not_object', 'p_product must be a JSON object of at most 256 KiB.');
  end if;
  v_types := private.type_failures(p_product);
  p_product := p_product - array(select f ->> 'field' from jsonb_array_elements(v_types) f) - 'tenant_id';
  select p.* into v_product from public.products p where p.tenant_id = p_tenant_id and p.id = (p_product ->> 'id')::uuid;
  v_stored_version := v_product.version;
  v_was := v_product.status;
  if v_stored_version is null then
    -- The table's defaults.
    v_product := jsonb_populate_record(null::public.products, jsonb_build_object('id', gen_random_uuid(), 'tenant_id', p_tenant_id,
      'description', '', 'status', 'draft', 'price', 0, 'currency', 'USD', 'attributes', '{}'::jsonb, 'version', 1));
  end if;
  v_product := private.sanitised_product(jsonb_populate_record(v_product, p_product));
  v_failures := v_types
    || case when v_product.status = 'active' then private.publishing_failures(v_product, v_was) else '[]' end
    || private.product_failures(v_product) || private.reference_failures(v_product, v_stored_version);
  return jsonb_build_object('failures', v_failures,
    'valid', not jsonb_path_exists(v_failures, '$[*] ? (@.severity == "error")'));
end $$;
revoke all on function private.validate_product(uuid, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.validate_product(uuid, jsonb) to authenticated, service_role;

-- What a write of this product would be refused or warned for, without writing: {"valid", "failures": [{"code", "field",
-- "severity", "detail"}]}. With the id of an existing product the fields left out are the stored ones, as in a PATCH.
create function public.validate_product(p_tenant_id uuid, p_product jsonb) returns jsonb
language sql stable set search_path = ''
as $$ select private.validate_product(p_tenant_id, p_product) $$;
revoke all on function public.validate_product(uuid, jsonb) from public, anon, authenticated, service_role;
grant execute on function public.validate_product(uuid, jsonb) to authenticated, service_role;
