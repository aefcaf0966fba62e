-- Webhook endpoints and their secrets.
--
-- An endpoint is a URL that a tenant wants events sent to, and how: which events, how many at once, how fast, in what
-- order, signed with what. What it is owed and what was tried is in …_webhook_queue.sql.
--
--   active ◄──► paused      by its people: nothing is sent, nothing is lost until it expires
--   active ───► disabled    by us, with a reason: 410 Gone, or failing for days; by its people too
--   disabled ─► active      by its people, or by a test that the endpoint passed (enable_webhook_endpoint)

-- True if none of these headers is ours or the connection's, and every value can stand in a header.
create function private.are_free_headers(p_headers jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(bool_and(
    lower(e.key) !~ '^(webhook-.*|host|content-.*|accept-encoding|connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|expect|user-agent)$'
    and e.value #>> '{}' ~ '^[\x20-\x7e]*$'
  ), true)
  from jsonb_each(case jsonb_typeof(p_headers) when 'object' then p_headers else '{}' end) e
$$;
revoke all on function private.are_free_headers(jsonb) from public, anon, authenticated, service_role;
grant execute on function private.are_free_headers(jsonb) to authenticated, service_role;

create table public.webhook_endpoints (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  url text not null
    constraint webhook_endpoints_url_length check (length(url) <= 2048)
    constraint webhook_endpoints_url_scheme check (url ~ '^https?://[^[:space:][:cntrl:]]+$'),
  description text not null default ''
    constraint webhook_endpoints_description_length check (length(description) <= 500)
    constraint webhook_endpoints_description_clean check (private.is_clean(description)),
  labels jsonb not null default '{}'
    constraint webhook_endpoints_labels_form check (private.is_flat_text(labels, '^[A-Za-z0-9_.-]{1,63}$', 200, 20)),
  events text[] not null default '{*}'
    constraint webhook_endpoints_events_some check (cardinality(events) between 1 and 50)
    constraint webhook_endpoints_events_form
    check (array_to_string(events, ',', '!') ~ '^(\*|[a-z_]+\.(\*|[a-z_]+))(,(\*|[a-z_]+\.(\*|[a-z_]+)))*$')
    -- Two types in one text would pass the form above, and match nothing for ever.
    constraint webhook_endpoints_events_single
    check (cardinality(string_to_array(array_to_string(events, ',', '!'), ',')) = cardinality(events)),
  status text not null default 'active'
    constraint webhook_endpoints_status_known check (status in ('active', 'paused', 'disabled')),
  disabled_reason text,
  disabled_at timestamptz,
  timeout_seconds integer not null default 15
    constraint webhook_endpoints_timeout_range check (timeout_seconds between 1 and 30),
  max_concurrency integer not null default 10
    constraint webhook_endpoints_concurrency_range check (max_concurrency between 1 and 100),
  rate_limit_per_second integer
    constraint webhook_endpoints_rate_range check (rate_limit_per_second between 1 and 10000),
  ordered boolean not null default false,
  headers jsonb not null default '{}'
    constraint webhook_endpoints_headers_form
    check (private.is_flat_text(headers, '^[!#$%&''*+.^_`|~0-9A-Za-z-]{1,100}$', 1000, 20))
    constraint webhook_endpoints_headers_ours check (private.are_free_headers(headers)),
  signature text not null default 'hmac'
    constraint webhook_endpoints_signature_known check (signature in ('hmac', 'ed25519')),
  expires_after_hours integer not null default 72
    constraint webhook_endpoints_expiry_range check (expires_after_hours between 1 and 336),
  credentials_changed_at timestamptz not null default private.now(),
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint webhook_endpoints_within_tenant unique (tenant_id, id),
  constraint webhook_endpoints_disabled_why check ((status = 'disabled') = (disabled_reason is not null and disabled_at is not null))
);
comment on table public.webhook_endpoints is 'Where a tenant wants its events; made by create_webhook_endpoint';
comment on column public.webhook_endpoints.events is 'Event types, with wildcards: *, product.*, product.updated';
comment on column public.webhook_endpoints.labels is 'The tenant''s own words for it, text by text: up to 20';
comment on column public.webhook_endpoints.max_concurrency is 'Requests under way at once, at most; fewer while it is slow or fails';
comment on column public.webhook_endpoints.rate_limit_per_second is 'Requests started a second, at most; null: no limit';
comment on column public.webhook_endpoints.ordered is 'Events of one entity are sent one after the other, each when the one before has ended';
comment on column public.webhook_endpoints.headers is 'Sent with every request, text by text; not in the event log';
comment on column public.webhook_endpoints.expires_after_hours is 'An event that could not be delivered for so long expires';
comment on column public.webhook_endpoints.credentials_changed_at is 'When its secrets or headers changed last';

create index webhook_endpoints_resting on public.webhook_endpoints (status) where status <> 'active';
alter table public.webhook_endpoints enable row level security;
create policy "only within one's own tenants" on public.webhook_endpoints
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "managers see their tenant's endpoints" on public.webhook_endpoints
  for select to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.read'))::uuid[]));
create policy "managers change their tenant's endpoints" on public.webhook_endpoints
  for update to authenticated
  using (tenant_id = any ((select private.tenants_with('webhooks.write'))::uuid[]))
  with check (tenant_id = any ((select private.tenants_with('webhooks.write'))::uuid[]));
create policy "managers delete their tenant's endpoints" on public.webhook_endpoints
  for delete to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.write'))::uuid[]));
revoke all on public.webhook_endpoints from anon, authenticated, service_role;
grant select, delete on public.webhook_endpoints to authenticated, service_role;
grant update (url, description, labels, events, status, timeout_seconds, max_concurrency, rate_limit_per_second, ordered,
  headers, expires_after_hours, version)
  on public.webhook_endpoints to authenticated, service_role;

-- BEFORE row trigger: what follows from a change of status, or of the headers. Named to run before stamp_version.
create function private.follow_endpoint_change() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if new.status = 'disabled' and (tg_op = 'INSERT' or old.status <> 'disabled') then
    new.disabled_reason := coalesce(new.disabled_reason, 'disabled by its people');
    new.disabled_at := private.now();
  elsif new.status <> 'disabled' then
    new.disabled_reason := null;
    new.disabled_at := null;
  end if;
  -- The headers are kept out of the log, so that a change of theirs alone would be none for anybody who listens.
  if tg_op = 'UPDATE' and new.headers is distinct from old.headers then
    new.credentials_changed_at := private.now();
  end if;
  return new;
end $$;
revoke all on function private.follow_endpoint_change() from public, anon, authenticated, service_role;
create trigger follow_change before insert or update on public.webhook_endpoints
  for each row execute function private.follow_endpoint_change();
create trigger stamp_version before insert or update on public.webhook_endpoints
  for each row execute function private.stamp_version();

-- Signing secrets; several are valid during a rotation. The text is kept by private.put_secret.
create table private.webhook_secrets (
  secret_id uuid primary key,
  endpoint_id uuid not null references public.webhook_endpoints (id) on delete cascade,
  public_key text,
  created_at timestamptz not null default private.now(),
  expires_at timestamptz
);
comment on table private.webhook_secrets is 'Which secrets sign for an endpoint';
comment on column private.webhook_secrets.public_key is 'whpk_…, what receivers verify with; null of a shared secret';
create index webhook_secrets_by_endpoint on private.webhook_secrets (endpoint_id, created_at desc);
create index webhook_secrets_expiring on private.webhook_secrets (expires_at) where expires_at is not null;
alter table private.webhook_secrets enable row level security;
revoke all on private.webhook_secrets from public, anon, authenticated, service_role;

create trigger drop_secret after delete on private.webhook_secrets
  for each row execute function private.drop_secret_of_row();

-- Makes the secret that an endpoint signs with from now on. Answers what its receiver needs to verify, once:
-- {"secret": "whsec_…"}, or of an Ed25519 pair, whose private half never leaves, {"public_key": "whpk_…"}.
create function private.make_webhook_secret(p_endpoint_id uuid, p_signature text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_bytes constant bytea := extensions.gen_random_bytes(32);
  v_secret constant text := case p_signature when 'ed25519' then 'whsk_' else 'whsec_' end || encode(v_bytes, 'base64');
  v_public_key text;
begin
  if p_signature = 'ed25519' then
    v_public_key := 'whpk_' || encode(private.ed25519_public_key(v_bytes), 'base64');
  end if;
  insert into private.webhook_secrets (secret_id, endpoint_id, public_key)
  values (
    private.put_secret('webhook ' || p_endpoint_id || ' ' || gen_random_uuid(), v_secret), p_endpoint_id, v_public_key
  );
  return case when v_public_key is null then jsonb_build_object('secret', v_secret)
    else jsonb_build_object('public_key', v_public_key) end;
end $$;
revoke all on function private.make_webhook_secret(uuid, text) from public, anon, authenticated, service_role;

-- The endpoint for a command of somebody who has a permission in its tenant.
create function private.endpoint_for(p_tenant_id uuid, p_endpoint_id uuid, p_permission text)
returns public.webhook_endpoints
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_endpoint public.webhook_endpoints;
begin
  perform private.require(p_tenant_id, p_permission);
  select * into v_endpoint from public.webhook_endpoints e where e.tenant_id = p_tenant_id and e.id = p_endpoint_id;
  if v_endpoint.id is null then
    perform private.fail('PT404', 'webhook.not_found', format('There is no webhook endpoint %s in this tenant.', p_endpoint_id));
  end if;
  return v_endpoint;
end $$;
revoke all on function private.endpoint_for(uuid, uuid, text) from public, anon, authenticated, service_role;

create function private.create_webhook_endpoint(
  p_tenant_id uuid, p_url text, p_events text[], p_description text, p_labels jsonb, p_headers jsonb,
  p_timeout_seconds integer, p_max_concurrency integer, p_rate_limit_per_second integer, p_ordered boolean,
  p_signature text, p_expires_after_hours integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_endpoint public.webhook_endpoints;
begin
  perform private.require(p_tenant_id, 'webhooks.write');
  perform private.require_plain(p_labels);
  perform private.require_plain(p_headers);
  insert into public.webhook_endpoints (tenant_id, url, events, description, labels, headers, timeout_seconds,
    max_concurrency, rate_limit_per_second, ordered, signature, expires_after_hours)
  values (p_tenant_id, p_url, p_events, p_description, p_labels, p_headers, p_timeout_seconds,
    p_max_concurrency, p_rate_limit_per_second, p_ordered, p_signature, p_expires_after_hours)
  returning * into v_endpoint;
  return to_jsonb(v_endpoint) || private.make_webhook_secret(v_endpoint.id, p_signature);
end $$;
revoke all on function private.create_webhook_endpoint(
  uuid, text, text[], text, jsonb, jsonb, integer, integer, integer, boolean, text, integer
) from public, anon, authenticated, service_role;
grant execute on function private.create_webhook_endpoint(
  uuid, text, text[], text, jsonb, jsonb, integer, integer, integer, boolean, text, integer
) to authenticated, service_role;

-- Adds an endpoint. The answer is the endpoint with what its receiver verifies with: the signing secret (whsec_…), which
-- is shown this once, or with p_signature 'ed25519' the public key (whpk_…). p_events: event types, with wildcards.
create function public.create_webhook_endpoint(
  p_tenant_id uuid, p_url text, p_events text[] default '{*}', p_description text default '', p_labels jsonb default '{}',
  p_headers jsonb default '{}', p_timeout_seconds integer default 15, p_max_concurrency integer default 10,
  p_rate_limit_per_second integer default null, p_ordered boolean default false, p_signature text default 'hmac',
  p_expires_after_hours integer default 72
) returns jsonb
language sql volatile set search_path = ''
as $$
  select private.create_webhook_endpoint(p_tenant_id, p_url, p_events, p_description, p_labels, p_headers,
    p_timeout_seconds, p_max_concurrency, p_rate_limit_per_second, p_ordered, p_signature, p_expires_after_hours)
$$;
revoke all on function public.create_webhook_endpoint(
  uuid, text, text[], text, jsonb, jsonb, integer, integer, integer, boolean, text, integer
) from public, anon, authenticated, service_role;
grant execute on function public.create_webhook_endpoint(
  uuid, text, text[], text, jsonb, jsonb, integer, integer, integer, boolean, text, integer
) to authenticated, service_role;

create function private.rotate_webhook_secret(
  p_tenant_id uuid, p_endpoint_id uuid, p_overlap_hours numeric, p_signature text
)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_endpoint public.webhook_endpoints := private.endpoint_for(p_tenant_id, p_endpoint_id, 'webhooks.write');
  v_now constant timestamptz := private.now();
  v_until constant timestamptz := v_now + make_interval(secs => p_overlap_hours * 3600);
  v_key jsonb;
begin
  if p_overlap_hours is null or p_overlap_hours not between 0 and 720 then
    perform private.fail('PT422', 'webhook.overlap_range', 'p_overlap_hours must lie between 0 and 720.');
  end if;
  -- Its row first, so that rotations follow each other.
  update public.webhook_endpoints e set credentials_changed_at = v_now, signature = coalesce(p_signature, e.signature)
  where e.id = p_endpoint_id returning * into v_endpoint;
  update private.webhook_secrets s set expires_at = least(coalesce(s.expires_at, v_until), v_until)
  where s.endpoint_id = p_endpoint_id;
  -- Every valid secret signs every request: more than a handful is a loop gone wrong, and the oldest end now.
  update private.webhook_secrets s set expires_at = v_now
  where s.secret_id in (
    select o.secret_id from private.webhook_secrets o
    where o.endpoint_id = p_endpoint_id and (o.expires_at is null or o.expires_at > v_now)
    order by o.created_at desc offset 4
  );
  v_key := private.make_webhook_secret(p_endpoint_id, v_endpoint.signature);
  return jsonb_build_object('endpoint_id', p_endpoint_id, 'old_secrets_expire_at', v_until) || v_key;
end $$;
revoke all on function private.rotate_webhook_secret(uuid, uuid, numeric, text) from public, anon, authenticated, service_role;
grant execute on function private.rotate_webhook_secret(uuid, uuid, numeric, text) to authenticated, service_role;

-- Gives an endpoint a new secret, shown this once: {"endpoint_id", "old_secrets_expire_at", "secret" | "public_key"}. The old
-- ones sign beside it for p_overlap_hours more (0: they end now); at most five are valid at once. p_signature moves the
-- endpoint between 'hmac' and 'ed25519'.
create function public.rotate_webhook_secret(
  p_tenant_id uuid, p_endpoint_id uuid, p_overlap_hours numeric default 24, p_signature text default null
) returns jsonb
language sql volatile set search_path = ''
as $$ select private.rotate_webhook_secret(p_tenant_id, p_endpoint_id, p_overlap_hours, p_signature) $$;
revoke all on function public.rotate_webhook_secret(uuid, uuid, numeric, text) from public, anon, authenticated, service_role;
grant execute on function public.rotate_webhook_secret(uuid, uuid, numeric, text) to authenticated, service_role;

create function private.webhook_keys(p_tenant_id uuid, p_endpoint_id uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
begin
  perform private.endpoint_for(p_tenant_id, p_endpoint_id, 'webhooks.read');
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'id', s.secret_id, 'signature', case when s.public_key is null then 'hmac' else 'ed25519' end,
      'public_key', s.public_key, 'created_at', s.created_at, 'expires_at', s.expires_at
    ) order by s.created_at desc, s.secret_id), '[]')
    from private.webhook_secrets s
    where s.endpoint_id = p_endpoint_id and (s.expires_at is null or s.expires_at > private.now())
  );
end $$;
revoke all on function private.webhook_keys(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function private.webhook_keys(uuid, uuid) to authenticated, service_role;

-- The keys that sign for an endpoint, newest first: [{"id", "signature", "public_key", "created_at", "expires_at"}, …].
-- Shared secrets are not shown again.
create function public.webhook_keys(p_tenant_id uuid, p_endpoint_id uuid) returns jsonb
language sql stable set search_path = ''
as $$ select private.webhook_keys(p_tenant_id, p_endpoint_id) $$;
revoke all on function public.webhook_keys(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function public.webhook_keys(uuid, uuid) to authenticated, service_role;

insert into private.event_map (entity, operation, rank, when_field, when_value, verb, webhooks, description) values
  ('webhook_endpoint', 'INSERT', 9, null, null, 'created', false,
    'An endpoint was added.'),
  ('webhook_endpoint', 'UPDATE', 1, 'status', 'disabled', 'disabled', false,
    'An endpoint was disabled, and disabled_reason says why.'),
  ('webhook_endpoint', 'UPDATE', 9, null, null, 'updated', false,
    'An endpoint was changed, paused or taken up again.'),
  ('webhook_endpoint', 'DELETE', 9, null, null, 'deleted', false,
    'An endpoint is gone.');
select private.log_changes_of('public.webhook_endpoints', 'webhook_endpoint', 'webhooks.read', 'headers');
