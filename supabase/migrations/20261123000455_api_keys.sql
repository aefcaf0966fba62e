-- API keys.
--
-- A key is a principal without a person: its id stands in memberships like a user's, so policies decide about it as about
-- anybody. Its membership carries the role, the scopes that cut the role down, and the expiry; revoking deletes the
-- membership and the secrets, and so ends every right at once, whoever still holds a token of the key.
--
-- Nobody makes a key that may do more than they may themselves, and a key makes no keys: it could outlive itself by them.
-- It may give itself a new secret, where its scopes allow that. Secrets are shown once and kept by private.put_secret. The
-- newest is good without an end, those before it until the ends that were announced: nobody knows which of them is in use, so a
-- rotation takes none away, and is refused while three are good. One whose answer was lost can so be repeated once.

insert into private.role_permissions (role, permission)
select r.role, p.permission
from (values
  ('api_keys.read',  '{owner,manager}'::text[]),
  ('api_keys.write', '{owner,manager}')
) as p (permission, roles)
cross join lateral unnest(p.roles) as r (role);

create table public.api_keys (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  name text not null
    constraint api_keys_name_length check (length(name) between 1 and 200)
    constraint api_keys_name_clean check (private.is_clean(name)),
  role text not null
    constraint api_keys_role_known check (role in ('owner', 'manager', 'clerk', 'viewer', 'integration')),
  scopes text[],
  status text not null default 'active' constraint api_keys_status_known check (status in ('active', 'revoked')),
  expires_at timestamptz constraint api_keys_expires_at_finite check (isfinite(expires_at)),
  allowed_ips cidr[] constraint api_keys_allowed_ips_some check (cardinality(allowed_ips) between 1 and 50),
  rate_per_minute integer constraint api_keys_rate_range check (rate_per_minute between 1 and 100000),
  secret_changed_at timestamptz not null default private.now(),
  last_used_at timestamptz,
  created_by uuid,
  revoked_at timestamptz,
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint api_keys_revoked_at_some_time check ((status = 'revoked') = (revoked_at is not null))
);
comment on table public.api_keys is 'Keys of machine clients; the id is the principal in memberships';
comment on column public.api_keys.scopes is 'The permissions that are left of the role; null: all of them';
comment on column public.api_keys.expires_at is 'When it ends by itself; null: never';
comment on column public.api_keys.allowed_ips is 'Networks that it may be used from; null: any';
comment on column public.api_keys.rate_per_minute is 'Requests a minute; null: as the adapter is set';
comment on column public.api_keys.secret_changed_at is 'When it got its newest secret';
comment on column public.api_keys.last_used_at is 'When it was used last, up to 10 s ago';
create index api_keys_by_tenant on public.api_keys (tenant_id, created_at, id);

alter table public.api_keys enable row level security;
create policy "only within one's own tenants" on public.api_keys
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "keys see themselves, managers see everyone's" on public.api_keys
  for select to authenticated
  using (
    id = (select auth.uid())
    or tenant_id = any ((select private.tenants_with('api_keys.read'))::uuid[])
  );
revoke all on public.api_keys from anon, authenticated, service_role;
grant select on public.api_keys to authenticated, service_role;
create trigger stamp_version_of_new before insert on public.api_keys
  for each row execute function private.stamp_version();
-- Being used is no change: it makes no version, and no event.
create trigger stamp_version before update on public.api_keys
  for each row when (new.last_used_at is not distinct from old.last_used_at) execute function private.stamp_version();

insert into private.event_map (entity, operation, rank, when_field, when_value, verb, webhooks, description) values
  ('api_key', 'INSERT', 9, null,     null,      'created', false,
    'An API key was made.'),
  ('api_key', 'UPDATE', 1, 'status', 'revoked', 'revoked', false,
    'An API key was revoked.'),
  ('api_key', 'UPDATE', 9, null,     null,      'updated', false,
    'The name or the limits of an API key changed.'),
  ('api_key', 'DELETE', 9, null,     null,      'deleted', false,
    'An API key is gone, with its tenant.');
select private.log_changes_of('public.api_keys', 'api_key', 'api_keys.read', 'last_used_at');

-- The secrets of a key, the newest without an end. The text is kept by private.put_secret.
create table private.api_key_secrets (
  secret_id uuid primary key,
  turn bigint generated always as identity (cache 1),
  api_key_id uuid not null references public.api_keys (id) on delete cascade,
  created_at timestamptz not null default private.now(),
  expires_at timestamptz
);
comment on table private.api_key_secrets is 'Which secrets sign for an API key';
create unique index api_key_secrets_newest on private.api_key_secrets (api_key_id) where expires_at is null;
create index api_key_secrets_by_key on private.api_key_secrets (api_key_id, turn desc);
create index api_key_secrets_expiring on private.api_key_secrets (expires_at) where expires_at is not null;
alter table private.api_key_secrets enable row level security;
revoke all on private.api_key_secrets from public, anon, authenticated, service_role;

create trigger drop_secret after delete on private.api_key_secrets
  for each row execute function private.drop_secret_of_row();

-- Makes the secret that a key signs with from now on, and returns its text.
create function private.make_api_key_secret(p_api_key_id uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_secret constant text := 'pms_sk_' || translate(encode(extensions.gen_random_bytes(32), 'base64'), '+/=', '-_');
begin
  insert into private.api_key_secrets (secret_id, api_key_id)
  values (private.put_secret('api key ' || p_api_key_id || ' ' || gen_random_uuid(), v_secret), p_api_key_id);
  return v_secret;
end $$;
revoke all on function private.make_api_key_secret(uuid) from public, anon, authenticated, service_role;

-- A key as commands answer it, with the id that clients send in X-API-Key.
create function private.api_key_answer(p_key public.api_keys) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(p_key) || jsonb_build_object('api_key_id', p_key.id, 'key', 'key_' || replace(p_key.id::text, '-', ''))
$$;
revoke all on function private.api_key_answer(public.api_keys) from public, anon, authenticated, service_role;

-- Refuses an API key that manages keys, other than itself.
create function private.require_no_api_key(p_tenant_id uuid, p_but uuid default null) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if auth.uid() is distinct from p_but and exists (select from public.api_keys k where k.id = auth.uid()) then
    perform private.fail('PT403', 'api_key.by_api_key', 'An API key makes and changes no API keys.', 'Let a person do it.');
  end if;
end $$;
revoke all on function private.require_no_api_key(uuid, uuid) from public, anon, authenticated, service_role;

-- The key, once the tenant's roles are locked and the caller's right to touch it is certain.
create function private.open_api_key(p_tenant_id uuid, p_api_key_id uuid) returns public.api_keys
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys;
begin
  perform private.require(p_tenant_id, 'api_keys.write');
  perform private.lock_roles(p_tenant_id);
  perform private.require(p_tenant_id, 'api_keys.write');
  select * into v_key from public.api_keys k where k.tenant_id = p_tenant_id and k.id = p_api_key_id for update;
  if v_key.id is null then
    perform private.fail('PT404', 'api_key.not_found', format('There is no API key %s in this tenant.', p_api_key_id));
  end if;
  if v_key.role = 'owner' then
    perform private.require(p_tenant_id, 'owners.write');
  end if;
  return v_key;
end $$;
revoke all on function private.open_api_key(uuid, uuid) from public, anon, authenticated, service_role;

-- Refuses scopes that are none of the role's, and sorts the others.
create function private.checked_scopes(p_role text, p_scopes text[]) returns text[]
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_strange text;
begin
  select string_agg(coalesce(s, 'null'), ', ') into v_strange from unnest(p_scopes) s
  where s is null or s <> all (private.permissions_of(p_role, null));
  if v_strange is not null or cardinality(p_scopes) = 0 then
    perform private.fail('PT422', 'api_key.scopes_invalid',
      case when v_strange is null then 'The list of scopes is empty: a key without any can do nothing.'
        else format('The role %s has no permission %s.', p_role, left(v_strange, 500)) end,
      'Scopes are permissions of the role, as my_permissions lists them; null means all of them.');
  end if;
  return case when p_scopes is not null then private.permissions_of(p_role, p_scopes) end;
end $$;
revoke all on function private.checked_scopes(text, text[]) from public, anon, authenticated, service_role;

create function private.checked_networks(p_allowed_ips text[]) returns cidr[]
language plpgsql stable set search_path = ''
as $$
declare
  v_bad text;
begin
  select string_agg(case when pg_input_is_valid(a, 'inet') then format('%s, which is a host in %s', a, network(a::inet))
    else coalesce(a, 'null') end, '; ') into v_bad
  from unnest(p_allowed_ips) a
  where a is null or not pg_input_is_valid(a, 'cidr');
  if v_bad is not null or cardinality(p_allowed_ips) = 0 or cardinality(p_allowed_ips) > 50 then
    perform private.fail('PT422', 'api_key.allowed_ips_invalid',
      case when v_bad is null then 'A list has 1 to 50 networks.'
        else format('These are no networks: %s.', left(v_bad, 500)) end,
      'Networks look like 192.0.2.0/24, 192.0.2.7 or 2001:db8::/48; null means any.');
  end if;
  -- flat, whatever shape it was sent in
  return case when p_allowed_ips is not null then array(select a::cidr from unnest(p_allowed_ips) with ordinality u (a, n) order by n) end;
end $$;
revoke all on function private.checked_networks(text[]) from public, anon, authenticated, service_role;

-- Refuses the values of a key that its own checks would refuse without a word for people.
create function private.check_api_key(p_key public.api_keys) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if p_key.name is null or length(p_key.name) not between 1 and 200 or not private.is_clean(p_key.name) then
    perform private.fail('PT422', 'api_key.name_invalid', 'A name has 1 to 200 characters, none of them a control character.');
  end if;
  if p_key.expires_at <= private.now() or not isfinite(p_key.expires_at) then
    perform private.fail('PT422', 'api_key.expiry_invalid', 'expires_at must lie ahead.', 'Revoke the key to end it now.');
  end if;
  if p_key.rate_per_minute not between 1 and 100000 then
    perform private.fail('PT422', 'api_key.rate_invalid', 'rate_per_minute must lie between 1 and 100,000.');
  end if;
end $$;
revoke all on function private.check_api_key(public.api_keys) from public, anon, authenticated, service_role;

create function private.create_api_key(
  p_tenant_id uuid, p_name text, p_role text, p_scopes text[], p_expires_at timestamptz, p_allowed_ips text[],
  p_rate_per_minute integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys;
begin
  perform private.require(p_tenant_id, 'api_keys.write');
  perform private.lock_roles(p_tenant_id);
  perform private.require(p_tenant_id, case p_role when 'owner' then 'owners.write' else 'api_keys.write' end);
  perform private.require_no_api_key(p_tenant_id);
  perform private.require_known_role(p_role);
  v_key.name := btrim(p_name);
  v_key.role := p_role;
  v_key.scopes := private.checked_scopes(p_role, p_scopes);
  v_key.expires_at := p_expires_at;
  v_key.allowed_ips := private.checked_networks(p_allowed_ips);
  v_key.rate_per_minute := p_rate_per_minute;
  perform private.check_api_key(v_key);
  perform private.require_as_strong(p_tenant_id, p_role, v_key.scopes);
  if (select count(*) from public.api_keys k where k.tenant_id = p_tenant_id and k.status = 'active'
    and (k.expires_at is null or k.expires_at > private.now())) >= 200 then
    perform private.fail('PT422', 'api_key.too_many', 'A tenant has at most 200 active keys.', 'Revoke those that are not used.');
  end if;
  insert into public.api_keys (tenant_id, name, role, scopes, expires_at, allowed_ips, rate_per_minute, created_by)
  values (p_tenant_id, v_key.name, v_key.role, v_key.scopes, v_key.expires_at, v_key.allowed_ips, v_key.rate_per_minute, auth.uid())
  returning * into v_key;
  insert into public.memberships (tenant_id, principal_id, role, kind, scopes, expires_at)
  values (p_tenant_id, v_key.id, v_key.role, 'api_key', v_key.scopes, v_key.expires_at);
  return private.api_key_answer(v_key) || jsonb_build_object('secret', private.make_api_key_secret(v_key.id));
end $$;
revoke all on function private.create_api_key(uuid, text, text, text[], timestamptz, text[], integer)
  from public, anon, authenticated, service_role;
grant execute on function private.create_api_key(uuid, text, text, text[], timestamptz, text[], integer) to authenticated, service_role;

-- Makes a key. p_scopes: the permissions of the role that it gets, null for all; p_allowed_ips: networks, null for any.
-- Returns the key with "api_key_id", "key" (for X-API-Key) and "secret", which is shown this once. Only owners make owner
-- keys. Raises role.unknown, api_key.scopes_invalid, api_key.allowed_ips_invalid, api_key.expiry_invalid, api_key.too_many.
create function public.create_api_key(
  p_tenant_id uuid, p_name text, p_role text default 'integration', p_scopes text[] default null,
  p_expires_at timestamptz default null, p_allowed_ips text[] default null, p_rate_per_minute integer default null
) returns jsonb
language sql volatile set search_path = ''
as $$ select private.create_api_key(p_tenant_id, p_name, p_role, p_scopes, p_expires_at, p_allowed_ips, p_rate_per_minute) $$;
revoke all on function public.create_api_key(uuid, text, text, text[], timestamptz, text[], integer)
  from public, anon, authenticated, service_role;
grant execute on function public.create_api_key(uuid, text, text, text[], timestamptz, text[], integer) to authenticated, service_role;

-- The id of a key, told as such or in the form of X-API-Key.
create function private.api_key_id_of(p_text text) returns uuid
language plpgsql immutable set search_path = ''
as $$
declare
  v_id constant text := regexp_replace(p_text, '^key_([0-9a-f]{32})$', '\1');
begin
  if not pg_input_is_valid(v_id, 'uuid') then
    perform private.fail('PT404', 'api_key.not_found', format('%s is no id of an API key.', left(p_text, 100)),
      'It is a UUID (api_key_id), or key_ and 32 hex digits.');
  end if;
  return v_id::uuid;
end $$;
revoke all on function private.api_key_id_of(text) from public, anon, authenticated, service_role;
grant execute on function private.api_key_id_of(text) to authenticated, service_role;

-- How long an old secret stays good; anything but an interval is refused like one out of range.
create function private.overlap_of(p_text text) returns interval
language plpgsql stable set search_path = ''
as $$
begin
  if not pg_input_is_valid(p_text, 'interval') then
    perform private.fail('PT422', 'api_key.overlap_invalid', format('p_overlap is no interval: %s.', left(p_text, 100)),
      'Send such as 2 hours or 1 day; 0 ends the old secret now.');
  end if;
  return p_text::interval;
end $$;
revoke all on function private.overlap_of(text) from public, anon, authenticated, service_role;
grant execute on function private.overlap_of(text) to authenticated, service_role;

create function private.rotate_api_key(p_tenant_id uuid, p_api_key_id uuid, p_overlap interval) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_now constant timestamptz := private.now();
  v_key public.api_keys := private.open_api_key(p_tenant_id, p_api_key_id);
  v_free_at timestamptz;
begin
  perform private.require_no_api_key(p_tenant_id, p_but => p_api_key_id);
  if v_key.status = 'revoked' then
    perform private.fail('PT409', 'api_key.revoked', 'The key was revoked.', 'Make a new one.');
  end if;
  -- Whoever has the secret is the key.
  perform private.require_as_strong(p_tenant_id, v_key.role, v_key.scopes);
  if p_overlap is null or p_overlap < interval '0' or p_overlap > interval '30 days' then
    perform private.fail('PT422', 'api_key.overlap_invalid', 'p_overlap must lie between 0 and 30 days.');
  end if;
  delete from private.api_key_secrets s
  where s.api_key_id = p_api_key_id and (p_overlap = interval '0' or s.expires_at <= v_now);
  select min(s.expires_at) into v_free_at from private.api_key_secrets s where s.api_key_id = p_api_key_id having count(*) >= 3;
  if v_free_at is not null then
    perform private.fail('PT409', 'api_key.rotating',
      format('Three secrets of the key are good; it can be rotated again from %s on.',
        to_char((v_free_at + interval '1 second') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
      'Sign with the newest until then; or send p_overlap = 0, which ends all others at once.');
  end if;
  update private.api_key_secrets s set expires_at = v_now + p_overlap where s.api_key_id = p_api_key_id and s.expires_at is null;
  -- The event of it: who keeps the secrets elsewhere learns that they changed.
  update public.api_keys k set secret_changed_at = v_now where k.id = p_api_key_id returning * into v_key;
  return private.api_key_answer(v_key) || jsonb_build_object(
    'secret', private.make_api_key_secret(p_api_key_id),
    'old_secret_expires_at', (
      select max(s.expires_at) from private.api_key_secrets s where s.api_key_id = p_api_key_id and s.expires_at > v_now));
end $$;
revoke all on function private.rotate_api_key(uuid, uuid, interval) from public, anon, authenticated, service_role;
grant execute on function private.rotate_api_key(uuid, uuid, interval) to authenticated, service_role;

-- Gives a key a new secret, shown this once. The one before it stays good for p_overlap (0 to 30 days; 0 ends all others now), and
-- one still older until its own end. Returns the key with "secret" and "old_secret_expires_at", when the last of the others ends.
-- Raises api_key.not_found, api_key.revoked, api_key.overlap_invalid, api_key.rotating where three secrets are good.
create function public.rotate_api_key(p_tenant_id uuid, p_api_key_id text, p_overlap text default '24 hours') returns jsonb
language sql volatile set search_path = ''
as $$ select private.rotate_api_key(p_tenant_id, private.api_key_id_of(p_api_key_id), private.overlap_of(p_overlap)) $$;
revoke all on function public.rotate_api_key(uuid, text, text) from public, anon, authenticated, service_role;
grant execute on function public.rotate_api_key(uuid, text, text) to authenticated, service_role;

-- Ends a key: its membership, its secrets and the invitations that it made. Call under lock_roles.
create function private.end_api_key(p_api_key_id uuid) returns public.api_keys
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys;
begin
  update public.api_keys k set status = 'revoked', revoked_at = private.now()
  where k.id = p_api_key_id and k.status = 'active';
  select * into v_key from public.api_keys k where k.id = p_api_key_id;
  perform private.revoke_invitations_of(v_key.tenant_id, p_api_key_id);
  delete from public.memberships m where m.tenant_id = v_key.tenant_id and m.principal_id = p_api_key_id;
  delete from private.api_key_secrets s where s.api_key_id = p_api_key_id;
  return v_key;
end $$;
revoke all on function private.end_api_key(uuid) from public, anon, authenticated, service_role;

create function private.revoke_api_key(p_tenant_id uuid, p_api_key_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.open_api_key(p_tenant_id, p_api_key_id);
  perform private.require_no_api_key(p_tenant_id, p_but => p_api_key_id);
  return private.api_key_answer(private.end_api_key(p_api_key_id));
end $$;
revoke all on function private.revoke_api_key(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function private.revoke_api_key(uuid, uuid) to authenticated, service_role;

-- Ends a key for ever, at once. Returns it; again it returns the same. Raises api_key.not_found.
create function public.revoke_api_key(p_tenant_id uuid, p_api_key_id text) returns jsonb
language sql volatile set search_path = ''
as $$ select private.revoke_api_key(p_tenant_id, private.api_key_id_of(p_api_key_id)) $$;
revoke all on function public.revoke_api_key(uuid, text) from public, anon, authenticated, service_role;
grant execute on function public.revoke_api_key(uuid, text) to authenticated, service_role;

-- A key as p_changes would make it.
create function private.api_key_with(p_key public.api_keys, p_changes jsonb) returns public.api_keys
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_unknown text;
  v_key public.api_keys := p_key;
begin
  if jsonb_typeof(p_changes) is distinct from 'object' then
    perform private.fail('PT422', 'row.invalid', 'p_changes must be an object.');
  end if;
  select string_agg(k, ', ') into v_unknown from jsonb_object_keys(p_changes) k
  where k <> all ('{name,role,scopes,expires_at,allowed_ips,rate_per_minute,version}'::text[]);
  if v_unknown is not null then
    perform private.fail('PT422', 'row.field_unknown', format('Of an API key nobody changes: %s.', left(v_unknown, 500)));
  end if;
  begin
    v_key := jsonb_populate_record(p_key, p_changes - '{scopes,allowed_ips}'::text[]);
    if p_changes ? 'scopes' then
      v_key.scopes := case jsonb_typeof(p_changes -> 'scopes') when 'null' then null
        else array(select jsonb_array_elements_text(p_changes -> 'scopes')) end;
    end if;
  exception when data_exception then
    perform private.fail('PT422', 'row.invalid', sqlerrm);
  end;
  v_key.name := btrim(v_key.name);
  v_key.version := coalesce(v_key.version, p_key.version);
  perform private.require_known_role(v_key.role);
  v_key.scopes := private.checked_scopes(v_key.role, v_key.scopes);
  if p_changes ? 'allowed_ips' then
    if jsonb_typeof(p_changes -> 'allowed_ips') not in ('null', 'array') then
      perform private.fail('PT422', 'row.invalid', 'allowed_ips is a list or null.');
    end if;
    v_key.allowed_ips := private.checked_networks(case jsonb_typeof(p_changes -> 'allowed_ips') when 'array'
      then array(select jsonb_array_elements_text(p_changes -> 'allowed_ips')) end);
  end if;
  return v_key;
end $$;
revoke all on function private.api_key_with(public.api_keys, jsonb) from public, anon, authenticated, service_role;

create function private.change_api_key(p_tenant_id uuid, p_api_key_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.api_keys := private.open_api_key(p_tenant_id, p_api_key_id);
  v_key public.api_keys;
begin
  perform private.require_plain(p_changes);
  perform private.require_no_api_key(p_tenant_id);
  if v_old.status = 'revoked' then
    perform private.fail('PT409', 'api_key.revoked', 'The key was revoked.', 'Make a new one.');
  end if;
  v_key := private.api_key_with(v_old, p_changes);
  if v_key.expires_at is not distinct from v_old.expires_at then
    v_key.expires_at := null;  -- only a new one must lie ahead
    perform private.check_api_key(v_key);
    v_key.expires_at := v_old.expires_at;
  else
    perform private.check_api_key(v_key);
  end if;
  perform private.require_as_strong(p_tenant_id, v_key.role, v_key.scopes);
  if v_key.role = 'owner' then
    perform private.require(p_tenant_id, 'owners.write');
  end if;
  if (v_key.role, v_key.scopes) is distinct from (v_old.role, v_old.scopes) then
    perform private.revoke_invitations_of(p_tenant_id, p_api_key_id);
  end if;
  update public.api_keys k
  set name = v_key.name, role = v_key.role, scopes = v_key.scopes, expires_at = v_key.expires_at,
      allowed_ips = v_key.allowed_ips, rate_per_minute = v_key.rate_per_minute, version = v_key.version
  where k.id = p_api_key_id returning * into v_key;
  update public.memberships m set role = v_key.role, scopes = v_key.scopes, expires_at = v_key.expires_at
  where m.tenant_id = p_tenant_id and m.principal_id = p_api_key_id
    and (m.role, m.scopes, m.expires_at) is distinct from (v_key.role, v_key.scopes, v_key.expires_at);
  return private.api_key_answer(v_key);
end $$;
revoke all on function private.change_api_key(uuid, uuid, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.change_api_key(uuid, uuid, jsonb) to authenticated, service_role;

-- Changes a key at once: {"name", "role", "scopes", "expires_at", "allowed_ips", "rate_per_minute"}, what is left out stays; a
-- "version" must be the stored one. Returns the key. Raises what create_api_key does, api_key.not_found, api_key.revoked.
create function public.change_api_key(p_tenant_id uuid, p_api_key_id text, p_changes jsonb) returns jsonb
language sql volatile set search_path = ''
as $$ select private.change_api_key(p_tenant_id, private.api_key_id_of(p_api_key_id), p_changes) $$;
revoke all on function public.change_api_key(uuid, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function public.change_api_key(uuid, text, jsonb) to authenticated, service_role;
