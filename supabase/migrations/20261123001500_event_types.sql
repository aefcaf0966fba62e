-- The catalogue of event types.
--
-- public.event_types says which events there are, what each looks like (JSON Schema, draft 2020-12, of the whole body)
-- and shows one. Nobody writes it: private.refresh_event_types() makes it from private.event_map and from Postgres' own
-- catalogue of the tables under the log. A migration that touches either ends with a call of it; a test holds that.
--
-- Receivers are promised that what a schema requires stays, under its type, until schema_version rises. So a column that
-- comes later is described but never required, and a refresh that would break the promise fails, unless it is told which
-- entities may break. Dispatch compares the keys of each row with the catalogue, and keeps what lacks one from webhooks.

create table public.event_types (
  type text primary key,
  entity text not null,
  verb text not null,
  description text not null,
  schema_version integer not null default 1 constraint event_types_schema_version_positive check (schema_version > 0),
  webhooks boolean not null,
  json_schema jsonb not null,
  example jsonb not null,
  constraint event_types_type_is_entity_and_verb check (type = entity || '.' || verb)
);
comment on table public.event_types is 'Which events there are, their JSON Schema, and an example of each; the same for all tenants';
comment on column public.event_types.webhooks is 'Whether endpoints receive it; if not, it is in the log only';
create index event_types_by_entity on public.event_types (entity) where webhooks;

alter table public.event_types enable row level security;
create policy "whoever is signed in sees the catalogue" on public.event_types
  for select to authenticated using (true);
revoke all on public.event_types from anon, authenticated, service_role;
grant select on public.event_types to authenticated, service_role;

-- What dispatch checks: narrow, because it is joined to every event.
create table private.event_keys (
  type text primary key references public.event_types (type) on delete cascade,
  schema_version integer not null,
  required text[] not null,
  hidden text[] not null
);
comment on table private.event_keys is 'Keys that an event''s object must have, and those that it must not have';
alter table private.event_keys enable row level security;
revoke all on private.event_keys from public, anon, authenticated, service_role;

-- Why a row may not leave as an event of this type, or null. Dispatch asks the same of all events at once.
create function private.event_problem(p_type text, p_object jsonb) returns text
language sql stable set search_path = ''
as $$
  select case
    when k.type is null then 'the type is not in the catalogue'
    when not p_object ?& k.required then
      'lacks ' || (select string_agg(r, ', ' order by r) from unnest(k.required) r where not p_object ? r)
    when p_object ?| k.hidden then
      'shows ' || (select string_agg(h, ', ' order by h) from unnest(k.hidden) h where p_object ? h)
  end
  from (select) one left join private.event_keys k on k.type = p_type
$$;
revoke all on function private.event_problem(text, jsonb) from public, anon, authenticated, service_role;

-- What to_jsonb makes of a value of a type.
create function private.type_schema(p_type regtype) returns jsonb
language sql stable set search_path = ''
as $$
  select case
    when p_type = 'uuid'::regtype then '{"type": "string", "format": "uuid"}'
    when p_type = 'timestamptz'::regtype then '{"type": "string", "format": "date-time"}'
    when p_type = 'date'::regtype then '{"type": "string", "format": "date"}'
    when p_type = any ('{int2,int4,int8}'::regtype[]) then '{"type": "integer"}'
    when p_type = any ('{numeric,float4,float8}'::regtype[]) then '{"type": "number"}'
    when p_type = 'boolean'::regtype then '{"type": "boolean"}'
    when p_type = any ('{json,jsonb}'::regtype[]) then '{}'
    when t.typcategory = 'A' then jsonb_build_object('type', 'array', 'items', private.type_schema(t.typelem))
    when t.typtype = 'c' then '{"type": "object"}'
    else '{"type": "string"}' end
  from pg_catalog.pg_type t where t.oid = p_type
$$;
revoke all on function private.type_schema(regtype) from public, anon, authenticated, service_role;

-- The fields of an entity's rows as the log shows them, in the table's order. Of a table's checks two forms are read:
-- a list of values, and the kind of a jsonb.
create function private.event_fields(p_entity text)
returns table (name text, place integer, schema jsonb)
language sql stable set search_path = ''
as $$
  select a.attname::text, a.attnum::integer,
    s.schema
      || case when s.schema ? 'type' and not a.attnotnull then jsonb_build_object('type', jsonb_build_array(s.schema -> 'type', 'null')) else '{}' end
      || case when c.listed is null then '{}'
        when a.attnotnull then jsonb_build_object('enum', c.listed) else jsonb_build_object('enum', c.listed || '[null]') end
      || case when d.words is null then '{}' else jsonb_build_object('description', d.words) end
  from private.logged_entities l
  join pg_catalog.pg_attribute a on a.attrelid = l.relation::regclass and a.attnum > 0 and not a.attisdropped
  cross join lateral (
    select
      (select jsonb_agg(replace(v[1], '''''', '''') order by n)
       from regexp_matches((array_agg(m[2]) filter (where m[2] is not null))[1], '''((?:[^'']|'''')*)''::text', 'g') with ordinality v (v, n)) as listed,
      (array_agg(m[3]) filter (where m[3] is not null))[1] as kind
    from pg_catalog.pg_constraint k
    cross join lateral regexp_match(pg_get_constraintdef(k.oid),
      '^CHECK \(\((?:("?\w+"?) = ANY \(ARRAY\[(.+)\]\)|jsonb_typeof\("?\w+"?\) = ''(\w+)''::text)\)\)$') m
    where k.conrelid = a.attrelid and k.contype = 'c' and k.conkey = array[a.attnum] and m is not null
  ) c
  cross join lateral (
    select case when c.kind is null then private.type_schema(a.atttypid) else jsonb_build_object('type', c.kind) end as schema
  ) s
  cross join lateral (
    select coalesce(col_description(a.attrelid, a.attnum), case a.attname
      when 'tenant_id' then 'Whose it is'
      when 'version' then 'Counts the states of this row: 1, 2, 3' end) as words
  ) d
  where l.entity = p_entity and a.attname <> all (l.hidden)
  order by a.attnum
$$;
revoke all on function private.event_fields(text) from public, anon, authenticated, service_role;

-- The schema of a whole body. More keys than described may come at any time, so nothing forbids them.
create function private.event_schema(
  p_type text, p_description text, p_version integer, p_operations text[], p_fields jsonb, p_required text[]
) returns jsonb
language sql immutable set search_path = ''
as $$
  select jsonb_build_object(
    '$schema', 'https://json-schema.org/draft/2020-12/schema', 'title', p_type, 'description', p_description,
    'type', 'object', 'required', '["id", "type", "timestamp", "tenant_id", "seq", "schema", "data"]'::jsonb,
    'properties', jsonb_build_object(
      'id', '{"type": "string", "pattern": "^evt_[0-9a-f]{32}$"}'::jsonb,
      'type', jsonb_build_object('const', p_type),
      'timestamp', '{"type": "string", "format": "date-time"}'::jsonb,
      'tenant_id', '{"type": "string", "format": "uuid"}'::jsonb,
      'seq', '{"type": "integer", "minimum": 1}'::jsonb,
      'schema', jsonb_build_object('const', p_version),
      'data', jsonb_build_object(
        'type', 'object', 'required', '["object", "previous", "changed", "version"]'::jsonb,
        'properties', jsonb_build_object(
          'object', jsonb_build_object('type', 'object', 'required', p_required, 'properties', p_fields, 'additionalProperties', true),
          'previous', case when not 'UPDATE' = any (p_operations) then '{"type": "null"}' else jsonb_build_object(
            'type', case when p_operations = '{UPDATE}' then '"object"'::jsonb else '["object", "null"]' end,
            'properties', (select jsonb_object_agg(f.key, f.value - 'description') from jsonb_each(p_fields) f),
            'additionalProperties', true) end,
          'changed', '{"type": "array", "items": {"type": "string"}}'::jsonb || case
            when p_operations = '{UPDATE}' then '{"minItems": 1}'::jsonb
            when not 'UPDATE' = any (p_operations) then '{"maxItems": 0}' else '{}' end,
          'version', '{"type": "integer", "minimum": 1}'::jsonb))))
$$;
revoke all on function private.event_schema(text, text, integer, text[], jsonb, text[]) from public, anon, authenticated, service_role;

-- How fields break what was promised of them: one that is required is gone, or may now be of another JSON type.
create function private.broken_promises(p_required text[], p_before jsonb, p_now jsonb) returns text[]
language sql immutable set search_path = ''
as $$
  select coalesce(array_agg(format('%s %s', r, case when p_now ? r then 'has another type' else 'is gone' end) order by r), '{}')
  from unnest(p_required) r
  where not p_now ? r
    -- Without a type it may be anything.
    or (p_before -> r ? 'type' and not coalesce(p_before -> r -> 'type' @> (p_now -> r -> 'type'), false))
$$;
revoke all on function private.broken_promises(text[], jsonb, jsonb) from public, anon, authenticated, service_role;

-- Makes the catalogue anew; returns how many types it has. Entities in p_breaking get a new schema_version, and their
-- columns of today are required. Raises events.breaking_change.
create function private.refresh_event_types(p_breaking text[] default '{}') returns integer
language plpgsql volatile set search_path = ''
as $$
declare
  v_kind record;
  v_fields jsonb;
  v_hidden text[];
  v_known record;
  v_broken text[];
  v_required text[];
  v_version integer;
begin
  delete from public.event_types t
  where not exists (select from private.event_map m where m.entity = t.entity and m.verb = t.verb);
  for v_kind in
    select m.entity, m.verb, m.entity || '.' || m.verb as type, bool_or(m.webhooks) as webhooks,
      string_agg(distinct m.description, ' ') as description, array_agg(distinct m.operation) as operations
    from private.event_map m group by m.entity, m.verb order by m.entity, m.verb
  loop
    select jsonb_object_agg(f.name, f.schema), array_agg(f.name order by f.place) into v_fields, v_required
    from private.event_fields(v_kind.entity) f;
    -- A type of no table cannot come about; it waits for the migration that puts the table under the log.
    continue when v_fields is null;
    select l.hidden into v_hidden from private.logged_entities l where l.entity = v_kind.entity;
    select t.schema_version, k.required, t.json_schema #> '{properties,data,properties,object,properties}' as fields into v_known
    from public.event_types t join private.event_keys k on k.type = t.type where t.type = v_kind.type;
    v_version := 1;
    if found then
      v_version := v_known.schema_version;
      if v_kind.entity = any (p_breaking) then
        v_version := v_version + 1;
      else
        v_broken := private.broken_promises(v_known.required, v_known.fields, v_fields);
        if v_broken <> '{}' then
          perform private.fail('PT409', 'events.breaking_change',
            format('%s promises what its table no longer has: %s.', v_kind.type, array_to_string(v_broken, ', ')),
            format('Give it back, or raise the version: refresh_event_types(''{%s}'').', v_kind.entity));
        end if;
        v_required := v_known.required;
      end if;
    end if;
    insert into public.event_types as t (type, entity, verb, description, schema_version, webhooks, json_schema, example)
    values (v_kind.type, v_kind.entity, v_kind.verb, v_kind.description, v_version, v_kind.webhooks,
      private.event_schema(v_kind.type, v_kind.description, v_version, v_kind.operations, v_fields, v_required),
      private.event_example(v_kind.entity, v_kind.verb, v_fields, v_version))
    on conflict (type) do update set description = excluded.description, schema_version = excluded.schema_version,
      webhooks = excluded.webhooks, json_schema = excluded.json_schema, example = excluded.example;
    insert into private.event_keys as k (type, schema_version, required, hidden)
    values (v_kind.type, v_version, v_required, v_hidden)
    on conflict (type) do update
      set schema_version = excluded.schema_version, required = excluded.required, hidden = excluded.hidden;
  end loop;
  return (select count(*) from public.event_types);
end $$;
revoke all on function private.refresh_event_types(text[]) from public, anon, authenticated, service_role;

-- BEFORE row trigger: an endpoint that asks for what never comes would wait for it in silence. Entries of another form
-- are left to the table's checks. Types that only the log has count as unknown here.
create function private.check_event_filter() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_unknown text[];
begin
  select array_agg(e order by n) into v_unknown
  from unnest(new.events) with ordinality f (e, n)
  where e ~ '^[a-z_]+\.(\*|[a-z_]+)$'
    and not exists (select from public.event_types t where t.webhooks and (t.type = e or t.entity || '.*' = e));
  if v_unknown is not null then
    perform private.fail('PT422', 'webhook.unknown_event_type',
      format('No webhook carries %s.', array_to_string(v_unknown, ', ')),
      -- Of an entity that there is, its types; else which entities there are.
      'Known: ' || (
        select string_agg(distinct k.name, ', ')
        from public.event_types t
        cross join lateral (select case when t.entity = any (select split_part(u, '.', 1) from unnest(v_unknown) u) then t.type
          when not exists (select from public.event_types o where o.webhooks and o.entity = any (select split_part(u, '.', 1) from unnest(v_unknown) u))
            then t.entity || '.*' end as name) k
        where t.webhooks) || '. All of them, with examples: the table event_types.');
  end if;
  return new;
end $$;
revoke all on function private.check_event_filter() from public, anon, authenticated, service_role;
create trigger check_events_of_new before insert on public.webhook_endpoints
  for each row execute function private.check_event_filter();
create trigger check_events before update on public.webhook_endpoints
  for each row when (new.events is distinct from old.events) execute function private.check_event_filter();

select private.refresh_event_types();
