-- Sync: whether a copy is right.
--
-- A client compares its copy with the tables without sending it. It sends counts and checksums of ranges of ids; where one
-- differs it is told those of 16 parts of it, sends again the parts that differ from its own, and so on until a part is small
-- enough to be sent as ids and versions, a leaf. What comes back then are the rows that differ. Of 100,000 products one that
-- differs is found in four calls, and the first reads all of them.
--
-- A row counts as sha256(id || ':' || version), its first 8 bytes as a number; a range as the sum, modulo 2^64. Sums need no order,
-- and clients keep them up to date by adding and subtracting.

-- A sum of signed numbers, modulo 2^64, as 16 hexadecimal digits.
create function private.checksum(p_sum numeric) returns text
language sql immutable set search_path = ''
as $$
  select lpad(to_hex((
    mod(mod(p_sum + 9223372036854775808, 18446744073709551616) + 18446744073709551616, 18446744073709551616) - 9223372036854775808
  )::bigint), 16, '0')
$$;
revoke all on function private.checksum(numeric) from public, anon, authenticated, service_role;
grant execute on function private.checksum(numeric) to authenticated, service_role;

-- Why this is no range of ids; null when it is one.
create function private.range_fault(p_range jsonb) returns text
language sql immutable set search_path = ''
as $$
  select case
    when jsonb_typeof(p_range) <> 'object' then 'it is no object'
    when not pg_input_is_valid(coalesce(p_range ->> 'after', ''), 'uuid') and p_range ->> 'after' is not null
      or not pg_input_is_valid(coalesce(p_range ->> 'through', ''), 'uuid') and p_range ->> 'through' is not null
      then 'after and through must be UUIDs or null'
    when (p_range ->> 'after')::uuid >= (p_range ->> 'through')::uuid then 'after must be less than through'
    when p_range ? 'rows' and jsonb_typeof(p_range -> 'rows') <> 'object' then 'rows must be {id: version}'
    when p_range ? 'rows' then (
      select format('rows: %L must be a UUID with a whole number above 0', left(r.key, 80))
      from jsonb_each(p_range -> 'rows') r
      where not pg_input_is_valid(r.key, 'uuid') or jsonb_typeof(r.value) <> 'number' or r.value #>> '{}' !~ '^[1-9][0-9]{0,17}$'
      limit 1
    )
    when coalesce(p_range ->> 'count', '') !~ '^[0-9]{1,18}$' then 'count must be a whole number'
    when coalesce(p_range ->> 'checksum', '') !~ '^[0-9a-f]{16}$' then 'checksum must be 16 hexadecimal digits, in lower case'
  end
$$;
revoke all on function private.range_fault(jsonb) from public, anon, authenticated, service_role;
grant execute on function private.range_fault(jsonb) to authenticated, service_role;

-- Refuses what is no list of ranges, or would have a row read twice.
create function private.check_ranges(p_ranges jsonb) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_fault record;
begin
  if jsonb_typeof(p_ranges) is distinct from 'array' or jsonb_array_length(p_ranges) not between 1 and 64 then
    perform private.fail('PT400', 'sync.range_invalid', 'p_ranges must be an array of 1 to 64 ranges.');
  end if;
  select r.n, private.range_fault(r.range) as why into v_fault
  from jsonb_array_elements(p_ranges) with ordinality r (range, n)
  where private.range_fault(r.range) is not null
  order by r.n limit 1;
  if found then
    perform private.fail('PT400', 'sync.range_invalid', format('Range %s: %s.', v_fault.n, v_fault.why));
  end if;
  select r.n into v_fault from (
    select o.n, (o.range ->> 'after')::uuid as after, lag((o.range ->> 'through')::uuid) over (order by o.n) as former
    from jsonb_array_elements(p_ranges) with ordinality o (range, n)
  ) r
  where r.n > 1 and (r.after >= r.former) is not true
  order by r.n limit 1;
  if found then
    perform private.fail('PT400', 'sync.range_invalid', format('Range %s: it does not lie behind the one before.', v_fault.n));
  end if;
  if (select count(*) from jsonb_array_elements(p_ranges) r, jsonb_object_keys(r -> 'rows')) > 1000 then
    perform private.fail('PT400', 'sync.range_invalid', 'A call may hold 1,000 ids.', 'Send leaves in parts.');
  end if;
  select r.n, i.key as id into v_fault
  from jsonb_array_elements(p_ranges) with ordinality r (range, n) cross join jsonb_object_keys(r.range -> 'rows') i (key)
  where i.key::uuid <= (r.range ->> 'after')::uuid or i.key::uuid > (r.range ->> 'through')::uuid
  order by r.n limit 1;
  if found then
    perform private.fail('PT400', 'sync.range_invalid', format('Range %s: %s lies outside.', v_fault.n, v_fault.id));
  end if;
end $$;
revoke all on function private.check_ranges(jsonb) from public, anon, authenticated, service_role;
grant execute on function private.check_ranges(jsonb) to authenticated, service_role;

-- The columns of an entity that never leave it, as for its events.
create function private.hidden_columns(p_entity text) returns text[]
language sql stable security definer set search_path = ''
as $$ select l.hidden from private.logged_entities l where l.entity = p_entity $$;
revoke all on function private.hidden_columns(text) from public, anon, authenticated, service_role;
grant execute on function private.hidden_columns(text) to authenticated, service_role;

-- Pages of a tenant's levels in the order of ids.
create unique index stock_levels_within_tenant on public.stock_levels (tenant_id, id);

-- Ranges as columns; `first` and `last` are never null. Beside a policy an index is searched for values, not for what a function
-- would make of them.
create function private.bounds_of(p_ranges jsonb) returns table (n bigint, after uuid, first uuid, last uuid, rows jsonb)
language sql immutable set search_path = ''
as $$
  select o.n, (o.range ->> 'after')::uuid, coalesce((o.range ->> 'after')::uuid, '00000000-0000-0000-0000-000000000000'),
    coalesce((o.range ->> 'through')::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'), o.range -> 'rows'
  from jsonb_array_elements(p_ranges) with ordinality o (range, n)
$$;
revoke all on function private.bounds_of(jsonb) from public, anon, authenticated, service_role;
grant execute on function private.bounds_of(jsonb) to authenticated, service_role;

-- Counts and sums of what the caller sees in ranges, in parts of 64 rows: [{"n", "part", "through", "rows", "sum"}].
create function private.range_parts(p_tenant_id uuid, p_table text, p_ranges jsonb)
returns table (n bigint, part bigint, through uuid, rows bigint, sum numeric)
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return query execute format($query$
    select r.n, s.part, max(s.id collate "C")::uuid, count(*),
      sum(('x' || encode(substr(sha256((s.id || ':' || s.version)::bytea), 1, 8), 'hex'))::bit(64)::bigint)
    from private.bounds_of($2) r
    cross join lateral (
      select t.id::text as id, t.version, (row_number() over (order by t.id) - 1) / 64 as part
      from %s t
      where t.tenant_id = $1 and t.id between r.first and r.last and t.id is distinct from r.after
    ) s
    group by r.n, s.part
  $query$, p_table) using p_tenant_id, p_ranges;
end $$;
revoke all on function private.range_parts(uuid, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.range_parts(uuid, text, jsonb) to authenticated, service_role;

-- Rows of leaves that the caller sees and the client lacks or has in another version, and ids that it has and the caller does
-- not see: {"n", "row"} or {"n", "gone"}.
create function private.leaf_differences(p_tenant_id uuid, p_entity text, p_table text, p_ranges jsonb, p_leaves bigint[])
returns table (n bigint, "row" jsonb, gone uuid)
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_bitmapscan = off set jit = off set timezone = 'UTC'
as $$
begin
  return query execute format($query$
    with leaves as materialized (
      select r.* from private.bounds_of($2) r where r.n = any ($3)
    ), theirs as materialized (
      select l.n, k.key::uuid as id, k.value::bigint as version from leaves l cross join jsonb_each_text(l.rows) k
    ), ours as materialized (
      select l.n, t.id, t.version, to_jsonb(t) - $4 as state
      from leaves l cross join lateral (
        select s.* from %s s
        where s.tenant_id = $1 and s.id between l.first and l.last and s.id is distinct from l.after
        offset 0
      ) t
    )
    select coalesce(o.n, c.n), o.state, case when o.id is null then c.id end
    from ours o full join theirs c on c.id = o.id
    where o.version is distinct from c.version
    order by coalesce(o.id, c.id)
  $query$, p_table) using p_tenant_id, p_ranges, p_leaves, private.hidden_columns(p_entity);
end $$;
revoke all on function private.leaf_differences(uuid, text, text, jsonb, bigint[]) from public, anon, authenticated, service_role;
grant execute on function private.leaf_differences(uuid, text, text, jsonb, bigint[]) to authenticated, service_role;

-- Compares a client's copy of an entity's rows with those that you may read, deleted products among them. p_ranges: up to 64
-- ranges in the order of ids, {"after", "through", "count", "checksum"}: after < id <= through, null: without end; or leaves,
-- {"after", "through", "rows": {id: version}}, of up to 1,000 ids in all. {"same": how many agree, "ranges": [{"after", "through",
-- "count", "checksum"} | {"after", "through", "leaf": true}], "rows": [row], "gone": [id]}: of what differs, ranges to be
-- compared with your own and sent again where they differ, as leaves where it says so; rows as they are; ids that are not there.
create function public.report_state(p_tenant_id uuid, p_client text, p_entity text, p_ranges jsonb) returns jsonb
language plpgsql stable set search_path = '' set jit = off
as $$
declare
  v_small constant bigint := 100;
  v_table constant text := case p_entity when 'product' then 'public.products' when 'stock_level' then 'public.stock_levels' end;
  v_leaves bigint[];
  v_open bigint[];
  v_ranges jsonb;
  v_differ bigint[];
  v_rows jsonb;
  v_gone jsonb;
begin
  perform private.require(p_tenant_id, 'tenant.read');
  perform private.require_plain(p_ranges);
  perform private.check_client(p_client);
  if v_table is null then
    perform private.fail('PT400', 'sync.entity_unknown', 'p_entity must be product or stock_level.');
  end if;
  perform private.check_ranges(p_ranges);

  with asked as materialized (
    select r.n, r.range, r.range ? 'rows' as leaf from jsonb_array_elements(p_ranges) with ordinality r (range, n)
  ), parts as materialized (
    select p.*, ntile(16) over (partition by p.n order by p.part) as share
    from private.range_parts(p_tenant_id, v_table, p_ranges) p
  ), totals as materialized (
    select a.*, coalesce(t.rows, 0) as rows, private.checksum(coalesce(t.sum, 0)) as checksum
    from asked a left join (select p.n, sum(p.rows) as rows, sum(p.sum) as sum from parts p group by p.n) t on t.n = a.n
  ), judged as materialized (
    select t.*, t.leaf and t.rows <= 2 * v_small as told,
      not t.leaf and (t.range ->> 'count')::numeric = t.rows and t.range ->> 'checksum' = t.checksum as agrees
    from totals t
  ), shares as (
    select p.n, p.share, (array_agg(p.through order by p.part desc))[1] as through, sum(p.rows) as rows, sum(p.sum) as sum,
      p.share = max(p.share) over (partition by p.n) as last
    from parts p join judged j on j.n = p.n and not j.told and not j.agrees and j.rows > v_small
    group by p.n, p.share
  ), answers as (
    select s.n, s.share, jsonb_build_object(
      'after', coalesce(to_jsonb(lag(s.through) over (partition by s.n order by s.share)), j.range -> 'after'),
      'through', case when s.last then j.range -> 'through' else to_jsonb(s.through) end,
      'count', s.rows, 'checksum', private.checksum(s.sum)) as answer
    from shares s join judged j on j.n = s.n
    union all
    select j.n, 0, jsonb_build_object('after', j.range -> 'after', 'through', j.range -> 'through', 'leaf', true)
    from judged j where not j.told and not j.agrees and j.rows <= v_small
  )
  select (select jsonb_agg(a.answer order by a.n, a.share) from answers a), array_agg(j.n) filter (where j.told),
    array_agg(j.n) filter (where not j.told and not j.agrees)
  into v_ranges, v_leaves, v_open
  from judged j;

  select array_agg(distinct d.n), jsonb_agg(d."row") filter (where d."row" is not null), jsonb_agg(d.gone) filter (where d.gone is not null)
  into v_differ, v_rows, v_gone
  from private.leaf_differences(p_tenant_id, p_entity, v_table, p_ranges, v_leaves) d;
  return jsonb_build_object('same',
    jsonb_array_length(p_ranges) - coalesce(cardinality(v_open), 0) - coalesce(cardinality(v_differ), 0),
    'ranges', coalesce(v_ranges, '[]'), 'rows', coalesce(v_rows, '[]'), 'gone', coalesce(v_gone, '[]'));
end $$;
revoke all on function public.report_state(uuid, text, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function public.report_state(uuid, text, text, jsonb) to authenticated, service_role;
