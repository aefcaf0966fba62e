-- Counting, transfers, and the history of a product's stock.
--
-- A count corrects the books, not the shelf. Counting takes a while and sales go on: a line says as_of_version, the
-- level's version that the counter started from, and what moved since then is added to what was counted. Corrections of
-- the books since then (counts, repairs) moved nothing, so they are not: counting twice from one version corrects once.
-- A count may find less than is promised; the level then has a shortfall, is paid back first, and promises nothing more.

-- Sets levels to what was counted; lines [{product_id, location_id, counted, as_of_version?}], each level once.
create function private.count_levels(p_tenant_id uuid, p_lines jsonb, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_twice text;
  v_ids uuid[];
  v_differences bigint[];
  v_ahead uuid;
  v_counted public.stock_levels[];
  v_constraint text;
begin
  select min(d.product_id::text) into v_twice from (
    select l.product_id from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid)
    group by l.product_id, l.location_id having count(*) > 1
  ) d;
  if v_twice is not null then
    perform private.fail('PT400', 'stock.lines_invalid', format('Product %s is counted twice at one location.', v_twice));
  end if;
  perform private.open_levels(p_tenant_id, p_lines);

  select array_agg(s.id order by s.id), array_agg(l.counted - s.on_hand + coalesce(since.moved, 0) order by s.id),
    (array_agg(s.product_id) filter (where l.as_of_version not between 1 and s.version))[1]
  into v_ids, v_differences, v_ahead
  from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid, counted bigint, as_of_version bigint)
  join public.stock_levels s on s.product_id = l.product_id and s.location_id = l.location_id
  left join lateral (
    select sum(m.quantity)::bigint as moved from public.stock_movements m
    where m.level_id = s.id and m.level_version > l.as_of_version and m.kind not in ('count', 'repair')
  ) since on true;
  if v_ahead is not null then
    perform private.fail('PT400', 'stock.version_unknown',
      format('as_of_version of product %s is no version that its level has had.', v_ahead));
  end if;

  v_counted := array(
    select m from private.move_levels('count', v_ids, v_differences, array_fill(0::bigint, array[cardinality(v_ids)]),
      p_reason, p_may_fall_short => true) m
  );
  return (
    select jsonb_agg(jsonb_build_object(
      'product_id', s.product_id, 'location_id', s.location_id, 'on_hand', s.on_hand, 'reserved', s.reserved,
      'shortfall', s.shortfall, 'difference', m.quantity, 'version', s.version
    ) order by s.id)
    from unnest(v_counted) s
    join public.stock_movements m on m.level_id = s.id and m.level_version = s.version
  );
exception when check_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_if_short(v_constraint, '[]');
  raise;
end $$;
revoke all on function private.count_levels(uuid, jsonb, text) from public, anon, authenticated, service_role;

create function private.count_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_known jsonb;
begin
  perform private.require(p_tenant_id, 'inventory.write');
  perform private.require_plain(p_lines);
  perform private.check_lines(p_lines, 'counted', 0);
  v_known := private.begin_command(p_tenant_id, 'count_stock', p_key,
    jsonb_build_object('lines', p_lines, 'reason', p_reason));
  if v_known is not null then
    return v_known;
  end if;
  return private.end_command(p_tenant_id, 'count_stock', p_key,
    jsonb_build_object('levels', private.count_levels(p_tenant_id, p_lines, p_reason)));
end $$;
revoke all on function private.count_stock(uuid, jsonb, text, text) from public, anon, authenticated, service_role;
grant execute on function private.count_stock(uuid, jsonb, text, text) to authenticated, service_role;

-- Records a cycle count. Lines: [{"product_id", "location_id", "counted", "as_of_version"?}]; answers with the levels and
-- the difference that each count made.
create function public.count_stock(p_tenant_id uuid, p_lines jsonb, p_key text default null, p_reason text default null)
returns jsonb
language sql volatile set search_path = ''
as $$ select private.count_stock(p_tenant_id, p_lines, p_key, p_reason) $$;
revoke all on function public.count_stock(uuid, jsonb, text, text) from public, anon, authenticated, service_role;
grant execute on function public.count_stock(uuid, jsonb, text, text) to authenticated, service_role;

create function private.transfer_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_known jsonb;
  v_moves jsonb;
begin
  perform private.require(p_tenant_id, 'inventory.write');
  perform private.require_plain(p_lines);
  perform private.check_lines(p_lines, 'quantity', 1);
  if exists (
    select from jsonb_to_recordset(p_lines) as l (from_location_id uuid, to_location_id uuid)
    where l.from_location_id = l.to_location_id
  ) then
    perform private.fail('PT400', 'stock.lines_invalid', 'A transfer goes to another location.');
  end if;
  v_known := private.begin_command(p_tenant_id, 'transfer_stock', p_key,
    jsonb_build_object('lines', p_lines, 'reason', p_reason));
  if v_known is not null then
    return v_known;
  end if;
  select jsonb_agg(jsonb_build_object('product_id', l.product_id, 'location_id', e.location_id, 'quantity', e.quantity))
  into v_moves
  from jsonb_to_recordset(p_lines)
    as l (product_id uuid, from_location_id uuid, to_location_id uuid, quantity bigint)
  cross join lateral (
    values (l.from_location_id, -l.quantity), (l.to_location_id, l.quantity)
  ) as e (location_id, quantity);
  return private.end_command(p_tenant_id, 'transfer_stock', p_key,
    jsonb_build_object('levels', private.move_stock(p_tenant_id, 'transfer', v_moves, p_reason)));
end $$;
revoke all on function private.transfer_stock(uuid, jsonb, text, text) from public, anon, authenticated, service_role;
grant execute on function private.transfer_stock(uuid, jsonb, text, text) to authenticated, service_role;

-- Moves goods between locations. Lines: [{"product_id", "from_location_id", "to_location_id", "quantity"}].
create function public.transfer_stock(p_tenant_id uuid, p_lines jsonb, p_key text default null, p_reason text default null)
returns jsonb
language sql volatile set search_path = ''
as $$ select private.transfer_stock(p_tenant_id, p_lines, p_key, p_reason) $$;
revoke all on function public.transfer_stock(uuid, jsonb, text, text) from public, anon, authenticated, service_role;
grant execute on function public.transfer_stock(uuid, jsonb, text, text) to authenticated, service_role;

-- The movements of a product, newest first, a page at a time: p_before is the last movement_id of the page before.
-- Row-level security decides; each location's movements come from an index, so a page costs the same at any depth.
create function public.stock_history(
  p_tenant_id uuid, p_product_id uuid, p_location_id uuid default null, p_before bigint default null,
  p_limit integer default 50
) returns table (
  movement_id bigint, location_id uuid, kind text, quantity bigint, reserved_quantity bigint, on_hand_after bigint,
  reserved_after bigint, level_version bigint, reason text, order_id uuid, actor uuid, command_id text,
  created_at timestamptz
)
language sql stable set search_path = ''
as $$
  select m.id, s.location_id, m.kind, m.quantity, m.reserved_quantity, m.on_hand_after, m.reserved_after,
    m.level_version, m.reason, m.order_id, m.actor, m.command_id, m.created_at
  from public.stock_levels s
  cross join lateral (
    select * from public.stock_movements m
    where m.level_id = s.id and m.tenant_id = p_tenant_id and m.id < coalesce(p_before, 9223372036854775807)
    order by m.id desc
    limit greatest(1, least(p_limit, 1000))
  ) m
  where s.tenant_id = p_tenant_id and s.product_id = p_product_id
    and (p_location_id is null or s.location_id = p_location_id)
  order by m.id desc
  limit greatest(1, least(p_limit, 1000))
$$;
revoke all on function public.stock_history(uuid, uuid, uuid, bigint, integer)
  from public, anon, authenticated, service_role;
grant execute on function public.stock_history(uuid, uuid, uuid, bigint, integer) to authenticated, service_role;
