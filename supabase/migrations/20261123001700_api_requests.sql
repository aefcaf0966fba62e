-- Requests of the edge adapter.
--
-- The adapter reads a key with its secrets, and asks here whether a request may pass where it has no Redis: each nonce
-- passes once, and rates are limited per key and per address. What it counts and the nonces that it took in Redis it hands
-- in later, in batches, so that a Redis that goes takes none of them along.
--
-- Its cache lives by the log: an entry remembers the number that the tenant's log had before it was filled, and is fresh while
-- no later event is about what it shows (private.cached_entities). Dispatch queues one job for each tenant that is cached
-- and had such events; the job asks changed_tags and tells Redis.

-- Nonces that were taken. A request is refused by its time after 5 minutes, and clocks differ: kept for 11.
create table private.api_nonces (
  api_key_id uuid not null,
  nonce text not null constraint api_nonces_length check (length(nonce) between 1 and 64),
  forget_at timestamptz not null,
  primary key (api_key_id, nonce)
);
comment on table private.api_nonces is 'Nonces of signed requests, each good for one';
create index api_nonces_by_age on private.api_nonces (forget_at);
alter table private.api_nonces enable row level security;
revoke all on private.api_nonces from public, anon, authenticated, service_role;

-- Rates, as in GCRA: full_at is when the subject, left alone, may do all of a minute's requests at once again. Unlogged: after
-- a crash everybody begins anew.
create unlogged table private.api_rates (
  subject text primary key,
  full_at timestamptz not null
);
comment on table private.api_rates is 'How far keys and addresses have used their requests up';
alter table private.api_rates set (fillfactor = 50);
alter table private.api_rates enable row level security;
revoke all on private.api_rates from public, anon, authenticated, service_role;

create table public.api_key_usage (
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  api_key_id uuid not null references public.api_keys (id) on delete cascade,
  day date not null,
  requests bigint not null default 0,
  refused bigint not null default 0,
  cache_hit bigint not null default 0,
  cache_miss bigint not null default 0,
  cache_stale bigint not null default 0,
  cache_joined bigint not null default 0,
  cache_bypass bigint not null default 0,
  primary key (api_key_id, day)
);
comment on table public.api_key_usage is 'Requests by API key and day (UTC), and how the cache answered them; kept for 400 days';
comment on column public.api_key_usage.refused is 'Of the requests: replays, those over the limit, and those from other networks';
create index api_key_usage_by_tenant on public.api_key_usage (tenant_id, day);
create index api_key_usage_by_day on public.api_key_usage (day);
alter table public.api_key_usage set (fillfactor = 50);
alter table public.api_key_usage enable row level security;
create policy "only within one's own tenants" on public.api_key_usage
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "managers see how keys are used" on public.api_key_usage
  for select to authenticated using (tenant_id = any ((select private.tenants_with('api_keys.read'))::uuid[]));
revoke all on public.api_key_usage from anon, authenticated, service_role;
grant select on public.api_key_usage to authenticated, service_role;

create function private.api_count_names() returns text[]
language sql immutable set search_path = ''
as $$
  select '{ok,invalid,refused,limited,busy,failed,hit,miss,stale,joined,bypass,stampedes,early,origin_refused}'::text[]
$$;
revoke all on function private.api_count_names() from public, anon, authenticated, service_role;

-- What instances of the adapter counted since each began, for the operator: a call that hands it in twice, late or after its
-- twin raises nothing, and one that got lost is made good by the next. Of nobody: a tenant that is erased takes nothing along,
-- so sums never fall. Instances of long ago are added up under the nil UUID.
create table private.api_counts (
  instance_id uuid not null,
  name text not null constraint api_counts_name_known check (name = any (private.api_count_names())),
  count bigint not null constraint api_counts_count_positive check (count >= 0),
  primary key (instance_id, name)
);
comment on table private.api_counts is 'Requests by how they ended, and reads by what the cache did, by instance of the edge adapter';
alter table private.api_counts set (fillfactor = 50);
alter table private.api_counts enable row level security;
revoke all on private.api_counts from public, anon, authenticated, service_role;

create table private.api_instances (
  instance_id uuid primary key,
  cached boolean not null,
  seen_at timestamptz not null
);
comment on table private.api_instances is 'Instances of the edge adapter that counted lately';
comment on column private.api_instances.cached is 'Whether it has a Redis, and waits for a worker to tell it what changes';
alter table private.api_instances set (fillfactor = 50);
alter table private.api_instances enable row level security;
revoke all on private.api_instances from public, anon, authenticated, service_role;

create function private.log_place(p_tenant_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('epoch', e.epoch, 'seq', coalesce((select t.seq from private.tenant_log t where t.tenant_id = p_tenant_id), 0))
  from private.log_epoch e
$$;
revoke all on function private.log_place(uuid) from public, anon, authenticated, service_role;

-- Notes that a tenant's answers are cached, for a day; at most twice a day. Under the lock of dispatch: a slice that could
-- not see the mark yet is in the log when this returns, and what its caller reads next is newer.
create function private.mark_cached(p_tenant_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_now constant timestamptz := private.now();
begin
  if exists (select from private.cached_tenants c where c.tenant_id = p_tenant_id and c.until > v_now + interval '12 hours') then
    return;
  end if;
  -- a mark that dispatch sees is only prolonged, and whoever signs in waits for no slice
  update private.cached_tenants c set until = v_now + interval '1 day'
  where c.tenant_id = p_tenant_id and c.until > v_now + interval '1 minute';
  if found then
    return;
  end if;
  perform private.lock_dispatch();
  insert into private.cached_tenants as c (tenant_id, until) values (p_tenant_id, v_now + interval '1 day')
  on conflict (tenant_id) do update set until = greatest(c.until, excluded.until);
end $$;
revoke all on function private.mark_cached(uuid) from public, anon, authenticated, service_role;

-- A key that may be used, or null: {"api_key_id", "tenant_id", "role", "permissions", "fingerprint", "secrets": newest first,
-- "expires_at", "allowed_ips": null for any, "rate_per_minute": null for the adapter's own, "epoch", "seq"}. Keys of one tenant
-- with equal permissions have equal fingerprints. epoch and seq are of the log before the rest was read. p_cached: the caller
-- caches answers, and dispatch shall say what changes, for a day.
create function worker.read_api_key(p_api_key_id uuid, p_cached boolean default false) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_now constant timestamptz := private.now();
  v_tenant_id constant uuid := (
    select m.tenant_id from public.memberships m where m.principal_id = p_api_key_id and m.kind = 'api_key' limit 1);
  v_place jsonb;
  v_key jsonb;
begin
  if v_tenant_id is null then
    return null;
  end if;
  if p_cached then
    perform private.mark_cached(v_tenant_id);
  end if;
  v_place := private.log_place(v_tenant_id);
  select jsonb_build_object('api_key_id', k.id, 'tenant_id', k.tenant_id, 'role', m.role, 'permissions', p.permissions,
    'fingerprint', left(encode(sha256(convert_to(k.tenant_id || ' ' || p.permissions::text, 'UTF8')), 'hex'), 32),
    'secrets', (
      select coalesce(jsonb_agg(private.read_secret(s.secret_id) order by s.turn desc), '[]')
      from private.api_key_secrets s where s.api_key_id = k.id and (s.expires_at is null or s.expires_at > v_now)),
    'expires_at', k.expires_at, 'allowed_ips', k.allowed_ips, 'rate_per_minute', k.rate_per_minute, 'version', k.version)
  into v_key
  from public.api_keys k
  join public.memberships m on m.tenant_id = k.tenant_id and m.principal_id = k.id
  cross join lateral (select to_jsonb(private.permissions_of(m.role, m.scopes)) as permissions) p
  where k.id = p_api_key_id and k.status = 'active' and (m.expires_at is null or m.expires_at > v_now);
  return v_key || v_place;
end $$;
revoke all on function worker.read_api_key(uuid, boolean) from public, anon, authenticated, service_role;
grant execute on function worker.read_api_key(uuid, boolean) to service_role;

-- Counts a request of a subject: {"admitted", "why": null | "limited", "remaining", "reset_seconds"}. reset_seconds: until
-- everything may be done at once again, or, of a refused one, until the next passes.
create function private.admit(p_subject text, p_rate_per_minute integer) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_now constant timestamptz := private.now();
  v_rate constant integer := least(greatest(coalesce(p_rate_per_minute, 1), 1), 1000000);
  -- cut, not rounded up: a minute must hold all of them
  v_each constant interval := make_interval(secs => trunc(60.0 / v_rate, 6)::double precision);
  v_full_at timestamptz;
begin
  insert into private.api_rates as r (subject, full_at) values (p_subject, v_now + v_each)
  on conflict (subject) do update set full_at = greatest(r.full_at, v_now) + v_each
  where greatest(r.full_at, v_now) + v_each <= v_now + interval '1 minute'
  returning r.full_at into v_full_at;
  if found then
    return jsonb_build_object('admitted', true, 'why', null,
      'remaining', floor(extract(epoch from v_now + interval '1 minute' - v_full_at) / extract(epoch from v_each))::integer,
      'reset_seconds', ceil(extract(epoch from v_full_at - v_now))::integer);
  end if;
  select r.full_at into v_full_at from private.api_rates r where r.subject = p_subject;
  return jsonb_build_object('admitted', false, 'why', 'limited', 'remaining', 0, 'reset_seconds',
    greatest(1, ceil(extract(epoch from v_full_at + v_each - v_now - interval '1 minute')))::integer);
end $$;
revoke all on function private.admit(text, integer) from public, anon, authenticated, service_role;

-- How long a nonce is remembered. A request of the future is good until its own time comes, so that counts too.
create function private.forget_nonce_at(p_signed_at timestamptz) returns timestamptz
language sql volatile set search_path = ''
as $$
  select greatest(n.now, least(p_signed_at, n.now + interval '10 minutes')) + interval '11 minutes'
  from (select private.now() as now offset 0) n
$$;
revoke all on function private.forget_nonce_at(timestamptz) from public, anon, authenticated, service_role;

-- Lets a signed request of a key pass, once by its nonce and at the key's rate: {"admitted", "why": null | "replayed" |
-- "limited", "remaining", "reset_seconds"}. A request over the rate leaves no row, however many there are, and its nonce is
-- still good; a replay does not count.
create function worker.admit_request(
  p_api_key_id uuid, p_nonce text, p_signed_at timestamptz, p_rate_per_minute integer, p_version bigint default null
) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_replayed constant jsonb := '{"admitted": false, "why": "replayed", "remaining": 0, "reset_seconds": 0}';
  v_verdict jsonb;
begin
  if p_version is not null and not exists (
    select from public.api_keys k
    where k.id = p_api_key_id and k.version = p_version and k.status = 'active'
      and (k.expires_at is null or k.expires_at > private.now())) then
    return '{"admitted": false, "why": "changed", "remaining": 0, "reset_seconds": 0}';
  end if;
  if exists (select from private.api_nonces n where n.api_key_id = p_api_key_id and n.nonce = p_nonce) then
    return v_replayed;
  end if;
  v_verdict := private.admit('key ' || p_api_key_id, p_rate_per_minute);
  if not (v_verdict ->> 'admitted')::boolean then
    return v_verdict;
  end if;
  -- twins both came this far
  insert into private.api_nonces (api_key_id, nonce, forget_at)
  values (p_api_key_id, p_nonce, private.forget_nonce_at(p_signed_at))
  on conflict do nothing;
  return case when found then v_verdict else v_replayed end;
end $$;
revoke all on function worker.admit_request(uuid, text, timestamptz, integer, bigint) from public, anon, authenticated, service_role;
grant execute on function worker.admit_request(uuid, text, timestamptz, integer, bigint) to service_role;

-- Lets a request of an address pass at a rate, before anybody knows whose it is; answers as admit_request does. Of IPv6 a
-- whole /64 is one address: who has one has them all.
create function worker.admit_address(p_address text, p_rate_per_minute integer) returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select private.admit('address ' || case
    when not pg_input_is_valid(p_address, 'inet') then left(coalesce(p_address, ''), 64)
    when family(p_address::inet) = 6 then network(set_masklen(p_address::inet, 64))::text
    else host(p_address::inet) end, p_rate_per_minute)
$$;
revoke all on function worker.admit_address(text, integer) from public, anon, authenticated, service_role;
grant execute on function worker.admit_address(text, integer) to service_role;

-- Takes what an instance counted since it began: {"id", "cached", "counts": {name: n}}. Names that nobody knows here are a newer
-- adapter's.
create function private.note_api_counts(p_instance jsonb) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_id constant uuid := (p_instance ->> 'id')::uuid;
  v_now constant timestamptz := private.now();
begin
  insert into private.api_instances as i (instance_id, cached, seen_at)
  values (v_id, (p_instance ->> 'cached')::boolean, v_now)
  on conflict (instance_id) do update set cached = excluded.cached, seen_at = excluded.seen_at
  where i.seen_at < v_now - interval '10 s' or i.cached <> excluded.cached;
  insert into private.api_counts as c (instance_id, name, count)
  select v_id, n.name, (p_instance -> 'counts' ->> n.name)::bigint
  from unnest(private.api_count_names()) as n (name)
  where (p_instance -> 'counts' ->> n.name)::bigint > 0
  order by n.name
  on conflict (instance_id, name) do update set count = excluded.count where c.count < excluded.count;
end $$;
revoke all on function private.note_api_counts(jsonb) from public, anon, authenticated, service_role;

-- Adds up what instances counted that were not heard of for two hours: one that is not heard for one hour begins anew, under
-- another id.
create function private.fold_api_counts() returns void
language sql volatile security definer set search_path = ''
as $$
  with gone as (
    delete from private.api_instances i where i.seen_at < private.now() - interval '2 hours' returning i.instance_id
  ), counted as (
    delete from private.api_counts c using gone where c.instance_id = gone.instance_id returning c.name, c.count
  )
  insert into private.api_counts as c (instance_id, name, count)
  select '00000000-0000-0000-0000-000000000000', counted.name, sum(counted.count) from counted group by counted.name
  on conflict (instance_id, name) do update set count = c.count + excluded.count
$$;
revoke all on function private.fold_api_counts() from public, anon, authenticated, service_role;

-- Takes what an adapter counted since it last did: [{"api_key_id", "day", "requests", "refused", "cache": {"hit", "miss", "stale",
-- "joined", "bypass"}, "last_used_at", "nonces": [{"nonce", "signed_at"}]}], at most 1,000, and what the instance counted in all
-- (see note_api_counts). Returns {"noted": keys that there are}. Rows in one order, so that adapters do not wait for each other in a ring.
create function worker.note_api_use(p_uses jsonb, p_instance jsonb default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_today constant date := private.today();
  v_now constant timestamptz := private.now();
  v_noted integer;
begin
  if jsonb_typeof(p_uses) is distinct from 'array' or jsonb_array_length(p_uses) > 1000 then
    perform private.fail('PT422', 'row.invalid', 'p_uses must be an array of at most 1,000 objects.');
  end if;
  with used as (
    select u.api_key_id, least(greatest(coalesce(u.day, v_today), v_today - 1), v_today + 1) as day, sum(u.requests) as requests, sum(u.refused) as refused,
      sum((u.cache ->> 'hit')::bigint) as hit, sum((u.cache ->> 'miss')::bigint) as miss, sum((u.cache ->> 'stale')::bigint) as stale,
      sum((u.cache ->> 'joined')::bigint) as joined, sum((u.cache ->> 'bypass')::bigint) as bypass
    from jsonb_to_recordset(p_uses) as u (api_key_id uuid, day date, requests bigint, refused bigint, cache jsonb)
    group by 1, 2
  ), counted as (
    insert into public.api_key_usage as a
      (tenant_id, api_key_id, day, requests, refused, cache_hit, cache_miss, cache_stale, cache_joined, cache_bypass)
    select k.tenant_id, k.id, u.day, coalesce(u.requests, 0), coalesce(u.refused, 0), coalesce(u.hit, 0), coalesce(u.miss, 0),
      coalesce(u.stale, 0), coalesce(u.joined, 0), coalesce(u.bypass, 0)
    from used u join public.api_keys k on k.id = u.api_key_id
    order by k.id, u.day
    on conflict (api_key_id, day) do update
    set requests = a.requests + excluded.requests, refused = a.refused + excluded.refused,
        cache_hit = a.cache_hit + excluded.cache_hit, cache_miss = a.cache_miss + excluded.cache_miss,
        cache_stale = a.cache_stale + excluded.cache_stale, cache_joined = a.cache_joined + excluded.cache_joined,
        cache_bypass = a.cache_bypass + excluded.cache_bypass
    returning a.api_key_id
  )
  select count(distinct c.api_key_id) into v_noted from counted c;

  update public.api_keys k set last_used_at = u.at
  from (
    select l.api_key_id, least(max(l.last_used_at), v_now) as at
    from jsonb_to_recordset(p_uses) as l (api_key_id uuid, last_used_at timestamptz) group by 1
  ) u
  where k.id = u.api_key_id and k.id = any (array(
    -- one that a twin or a command holds is noted the next time
    select o.id from public.api_keys o
    where o.id = any (array(select l.api_key_id from jsonb_to_recordset(p_uses) as l (api_key_id uuid)))
    order by o.id for no key update skip locked
  )) and u.at > coalesce(k.last_used_at, '-infinity') + interval '10 s';

  insert into private.api_nonces (api_key_id, nonce, forget_at)
  select u.api_key_id, n.nonce, max(private.forget_nonce_at(n.signed_at))
  from jsonb_to_recordset(p_uses) as u (api_key_id uuid, nonces jsonb)
  cross join jsonb_to_recordset(u.nonces) as n (nonce text, signed_at timestamptz)
  group by 1, 2 order by 1, 2
  on conflict do nothing;
  if p_instance is not null then
    perform private.note_api_counts(p_instance);
  end if;
  return jsonb_build_object('noted', v_noted);
end $$;
revoke all on function worker.note_api_use(jsonb, jsonb) from public, anon, authenticated, service_role;
grant execute on function worker.note_api_use(jsonb, jsonb) to service_role;

-- A tenant's place in its log: {"epoch", "seq", "through", "until"}. p_wait: with everything in it that was committed before the
-- call, by whomever it is dispatched. A change is in the outbox or, in the same transaction, in the log: so one look that
-- finds none of the tenant tells that the log has them all. If one slice of dispatch was not enough, through is false, and
-- until is to be given back as p_until: what is younger is not waited for.
create function worker.log_seq(p_tenant_id uuid, p_wait boolean default false, p_until bigint default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_until bigint;
begin
  if p_wait then
    v_until := private.dispatch_for(p_tenant_id, p_until);
  end if;
  return private.log_place(p_tenant_id) || jsonb_build_object('through', p_wait and v_until is null, 'until', v_until);
end $$;
revoke all on function worker.log_seq(uuid, boolean, bigint) from public, anon, authenticated, service_role;
grant execute on function worker.log_seq(uuid, boolean, bigint) to service_role;

-- What changed in a tenant after a number of its log: {"epoch", "seq", "tags": {tag: the last number at which something of it
-- changed}, "keys": {id of an API key: the last at which it or its membership did}}; what did not change is left out. If the
-- log does not reach back to p_after (another epoch, none, or forgotten), everything changed at its last number.
create function worker.changed_tags(p_tenant_id uuid, p_epoch text, p_after bigint) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_place constant jsonb := private.log_place(p_tenant_id);
  v_seq constant bigint := (v_place ->> 'seq')::bigint;
  v_reach record := private.log_reach(p_tenant_id);
begin
  if p_epoch is distinct from v_place ->> 'epoch'
    or private.why_snapshot(p_epoch, p_after, v_place ->> 'epoch', v_reach.head, v_reach.first) is not null then
    return v_place || jsonb_build_object(
      'tags', (select jsonb_object_agg(t.tag, v_seq) from (select distinct c.tag from private.cached_entities c where c.tag is not null) t),
      'keys', (select coalesce(jsonb_object_agg(k.id, v_seq), '{}') from public.api_keys k where k.tenant_id = p_tenant_id));
  end if;
  return v_place || (
    select jsonb_build_object(
      'tags', coalesce(jsonb_object_agg(g.tag, g.seq) filter (where g.tag is not null), '{}'),
      'keys', coalesce(jsonb_object_agg(g.key, g.seq) filter (where g.key is not null), '{}'))
    from (
      select c.tag, k.key, max(e.seq) as seq
      from public.events e
      join private.cached_entities c on c.entity = e.entity
      cross join lateral (
        select case
          when e.entity = 'api_key' then e.entity_id::text
          when e.entity = 'membership' and e.body::jsonb #>> '{data,object,kind}' = 'api_key' then e.body::jsonb #>> '{data,object,principal_id}'
        end as key
      ) k
      where e.tenant_id = p_tenant_id and e.seq > p_after and e.seq <= v_seq
      group by 1, 2
    ) g
  );
end $$;
revoke all on function worker.changed_tags(uuid, text, bigint) from public, anon, authenticated, service_role;
grant execute on function worker.changed_tags(uuid, text, bigint) to service_role;

-- Forgets what requests left: nonces past their time, rates that are full again, secrets an hour after their end, marks of
-- tenants that nobody caches, and usage of more than 400 days ago; adds up what instances of long ago counted; and ends keys that expired 30 days ago. Returns {"nonces", "rates", "secrets", "more"}; more: call again.
create function worker.forget_api_requests(p_limit integer default 20000) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_now constant timestamptz := private.now();
  v_nonces integer;
  v_rates integer;
  v_secrets integer;
  v_key record;
begin
  delete from private.api_nonces n where n.ctid = any (array(
    select o.ctid from private.api_nonces o where o.forget_at < v_now order by o.forget_at limit p_limit for update skip locked));
  get diagnostics v_nonces = row_count;
  delete from private.api_rates r where r.ctid = any (array(
    select o.ctid from private.api_rates o where o.full_at < v_now limit p_limit for update skip locked));
  get diagnostics v_rates = row_count;
  delete from private.api_key_secrets s where s.expires_at < v_now - interval '1 hour';
  get diagnostics v_secrets = row_count;
  delete from private.cached_tenants c where c.until < v_now;
  perform private.fold_api_counts();
  for v_key in
    select k.id, k.tenant_id from public.api_keys k
    where k.status = 'active' and k.expires_at < v_now - interval '30 days' order by k.tenant_id, k.id limit 100
  loop
    perform private.lock_roles(v_key.tenant_id);
    -- it may have been prolonged meanwhile
    perform private.end_api_key(k.id) from public.api_keys k
    where k.id = v_key.id and k.status = 'active' and k.expires_at < v_now - interval '30 days';
  end loop;
  delete from public.api_key_usage u where u.day < private.today() - 400;
  return jsonb_build_object('nonces', v_nonces, 'rates', v_rates, 'secrets', v_secrets,
    'more', v_nonces >= p_limit or v_rates >= p_limit);
end $$;
revoke all on function worker.forget_api_requests(integer) from public, anon, authenticated, service_role;
grant execute on function worker.forget_api_requests(integer) to service_role;
