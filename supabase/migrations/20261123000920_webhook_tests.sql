-- Test events.
--
-- A test is sent to one endpoint whatever its status, once, past its queue: a job does it. It is no event: it stands in the
-- attempts, but not in the log, where a client would take it for a change. One that is to enable an endpoint does so
-- if the answer is a 2xx.

create table private.webhook_tests (
  id bigint primary key,
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  endpoint_id uuid not null references public.webhook_endpoints (id) on delete cascade,
  event_id text not null,
  type text not null,
  body text not null,
  enables boolean not null,
  created_at timestamptz not null default private.now()
);
comment on table private.webhook_tests is 'Tests that wait to be sent; the id is that of a delivery';
create index webhook_tests_by_endpoint on private.webhook_tests (endpoint_id);
create index webhook_tests_by_tenant on private.webhook_tests (tenant_id);
alter table private.webhook_tests enable row level security;
revoke all on private.webhook_tests from public, anon, authenticated, service_role;

create function private.send_test_event(p_tenant_id uuid, p_endpoint_id uuid, p_type text, p_enables boolean) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_endpoint constant public.webhook_endpoints := private.endpoint_for(p_tenant_id, p_endpoint_id, 'webhooks.write');
  v_delivery_id bigint;
  v_event_id constant text := 'evt_test_' || replace(gen_random_uuid()::text, '-', '');
  v_example jsonb;
begin
  select t.example into v_example from public.event_types t where t.type = p_type and t.webhooks;
  if v_example is null then
    perform private.fail('PT422', 'webhook.unknown_event_type', format('There is no event type %s for webhooks.', p_type),
      'public.event_types lists them.');
  end if;
  if (select count(*) from private.webhook_tests t where t.endpoint_id = p_endpoint_id) >= 10 then
    perform private.fail('PT429', 'webhook.tests_waiting', 'Ten tests of this endpoint wait to be sent.', 'Try again later.');
  end if;
  v_delivery_id := nextval(pg_get_serial_sequence('queue.deliveries', 'id'));
  insert into private.webhook_tests (id, tenant_id, endpoint_id, event_id, type, body, enables)
  values (v_delivery_id, v_endpoint.tenant_id, p_endpoint_id, v_event_id, p_type,
    (v_example || jsonb_build_object('id', v_event_id, 'tenant_id', v_endpoint.tenant_id, 'seq', 0, 'test', true,
      'timestamp', to_char(private.now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))::text, p_enables);
  perform worker.enqueue_job('webhooks.test', jsonb_build_object('delivery_id', v_delivery_id), v_endpoint.tenant_id,
    'webhooks.test ' || v_delivery_id, 'webhooks.test ' || p_endpoint_id);
  return jsonb_build_object('delivery_id', v_delivery_id, 'event_id', v_event_id);
end $$;
revoke all on function private.send_test_event(uuid, uuid, text, boolean) from public, anon, authenticated, service_role;
grant execute on function private.send_test_event(uuid, uuid, text, boolean) to authenticated, service_role;

-- Sends the example of an event type to an endpoint, also to one that is paused or disabled, once. The body holds
-- "test": true and seq 0. {"delivery_id", "event_id"}: what came of it stands in webhook_attempts.
create function public.send_test_event(p_tenant_id uuid, p_endpoint_id uuid, p_type text default 'product.updated')
returns jsonb
language sql volatile set search_path = ''
as $$ select private.send_test_event(p_tenant_id, p_endpoint_id, p_type, false) $$;
revoke all on function public.send_test_event(uuid, uuid, text) from public, anon, authenticated, service_role;
grant execute on function public.send_test_event(uuid, uuid, text) to authenticated, service_role;

-- Tests an endpoint and makes it active if it answers with a 2xx; else it stays as it is, and webhook_attempts says why.
create function public.enable_webhook_endpoint(p_tenant_id uuid, p_endpoint_id uuid) returns jsonb
language sql volatile set search_path = ''
as $$ select private.send_test_event(p_tenant_id, p_endpoint_id, 'product.updated', true) $$;
revoke all on function public.enable_webhook_endpoint(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function public.enable_webhook_endpoint(uuid, uuid) to authenticated, service_role;

-- A test to be sent and all that sending takes, in the form of worker.describe_lanes; null when there is none (any more).
create function worker.read_webhook_test(p_delivery_id bigint) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'delivery_id', t.id, 'event_id', t.event_id, 'type', t.type, 'body', t.body, 'created_at', t.created_at,
    'lane', private.lane_settings(l, e)
  )
  from private.webhook_tests t
  join public.webhook_endpoints e on e.id = t.endpoint_id
  join queue.lanes l on l.endpoint_id = e.id
  where t.id = p_delivery_id
$$;
revoke all on function worker.read_webhook_test(bigint) from public, anon, authenticated, service_role;
grant execute on function worker.read_webhook_test(bigint) to service_role;

-- Writes back what came of a test; p_result as for settle_deliveries, with the outcome delivered or failed.
create function worker.settle_webhook_test(p_delivery_id bigint, p_result jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_test private.webhook_tests;
begin
  delete from private.webhook_tests t where t.id = p_delivery_id returning * into v_test;
  if v_test.id is null then
    return jsonb_build_object('settled', 0, 'enabled', false);
  end if;
  perform private.make_partition('webhook_attempts', private.today());
  insert into public.webhook_attempts (attempted_on, delivery_id, attempt, tenant_id, endpoint_id, event_id, event_type,
    kind, outcome, status, error, duration_ms, dns_ms, connect_ms, first_byte_ms, response, started_at, settled_at)
  select private.today(), v_test.id, 1, v_test.tenant_id, v_test.endpoint_id, v_test.event_id, v_test.type, 'test', r.outcome,
    r.status, left(r.error, 500), r.duration_ms, r.dns_ms, r.connect_ms, r.first_byte_ms, left(r.response, 4096),
    r.started_at, private.now()
  from jsonb_to_record(p_result) as r (outcome text, started_at timestamptz, duration_ms numeric, dns_ms numeric,
    connect_ms numeric, first_byte_ms numeric, status integer, error text, response text);
  if v_test.enables and p_result ->> 'outcome' = 'delivered' then
    update public.webhook_endpoints e set status = 'active' where e.id = v_test.endpoint_id and e.status <> 'active';
    return jsonb_build_object('settled', 1, 'enabled', true);
  end if;
  return jsonb_build_object('settled', 1, 'enabled', false);
end $$;
revoke all on function worker.settle_webhook_test(bigint, jsonb) from public, anon, authenticated, service_role;
grant execute on function worker.settle_webhook_test(bigint, jsonb) to service_role;
