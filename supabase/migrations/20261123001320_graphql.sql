-- GraphQL, opt-in.
--
-- Nothing here runs by itself. The project's owner calls private.enable_graphql() in the SQL editor (docs/operations.md):
-- it creates pg_graphql where the platform has it and names the types in comments, which is where pg_graphql reads
-- them. The way in, graphql_public.graphql, is the platform's: creating the extension puts it in the placeholder's place. Queries run as their caller, so the policies of the tables decide as they do for REST.

-- The type of each table; a table that is not named here gets the name that pg_graphql derives.
create function private.graphql_names() returns table (table_name text, type_name text)
language sql immutable set search_path = ''
as $$
  values ('tenants', 'Tenant'), ('memberships', 'Membership'), ('invitations', 'Invitation'), ('api_keys', 'ApiKey'),
    ('api_key_usage', 'ApiKeyUsage'), ('products', 'Product'),
    ('product_versions', 'ProductVersion'), ('product_images', 'ProductImage'), ('categories', 'Category'),
    ('locations', 'Location'), ('stock_levels', 'StockLevel'), ('stock_movements', 'StockMovement'),
    ('reservations', 'Reservation'), ('orders', 'Order'), ('order_lines', 'OrderLine'),
    ('order_history', 'OrderHistoryEntry'), ('webhook_endpoints', 'WebhookEndpoint'),
    ('webhook_attempts', 'WebhookAttempt'), ('webhook_troubles', 'WebhookTrouble'), ('webhook_replays', 'WebhookReplay'),
    ('event_types', 'EventType'), ('notifications', 'Notification')
$$;
revoke all on function private.graphql_names() from public, anon, authenticated, service_role;

-- What the two ends of a foreign key to its own table are called: pg_graphql would call both after the type.
create function private.graphql_relations() returns table (table_name text, constraint_name text, up text, down text)
language sql immutable set search_path = ''
as $$
  values ('products', 'products_parent', 'parent', 'variants'), ('categories', 'categories_parent', 'parent', 'children')
$$;
revoke all on function private.graphql_relations() from public, anon, authenticated, service_role;

-- Puts the names into the comments, after the words for people; again it puts the same. Returns how many types.
create function private.name_graphql_types() returns integer
language plpgsql set search_path = ''
as $$
declare
  v_table record;
  v_relation record;
  v_named integer := 0;
begin
  execute 'comment on schema public is ' || quote_literal('@graphql({"inflect_names": true})');
  for v_table in
    select c.oid::regclass as relation, jsonb_build_object('name', n.type_name, 'totalCount', '{"enabled": true}'::jsonb) as directive,
      regexp_replace(coalesce(obj_description(c.oid, 'pg_class'), ''), '\s*@graphql\(.*\)$', '') as words
    from private.graphql_names() n
    join pg_catalog.pg_class c on c.relname = n.table_name and c.relnamespace = 'public'::regnamespace
  loop
    execute format('comment on table %s is %L', v_table.relation,
      ltrim(v_table.words || ' @graphql(' || v_table.directive || ')'));
    v_named := v_named + 1;
  end loop;
  for v_relation in select * from private.graphql_relations() loop
    execute format('comment on constraint %I on public.%I is %L', v_relation.constraint_name, v_relation.table_name,
      format('@graphql(%s)', jsonb_build_object('foreign_name', v_relation.up, 'local_name', v_relation.down)));
  end loop;
  return v_named;
end $$;
revoke all on function private.name_graphql_types() from public, anon, authenticated, service_role;

-- Turns GraphQL on, in the SQL editor, as the project's owner. Safe to run again. Raises graphql.unavailable.
create function private.enable_graphql() returns text
language plpgsql set search_path = ''
as $$
begin
  if not exists (select from pg_catalog.pg_available_extensions e where e.name = 'pg_graphql') then
    perform private.fail('PT501', 'graphql.unavailable', 'This Postgres has no extension pg_graphql.',
      'Nothing was changed. Supabase projects have it; everything else works without.');
  end if;
  execute 'create schema if not exists graphql';
  execute 'create extension if not exists pg_graphql with schema graphql';
  return format('GraphQL is on at /graphql/v1; %s types have names.', private.name_graphql_types());
end $$;
revoke all on function private.enable_graphql() from public, anon, authenticated, service_role;
