-- Notifications.
--
-- What a tenant's people must know although nobody asked: an endpoint that fails, and later conflicts and stock. A row
-- is written in the transaction that found the reason, shows up through Realtime, and waits until somebody marks it
-- as read. `key` makes saying the same thing twice one row.

create table public.notifications (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  key text not null constraint notifications_key_length check (length(key) <= 200),
  kind text not null constraint notifications_kind_form check (kind ~ '^[a-z_]+\.[a-z_]+$'),
  severity text not null constraint notifications_severity_known check (severity in ('info', 'warning', 'error')),
  subject_id uuid,
  title text not null,
  detail text not null default '',
  created_at timestamptz not null default private.now(),
  read_at timestamptz,
  read_by uuid,
  constraint notifications_once unique (tenant_id, key)
);
comment on table public.notifications is 'What a tenant''s people must know; written by the database, read by owners and managers';
comment on column public.notifications.subject_id is 'What it is about, a webhook endpoint for example';
create index notifications_newest on public.notifications (tenant_id, created_at desc, id);

alter table public.notifications enable row level security;
create policy "only within one's own tenants" on public.notifications
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "managers see their tenant's notifications" on public.notifications
  for select to authenticated using (tenant_id = any ((select private.tenants_with('notifications.read'))::uuid[]));
revoke all on public.notifications from anon, authenticated, service_role;
grant select on public.notifications to authenticated, service_role;

-- Says something to a tenant's people, once per key.
create function private.notify_tenant(
  p_tenant_id uuid, p_key text, p_kind text, p_severity text, p_subject_id uuid, p_title text, p_detail text
) returns void
language sql volatile security definer set search_path = ''
as $$
  insert into public.notifications (tenant_id, key, kind, severity, subject_id, title, detail)
  values (p_tenant_id, p_key, p_kind, p_severity, p_subject_id, p_title, p_detail)
  on conflict (tenant_id, key) do nothing
$$;
revoke all on function private.notify_tenant(uuid, text, text, text, uuid, text, text)
  from public, anon, authenticated, service_role;

create function private.mark_notifications_read(p_tenant_id uuid, p_ids uuid[]) returns integer
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_marked integer;
begin
  perform private.require(p_tenant_id, 'notifications.read');
  update public.notifications n set read_at = private.now(), read_by = auth.uid()
  where n.tenant_id = p_tenant_id and n.read_at is null and (p_ids is null or n.id = any (p_ids));
  get diagnostics v_marked = row_count;
  return v_marked;
end $$;
revoke all on function private.mark_notifications_read(uuid, uuid[]) from public, anon, authenticated, service_role;
grant execute on function private.mark_notifications_read(uuid, uuid[]) to authenticated, service_role;

-- Marks notifications of a tenant as read, all of them without p_ids; answers how many were unread.
create function public.mark_notifications_read(p_tenant_id uuid, p_ids uuid[] default null) returns integer
language sql volatile set search_path = ''
as $$ select private.mark_notifications_read(p_tenant_id, p_ids) $$;
revoke all on function public.mark_notifications_read(uuid, uuid[]) from public, anon, authenticated, service_role;
grant execute on function public.mark_notifications_read(uuid, uuid[]) to authenticated, service_role;
