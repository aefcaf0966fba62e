-- The wall at creation.
--
-- A URL that a tenant chooses is judged when it is stored, so that who sends it hears at once what is wrong with it,
-- and again by the worker at every send, which resolves the name and checks every address. The rules are those of
-- worker/wall.py and the addresses those of worker/addresses.py: a test holds both sides to the same hostile URLs. The
-- database resolves nothing and has no IDNA: it refuses international names that are not in their xn-- form, and leaves
-- it to the worker whether an xn-- label is a valid one.

create table private.webhook_policy (
  one boolean primary key default true constraint webhook_policy_one_row check (one),
  allow_private_hosts boolean not null default false,
  disable_after interval not null default '5 days'
    constraint webhook_policy_disable_after_range check (disable_after between '1 hour' and '90 days')
);
comment on table private.webhook_policy is 'What the project allows of webhook endpoints: one row';
comment on column private.webhook_policy.allow_private_hosts is
  'Whether http, and hosts of private networks, may be stored: for development alone (the worker has a setting of its own)';
comment on column private.webhook_policy.disable_after is 'How long an endpoint may fail without a break before it is disabled';
alter table private.webhook_policy enable row level security;
revoke all on private.webhook_policy from public, anon, authenticated, service_role;
insert into private.webhook_policy default values;

-- Whether an address is global unicast; whatever is unknown is not. The table of worker/addresses.py.
create function private.is_public_address(p_address inet) returns boolean
language sql immutable set search_path = ''
as $$
  select case family(p_address)
    when 4 then not p_address <<= any ('{
      0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12,
      192.0.0.0/24, 192.0.2.0/24, 192.31.196.0/24, 192.52.193.0/24, 192.88.99.0/24,
      192.168.0.0/16, 192.175.48.0/24, 198.18.0.0/15, 198.51.100.0/24, 203.0.113.0/24,
      224.0.0.0/4, 240.0.0.0/4, 168.63.129.16/32
    }'::inet[])
    when 6 then p_address <<= '2000::/3'
      and not p_address <<= any ('{
        2001::/23, 2001:db8::/32, 2002::/16, 2620:4f:8000::/48, 3ffe::/16, 3fff::/20
      }'::inet[])
      -- ISATAP (RFC 5214): an interface id that begins like this carries an IPv4 address
      and p_address & '::ffff:ffff:0:0' not in (inet '::5efe:0:0', inet '::200:5efe:0:0')
    else false
  end
$$;
revoke all on function private.is_public_address(inet) from public, anon, authenticated, service_role;

-- What speaks against sending webhooks to a URL, in a sentence; null when nothing does. Anything that two parsers could
-- read in two ways is refused. p_private also passes http, and names and addresses of private networks.
create function private.url_problem(p_url text, p_private boolean default false) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  -- https://fetch.spec.whatwg.org/#port-blocking, and the ports of databases and agents
  v_bad_ports constant integer[] := '{
    1719,1720,1723,2049,3659,4045,4190,5060,5061,6000,6566,6665,6666,6667,6668,6669,6679,6697,10080,
    1433,1521,2375,2376,2379,2380,3306,3389,5432,5900,5984,5985,5986,
    6379,6443,9042,9092,9200,9300,10250,11211,27017,50000
  }';
  v_private_names constant text[] := '{
    alt,arpa,corp,home,internal,intranet,invalid,lan,local,localdomain,localhost,onion,private,test
  }';
  v_quad constant text := '((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.|$)){4}(?<!\.)$';
  v_private constant boolean := coalesce(p_private, false);
  v_url text[];
  v_authority text[];
  v_secure boolean;
  v_host text;
  v_port integer;
  v_last text;
  v_literal inet;
begin
  if p_url is null then
    return null;
  end if;
  if length(p_url) > 2048 then
    return 'The URL is longer than 2048 characters.';
  end if;
  v_url := regexp_match(p_url, '^[Hh][Tt][Tt][Pp]([Ss]?)://([^/?#\\]*)((?:/[^?#]*)?(?:\?[^#]*)?)$');
  if v_url is null then
    return 'The URL is not of the form https://host/path.';
  end if;
  v_secure := v_url[1] <> '';
  if not (v_secure or v_private) then
    return 'Only https is allowed.';
  end if;
  if strpos(v_url[2], '@') > 0 then
    return 'Credentials in the URL are not allowed.';
  end if;
  if v_url[3] !~ '^[]!$-;=?-Z[_a-z~]*$' then
    return 'The path or query holds characters that must be percent-encoded.';
  end if;

  v_authority := regexp_match(v_url[2], '^(\[[^][]*\]|[^]:[]*)(?::([0-9]{1,5}))?$');
  if v_authority is null then
    return 'The host and port are not well-formed.';
  end if;
  v_port := coalesce(v_authority[2]::integer, case when v_secure then 443 else 80 end);
  if v_port not between 1 and 65535 or v_port = any (v_bad_ports) or (v_port < 1024 and v_port not in (80, 443)) then
    return format('Port %s is not allowed.', v_port);
  end if;

  v_host := v_authority[1];
  if v_host ~ '[^\x01-\x7f]' then
    return 'The host name holds other characters than ASCII: send its xn-- form.';
  end if;
  v_host := lower(v_host collate "C");
  if left(v_host, 1) = '[' then
    v_host := substr(v_host, 2, length(v_host) - 2);
    -- Postgres reads ::1.2.3 too.
    if v_host !~ '^[0-9a-f:.]*:[0-9a-f:.]*$' or (v_host ~ '\.' and v_host !~ (':' || v_quad))
      or not pg_input_is_valid(v_host, 'inet') then
      return 'The IPv6 address is not well-formed.';
    end if;
    v_literal := v_host::inet;
  else
    if length(v_host) > 253
      or v_host !~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$' then
      return 'The host name is not well-formed.';
    end if;
    v_last := substring(v_host from '[^.]*$');
    -- Other parsers read such a name as an IPv4 address (127.1, 0x7f.1, 2130706433).
    if v_last ~ '^([0-9]+|0x[0-9a-f]*)$' then
      if v_host !~ ('^' || v_quad) then
        return 'The host looks like an IPv4 address, but is not a plain one.';
      end if;
      v_literal := v_host::inet;
    elsif not v_private and (v_last = v_host or v_last = any (v_private_names)) then
      return format('%s: names of private networks are not allowed.', v_host);
    -- Lenient parsers stop reading 127.0.0.1e0 where its numbers end.
    elsif not v_private and v_last !~ '^([a-z]{2,}|xn--[a-z0-9-]+)$' then
      return format('%s: there is no such top-level domain.', v_host);
    end if;
  end if;
  if not v_private and v_literal is not null and not private.is_public_address(v_literal) then
    return format('%s is not a public address.', host(v_literal));
  end if;
  return null;
end $$;
revoke all on function private.url_problem(text, boolean) from public, anon, authenticated, service_role;

-- A URL that is left as it is was judged when it came: a stricter policy does not lock its endpoint.
create function private.judge_endpoint_url() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_problem text;
begin
  if tg_op = 'UPDATE' and new.url = old.url then
    return new;
  end if;
  v_problem := private.url_problem(new.url, (select p.allow_private_hosts from private.webhook_policy p));
  if v_problem is not null then
    perform private.fail('PT422', 'webhook.url_refused', v_problem,
      'Send https://host/path with the name of a host that the whole internet reaches.');
  end if;
  return new;
end $$;
revoke all on function private.judge_endpoint_url() from public, anon, authenticated, service_role;
create trigger judge_url before insert or update of url on public.webhook_endpoints
  for each row execute function private.judge_endpoint_url();
