-- An event's way, from the commit to the last confirmation, in one call.

create function private.event_history(p_tenant_id uuid, p_event_id text) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_seq constant bigint := private.seq_of_event(p_event_id);
  v_event public.events;
begin
  perform private.require(p_tenant_id, 'webhooks.read');
  select * into v_event from public.events v where v.tenant_id = p_tenant_id and v.seq = v_seq and v.id = p_event_id;
  if v_event.id is null then
    perform private.fail('PT404', 'event.not_found', format('There is no event %s in the log of this tenant.', p_event_id),
      'The log is kept for 30 days, unless the project says otherwise.');
  end if;
  return jsonb_build_object(
    'event', jsonb_build_object('id', v_event.id, 'type', v_event.type, 'seq', v_event.seq, 'entity', v_event.entity,
      'entity_id', v_event.entity_id, 'version', v_event.version, 'actor', v_event.actor, 'command_id', v_event.command_id,
      'occurred_at', v_event.occurred_at, 'dispatched_at', v_event.dispatched_at),
    'fanning_out', exists (select from queue.fan_outs f where f.tenant_id = p_tenant_id and f.seq = v_seq),
    'deliveries', (
      select coalesce(jsonb_agg(jsonb_build_object('delivery_id', d.delivery_id, 'endpoint_id', d.endpoint_id, 'url', e.url,
        'kind', d.kind, 'status', coalesce(d.status, t.last_outcome), 'next_attempt_at', d.next_attempt_at,
        'attempts', coalesce(t.attempts, '[]')) order by d.delivery_id), '[]')
      from (
        -- what waits, and what has ended; the latter has its end among its attempts
        select q.id as delivery_id, l.endpoint_id, 'event' as kind, 'pending' as status, null::timestamptz as next_attempt_at
        from queue.lanes l join queue.deliveries q on q.lane_id = l.id and q.seq = v_seq
        where l.tenant_id = p_tenant_id
        union all
        select r.id, l.endpoint_id, r.kind, case when r.attempt > 1 then 'retrying' else 'pending' end, nullif(r.due_at, 'infinity')
        from queue.lanes l join queue.retries r on r.lane_id = l.id and r.seq = v_seq
        where l.tenant_id = p_tenant_id
        union all
        select a.delivery_id, a.endpoint_id, a.kind,
          case a.outcome when 'gone' then 'failed' else a.outcome end, null
        from public.webhook_attempts a
        where a.event_id = p_event_id and a.tenant_id = p_tenant_id and a.outcome not in ('retry', 'probe')
          and a.attempted_on >= v_event.dispatched_on
      ) d
      left join public.webhook_endpoints e on e.id = d.endpoint_id
      left join lateral (
        select jsonb_agg(jsonb_build_object('attempt', a.attempt, 'outcome', a.outcome, 'started_at', a.started_at,
            'settled_at', a.settled_at, 'status', a.status, 'error', a.error, 'duration_ms', a.duration_ms,
            'dns_ms', a.dns_ms, 'connect_ms', a.connect_ms, 'first_byte_ms', a.first_byte_ms, 'response', a.response)
          order by a.started_at) as attempts,
          (array_agg(a.outcome order by a.started_at desc))[1] as last_outcome
        from public.webhook_attempts a
        where a.delivery_id = d.delivery_id and a.attempted_on >= v_event.dispatched_on
      ) t on true
    )
  );
end $$;
revoke all on function private.event_history(uuid, text) from public, anon, authenticated, service_role;
grant execute on function private.event_history(uuid, text) to authenticated, service_role;

-- All that became of one event: {"event", "fanning_out", "deliveries": [{"endpoint_id", "status", "attempts": […]}, …]}.
create function public.event_history(p_tenant_id uuid, p_event_id text) returns jsonb
language sql volatile set search_path = ''
as $$ select private.event_history(p_tenant_id, p_event_id) $$;
revoke all on function public.event_history(uuid, text) from public, anon, authenticated, service_role;
grant execute on function public.event_history(uuid, text) to authenticated, service_role;
