-- Sending again.
--
-- A replay sends events of the log to one endpoint once more: the same bytes under the same webhook-id, as a delivery of
-- its own in queue.retries. A replay of many is a row of public.webhook_replays that a job works off in slices, each in
-- one transaction with its place in the log, so that it goes on after a crash where it was; it queues no more than the
-- endpoint takes, and first attempts go between.

create table public.webhook_replays (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  endpoint_id uuid not null,
  from_at timestamptz not null,
  to_at timestamptz,
  types text[],
  status text not null default 'running'
    constraint webhook_replays_status_known check (status in ('running', 'done', 'cancelled')),
  queued bigint not null default 0,
  after_seq bigint not null,
  through_seq bigint not null,
  requested_by uuid,
  created_at timestamptz not null default private.now(),
  ended_at timestamptz,
  constraint webhook_replays_some_time check (from_at < to_at),
  constraint webhook_replays_ended check ((status = 'running') = (ended_at is null)),
  constraint webhook_replays_endpoint foreign key (tenant_id, endpoint_id)
    references public.webhook_endpoints (tenant_id, id) on delete cascade
);
comment on table public.webhook_replays is 'Replays of many events to one endpoint, and how far they are; made by replay_events';
comment on column public.webhook_replays.to_at is 'Null: all that was in the log when it was asked for';
comment on column public.webhook_replays.after_seq is 'Up to here in the tenant''s log it is worked off';
create index webhook_replays_by_endpoint on public.webhook_replays (tenant_id, endpoint_id, created_at desc);
create index webhook_replays_running on public.webhook_replays (id) where status = 'running';
alter table public.webhook_replays enable row level security;
create policy "only within one's own tenants" on public.webhook_replays
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "managers see their tenant's replays" on public.webhook_replays
  for select to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.read'))::uuid[]));
revoke all on public.webhook_replays from anon, authenticated, service_role;
grant select on public.webhook_replays to authenticated, service_role;

-- Queues events (their seqs, in order) for one lane as replays, due now. Of an ordered endpoint each lines up behind what
-- is queued for its entity already.
create function private.queue_replays(p_lane_id bigint, p_tenant_id uuid, p_seqs bigint[], p_days date[]) returns integer
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_now constant timestamptz := private.now();
  v_queued integer;
begin
  with chosen as (
    select v.seq, v.dispatched_on, case when e.ordered then v.entity_id end as order_key, e.expires_after_hours,
      row_number() over (partition by case when e.ordered then v.entity_id end order by v.seq) as place
    from unnest(p_seqs, p_days) c (seq, day)
    join public.events v on v.tenant_id = p_tenant_id and v.seq = c.seq and v.dispatched_on = c.day
    join queue.lanes l on l.id = p_lane_id
    join public.webhook_endpoints e on e.id = l.endpoint_id
  ), numbered as (
    select c.*, c.order_key is not null and (c.place > 1 or exists (
      select from queue.retries r where r.lane_id = p_lane_id and r.order_key = c.order_key)) as blocked
    from chosen c order by c.seq
  )
  insert into queue.retries (id, lane_id, tenant_id, seq, dispatched_on, kind, attempt, due_at, expires_at, order_key, blocked)
  select nextval(pg_get_serial_sequence('queue.deliveries', 'id')), p_lane_id, p_tenant_id, n.seq, n.dispatched_on, 'replay', 1,
    case when n.blocked then 'infinity' else v_now end, v_now + make_interval(hours => n.expires_after_hours), n.order_key, n.blocked
  from numbered n;
  get diagnostics v_queued = row_count;
  return v_queued;
end $$;
revoke all on function private.queue_replays(bigint, uuid, bigint[], date[]) from public, anon, authenticated, service_role;

create function private.replay_delivery(p_tenant_id uuid, p_delivery_id bigint) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_attempt public.webhook_attempts;
  v_endpoint public.webhook_endpoints;
  v_lane_id bigint;
  v_day date;
begin
  perform private.require(p_tenant_id, 'webhooks.write');
  select * into v_attempt from public.webhook_attempts a where a.tenant_id = p_tenant_id and a.delivery_id = p_delivery_id
  order by a.started_at desc limit 1;
  if v_attempt.delivery_id is null then
    perform private.fail('PT404', 'webhook.delivery_not_found',
      format('There is no delivery %s in this tenant that was tried.', p_delivery_id),
      'What was never tried is sent in any case; attempts are kept as long as the log.');
  end if;
  v_endpoint := private.endpoint_for(p_tenant_id, v_attempt.endpoint_id, 'webhooks.write');
  select v.dispatched_on into v_day from public.events v
  where v.tenant_id = v_attempt.tenant_id and v.seq = private.seq_of_event(v_attempt.event_id) and v.id = v_attempt.event_id;
  if v_day is null then
    perform private.fail('PT410', 'webhook.event_gone', format('The event %s is no longer in the log.', v_attempt.event_id));
  end if;
  select l.id into v_lane_id from queue.lanes l where l.endpoint_id = v_endpoint.id;
  perform private.queue_replays(v_lane_id, v_attempt.tenant_id, array[private.seq_of_event(v_attempt.event_id)], array[v_day]);
  perform private.ring('deliveries');
  return jsonb_build_object('endpoint_id', v_endpoint.id, 'event_id', v_attempt.event_id, 'status', v_endpoint.status);
end $$;
revoke all on function private.replay_delivery(uuid, bigint) from public, anon, authenticated, service_role;
grant execute on function private.replay_delivery(uuid, bigint) to authenticated, service_role;

-- Sends the event of a delivery to its endpoint again: the same bytes under the same webhook-id, as a new delivery.
create function public.replay_delivery(p_tenant_id uuid, p_delivery_id bigint) returns jsonb
language sql volatile set search_path = ''
as $$ select private.replay_delivery(p_tenant_id, p_delivery_id) $$;
revoke all on function public.replay_delivery(uuid, bigint) from public, anon, authenticated, service_role;
grant execute on function public.replay_delivery(uuid, bigint) to authenticated, service_role;

create function private.replay_events(
  p_tenant_id uuid, p_endpoint_id uuid, p_from timestamptz, p_to timestamptz, p_types text[]
) returns public.webhook_replays
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_endpoint constant public.webhook_endpoints := private.endpoint_for(p_tenant_id, p_endpoint_id, 'webhooks.write');
  v_after bigint;
  v_replay public.webhook_replays;
begin
  if p_from is null or p_from >= coalesce(p_to, private.now()) then
    perform private.fail('PT422', 'webhook.replay_range', 'p_from must be a time before p_to, in the past.');
  end if;
  if (select count(*) from public.webhook_replays r where r.tenant_id = v_endpoint.tenant_id and r.status = 'running') >= 20 then
    perform private.fail('PT429', 'webhook.replays_running', 'Twenty replays of this tenant are running.',
      'Wait for one to end, or cancel it.');
  end if;
  -- Everything before p_from's day is passed over at once, the rest of the way the job goes.
  select min(v.seq) - 1 into v_after from public.events v
  where v.tenant_id = v_endpoint.tenant_id and v.dispatched_on >= (p_from at time zone 'UTC')::date;
  insert into public.webhook_replays (tenant_id, endpoint_id, from_at, to_at, types, after_seq, through_seq, requested_by)
  values (v_endpoint.tenant_id, p_endpoint_id, p_from, p_to, p_types, coalesce(v_after, 0),
    coalesce((select l.seq from private.tenant_log l where l.tenant_id = v_endpoint.tenant_id), 0), auth.uid())
  returning * into v_replay;
  perform worker.enqueue_job('webhooks.replay', jsonb_build_object('replay_id', v_replay.id), v_endpoint.tenant_id,
    'webhooks.replay ' || v_replay.id, 'webhooks.replay ' || p_endpoint_id);
  return v_replay;
end $$;
revoke all on function private.replay_events(uuid, uuid, timestamptz, timestamptz, text[]) from public, anon, authenticated, service_role;
grant execute on function private.replay_events(uuid, uuid, timestamptz, timestamptz, text[]) to authenticated, service_role;

-- Sends the events of a period (from p_from on, before p_to, by when they were committed) to an endpoint again: those of
-- its filter, and of p_types, a filter of the same form. Starts at once; the answer is a row of webhook_replays, which says how far it is.
create function public.replay_events(
  p_tenant_id uuid, p_endpoint_id uuid, p_from timestamptz, p_to timestamptz default null, p_types text[] default null
) returns public.webhook_replays
language sql volatile set search_path = ''
as $$ select private.replay_events(p_tenant_id, p_endpoint_id, p_from, p_to, p_types) $$;
revoke all on function public.replay_events(uuid, uuid, timestamptz, timestamptz, text[]) from public, anon, authenticated, service_role;
grant execute on function public.replay_events(uuid, uuid, timestamptz, timestamptz, text[]) to authenticated, service_role;

create function private.cancel_replay(p_tenant_id uuid, p_replay_id uuid) returns public.webhook_replays
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_replay public.webhook_replays;
begin
  perform private.require(p_tenant_id, 'webhooks.write');
  select * into v_replay from public.webhook_replays r where r.tenant_id = p_tenant_id and r.id = p_replay_id for update;
  if v_replay.id is null then
    perform private.fail('PT404', 'webhook.replay_not_found', format('There is no replay %s in this tenant.', p_replay_id));
  end if;
  if v_replay.status = 'running' then
    update public.webhook_replays r set status = 'cancelled', ended_at = private.now() where r.id = p_replay_id
    returning * into v_replay;
  end if;
  return v_replay;
end $$;
revoke all on function private.cancel_replay(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function private.cancel_replay(uuid, uuid) to authenticated, service_role;

-- Ends a running replay; what it has queued is still sent.
create function public.cancel_replay(p_tenant_id uuid, p_replay_id uuid) returns public.webhook_replays
language sql volatile set search_path = ''
as $$ select private.cancel_replay(p_tenant_id, p_replay_id) $$;
revoke all on function public.cancel_replay(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function public.cancel_replay(uuid, uuid) to authenticated, service_role;

-- One slice of a replay: looks at up to p_limit events and queues those that match, while fewer than p_limit replays wait in
-- the lane. {"queued", "done", "waiting", "paused"}; waiting: the endpoint has enough for now.
create function worker.continue_replay(p_replay_id uuid, p_limit integer default 1000) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_limit constant integer := greatest(1, least(p_limit, 10000));
  v_replay public.webhook_replays;
  v_lane_id bigint;
  v_paused boolean;
  v_room integer;
  v_seqs bigint[];
  v_days date[];
  v_seen integer;
  v_last bigint;
  v_queued integer := 0;
  v_done boolean;
begin
  select * into v_replay from public.webhook_replays r where r.id = p_replay_id for update;
  if v_replay.id is null or v_replay.status <> 'running' then
    return jsonb_build_object('queued', 0, 'done', true, 'waiting', false, 'paused', false);
  end if;
  select l.id, e.status <> 'active' into v_lane_id, v_paused
  from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id where e.id = v_replay.endpoint_id;
  select v_limit - count(*) into v_room
  from (select from queue.retries r where r.lane_id = v_lane_id limit v_limit) r;
  if v_room <= 0 or v_paused then
    return jsonb_build_object('queued', 0, 'done', false, 'waiting', true, 'paused', v_paused);
  end if;

  with seen as materialized (
    select v.seq, v.dispatched_on,
      v.occurred_at >= v_replay.from_at and (v_replay.to_at is null or v.occurred_at < v_replay.to_at)
        and private.takes_event(e.events, v.type, v.entity)
        and (v_replay.types is null or private.takes_event(v_replay.types, v.type, v.entity))
        and exists (select from private.event_map m where m.entity = v.entity and m.webhooks
          and v.type = m.entity || '.' || m.verb) as matches
    from public.events v
    join public.webhook_endpoints e on e.id = v_replay.endpoint_id
    where v.tenant_id = v_replay.tenant_id and v.seq > v_replay.after_seq and v.seq <= v_replay.through_seq
    order by v.seq limit v_room
  )
  select array_agg(s.seq order by s.seq) filter (where s.matches),
    array_agg(s.dispatched_on order by s.seq) filter (where s.matches), count(*), max(s.seq)
  into v_seqs, v_days, v_seen, v_last
  from seen s;

  if v_seqs is not null then
    v_queued := private.queue_replays(v_lane_id, v_replay.tenant_id, v_seqs, v_days);
  end if;
  v_done := v_seen < v_room;
  update public.webhook_replays r
  set after_seq = coalesce(v_last, r.after_seq), queued = r.queued + v_queued,
    status = case when v_done then 'done' else r.status end, ended_at = case when v_done then private.now() end
  where r.id = p_replay_id;
  if v_queued > 0 then
    perform private.ring('deliveries');
  end if;
  return jsonb_build_object('queued', v_queued, 'done', v_done, 'waiting', false, 'paused', false);
end $$;
revoke all on function worker.continue_replay(uuid, integer) from public, anon, authenticated, service_role;
grant execute on function worker.continue_replay(uuid, integer) to service_role;
