-- Sync: what happened, for clients that keep a copy.
--
-- A client reads its tenant's log page by page. A page is a range of numbers: it says from where through where it was read, and
-- has those of its events that the caller may read. So what one may not read never looks like a loss. And because the log has no
-- gap, a page with one is refused: the client then begins again, with a cursor that is taken first and tables that are read
-- after it, so that what it reads is at least as new as its cursor.
--
-- A client that gives its name leaves word of how far it is: the cursor that it sends is what it safely has.

create table public.sync_clients (
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  principal_id uuid not null,
  client text not null constraint sync_clients_client_form check (client ~ '^[A-Za-z0-9_.-]{1,64}$'),
  epoch text not null,
  seq bigint not null constraint sync_clients_seq_not_negative check (seq >= 0),
  behind_since timestamptz,
  pulled_at timestamptz not null default private.now(),
  pulled_on date not null generated always as ((pulled_at at time zone 'UTC')::date) stored,
  first_seen_at timestamptz not null default private.now(),
  primary key (tenant_id, principal_id, client)
);
comment on table public.sync_clients is 'How far the clients are that keep a copy';
comment on column public.sync_clients.seq is 'The cursor that it sent: it has everything up to here; 0: it began';
comment on column public.sync_clients.behind_since is
  'When the event after seq was dispatched, or the oldest that was kept; null: there was none when it pulled';
comment on column public.sync_clients.pulled_at is 'When it pulled last, up to 5 s ago';
comment on column public.sync_clients.pulled_on is 'The day of that, in UTC: an index on the moment would move with every pull';
create index sync_clients_by_day on public.sync_clients (pulled_on);
-- No index on what moves, and room for it: a pull rewrites its row in place.
alter table public.sync_clients set (fillfactor = 50);

alter table public.sync_clients enable row level security;
create policy "only within one's own tenants" on public.sync_clients
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "people see their own clients, managers see everyone's" on public.sync_clients
  for select to authenticated
  using (
    principal_id = (select auth.uid())
    or tenant_id = any ((select private.tenants_with('sync.manage'))::uuid[])
  );
revoke all on public.sync_clients from anon, authenticated, service_role;
grant select on public.sync_clients to authenticated, service_role;

-- Refuses what is no name of a client.
create function private.check_client(p_client text) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if coalesce(p_client, '') !~ '^[A-Za-z0-9_.-]{1,64}$' then
    perform private.fail('PT400', 'sync.client_invalid', 'p_client must be 1 to 64 letters, digits, "_", "." or "-".');
  end if;
end $$;
revoke all on function private.check_client(text) from public, anon, authenticated, service_role;
grant execute on function private.check_client(text) to authenticated, service_role;

-- Notes how far the caller's client is, when that is news or the last note is 5 s old. A row that a twin of the call holds is
-- left to it: whoever notes may hold the lock of dispatch, and all tenants would wait for that row. Of a principal's clients in a
-- tenant the 100 that pulled last are known: a name costs nothing, and a new one that works is worth more than one that does not.
create function private.note_client(p_tenant_id uuid, p_client text, p_epoch text, p_seq bigint, p_behind_since timestamptz)
returns void
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_principal constant uuid := auth.uid();
  v_now constant timestamptz := private.now();
  v_known public.sync_clients;
begin
  select * into v_known from public.sync_clients c
  where c.tenant_id = p_tenant_id and c.principal_id = v_principal and c.client = p_client;
  if v_known.client is null then
    insert into public.sync_clients (tenant_id, principal_id, client, epoch, seq, behind_since, pulled_at, first_seen_at)
    values (p_tenant_id, v_principal, p_client, p_epoch, p_seq, p_behind_since, v_now, v_now)
    on conflict do nothing;
    delete from public.sync_clients c
    where c.tenant_id = p_tenant_id and c.principal_id = v_principal and c.client in (
      select o.client from public.sync_clients o
      where o.tenant_id = p_tenant_id and o.principal_id = v_principal and o.client in (
        select i.client from public.sync_clients i
        where i.tenant_id = p_tenant_id and i.principal_id = v_principal
        order by i.client = p_client desc, i.pulled_at desc, i.client offset 100
      )
      for update skip locked
    );
  elsif (v_known.epoch, v_known.seq) <> (p_epoch, p_seq) or v_known.pulled_at <= v_now - interval '5 s' then
    perform from public.sync_clients c
    where c.tenant_id = p_tenant_id and c.principal_id = v_principal and c.client = p_client
    for no key update skip locked;
    if found then
      update public.sync_clients c
      set epoch = p_epoch, seq = p_seq, pulled_at = v_now,
          -- it lacks what it lacked, also when the log has forgotten that
          behind_since = case when (c.epoch, c.seq) = (p_epoch, p_seq) then coalesce(c.behind_since, p_behind_since) else p_behind_since end
      where c.tenant_id = p_tenant_id and c.principal_id = v_principal and c.client = p_client;
    end if;
  end if;
end $$;
revoke all on function private.note_client(uuid, text, text, bigint, timestamptz)
  from public, anon, authenticated, service_role;

-- The last number of a tenant's log, and the first that is kept (null when none is).
create function private.log_reach(p_tenant_id uuid, out head bigint, out first bigint)
language sql stable set search_path = ''
as $$
  select coalesce((select t.seq from private.tenant_log t where t.tenant_id = p_tenant_id), 0),
    (select e.seq from public.events e where e.tenant_id = p_tenant_id order by e.seq limit 1)
$$;
revoke all on function private.log_reach(uuid) from public, anon, authenticated, service_role;

-- Why a client whose cursor is (p_epoch, p_seq) cannot go on from there: 'start', 'epoch', 'ahead', 'retention'; null when it can.
create function private.why_snapshot(p_epoch text, p_seq bigint, p_known_epoch text, p_head bigint, p_first bigint) returns text
language sql immutable set search_path = ''
as $$
  select case
    when p_seq is null then 'start'
    when p_epoch <> p_known_epoch then 'epoch'
    when p_seq > p_head then 'ahead'
    when p_seq < p_head and p_seq + 1 < coalesce(p_first, p_head + 1) then 'retention'
  end
$$;
revoke all on function private.why_snapshot(text, bigint, text, bigint, bigint)
  from public, anon, authenticated, service_role;

-- The entities of whose rows the caller may read events.
create function private.readable_entities(p_tenant_id uuid) returns text[]
language sql stable security definer set search_path = ''
as $$
  select coalesce(array_agg(l.entity order by l.entity), '{}') from private.logged_entities l
  where auth.role() = 'service_role' or p_tenant_id = any (private.tenants_with(l.read_permission))
$$;
revoke all on function private.readable_entities(uuid) from public, anon, authenticated, service_role;

create function private.pull_changes(p_tenant_id uuid, p_cursor text, p_limit integer, p_wait boolean, p_client text)
returns json
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_limit constant integer := least(greatest(coalesce(p_limit, 500), 1), 5000);
  v_epoch constant text := (select e.epoch from private.log_epoch e);
  v_cursor text[];
  v_after bigint;
  v_reach record;
  v_why text;
  v_through bigint;
  v_count bigint;
  v_changes text;
  v_since timestamptz;
  v_behind boolean := false;
  v_entities constant text[] := private.readable_entities(p_tenant_id);
begin
  perform private.require(p_tenant_id, 'tenant.read');
  if p_client is not null then
    perform private.check_client(p_client);
  end if;
  if p_cursor is not null then
    v_cursor := regexp_match(p_cursor, '^([0-9a-f]{1,32}):([0-9]{1,18})$');
    if v_cursor is null then
      perform private.fail('PT400', 'sync.cursor_invalid', 'p_cursor is not one that pull_changes gave.',
        'Send it as it came, or null to begin.');
    end if;
    v_after := v_cursor[2]::bigint;
  end if;
  if p_wait then
    -- so that callers read their own writes; others are served by the workers
    v_behind := private.dispatch_for(p_tenant_id) is not null;
  end if;

  v_reach := private.log_reach(p_tenant_id);
  v_why := private.why_snapshot(v_cursor[1], v_after, v_epoch, v_reach.head, v_reach.first);
  if v_why is null then
    select count(*), max(p.seq), min(p.dispatched_at),
      string_agg('{"entity":' || to_json(p.entity) || ',"entity_id":"' || p.entity_id || '","version":' || p.version
        || ',"command_id":' || coalesce(to_json(p.command_id)::text, 'null') || ',"event":' || p.body || '}', ',' order by p.seq)
        filter (where p.readable)
    into v_count, v_through, v_since, v_changes
    from (
      select e.seq, e.dispatched_at, e.entity, e.entity_id, e.version, e.command_id, e.body,
        e.entity = any (v_entities) as readable
      from public.events e
      where e.tenant_id = p_tenant_id and e.seq > v_after and e.seq <= v_reach.head
      order by e.seq limit v_limit
    ) p;
    v_through := coalesce(v_through, v_after);
    if v_count <> v_through - v_after or v_count < least(v_limit, v_reach.head - v_after) then
      raise warning 'the log of tenant % has a gap after %', p_tenant_id, v_after;
      v_why := 'gap';
    end if;
  end if;
  if v_why is not null then
    -- the first that it lacks of what is kept; of another history it has nothing
    select e.dispatched_at into v_since from public.events e
    where e.tenant_id = p_tenant_id and e.seq > case when v_why in ('retention', 'gap') then v_after else 0 end
    order by e.seq limit 1;
  end if;
  if p_client is not null and auth.uid() is not null then
    perform private.note_client(p_tenant_id, p_client, coalesce(v_cursor[1], v_epoch), coalesce(v_after, 0), v_since);
  end if;
  if v_why is not null then
    return jsonb_build_object('must_snapshot', v_why, 'epoch', v_epoch, 'head', v_reach.head,
      'cursor', v_epoch || ':' || v_reach.head, 'entities', v_entities)::json;
  end if;
  -- put together as text, with the bodies as they are: of type jsonb each would be taken apart and written again
  return ('{"epoch":' || to_json(v_epoch) || ',"from":' || v_after + 1 || ',"through":' || v_through || ',"head":' || v_reach.head
    || ',"behind":' || v_behind || ',"cursor":"' || v_epoch || ':' || v_through || '","entities":' || to_json(v_entities) || ',"changes":[' || coalesce(v_changes, '') || ']}')::json;
end $$;
revoke all on function private.pull_changes(uuid, text, integer, boolean, text) from public, anon, authenticated, service_role;
grant execute on function private.pull_changes(uuid, text, integer, boolean, text) to authenticated, service_role;

-- What happened since p_cursor. {"epoch", "from", "through", "head", "behind", "cursor", "entities", "changes": [{"entity",
-- "entity_id", "version", "command_id", "event"}]}: every event from `from` through `through` was looked at, and those of `entities`, which
-- you may read, are in `changes`, `event` being what webhooks get. You have everything when `through` is `head`. Rows are to be
-- applied by version. {"must_snapshot": why, "epoch", "head", "cursor", "entities"}: read the tables, then go on from this cursor.
-- Other entities than before: your rights have changed, so read the tables again.
-- p_wait dispatches first what is committed, so that you read your own writes. If that is more than a slice, `behind` tells that
-- some of it is not in the log yet: ask again. p_client is the client's name: with it sync_clients shows how far it is.
create function public.pull_changes(
  p_tenant_id uuid, p_cursor text default null, p_limit integer default 500, p_wait boolean default false,
  p_client text default null
) returns json
language sql volatile set search_path = ''
as $$ select private.pull_changes(p_tenant_id, p_cursor, p_limit, p_wait, p_client) $$;
revoke all on function public.pull_changes(uuid, text, integer, boolean, text) from public, anon, authenticated, service_role;
grant execute on function public.pull_changes(uuid, text, integer, boolean, text) to authenticated, service_role;
