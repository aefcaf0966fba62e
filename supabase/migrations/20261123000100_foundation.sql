-- Foundation.
--
-- Four schemas. `public` is what the PMS uses: tables under row-level security and command functions. `worker`
-- holds the RPCs of the worker daemon, granted to service_role alone. `queue` (work that waits) and `private`
-- (rules and state) are never exposed by PostgREST.
--
-- The platform's default privileges grant every new function in public to anon and authenticated directly, so each
-- function is revoked from all four API roles by name and then granted to those who need it.

create schema if not exists worker;
create schema if not exists queue;
create schema if not exists private;

revoke all on schema worker, queue, private from public, anon, authenticated, service_role;
grant usage on schema worker to service_role;
-- Policies run as the caller, and call functions of this schema.
grant usage on schema private to authenticated, service_role;
-- For the security_invoker view public.webhook_deliveries; the tables behind it carry policies of their own.
grant usage on schema queue to authenticated, service_role;

comment on schema worker is 'RPCs of the worker daemon (service_role only); see docs/worker-rpc.md';
comment on schema queue is 'Work that waits: deliveries, retries, jobs, leases. Not exposed.';
comment on schema private is 'Rules and state behind public. Not exposed.';

create extension if not exists pgcrypto with schema extensions;

-- The one clock of the schema, so that tests can replace it. It moves during a transaction: leases and due times
-- are about now, not about when the transaction began.
create function private.now() returns timestamptz
-- plpgsql keeps its plan; a function in SQL with a setting of its own is planned at every call
language plpgsql volatile set search_path = ''
as $$ begin return clock_timestamp(); end $$;
revoke all on function private.now() from public, anon, authenticated, service_role;
grant execute on function private.now() to authenticated, service_role;

-- Raises an error that PostgREST turns into an HTTP status: PT409 becomes 409. The message is a stable code,
-- listed in docs/errors.md; the detail is for people.
create function private.fail(p_sqlstate text, p_code text, p_detail text default null, p_hint text default null)
returns void
language plpgsql set search_path = ''
as $$
begin
  raise exception using errcode = p_sqlstate, message = p_code,
    detail = coalesce(p_detail, ''), hint = coalesce(p_hint, '');
end $$;
revoke all on function private.fail(text, text, text, text) from public, anon, authenticated, service_role;
grant execute on function private.fail(text, text, text, text) to authenticated, service_role;

-- True for text without control characters (tab and line breaks are fine).
create function private.is_clean(p_text text) returns boolean
language sql immutable set search_path = ''
as $$ select p_text !~ '[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]' $$;
revoke all on function private.is_clean(text) from public, anon, authenticated, service_role;
grant execute on function private.is_clean(text) to authenticated, service_role;

-- Whether JSON is cheap to write out, and can be read by all who read it: p_deepest finds nothing, and no number is of 10^40 or
-- above or has more than 40 decimals. JSON's 1e131071 is nine bytes, and 128 KiB as soon as anything makes text of it, so this
-- makes none. In plpgsql, which keeps its plans.
create function private.is_plain(p_value jsonb, p_deepest jsonpath default 'strict $.**{40}') returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  if jsonb_path_exists(p_value, p_deepest) then
    return false;
  end if;
  return not exists (
    select from (select jsonb_path_query(p_value, 'strict $.** ? (@.type() == "number")')::numeric as number offset 0) n
    where abs(n.number) >= 1e40 or scale(n.number) > 40);
end $$;
revoke all on function private.is_plain(jsonb, jsonpath) from public, anon, authenticated, service_role;
grant execute on function private.is_plain(jsonb, jsonpath) to authenticated, service_role;

-- Refuses what a caller sends that is not plain, and says why. A call may wrap what is stored, of 40 levels, in some more. Comes
-- after private.require, and before anything that hashes, measures or quotes the JSON. tests/sql/test_plain_json.py sends a
-- bomb to every function and column that callers reach.
create function private.require_plain(p_value jsonb, p_deepest jsonpath default 'strict $.**{48}') returns void
language plpgsql set search_path = ''
as $$
begin
  if private.is_plain(p_value, p_deepest) then
    return;
  end if;
  if jsonb_path_exists(p_value, p_deepest) then
    perform private.fail('PT422', 'json.too_deep', 'JSON nests up to 40 levels here.', 'Send flatter values, or the deep part as text.');
  end if;
  perform private.fail('PT422', 'json.number_too_long', 'A number has at most 40 digits before its point, and 40 after it.',
    'Round it, or send it as text.');
end $$;
revoke all on function private.require_plain(jsonb, jsonpath) from public, anon, authenticated, service_role;
grant execute on function private.require_plain(jsonb, jsonpath) to authenticated, service_role;

-- True for a JSON object of texts alone, at most p_most of them: keys of the form p_key, values clean and up to p_length.
create function private.is_flat_text(p_object jsonb, p_key text, p_length integer, p_most integer) returns boolean
language sql immutable set search_path = ''
as $$
  select jsonb_typeof(p_object) = 'object' and (
    select count(*) <= p_most
      and coalesce(bool_and(e.key ~ p_key and jsonb_typeof(e.value) = 'string'
        and length(e.value #>> '{}') <= p_length and private.is_clean(e.value #>> '{}')), true)
    from jsonb_each(case jsonb_typeof(p_object) when 'object' then p_object else '{}' end) e
  )
$$;
revoke all on function private.is_flat_text(jsonb, text, integer, integer) from public, anon, authenticated, service_role;
grant execute on function private.is_flat_text(jsonb, text, integer, integer) to authenticated, service_role;

-- The version that the worker's doctor and start-up compare with their own.
create function worker.schema_version() returns integer
language sql immutable set search_path = ''
as $$ select 1 $$;
revoke all on function worker.schema_version() from public, anon, authenticated, service_role;
grant execute on function worker.schema_version() to service_role;

-- BEFORE row trigger of every versioned table: numbers the states of a row, 1, 2, 3, without a gap.
--
-- A write that carries a version other than the stored one is refused, so a PMS that sends back what it read gets
-- optimistic locking by doing nothing. A write that changes nothing keeps the version, and so makes no event.
create function private.stamp_version() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_there boolean;
begin
  if tg_op = 'INSERT' then
    -- An upsert that finds its row goes on as an UPDATE with what is left here, so the version sent must survive.
    if new.version <> 1 then
      execute format('select true from %I.%I where id = $1', tg_table_schema, tg_table_name) into v_there using new.id;
    end if;
    if v_there is null then
      new.version := 1;
    end if;
    new.created_at := private.now();
    new.updated_at := new.created_at;
    return new;
  end if;

  if new.id is distinct from old.id then
    perform private.fail('PT400', 'row.id_changed', format('The id of a row in %s cannot change.', tg_table_name));
  end if;
  if to_jsonb(new) -> 'tenant_id' is distinct from to_jsonb(old) -> 'tenant_id' then
    perform private.fail('PT400', 'row.tenant_changed',
      format('A row in %s cannot move to another tenant.', tg_table_name));
  end if;
  if new.version is distinct from old.version then
    perform private.fail('PT409', 'version.stale',
      format('You sent version %s; the stored version is %s.', new.version, old.version),
      'Read the row again, apply your change to it, and send the version that you read.');
  end if;

  new.created_at := old.created_at;
  new.updated_at := old.updated_at;
  if new is distinct from old then
    new.version := old.version + 1;
    new.updated_at := private.now();
  end if;
  return new;
end $$;
revoke all on function private.stamp_version() from public, anon, authenticated, service_role;
