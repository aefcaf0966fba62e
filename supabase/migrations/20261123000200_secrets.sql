-- Secrets.
--
-- A secret is put, read and dropped by id. Where Supabase Vault is present it keeps them encrypted; elsewhere a table
-- that no API role can reach does, and `pms-worker doctor` warns about it. The home is chosen at call time, so that a
-- project which enables Vault later keeps reading what it stored before.

create table private.secrets (
  id uuid primary key default gen_random_uuid(),
  name text not null constraint secrets_name_unique unique,
  value text not null,
  created_at timestamptz not null default private.now()
);
comment on table private.secrets is 'Where secrets live when the project has no Vault';
alter table private.secrets enable row level security;
revoke all on private.secrets from public, anon, authenticated, service_role;

-- 'vault' or 'table'.
create function private.secrets_home() returns text
language sql stable set search_path = ''
as $$
  select case when to_regprocedure('vault.create_secret(text, text, text, uuid)') is null then 'table' else 'vault' end
$$;
revoke all on function private.secrets_home() from public, anon, authenticated, service_role;

-- Stores a secret under a unique name and returns its id.
create function private.put_secret(p_name text, p_value text) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid;
begin
  if private.secrets_home() = 'vault' then
    execute 'select vault.create_secret($1, $2)' into v_id using p_value, p_name;
  else
    insert into private.secrets (name, value) values (p_name, p_value) returning id into v_id;
  end if;
  return v_id;
end $$;
revoke all on function private.put_secret(text, text) from public, anon, authenticated, service_role;

-- The secret, or null when there is none of this id.
create function private.read_secret(p_id uuid) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_value text;
begin
  select s.value into v_value from private.secrets s where s.id = p_id;
  if not found and private.secrets_home() = 'vault' then
    execute 'select decrypted_secret from vault.decrypted_secrets where id = $1' into v_value using p_id;
  end if;
  return v_value;
end $$;
revoke all on function private.read_secret(uuid) from public, anon, authenticated, service_role;

-- Forgets a secret; dropping one that is not there is fine.
create function private.drop_secret(p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  delete from private.secrets s where s.id = p_id;
  if not found and private.secrets_home() = 'vault' then
    execute 'delete from vault.secrets where id = $1' using p_id;
  end if;
end $$;
revoke all on function private.drop_secret(uuid) from public, anon, authenticated, service_role;

-- AFTER DELETE row trigger of tables that say whose a secret is (secret_id).
create function private.drop_secret_of_row() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.drop_secret(old.secret_id);
  return null;
end $$;
revoke all on function private.drop_secret_of_row() from public, anon, authenticated, service_role;
