-- Upsert in bulk: up to 5,000 rows in one call, each with its own answer.
--
-- Rows are matched by id, or else by SKU among the living; a field that a row leaves out stays as it is. Everything that
-- is matched is locked first, in id order. Then slices are written set by set, parents before variants. A slice that meets
-- an error is undone and written again without the rows that validation refuses; if that too meets an error (a guard, a SKU
-- that is taken), it is cut into eight, down to the one row that is at fault. So good rows cost a share of one statement, an
-- invalid one a share of two, and any other bad one a handful of statements.

-- The failures of a product as one error: the first one's code, a detail that tells all, and the list itself.
create function private.first_failure(p_failures jsonb) returns jsonb
language sql immutable set search_path = ''
as $$
  select jsonb_build_object('code', p_failures -> 0 -> 'code', 'failures', p_failures,
    'detail', concat(p_failures -> 0 ->> 'detail', ' Also: ' || (
      select string_agg(format('%s [%s]', f.failure ->> 'detail', f.failure ->> 'code'), ' ' order by f.place)
      from jsonb_array_elements(p_failures) with ordinality f (failure, place) where f.place > 1)))
$$;
revoke all on function private.first_failure(jsonb) from public, anon, authenticated, service_role;

-- How an error that was caught is told in a row's answer: constraint products_price_scale reads product.price_scale,
-- like the codes that are raised by name.
create function private.refusal(p_sqlstate text, p_message text, p_detail text, p_constraint text) returns jsonb
language sql immutable set search_path = ''
as $$
  select case when p_message = 'product.invalid' then private.first_failure(p_detail::jsonb) else jsonb_build_object(
    'code', case when p_constraint <> '' then regexp_replace(p_constraint, '^(product|location|product_image)s_', '\1.')
                 when p_sqlstate like 'PT4%' then p_message else 'row.invalid' end,
    'detail', case when p_sqlstate like 'PT4%' then p_detail
                   when p_constraint = 'products_sku_living' then 'Another product has this sku.' else p_message end) end
$$;
revoke all on function private.refusal(text, text, text, text) from public, anon, authenticated, service_role;

create function private.refused_row(p_item jsonb, p_error jsonb) returns jsonb
language sql immutable set search_path = ''
as $$
  select jsonb_build_object('line', p_item -> 'line', 'sku', p_item -> 'row' -> 'sku', 'result', 'refused',
    'product_id', null, 'version', null, 'error', p_error)
$$;
revoke all on function private.refused_row(jsonb, jsonb) from public, anon, authenticated, service_role;

-- What is wrong with a row before it meets the table; null when nothing is.
create function private.row_fault(p_row jsonb) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object('code', f.code, 'detail', f.detail)
  from (
    select 1 as place, 'row.invalid' as code, 'A row is an object.' as detail where jsonb_typeof(p_row) <> 'object'
    union all
    select 2, 'row.invalid', 'A row has a sku, or the id of a product.'
    where jsonb_typeof(p_row) = 'object' and coalesce(p_row ->> 'id', p_row ->> 'sku') is null
    union all
    select 3, 'row.invalid', format('%s is no id.', p_row ->> k)
    from unnest('{id,parent_id,category_id}'::text[]) k
    where jsonb_typeof(p_row) = 'object' and not pg_input_is_valid(p_row ->> k, 'uuid')
    union all
    select 4, 'row.invalid', format('%s is no version.', p_row ->> 'version')
    where jsonb_typeof(p_row) = 'object' and not pg_input_is_valid(p_row ->> 'version', 'bigint')
    union all
    select 5, 'row.field_unknown', format('A product has no field %s.', string_agg(k, ', '))
    from jsonb_object_keys(case when jsonb_typeof(p_row) = 'object' then p_row else '{}' end) k
    where k <> all ('{id,tenant_id,parent_id,parent_sku,category_id,sku,name,description,status,price,currency,attributes,
      publish_at,publish_failures,version,deleted_at,created_at,updated_at}'::text[])
    having count(*) > 0
    union all
    -- The column would round it in silence.
    select 6, 'product.price_scale', format('The price %s has more than 4 decimal places.', p_row ->> 'price')
    where case when jsonb_typeof(p_row) = 'object' and p_row ->> 'price' is not null
      and pg_input_is_valid(p_row ->> 'price', 'numeric') then scale((p_row ->> 'price')::numeric) > 4
      and (p_row ->> 'price')::numeric <> round((p_row ->> 'price')::numeric, 4) end
    union all
    select 7, format('product.%s_type', t.field), format('%s is no %s.', p_row ->> t.field, t.told)
    from (values ('price', 'numeric(18,4)', 'numeric'), ('publish_at', 'timestamptz', 'timestamp with time zone'))
      as t (field, type, told)
    where jsonb_typeof(p_row) = 'object' and not pg_input_is_valid(p_row ->> t.field, t.type)
  ) f
  order by f.place
  limit 1
$$;
revoke all on function private.row_fault(jsonb) from public, anon, authenticated, service_role;

-- Writes a slice of items {"line", "row"} of one depth, and returns their answers. An error undoes all of it. Judged, what
-- validation would raise is the answer of its row instead, at the price of validating the good rows twice. The pins:
-- nothing tells the planner how many rows JSON holds, so it is to look up by lists of keys and to join by hash; one plan
-- for all, because single rows would spend their time on planning; and what is forbidden counts as dear, which would call JIT.
create function private.write_products(p_tenant_id uuid, p_items jsonb, p_judged boolean) returns jsonb
language plpgsql security definer set search_path = ''
  set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set enable_hashjoin = on
  set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_defaults constant jsonb := (
    select jsonb_build_object('description', '', 'status', 'draft', 'price', 0, 'currency', t.currency, 'attributes', '{}'::jsonb)
    from public.tenants t where t.id = p_tenant_id
  );
  v_ids constant uuid[] := array(select (e -> 'row' ->> 'id')::uuid from jsonb_array_elements(p_items) e);
  v_skus constant text[] := array(select e -> 'row' ->> 'sku' from jsonb_array_elements(p_items) e);
  v_parents constant text[] := array(select e -> 'row' ->> 'parent_sku' from jsonb_array_elements(p_items) e);
  v_parent_ids constant uuid[] := array(select (e -> 'row' ->> 'parent_id')::uuid from jsonb_array_elements(p_items) e);
  v_categories constant uuid[] := array(select (e -> 'row' ->> 'category_id')::uuid from jsonb_array_elements(p_items) e);
  v_answer jsonb;
begin
  with item as materialized (
    select i.line, i.row, i.row - '{id,tenant_id,parent_sku,version,deleted_at,created_at,updated_at,publish_failures}'::text[]
        as fields, (i.row ->> 'version')::bigint as version, (i.row ->> 'id')::uuid as id, i.row ->> 'sku' as sku
    from jsonb_to_recordset(p_items) as i (line integer, row jsonb)
  ), by_id as materialized (
    select p from public.products p where p.tenant_id = p_tenant_id and p.id = any (v_ids) and p.deleted_at is null
  ), by_sku as materialized (
    select p from public.products p where p.tenant_id = p_tenant_id and p.sku = any (v_skus) and p.deleted_at is null
  ), parent as materialized (
    select p.id, p.sku from public.products p
    where p.tenant_id = p_tenant_id and p.sku = any (v_parents) and p.deleted_at is null
  ), parent_by_id as materialized (
    select p.id from public.products p where p.tenant_id = p_tenant_id and p.id = any (v_parent_ids)
  ), category as materialized (
    select c.id from public.categories c where c.tenant_id = p_tenant_id and c.id = any (v_categories)
  ), met as materialized (
    select i.*, coalesce(d.p, s.p) as stored, a.id as parent_id,
      i.row ->> 'parent_id' is not null and b.id is null as parent_missing,
      i.row ->> 'category_id' is not null and c.id is null as category_missing
    from item i
    left join by_id d on (d.p).id = i.id
    left join by_sku s on (s.p).sku = i.sku and i.id is null
    left join parent a on a.sku = i.row ->> 'parent_sku'
    left join parent_by_id b on b.id = (i.row ->> 'parent_id')::uuid
    left join category c on c.id = (i.row ->> 'category_id')::uuid
  ), filled as materialized (
    select m.line, m.stored,
      case
        when (m.stored).id is null and (m.id is not null or m.version is not null) then jsonb_build_object(
          'code', 'product.not_found', 'detail', 'There is no such product among the living.')
        when m.row ->> 'parent_sku' is not null and m.parent_id is null then jsonb_build_object(
          'code', 'product.parent_missing', 'detail', format('There is no product %s.', m.row ->> 'parent_sku'))
        when m.parent_missing then jsonb_build_object(
          'code', 'product.parent_missing', 'detail', format('There is no product %s.', m.row ->> 'parent_id'))
        when m.category_missing then jsonb_build_object(
          'code', 'product.category_missing', 'detail', format('There is no category %s.', m.row ->> 'category_id'))
        when m.version <> (m.stored).version then jsonb_build_object(
          'code', 'version.stale', 'detail', format('You sent version %s; the stored version is %s.', m.version, (m.stored).version))
      end as error,
      jsonb_populate_record(m.stored, case when (m.stored).id is null then v_defaults else '{}' end || m.fields
        || case when m.row ? 'parent_sku' then jsonb_build_object('parent_id', m.parent_id) else '{}' end) as n
    from met m
  ), merged as materialized (
    select f.line, (f.stored).id as id, (f.stored).version as version, f.n,
      case when f.error is not null or not p_judged then f.error else private.refusal_of_product(p_tenant_id, f.stored, f.n) end
        as error
    from filled f
  ), inserted as (
    insert into public.products
      (tenant_id, parent_id, category_id, sku, name, description, status, price, currency, attributes, publish_at)
    select p_tenant_id, (m.n).parent_id, (m.n).category_id, (m.n).sku, (m.n).name, (m.n).description, (m.n).status,
      (m.n).price, (m.n).currency, (m.n).attributes, (m.n).publish_at
    from merged m
    where m.id is null and m.error is null
    order by (m.n).sku
    returning id, sku, version
  ), updated as (
    update public.products p
    set parent_id = (m.n).parent_id, category_id = (m.n).category_id, sku = (m.n).sku, name = (m.n).name,
        description = (m.n).description, status = (m.n).status, price = (m.n).price, currency = (m.n).currency,
        attributes = (m.n).attributes, publish_at = (m.n).publish_at
    from merged m
    where p.id = m.id and m.error is null and p.id = any (array(select g.id from merged g))
      and ((m.n).parent_id, (m.n).category_id, (m.n).sku, (m.n).name, (m.n).description, (m.n).status, (m.n).price,
        (m.n).currency, (m.n).attributes, (m.n).publish_at)
      is distinct from (p.parent_id, p.category_id, p.sku, p.name, p.description, p.status, p.price,
        p.currency, p.attributes, p.publish_at)
    returning p.id, p.version
  )
  select jsonb_agg(jsonb_build_object('line', m.line, 'sku', (m.n).sku,
    'result', case when m.error is not null then 'refused' when i.id is not null then 'created'
                   when u.version <> m.version then 'updated' else 'unchanged' end,
    'product_id', case when m.error is null then coalesce(m.id, i.id) end,
    'version', case when m.error is null then coalesce(u.version, i.version, m.version) end,
    'error', m.error))
  into v_answer
  from merged m
  left join inserted i on i.sku = (m.n).sku
  left join updated u on u.id = m.id;
  return coalesce(v_answer, '[]');
end $$;
revoke all on function private.write_products(uuid, jsonb, boolean) from public, anon, authenticated, service_role;

-- Writes a slice; where that meets an error, the slice judged, and then its eighths. The one row at fault is refused.
create function private.write_slice(p_tenant_id uuid, p_items jsonb, p_judged boolean default false) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_size constant integer := jsonb_array_length(p_items);
  v_step constant integer := greatest(1, ceil(v_size / 8.0));
  v_answer jsonb := '[]';
  v_state text;
  v_message text;
  v_detail text;
  v_constraint text;
begin
  if v_size = 0 then
    return '[]';
  end if;
  begin
    return private.write_products(p_tenant_id, p_items, p_judged);
  exception
    -- Faults of the moment are the caller's to repeat, not the rows'.
    when serialization_failure or deadlock_detected or query_canceled or insufficient_resources
      or operator_intervention then
      raise;
    when others then
      get stacked diagnostics v_state = returned_sqlstate, v_message = message_text, v_detail = pg_exception_detail,
        v_constraint = constraint_name;
  end;
  if not p_judged then
    return private.write_slice(p_tenant_id, p_items, p_judged => true);
  elsif v_size = 1 then
    return jsonb_build_array(private.refused_row(p_items -> 0, private.refusal(v_state, v_message, v_detail, v_constraint)));
  end if;
  for v_first in 0 .. v_size - 1 by v_step loop
    v_answer := v_answer || private.write_slice(p_tenant_id, (
      select jsonb_agg(e.item order by e.n) from jsonb_array_elements(p_items) with ordinality e (item, n)
      where e.n between v_first + 1 and v_first + v_step
    ), p_judged);
  end loop;
  return v_answer;
end $$;
revoke all on function private.write_slice(uuid, jsonb, boolean) from public, anon, authenticated, service_role;

create function private.upsert_products(p_tenant_id uuid, p_rows jsonb, p_all_or_nothing boolean, p_key text) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_known jsonb;
  v_answers jsonb;
  v_items jsonb;
  v_ids uuid[];
  v_skus text[];
  v_refused jsonb;
begin
  perform private.require(p_tenant_id, 'products.write');
  if jsonb_typeof(p_rows) is distinct from 'array' or jsonb_array_length(p_rows) not between 1 and 5000 then
    perform private.fail('PT400', 'product.rows_invalid', 'p_rows must be an array of 1 to 5,000 rows.');
  end if;
  perform private.require_plain(p_rows);
  v_known := private.begin_command(p_tenant_id, 'upsert_products', p_key,
    jsonb_build_object('rows', p_rows, 'all_or_nothing', p_all_or_nothing));
  if v_known is not null then
    return v_known;
  end if;

  with item as materialized (
    select jsonb_build_object('line', r.n, 'row', r.row) as item, r.row, r.n, coalesce(private.row_fault(r.row), case
      when count(*) over (partition by r.row ->> 'sku') > 1 and r.row ->> 'sku' is not null
        then jsonb_build_object('code', 'product.sku_repeated', 'detail', 'More than one row of this call has this SKU.')
      when count(*) over (partition by r.row ->> 'id') > 1 and r.row ->> 'id' is not null
        then jsonb_build_object('code', 'product.id_repeated', 'detail', 'More than one row of this call has this id.')
    end) as fault
    from jsonb_array_elements(p_rows) with ordinality r (row, n)
  )
  select coalesce(jsonb_agg(private.refused_row(i.item, i.fault)) filter (where i.fault is not null), '[]'),
    -- Sorted, so that twins that add the same SKUs wait for each other in one order.
    coalesce(jsonb_agg(i.item order by i.row ->> 'sku', i.n) filter (where i.fault is null), '[]')
  into v_answers, v_items
  from item i;

  v_ids := array(select (e -> 'row' ->> 'id')::uuid from jsonb_array_elements(v_items) e);
  v_skus := array(select e -> 'row' ->> 'sku' from jsonb_array_elements(v_items) e);
  perform 1 from public.products p
  where p.tenant_id = p_tenant_id and p.deleted_at is null and (p.sku = any (v_skus) or p.id = any (v_ids))
  order by p.id
  for no key update;

  v_answers := v_answers
    || private.write_slice(p_tenant_id, private.items_of_depth(v_items, p_variants => false))
    || private.write_slice(p_tenant_id, private.items_of_depth(v_items, p_variants => true));

  select jsonb_agg(a order by (a ->> 'line')::integer) into v_refused
  from jsonb_array_elements(v_answers) a where a ->> 'result' = 'refused';
  if p_all_or_nothing and v_refused is not null then
    perform private.fail('PT422', 'product.rows_refused', v_refused::text, 'Nothing was written. Mend the rows that are listed, then send all of them again.');
  end if;
  return private.end_command(p_tenant_id, 'upsert_products', p_key, (
    select jsonb_build_object(
      'created', count(*) filter (where a ->> 'result' = 'created'),
      'updated', count(*) filter (where a ->> 'result' = 'updated'),
      'unchanged', count(*) filter (where a ->> 'result' = 'unchanged'),
      'refused', count(*) filter (where a ->> 'result' = 'refused'),
      'rows', jsonb_agg(a order by (a ->> 'line')::integer))
    from jsonb_array_elements(v_answers) a
  ));
end $$;
revoke all on function private.upsert_products(uuid, jsonb, boolean, text) from public, anon, authenticated, service_role;
grant execute on function private.upsert_products(uuid, jsonb, boolean, text) to authenticated, service_role;

create function private.items_of_depth(p_items jsonb, p_variants boolean) returns jsonb
language sql immutable set search_path = ''
as $$
  select coalesce(jsonb_agg(e.item order by e.n), '[]')
  from jsonb_array_elements(p_items) with ordinality e (item, n)
  where (coalesce(e.item -> 'row' ->> 'parent_sku', e.item -> 'row' ->> 'parent_id') is not null) = p_variants
$$;
revoke all on function private.items_of_depth(jsonb, boolean) from public, anon, authenticated, service_role;

-- Creates and changes up to 5,000 products. Row: the fields of a product that are to be set, matched by id or else by
-- sku; parent_sku names the parent; a version must be the stored one. Returns {"created", "updated", "unchanged",
-- "refused", "rows": [{"line", "sku", "result", "product_id", "version", "error": null | {"code", "detail"}}]} with lines
-- from 1. Good rows are kept, unless p_all_or_nothing: then product.rows_refused lists the bad ones and nothing is written.
create function public.upsert_products(
  p_tenant_id uuid, p_rows jsonb, p_all_or_nothing boolean default false, p_key text default null
) returns jsonb
language sql volatile set search_path = ''
as $$ select private.upsert_products(p_tenant_id, p_rows, p_all_or_nothing, p_key) $$;
revoke all on function public.upsert_products(uuid, jsonb, boolean, text) from public, anon, authenticated, service_role;
grant execute on function public.upsert_products(uuid, jsonb, boolean, text) to authenticated, service_role;
