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

-- Drops whole days older than p_keep_days, but no day of the log that a pending delivery still needs. A drop locks the
-- parent; while it waits for a reader, dispatch and settling would queue up behind it, so it gives up soon (55P03).
create function worker.drop_partitions(p_keep_days integer default 30) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '500ms'
as $$
declare
  v_keep_from date := private.today() - p_keep_days;
  v_dropped text[] := '{}';
  v_partition record;
begin
  if coalesce(p_keep_days, 0) < 1 then
    perform private.fail('PT400', 'retention.too_short', 'Keep at least one day.');
  end if;
  for v_partition in
    select c.relname as name, p.relname as parent, to_date(right(c.relname, 8), 'YYYYMMDD') as day
    from pg_catalog.pg_inherits i
    join pg_catalog.pg_class c on c.oid = i.inhrelid
    join pg_catalog.pg_class p on p.oid = i.inhparent
    where i.inhparent in ('public.events'::regclass, 'public.webhook_attempts'::regclass)
    order by 3
  loop
    continue when v_partition.day >= v_keep_from;
    continue when v_partition.parent = 'events' and (
      exists (select from queue.deliveries d where d.dispatched_on = v_partition.day)
      or exists (select from queue.retries r where r.dispatched_on = v_partition.day)
    );
    execute format('drop table private.%I', v_partition.name);
    v_dropped := v_dropped || v_partition.name::text;
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

-- Who holds the xmin horizon, the oldest first: what vacuum cannot clean up behind. Null when nobody does.
create function private.oldest_xmin_holder() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('kind', h.kind, 'name', h.name, 'xids', h.xids, 'seconds', h.seconds)
  from (
    select 'session' as kind, format('pid %s, %s, %s, %s', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'no name'), a.state) as name,
      age(a.backend_xmin)::bigint as xids, extract(epoch from private.now() - a.xact_start) as seconds
    from pg_catalog.pg_stat_activity a where a.backend_xmin is not null and a.pid <> pg_backend_pid()
    union all
    select 'slot', s.slot_name, greatest(age(s.xmin), age(s.catalog_xmin))::bigint, null
    from pg_catalog.pg_replication_slots s where s.xmin is not null
    union all
    select 'prepared', p.gid, age(p.transaction)::bigint, extract(epoch from private.now() - p.prepared)
    from pg_catalog.pg_prepared_xacts p
  ) h
  order by h.xids desc, h.seconds desc nulls last limit 1
$$;
revoke all on function private.oldest_xmin_holder() from public, anon, authenticated, service_role;

-- The state of the queues for /metrics, cheap enough for every few seconds: estimates where counting would cost.
create function worker.queue_health() returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select jsonb_build_object(
    'tables', (
      select jsonb_object_agg(t.schemaname || '.' || t.relname, jsonb_build_object('live', t.n_live_tup, 'dead', t.n_dead_tup,
        'bytes', pg_total_relation_size(t.relid), 'vacuumed_seconds', extract(epoch from private.now() - greatest(t.last_vacuum, t.last_autovacuum))))
      from pg_catalog.pg_stat_user_tables t
      where (t.schemaname, t.relname) in (('queue', 'deliveries'), ('queue', 'retries'), ('queue', 'jobs'), ('queue', 'lanes'),
        ('queue', 'leases'), ('private', 'outbox'), ('private', 'tenant_log'))
    ),
    'xmin', private.oldest_xmin_holder(),
    'outbox_oldest_seconds', (
      select extract(epoch from private.now() - min(o.occurred_at)) from (select b.occurred_at from private.outbox b limit 1000) o
    ),
    'fan_outs', (select count(*) from queue.fan_outs),
    'endpoints', (
      select coalesce(jsonb_object_agg(s.status, s.endpoints), '{}')
      from (select e.status, count(*) as endpoints from public.webhook_endpoints e group by e.status) s
    ),
    'endpoints_failing', (select count(*) from public.webhook_troubles),
    'jobs_buried', (select count(*) from (select from queue.jobs j where j.state = 'buried' limit 10000) j),
    'partitions_ahead_days', (
      select coalesce(min(a.days), 0) from (
        select max(to_date(right(c.relname, 8), 'YYYYMMDD')) - private.today() as days
        from (values ('public.events'::regclass), ('public.webhook_attempts'::regclass)) p (parent)
        left join pg_catalog.pg_inherits i on i.inhparent = p.parent
        left join pg_catalog.pg_class c on c.oid = i.inhrelid
        group by p.parent
      ) a
    ),
    'oldest_partition_days', (
      select coalesce(max(private.today() - to_date(right(c.relname, 8), 'YYYYMMDD')), 0)
      from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
      where i.inhparent in ('public.events'::regclass, 'public.webhook_attempts'::regclass)
    )
  )
$$;
revoke all on function worker.queue_health() from public, anon, authenticated, service_role;
grant execute on function worker.queue_health() to service_role;

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
    'partitions_ahead_days', (
      select max(to_date(right(c.relname, 8), 'YYYYMMDD')) - private.today()
      from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'public.events'::regclass
    ),
    'secrets', private.secrets_home(),
    'private_hosts', coalesce((select p.allow_private_hosts from private.webhook_policy p), false),
    'oldest_xmin_seconds', private.oldest_xmin_holder() -> 'seconds'
  )
$$;
revoke all on function worker.worker_status() from public, anon, authenticated, service_role;
grant execute on function worker.worker_status() to service_role;

select worker.make_partitions();
