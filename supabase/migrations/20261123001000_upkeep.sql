-- Upkeep: partitions made ahead and dropped by age, forgotten idempotency keys, and what `pms-worker status` shows.

create function worker.make_partitions(p_days_ahead integer default 7) returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select jsonb_build_object('made', coalesce(jsonb_agg(m.name) filter (where m.name is not null), '[]'))
  from (
    select private.make_partition(p.parent, private.today() + d.days) as name
    from (values ('events'), ('webhook_attempts')) p (parent)
    cross join generate_series(0, least(p_days_ahead, 60)) d (days)
  ) m
$$;
revoke all on function worker.make_partitions(integer) from public, anon, authenticated, service_role;
grant execute on function worker.make_partitions(integer) to service_role;

-- The partitions of a table that has one a day.
create function private.days_of(p_parent regclass) returns table (name text, day date)
language sql stable set search_path = ''
as $$
  select c.relname::text, to_date(right(c.relname, 8), 'YYYYMMDD')
  from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
  where i.inhparent = p_parent
$$;
revoke all on function private.days_of(regclass) from public, anon, authenticated, service_role;

-- How many days ahead of today every table with one partition a day has its partitions; -1: today's is missing.
create function private.partitions_ahead() returns integer
language sql stable set search_path = ''
as $$
  select min(coalesce((
    select max(d.day) - private.today() from private.days_of(p.parent) d where d.day >= private.today()), -1))
  from (values ('public.events'::regclass), ('public.webhook_attempts'::regclass)) p (parent)
$$;
revoke all on function private.partitions_ahead() from public, anon, authenticated, service_role;

-- Days of the log that somebody still needs: they are owed to an endpoint, or wait to be queued for many.
create function private.owed_days() returns date[]
language sql stable security definer set search_path = ''
as $$
  select array(
    select d.dispatched_on from queue.deliveries d
    union select r.dispatched_on from queue.retries r
    union select f.dispatched_on from queue.fan_outs f
  )
$$;
revoke all on function private.owed_days() from public, anon, authenticated, service_role;

-- Drops whole days older than p_keep_days, but no day of the log that is still owed: until it is delivered or expires, at
-- most 14 days after it was queued (expires_after_hours). A running replay passes over days that are gone.
--
-- Days are looked at before anything is locked, because that reads the queues. Replays alone can make an old day owed
-- again; they read the log, so once it is locked none is under way, and a look at the retries tells. A drop locks the
-- parent too; while it waits for a reader, dispatch and settling would queue up behind it, so it gives up soon (55P03).
create function worker.drop_partitions(p_keep_days integer default 30) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '500ms'
as $$
declare
  v_keep_from date := private.today() - p_keep_days;
  v_owed date[];
  v_dropped text[] := '{}';
  v_old record;
begin
  if coalesce(p_keep_days, 0) < 1 then
    perform private.fail('PT400', 'retention.too_short', 'Keep at least one day.');
  end if;
  v_owed := private.owed_days();
  for v_old in
    select p.parent, (select array_agg(d.name order by d.day) from private.days_of(p.parent) d
      where d.day < v_keep_from and (p.parent <> 'public.events'::regclass or d.day <> all (v_owed))) as names
    from (values ('public.events'::regclass), ('public.webhook_attempts'::regclass)) p (parent)
  loop
    continue when v_old.names is null;
    execute format('lock table only %s in access exclusive mode', v_old.parent);
    if v_old.parent = 'public.events'::regclass then
      v_owed := v_owed || array(select distinct r.dispatched_on from queue.retries r where r.dispatched_on < v_keep_from);
      v_old.names := array(select d.name from private.days_of(v_old.parent) d
        where d.name = any (v_old.names) and d.day <> all (v_owed) order by d.day);
    end if;
    for i in 1 .. cardinality(v_old.names) loop
      execute format('drop table private.%I', v_old.names[i]);
    end loop;
    v_dropped := v_dropped || v_old.names;
  end loop;
  delete from private.invalid_events i where i.at < v_keep_from;
  return jsonb_build_object('dropped', to_jsonb(v_dropped));
end $$;
revoke all on function worker.drop_partitions(integer) from public, anon, authenticated, service_role;
grant execute on function worker.drop_partitions(integer) to service_role;

create function worker.forget_command_results(p_keep_hours integer default 24) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_before constant timestamptz := private.now() - make_interval(hours => p_keep_hours);
  v_forgotten integer;
begin
  delete from private.command_results r where r.created_at < v_before;
  get diagnostics v_forgotten = row_count;
  return jsonb_build_object('forgotten', v_forgotten);
end $$;
revoke all on function worker.forget_command_results(integer) from public, anon, authenticated, service_role;
grant execute on function worker.forget_command_results(integer) to service_role;

-- Forgets signing secrets an hour after their last use.
create function worker.forget_webhook_secrets() returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_forgotten integer;
begin
  delete from private.webhook_secrets s where s.expires_at < private.now() - interval '1 hour';
  get diagnostics v_forgotten = row_count;
  return jsonb_build_object('forgotten', v_forgotten);
end $$;
revoke all on function worker.forget_webhook_secrets() from public, anon, authenticated, service_role;
grant execute on function worker.forget_webhook_secrets() to service_role;

-- Who holds the xmin horizon of this database, the oldest first: what vacuum cannot clean up behind. Null when nobody
-- does. A session that has written holds it by its own transaction id, even without a snapshot; one that vacuums does not.
create function private.oldest_xmin_holder() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('kind', h.kind, 'name', h.name, 'xids', h.xids, 'seconds', h.seconds)
  from (
    select 'session' as kind, format('pid %s, %s, %s, %s', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'no name'), a.state) as name,
      greatest(age(a.backend_xmin), age(a.backend_xid))::bigint as xids,
      extract(epoch from clock_timestamp() - a.xact_start) as seconds
    from pg_catalog.pg_stat_activity a
    where (a.backend_xmin is not null or a.backend_xid is not null) and a.pid <> pg_backend_pid()
      and (a.datname = current_database() or a.datid is null)
      and not exists (select from pg_catalog.pg_stat_progress_vacuum v where v.pid = a.pid)
    union all
    select 'slot', s.slot_name, age(s.xmin)::bigint, null
    from pg_catalog.pg_replication_slots s where s.xmin is not null
    union all
    select 'prepared', p.gid, age(p.transaction)::bigint, extract(epoch from clock_timestamp() - p.prepared)
    from pg_catalog.pg_prepared_xacts p where p.database = current_database()
  ) h
  order by h.xids desc, h.seconds desc nulls last limit 1
$$;
revoke all on function private.oldest_xmin_holder() from public, anon, authenticated, service_role;

-- Since when the oldest change waits in the outbox. Below p_mark (of dispatch) nothing is left but deleted entries, of
-- which a held xmin keeps any number.
create function private.outbox_waits_since(p_mark xid8) returns timestamptz
language sql stable security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
  select min(o.occurred_at)
  from (
    select b.occurred_at from private.outbox b
    where b.xid >= case when p_mark > pg_snapshot_xmax(pg_current_snapshot()) then '0'::xid8 else p_mark end
    order by b.xid, b.id limit 1000
  ) o
$$;
revoke all on function private.outbox_waits_since(xid8) from public, anon, authenticated, service_role;

-- Endpoints by status, each counted up to 10,000. Beyond that the active ones are an estimate: what the last vacuum or
-- analyze found, less the others. Those have an index of their own, which the planner must not pass by.
create function private.endpoints_by_status() returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
  select jsonb_build_object('active', a.endpoints, 'paused', p.endpoints, 'disabled', d.endpoints)
  from (select count(*) as endpoints from (select from public.webhook_endpoints e where e.status = 'paused' limit 10000) e) p
  cross join (select count(*) as endpoints from (select from public.webhook_endpoints e where e.status = 'disabled' limit 10000) e) d
  cross join lateral (
    select greatest(0, case when t.reltuples > 10000 then t.reltuples::bigint - p.endpoints - d.endpoints
      else (select count(*) from (select from public.webhook_endpoints e where e.status = 'active' limit 10000) e) end) as endpoints
    from pg_catalog.pg_class t where t.oid = 'public.webhook_endpoints'::regclass
  ) a
$$;
revoke all on function private.endpoints_by_status() from public, anon, authenticated, service_role;

-- The state of the queues for /metrics, cheap enough for every few seconds: estimates where counting would cost, and
-- other counts up to 10,000. p_mark is what dispatch answered last; without it the look may cost what dispatch's first does.
create function worker.queue_health(p_mark xid8 default '0') returns jsonb
language sql volatile security definer set search_path = '' set jit = off
as $$
  select jsonb_build_object(
    'tables', (
      select jsonb_object_agg(t.name, jsonb_build_object('live', pg_stat_get_live_tuples(t.id), 'dead', pg_stat_get_dead_tuples(t.id),
        'bytes', pg_total_relation_size(t.id), 'vacuumed_seconds', extract(epoch from clock_timestamp()
          - greatest(pg_stat_get_last_vacuum_time(t.id), pg_stat_get_last_autovacuum_time(t.id)))))
      from (
        select n.name, n.name::regclass as id
        from unnest('{queue.deliveries,queue.retries,queue.jobs,queue.lanes,queue.leases,queue.fan_outs,private.outbox,private.tenant_log}'::text[]) n (name)
      ) t
    ),
    'xmin', private.oldest_xmin_holder(),
    'outbox_oldest_seconds', extract(epoch from private.now() - private.outbox_waits_since(p_mark)),
    'fan_outs', (select count(*) from (select from queue.fan_outs limit 10000) f),
    'endpoints', private.endpoints_by_status(),
    'endpoints_failing', (select count(*) from (select from public.webhook_troubles limit 10000) t),
    'jobs_buried', (select count(*) from (select from queue.jobs j where j.state = 'buried' limit 10000) j),
    'invalid_events', (select count(*) from (select from private.invalid_events limit 10000) i),
    'partitions_ahead_days', private.partitions_ahead(),
    'oldest_partition_days', (
      select coalesce(max(private.today() - d.day), 0)
      from (values ('public.events'::regclass), ('public.webhook_attempts'::regclass)) p (parent) cross join private.days_of(p.parent) d
    )
  )
$$;
revoke all on function worker.queue_health(xid8) from public, anon, authenticated, service_role;
grant execute on function worker.queue_health(xid8) to service_role;

-- One look at everything that waits; "held" is what paused and disabled endpoints are owed. Depths are counted up to 10,000.
create function worker.worker_status() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'schema_version', worker.schema_version(),
    'now', private.now(),
    'outbox', (
      select jsonb_build_object('depth', count(*), 'oldest_seconds', extract(epoch from private.now() - min(o.occurred_at)))
      from (select b.occurred_at from private.outbox b limit 10000) o
    ),
    'deliveries', (
      select jsonb_build_object(
        'pending', count(*) filter (where d.status = 'active'),
        'held', count(*) filter (where d.status <> 'active'),
        'oldest_seconds', (
          select extract(epoch from private.now() - v.occurred_at)
          from (select * from queue.deliveries f order by f.id limit 1) f
          join public.events v on v.tenant_id = f.tenant_id and v.seq = f.seq and v.dispatched_on = f.dispatched_on
        )
      )
      from (
        select e.status from queue.deliveries q join queue.lanes l on l.id = q.lane_id
        join public.webhook_endpoints e on e.id = l.endpoint_id limit 10000
      ) d
    ),
    'retries', (
      select jsonb_build_object('waiting', count(*), 'next_due_at', min(r.due_at))
      from (
        select nullif(q.due_at, 'infinity') as due_at from queue.retries q join queue.lanes l on l.id = q.lane_id
        join public.webhook_endpoints e on e.id = l.endpoint_id and e.status = 'active'
        order by q.due_at limit 10000
      ) r
    ),
    'jobs', (
      select jsonb_build_object(
        'ready', count(*) filter (where j.state = 'waiting' and j.due_at <= private.now()),
        'running', count(*) filter (where j.state = 'running'),
        'buried', count(*) filter (where j.state = 'buried')
      )
      from (select q.state, q.due_at from queue.jobs q limit 10000) j
    ),
    'lanes', (select jsonb_build_object('total', count(*), 'leased', count(l.lease_id)) from queue.lanes l),
    'workers', (
      select coalesce(jsonb_agg(jsonb_build_object('name', l.worker, 'expires_at', l.expires_at,
        'lanes', (select count(*) from queue.lanes n where n.lease_id = l.id)) order by l.worker), '[]')
      from queue.leases l where l.expires_at > private.now()
    ),
    'invalid_events', (select count(*) from (select from private.invalid_events limit 10000) i),
    'partitions_ahead_days', private.partitions_ahead(),
    'secrets', private.secrets_home(),
    'private_hosts', coalesce((select p.allow_private_hosts from private.webhook_policy p), false),
    'oldest_xmin_seconds', private.oldest_xmin_holder() -> 'seconds'
  )
$$;
revoke all on function worker.worker_status() from public, anon, authenticated, service_role;
grant execute on function worker.worker_status() to service_role;

select worker.make_partitions();
