-- Tenancy.
--
-- A tenant is a company. A principal (a user of auth.users, or an API key) belongs to tenants by memberships, each with
-- one role; a role is a set of permissions, kept as data. Every policy asks one question, "in which tenants may the
-- caller do this?", and compares the row's tenant_id with the answer, which is computed once a statement:
--
--   tenant_id = any ((select private.tenants_with('products.write'))::uuid[])
--
-- An API key's membership may be cut to some of its role's permissions (scopes) and may end by itself (expires_at): what
-- the answer leaves out, no policy and no command gives back.

create table public.tenants (
  id uuid primary key default gen_random_uuid(),
  slug text not null constraint tenants_slug_unique unique
    constraint tenants_slug_form check (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
  name text not null
    constraint tenants_name_length check (length(name) between 1 and 200)
    constraint tenants_name_clean check (private.is_clean(name)),
  currency text not null default 'USD' constraint tenants_currency_form check (currency ~ '^[A-Z]{3}$'),
  orphaned_at timestamptz,
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now()
);
comment on table public.tenants is 'Companies; made by create_tenant';

create table public.memberships (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  principal_id uuid not null,
  role text not null
    constraint memberships_role_known check (role in ('owner', 'manager', 'clerk', 'viewer', 'integration')),
  kind text not null default 'user' constraint memberships_kind_known check (kind in ('user', 'api_key')),
  scopes text[],
  expires_at timestamptz,
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint memberships_one_role unique (tenant_id, principal_id),
  constraint memberships_limits_of_keys check (kind = 'api_key' or num_nonnulls(scopes, expires_at) = 0)
);
comment on table public.memberships is 'Who belongs to which tenant, in which role';
comment on column public.memberships.kind is 'Whether the principal is a user or an API key';
comment on column public.memberships.scopes is 'The permissions that are left of the role; null: all of them';
comment on column public.memberships.expires_at is 'When it ends by itself; null: never';
create index memberships_by_principal on public.memberships (principal_id, role, tenant_id);

create table private.role_permissions (
  role text not null,
  permission text not null,
  primary key (role, permission)
);
comment on table private.role_permissions is 'What each role may do';
alter table private.role_permissions enable row level security;
revoke all on private.role_permissions from public, anon, authenticated, service_role;

insert into private.role_permissions (role, permission)
select r.role, p.permission
from (values
  ('tenant.read',     '{owner,manager,clerk,viewer,integration}'::text[]),
  ('tenant.write',    '{owner}'),
  ('members.read',    '{owner,manager}'),
  ('members.write',   '{owner,manager}'),
  ('owners.write',    '{owner}'),
  ('audit.read',      '{owner,manager}'),
  ('customers.redact', '{owner,manager}'),
  ('tenant.export',   '{owner}'),
  ('tenant.delete',   '{owner}'),
  ('products.read',   '{owner,manager,clerk,viewer,integration}'),
  ('products.write',  '{owner,manager,integration}'),
  ('products.delete', '{owner,manager}'),
  ('rules.write',     '{owner,manager}'),
  ('inventory.read',  '{owner,manager,clerk,viewer,integration}'),
  ('inventory.write', '{owner,manager,clerk,integration}'),
  ('inventory.repair', '{owner,manager}'),
  ('locations.write', '{owner,manager}'),
  ('orders.read',     '{owner,manager,clerk,viewer,integration}'),
  ('orders.write',    '{owner,manager,clerk,integration}'),
  ('reports.read',    '{owner,manager}'),
  ('webhooks.read',   '{owner,manager}'),
  ('webhooks.write',  '{owner,manager}'),
  ('notifications.read', '{owner,manager}')
) as p (permission, roles)
cross join lateral unnest(p.roles) as r (role);

-- The tenants in which the caller has a permission. Source of every policy; stable, so a policy that wraps it in a
-- sub-select runs it once a statement. plpgsql keeps its plan for the session, where sql would plan each call anew:
-- that was half the time of a page of products. Keys are looked up, whatever the plan's age.
create function private.tenants_with(p_permission text) returns uuid[]
language plpgsql stable security definer set search_path = '' set enable_seqscan = off
as $$
begin
  return (
    select coalesce(array_agg(m.tenant_id), '{}')
    from public.memberships m
    join private.role_permissions rp on rp.role = m.role and rp.permission = p_permission
    where m.principal_id = auth.uid()
      and (m.scopes is null or p_permission = any (m.scopes)) and (m.expires_at is null or m.expires_at > private.now())
  );
end $$;
revoke all on function private.tenants_with(text) from public, anon, authenticated, service_role;
grant execute on function private.tenants_with(text) to authenticated, service_role;

-- The tenants that the caller belongs to, in whatever role: the restrictive guard of every table.
create function private.my_tenants() returns uuid[]
language plpgsql stable security definer set search_path = '' set enable_seqscan = off
as $$
begin
  return (
    select coalesce(array_agg(m.tenant_id), '{}') from public.memberships m
    where m.principal_id = auth.uid() and (m.expires_at is null or m.expires_at > private.now())
  );
end $$;
revoke all on function private.my_tenants() from public, anon, authenticated, service_role;
grant execute on function private.my_tenants() to authenticated, service_role;

-- For commands: refuses a caller without the permission. service_role acts for the project and passes. Says
-- "not found" rather than "forbidden" to strangers, so that nobody can probe for tenants.
create function private.require(p_tenant_id uuid, p_permission text) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_tenant_id is null then
    perform private.fail('PT400', 'tenant.missing', 'p_tenant_id must name a tenant.');
  end if;
  if auth.role() = 'service_role' or p_tenant_id = any (private.tenants_with(p_permission)) then
    return;
  end if;
  if p_tenant_id = any (private.my_tenants()) then
    perform private.fail('PT403', 'access.denied',
      format('Your role, or the scopes of your API key, lacks the permission %s.', p_permission));
  end if;
  perform private.fail('PT404', 'tenant.not_found', format('There is no tenant %s for you.', p_tenant_id));
end $$;
revoke all on function private.require(uuid, text) from public, anon, authenticated, service_role;
grant execute on function private.require(uuid, text) to authenticated, service_role;

alter table public.tenants enable row level security;
create policy "only one's own tenants" on public.tenants
  as restrictive for all to authenticated using (id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant" on public.tenants
  for select to authenticated using (id = any ((select private.tenants_with('tenant.read'))::uuid[]));
create policy "owners change their tenant" on public.tenants
  for update to authenticated
  using (id = any ((select private.tenants_with('tenant.write'))::uuid[]))
  with check (id = any ((select private.tenants_with('tenant.write'))::uuid[]));
revoke all on public.tenants from anon, authenticated, service_role;
grant select on public.tenants to authenticated, service_role;
grant update (name, currency, version) on public.tenants to authenticated;
create trigger stamp_version before insert or update on public.tenants
  for each row execute function private.stamp_version();

alter table public.memberships enable row level security;
create policy "only within one's own tenants" on public.memberships
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see themselves, managers see everyone" on public.memberships
  for select to authenticated
  using (
    principal_id = (select auth.uid())
    or tenant_id = any ((select private.tenants_with('members.read'))::uuid[])
  );
revoke all on public.memberships from anon, authenticated, service_role;
grant select on public.memberships to authenticated, service_role;
create trigger stamp_version before insert or update on public.memberships
  for each row execute function private.stamp_version();

create function private.create_tenant(p_slug text, p_name text, p_currency text) returns public.tenants
language plpgsql security definer set search_path = ''
as $$
declare
  v_tenant public.tenants;
begin
  if auth.uid() is null then
    perform private.fail('PT401', 'auth.required', 'Sign in to create a tenant: its first owner is the caller.');
  end if;
  -- it would be an owner for ever, past its scopes, its end and its revocation; a token outlives the membership
  if exists (select from public.api_keys k where k.id = auth.uid()) then
    perform private.fail('PT403', 'tenant.by_api_key', 'An API key makes no tenants.', 'Let a person do it.');
  end if;
  insert into public.tenants (slug, name, currency) values (p_slug, p_name, p_currency)
  on conflict (slug) do nothing
  returning * into v_tenant;
  if v_tenant.id is null then
    perform private.fail('PT409', 'tenant.slug_taken', format('The slug %s is taken.', p_slug), 'Choose another slug.');
  end if;
  insert into public.memberships (tenant_id, principal_id, role) values (v_tenant.id, auth.uid(), 'owner');
  return v_tenant;
end $$;
revoke all on function private.create_tenant(text, text, text) from public, anon, authenticated, service_role;
grant execute on function private.create_tenant(text, text, text) to authenticated;

-- Makes a tenant whose owner is the caller.
create function public.create_tenant(p_slug text, p_name text, p_currency text default 'USD')
returns public.tenants
language sql volatile set search_path = ''
as $$ select private.create_tenant(p_slug, p_name, p_currency) $$;
revoke all on function public.create_tenant(text, text, text) from public, anon, authenticated, service_role;
grant execute on function public.create_tenant(text, text, text) to authenticated;
