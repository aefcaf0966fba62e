-- Import: what `pms-worker import` sends, batch by batch. Each row stands alone: a refused one leaves the others alone.
-- Safe to run twice: rows that would change nothing are unchanged, and goods are received once per source, for ever.

-- A product's pictures beside those of a list, matched by URL; one that stands several times, in the order of both. Pictures that
-- were uploaded are nothing of a list's.
create function private.pair_images(p_product public.products, p_images jsonb)
returns table (image_id uuid, source_url text, "position" integer, alt_text text, wanted boolean)
language sql stable security definer set search_path = ''
as $$
  select i.id, w.source_url, w.place, w.alt_text, w.source_url is not null
  from (
    select p.*, row_number() over (partition by p.source_url order by p.position, p.created_at, p.id) as nth
    from public.product_images p
    where p.tenant_id = p_product.tenant_id and p.product_id = p_product.id and p.source_url is not null
  ) i
  full join (
    select e.image ->> 'source_url' as source_url, (e.image ->> 'position')::integer as place, e.image ->> 'alt_text' as alt_text,
      row_number() over (partition by e.image ->> 'source_url' order by e.n) as nth
    from jsonb_array_elements(p_images) with ordinality e (image, n)
  ) w on w.source_url = i.source_url and w.nth = i.nth
$$;
revoke all on function private.pair_images(public.products, jsonb) from public, anon, authenticated, service_role;

-- Makes a product's pictures those of the list. One that only moves, or gets other words, need not be fetched again.
create function private.set_images(p_product public.products, p_images jsonb) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_rows integer;
  v_touched integer := 0;
begin
  delete from public.product_images i
  using private.pair_images(p_product, p_images) w where i.id = w.image_id and not w.wanted;
  get diagnostics v_rows = row_count;
  v_touched := v_touched + v_rows;

  update public.product_images i set position = coalesce(w.position, i.position), alt_text = w.alt_text
  from private.pair_images(p_product, p_images) w
  where i.id = w.image_id and (coalesce(w.position, i.position), w.alt_text) is distinct from (i.position, i.alt_text);
  get diagnostics v_rows = row_count;
  v_touched := v_touched + v_rows;

  insert into public.product_images (tenant_id, product_id, source_url, position, alt_text)
  select p_product.tenant_id, p_product.id, w.source_url, w.position, w.alt_text
  from private.pair_images(p_product, p_images) w where w.image_id is null;
  get diagnostics v_rows = row_count;
  return v_touched + v_rows > 0;
end $$;
revoke all on function private.set_images(public.products, jsonb) from public, anon, authenticated, service_role;

-- Receives a row's quantity into its location, unless its source was counted before. Returns what was received.
create function private.receive_once(p_product public.products, p_row jsonb) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_quantity constant bigint := (p_row ->> 'quantity')::bigint;
  v_location uuid;
begin
  if coalesce(v_quantity, 0) = 0 then
    return 0;
  end if;
  if v_quantity < 0 or p_row ->> 'source' is null then
    perform private.fail('PT400', 'import.quantity_invalid', 'A quantity is 0 or more, and has a source to be counted once by.');
  end if;
  -- Twins of one source wait here for each other, so that the second sees the first's movement.
  perform pg_advisory_xact_lock(hashtextextended('import ' || p_product.tenant_id || (p_row ->> 'source'), 0));
  if exists (
    select from public.stock_movements m where m.tenant_id = p_product.tenant_id and m.source = p_row ->> 'source'
  ) then
    return 0;
  end if;
  insert into public.locations (tenant_id, code, name)
  values (p_product.tenant_id, p_row ->> 'location_code', p_row ->> 'location_code')
  on conflict (tenant_id, code) do nothing;
  select l.id into strict v_location from public.locations l
  where l.tenant_id = p_product.tenant_id and l.code = p_row ->> 'location_code';
  perform private.move_stock(p_product.tenant_id, 'receive', jsonb_build_array(jsonb_build_object(
    'product_id', p_product.id, 'location_id', v_location, 'quantity', v_quantity, 'source', p_row ->> 'source'
  )), 'import');
  return v_quantity;
end $$;
revoke all on function private.receive_once(public.products, jsonb) from public, anon, authenticated, service_role;

-- Upserts one row by SKU and returns its line of the answer.
create function private.import_product(p_tenant_id uuid, p_row jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_parent uuid;
  v_before bigint;
  v_product public.products;
  v_result text := 'created';
  v_received bigint;
begin
  if p_row ->> 'parent_sku' is not null then
    select p.id into v_parent from public.products p
    where p.tenant_id = p_tenant_id and p.sku = p_row ->> 'parent_sku' and p.deleted_at is null;
    if not found then
      perform private.fail('PT404', 'product.parent_missing', format('There is no product %s.', p_row ->> 'parent_sku'));
    end if;
  end if;

  insert into public.products (tenant_id, parent_id, sku, name, description, status, price, currency, attributes)
  values (p_tenant_id, v_parent, p_row ->> 'sku', p_row ->> 'name', coalesce(p_row ->> 'description', ''),
    coalesce(p_row ->> 'status', 'draft'), (p_row ->> 'price')::numeric, p_row ->> 'currency',
    coalesce(p_row -> 'attributes', '{}'))
  on conflict (tenant_id, sku) where deleted_at is null do nothing
  returning * into v_product;

  if v_product.id is null then
    select p.version into v_before from public.products p
    where p.tenant_id = p_tenant_id and p.sku = p_row ->> 'sku' and p.deleted_at is null for update;
    update public.products p
    set parent_id = v_parent, name = p_row ->> 'name', description = coalesce(p_row ->> 'description', ''),
        status = coalesce(p_row ->> 'status', p.status), price = (p_row ->> 'price')::numeric,
        currency = p_row ->> 'currency', attributes = coalesce(p_row -> 'attributes', '{}')
    where p.tenant_id = p_tenant_id and p.sku = p_row ->> 'sku' and p.deleted_at is null
    returning * into v_product;
    v_result := case when v_product.version = v_before then 'unchanged' else 'updated' end;
  end if;

  if p_row -> 'images' is not null and private.set_images(v_product, p_row -> 'images') and v_result = 'unchanged' then
    v_result := 'updated';
  end if;
  v_received := private.receive_once(v_product, p_row);
  return jsonb_build_object('line', p_row -> 'line', 'sku', p_row -> 'sku', 'result', v_result,
    'product_id', v_product.id, 'received', v_received, 'error', null);
end $$;
revoke all on function private.import_product(uuid, jsonb) from public, anon, authenticated, service_role;

-- Imports up to 500 rows, in their order. See docs/worker-rpc.md for the shapes.
create function worker.import_products(p_tenant_id uuid, p_rows jsonb) returns jsonb
-- The pins hold for everything it calls: see private.move_stock.
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_row jsonb;
  v_answer jsonb := '[]';
  v_message text;
  v_detail text;
  v_constraint text;
begin
  -- A catalogue that comes in is taken as it is: see guard_publishing.
  perform set_config('pms.importing', 'yes', true);
  if jsonb_typeof(p_rows) is distinct from 'array' or jsonb_array_length(p_rows) > 500 then
    perform private.fail('PT400', 'import.rows_invalid', 'p_rows must be an array of at most 500 rows.');
  end if;
  if not exists (select from public.tenants t where t.id = p_tenant_id) then
    perform private.fail('PT404', 'tenant.not_found', format('There is no tenant %s.', p_tenant_id));
  end if;
  -- Levels are locked in primary-key order, first, as every command does: row by row, in the file's order, a command
  -- that moves some of them too would deadlock with the batch.
  perform 1 from public.stock_levels s
  where s.id in (
    select l.id
    from jsonb_array_elements(p_rows) r (line)
    join public.products p on p.tenant_id = p_tenant_id and p.sku = r.line ->> 'sku' and p.deleted_at is null
    join public.locations o on o.tenant_id = p_tenant_id and o.code = r.line ->> 'location_code'
    join public.stock_levels l on l.product_id = p.id and l.location_id = o.id
    where r.line ->> 'quantity' is not null
  )
  order by s.id
  for update;
  for v_row in select jsonb_array_elements(p_rows) loop
    begin
      v_answer := v_answer || private.import_product(p_tenant_id, v_row);
    exception
      -- Faults of the moment are the caller's to retry, not the row's.
      when serialization_failure or deadlock_detected or lock_not_available or query_canceled
        or insufficient_resources or operator_intervention then
        raise;
      when others then
        get stacked diagnostics v_message = message_text, v_detail = pg_exception_detail, v_constraint = constraint_name;
        v_answer := v_answer || jsonb_build_object('line', v_row -> 'line', 'sku', v_row -> 'sku', 'result', 'refused',
          'product_id', null, 'received', 0, 'error', private.refusal(sqlstate, v_message, v_detail, v_constraint));
    end;
  end loop;
  return v_answer;
end $$;
revoke all on function worker.import_products(uuid, jsonb) from public, anon, authenticated, service_role;
grant execute on function worker.import_products(uuid, jsonb) to service_role;
