-- Sync: how well it goes.
--
-- A client that names itself when it pulls and pushes can be watched: how far behind the log its copy is, how long its changes
-- wait, what became of the last that was refused. sync_status tells a tenant's people, sync_health all of it together for
-- /metrics. Both look at so much and no more: a lag is counted over the last 10,000 events, lists end at 10,000 rows, and names, which
-- cost a client nothing, at 1,000 that pull and 1,000 that push.

-- See public.sync_status. What people may see of others' clients is a range of principals: all, or themselves.
create function private.sync_status(p_tenant_id uuid) returns table (
  client text, principal_id uuid, entity text, last_pulled_at timestamptz, last_pushed_at timestamptz, lag_events bigint,
  lag_seconds numeric, pending bigint, oldest_pending_seconds numeric, conflicts bigint, last_error jsonb
)
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_now constant timestamptz := private.now();
  v_today constant date := private.today();
  v_all constant boolean := auth.role() = 'service_role' or p_tenant_id = any (private.tenants_with('sync.manage'));
  v_from constant uuid := case when v_all then '00000000-0000-0000-0000-000000000000' else auth.uid() end;
  v_to constant uuid := case when v_all then 'ffffffff-ffff-ffff-ffff-ffffffffffff' else auth.uid() end;
  v_epoch constant text := (select g.epoch from private.log_epoch g);
  v_head bigint;
begin
  perform private.require(p_tenant_id, 'tenant.read');
  v_head := (private.log_reach(p_tenant_id)).head;
  return query
  -- Who pushed, by the index, one step a client however many changes it has.
  with recursive pushing (principal_id, client, n) as (
    (
      select c.principal_id, c.client, 1 from public.sync_changes c
      where c.tenant_id = p_tenant_id and c.principal_id between v_from and v_to
      order by c.principal_id, c.client limit 1
    )
    union all
    select n.principal_id, n.client, p.n + 1
    from pushing p cross join lateral (
      select c.principal_id, c.client from public.sync_changes c
      where c.tenant_id = p_tenant_id and c.principal_id <= v_to and (c.principal_id, c.client) > (p.principal_id, p.client)
      order by c.principal_id, c.client limit 1
    ) n
    where p.n < 1000
  ), pulling as materialized (
    -- one of another history has nothing of this one
    select s.principal_id, s.client, s.pulled_at, s.behind_since,
      case when s.epoch = v_epoch and s.seq <= v_head then s.seq else 0 end as reached
    from public.sync_clients s
    where s.tenant_id = p_tenant_id and s.principal_id between v_from and v_to
    order by s.principal_id, s.client limit 1000
  ), known as materialized (
    select p.principal_id, p.client from pushing p union select p.principal_id, p.client from pulling p
  ), entities as materialized (
    select e.entity from private.sync_entities e join private.logged_entities l on l.entity = e.entity
    where auth.role() = 'service_role' or p_tenant_id = any (private.tenants_with(l.read_permission))
  ), recent as (
    select e.entity, e.seq, e.dispatched_at from public.events e
    where e.tenant_id = p_tenant_id and e.seq <= v_head
      and e.seq > greatest(v_head - 10000, (select coalesce(min(p.reached), v_head) from pulling p))
      and e.entity in (select n.entity from entities n)
  ), lags as materialized (
    -- Events and cursors in one line, from the newest on: what came before a cursor is what it lacks.
    select x.principal_id, x.client, x.entity, count(x.dispatched_at) over later as events, min(x.dispatched_at) over later as since
    from (
      select r.entity, r.seq, 1 as place, r.dispatched_at, null::uuid as principal_id, null::text as client from recent r
      union all
      select n.entity, p.reached, 0, null, p.principal_id, p.client from pulling p cross join entities n
    ) x
    window later as (partition by x.entity order by x.seq desc, x.place rows unbounded preceding)
  ), waiting as materialized (
    select c.principal_id, c.client, c.entity, count(*) as changes, min(c.pushed_at) as since
    from (
      select w.* from public.sync_changes w
      where w.tenant_id = p_tenant_id and w.status = 'pending' and w.principal_id between v_from and v_to
      order by w.seq limit 10000
    ) c
    group by c.principal_id, c.client, c.entity
  ), undecided as materialized (
    select c.principal_id, c.client, c.entity, count(*) as conflicts
    from (
      select o.change_id from public.sync_conflicts o
      where o.tenant_id = p_tenant_id and o.winner is null and o.principal_id between v_from and v_to limit 10000
    ) o
    join public.sync_changes c on c.id = o.change_id
    group by c.principal_id, c.client, c.entity
  )
  select k.client, k.principal_id, n.entity, p.pulled_at, pushed.at, g.events,
    case
      when p.client is null then null
      -- when the first of its own entity was dispatched would take reading on from there, and whether there was one
      when p.reached < v_head - 10000 then
        greatest(0, extract(epoch from v_now - coalesce(p.behind_since, missed.at, p.pulled_at)))
      when g.events = 0 then 0
      else greatest(0, extract(epoch from v_now - g.since))
    end,
    coalesce(w.changes, 0), coalesce(extract(epoch from v_now - w.since), 0), coalesce(u.conflicts, 0), refused.error
  from known k cross join entities n
  left join pulling p on (p.principal_id, p.client) = (k.principal_id, k.client)
  left join lags g on (g.principal_id, g.client, g.entity) = (k.principal_id, k.client, n.entity)
  left join waiting w on (w.principal_id, w.client, w.entity) = (k.principal_id, k.client, n.entity)
  left join undecided u on (u.principal_id, u.client, u.entity) = (k.principal_id, k.client, n.entity)
  left join lateral (
    select e.dispatched_at as at from public.events e
    where e.tenant_id = p_tenant_id and e.seq = p.reached + 1
      and e.dispatched_on between (p.pulled_at at time zone 'UTC')::date and v_today
    limit 1
  ) missed on p.behind_since is null and p.reached < v_head - 10000
  left join lateral (
    select c.pushed_at as at from public.sync_changes c
    where c.tenant_id = p_tenant_id and c.principal_id = k.principal_id and c.client = k.client and c.entity = n.entity
    order by c.seq desc limit 1
  ) pushed on true
  left join lateral (
    select jsonb_build_object('code', c.error -> 'code', 'detail', c.error -> 'detail', 'change_id', c.id, 'at', c.settled_at) as error
    from public.sync_changes c
    where c.tenant_id = p_tenant_id and c.principal_id = k.principal_id and c.client = k.client and c.entity = n.entity
      and c.status = 'rejected'
    order by c.seq desc limit 1
  ) refused on true
  order by k.client, k.principal_id, n.entity;
end $$;
revoke all on function private.sync_status(uuid) from public, anon, authenticated, service_role;
grant execute on function private.sync_status(uuid) to authenticated, service_role;

-- How the sync of each client goes, for each entity: your own clients, and everybody's for managers. lag_events: what the log
-- has of the entity beyond the client's cursor, counted over its last 10,000 events; lag_seconds: since when the first of them
-- waits (null: it pulls without p_client; beyond 10,000 events: the first of any entity). pending and conflicts: its changes that
-- wait for the worker, and for people. last_error: {"code", "detail", "change_id", "at"} of the change that was refused last. Callable by GET.
create function public.sync_status(p_tenant_id uuid) returns table (
  client text, principal_id uuid, entity text, last_pulled_at timestamptz, last_pushed_at timestamptz, lag_events bigint,
  lag_seconds numeric, pending bigint, oldest_pending_seconds numeric, conflicts bigint, last_error jsonb
)
language sql stable set search_path = ''
as $$ select * from private.sync_status(p_tenant_id) $$;
revoke all on function public.sync_status(uuid) from public, anon, authenticated, service_role;
grant execute on function public.sync_status(uuid) to authenticated, service_role;

-- [[bound, how many values are not above it], …] and their sum, as histograms have them.
create function private.in_buckets(p_values numeric[], p_bounds numeric[]) returns jsonb
language sql immutable set search_path = ''
as $$
  select jsonb_build_object(
    'buckets', (
      select jsonb_agg(jsonb_build_array(b.bound, (select count(*) from unnest(p_values) v where v <= b.bound)) order by b.bound)
      from unnest(p_bounds) b (bound)
    ),
    'sum', (select coalesce(sum(v), 0) from unnest(p_values) v)
  )
$$;
revoke all on function private.in_buckets(numeric[], numeric[]) from public, anon, authenticated, service_role;

-- How sync goes, for /metrics: what waits, counted up to 10,000, and how far the clients lag that pulled in the last day, of the
-- 10,000 whose day is the latest. {"pending", "pending_oldest_seconds", "conflicts_open", "clients", "lag_seconds", "lag_events"}; a lag:
-- {"buckets": [[bound, clients], …], "sum"}, in events of all entities.
create function worker.sync_health() returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_now constant timestamptz := private.now();
  v_today constant date := private.today();
  v_epoch constant text := (select g.epoch from private.log_epoch g);
begin
  return (
    with latest as materialized (
      select c.tenant_id, c.epoch, c.seq, c.behind_since, c.pulled_at from public.sync_clients c
      where c.pulled_on >= v_today - 1 order by c.pulled_on desc limit 10000
    ), seen as materialized (
      select l.* from latest l where l.pulled_at > v_now - interval '1 day'
    ), placed as materialized (
      select s.*, coalesce(l.seq, 0) as head,
        case when s.epoch = v_epoch and s.seq <= coalesce(l.seq, 0) then s.seq else 0 end as reached
      from seen s left join private.tenant_log l on l.tenant_id = s.tenant_id
    ), lags as materialized (
      select p.head - p.reached as events, case when p.head = p.reached then 0
        else greatest(0, extract(epoch from v_now - coalesce(p.behind_since, missed.at, p.pulled_at))) end as seconds
      from placed p
      left join lateral (
        -- It had everything when it pulled, so what it lacks came later: few partitions.
        select e.dispatched_at as at from public.events e
        where e.tenant_id = p.tenant_id and e.seq = p.reached + 1
          and e.dispatched_on between (p.pulled_at at time zone 'UTC')::date and v_today
        limit 1
      ) missed on p.behind_since is null and p.head > p.reached
    )
    select jsonb_build_object(
      'pending', (select count(*) from (select from public.sync_changes c where c.status = 'pending' limit 10000) c),
      'pending_oldest_seconds', (
        select extract(epoch from v_now - c.pushed_at) from public.sync_changes c
        where c.status = 'pending' order by c.pushed_at limit 1
      ),
      'conflicts_open', (select count(*) from (select from public.sync_conflicts c where c.winner is null limit 10000) c),
      'clients', (select count(*) from lags),
      'lag_seconds', private.in_buckets((select array_agg(l.seconds) from lags l), '{0,1,5,15,60,300,900,3600,14400,86400}'),
      'lag_events', private.in_buckets((select array_agg(l.events) from lags l), '{0,1,10,100,1000,10000,100000}')
    )
  );
end $$;
revoke all on function worker.sync_health() from public, anon, authenticated, service_role;
grant execute on function worker.sync_health() to service_role;
