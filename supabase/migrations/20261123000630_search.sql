-- Search and paging.
--
-- The words of every living product stand in a table beside it, so that neither a page of products nor an event carries
-- them. Each word is prefixed with the tenant's own key: the index then holds every tenant's words apart, and a search,
-- also by prefix, touches nothing of the others. A word is a run of letters or digits in lower case, as in the "simple"
-- configuration; weights: A the SKU, B the name, D the description.
--
-- Row-level security would keep the index from being used (the match operator is not leakproof), so the search runs as
-- its owner, after it has asked for the permission, and within one tenant.

create function private.word_key(p_tenant_id uuid) returns text
language sql immutable set search_path = ''
as $$ select right(replace(p_tenant_id::text, '-', ''), 12) $$;
revoke all on function private.word_key(uuid) from public, anon, authenticated, service_role;

-- The distinct words of a text. Longer ones than 64 characters are cut, here and in queries.
-- In plpgsql, which keeps plans: in SQL each product's vector planned this anew, four times, and took 1.1 ms, not 0.3.
create function private.words_of(p_text text) returns text[]
language plpgsql immutable set search_path = ''
as $$
begin
  return array(
    select distinct left(w, 64)
    from string_to_table(regexp_replace(lower(p_text), '[^[:alnum:]]+', ' ', 'g'), ' ') w
    where w <> ''
  );
end;
$$;
revoke all on function private.words_of(text) from public, anon, authenticated, service_role;

create function private.product_vector(p_tenant_id uuid, p_sku text, p_name text, p_description text) returns tsvector
language plpgsql immutable set search_path = ''
as $$
begin
  return (
    select coalesce(string_agg(private.word_key(p_tenant_id) || w.word || ':' || w.marks, ' '), '')::tsvector
    from (
      select f.word, string_agg(f.mark, ',') as marks
      from (
        -- AB-12 is found as ab, as 12 and as ab12
        select s.word, '1A' as mark
        from unnest(private.words_of(p_sku) || private.words_of(regexp_replace(p_sku, '[^[:alnum:]]+', '', 'g'))) s (word)
        union all
        select n.word, '2B' from unnest(private.words_of(p_name)) n (word)
        union all
        select d.word, '3D' from unnest(private.words_of(p_description)) d (word)
      ) f
      group by f.word
    ) w
  );
end;
$$;
revoke all on function private.product_vector(uuid, text, text, text) from public, anon, authenticated, service_role;

create table private.product_words (
  product_id uuid primary key references public.products (id) on delete cascade,
  words tsvector not null
);
comment on table private.product_words is 'What living products are found by; kept by triggers';
-- No pending list: every search would read it whole.
create index product_words_by_word on private.product_words using gin (words) with (fastupdate = off);
alter table private.product_words enable row level security;
revoke all on private.product_words from public, anon, authenticated, service_role;

-- AFTER statement trigger. The pins: see private.capture_changes.
create function private.index_words() returns trigger
language plpgsql security definer set search_path = '' set enable_nestloop = off set enable_hashjoin = on set jit = off
as $$
begin
  if tg_op = 'INSERT' then
    insert into private.product_words (product_id, words)
    select n.id, private.product_vector(n.tenant_id, n.sku, n.name, n.description)
    from new_rows n where n.deleted_at is null;
    return null;
  end if;
  insert into private.product_words as w (product_id, words)
  select n.id, private.product_vector(n.tenant_id, n.sku, n.name, n.description)
  from new_rows n join old_rows o on o.id = n.id
  where n.deleted_at is null
    and (n.sku, n.name, n.description, o.deleted_at) is distinct from (o.sku, o.name, o.description, n.deleted_at)
  on conflict (product_id) do update set words = excluded.words;
  if exists (select from new_rows n where n.deleted_at is not null) then
    delete from private.product_words w
    where w.product_id = any (array(select n.id from new_rows n where n.deleted_at is not null));
  end if;
  return null;
end $$;
revoke all on function private.index_words() from public, anon, authenticated, service_role;
create trigger index_words_of_new after insert on public.products
  referencing new table as new_rows
  for each statement execute function private.index_words();
create trigger index_words after update on public.products
  referencing old table as old_rows new table as new_rows
  for each statement execute function private.index_words();

-- What a text asks for: every word, each as a prefix. Null without a text; an error where it holds no word or too many.
create function private.search_terms(p_tenant_id uuid, p_query text) returns tsquery
language plpgsql immutable set search_path = ''
as $$
declare
  v_words text[];
begin
  if btrim(coalesce(p_query, '')) = '' then
    return null;
  end if;
  v_words := case when length(p_query) <= 200 then private.words_of(p_query) else '{}' end;
  if cardinality(v_words) not between 1 and 10 then
    perform private.fail('PT400', 'search.query_invalid', 'A query has 1 to 10 words and at most 200 characters.');
  end if;
  return (select string_agg(private.word_key(p_tenant_id) || w || ':*', ' & ') from unnest(v_words) w)::tsquery;
end $$;
revoke all on function private.search_terms(uuid, text) from public, anon, authenticated, service_role;

-- The cursor's parts, or an error that names it.
create function private.search_cursor(p_after jsonb, out rank real, out created_at timestamptz, out id uuid)
language plpgsql stable set search_path = ''
as $$
begin
  rank := coalesce((p_after ->> 'rank')::real, 0);
  created_at := (p_after ->> 'created_at')::timestamptz;
  id := (p_after ->> 'id')::uuid;
  if p_after is not null and (created_at is null or id is null) then
    perform private.fail('PT400', 'search.cursor_invalid', 'p_after must be the "next" of a former answer, as it was.');
  end if;
exception when data_exception then
  perform private.fail('PT400', 'search.cursor_invalid', 'p_after must be the "next" of a former answer, as it was.');
end $$;
revoke all on function private.search_cursor(jsonb) from public, anon, authenticated, service_role;

-- A plan of each call's own: a rare word is looked up, a common one is met soon enough on the way through the newest.
create function private.search_products(
  p_tenant_id uuid, p_query text, p_after jsonb, p_limit integer, p_status text, p_category_id uuid, p_order text
) returns jsonb
language plpgsql volatile security definer set search_path = '' set plan_cache_mode = force_custom_plan
as $$
declare
  v_terms tsquery;
  v_after record;
  v_categories uuid[];
  v_found jsonb;
begin
  perform private.require(p_tenant_id, 'products.read');
  perform private.require_plain(p_after);
  v_terms := private.search_terms(p_tenant_id, p_query);
  v_after := private.search_cursor(p_after);
  if p_limit is null or p_limit not between 1 and 500 then
    perform private.fail('PT400', 'search.limit_invalid', 'p_limit must be 1 to 500.');
  end if;
  if p_order is null or p_order not in ('relevance', 'newest') then
    perform private.fail('PT400', 'search.order_unknown', 'p_order must be relevance or newest.');
  end if;
  if p_category_id is not null then
    v_categories := array(select private.category_subtree(p_tenant_id, p_category_id));
  end if;

  if v_terms is null then
    select jsonb_agg(jsonb_build_object('rank', 0, 'row', to_jsonb(f)) order by f.created_at desc, f.id desc) into v_found
    from (
      select p.* from public.products p
      where p.tenant_id = p_tenant_id and p.deleted_at is null
        and (p_after is null or (p.created_at, p.id) < (v_after.created_at, v_after.id))
        and (p_status is null or p.status = p_status)
        and (v_categories is null or p.category_id = any (v_categories))
      order by p.created_at desc, p.id desc
      limit p_limit + 1
    ) f;
  elsif p_order = 'newest' then
    select jsonb_agg(jsonb_build_object('rank', 0, 'row', to_jsonb(f)) order by f.created_at desc, f.id desc) into v_found
    from (
      select p.* from public.products p join private.product_words w on w.product_id = p.id
      where p.tenant_id = p_tenant_id and p.deleted_at is null and w.words @@ v_terms
        and (p_after is null or (p.created_at, p.id) < (v_after.created_at, v_after.id))
        and (p_status is null or p.status = p_status)
        and (v_categories is null or p.category_id = any (v_categories))
      order by p.created_at desc, p.id desc
      limit p_limit + 1
    ) f;
  else
    select jsonb_agg(jsonb_build_object('rank', f.rank, 'row', to_jsonb(f.p))
      order by f.rank desc, (f.p).created_at desc, (f.p).id desc) into v_found
    from (
      select r.rank, p
      from public.products p
      join private.product_words w on w.product_id = p.id
      cross join lateral (select ts_rank(w.words, v_terms) as rank) r
      where p.tenant_id = p_tenant_id and p.deleted_at is null and w.words @@ v_terms
        and (p_after is null or (r.rank, p.created_at, p.id) < (v_after.rank, v_after.created_at, v_after.id))
        and (p_status is null or p.status = p_status)
        and (v_categories is null or p.category_id = any (v_categories))
      order by r.rank desc, p.created_at desc, p.id desc
      limit p_limit + 1
    ) f;
  end if;

  return jsonb_build_object(
    'rows', (
      select coalesce(jsonb_agg(f.found -> 'row' order by f.n), '[]')
      from jsonb_array_elements(v_found) with ordinality f (found, n) where f.n <= p_limit
    ),
    'next', case when jsonb_array_length(v_found) > p_limit then jsonb_build_object(
      'rank', v_found -> (p_limit - 1) -> 'rank',
      'created_at', v_found -> (p_limit - 1) -> 'row' -> 'created_at',
      'id', v_found -> (p_limit - 1) -> 'row' -> 'id') end
  );
end $$;
revoke all on function private.search_products(uuid, text, jsonb, integer, text, uuid, text)
  from public, anon, authenticated, service_role;
grant execute on function private.search_products(uuid, text, jsonb, integer, text, uuid, text)
  to authenticated, service_role;

-- A page of living products that hold every word of p_query, each as a prefix; all of them without a query. Returns
-- {"rows": [product, …], "next": cursor | null}: hand "next" back as p_after, with the same other arguments. A category
-- means also those below it. Relevance looks at every match of the tenant; "newest" stops when the page is full.
create function public.search_products(
  p_tenant_id uuid, p_query text default null, p_after jsonb default null, p_limit integer default 50,
  p_status text default null, p_category_id uuid default null, p_order text default 'relevance'
) returns jsonb
language sql volatile set search_path = ''
as $$ select private.search_products(p_tenant_id, p_query, p_after, p_limit, p_status, p_category_id, p_order) $$;
revoke all on function public.search_products(uuid, text, jsonb, integer, text, uuid, text)
  from public, anon, authenticated, service_role;
grant execute on function public.search_products(uuid, text, jsonb, integer, text, uuid, text) to authenticated, service_role;
