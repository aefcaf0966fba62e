-- What the role `postgres` may not do hosted, for want of ownership: change objects of auth, realtime, storage or vault.
-- Policies and triggers on their tables are allowed. Run last, so that it does not hinder the bootstrap.

create schema stack_limits;

create function stack_limits.is_platform_schema(p_schema text) returns boolean
language sql immutable set search_path = '' as $$
  select p_schema in ('auth', 'realtime', 'storage', 'vault')
$$;

create function stack_limits.refuse_change() returns event_trigger
language plpgsql set search_path = '' as $$
declare
  v_command record;
begin
  if session_user <> 'postgres' then
    return;
  end if;
  for v_command in select * from pg_catalog.pg_event_trigger_ddl_commands() loop
    if stack_limits.is_platform_schema(v_command.schema_name)
       and v_command.object_type not in ('policy', 'trigger') then
      raise exception 'must be owner of % %', v_command.object_type, v_command.object_identity
        using errcode = '42501', hint = 'On a hosted project this object belongs to the platform.';
    end if;
  end loop;
end
$$;

create function stack_limits.refuse_drop() returns event_trigger
language plpgsql set search_path = '' as $$
declare
  v_object record;
begin
  if session_user <> 'postgres' then
    return;
  end if;
  for v_object in select * from pg_catalog.pg_event_trigger_dropped_objects() where original loop
    if stack_limits.is_platform_schema(v_object.schema_name)
       and v_object.object_type not in ('policy', 'trigger') then
      raise exception 'must be owner of % %', v_object.object_type, v_object.object_identity
        using errcode = '42501', hint = 'On a hosted project this object belongs to the platform.';
    end if;
  end loop;
end
$$;

grant usage on schema stack_limits to public;
create event trigger stack_limits_change on ddl_command_end execute function stack_limits.refuse_change();
create event trigger stack_limits_drop on sql_drop execute function stack_limits.refuse_drop();
