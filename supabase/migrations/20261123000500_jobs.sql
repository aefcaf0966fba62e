-- Jobs.
--
-- Work that is not a webhook: a kind, a payload, when it is due. A claim leases the job under a fresh attempt id; only
-- a settle that presents this id counts, so a worker that was slow, paused or presumed dead cannot undo what its
-- successor did. A lease that runs out makes the job claimable again.
--
--            claim                     done
--   waiting ───────► running ─────────────► (deleted)
--      ▲                │ retry, snooze, release, or the lease ran out
--      └────────────────┤
--                       └──── bury, or attempts used up ───► buried

create table queue.jobs (
  id bigint generated always as identity primary key,
  kind text not null constraint jobs_kind_form check (kind ~ '^[a-z_]+(\.[a-z_]+)*$'),
  tenant_id uuid,
  payload jsonb not null default '{}' constraint jobs_payload_object check (jsonb_typeof(payload) = 'object'),
  state text not null default 'waiting' constraint jobs_state_known check (state in ('waiting', 'running', 'buried')),
  due_at timestamptz not null default private.now(),
  attempt integer not null default 0,
  max_attempts integer not null default 10 constraint jobs_some_attempts check (max_attempts > 0),
  attempt_id uuid,
  worker text,
  serial_key text,
  unique_key text,
  last_error text,
  created_at timestamptz not null default private.now(),
  constraint jobs_lease_when_running check ((state = 'running') = (attempt_id is not null and worker is not null))
);
comment on table queue.jobs is 'Work for the worker; due_at of a running job is when its lease ends';
create index jobs_due on queue.jobs (due_at, id) where state in ('waiting', 'running');
create index jobs_buried on queue.jobs (id) where state = 'buried';
create index jobs_cache on queue.jobs (created_at) where kind = 'cache.invalidate';
create unique index jobs_attempt on queue.jobs (attempt_id) where attempt_id is not null;
create unique index jobs_unique_waiting on queue.jobs (unique_key) where state = 'waiting' and unique_key is not null;
create unique index jobs_serial_running on queue.jobs (serial_key) where state = 'running' and serial_key is not null;
alter table queue.jobs enable row level security;
revoke all on queue.jobs from public, anon, authenticated, service_role;
alter table queue.jobs set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Adds a job. While one with the same unique key waits, that one stands for both.
create function worker.enqueue_job(
  p_kind text, p_payload jsonb default '{}', p_tenant_id uuid default null, p_unique_key text default null,
  p_serial_key text default null, p_due_in_seconds numeric default 0, p_max_attempts integer default 10
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_id bigint;
begin
  loop
    insert into queue.jobs (kind, payload, tenant_id, unique_key, serial_key, due_at, max_attempts)
    values (p_kind, p_payload, p_tenant_id, p_unique_key, p_serial_key,
      private.now() + make_interval(secs => p_due_in_seconds), p_max_attempts)
    on conflict (unique_key) where state = 'waiting' and unique_key is not null do nothing
    returning id into v_id;
    if found then
      perform private.ring('jobs');
      return jsonb_build_object('job_id', v_id, 'created', true);
    end if;
    -- It is not to be claimed before we have committed: whoever claimed it now would not see what it stands for.
    select j.id into v_id from queue.jobs j where j.unique_key = p_unique_key and j.state = 'waiting' for key share;
    if found then
      return jsonb_build_object('job_id', v_id, 'created', false);
    end if;
    -- It was claimed between the two statements, so there is room for a new one.
  end loop;
end $$;
revoke all on function worker.enqueue_job(text, jsonb, uuid, text, text, numeric, integer)
  from public, anon, authenticated, service_role;
grant execute on function worker.enqueue_job(text, jsonb, uuid, text, text, numeric, integer) to service_role;

-- Leases up to p_limit due jobs of the given kinds.
create function worker.claim_jobs(p_worker text, p_kinds text[], p_limit integer, p_lease_seconds integer default 60)
returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  -- A volatile function is no index condition; its value is.
  v_now constant timestamptz := private.now();
  v_ids bigint[];
  v_jobs jsonb;
begin
  -- A job whose worker died on its last attempt has nobody to bury it.
  update queue.jobs j
  set state = 'buried', attempt_id = null, worker = null,
      last_error = 'the lease of the last attempt ran out: the worker died or hung'
  where j.id in (
    select d.id from queue.jobs d
    where d.state = 'running' and d.due_at <= v_now and d.attempt >= d.max_attempts
    limit 100 for update skip locked
  );

  -- The advisory lock keeps two claims from taking two jobs of one serial key at once; the next statement, whose
  -- snapshot is taken under it, sees whether a former claim has one running.
  select array_agg(c.id) into v_ids
  from (
    select j.id, j.serial_key
    from queue.jobs j
    where j.state in ('waiting', 'running') and j.due_at <= v_now and j.kind = any (p_kinds)
      -- Those behind a running one must not fill the limit, or they would hold up everybody else's jobs.
      and not exists (
        select from queue.jobs o where o.serial_key = j.serial_key and o.state = 'running' and o.id <> j.id
      )
    order by j.due_at, j.id
    limit p_limit
    for update skip locked
  ) c
  where c.serial_key is null or pg_try_advisory_xact_lock(hashtextextended('job ' || c.serial_key, 0));

  with chosen as (
    select distinct on (coalesce(j.serial_key, j.id::text)) j.id
    from queue.jobs j
    where j.id = any (v_ids)
      and not exists (
        select from queue.jobs o where o.serial_key = j.serial_key and o.state = 'running' and o.id <> j.id
      )
    order by coalesce(j.serial_key, j.id::text), j.due_at, j.id
  ), claimed as (
    update queue.jobs j
    set state = 'running', attempt = j.attempt + 1, attempt_id = gen_random_uuid(), worker = p_worker,
        due_at = v_now + make_interval(secs => p_lease_seconds)
    from chosen c where j.id = c.id
    returning j.*
  )
  select jsonb_agg(jsonb_build_object(
    'job_id', c.id, 'attempt_id', c.attempt_id, 'kind', c.kind, 'tenant_id', c.tenant_id, 'payload', c.payload,
    'attempt', c.attempt, 'max_attempts', c.max_attempts, 'created_at', c.created_at
  ) order by c.id)
  into v_jobs
  from claimed c;

  return jsonb_build_object(
    'jobs', coalesce(v_jobs, '[]'),
    'next_due_at', (
      select min(j.due_at) from queue.jobs j
      where j.state in ('waiting', 'running') and j.due_at > v_now and j.kind = any (p_kinds)
    )
  );
end $$;
revoke all on function worker.claim_jobs(text, text[], integer, integer) from public, anon, authenticated, service_role;
grant execute on function worker.claim_jobs(text, text[], integer, integer) to service_role;

-- Lengthens leases. An attempt that is missing from the answer was taken over.
create function worker.extend_jobs(p_attempt_ids uuid[], p_lease_seconds integer default 60) returns jsonb
language sql security definer set search_path = ''
as $$
  with extended as (
    update queue.jobs j set due_at = private.now() + make_interval(secs => p_lease_seconds)
    where j.attempt_id = any (p_attempt_ids)
    returning j.attempt_id
  )
  select jsonb_build_object('held', coalesce(jsonb_agg(e.attempt_id), '[]')) from extended e
$$;
revoke all on function worker.extend_jobs(uuid[], integer) from public, anon, authenticated, service_role;
grant execute on function worker.extend_jobs(uuid[], integer) to service_role;

-- Writes back what became of jobs; an attempt that was taken over changes nothing and is named in "lost".
create function worker.settle_jobs(p_results jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_unknown constant text := (
    select string_agg(distinct coalesce(r ->> 'outcome', 'null'), ', ') from jsonb_array_elements(p_results) r
    where r ->> 'outcome' is null or r ->> 'outcome' not in ('done', 'retry', 'snooze', 'bury', 'release')
  );
  v_settled uuid[];
  v_back record;
begin
  if v_unknown is not null then
    perform private.fail('PT400', 'job.outcome_unknown', format('Unknown outcome: %s.', v_unknown));
  end if;

  loop
    begin
      with results as (
        select r.*
        from jsonb_to_recordset(p_results) as r (attempt_id uuid, outcome text, in_seconds numeric, error text)
        join queue.jobs j on j.attempt_id = r.attempt_id
      ), finished as (
        delete from queue.jobs j using results r
        where j.attempt_id = r.attempt_id and r.outcome = 'done'
        returning r.attempt_id
      ), doomed as (
        update queue.jobs j
        set state = 'buried', attempt_id = null, worker = null, last_error = left(r.error, 4000)
        from results r
        where j.attempt_id = r.attempt_id
          and (r.outcome = 'bury' or (r.outcome = 'retry' and j.attempt >= j.max_attempts))
        returning r.attempt_id
      )
      select array_agg(s.attempt_id) into v_settled
      from (select f.attempt_id from finished f union all select d.attempt_id from doomed d) s;
      -- One by one in the order of their keys, as dispatch inserts them: in another, each would wait for a key of the other.
      for v_back in
        select j.id, r.* from jsonb_to_recordset(p_results) as r (attempt_id uuid, outcome text, in_seconds numeric, error text)
        join queue.jobs j on j.attempt_id = r.attempt_id
        order by j.unique_key collate "C", j.id
      loop
        update queue.jobs j
        set state = 'waiting', attempt_id = null, worker = null,
            attempt = j.attempt - (v_back.outcome <> 'retry')::integer,
            last_error = coalesce(left(v_back.error, 4000), j.last_error),
            due_at = private.now() + make_interval(secs => coalesce(v_back.in_seconds, 0)),
            -- One that asks for the same waits already: let go of the key rather than fail.
            unique_key = case when not exists (
              select from queue.jobs o where o.unique_key = j.unique_key and o.state = 'waiting'
            ) then j.unique_key end
        where j.id = v_back.id and j.attempt_id = v_back.attempt_id;
        if found then
          v_settled := array_append(v_settled, v_back.attempt_id);
        end if;
      end loop;
      exit;
    exception when unique_violation then
      -- A twin of one that returns began to wait meanwhile: the next look sees it.
    end;
  end loop;

  return jsonb_build_object(
    'settled', coalesce(cardinality(v_settled), 0),
    'lost', (
      select coalesce(jsonb_agg(r -> 'attempt_id'), '[]') from jsonb_array_elements(p_results) r
      where v_settled is null or not (r ->> 'attempt_id')::uuid = any (v_settled)
    )
  );
end $$;
revoke all on function worker.settle_jobs(jsonb) from public, anon, authenticated, service_role;
grant execute on function worker.settle_jobs(jsonb) to service_role;

-- Tells writers that the worker looks by itself for this long, so that they need not ring; 0 ends it.
create function worker.stay_awake(p_seconds numeric) returns jsonb
language sql security definer set search_path = ''
as $$
  update queue.worker_awake set until = private.now() + make_interval(secs => least(p_seconds, 60))
  where one
  returning jsonb_build_object('until', until)
$$;
revoke all on function worker.stay_awake(numeric) from public, anon, authenticated, service_role;
grant execute on function worker.stay_awake(numeric) to service_role;
