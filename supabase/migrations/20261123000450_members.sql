-- Members.
--
-- People come by invitation: a row with the hash of a token that is shown once, to whoever invites, and is good for the
-- user of the invited address. Managers look after members, owners also after owners (owners.write).
--
-- A tenant keeps an owner: the last one can neither leave nor be demoted. Commands that touch roles lock the tenant
-- first and ask for the caller's permission again under the lock, so of two owners who demote each other one wins.
-- The one way past it is the deletion of an auth user, which is not ours to refuse: the oldest manager is promoted, and
-- without a manager the tenant is orphaned (tenants.orphaned_at, the event tenant.orphaned) until service_role, the
-- project, makes somebody an owner.

create table public.invitations (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  email text not null
    constraint invitations_email_form check (length(email) <= 254 and email ~ '^[^@[:space:][:cntrl:]]+@[^@[:space:][:cntrl:]]+$'),
  role text not null
    constraint invitations_role_known check (role in ('owner', 'manager', 'clerk', 'viewer', 'integration')),
  token_hash bytea not null constraint invitations_token_unique unique,
  status text not null default 'pending'
    constraint invitations_status_known check (status in ('pending', 'accepted', 'revoked')),
  invited_by uuid,
  accepted_by uuid,
  expires_at timestamptz not null,
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint invitations_accepted_by_somebody check ((status = 'accepted') = (accepted_by is not null))
);
comment on table public.invitations is 'Who was asked to join a tenant; the token itself is never stored';
create unique index invitations_one_pending on public.invitations (tenant_id, lower(email)) where status = 'pending';

alter table public.invitations enable row level security;
create policy "only within one's own tenants" on public.invitations
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "managers see their tenant's invitations" on public.invitations
  for select to authenticated using (tenant_id = any ((select private.tenants_with('members.read'))::uuid[]));
revoke all on public.invitations from anon, authenticated, service_role;
grant select (id, tenant_id, email, role, status, invited_by, accepted_by, expires_at, version, created_at, updated_at)
  on public.invitations to authenticated, service_role;
create trigger stamp_version before insert or update on public.invitations
  for each row execute function private.stamp_version();

comment on column public.tenants.orphaned_at is 'Since when nobody owns it: its last owner''s account was deleted';

insert into private.event_map (entity, operation, rank, when_field, when_null, verb, webhooks, description) values
  ('tenant',     'UPDATE', 1, 'orphaned_at', false, 'orphaned', false,
    'The account of its last owner was deleted: nobody owns it.'),
  ('tenant',     'UPDATE', 2, 'orphaned_at', true,  'adopted',  false,
    'It has an owner again.'),
  ('invitation', 'INSERT', 9, null,          null,  'created',  false,
    'Somebody was invited.'),
  ('invitation', 'UPDATE', 9, null,          null,  'updated',  false,
    'An invitation was accepted or revoked.'),
  ('invitation', 'DELETE', 9, null,          null,  'deleted',  false,
    'An invitation is gone.');
select private.log_changes_of('public.invitations', 'invitation', 'members.read', 'token_hash', 'email');

-- What a membership of this role and these scopes may do, sorted.
create function private.permissions_of(p_role text, p_scopes text[]) returns text[]
language sql stable security definer set search_path = ''
as $$
  select coalesce(array_agg(rp.permission order by rp.permission), '{}') from private.role_permissions rp
  where rp.role = p_role and (p_scopes is null or rp.permission = any (p_scopes))
$$;
revoke all on function private.permissions_of(text, text[]) from public, anon, authenticated, service_role;

-- Refuses to give what the caller has not: a role, or scopes of one, with a permission that is not the caller's own.
create function private.require_as_strong(p_tenant_id uuid, p_role text, p_scopes text[] default null) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_lacking text;
begin
  select string_agg(p, ', ' order by p) into v_lacking
  from unnest(private.permissions_of(p_role, p_scopes)) p
  where auth.role() is distinct from 'service_role' and p_tenant_id <> all (private.tenants_with(p));
  if v_lacking is not null then
    perform private.fail('PT403', 'access.denied', format('You cannot give what you lack yourself: %s.', v_lacking));
  end if;
end $$;
revoke all on function private.require_as_strong(uuid, text, text[]) from public, anon, authenticated, service_role;

-- What the caller may do: their role and its permissions, in one tenant or in all of theirs.
create function private.my_permissions(p_tenant_id uuid)
returns table (tenant_id uuid, role text, permissions text[])
language sql stable security definer set search_path = ''
as $$
  select m.tenant_id, m.role, private.permissions_of(m.role, m.scopes)
  from public.memberships m
  where m.principal_id = auth.uid() and (m.expires_at is null or m.expires_at > private.now()) and (p_tenant_id is null or m.tenant_id = p_tenant_id)
  order by m.tenant_id
$$;
revoke all on function private.my_permissions(uuid) from public, anon, authenticated, service_role;
grant execute on function private.my_permissions(uuid) to authenticated;

-- Role and permissions of the caller in a tenant; without p_tenant_id, in each of theirs. Callable by GET.
create function public.my_permissions(p_tenant_id uuid default null)
returns table (tenant_id uuid, role text, permissions text[])
language sql stable set search_path = ''
as $$ select * from private.my_permissions(p_tenant_id) $$;
revoke all on function public.my_permissions(uuid) from public, anon, authenticated, service_role;
grant execute on function public.my_permissions(uuid) to authenticated;

-- Makes role changes of a tenant wait for each other.
create function private.lock_roles(p_tenant_id uuid) returns void
language sql volatile security definer set search_path = ''
as $$ select from public.tenants t where t.id = p_tenant_id for no key update $$;
revoke all on function private.lock_roles(uuid) from public, anon, authenticated, service_role;

create function private.require_known_role(p_role text) returns void
language plpgsql set search_path = ''
as $$
begin
  if p_role is null or p_role not in ('owner', 'manager', 'clerk', 'viewer', 'integration') then
    perform private.fail('PT422', 'role.unknown', format('There is no role %s.', coalesce(p_role, 'null')),
      'Roles are owner, manager, clerk, viewer and integration.');
  end if;
end $$;
revoke all on function private.require_known_role(text) from public, anon, authenticated, service_role;

-- Refuses to take the last owner away. Call under lock_roles.
create function private.keep_an_owner(p_tenant_id uuid, p_principal_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if not exists (
    select from public.memberships m
    where m.tenant_id = p_tenant_id and m.role = 'owner' and m.kind = 'user' and m.principal_id <> p_principal_id
  ) then
    perform private.fail('PT409', 'member.last_owner', 'A tenant keeps an owner, and this is the last one.',
      'Make somebody else an owner first.');
  end if;
end $$;
revoke all on function private.keep_an_owner(uuid, uuid) from public, anon, authenticated, service_role;

-- Ends the invitations that somebody made with a role they no longer have.
create function private.revoke_invitations_of(p_tenant_id uuid, p_principal_id uuid) returns void
language sql security definer set search_path = ''
as $$
  update public.invitations set status = 'revoked'
  where tenant_id = p_tenant_id and invited_by = p_principal_id and status = 'pending'
$$;
revoke all on function private.revoke_invitations_of(uuid, uuid) from public, anon, authenticated, service_role;

create function private.invite_member(p_tenant_id uuid, p_email text, p_role text, p_expires_in interval) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_token constant text := 'inv_' || encode(extensions.gen_random_bytes(32), 'hex');
  v_invitation public.invitations;
begin
  perform private.require(p_tenant_id, 'members.write');
  perform private.lock_roles(p_tenant_id);
  perform private.require(p_tenant_id, case p_role when 'owner' then 'owners.write' else 'members.write' end);
  perform private.require_known_role(p_role);
  perform private.require_as_strong(p_tenant_id, p_role);
  if p_expires_in is null or p_expires_in < interval '1 minute' or p_expires_in > interval '30 days' then
    perform private.fail('PT422', 'invitation.expiry_invalid', 'An invitation is good for 1 minute to 30 days.');
  end if;
  if exists (
    select from auth.users u join public.memberships m on m.principal_id = u.id
    where m.tenant_id = p_tenant_id and lower(u.email) = lower(btrim(p_email))
  ) then
    perform private.fail('PT409', 'member.exists', format('%s belongs to the tenant already.', btrim(p_email)),
      'Change the role of the member.');
  end if;
  update public.invitations i set status = 'revoked'
  where i.tenant_id = p_tenant_id and lower(i.email) = lower(btrim(p_email)) and i.status = 'pending';
  insert into public.invitations (tenant_id, email, role, token_hash, invited_by, expires_at)
  values (p_tenant_id, btrim(p_email), p_role, sha256(convert_to(v_token, 'UTF8')), auth.uid(),
    -- nobody's invitation is good for longer than they are: an API key may expire
    least(private.now() + p_expires_in,
      (select m.expires_at from public.memberships m where m.tenant_id = p_tenant_id and m.principal_id = auth.uid())))
  returning * into v_invitation;
  return jsonb_build_object('invitation_id', v_invitation.id, 'tenant_id', p_tenant_id, 'email', v_invitation.email,
    'role', p_role, 'expires_at', v_invitation.expires_at, 'token', v_token);
end $$;
revoke all on function private.invite_member(uuid, text, text, interval) from public, anon, authenticated, service_role;
grant execute on function private.invite_member(uuid, text, text, interval) to authenticated, service_role;

-- Invites an address; an earlier invitation of it ends. The answer carries the token, this once: send it to them.
-- Raises role.unknown, member.exists, invitation.expiry_invalid. Managers may not invite owners.
create function public.invite_member(
  p_tenant_id uuid, p_email text, p_role text, p_expires_in interval default '7 days'
) returns jsonb
language sql volatile set search_path = ''
as $$ select private.invite_member(p_tenant_id, p_email, p_role, p_expires_in) $$;
revoke all on function public.invite_member(uuid, text, text, interval) from public, anon, authenticated, service_role;
grant execute on function public.invite_member(uuid, text, text, interval) to authenticated, service_role;

create function private.revoke_invitation(p_tenant_id uuid, p_invitation_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_invitation public.invitations;
begin
  perform private.require(p_tenant_id, 'members.write');
  update public.invitations i set status = 'revoked'
  where i.tenant_id = p_tenant_id and i.id = p_invitation_id and i.status = 'pending';
  select * into v_invitation from public.invitations i where i.tenant_id = p_tenant_id and i.id = p_invitation_id;
  if not found then
    perform private.fail('PT404', 'invitation.not_found', 'There is no such invitation.');
  end if;
  return to_jsonb(v_invitation) - 'token_hash';
end $$;
revoke all on function private.revoke_invitation(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function private.revoke_invitation(uuid, uuid) to authenticated, service_role;

-- Ends a pending invitation; one that was accepted stays so. Returns the invitation.
create function public.revoke_invitation(p_tenant_id uuid, p_invitation_id uuid) returns jsonb
language sql volatile set search_path = ''
as $$ select private.revoke_invitation(p_tenant_id, p_invitation_id) $$;
revoke all on function public.revoke_invitation(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function public.revoke_invitation(uuid, uuid) to authenticated, service_role;

-- Refuses a pending invitation that the caller cannot take.
create function private.check_invitation(p_invitation public.invitations) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_invitation.id is null then
    perform private.fail('PT404', 'invitation.not_found', 'No invitation has this token.');
  end if;
  if not exists (
    select from auth.users u where u.id = auth.uid() and lower(u.email) = lower(p_invitation.email)
  ) then
    perform private.fail('PT403', 'invitation.not_yours', 'The invitation is for another address than the one you signed in with.');
  end if;
  if p_invitation.status <> 'pending' or p_invitation.expires_at <= private.now() then
    perform private.fail('PT410', 'invitation.ended', 'The invitation was used or revoked, or is too old.', 'Ask for another one.');
  end if;
end $$;
revoke all on function private.check_invitation(public.invitations) from public, anon, authenticated, service_role;

create function private.accept_invitation(p_token text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_hash constant bytea := sha256(convert_to(coalesce(p_token, ''), 'UTF8'));
  v_tenant_id constant uuid := (select i.tenant_id from public.invitations i where i.token_hash = v_hash);
  v_invitation public.invitations;
  v_member public.memberships;
begin
  if auth.uid() is null then
    perform private.fail('PT401', 'auth.required', 'Sign in with the invited address to accept.');
  end if;
  perform private.lock_roles(v_tenant_id);
  select * into v_invitation from public.invitations i where i.token_hash = v_hash for update;
  select * into v_member from public.memberships m
  where m.tenant_id = v_tenant_id and m.principal_id = auth.uid();
  if v_member.id is not null and v_invitation.accepted_by = auth.uid() then
    return to_jsonb(v_member);  -- the answer to the first call may have been lost
  end if;
  perform private.check_invitation(v_invitation);
  if v_member.id is not null then
    perform private.fail('PT409', 'member.exists', 'You belong to the tenant already.');
  end if;
  insert into public.memberships (tenant_id, principal_id, role) values (v_tenant_id, auth.uid(), v_invitation.role)
  returning * into v_member;
  update public.invitations i set status = 'accepted', accepted_by = auth.uid() where i.id = v_invitation.id;
  if v_member.role = 'owner' then
    update public.tenants t set orphaned_at = null where t.id = v_tenant_id and t.orphaned_at is not null;
  end if;
  return to_jsonb(v_member);
end $$;
revoke all on function private.accept_invitation(text) from public, anon, authenticated, service_role;
grant execute on function private.accept_invitation(text) to authenticated;

-- Joins the tenant that invited the caller's address. Returns the membership; calling again gives it again.
-- Raises invitation.not_found, invitation.not_yours, invitation.ended, member.exists.
create function public.accept_invitation(p_token text) returns jsonb
language sql volatile set search_path = ''
as $$ select private.accept_invitation(p_token) $$;
revoke all on function public.accept_invitation(text) from public, anon, authenticated, service_role;
grant execute on function public.accept_invitation(text) to authenticated;

-- The membership, once the tenant's roles are locked and the caller's right to touch it is certain.
create function private.open_membership(p_tenant_id uuid, p_principal_id uuid, p_new_role text)
returns public.memberships
language plpgsql security definer set search_path = ''
as $$
declare
  v_leaves constant boolean := p_new_role is null and p_principal_id is not distinct from auth.uid();
  v_member public.memberships;
begin
  perform private.require(p_tenant_id, case when v_leaves then 'tenant.read' else 'members.write' end);
  perform private.lock_roles(p_tenant_id);
  select * into v_member from public.memberships m
  where m.tenant_id = p_tenant_id and m.principal_id = p_principal_id for update;
  if not v_leaves then
    perform private.require(p_tenant_id,
      case when 'owner' in (v_member.role, p_new_role) then 'owners.write' else 'members.write' end);
  end if;
  if v_member.id is null then
    perform private.fail('PT404', 'member.not_found', 'Nobody of this id belongs to the tenant.');
  end if;
  if p_new_role is not null and v_member.kind = 'api_key' then
    perform private.fail('PT409', 'member.is_api_key', 'This member is an API key, and its scopes belong to its role.',
      'Use change_api_key.');
  end if;
  if p_new_role is not null then
    perform private.require_as_strong(p_tenant_id, p_new_role);
  end if;
  if v_member.kind = 'user' and v_member.role = 'owner' and p_new_role is distinct from 'owner' then
    perform private.keep_an_owner(p_tenant_id, p_principal_id);
  end if;
  return v_member;
end $$;
revoke all on function private.open_membership(uuid, uuid, text) from public, anon, authenticated, service_role;

create function private.change_role(p_tenant_id uuid, p_principal_id uuid, p_role text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_member public.memberships;
begin
  perform private.require(p_tenant_id, 'members.write');
  perform private.require_known_role(p_role);
  v_member := private.open_membership(p_tenant_id, p_principal_id, p_role);
  if v_member.role <> p_role then
    perform private.revoke_invitations_of(p_tenant_id, p_principal_id);
  end if;
  update public.memberships m set role = p_role where m.id = v_member.id returning * into v_member;
  if p_role = 'owner' then
    update public.tenants t set orphaned_at = null where t.id = p_tenant_id and t.orphaned_at is not null;
  end if;
  return to_jsonb(v_member);
end $$;
revoke all on function private.change_role(uuid, uuid, text) from public, anon, authenticated, service_role;
grant execute on function private.change_role(uuid, uuid, text) to authenticated, service_role;

-- Gives a member another role, at once: tokens carry no roles. Only owners make or demote owners, never the last.
-- Returns the membership. Raises role.unknown, member.not_found, member.last_owner, member.is_api_key.
create function public.change_role(p_tenant_id uuid, p_principal_id uuid, p_role text) returns jsonb
language sql volatile set search_path = ''
as $$ select private.change_role(p_tenant_id, p_principal_id, p_role) $$;
revoke all on function public.change_role(uuid, uuid, text) from public, anon, authenticated, service_role;
grant execute on function public.change_role(uuid, uuid, text) to authenticated, service_role;

create function private.remove_member(p_tenant_id uuid, p_principal_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_member public.memberships;
begin
  v_member := private.open_membership(p_tenant_id, p_principal_id, null);
  if v_member.kind = 'api_key' then
    if p_principal_id is distinct from auth.uid() then
      perform private.require(p_tenant_id, 'api_keys.write');
      perform private.require_no_api_key(p_tenant_id);
    end if;
    perform private.end_api_key(p_principal_id);
    return to_jsonb(v_member);
  end if;
  perform private.revoke_invitations_of(p_tenant_id, p_principal_id);
  delete from public.memberships m where m.id = v_member.id;
  return to_jsonb(v_member);
end $$;
revoke all on function private.remove_member(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function private.remove_member(uuid, uuid) to authenticated, service_role;

-- Removes a member, at once; anyone may leave. An API key is revoked by it. Returns the membership that was.
-- Raises member.not_found, member.last_owner.
create function public.remove_member(p_tenant_id uuid, p_principal_id uuid) returns jsonb
language sql volatile set search_path = ''
as $$ select private.remove_member(p_tenant_id, p_principal_id) $$;
revoke all on function public.remove_member(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function public.remove_member(uuid, uuid) to authenticated, service_role;

-- AFTER row trigger of auth.users: whoever is deleted, or marked so, leaves every tenant.
create function private.leave_tenants() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_membership public.memberships;
begin
  for v_membership in
    select m.* from public.memberships m where m.principal_id = old.id order by m.tenant_id
  loop
    perform private.lock_roles(v_membership.tenant_id);
    perform private.revoke_invitations_of(v_membership.tenant_id, old.id);
    delete from public.memberships m where m.id = v_membership.id;
    continue when exists (
      select from public.memberships m
      where m.tenant_id = v_membership.tenant_id and m.role = 'owner' and m.kind = 'user'
    );
    update public.memberships m set role = 'owner'
    where m.id = (
      select c.id from public.memberships c where c.tenant_id = v_membership.tenant_id and c.role = 'manager' and c.kind = 'user'
      order by c.created_at, c.id limit 1
    );
    if not found then
      update public.tenants t set orphaned_at = private.now()
      where t.id = v_membership.tenant_id and t.orphaned_at is null;
    end if;
  end loop;
  return null;
end $$;
revoke all on function private.leave_tenants() from public, anon, authenticated, service_role;
create trigger pms_leave_tenants after delete on auth.users
  for each row execute function private.leave_tenants();
create trigger pms_leave_tenants_marked after update of deleted_at on auth.users
  for each row when (old.deleted_at is null and new.deleted_at is not null) execute function private.leave_tenants();
