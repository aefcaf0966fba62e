CREATE SCHEMA private;

COMMENT ON SCHEMA private IS 'Rules and state behind public. Not exposed.';

CREATE SCHEMA public;

COMMENT ON SCHEMA public IS 'standard public schema';

CREATE SCHEMA queue;

COMMENT ON SCHEMA queue IS 'Work that waits: deliveries, retries, jobs, leases. Not exposed.';

CREATE SCHEMA worker;

COMMENT ON SCHEMA worker IS 'RPCs of the worker daemon (service_role only); see docs/worker-rpc.md';

CREATE TYPE private.webhook_turn AS (
	number bigint,
	occurred_at timestamp with time zone,
	too_early boolean,
	received_at timestamp with time zone,
	id uuid
);

CREATE DOMAIN worker."application/json" AS text;

COMMENT ON DOMAIN worker."application/json" IS 'JSON that is put together as text';

CREATE FUNCTION private.accept_invitation(p_token text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_hash constant bytea := sha256(convert_to(coalesce(p_token, ''), 'UTF8'));
  v_tenant_id constant uuid := (select i.tenant_id from public.invitations i where i.token_hash = v_hash);
  v_invitation public.invitations;
  v_member public.memberships;
begin
  if auth.uid() is null then
    perform private.fail('PT401', 'auth.required', 'Sign in with the invited address to accept.');
  end if;
  perform private.lock_roles(v_tenant_id);
  select * into v_invitation from public.invitations i where i.token_hash = v_hash for update;
  select * into v_member from public.memberships m
  where m.tenant_id = v_tenant_id and m.principal_id = auth.uid();
  if v_member.id is not null and v_invitation.accepted_by = auth.uid() then
    return to_jsonb(v_member);  -- the answer to the first call may have been lost
  end if;
  perform private.check_invitation(v_invitation);
  if v_member.id is not null then
    perform private.fail('PT409', 'member.exists', 'You belong to the tenant already.');
  end if;
  insert into public.memberships (tenant_id, principal_id, role) values (v_tenant_id, auth.uid(), v_invitation.role)
  returning * into v_member;
  update public.invitations i set status = 'accepted', accepted_by = auth.uid() where i.id = v_invitation.id;
  if v_member.role = 'owner' then
    update public.tenants t set orphaned_at = null where t.id = v_tenant_id and t.orphaned_at is not null;
  end if;
  return to_jsonb(v_member);
end $$;

CREATE FUNCTION private.admit(p_subject text, p_rate_per_minute integer) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
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

CREATE FUNCTION private.now() RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$ begin return clock_timestamp(); end $$;

CREATE TABLE public.stock_levels (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    product_id uuid NOT NULL,
    location_id uuid NOT NULL,
    on_hand bigint DEFAULT 0 NOT NULL,
    reserved bigint DEFAULT 0 NOT NULL,
    safety bigint DEFAULT 0 NOT NULL,
    reorder_point bigint,
    backorder_limit bigint DEFAULT 0 NOT NULL,
    shortfall bigint DEFAULT 0 NOT NULL,
    low_since timestamp with time zone,
    out_since timestamp with time zone,
    counted_at timestamp with time zone,
    repaired_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT stock_levels_backorder_limit_not_negative CHECK ((backorder_limit >= 0)),
    CONSTRAINT stock_levels_on_hand_not_negative CHECK ((on_hand >= 0)),
    CONSTRAINT stock_levels_promises_kept CHECK ((reserved <= ((on_hand + backorder_limit) + shortfall))),
    CONSTRAINT stock_levels_reorder_point_not_negative CHECK ((reorder_point >= 0)),
    CONSTRAINT stock_levels_reserved_not_negative CHECK ((reserved >= 0)),
    CONSTRAINT stock_levels_safety_not_negative CHECK ((safety >= 0)),
    CONSTRAINT stock_levels_shortfall_not_negative CHECK ((shortfall >= 0))
)
WITH (fillfactor='80');

COMMENT ON TABLE public.stock_levels IS 'What a location has of a product; changed by commands only';

COMMENT ON COLUMN public.stock_levels.reserved IS 'Promised: what held and committed reservations still wait for';

COMMENT ON COLUMN public.stock_levels.safety IS 'Kept back: no reservation reaches into it';

COMMENT ON COLUMN public.stock_levels.backorder_limit IS 'How much may be promised beyond what is there';

COMMENT ON COLUMN public.stock_levels.shortfall IS 'Promised beyond the limit, because a count found less; above 0 nothing more is promised';

CREATE FUNCTION private.allocate(p_levels public.stock_levels[], p_lines jsonb) RETURNS TABLE(level_id uuid, quantity bigint)
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    SET enable_hashjoin TO 'on'
    AS $$
begin
  return query
  with line as (
    select l.product_id, l.location_id, sum(l.quantity) as quantity
    from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid, quantity bigint)
    group by l.product_id, l.location_id
  ), level as (
    select s.id, s.product_id, coalesce(l.quantity, 0) as named,
      case when s.shortfall > 0 then 0
        else greatest(0, s.on_hand - s.reserved - s.safety + s.backorder_limit) end as available
    from unnest(p_levels) s
    left join line l on l.product_id = s.product_id and l.location_id = s.location_id
  ), queue as (
    select v.*, greatest(0, v.available - v.named) as spare,
      coalesce(sum(greatest(0, v.available - v.named)) over (
        partition by v.product_id order by v.available - v.named desc, v.id
        rows between unbounded preceding and 1 preceding
      ), 0) as before
    from level v
  ), taken as (
    select q.id,
      (least(q.named, q.available) + greatest(0, least(q.spare, coalesce(l.quantity, 0) - q.before)))::bigint as quantity
    from queue q
    left join line l on l.product_id = q.product_id and l.location_id is null
  )
  select t.id, t.quantity from taken t where t.quantity > 0;
end $$;

CREATE FUNCTION private.api_count_names() RETURNS text[]
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select '{ok,invalid,refused,limited,busy,failed,hit,miss,stale,joined,bypass,stampedes,early,origin_refused}'::text[]
$$;

CREATE FUNCTION private.is_clean(p_text text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$ select p_text !~ '[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]' $$;

CREATE TABLE public.api_keys (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    scopes text[],
    status text DEFAULT 'active'::text NOT NULL,
    expires_at timestamp with time zone,
    allowed_ips cidr[],
    rate_per_minute integer,
    secret_changed_at timestamp with time zone DEFAULT private.now() NOT NULL,
    last_used_at timestamp with time zone,
    created_by uuid,
    revoked_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT api_keys_allowed_ips_some CHECK (((cardinality(allowed_ips) >= 1) AND (cardinality(allowed_ips) <= 50))),
    CONSTRAINT api_keys_expires_at_finite CHECK (isfinite(expires_at)),
    CONSTRAINT api_keys_name_clean CHECK (private.is_clean(name)),
    CONSTRAINT api_keys_name_length CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT api_keys_rate_range CHECK (((rate_per_minute >= 1) AND (rate_per_minute <= 100000))),
    CONSTRAINT api_keys_revoked_at_some_time CHECK (((status = 'revoked'::text) = (revoked_at IS NOT NULL))),
    CONSTRAINT api_keys_role_known CHECK ((role = ANY (ARRAY['owner'::text, 'manager'::text, 'clerk'::text, 'viewer'::text, 'integration'::text]))),
    CONSTRAINT api_keys_status_known CHECK ((status = ANY (ARRAY['active'::text, 'revoked'::text])))
);

COMMENT ON TABLE public.api_keys IS 'Keys of machine clients; the id is the principal in memberships';

COMMENT ON COLUMN public.api_keys.scopes IS 'The permissions that are left of the role; null: all of them';

COMMENT ON COLUMN public.api_keys.expires_at IS 'When it ends by itself; null: never';

COMMENT ON COLUMN public.api_keys.allowed_ips IS 'Networks that it may be used from; null: any';

COMMENT ON COLUMN public.api_keys.rate_per_minute IS 'Requests a minute; null: as the adapter is set';

COMMENT ON COLUMN public.api_keys.secret_changed_at IS 'When it got its newest secret';

COMMENT ON COLUMN public.api_keys.last_used_at IS 'When it was used last, up to 10 s ago';

CREATE FUNCTION private.api_key_answer(p_key public.api_keys) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select to_jsonb(p_key) || jsonb_build_object('api_key_id', p_key.id, 'key', 'key_' || replace(p_key.id::text, '-', ''))
$$;

CREATE FUNCTION private.api_key_id_of(p_text text) RETURNS uuid
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $_$
declare
  v_id constant text := regexp_replace(p_text, '^key_([0-9a-f]{32})$', '\1');
begin
  if not pg_input_is_valid(v_id, 'uuid') then
    perform private.fail('PT404', 'api_key.not_found', format('%s is no id of an API key.', left(p_text, 100)),
      'It is a UUID (api_key_id), or key_ and 32 hex digits.');
  end if;
  return v_id::uuid;
end $_$;

CREATE FUNCTION private.api_key_with(p_key public.api_keys, p_changes jsonb) RETURNS public.api_keys
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_unknown text;
  v_key public.api_keys := p_key;
begin
  if jsonb_typeof(p_changes) is distinct from 'object' then
    perform private.fail('PT422', 'row.invalid', 'p_changes must be an object.');
  end if;
  select string_agg(k, ', ') into v_unknown from jsonb_object_keys(p_changes) k
  where k <> all ('{name,role,scopes,expires_at,allowed_ips,rate_per_minute,version}'::text[]);
  if v_unknown is not null then
    perform private.fail('PT422', 'row.field_unknown', format('Of an API key nobody changes: %s.', left(v_unknown, 500)));
  end if;
  begin
    v_key := jsonb_populate_record(p_key, p_changes - '{scopes,allowed_ips}'::text[]);
    if p_changes ? 'scopes' then
      v_key.scopes := case jsonb_typeof(p_changes -> 'scopes') when 'null' then null
        else array(select jsonb_array_elements_text(p_changes -> 'scopes')) end;
    end if;
  exception when data_exception then
    perform private.fail('PT422', 'row.invalid', sqlerrm);
  end;
  v_key.name := btrim(v_key.name);
  v_key.version := coalesce(v_key.version, p_key.version);
  perform private.require_known_role(v_key.role);
  v_key.scopes := private.checked_scopes(v_key.role, v_key.scopes);
  if p_changes ? 'allowed_ips' then
    if jsonb_typeof(p_changes -> 'allowed_ips') not in ('null', 'array') then
      perform private.fail('PT422', 'row.invalid', 'allowed_ips is a list or null.');
    end if;
    v_key.allowed_ips := private.checked_networks(case jsonb_typeof(p_changes -> 'allowed_ips') when 'array'
      then array(select jsonb_array_elements_text(p_changes -> 'allowed_ips')) end);
  end if;
  return v_key;
end $$;

CREATE FUNCTION private.apply_change(p_tenant_id uuid, p_write jsonb, OUT version bigint, OUT stale boolean) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_id constant uuid := (p_write ->> 'entity_id')::uuid;
  v_entity constant text := p_write ->> 'entity';
  v_action constant text := p_write ->> 'action';
  v_fields constant jsonb := coalesce(p_write -> 'fields', '{}');
  v_new public.products;
begin
  stale := false;
  version := (p_write ->> 'version')::bigint;
  case v_action
    when 'insert' then
      perform private.check_sync_fields(v_entity, v_fields);
      perform private.require(p_tenant_id, 'products.write');
      insert into public.products (id, tenant_id, sku, name, description, status, price, currency, attributes, category_id, parent_id,
        publish_at)
      select v_id, p_tenant_id, n.sku, n.name, n.description, n.status, n.price, n.currency, n.attributes, n.category_id, n.parent_id,
        n.publish_at
      from jsonb_populate_record(null::public.products, private.laid_over(
        jsonb_build_object('description', '', 'status', 'draft', 'price', 0, 'attributes', '{}'::jsonb,
          'currency', (select t.currency from public.tenants t where t.id = p_tenant_id)), v_fields)) n
      returning * into v_new;
      version := v_new.version;
    when 'delete' then
      version := (public.delete_product(p_tenant_id, v_id, version)).version;
    when 'update' then
      if (p_write ->> 'restore')::boolean then
        version := (public.restore_product(p_tenant_id, v_id, version)).version;
      end if;
      if v_fields <> '{}' then
        version := private.write_fields(p_tenant_id, v_entity, v_id, version, v_fields);
        stale := version is null;
      end if;
      if not stale and p_write -> 'deltas' ? 'on_hand' then
        perform public.adjust_stock(p_tenant_id, jsonb_build_array(jsonb_build_object(
          'product_id', s.product_id, 'location_id', s.location_id, 'quantity', p_write -> 'deltas' -> 'on_hand')),
          p_write ->> 'change_id', 'sync')
        from public.stock_levels s
        where s.tenant_id = p_tenant_id and s.id = v_id and p_write #> '{deltas,on_hand}' <> '0';  -- which adjust_stock refuses
        version := (select s.version from public.stock_levels s where s.tenant_id = p_tenant_id and s.id = v_id);
        if version is null then
          perform private.fail('PT404', 'stock.not_found', format('There is no stock level %s in this tenant.', v_id));
        end if;
      end if;
    else
      null;
  end case;
end $$;

CREATE FUNCTION private.is_plain(p_value jsonb, p_deepest jsonpath DEFAULT 'strict $.**{40}'::jsonpath) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $_$
begin
  if jsonb_path_exists(p_value, p_deepest) then
    return false;
  end if;
  return not exists (
    select from (select jsonb_path_query(p_value, 'strict $.** ? (@.type() == "number")')::numeric as number offset 0) n
    where abs(n.number) >= 1e40 or scale(n.number) > 40);
end $_$;

CREATE TABLE public.orders (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    number text NOT NULL,
    status text DEFAULT 'placed'::text NOT NULL,
    review_reason text,
    currency text NOT NULL,
    net_total numeric(18,4) NOT NULL,
    tax_total numeric(18,4) NOT NULL,
    total numeric(18,4) NOT NULL,
    paid_total numeric(18,4) DEFAULT 0 NOT NULL,
    refunded_total numeric(18,4) DEFAULT 0 NOT NULL,
    quantity bigint NOT NULL,
    fulfilled bigint DEFAULT 0 NOT NULL,
    cancelled bigint DEFAULT 0 NOT NULL,
    returned bigint DEFAULT 0 NOT NULL,
    customer jsonb DEFAULT '{}'::jsonb NOT NULL,
    placed_at timestamp with time zone DEFAULT private.now() NOT NULL,
    paid_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT orders_customer_email CHECK (((customer ->> 'email'::text) ~ '^[^@\s]+@[^@\s]+$'::text)),
    CONSTRAINT orders_customer_object CHECK ((jsonb_typeof(customer) = 'object'::text)),
    CONSTRAINT orders_customer_plain CHECK (private.is_plain(customer)),
    CONSTRAINT orders_customer_size CHECK ((octet_length((customer)::text) <= 8192)),
    CONSTRAINT orders_quantities_within CHECK ((((fulfilled + cancelled) <= quantity) AND ((returned >= 0) AND (returned <= fulfilled)))),
    CONSTRAINT orders_refund_within_payment CHECK ((((refunded_total >= (0)::numeric) AND (refunded_total <= paid_total)) AND (paid_total <= total))),
    CONSTRAINT orders_reviewed_with_reason CHECK (((status = 'needs_review'::text) = (review_reason IS NOT NULL))),
    CONSTRAINT orders_status_known CHECK ((status = ANY (ARRAY['placed'::text, 'needs_review'::text, 'paid'::text, 'partially_fulfilled'::text, 'fulfilled'::text, 'shipped'::text, 'cancelled'::text, 'refunded'::text, 'returned'::text]))),
    CONSTRAINT orders_total_is_sum CHECK ((total = (net_total + tax_total)))
);

COMMENT ON TABLE public.orders IS 'What customers bought; changed by place_order and order_event';

COMMENT ON COLUMN public.orders.fulfilled IS 'How many pieces left the stock; returned ones count here too';

COMMENT ON COLUMN public.orders.customer IS 'name, email, address, …: all that is personal';

CREATE FUNCTION private.apply_order_effect(p_order public.orders, p_effect text, p_payload jsonb) RETURNS public.orders
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  case p_effect
    when 'take_payment' then return private.take_order_payment(p_order, p_payload);
    when 'secure_stock' then
      p_order.review_reason := private.secure_order_stock(p_order);
      return p_order;
    when 'ship_lines' then return private.ship_order_lines(p_order, p_payload);
    when 'ship_rest' then
      if p_order.fulfilled + p_order.cancelled = p_order.quantity then
        return p_order;
      end if;
      return private.ship_order_lines(p_order, '{}');
    when 'give_up_rest' then return private.give_up_order_rest(p_order);
    when 'refund_money' then return private.refund_order_money(p_order, p_payload);
    when 'take_back' then return private.take_order_back(p_order, p_payload);
  end case;
end $$;

CREATE FUNCTION private.apply_webhook(p_webhook_id uuid) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_webhook public.inbound_webhooks;
begin
  select * into v_webhook from public.inbound_webhooks w where w.id = p_webhook_id and w.principal_id = auth.uid();
  if v_webhook.id is not null then
    -- before the row: then a twin waits, and finds it settled
    perform private.lock_for_webhook(v_webhook);
    select * into v_webhook from public.inbound_webhooks w where w.id = p_webhook_id for update;
  end if;
  if v_webhook.id is null then
    return jsonb_build_object('status', 'gone');
  elsif v_webhook.status <> 'queued' then
    return jsonb_build_object('status', v_webhook.status);
  elsif v_webhook.inbox_message_id is not null then
    return jsonb_build_object('status', 'done');
  end if;
  return private.work_webhook(v_webhook);
end $$;

CREATE FUNCTION private.are_free_headers(p_headers jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$
  select coalesce(bool_and(
    lower(e.key) !~ '^(webhook-.*|host|content-.*|accept-encoding|connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|expect|user-agent)$'
    and e.value #>> '{}' ~ '^[\x20-\x7e]*$'
  ), true)
  from jsonb_each(case jsonb_typeof(p_headers) when 'object' then p_headers else '{}' end) e
$_$;

CREATE FUNCTION private.upload_tenant(p_name text) RETURNS uuid
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path TO ''
    AS $_$
begin
  if length(p_name) <= 1024 and p_name ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/[^/]+)+$'
    and p_name !~ '/\.{1,2}(/|$)'
  then
    return left(p_name, 36)::uuid;
  end if;
  return null;
end $_$;

CREATE TABLE public.product_images (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    product_id uuid NOT NULL,
    source_url text,
    upload_path text,
    "position" integer DEFAULT 1 NOT NULL,
    alt_text text,
    status text DEFAULT 'pending'::text NOT NULL,
    error jsonb,
    warnings jsonb DEFAULT '[]'::jsonb NOT NULL,
    source_revision integer DEFAULT 1 NOT NULL,
    content_version integer DEFAULT 0 NOT NULL,
    asset_id uuid,
    urls jsonb DEFAULT '{}'::jsonb NOT NULL,
    width integer,
    height integer,
    blurhash text,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT product_images_alt_text_clean CHECK (private.is_clean(alt_text)),
    CONSTRAINT product_images_alt_text_length CHECK ((length(alt_text) <= 1000)),
    CONSTRAINT product_images_asset_of_ready CHECK (((status <> 'ready'::text) OR ((asset_id IS NOT NULL) AND (error IS NULL)))),
    CONSTRAINT product_images_content_of_asset CHECK (((asset_id IS NULL) = (urls = '{}'::jsonb))),
    CONSTRAINT product_images_error_form CHECK (((error ? 'code'::text) AND (error ? 'detail'::text))),
    CONSTRAINT product_images_error_of_failed CHECK (((status <> ALL (ARRAY['failed'::text, 'quarantined'::text])) OR (error IS NOT NULL))),
    CONSTRAINT product_images_one_source CHECK ((num_nonnulls(source_url, upload_path) = 1)),
    CONSTRAINT product_images_position_positive CHECK (("position" > 0)),
    CONSTRAINT product_images_status_known CHECK ((status = ANY (ARRAY['pending'::text, 'fetching'::text, 'processing'::text, 'ready'::text, 'failed'::text, 'quarantined'::text]))),
    CONSTRAINT product_images_upload_in_tenant CHECK (((upload_path IS NULL) OR (NOT (private.upload_tenant(upload_path) IS DISTINCT FROM tenant_id)))),
    CONSTRAINT product_images_url_length CHECK (((length(source_url) >= 1) AND (length(source_url) <= 2048))),
    CONSTRAINT product_images_url_scheme CHECK ((source_url ~* '^https?://'::text)),
    CONSTRAINT product_images_warnings_array CHECK ((jsonb_typeof(warnings) = 'array'::text))
);

COMMENT ON TABLE public.product_images IS 'Pictures of products; by position, the first is the primary one';

COMMENT ON COLUMN public.product_images.source_url IS 'Where the original is to be fetched';

COMMENT ON COLUMN public.product_images.upload_path IS 'What was uploaded to the bucket product-images instead: <tenant_id>/…';

COMMENT ON COLUMN public.product_images.error IS '{"code", "detail"}: why it failed, or why it is tried again';

COMMENT ON COLUMN public.product_images.warnings IS '[{"code", "detail", …}] of what is shown, such as image.near_duplicate';

COMMENT ON COLUMN public.product_images.source_revision IS 'Counts its sources, and each time that one is tried anew';

COMMENT ON COLUMN public.product_images.content_version IS 'Which of product_image_versions is shown; 0: none was ready yet';

COMMENT ON COLUMN public.product_images.urls IS 'By rendition: master, thumbnail, card, zoom';

CREATE FUNCTION private.arrange_images(p_tenant_id uuid, p_product_id uuid, p_image_ids uuid[]) RETURNS SETOF public.product_images
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_there uuid[];
begin
  perform private.require(p_tenant_id, 'products.write');
  v_there := array(
    select i.id from public.product_images i where i.tenant_id = p_tenant_id and i.product_id = p_product_id
    order by i.id for no key update
  );
  if p_image_ids is null or v_there is distinct from array(select x from unnest(p_image_ids) x order by x) then
    perform private.fail('PT409', 'image.list_differs',
      format('p_image_ids must name each picture of the product once; it has: %s.', array_to_string(v_there, ', ')),
      'Read them again, and send all of them in their new order.');
  end if;
  update public.product_images i set position = n.place
  from unnest(p_image_ids) with ordinality n (id, place)
  where i.id = n.id and i.position <> n.place;
  return query
    select i.* from public.product_images i where i.tenant_id = p_tenant_id and i.product_id = p_product_id order by i.position;
end $$;

CREATE FUNCTION private.as_in_rows(p_body jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET "TimeZone" TO 'UTC'
    AS $$
begin
  return (
    select p_body || coalesce((
      select jsonb_object_agg(b.key, case
        when b.key = 'publish_at' and pg_input_is_valid(b.value, 'timestamptz') then to_jsonb(b.value::timestamptz)
        when b.key <> 'publish_at' and pg_input_is_valid(b.value, 'uuid') then to_jsonb(b.value::uuid)
        else to_jsonb(b.value) end)
      from jsonb_each_text(p_body) b where b.key in ('publish_at', 'category_id', 'parent_id') and b.value is not null
    ), '{}')
  );
end $$;

CREATE FUNCTION private.asked_amount(p_order public.orders, p_payload jsonb, p_most numeric) RETURNS numeric
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
  v_amount numeric;
begin
  if not p_payload ? 'amount' then
    v_amount := p_most;
  elsif jsonb_typeof(p_payload -> 'amount') = 'number' then
    v_amount := (p_payload ->> 'amount')::numeric;
  end if;
  if v_amount is null or v_amount <= 0 or v_amount > p_most
    or v_amount <> round(v_amount, private.minor_units(p_order.currency)) then
    perform private.fail('PT422', 'order.amount_invalid', format('payload.amount must be above 0 and at most %s %s.',
      round(p_most, private.minor_units(p_order.currency)), p_order.currency));
  end if;
  return v_amount;
end $$;

CREATE FUNCTION private.asked_order_lines(p_order public.orders, p_payload jsonb, p_back boolean) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_asked jsonb;
  v_wrong text;
begin
  if p_payload ? 'lines' then
    v_asked := p_payload -> 'lines';
    if jsonb_typeof(v_asked) <> 'array' or jsonb_array_length(v_asked) not between 1 and 500 or exists (
      select from jsonb_array_elements(v_asked) e
      where jsonb_typeof(e -> 'line_id') is distinct from 'string'
        or not private.is_order_quantity(coalesce(e -> 'quantity', 'null'))
    ) then
      perform private.fail('PT400', 'order.lines_invalid',
        'payload.lines must be an array of 1 to 500 lines, each with a line_id and a whole quantity from 1 to 1,000,000.');
    end if;
  else
    v_asked := (
      select jsonb_agg(jsonb_build_object('line_id', l.id, 'quantity', m.room) order by l.position)
      from public.order_lines l
      cross join lateral (
        select case when p_back then l.fulfilled - l.returned else l.quantity - l.fulfilled - l.cancelled end as room) m
      where l.order_id = p_order.id and m.room > 0
    );
  end if;

  select string_agg(format('line %s has %s left', a.line_id, coalesce(m.room, 0)), '; ' order by a.line_id) into v_wrong
  from (
    select e.line_id, sum(e.quantity) as quantity
    from jsonb_to_recordset(v_asked) as e (line_id uuid, quantity bigint) group by e.line_id
  ) a
  left join public.order_lines l on l.order_id = p_order.id and l.id = a.line_id
  cross join lateral (
    select case when p_back then l.fulfilled - l.returned else l.quantity - l.fulfilled - l.cancelled end as room) m
  where a.quantity > coalesce(m.room, 0);
  if v_asked is null or v_wrong is not null then
    perform private.fail('PT422', 'order.quantity_exceeded', coalesce(upper(left(v_wrong, 1)) || substr(v_wrong, 2) || '.',
      'Nothing of this order is left for it.'));
  end if;
  return (
    select jsonb_agg(jsonb_build_object('line_id', l.id, 'product_id', l.product_id, 'quantity', e.quantity,
      'location_id', e.location_id, 'restock', coalesce(e.restock, true)))
    from jsonb_to_recordset(v_asked) as e (line_id uuid, quantity bigint, location_id uuid, restock boolean)
    join public.order_lines l on l.id = e.line_id
  );
end $$;

CREATE FUNCTION private.attribute_failures(p_attributes jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $_$
declare
  v_text constant text := p_attributes::text;
  v_offences text[];
begin
  if jsonb_typeof(p_attributes) is distinct from 'object' then
    return jsonb_build_array(private.failure('product.attributes_object', 'attributes', 'Attributes are a JSON object.'));
  elsif octet_length(v_text) > 65536 then
    return jsonb_build_array(private.failure('product.attributes_size', 'attributes', 'Attributes have at most 64 KiB.'));
  elsif v_text !~ '[<&%\\\uff1c\ufe64\x7f-\x9f]' then
    return '[]';
  end if;
  -- Now word by word: in the text of JSON a control character is an escape, and so is a backslash.
  if exists (
    select from jsonb_path_query(p_attributes, 'strict $.**') v
    where jsonb_typeof(v) = 'string' and not private.is_clean(v #>> '{}')
      or jsonb_typeof(v) = 'object' and exists (
        select from jsonb_object_keys(case jsonb_typeof(v) when 'object' then v else '{}' end) k where not private.is_clean(k))
  ) then
    return jsonb_build_array(private.failure('product.attributes_clean', 'attributes', 'Attributes have no control characters.'));
  end if;
  select array_agg(o) into v_offences
  from jsonb_path_query(p_attributes, 'strict $.** ? (@.type() == "string")') v
  cross join lateral unnest(private.html_offences(v #>> '{}')) o;
  return case when v_offences is null then '[]' else jsonb_build_array(private.failure('product.attributes_html', 'attributes',
    'This HTML could run a script or is not allowed: ' || array_to_string(v_offences[:5], '; '))) end;
end $_$;

CREATE FUNCTION private.attribute_offence(p_tag text, p_name text, p_value text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $_$
declare
  v_lengths constant text := '(rgba?|hsla?|calc)\([0-9a-z .,%/+*-]*\)';
  v_styles constant text := '^([ \t\n]*(background(-color)?|border(-[a-z]+)*|box-sizing|clear|(caret-)?color|cursor|direction'
    '|display|float|font(-[a-z]+)*|(max-|min-)?(height|width)|letter-spacing|line-height|list-style(-[a-z]+)*|margin(-[a-z]+)?'
    '|mso-[a-z-]+|object-fit|opacity|orphans|outline(-[a-z]+)*|overflow(-[a-z]+)?|padding(-[a-z]+)?|page-break-[a-z]+'
    '|table-layout|text(-[a-z]+)*|vertical-align|-webkit-text-[a-z-]+|white-space|widows|word-[a-z]+)'
    '[ \t\n]*:[a-z0-9 \t\n#%.,!"''-]*(;|$))*[ \t\n;]*$';
begin
  case
    when p_name = 'href' and p_tag = 'a' then
      if p_value !~* '^(https?://[a-z0-9]|mailto:[^:]|tel:[+0-9]|//[a-z0-9]|/([^/\\]|$)|[#?]|$)'
        and p_value !~* '^[a-z0-9_.~-]+([/?#]|$)' then
        return format('a link to %s', left(p_value, 40));
      end if;
    when p_name = 'src' and p_tag = 'img' then
      if p_value !~* '^(https:)?//[a-z0-9]' and p_value !~ '^/[^/\\]' then
        return format('an image from %s', left(p_value, 40));
      end if;
    when p_name = 'style' then
      if regexp_replace(replace(p_value, '&quot;', '"'), v_lengths, '0', 'gi') !~* v_styles then
        return format('the style %s', left(p_value, 40));
      end if;
    when p_name = 'charset' and p_tag = 'meta' then
      if lower(p_value) <> 'utf-8' then
        return 'a charset other than utf-8';
      end if;
    when p_name !~ '^(abbr|align|alt|bgcolor|border|cellpadding|cellspacing|class|color|cols|colspan|datetime|dir|face|headers'
      '|height|id|lang|loading|rel|reversed|role|rowspan|scope|size|span|start|summary|tabindex|target|title|translate'
      '|type|valign|width|(data|aria)-[a-z0-9_-]+)$' then
      return format('the attribute %s', left(p_name, 40));
    else
      null;
  end case;
  return null;
end $_$;

CREATE FUNCTION private.audit_log(p_tenant_id uuid, p_before bigint, p_limit integer, p_actor uuid, p_entity text, p_entity_id uuid) RETURNS TABLE(seq bigint, occurred_at timestamp with time zone, actor uuid, command_id text, type text, entity_id uuid, version bigint, changed jsonb, previous jsonb)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  perform private.require(p_tenant_id, 'audit.read');
  return query
  select e.seq, e.occurred_at, e.actor, e.command_id, e.type, e.entity_id, e.version,
    e.body::jsonb #> '{data,changed}', e.body::jsonb #> '{data,previous}'
  from public.events e
  where e.tenant_id = p_tenant_id and (p_before is null or e.seq < p_before)
    and (p_actor is null or e.actor = p_actor) and (p_entity is null or e.entity = p_entity)
    and (p_entity_id is null or e.entity_id = p_entity_id)
  order by e.seq desc
  limit least(greatest(coalesce(p_limit, 100), 1), 1000);
end $$;

CREATE FUNCTION private.begin_change(p_attempt_id uuid, p_write jsonb) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
begin
  perform 1 from public.sync_changes c
  where c.id = (p_write ->> 'change_id')::uuid and c.tenant_id = private.hold_sync_attempt(p_attempt_id)
    and c.principal_id = auth.uid() and c.status = 'pending'
    and c.entity = p_write ->> 'entity' and c.entity_id = (p_write ->> 'entity_id')::uuid
  for update;
  return found;
end $$;

CREATE FUNCTION private.begin_command(p_tenant_id uuid, p_command text, p_key text, p_request jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_hash bytea;
  v_principal constant uuid := coalesce(auth.uid(), '00000000-0000-0000-0000-000000000000');
  v_known private.command_results;
begin
  if p_key is null then
    return null;
  end if;
  v_hash := sha256(convert_to(p_request::text, 'UTF8'));
  perform set_config('pms.command_id', p_key, true);
  insert into private.command_results (tenant_id, principal_id, command, key, request_hash)
  values (p_tenant_id, v_principal, p_command, p_key, v_hash)
  on conflict do nothing;
  if found then
    return null;
  end if;
  select * into v_known from private.command_results r
  where r.tenant_id = p_tenant_id and r.principal_id = v_principal and r.key = p_key;
  if (v_known.command, v_known.request_hash) is distinct from (p_command, v_hash) then
    perform private.fail('PT422', 'idempotency.key_reused',
      format('The key %s was used for another %s request.', p_key, v_known.command), 'Use a fresh key for a new request.');
  end if;
  return v_known.result;
end $$;

CREATE TABLE public.inbound_webhooks (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    principal_id uuid NOT NULL,
    event_id text NOT NULL,
    kind text NOT NULL,
    type text NOT NULL,
    data jsonb NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone DEFAULT private.now() NOT NULL,
    status text DEFAULT 'queued'::text NOT NULL,
    error jsonb,
    settled_at timestamp with time zone,
    inbox_message_id uuid,
    change_id uuid,
    order_id uuid,
    about text,
    put_off_at timestamp with time zone,
    CONSTRAINT inbound_webhooks_data_object CHECK ((jsonb_typeof(data) = 'object'::text)),
    CONSTRAINT inbound_webhooks_error_of_rejected CHECK (((status = 'rejected'::text) = (error IS NOT NULL))),
    CONSTRAINT inbound_webhooks_event_id_form CHECK ((((length(event_id) >= 1) AND (length(event_id) <= 200)) AND private.is_clean(event_id))),
    CONSTRAINT inbound_webhooks_kind_known CHECK ((kind = ANY (ARRAY['product'::text, 'inventory'::text, 'order'::text]))),
    CONSTRAINT inbound_webhooks_status_known CHECK ((status = ANY (ARRAY['queued'::text, 'done'::text, 'duplicate'::text, 'stale'::text, 'rejected'::text, 'unknown'::text]))),
    CONSTRAINT inbound_webhooks_type_form CHECK ((type ~ '^[A-Za-z0-9_.:/-]{1,100}$'::text))
);

COMMENT ON TABLE public.inbound_webhooks IS 'Events that other systems sent, and what became of them; kept 30 days';

COMMENT ON COLUMN public.inbound_webhooks.principal_id IS 'Who sent it, an API key for example: its permissions decide';

COMMENT ON COLUMN public.inbound_webhooks.data IS 'As it was sent; of an unknown type {"part": the first 2 KiB of its text, "bytes"}, if longer';

COMMENT ON COLUMN public.inbound_webhooks.inbox_message_id IS 'The message that it became: inbox_messages, as long as that is kept';

COMMENT ON COLUMN public.inbound_webhooks.change_id IS 'What was pushed for it: sync_changes says what became of that';

COMMENT ON COLUMN public.inbound_webhooks.about IS 'How it names what it is about; null: it names nothing';

COMMENT ON COLUMN public.inbound_webhooks.put_off_at IS 'When its thing was first not found, or its order first did not know it: it is tried again for ten minutes';

CREATE FUNCTION private.begin_webhook(p_webhook public.inbound_webhooks) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $_$
declare
  v_told jsonb;
begin
  if p_webhook.kind <> 'order' then
    perform private.lock_for_webhook(p_webhook);
  end if;
  update public.inbound_webhooks w set status = 'queued', error = null, settled_at = null, put_off_at = null, inbox_message_id = null
  where w.id = p_webhook.id and w.status = 'rejected';
  if found then
    delete from public.inbox_messages m
    where m.tenant_id = p_webhook.tenant_id and m.source = private.webhook_source(p_webhook.principal_id) and m.message_id = p_webhook.event_id
      and m.status = 'rejected';
  end if;
  select * into p_webhook from public.inbound_webhooks w where w.id = p_webhook.id;
  if p_webhook.status <> 'queued' or p_webhook.inbox_message_id is not null then
    -- a twin did it
    return;
  elsif p_webhook.kind <> 'order' or p_webhook.about is null then
    v_told := private.work_webhook(p_webhook);
    if v_told ->> 'status' = 'queued' then
      perform private.enqueue_webhook(p_webhook, (v_told ->> 'in_seconds')::numeric);
    end if;
  elsif p_webhook.data ->> 'version' is not null
    and (jsonb_typeof(p_webhook.data -> 'version') <> 'number' or p_webhook.data ->> 'version' !~ '^[0-9]{1,18}$') then
    perform private.reject_webhook(p_webhook, 'webhook.event_invalid', 'version must be a whole number');
  else
    -- so that a customer who is forgotten is forgotten in it too
    update public.inbound_webhooks w set order_id = private.webhook_thing(p_webhook) where w.id = p_webhook.id;
    perform private.enqueue_webhook(p_webhook);
  end if;
end $_$;

CREATE FUNCTION private.bounds_of(p_ranges jsonb) RETURNS TABLE(n bigint, after uuid, first uuid, last uuid, rows jsonb)
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select o.n, (o.range ->> 'after')::uuid, coalesce((o.range ->> 'after')::uuid, '00000000-0000-0000-0000-000000000000'),
    coalesce((o.range ->> 'through')::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'), o.range -> 'rows'
  from jsonb_array_elements(p_ranges) with ordinality o (range, n)
$$;

CREATE FUNCTION private.broken_promises(p_required text[], p_before jsonb, p_now jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select coalesce(array_agg(format('%s %s', r, case when p_now ? r then 'has another type' else 'is gone' end) order by r), '{}')
  from unnest(p_required) r
  where not p_now ? r
    -- Without a type it may be anything.
    or (p_before -> r ? 'type' and not coalesce(p_before -> r -> 'type' @> (p_now -> r -> 'type'), false))
$$;

CREATE FUNCTION private.minor_units(p_currency text) RETURNS integer
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select case
    when p_currency = any ('{BIF,CLP,DJF,GNF,ISK,JPY,KMF,KRW,PYG,RWF,UGX,UYI,VND,VUV,XAF,XOF,XPF}') then 0
    when p_currency = any ('{BHD,IQD,JOD,KWD,LYD,OMR,TND}') then 3
    when p_currency = any ('{CLF,UYW}') then 4
    when p_currency = any (
      '{AED,AFN,ALL,AMD,AOA,ARS,AUD,AWG,AZN,BAM,BBD,BDT,BMD,BND,BOB,BRL,BSD,BTN,BWP,BYN,BZD,CAD,CDF,CHF,CNY,COP,CRC,CUP,
        CVE,CZK,DKK,DOP,DZD,EGP,ERN,ETB,EUR,FJD,FKP,GBP,GEL,GHS,GIP,GMD,GTQ,GYD,HKD,HNL,HTG,HUF,IDR,ILS,INR,IRR,JMD,KES,
        KGS,KHR,KPW,KYD,KZT,LAK,LBP,LKR,LRD,LSL,MAD,MDL,MGA,MKD,MMK,MNT,MOP,MRU,MUR,MVR,MWK,MXN,MYR,MZN,NAD,NGN,NIO,NOK,
        NPR,NZD,PAB,PEN,PGK,PHP,PKR,PLN,QAR,RON,RSD,RUB,SAR,SBD,SCR,SDG,SEK,SGD,SHP,SLE,SOS,SRD,SSP,STN,SVC,SYP,SZL,THB,
        TJS,TMT,TOP,TRY,TTD,TWD,TZS,UAH,USD,UYU,UZS,VED,VES,WST,XCD,YER,ZAR,ZMW,ZWG}'::text[]) then 2
  end
$$;

CREATE TABLE public.products (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    parent_id uuid,
    category_id uuid,
    sku text NOT NULL,
    name text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    status text DEFAULT 'draft'::text NOT NULL,
    price numeric(18,4) DEFAULT 0 NOT NULL,
    currency text DEFAULT 'USD'::text NOT NULL,
    attributes jsonb DEFAULT '{}'::jsonb NOT NULL,
    publish_at timestamp with time zone,
    publish_failures jsonb,
    version bigint DEFAULT 1 NOT NULL,
    deleted_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT products_attributes_object CHECK ((jsonb_typeof(attributes) = 'object'::text)),
    CONSTRAINT products_attributes_plain CHECK (private.is_plain(attributes)),
    CONSTRAINT products_attributes_size CHECK ((octet_length((attributes)::text) <= 65536)),
    CONSTRAINT products_currency_known CHECK ((private.minor_units(currency) IS NOT NULL)),
    CONSTRAINT products_description_clean CHECK (private.is_clean(description)),
    CONSTRAINT products_description_length CHECK ((octet_length(description) <= 65536)),
    CONSTRAINT products_name_clean CHECK (private.is_clean(name)),
    CONSTRAINT products_name_length CHECK (((length(name) >= 1) AND (length(name) <= 500))),
    CONSTRAINT products_not_own_parent CHECK ((parent_id <> id)),
    CONSTRAINT products_price_a_number CHECK ((price <> 'NaN'::numeric)),
    CONSTRAINT products_price_not_negative CHECK ((price >= (0)::numeric)),
    CONSTRAINT products_price_scale CHECK ((price = round(price, private.minor_units(currency)))),
    CONSTRAINT products_publish_at_finite CHECK (isfinite(publish_at)),
    CONSTRAINT products_publish_at_of_drafts CHECK (((publish_at IS NULL) OR (status = 'draft'::text))),
    CONSTRAINT products_publish_failures_array CHECK ((jsonb_typeof(publish_failures) = 'array'::text)),
    CONSTRAINT products_publish_failures_plain CHECK (private.is_plain(publish_failures)),
    CONSTRAINT products_sku_clean CHECK (((sku !~ '[\x01-\x1f\x7f-\x9f]'::text) AND (sku = btrim(sku)))),
    CONSTRAINT products_sku_length CHECK (((length(sku) >= 1) AND (length(sku) <= 100))),
    CONSTRAINT products_status_known CHECK ((status = ANY (ARRAY['draft'::text, 'active'::text, 'archived'::text])))
);

COMMENT ON TABLE public.products IS 'What a tenant sells; a variant has a parent_id';

COMMENT ON COLUMN public.products.parent_id IS 'The product that this is a variant of; a variant inherits nothing from it';

COMMENT ON COLUMN public.products.publish_at IS 'When the worker is to publish this draft';

COMMENT ON COLUMN public.products.publish_failures IS 'Why it could not be published at publish_at';

CREATE FUNCTION private.business_failures(p public.products) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_found jsonb := '[]';
  v_units constant integer := private.minor_units(p.currency);
begin
  if p.status is null or p.status not in ('draft', 'active', 'archived') then
    v_found := v_found || private.failure('product.status_known', 'status', 'A status is draft, active or archived.');
  end if;
  if v_units is null then
    v_found := v_found || private.failure('product.currency_known', 'currency',
      format('%s is no currency of ISO 4217 in use.', coalesce(left(p.currency, 20), 'null')));
  end if;
  if p.price is null then
    v_found := v_found || private.failure('product.price_missing', 'price', 'A product has a price, be it 0.');
  elsif p.price = 'NaN' then
    v_found := v_found || private.failure('product.price_a_number', 'price', 'A price is a number.');
  elsif p.price < 0 then
    v_found := v_found || private.failure('product.price_not_negative', 'price', format('The price %s is below 0.', trim_scale(p.price)));
  elsif p.price <> round(p.price, v_units) then
    v_found := v_found || private.failure('product.price_scale', 'price',
      format('%s has prices of %s decimal places; %s has more.', p.currency, v_units, trim_scale(p.price)));
  end if;
  if p.parent_id = p.id then
    v_found := v_found || private.failure('product.not_own_parent', 'parent_id', 'A product is not its own variant.');
  end if;
  return v_found;
end $$;

CREATE TABLE public.webhook_replays (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    from_at timestamp with time zone NOT NULL,
    to_at timestamp with time zone,
    types text[],
    status text DEFAULT 'running'::text NOT NULL,
    queued bigint DEFAULT 0 NOT NULL,
    after_seq bigint NOT NULL,
    through_seq bigint NOT NULL,
    requested_by uuid,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT webhook_replays_ended CHECK (((status = 'running'::text) = (ended_at IS NULL))),
    CONSTRAINT webhook_replays_some_time CHECK ((from_at < to_at)),
    CONSTRAINT webhook_replays_status_known CHECK ((status = ANY (ARRAY['running'::text, 'done'::text, 'cancelled'::text])))
);

COMMENT ON TABLE public.webhook_replays IS 'Replays of many events to one endpoint, and how far they are; made by replay_events';

COMMENT ON COLUMN public.webhook_replays.to_at IS 'Null: all that was in the log when it was asked for';

COMMENT ON COLUMN public.webhook_replays.after_seq IS 'Up to here in the tenant''s log it is worked off';

CREATE FUNCTION private.cancel_replay(p_tenant_id uuid, p_replay_id uuid) RETURNS public.webhook_replays
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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

CREATE FUNCTION private.capture_changes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET "TimeZone" TO 'UTC'
    SET enable_nestloop TO 'off'
    SET enable_hashjoin TO 'on'
    SET jit TO 'off'
    AS $$
declare
  v_hidden constant text[] := tg_argv[1:];
  v_actor constant uuid := auth.uid();
  v_command constant text := nullif(current_setting('pms.command_id', true), '');
  v_found bigint;
begin
  if tg_op = 'INSERT' then
    insert into private.outbox
      (tenant_id, entity, entity_id, operation, version, new_row, actor, command_id, occurred_at)
    select coalesce(r.row ->> 'tenant_id', r.row ->> 'id')::uuid, tg_argv[0], (r.row ->> 'id')::uuid, tg_op,
      (r.row ->> 'version')::bigint, r.row - v_hidden, v_actor, v_command, private.now()
    from (select to_jsonb(n) as row from new_rows n offset 0) r;
  elsif tg_op = 'UPDATE' then
    insert into private.outbox
      (tenant_id, entity, entity_id, operation, version, changed, new_row, old_row, actor, command_id, occurred_at)
    select coalesce(r.row ->> 'tenant_id', r.row ->> 'id')::uuid, tg_argv[0], (r.row ->> 'id')::uuid, tg_op,
      (r.row ->> 'version')::bigint, c.changed, r.row, r.old_row, v_actor, v_command, private.now()
    from (
      select to_jsonb(n) - v_hidden as row, to_jsonb(o) - v_hidden as old_row
      from new_rows n join old_rows o on o.id = n.id
      -- a fence: pulled up, the rows would become JSON again for every field that is compared
      offset 0
    ) r
    cross join lateral (
      select array_agg(e.key order by e.key) as changed
      from jsonb_each(r.row) e
      where e.value is distinct from r.old_row -> e.key and e.key not in ('version', 'updated_at')
    ) c
    where c.changed is not null;
  else
    insert into private.outbox
      (tenant_id, entity, entity_id, operation, version, old_row, actor, command_id, occurred_at)
    select coalesce(r.row ->> 'tenant_id', r.row ->> 'id')::uuid, tg_argv[0], (r.row ->> 'id')::uuid, tg_op,
      (r.row ->> 'version')::bigint + 1, r.row - v_hidden, v_actor, v_command, private.now()
    from (select to_jsonb(o) as row from old_rows o offset 0) r;
  end if;
  get diagnostics v_found = row_count;
  if v_found > 0 then
    perform private.ring('outbox');
  end if;
  return null;
end $$;

CREATE FUNCTION private.category_failures(p_product public.products) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_schema jsonb;
begin
  if p_product.category_id is null or jsonb_typeof(p_product.attributes) is distinct from 'object' then
    return '[]';
  end if;
  select c.attribute_schema into v_schema from public.categories c
  where c.tenant_id = p_product.tenant_id and c.id = p_product.category_id;
  if v_schema is null then
    return '[]';
  end if;
  return (
    select coalesce(jsonb_agg(private.failure('product.attributes_schema', f.found ->> 'field', f.found ->> 'detail')), '[]')
    from (select jsonb_array_elements(private.schema_failures(v_schema, p_product.attributes, 'attributes')) limit 100) f (found)
  );
end $$;

CREATE FUNCTION private.category_subtree(p_tenant_id uuid, p_category_id uuid) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  with recursive tree as (
    select c.id, 1 as depth from public.categories c where c.tenant_id = p_tenant_id and c.id = p_category_id
    union all
    select c.id, t.depth + 1 from tree t
    join public.categories c on c.tenant_id = p_tenant_id and c.parent_id = t.id
    where t.depth < 12
  )
  select t.id from tree t
$$;

CREATE FUNCTION private.change_api_key(p_tenant_id uuid, p_api_key_id uuid, p_changes jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_old public.api_keys := private.open_api_key(p_tenant_id, p_api_key_id);
  v_key public.api_keys;
begin
  perform private.require_plain(p_changes);
  perform private.require_no_api_key(p_tenant_id);
  if v_old.status = 'revoked' then
    perform private.fail('PT409', 'api_key.revoked', 'The key was revoked.', 'Make a new one.');
  end if;
  v_key := private.api_key_with(v_old, p_changes);
  if v_key.expires_at is not distinct from v_old.expires_at then
    v_key.expires_at := null;  -- only a new one must lie ahead
    perform private.check_api_key(v_key);
    v_key.expires_at := v_old.expires_at;
  else
    perform private.check_api_key(v_key);
  end if;
  perform private.require_as_strong(p_tenant_id, v_key.role, v_key.scopes);
  if v_key.role = 'owner' then
    perform private.require(p_tenant_id, 'owners.write');
  end if;
  if (v_key.role, v_key.scopes) is distinct from (v_old.role, v_old.scopes) then
    perform private.revoke_invitations_of(p_tenant_id, p_api_key_id);
  end if;
  update public.api_keys k
  set name = v_key.name, role = v_key.role, scopes = v_key.scopes, expires_at = v_key.expires_at,
      allowed_ips = v_key.allowed_ips, rate_per_minute = v_key.rate_per_minute, version = v_key.version
  where k.id = p_api_key_id returning * into v_key;
  update public.memberships m set role = v_key.role, scopes = v_key.scopes, expires_at = v_key.expires_at
  where m.tenant_id = p_tenant_id and m.principal_id = p_api_key_id
    and (m.role, m.scopes, m.expires_at) is distinct from (v_key.role, v_key.scopes, v_key.expires_at);
  return private.api_key_answer(v_key);
end $$;

CREATE FUNCTION private.change_fault(p_change jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$
  select case
    when jsonb_typeof(p_change) <> 'object' then 'it is no object'
    when not pg_input_is_valid(coalesce(p_change ->> 'id', ''), 'uuid') then 'id must be a UUID'
    when coalesce(p_change ->> 'entity', '') not in ('product', 'stock_level') then 'entity must be product or stock_level'
    when not pg_input_is_valid(coalesce(p_change ->> 'entity_id', ''), 'uuid') then 'entity_id must be a UUID'
    when coalesce(p_change ->> 'operation', '') not in ('insert', 'update', 'delete')
      then 'operation must be insert, update or delete'
    when p_change ->> 'entity' = 'stock_level' and p_change ->> 'operation' <> 'update' then 'a stock level can only be updated'
    when jsonb_typeof(coalesce(p_change -> 'base_version', 'null')) not in ('number', 'null')
      or coalesce(p_change ->> 'base_version', '1') !~ '^[1-9][0-9]{0,17}$' then 'base_version must be a whole number above 0'
    when p_change ->> 'operation' = 'insert' and p_change ->> 'base_version' is not null
      then 'what is new has no base_version'
    when coalesce(p_change ->> 'stamp', '') !~ '^[0-9]{13}-[0-9]{4}-[A-Za-z0-9_.-]{1,64}$'
      then 'stamp must read <13 digits>-<4 digits>-<client>'
    when not private.is_edit(coalesce(p_change -> 'edit', '{}'))
      then 'edit must be {field: {"set": …} | {"delta": …} | {"add": […], "remove": […]}}'
    when (p_change ->> 'operation' = 'delete') <> (coalesce(p_change -> 'edit', '{}') = '{}')
      then 'a deletion has no edit, and everything else has one'
  end
$_$;

CREATE FUNCTION private.change_role(p_tenant_id uuid, p_principal_id uuid, p_role text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_member public.memberships;
begin
  perform private.require(p_tenant_id, 'members.write');
  perform private.require_known_role(p_role);
  v_member := private.open_membership(p_tenant_id, p_principal_id, p_role);
  if v_member.role <> p_role then
    perform private.revoke_invitations_of(p_tenant_id, p_principal_id);
  end if;
  update public.memberships m set role = p_role where m.id = v_member.id returning * into v_member;
  if p_role = 'owner' then
    update public.tenants t set orphaned_at = null where t.id = p_tenant_id and t.orphaned_at is not null;
  end if;
  return to_jsonb(v_member);
end $$;

CREATE FUNCTION private.changed_fields(p_old jsonb, p_new jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select coalesce(array_agg(d.field), '{}')
  from (
    select k.key as field from (select jsonb_object_keys(p_old || p_new) as key) k
    where k.key not in ('version', 'updated_at', 'created_at', 'attributes', 'publish_failures')
      and p_old -> k.key is distinct from p_new -> k.key
    union all
    select 'attributes.' || a.key
    from (select jsonb_object_keys((p_old -> 'attributes') || (p_new -> 'attributes')) as key) a
    where p_old -> 'attributes' -> a.key is distinct from p_new -> 'attributes' -> a.key
  ) d
$$;

CREATE FUNCTION private.today() RETURNS date
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select (private.now() at time zone 'UTC')::date $$;

CREATE TABLE private.inbox_states (
    tenant_id uuid NOT NULL,
    source text NOT NULL,
    entity text NOT NULL,
    entity_id uuid NOT NULL,
    sender_version bigint NOT NULL,
    field_versions jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_version bigint DEFAULT '-1'::integer NOT NULL,
    state jsonb,
    settled_state jsonb,
    waiting_changes uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    millis bigint NOT NULL,
    looked_on date DEFAULT private.today() NOT NULL,
    timed_at timestamp with time zone
);

COMMENT ON TABLE private.inbox_states IS 'The last word of each sender on each object';

COMMENT ON COLUMN private.inbox_states.sender_version IS 'The largest number of its words';

COMMENT ON COLUMN private.inbox_states.field_versions IS 'The largest number of its words that named each field, since it last deleted the object';

COMMENT ON COLUMN private.inbox_states.deleted_version IS 'The number of its last deletion; -1: there was none';

COMMENT ON COLUMN private.inbox_states.state IS 'Every field that it named, as it said last, or that it let be made with its default; null: it deleted it';

COMMENT ON COLUMN private.inbox_states.settled_state IS 'What that was before the changes of it that still wait';

COMMENT ON COLUMN private.inbox_states.waiting_changes IS 'Its changes of which it is not known what became of them, the last 1,000';

COMMENT ON COLUMN private.inbox_states.millis IS 'Of its last stamp: the next one is later, whatever its clock says';

COMMENT ON COLUMN private.inbox_states.looked_on IS 'The day of that word, or when upkeep last found its object there, in UTC: it moves once a day';

COMMENT ON COLUMN private.inbox_states.timed_at IS 'Of inbound webhooks without versions, which their times number: the last one''s';

CREATE TABLE public.inbox_messages (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    principal_id uuid NOT NULL,
    source text NOT NULL,
    message_id text NOT NULL,
    entity text NOT NULL,
    entity_id uuid NOT NULL,
    sender_version bigint NOT NULL,
    body jsonb,
    occurred_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone DEFAULT private.now() NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    change_id uuid,
    first_change_id uuid,
    error jsonb,
    CONSTRAINT inbox_messages_body_object CHECK ((jsonb_typeof(body) = 'object'::text)),
    CONSTRAINT inbox_messages_change_of_queued CHECK (((status = 'queued'::text) = (change_id IS NOT NULL))),
    CONSTRAINT inbox_messages_entity_known CHECK ((entity = ANY (ARRAY['product'::text, 'stock_level'::text]))),
    CONSTRAINT inbox_messages_error_of_rejected CHECK (((status = 'rejected'::text) = (error IS NOT NULL))),
    CONSTRAINT inbox_messages_message_id_length CHECK (((length(message_id) >= 1) AND (length(message_id) <= 200))),
    CONSTRAINT inbox_messages_sender_version_not_negative CHECK ((sender_version >= 0)),
    CONSTRAINT inbox_messages_source_form CHECK ((source ~ '^[A-Za-z0-9_.-]{1,58}$'::text)),
    CONSTRAINT inbox_messages_status_known CHECK ((status = ANY (ARRAY['pending'::text, 'queued'::text, 'duplicate'::text, 'stale'::text, 'rejected'::text])))
);

COMMENT ON TABLE public.inbox_messages IS 'What other systems said of their products and stock, and what became of it; kept 30 days';

COMMENT ON COLUMN public.inbox_messages.principal_id IS 'Who sent it here: their permissions decide';

COMMENT ON COLUMN public.inbox_messages.sender_version IS 'The number of this state over there: a later state has a larger one';

COMMENT ON COLUMN public.inbox_messages.body IS 'The object as the sender has it; null: it deleted it';

COMMENT ON COLUMN public.inbox_messages.first_change_id IS 'A second change: the fields that it was the first to name, if there were others';

CREATE FUNCTION private.changes_of_message(p_message public.inbox_messages, p_known private.inbox_states, p_waits boolean, OUT changes jsonb[], OUT new_word private.inbox_states) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET "TimeZone" TO 'UTC'
    AS $$
declare
  v_body constant jsonb := private.as_in_rows(p_message.body);
  v_row constant jsonb := case p_message.entity
    when 'product' then (select to_jsonb(p) from public.products p where p.tenant_id = p_message.tenant_id and p.id = p_message.entity_id)
    else (select to_jsonb(s) from public.stock_levels s where s.tenant_id = p_message.tenant_id and s.id = p_message.entity_id) end;
  v_lives constant boolean := v_row is not null and v_row ->> 'deleted_at' is null;
  -- what waits may still change the row, delete it, or make it
  v_seen constant jsonb := case when v_lives and not p_waits then v_row else '{}' end;
  -- nor is a word known of a row that is not there: its change was refused
  v_first constant boolean := p_known.state is null or (v_row is null and not p_waits);
  -- the fields of a row that is deleted come back together
  v_together constant boolean := v_first or (v_row is not null and not v_lives and not p_waits);
  v_named constant text[] := array(select jsonb_object_keys(case when v_together then v_body else p_known.state end));
  v_insert constant boolean := v_body is not null and v_row is null and not p_waits;
  v_change jsonb := jsonb_build_object('entity', p_message.entity, 'entity_id', p_message.entity_id);
  v_edit jsonb;
  v_edits jsonb[] := '{}';
  v_fields text[];
begin
  new_word := p_known;
  new_word.state := coalesce(case when not v_insert then p_known.state else private.inbox_defaults(p_message.tenant_id) end, '{}') || v_body;
  changes := '{}';
  if v_body is null then
    if (v_lives or p_waits) and (p_known.entity_id is null or p_known.state is not null) then
      v_edits := array['{}'::jsonb];
      v_fields := array(select jsonb_object_keys(private.inbox_edit('{}', p_known.settled_state, true)));
    end if;
  else
    v_edit := private.inbox_edit(case when v_first then v_seen else p_known.state end, (
      select coalesce(jsonb_object_agg(b.key, b.value), '{}') from jsonb_each(v_body) b where b.key = any (v_named)
    ), v_first);
    -- what was never settled has no version either
    v_fields := array(select f from jsonb_object_keys(v_edit) f where v_together or f = 'on_hand' or p_known.settled_state ? split_part(f, '.', 1));
    v_edits := array[
      v_edit - array(select f from jsonb_object_keys(v_edit) f where f <> all (v_fields)),
      (v_edit - v_fields) || case when v_body - v_named <> '{}' then private.inbox_edit(v_seen, v_body - v_named, true) else '{}' end
    ];
    v_fields := array(select f from unnest(v_fields) f where f <> 'on_hand' and p_known.settled_state ? split_part(f, '.', 1));
  end if;
  for v_n in 1 .. cardinality(v_edits) loop
    continue when v_body is not null and v_edits[v_n] = '{}';
    changes := changes || (v_change || jsonb_build_object(
      'operation', case when v_body is null then 'delete' when v_insert then 'insert' else 'update' end,
      'edit', v_edits[v_n],
      'base_version', case
        when v_first or v_n > 1 then null
        -- a row that is still to be made begins with 1
        when v_row is null then 1
        else private.last_version_with(p_message.entity, v_row, p_known.settled_state, v_fields)
      end));
  end loop;
  if not p_waits then
    new_word.settled_state := case when v_insert then new_word.state else p_known.state end;
  end if;
end $$;

CREATE FUNCTION private.check_api_key(p_key public.api_keys) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if p_key.name is null or length(p_key.name) not between 1 and 200 or not private.is_clean(p_key.name) then
    perform private.fail('PT422', 'api_key.name_invalid', 'A name has 1 to 200 characters, none of them a control character.');
  end if;
  if p_key.expires_at <= private.now() or not isfinite(p_key.expires_at) then
    perform private.fail('PT422', 'api_key.expiry_invalid', 'expires_at must lie ahead.', 'Revoke the key to end it now.');
  end if;
  if p_key.rate_per_minute not between 1 and 100000 then
    perform private.fail('PT422', 'api_key.rate_invalid', 'rate_per_minute must lie between 1 and 100,000.');
  end if;
end $$;

CREATE FUNCTION private.check_call_size(p_parts jsonb) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
  perform private.require_plain(p_parts);
  if octet_length(p_parts::text) > 8388608 then
    perform private.fail('PT413', 'sync.call_too_large', 'A call may hold 8 MB.', 'Split it.');
  end if;
end $$;

CREATE FUNCTION private.check_client(p_client text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $_$
begin
  if coalesce(p_client, '') !~ '^[A-Za-z0-9_.-]{1,64}$' then
    perform private.fail('PT400', 'sync.client_invalid', 'p_client must be 1 to 64 letters, digits, "_", "." or "-".');
  end if;
end $_$;

CREATE FUNCTION private.check_customer() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
begin
  perform private.require_plain(new.customer, 'strict $.**{40}');
  return new;
end $_$;

CREATE FUNCTION private.check_edit() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  perform private.fail('PT400', 'sync.change_invalid', format('Change %s: edit is none.', new.id),
    'Send {field: {"set": …} | {"delta": …} | {"add": […], "remove": […]}}.');
  return null;
end $$;

CREATE FUNCTION private.check_event_filter() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_unknown text[];
begin
  select array_agg(e order by n) into v_unknown
  from unnest(new.events) with ordinality f (e, n)
  where e ~ '^[a-z_]+\.(\*|[a-z_]+)$'
    and not exists (select from public.event_types t where t.webhooks and (t.type = e or t.entity || '.*' = e));
  if v_unknown is not null then
    perform private.fail('PT422', 'webhook.unknown_event_type',
      format('No webhook carries %s.', array_to_string(v_unknown, ', ')),
      -- Of an entity that there is, its types; else which entities there are.
      'Known: ' || (
        select string_agg(distinct k.name, ', ')
        from public.event_types t
        cross join lateral (select case when t.entity = any (select split_part(u, '.', 1) from unnest(v_unknown) u) then t.type
          when not exists (select from public.event_types o where o.webhooks and o.entity = any (select split_part(u, '.', 1) from unnest(v_unknown) u))
            then t.entity || '.*' end as name) k
        where t.webhooks) || '. All of them, with examples: the table event_types.');
  end if;
  return new;
end $_$;

CREATE TABLE public.invitations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    email text NOT NULL,
    role text NOT NULL,
    token_hash bytea NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    invited_by uuid,
    accepted_by uuid,
    expires_at timestamp with time zone NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT invitations_accepted_by_somebody CHECK (((status = 'accepted'::text) = (accepted_by IS NOT NULL))),
    CONSTRAINT invitations_email_form CHECK (((length(email) <= 254) AND (email ~ '^[^@[:space:][:cntrl:]]+@[^@[:space:][:cntrl:]]+$'::text))),
    CONSTRAINT invitations_role_known CHECK ((role = ANY (ARRAY['owner'::text, 'manager'::text, 'clerk'::text, 'viewer'::text, 'integration'::text]))),
    CONSTRAINT invitations_status_known CHECK ((status = ANY (ARRAY['pending'::text, 'accepted'::text, 'revoked'::text])))
);

COMMENT ON TABLE public.invitations IS 'Who was asked to join a tenant; the token itself is never stored';

CREATE FUNCTION private.check_invitation(p_invitation public.invitations) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if p_invitation.id is null then
    perform private.fail('PT404', 'invitation.not_found', 'No invitation has this token.');
  end if;
  if not exists (
    select from auth.users u where u.id = auth.uid() and lower(u.email) = lower(p_invitation.email)
  ) then
    perform private.fail('PT403', 'invitation.not_yours', 'The invitation is for another address than the one you signed in with.');
  end if;
  if p_invitation.status <> 'pending' or p_invitation.expires_at <= private.now() then
    perform private.fail('PT410', 'invitation.ended', 'The invitation was used or revoked, or is too old.', 'Ask for another one.');
  end if;
end $$;

CREATE FUNCTION private.check_lines(p_lines jsonb, p_field text, p_least numeric) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_bad integer;
begin
  if jsonb_typeof(p_lines) is distinct from 'array' or jsonb_array_length(p_lines) not between 1 and 10000 then
    perform private.fail('PT400', 'stock.lines_invalid', 'p_lines must be an array of 1 to 10,000 lines.');
  end if;
  select min(l.n) into v_bad
  from jsonb_array_elements(p_lines) with ordinality as l (line, n)
  where case when jsonb_typeof(l.line -> p_field) = 'number' then
      (l.line ->> p_field)::numeric <> trunc((l.line ->> p_field)::numeric)
      or (l.line ->> p_field)::numeric not between p_least and 1000000000000
      or (p_least < 0 and (l.line ->> p_field)::numeric = 0)
    else true end;
  if v_bad is not null then
    perform private.fail('PT400', 'stock.quantity_invalid', format('Line %s: %s must be a whole number%s.', v_bad, p_field,
      case p_least when 0 then ', 0 or more' when 1 then ' above 0' else ', and not 0' end));
  end if;
end $$;

CREATE FUNCTION private.check_order_lines(p_lines jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_wrong text;
begin
  if jsonb_typeof(p_lines) is distinct from 'array' or jsonb_array_length(p_lines) not between 1 and 500 then
    perform private.fail('PT400', 'order.lines_invalid', 'p_lines must be an array of 1 to 500 lines.');
  end if;
  select string_agg(l.n::text, ', ' order by l.n) into v_wrong
  from jsonb_array_elements(p_lines) with ordinality as l (line, n)
  where jsonb_typeof(l.line -> 'product_id') is distinct from 'string'
    or not private.is_order_quantity(coalesce(l.line -> 'quantity', 'null'))
    or not private.is_tax_rate(coalesce(l.line -> 'tax_rate', '0'));
  if v_wrong is not null then
    perform private.fail('PT400', 'order.lines_invalid', format(
      'Lines %s: each needs a product_id, a whole quantity from 1 to 1,000,000 and, if it has a tax_rate, one from 0 to 1.',
      v_wrong));
  end if;
end $$;

CREATE FUNCTION private.check_ranges(p_ranges jsonb) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
  v_fault record;
begin
  if jsonb_typeof(p_ranges) is distinct from 'array' or jsonb_array_length(p_ranges) not between 1 and 64 then
    perform private.fail('PT400', 'sync.range_invalid', 'p_ranges must be an array of 1 to 64 ranges.');
  end if;
  select r.n, private.range_fault(r.range) as why into v_fault
  from jsonb_array_elements(p_ranges) with ordinality r (range, n)
  where private.range_fault(r.range) is not null
  order by r.n limit 1;
  if found then
    perform private.fail('PT400', 'sync.range_invalid', format('Range %s: %s.', v_fault.n, v_fault.why));
  end if;
  select r.n into v_fault from (
    select o.n, (o.range ->> 'after')::uuid as after, lag((o.range ->> 'through')::uuid) over (order by o.n) as former
    from jsonb_array_elements(p_ranges) with ordinality o (range, n)
  ) r
  where r.n > 1 and (r.after >= r.former) is not true
  order by r.n limit 1;
  if found then
    perform private.fail('PT400', 'sync.range_invalid', format('Range %s: it does not lie behind the one before.', v_fault.n));
  end if;
  if (select count(*) from jsonb_array_elements(p_ranges) r, jsonb_object_keys(r -> 'rows')) > 1000 then
    perform private.fail('PT400', 'sync.range_invalid', 'A call may hold 1,000 ids.', 'Send leaves in parts.');
  end if;
  select r.n, i.key as id into v_fault
  from jsonb_array_elements(p_ranges) with ordinality r (range, n) cross join jsonb_object_keys(r.range -> 'rows') i (key)
  where i.key::uuid <= (r.range ->> 'after')::uuid or i.key::uuid > (r.range ->> 'through')::uuid
  order by r.n limit 1;
  if found then
    perform private.fail('PT400', 'sync.range_invalid', format('Range %s: %s lies outside.', v_fault.n, v_fault.id));
  end if;
end $$;

CREATE FUNCTION private.check_reservations(p_ids uuid[], p_allowed text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_wrong record;
begin
  select r.id, s.status into v_wrong
  from public.reservations r
  cross join lateral (select case when r.expires_at <= v_now then 'expired' else r.status end as status) s
  where r.id = any (p_ids) and s.status <> all (p_allowed)
  order by s.status = 'expired' desc, r.id
  limit 1;
  if v_wrong.status = 'expired' then
    perform private.fail('PT409', 'reservation.expired', format('Reservation %s has expired.', v_wrong.id),
      'Reserve again; the goods may be sold by now.');
  elsif v_wrong.status is not null then
    perform private.fail('PT409', 'reservation.wrong_status',
      format('Reservation %s is %s; this needs %s.', v_wrong.id, v_wrong.status, array_to_string(p_allowed, ' or ')));
  end if;
end $$;

CREATE FUNCTION private.check_rule() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $_$
declare
  v_problems text[];
begin
  perform private.require_plain(new.condition, 'strict $.**{40}');
  v_problems := private.condition_problems(new.entity, new.condition);
  if v_problems <> '{}' then
    perform private.fail('PT422', 'rule.invalid', array_to_json(v_problems)::text, 'docs/validation.md shows the language.');
  end if;
  if tg_op = 'INSERT' and (select count(*) from public.validation_rules r where r.tenant_id = new.tenant_id) >= 100 then
    perform private.fail('PT422', 'rule.too_many', 'A tenant has at most 100 rules.', 'Join conditions with and.');
  end if;
  return new;
end $_$;

CREATE FUNCTION private.check_schema() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $_$
declare
  v_problems text[];
begin
  perform private.require_plain(new.attribute_schema, 'strict $.**{40}');
  v_problems := private.schema_problems(new.attribute_schema);
  if v_problems <> '{}' then
    perform private.fail('PT422', 'schema.invalid', array_to_json(v_problems)::text, 'docs/validation.md lists the keywords.');
  end if;
  return new;
end $_$;

CREATE FUNCTION private.check_sync_fields(p_entity text, p_fields jsonb) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_unknown constant text := (
    select string_agg(k.key, ', ' order by k.key) from jsonb_object_keys(p_fields) k (key)
    where not exists (
      select from private.sync_entities e where e.entity = p_entity and split_part(k.key, '.', 1) = any (e.fields)
        and (k.key not like '%.%' or k.key like 'attributes.%')
    )
  );
begin
  if v_unknown is not null then
    perform private.fail('PT422', 'sync.field_unknown', format('Of a %s no client changes: %s.', p_entity, v_unknown));
  end if;
end $$;

CREATE FUNCTION private.checked_networks(p_allowed_ips text[]) RETURNS cidr[]
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
  v_bad text;
begin
  select string_agg(case when pg_input_is_valid(a, 'inet') then format('%s, which is a host in %s', a, network(a::inet))
    else coalesce(a, 'null') end, '; ') into v_bad
  from unnest(p_allowed_ips) a
  where a is null or not pg_input_is_valid(a, 'cidr');
  if v_bad is not null or cardinality(p_allowed_ips) = 0 or cardinality(p_allowed_ips) > 50 then
    perform private.fail('PT422', 'api_key.allowed_ips_invalid',
      case when v_bad is null then 'A list has 1 to 50 networks.'
        else format('These are no networks: %s.', left(v_bad, 500)) end,
      'Networks look like 192.0.2.0/24, 192.0.2.7 or 2001:db8::/48; null means any.');
  end if;
  -- flat, whatever shape it was sent in
  return case when p_allowed_ips is not null then array(select a::cidr from unnest(p_allowed_ips) with ordinality u (a, n) order by n) end;
end $$;

CREATE FUNCTION private.checked_scopes(p_role text, p_scopes text[]) RETURNS text[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_strange text;
begin
  select string_agg(coalesce(s, 'null'), ', ') into v_strange from unnest(p_scopes) s
  where s is null or s <> all (private.permissions_of(p_role, null));
  if v_strange is not null or cardinality(p_scopes) = 0 then
    perform private.fail('PT422', 'api_key.scopes_invalid',
      case when v_strange is null then 'The list of scopes is empty: a key without any can do nothing.'
        else format('The role %s has no permission %s.', p_role, left(v_strange, 500)) end,
      'Scopes are permissions of the role, as my_permissions lists them; null means all of them.');
  end if;
  return case when p_scopes is not null then private.permissions_of(p_role, p_scopes) end;
end $$;

CREATE FUNCTION private.checksum(p_sum numeric) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select lpad(to_hex((
    mod(mod(p_sum + 9223372036854775808, 18446744073709551616) + 18446744073709551616, 18446744073709551616) - 9223372036854775808
  )::bigint), 16, '0')
$$;

CREATE FUNCTION private.choice_failures(p_word text, p_rule jsonb, p_value jsonb, p_path text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_all jsonb;
  v_total integer;
  v_fitting integer;
  v_detail text;
begin
  if p_word = 'not' then
    v_detail := case when private.schema_failures(p_rule, p_value, p_path) = '[]' then 'has a form that is not allowed' end;
  else
    select jsonb_agg(f.found), count(*), count(*) filter (where f.found = '[]') into v_all, v_total, v_fitting
    from jsonb_array_elements(p_rule) s
    cross join lateral private.schema_failures(s, p_value, p_path) f (found);
    if p_word = 'allOf' then
      return coalesce((select jsonb_agg(one) from jsonb_array_elements(v_all) a, jsonb_array_elements(a) one), '[]');
    end if;
    v_detail := case
      when v_fitting = 0 then format('fits none of the %s allowed forms', v_total)
      when v_fitting > 1 and p_word = 'oneOf' then format('fits %s forms where exactly one is allowed', v_fitting)
    end;
  end if;
  return case when v_detail is null then '[]'
    else jsonb_build_array(jsonb_build_object('field', p_path, 'detail', v_detail)) end;
end $$;

CREATE TABLE public.sync_conflicts (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    change_id uuid NOT NULL,
    principal_id uuid NOT NULL,
    entity text NOT NULL,
    entity_id uuid NOT NULL,
    field text NOT NULL,
    policy text NOT NULL,
    base jsonb,
    ours jsonb,
    theirs jsonb,
    winner text,
    value jsonb,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    decided_at timestamp with time zone,
    decided_by uuid,
    CONSTRAINT sync_conflicts_decided CHECK (((winner IS NULL) = (decided_at IS NULL))),
    CONSTRAINT sync_conflicts_winner_known CHECK ((winner = ANY (ARRAY['ours'::text, 'theirs'::text, 'both'::text, 'value'::text])))
);

COMMENT ON TABLE public.sync_conflicts IS 'Fields that a pushed change and somebody else had both changed, and how that was decided';

COMMENT ON COLUMN public.sync_conflicts.ours IS 'The server''s';

COMMENT ON COLUMN public.sync_conflicts.theirs IS 'The pushed change''s';

COMMENT ON COLUMN public.sync_conflicts.winner IS 'Null: open, a person must decide (resolve_conflict)';

COMMENT ON COLUMN public.sync_conflicts.decided_by IS 'Null: by policy';

CREATE FUNCTION private.close_conflict(p_tenant_id uuid, p_conflict_id uuid, p_winner text, p_value jsonb) RETURNS public.sync_conflicts
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_conflict public.sync_conflicts := private.open_conflict(p_tenant_id, p_conflict_id);
begin
  update public.sync_conflicts c
  set winner = p_winner, value = p_value, decided_at = private.now(), decided_by = auth.uid()
  where c.id = v_conflict.id returning * into v_conflict;
  update public.sync_changes c set status = 'merged'
  where c.id = v_conflict.change_id and c.status = 'conflict'
    and not exists (select from public.sync_conflicts o where o.change_id = c.id and o.winner is null);
  return v_conflict;
end $$;

CREATE TABLE public.reservations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    product_id uuid NOT NULL,
    location_id uuid NOT NULL,
    level_id uuid NOT NULL,
    order_id uuid,
    quantity bigint NOT NULL,
    shipped bigint DEFAULT 0 NOT NULL,
    status text DEFAULT 'held'::text NOT NULL,
    expires_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT reservations_only_holds_expire CHECK (((status = 'held'::text) = (expires_at IS NOT NULL))),
    CONSTRAINT reservations_quantity_positive CHECK ((quantity > 0)),
    CONSTRAINT reservations_shipped_by_status CHECK (
CASE
    WHEN (status = ANY (ARRAY['held'::text, 'expired'::text])) THEN (shipped = 0)
    WHEN (status = 'shipped'::text) THEN (shipped = quantity)
    ELSE ((shipped >= 0) AND (shipped < quantity))
END),
    CONSTRAINT reservations_status_known CHECK ((status = ANY (ARRAY['held'::text, 'committed'::text, 'shipped'::text, 'released'::text, 'expired'::text])))
);

COMMENT ON TABLE public.reservations IS 'Promises of stock; changed by commands only';

CREATE FUNCTION private.commit_for(p_tenant_id uuid, p_ids uuid[]) RETURNS SETOF public.reservations
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    AS $$
begin
  perform private.lock_reservations(p_tenant_id, p_ids);
  perform private.check_reservations(p_ids, '{held,committed}');
  update public.reservations r set status = 'committed', expires_at = null
  where r.id = any (p_ids) and r.status = 'held';
  return query select r.* from public.reservations r where r.id = any (p_ids);
end $$;

CREATE FUNCTION private.commit_order_holds(p_order public.orders) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_now timestamptz;
  v_held uuid[];
begin
  for v_try in 1..2 loop
    begin
      v_now := private.now();
      select array_agg(r.id) into v_held from public.reservations r
      where r.order_id = p_order.id and r.status = 'held' and r.expires_at > v_now;
      if v_held is not null then
        perform private.commit_for(p_order.tenant_id, v_held);
      end if;
      return;
    exception when sqlstate 'PT409' then
      if sqlerrm <> 'reservation.expired' or v_try = 2 then
        raise;
      end if;
    end;
  end loop;
end $$;

CREATE FUNCTION private.compare_values(p_a jsonb, p_b jsonb) RETURNS integer
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select case
    when jsonb_typeof(p_a) = 'number' and jsonb_typeof(p_b) = 'number' then sign(p_a::numeric - p_b::numeric)::integer
    when jsonb_typeof(p_a) = 'string' and jsonb_typeof(p_b) = 'string' then
      case when p_a = p_b then 0 when (p_a #>> '{}') collate "C" < (p_b #>> '{}') collate "C" then -1 else 1 end
  end
$$;

CREATE FUNCTION private.comparison_holds(p_condition jsonb, p_row jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_value constant jsonb := private.field_value(p_row, p_condition ->> 'field');
  v_with constant jsonb := case when p_condition ? 'other' then private.field_value(p_row, p_condition ->> 'other')
    else p_condition -> 'value' end;
begin
  return coalesce(case p_condition ->> 'op'
    when 'present' then v_value is not null
    when 'absent' then v_value is null
    when '=' then v_value = v_with
    when '!=' then v_value is distinct from v_with
    when '<' then private.compare_values(v_value, v_with) < 0
    when '<=' then private.compare_values(v_value, v_with) <= 0
    when '>' then private.compare_values(v_value, v_with) > 0
    when '>=' then private.compare_values(v_value, v_with) >= 0
    when 'in' then v_with @> jsonb_build_array(v_value) and v_value is not null
    when 'not_in' then v_value is null or not v_with @> jsonb_build_array(v_value)
    when 'matches' then jsonb_typeof(v_value) = 'string' and (v_value #>> '{}') ~ (v_with #>> '{}')
    when 'between' then private.lies_between(v_value, v_with)
    when 'length' then private.lies_between(
      case jsonb_typeof(v_value) when 'string' then to_jsonb(length(v_value #>> '{}'))
        when 'array' then to_jsonb(jsonb_array_length(v_value)) end, v_with)
  end, false);
end $$;

CREATE FUNCTION private.comparison_problem(p_entity text, p_condition jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_op constant text := p_condition ->> 'op';
  v_operand text;
begin
  if p_condition - '{field,op,value,other}'::text[] <> '{}' then
    return 'must be one of and, or, not, if with then, or a comparison of field, op and value or other';
  elsif private.field_problem(p_entity, p_condition -> 'field') is not null then
    return 'field ' || private.field_problem(p_entity, p_condition -> 'field');
  elsif not p_condition ? 'other' then
    v_operand := private.operand_problem(v_op, p_condition -> 'value');
    return case when v_op is null then 'op is missing' else v_op || ' ' || v_operand end;
  elsif p_condition ? 'value' then
    return 'has both a value and another field';
  elsif v_op not in ('=', '!=', '<', '<=', '>', '>=') or v_op is null then
    return 'other goes with = != < <= > >= alone';
  end if;
  return 'other ' || private.field_problem(p_entity, p_condition -> 'other');
end $$;

CREATE FUNCTION private.condition_holds(p_condition jsonb, p_row jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
  return case
    when p_condition ? 'and' then not exists (
      select from jsonb_array_elements(p_condition -> 'and') c where not private.condition_holds(c, p_row))
    when p_condition ? 'or' then exists (
      select from jsonb_array_elements(p_condition -> 'or') c where private.condition_holds(c, p_row))
    when p_condition ? 'not' then not private.condition_holds(p_condition -> 'not', p_row)
    when p_condition ? 'if' then
      not private.condition_holds(p_condition -> 'if', p_row) or private.condition_holds(p_condition -> 'then', p_row)
    else private.comparison_holds(p_condition, p_row)
  end;
end $$;

CREATE FUNCTION private.condition_problems(p_entity text, p_condition jsonb, p_path text DEFAULT ''::text, p_depth integer DEFAULT 0) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $_$
declare
  v_words constant text[] := array(
    select k from jsonb_object_keys(case jsonb_typeof(p_condition) when 'object' then p_condition else '{}' end) k order by k);
begin
  if jsonb_typeof(p_condition) is distinct from 'object' then
    return array[p_path || '/ must be an object'];
  elsif p_depth = 0 and (octet_length(p_condition::text) > 8192
    or (select count(*) from jsonb_path_query(p_condition, 'strict $.** ? (@.type() == "object")')) > 64) then
    return array['the condition is larger than 8 KiB or 64 parts'];
  elsif p_depth > 8 then
    return array[p_path || ' is nested more than 8 deep'];
  elsif v_words in ('{and}', '{or}') then
    if jsonb_typeof(p_condition -> v_words[1]) <> 'array' or p_condition -> v_words[1] = '[]' then
      return array[format('%s/%s must be a list of conditions', p_path, v_words[1])];
    end if;
    return array(
      select unnest(private.condition_problems(p_entity, c.value, format('%s/%s/%s', p_path, v_words[1], c.place - 1), p_depth + 1))
      from jsonb_array_elements(p_condition -> v_words[1]) with ordinality c (value, place));
  elsif v_words in ('{not}', '{if,then}') then
    return array(
      select unnest(private.condition_problems(p_entity, p_condition -> w, format('%s/%s', p_path, w), p_depth + 1))
      from unnest(v_words) w);
  end if;
  return array_remove(array[p_path || '/ ' || private.comparison_problem(p_entity, p_condition)], null);
end $_$;

CREATE FUNCTION private.count_levels(p_tenant_id uuid, p_lines jsonb, p_reason text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    AS $$
declare
  v_twice text;
  v_ids uuid[];
  v_differences bigint[];
  v_ahead uuid;
  v_counted public.stock_levels[];
  v_constraint text;
begin
  select min(d.product_id::text) into v_twice from (
    select l.product_id from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid)
    group by l.product_id, l.location_id having count(*) > 1
  ) d;
  if v_twice is not null then
    perform private.fail('PT400', 'stock.lines_invalid', format('Product %s is counted twice at one location.', v_twice));
  end if;
  perform private.open_levels(p_tenant_id, p_lines);

  select array_agg(s.id order by s.id), array_agg(l.counted - s.on_hand + coalesce(since.moved, 0) order by s.id),
    (array_agg(s.product_id) filter (where l.as_of_version not between 1 and s.version))[1]
  into v_ids, v_differences, v_ahead
  from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid, counted bigint, as_of_version bigint)
  join public.stock_levels s on s.product_id = l.product_id and s.location_id = l.location_id
  left join lateral (
    select sum(m.quantity)::bigint as moved from public.stock_movements m
    where m.level_id = s.id and m.level_version > l.as_of_version and m.kind not in ('count', 'repair')
  ) since on true;
  if v_ahead is not null then
    perform private.fail('PT400', 'stock.version_unknown',
      format('as_of_version of product %s is no version that its level has had.', v_ahead));
  end if;

  v_counted := array(
    select m from private.move_levels('count', v_ids, v_differences, array_fill(0::bigint, array[cardinality(v_ids)]),
      p_reason, p_may_fall_short => true) m
  );
  return (
    select jsonb_agg(jsonb_build_object(
      'product_id', s.product_id, 'location_id', s.location_id, 'on_hand', s.on_hand, 'reserved', s.reserved,
      'shortfall', s.shortfall, 'difference', m.quantity, 'version', s.version
    ) order by s.id)
    from unnest(v_counted) s
    join public.stock_movements m on m.level_id = s.id and m.level_version = s.version
  );
exception when check_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_if_short(v_constraint, '[]');
  raise;
end $$;

CREATE FUNCTION private.count_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_known jsonb;
begin
  perform private.require(p_tenant_id, 'inventory.write');
  perform private.require_plain(p_lines);
  perform private.check_lines(p_lines, 'counted', 0);
  v_known := private.begin_command(p_tenant_id, 'count_stock', p_key,
    jsonb_build_object('lines', p_lines, 'reason', p_reason));
  if v_known is not null then
    return v_known;
  end if;
  return private.end_command(p_tenant_id, 'count_stock', p_key,
    jsonb_build_object('levels', private.count_levels(p_tenant_id, p_lines, p_reason)));
end $$;

CREATE FUNCTION private.create_api_key(p_tenant_id uuid, p_name text, p_role text, p_scopes text[], p_expires_at timestamp with time zone, p_allowed_ips text[], p_rate_per_minute integer) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_key public.api_keys;
begin
  perform private.require(p_tenant_id, 'api_keys.write');
  perform private.lock_roles(p_tenant_id);
  perform private.require(p_tenant_id, case p_role when 'owner' then 'owners.write' else 'api_keys.write' end);
  perform private.require_no_api_key(p_tenant_id);
  perform private.require_known_role(p_role);
  v_key.name := btrim(p_name);
  v_key.role := p_role;
  v_key.scopes := private.checked_scopes(p_role, p_scopes);
  v_key.expires_at := p_expires_at;
  v_key.allowed_ips := private.checked_networks(p_allowed_ips);
  v_key.rate_per_minute := p_rate_per_minute;
  perform private.check_api_key(v_key);
  perform private.require_as_strong(p_tenant_id, p_role, v_key.scopes);
  if (select count(*) from public.api_keys k where k.tenant_id = p_tenant_id and k.status = 'active'
    and (k.expires_at is null or k.expires_at > private.now())) >= 200 then
    perform private.fail('PT422', 'api_key.too_many', 'A tenant has at most 200 active keys.', 'Revoke those that are not used.');
  end if;
  insert into public.api_keys (tenant_id, name, role, scopes, expires_at, allowed_ips, rate_per_minute, created_by)
  values (p_tenant_id, v_key.name, v_key.role, v_key.scopes, v_key.expires_at, v_key.allowed_ips, v_key.rate_per_minute, auth.uid())
  returning * into v_key;
  insert into public.memberships (tenant_id, principal_id, role, kind, scopes, expires_at)
  values (p_tenant_id, v_key.id, v_key.role, 'api_key', v_key.scopes, v_key.expires_at);
  return private.api_key_answer(v_key) || jsonb_build_object('secret', private.make_api_key_secret(v_key.id));
end $$;

CREATE FUNCTION private.create_product(p_tenant_id uuid, p_product jsonb, p_key text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_known jsonb;
  v_product public.products;
begin
  perform private.require(p_tenant_id, 'products.write');
  perform private.require_plain(p_product);
  v_known := private.begin_command(p_tenant_id, 'create_product', p_key, coalesce(p_product, 'null'));
  if v_known is not null then
    return v_known;
  end if;
  v_product := private.described_product(p_tenant_id, null, p_product);
  insert into public.products
    (id, tenant_id, parent_id, category_id, sku, name, description, status, price, currency, attributes, publish_at)
  values (coalesce((p_product ->> 'id')::uuid, gen_random_uuid()), p_tenant_id, v_product.parent_id, v_product.category_id,
    v_product.sku, v_product.name, v_product.description, v_product.status, v_product.price, v_product.currency,
    v_product.attributes, v_product.publish_at)
  returning * into v_product;
  return private.end_command(p_tenant_id, 'create_product', p_key, to_jsonb(v_product));
end $$;

CREATE TABLE public.tenants (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    slug text NOT NULL,
    name text NOT NULL,
    currency text DEFAULT 'USD'::text NOT NULL,
    orphaned_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT tenants_currency_form CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT tenants_currency_known CHECK ((private.minor_units(currency) IS NOT NULL)),
    CONSTRAINT tenants_name_clean CHECK (private.is_clean(name)),
    CONSTRAINT tenants_name_length CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT tenants_slug_form CHECK ((slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'::text))
);

COMMENT ON TABLE public.tenants IS 'Companies; made by create_tenant';

COMMENT ON COLUMN public.tenants.orphaned_at IS 'Since when nobody owns it: its last owner''s account was deleted';

CREATE FUNCTION private.create_tenant(p_slug text, p_name text, p_currency text) RETURNS public.tenants
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_tenant public.tenants;
begin
  if auth.uid() is null then
    perform private.fail('PT401', 'auth.required', 'Sign in to create a tenant: its first owner is the caller.');
  end if;
  -- it would be an owner for ever, past its scopes, its end and its revocation; a token outlives the membership
  if exists (select from public.api_keys k where k.id = auth.uid()) then
    perform private.fail('PT403', 'tenant.by_api_key', 'An API key makes no tenants.', 'Let a person do it.');
  end if;
  insert into public.tenants (slug, name, currency) values (p_slug, p_name, p_currency)
  on conflict (slug) do nothing
  returning * into v_tenant;
  if v_tenant.id is null then
    perform private.fail('PT409', 'tenant.slug_taken', format('The slug %s is taken.', p_slug), 'Choose another slug.');
  end if;
  insert into public.memberships (tenant_id, principal_id, role) values (v_tenant.id, auth.uid(), 'owner');
  return v_tenant;
end $$;

CREATE FUNCTION private.create_webhook_endpoint(p_tenant_id uuid, p_url text, p_events text[], p_description text, p_labels jsonb, p_headers jsonb, p_timeout_seconds integer, p_max_concurrency integer, p_rate_limit_per_second integer, p_ordered boolean, p_signature text, p_expires_after_hours integer) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.days_of(p_parent regclass) RETURNS TABLE(name text, day date)
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select c.relname::text, to_date(right(c.relname, 8), 'YYYYMMDD')
  from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
  where i.inhparent = p_parent
$$;

CREATE FUNCTION private.delete_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_key text) RETURNS public.products
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_known jsonb;
  v_product public.products;
  v_variants uuid[];
begin
  perform private.require(p_tenant_id, 'products.delete');
  v_known := private.begin_command(p_tenant_id, 'delete_product', p_key,
    jsonb_build_object('product_id', p_product_id, 'expected_version', p_expected_version));
  if v_known is not null then
    return jsonb_populate_record(null::public.products, v_known);
  end if;
  v_product := private.lock_product(p_tenant_id, p_product_id, p_expected_version);
  if v_product.deleted_at is not null then
    perform private.end_command(p_tenant_id, 'delete_product', p_key, to_jsonb(v_product));
    return v_product;
  end if;
  v_variants := array(
    select p.id from public.products p
    where p.tenant_id = p_tenant_id and p.parent_id = p_product_id and p.deleted_at is null
    order by p.id for no key update
  );
  perform private.refuse_held(p_tenant_id, p_product_id || v_variants);
  update public.products p set deleted_at = v_now where p.id = any (v_variants);
  update public.products p set deleted_at = v_now where p.id = p_product_id returning * into v_product;
  perform private.end_command(p_tenant_id, 'delete_product', p_key, to_jsonb(v_product));
  return v_product;
end $$;

CREATE FUNCTION private.delete_tenant(p_tenant_id uuid, p_confirm_slug text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_tenant public.tenants;
begin
  perform private.require(p_tenant_id, 'tenant.delete');
  perform private.lock_roles(p_tenant_id);
  perform private.require(p_tenant_id, 'tenant.delete');
  select * into v_tenant from public.tenants t where t.id = p_tenant_id;
  if v_tenant.id is null then
    perform private.fail('PT404', 'tenant.not_found', format('There is no tenant %s.', p_tenant_id));
  end if;
  if p_confirm_slug is distinct from v_tenant.slug then
    perform private.fail('PT422', 'tenant.not_confirmed', 'p_confirm_slug is not the slug of this tenant.',
      'Nothing was deleted. Send the slug to confirm: there is no way back.');
  end if;
  insert into private.tombstones (id) values (p_tenant_id);
  delete from public.webhook_endpoints e where e.tenant_id = p_tenant_id;
  delete from public.api_keys k where k.tenant_id = p_tenant_id;
  delete from public.invitations i where i.tenant_id = p_tenant_id;
  delete from public.memberships m where m.tenant_id = p_tenant_id;
  update public.tenants t
  set slug = 'deleted-' || replace(p_tenant_id::text, '-', ''), name = 'Deleted' where t.id = p_tenant_id;
  perform worker.enqueue_job('upkeep.erase_tenants', '{}', null, 'upkeep.erase_tenants');
  return jsonb_build_object('tenant_id', p_tenant_id, 'status', 'erasing');
end $$;

CREATE FUNCTION private.described_product(p_tenant_id uuid, p_base public.products, p_product jsonb) RETURNS public.products
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_fault jsonb;
  v_failures jsonb;
  v_fields jsonb;
begin
  if jsonb_typeof(p_product) is distinct from 'object' or octet_length(p_product::text) > 262144 then
    perform private.fail('PT422', 'row.invalid', 'p_product must be a JSON object of at most 256 KiB.');
  end if;
  v_fault := private.row_fault(p_product || '{"sku": "any"}');
  if v_fault ->> 'code' = 'row.field_unknown' then
    perform private.fail('PT422', 'row.field_unknown', v_fault ->> 'detail');
  end if;
  v_failures := private.type_failures(p_product - 'parent_sku');
  if v_failures = '[]' and v_fault is not null then
    v_failures := jsonb_build_array(private.failure(v_fault ->> 'code', 'price', v_fault ->> 'detail'));
  end if;
  if v_failures <> '[]' then
    perform private.fail('PT422', 'product.invalid', v_failures::text,
      'Correct every field that is listed, then send all of it again.');
  end if;
  v_fields := (
    select jsonb_build_object('parent_id', null, 'category_id', null, 'sku', null, 'name', null, 'description', '', 'status', 'draft',
      'price', 0, 'currency', t.currency, 'attributes', '{}'::jsonb, 'publish_at', null)
    from public.tenants t where t.id = p_tenant_id
  ) || (p_product - '{id,tenant_id,parent_sku,version,deleted_at,created_at,updated_at,publish_failures}'::text[]);
  if p_product ->> 'parent_sku' is not null then
    v_fields := v_fields || jsonb_build_object('parent_id', (
      select p.id from public.products p
      where p.tenant_id = p_tenant_id and p.sku = p_product ->> 'parent_sku' and p.deleted_at is null));
    if v_fields ->> 'parent_id' is null then
      perform private.fail('PT404', 'product.parent_missing', format('There is no product %s.', p_product ->> 'parent_sku'));
    end if;
  end if;
  return jsonb_populate_record(p_base, v_fields);
end $$;

CREATE FUNCTION private.dispatch_for(p_tenant_id uuid, p_until bigint DEFAULT NULL::bigint) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_mark constant xid8 := private.dispatch_mark();
  v_until bigint;
begin
  select max(o.id) into v_until from private.outbox o
  where o.xid >= v_mark and o.tenant_id = p_tenant_id and (p_until is null or o.id <= p_until);
  if v_until is not null then
    -- whoever dispatches meanwhile is waited for
    perform worker.dispatch_outbox(p_mark => v_mark);
    select max(o.id) into v_until from private.outbox o
    where o.xid >= v_mark and o.tenant_id = p_tenant_id and o.id <= v_until;
  end if;
  return v_until;
end $$;

CREATE FUNCTION private.dispatch_mark() RETURNS xid8
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select case when d.mark <= pg_snapshot_xmin(pg_current_snapshot()) and d.epoch = e.epoch then d.mark else '0' end
  from private.dispatch_mark d, private.log_epoch e
$$;

CREATE FUNCTION private.doom_files() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  insert into private.doomed_files as d (host, public_id, why)
  select o.host, o.public_id, 'unused' from old_rows o order by o.host, o.public_id
  on conflict (host, public_id) do update set why = 'unused', due_at = least(d.due_at, excluded.due_at);
  return null;
end $$;

CREATE FUNCTION private.doom_forgotten_uploads(p_limit integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $_$
declare
  v_after text;
  v_looked integer;
  v_last text;
  v_old text[];
  v_doomed integer;
begin
  if to_regclass('storage.objects') is null then
    return 0;
  end if;
  select w.after_name into v_after from private.upload_walk w for update;
  execute 'select count(*), max(o.name), coalesce(array_agg(o.name) filter (where o.at < private.now() - interval ''1 day''), ''{}'')
    from (
      select o.name, greatest(o.created_at, o.updated_at) as at from storage.objects o
      where o.bucket_id = ''product-images'' and o.name > $1 order by o.name limit $2
    ) o' into v_looked, v_last, v_old using v_after, p_limit;
  update private.upload_walk w set after_name = case when v_looked = p_limit then v_last else '' end;
  insert into private.doomed_files (host, public_id, why, due_at)
  select 'upload', o.name, 'unused', private.now() + interval '1 day' from unnest(v_old) o (name) where not private.is_needed('upload', o.name) order by o.name
  on conflict do nothing;
  get diagnostics v_doomed = row_count;
  return v_doomed;
end $_$;

CREATE FUNCTION private.doom_upload() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  insert into private.doomed_files (host, public_id, why, due_at)
  values ('upload', old.upload_path, 'unused', private.now() + interval '1 day') on conflict do nothing;
  return null;
end $$;

CREATE FUNCTION private.drop_secret(p_id uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $_$
begin
  delete from private.secrets s where s.id = p_id;
  if not found and private.secrets_home() = 'vault' then
    execute 'delete from vault.secrets where id = $1' using p_id;
  end if;
end $_$;

CREATE FUNCTION private.drop_secret_of_row() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  perform private.drop_secret(old.secret_id);
  return null;
end $$;

CREATE FUNCTION private.ed25519_public_key(p_seed bytea) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path TO ''
    AS $$
declare
  v_p constant numeric := 57896044618658097711785492504343953926634992332820282019728792003956564819949; -- 2^255 - 19
  -- the base point as it is added: y - x, y + x, 2dxy
  v_minus constant numeric := 31204614345391077396927242593886631629853981173214368409736920319215404093758;
  v_plus constant numeric := 3533012425803781230144052908719740726127014226477800802100354883158534798213;
  v_twisted constant numeric := 50237614328228664512531835696112167678046477356841409204013502641986506238568;
  v_hash bytea;
  v_x numeric := 0;
  v_y numeric := 1;
  v_z numeric := 1;
  v_t numeric;
  v_a numeric;
  v_b numeric;
  v_e numeric;
  v_f numeric;
  v_g numeric;
  v_h numeric;
  v_public bytea := decode(repeat('00', 32), 'hex');
begin
  if length(p_seed) <> 32 then
    raise exception 'an Ed25519 seed has 32 bytes, this one has %', length(p_seed) using errcode = '22023';
  end if;
  v_hash := substr(sha512(p_seed), 1, 32);
  v_hash := set_byte(v_hash, 0, get_byte(v_hash, 0) & 248);
  v_hash := set_byte(v_hash, 31, get_byte(v_hash, 31) & 127 | 64);

  -- Remainders keep the sign of what is divided: only the last ones are brought above zero.
  for v_bit in reverse 254..0 loop
    v_a := v_x * v_x;
    v_b := v_y * v_y;
    v_h := (v_a + v_b) % v_p;
    v_e := (v_h - (v_x + v_y) * (v_x + v_y)) % v_p;
    v_g := (v_a - v_b) % v_p;
    v_f := (2 * v_z * v_z + v_g) % v_p;
    v_x := v_e * v_f % v_p;
    v_y := v_g * v_h % v_p;
    v_z := v_f * v_g % v_p;
    if get_bit(v_hash, v_bit) = 1 then
      v_t := v_e * v_h % v_p;
      v_a := (v_y - v_x) * v_minus % v_p;
      v_b := (v_y + v_x) * v_plus % v_p;
      v_t := v_t * v_twisted % v_p;
      v_e := v_b - v_a;
      v_f := 2 * v_z - v_t;
      v_g := 2 * v_z + v_t;
      v_h := v_b + v_a;
      v_x := v_e * v_f % v_p;
      v_y := v_g * v_h % v_p;
      v_z := v_f * v_g % v_p;
    end if;
  end loop;

  -- 1/z by Euclid: v_e * z is v_f and v_g * z is v_h, modulo p.
  v_e := 0;
  v_f := v_p;
  v_g := 1;
  v_h := (v_z + v_p) % v_p;
  while v_h <> 0 loop
    v_a := div(v_f, v_h);
    v_b := v_e - v_a * v_g;
    v_e := v_g;
    v_g := v_b;
    v_b := v_f - v_a * v_h;
    v_f := v_h;
    v_h := v_b;
  end loop;
  v_x := (v_x * v_e % v_p + v_p) % v_p;
  v_y := (v_y * v_e % v_p + v_p) % v_p;

  for v_byte in 0..31 loop
    v_public := set_byte(v_public, v_byte, (v_y % 256)::integer);
    v_y := div(v_y, 256);
  end loop;
  return set_byte(v_public, 31, get_byte(v_public, 31) | (128 * (v_x % 2))::integer);
end $$;

CREATE FUNCTION private.enable_graphql() RETURNS text
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  if not exists (select from pg_catalog.pg_available_extensions e where e.name = 'pg_graphql') then
    perform private.fail('PT501', 'graphql.unavailable', 'This Postgres has no extension pg_graphql.',
      'Nothing was changed. Supabase projects have it; everything else works without.');
  end if;
  execute 'create schema if not exists graphql';
  execute 'create extension if not exists pg_graphql with schema graphql';
  return format('GraphQL is on at /graphql/v1; %s types have names.', private.name_graphql_types());
end $$;

CREATE FUNCTION private.end_api_key(p_api_key_id uuid) RETURNS public.api_keys
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_key public.api_keys;
begin
  update public.api_keys k set status = 'revoked', revoked_at = private.now()
  where k.id = p_api_key_id and k.status = 'active';
  select * into v_key from public.api_keys k where k.id = p_api_key_id;
  perform private.revoke_invitations_of(v_key.tenant_id, p_api_key_id);
  delete from public.memberships m where m.tenant_id = v_key.tenant_id and m.principal_id = p_api_key_id;
  delete from private.api_key_secrets s where s.api_key_id = p_api_key_id;
  return v_key;
end $$;

CREATE FUNCTION private.end_command(p_tenant_id uuid, p_command text, p_key text, p_result jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if p_key is not null then
    update private.command_results set result = p_result
    where tenant_id = p_tenant_id and command = p_command and key = p_key
      and principal_id = coalesce(auth.uid(), '00000000-0000-0000-0000-000000000000');
  end if;
  return p_result;
end $$;

CREATE FUNCTION private.is_flat_text(p_object jsonb, p_key text, p_length integer, p_most integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select jsonb_typeof(p_object) = 'object' and (
    select count(*) <= p_most
      and coalesce(bool_and(e.key ~ p_key and jsonb_typeof(e.value) = 'string'
        and length(e.value #>> '{}') <= p_length and private.is_clean(e.value #>> '{}')), true)
    from jsonb_each(case jsonb_typeof(p_object) when 'object' then p_object else '{}' end) e
  )
$$;

CREATE TABLE public.webhook_endpoints (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    url text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    labels jsonb DEFAULT '{}'::jsonb NOT NULL,
    events text[] DEFAULT '{*}'::text[] NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    disabled_reason text,
    disabled_at timestamp with time zone,
    timeout_seconds integer DEFAULT 15 NOT NULL,
    max_concurrency integer DEFAULT 10 NOT NULL,
    rate_limit_per_second integer,
    ordered boolean DEFAULT false NOT NULL,
    headers jsonb DEFAULT '{}'::jsonb NOT NULL,
    signature text DEFAULT 'hmac'::text NOT NULL,
    expires_after_hours integer DEFAULT 72 NOT NULL,
    credentials_changed_at timestamp with time zone DEFAULT private.now() NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT webhook_endpoints_concurrency_range CHECK (((max_concurrency >= 1) AND (max_concurrency <= 100))),
    CONSTRAINT webhook_endpoints_description_clean CHECK (private.is_clean(description)),
    CONSTRAINT webhook_endpoints_description_length CHECK ((length(description) <= 500)),
    CONSTRAINT webhook_endpoints_disabled_why CHECK (((status = 'disabled'::text) = ((disabled_reason IS NOT NULL) AND (disabled_at IS NOT NULL)))),
    CONSTRAINT webhook_endpoints_events_form CHECK ((array_to_string(events, ','::text, '!'::text) ~ '^(\*|[a-z_]+\.(\*|[a-z_]+))(,(\*|[a-z_]+\.(\*|[a-z_]+)))*$'::text)),
    CONSTRAINT webhook_endpoints_events_single CHECK ((cardinality(string_to_array(array_to_string(events, ','::text, '!'::text), ','::text)) = cardinality(events))),
    CONSTRAINT webhook_endpoints_events_some CHECK (((cardinality(events) >= 1) AND (cardinality(events) <= 50))),
    CONSTRAINT webhook_endpoints_expiry_range CHECK (((expires_after_hours >= 1) AND (expires_after_hours <= 336))),
    CONSTRAINT webhook_endpoints_headers_form CHECK (private.is_flat_text(headers, '^[!#$%&''*+.^_`|~0-9A-Za-z-]{1,100}$'::text, 1000, 20)),
    CONSTRAINT webhook_endpoints_headers_ours CHECK (private.are_free_headers(headers)),
    CONSTRAINT webhook_endpoints_labels_form CHECK (private.is_flat_text(labels, '^[A-Za-z0-9_.-]{1,63}$'::text, 200, 20)),
    CONSTRAINT webhook_endpoints_rate_range CHECK (((rate_limit_per_second >= 1) AND (rate_limit_per_second <= 10000))),
    CONSTRAINT webhook_endpoints_signature_known CHECK ((signature = ANY (ARRAY['hmac'::text, 'ed25519'::text]))),
    CONSTRAINT webhook_endpoints_status_known CHECK ((status = ANY (ARRAY['active'::text, 'paused'::text, 'disabled'::text]))),
    CONSTRAINT webhook_endpoints_timeout_range CHECK (((timeout_seconds >= 1) AND (timeout_seconds <= 30))),
    CONSTRAINT webhook_endpoints_url_length CHECK ((length(url) <= 2048)),
    CONSTRAINT webhook_endpoints_url_scheme CHECK ((url ~ '^https?://[^[:space:][:cntrl:]]+$'::text))
);

COMMENT ON TABLE public.webhook_endpoints IS 'Where a tenant wants its events; made by create_webhook_endpoint';

COMMENT ON COLUMN public.webhook_endpoints.labels IS 'The tenant''s own words for it, text by text: up to 20';

COMMENT ON COLUMN public.webhook_endpoints.events IS 'Event types, with wildcards: *, product.*, product.updated';

COMMENT ON COLUMN public.webhook_endpoints.max_concurrency IS 'Requests under way at once, at most; fewer while it is slow or fails';

COMMENT ON COLUMN public.webhook_endpoints.rate_limit_per_second IS 'Requests started a second, at most; null: no limit';

COMMENT ON COLUMN public.webhook_endpoints.ordered IS 'Events of one entity are sent one after the other, each when the one before has ended';

COMMENT ON COLUMN public.webhook_endpoints.headers IS 'Sent with every request, text by text; not in the event log';

COMMENT ON COLUMN public.webhook_endpoints.expires_after_hours IS 'An event that could not be delivered for so long expires';

COMMENT ON COLUMN public.webhook_endpoints.credentials_changed_at IS 'When its secrets or headers changed last';

CREATE FUNCTION private.endpoint_for(p_tenant_id uuid, p_endpoint_id uuid, p_permission text) RETURNS public.webhook_endpoints
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.endpoints_by_status() RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
  select jsonb_build_object('active', a.endpoints, 'paused', p.endpoints, 'disabled', d.endpoints)
  from (select count(*) as endpoints from (select from public.webhook_endpoints e where e.status = 'paused' limit 10000) e) p
  cross join (select count(*) as endpoints from (select from public.webhook_endpoints e where e.status = 'disabled' limit 10000) e) d
  cross join lateral (
    select greatest(0, case when t.reltuples > 10000 then t.reltuples::bigint - p.endpoints - d.endpoints
      else (select count(*) from (select from public.webhook_endpoints e where e.status = 'active' limit 10000) e) end) as endpoints
    from pg_catalog.pg_class t where t.oid = 'public.webhook_endpoints'::regclass
  ) a
$$;

CREATE FUNCTION private.enqueue_webhook(p_webhook public.inbound_webhooks, p_in_seconds numeric DEFAULT 0) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select worker.enqueue_job('inbound.apply',
    jsonb_build_object('webhook_id', p_webhook.id, 'principal_id', p_webhook.principal_id),
    p_webhook.tenant_id, 'inbound:' || p_webhook.id, private.webhook_serial(p_webhook), p_in_seconds)
$$;

CREATE FUNCTION private.erase_rows(p_tenant_id uuid, p_limit integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $_$
declare
  v_table record;
  v_rows bigint;
  v_erased bigint := 0;
begin
  perform set_config('pms.erasing', 'yes', true);
  for v_table in select e.relation, e.leaf from private.erased_tables() e loop
    loop
      exit when v_erased >= p_limit;
      execute format('delete from %1$s where ctid = any (array(
          select t.ctid from %1$s t where t.tenant_id = $1 and %2$s limit $2))',
        v_table.relation, coalesce(v_table.leaf, 'true'))
      using p_tenant_id, p_limit - v_erased;
      get diagnostics v_rows = row_count;
      v_erased := v_erased + v_rows;
      -- Leaves first: what they hung on is a leaf now.
      exit when v_rows = 0 or v_table.leaf is null;
    end loop;
    exit when v_erased >= p_limit;
  end loop;
  perform private.forget_own_changes(p_tenant_id);
  perform set_config('pms.erasing', '', true);
  return v_erased;
end $_$;

CREATE FUNCTION private.erased_tables() RETURNS TABLE(relation regclass, leaf text)
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  with recursive owned as (
    select c.oid from pg_catalog.pg_class c
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'queue'::regnamespace) and c.relkind = 'r'
      and exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and a.attnum > 0)
  ), refers as (
    select f.conrelid, f.confrelid from pg_catalog.pg_constraint f where f.contype = 'f' and f.conrelid <> f.confrelid
  ), depths as (
    select o.oid, 0 as depth from owned o
    union all
    select r.conrelid, d.depth + 1 from depths d join refers r on r.confrelid = d.oid
    where d.depth < 20
  )
  select d.oid::regclass, (
    select string_agg(format('not exists (select from %s s where %s)', d.oid::regclass, (
      select string_agg(format('s.%I = t.%I', child.attname, parent.attname), ' and ')
      from unnest(f.conkey, f.confkey) k (child, parent)
      join pg_catalog.pg_attribute child on child.attrelid = f.conrelid and child.attnum = k.child
      join pg_catalog.pg_attribute parent on parent.attrelid = f.confrelid and parent.attnum = k.parent
    )), ' and ')
    from pg_catalog.pg_constraint f where f.contype = 'f' and f.conrelid = d.oid and f.confrelid = d.oid
  )
  from depths d join owned o on o.oid = d.oid
  group by d.oid
  order by max(d.depth) desc, d.oid::regclass::text
$$;

CREATE FUNCTION private.event_body(p_id text, p_type text, p_tenant_id uuid, p_seq bigint, p_occurred_at timestamp with time zone, p_version bigint, p_operation text, p_changed text[], p_new jsonb, p_old jsonb, p_schema integer DEFAULT 1) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select concat(
    '{"id":"', p_id, '","type":"', p_type, '","timestamp":"', to_char(p_occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    '","tenant_id":"', p_tenant_id, '","seq":', p_seq, ',"schema":', p_schema, ',"data":{"object":', coalesce(p_new, p_old),
    ',"previous":', coalesce(
      (select jsonb_object_agg(f, p_old -> f)::text from unnest(p_changed) f where p_operation = 'UPDATE'), 'null'),
    ',"changed":', coalesce(to_json(p_changed)::text, '[]'), ',"version":', p_version, '}}')
$$;

CREATE FUNCTION private.event_example(p_entity text, p_verb text, p_fields jsonb, p_version integer) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  with kind as (
    select m.operation, m.when_field, m.when_value, m.when_null
    from private.event_map m where m.entity = p_entity and m.verb = p_verb order by m.rank limit 1
  ), usual as (
    select jsonb_object_agg(f.key, private.example_value(p_entity, f.key, f.value)) || coalesce((
      select e.object from private.event_examples e where e.entity = p_entity and e.verb = '*'), '{}')
      || jsonb_build_object(
        'version', case k.operation when 'INSERT' then 1 else 2 end,
        'created_at', case k.operation when 'INSERT' then '2026-11-23T07:19:23.927988+00:00' else '2026-11-02T14:05:00.118205+00:00' end,
        'updated_at', case k.operation when 'DELETE' then '2026-11-09T09:30:12.004121+00:00' else '2026-11-23T07:19:23.927988+00:00' end
      ) as object
    from kind k cross join jsonb_each(p_fields) f group by k.operation
  ), written as (
    select coalesce(e.object, '{}') as object,
      case when k.operation = 'UPDATE' then coalesce(e.previous, jsonb_build_object(c.field, u.object -> c.field)) end as previous,
      -- A type that has a condition holds it, whatever was written.
      case when k.when_value is not null then jsonb_build_object(k.when_field, k.when_value)
        when k.when_null then jsonb_build_object(k.when_field, null)
        when k.when_field is not null then jsonb_build_object(k.when_field, coalesce(
          nullif(e.object -> k.when_field, 'null'),
          private.example_value(p_entity, k.when_field, (p_fields -> k.when_field) || jsonb_build_object('type', p_fields -> k.when_field -> 'type' ->> 0))))
        else '{}' end as held
    from kind k cross join usual u
    cross join lateral (
      select coalesce(k.when_field, (
        select min(f) from jsonb_object_keys(p_fields) f
        where f not in ('id', 'tenant_id', 'version', 'created_at', 'updated_at'))) as field
    ) c
    left join private.event_examples e on e.entity = p_entity and e.verb = p_verb
  )
  select jsonb_build_object(
    'id', 'evt_' || md5(p_entity || '.' || p_verb), 'type', p_entity || '.' || p_verb,
    'timestamp', '2026-11-23T07:19:23.927988Z', 'tenant_id', md5('tenant')::uuid, 'seq', 118, 'schema', p_version,
    'data', jsonb_build_object(
      -- Only fields that there are: words may outlive a column.
      'object', (select jsonb_object_agg(o.key, o.value) from jsonb_each(u.object || w.object || w.held) o where p_fields ? o.key),
      'previous', w.previous,
      'changed', coalesce((select jsonb_agg(c order by c) from jsonb_object_keys(w.previous) c), '[]'),
      'version', case k.operation when 'INSERT' then 1 when 'UPDATE' then 2 else 3 end))
  from kind k cross join usual u cross join written w
$$;

CREATE FUNCTION private.event_fields(p_entity text) RETURNS TABLE(name text, place integer, schema jsonb)
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $_$
  select a.attname::text, a.attnum::integer,
    s.schema
      || case when s.schema ? 'type' and not a.attnotnull then jsonb_build_object('type', jsonb_build_array(s.schema -> 'type', 'null')) else '{}' end
      || case when c.listed is null then '{}'
        when a.attnotnull then jsonb_build_object('enum', c.listed) else jsonb_build_object('enum', c.listed || '[null]') end
      || case when d.words is null then '{}' else jsonb_build_object('description', d.words) end
  from private.logged_entities l
  join pg_catalog.pg_attribute a on a.attrelid = l.relation::regclass and a.attnum > 0 and not a.attisdropped
  cross join lateral (
    select
      (select jsonb_agg(replace(v[1], '''''', '''') order by n)
       from regexp_matches((array_agg(m[2]) filter (where m[2] is not null))[1], '''((?:[^'']|'''')*)''::text', 'g') with ordinality v (v, n)) as listed,
      (array_agg(m[3]) filter (where m[3] is not null))[1] as kind
    from pg_catalog.pg_constraint k
    cross join lateral regexp_match(pg_get_constraintdef(k.oid),
      '^CHECK \(\((?:("?\w+"?) = ANY \(ARRAY\[(.+)\]\)|jsonb_typeof\("?\w+"?\) = ''(\w+)''::text)\)\)$') m
    where k.conrelid = a.attrelid and k.contype = 'c' and k.conkey = array[a.attnum] and m is not null
  ) c
  cross join lateral (
    select case when c.kind is null then private.type_schema(a.atttypid) else jsonb_build_object('type', c.kind) end as schema
  ) s
  cross join lateral (
    select coalesce(col_description(a.attrelid, a.attnum), case a.attname
      when 'tenant_id' then 'Whose it is'
      when 'version' then 'Counts the states of this row: 1, 2, 3' end) as words
  ) d
  where l.entity = p_entity and a.attname <> all (l.hidden)
  order by a.attnum
$_$;

CREATE FUNCTION private.event_history(p_tenant_id uuid, p_event_id text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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

CREATE FUNCTION private.event_id(p_seq bigint) RETURNS text
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select 'evt_' || lpad(to_hex(p_seq), 12, '0') || substr(replace(gen_random_uuid()::text, '-', ''), 13) $$;

CREATE FUNCTION private.event_problem(p_type text, p_object jsonb) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select case
    when k.type is null then 'the type is not in the catalogue'
    when not p_object ?& k.required then
      'lacks ' || (select string_agg(r, ', ' order by r) from unnest(k.required) r where not p_object ? r)
    when p_object ?| k.hidden then
      'shows ' || (select string_agg(h, ', ' order by h) from unnest(k.hidden) h where p_object ? h)
  end
  from (select) one left join private.event_keys k on k.type = p_type
$$;

CREATE FUNCTION private.event_schema(p_type text, p_description text, p_version integer, p_operations text[], p_fields jsonb, p_required text[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$
  select jsonb_build_object(
    '$schema', 'https://json-schema.org/draft/2020-12/schema', 'title', p_type, 'description', p_description,
    'type', 'object', 'required', '["id", "type", "timestamp", "tenant_id", "seq", "schema", "data"]'::jsonb,
    'properties', jsonb_build_object(
      'id', '{"type": "string", "pattern": "^evt_[0-9a-f]{32}$"}'::jsonb,
      'type', jsonb_build_object('const', p_type),
      'timestamp', '{"type": "string", "format": "date-time"}'::jsonb,
      'tenant_id', '{"type": "string", "format": "uuid"}'::jsonb,
      'seq', '{"type": "integer", "minimum": 1}'::jsonb,
      'schema', jsonb_build_object('const', p_version),
      'data', jsonb_build_object(
        'type', 'object', 'required', '["object", "previous", "changed", "version"]'::jsonb,
        'properties', jsonb_build_object(
          'object', jsonb_build_object('type', 'object', 'required', p_required, 'properties', p_fields, 'additionalProperties', true),
          'previous', case when not 'UPDATE' = any (p_operations) then '{"type": "null"}' else jsonb_build_object(
            'type', case when p_operations = '{UPDATE}' then '"object"'::jsonb else '["object", "null"]' end,
            'properties', (select jsonb_object_agg(f.key, f.value - 'description') from jsonb_each(p_fields) f),
            'additionalProperties', true) end,
          'changed', '{"type": "array", "items": {"type": "string"}}'::jsonb || case
            when p_operations = '{UPDATE}' then '{"minItems": 1}'::jsonb
            when not 'UPDATE' = any (p_operations) then '{"maxItems": 0}' else '{}' end,
          'version', '{"type": "integer", "minimum": 1}'::jsonb))))
$_$;

CREATE FUNCTION private.event_type(p_entity text, p_operation text, p_changed text[], p_new jsonb, OUT type text, OUT webhooks boolean) RETURNS record
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select p_entity || '.' || m.verb, m.webhooks
  from private.event_map m
  where m.entity = p_entity and m.operation = p_operation
    and (m.when_field is null
      or (m.when_field = any (p_changed)
        and case when m.when_value is null then (p_new ->> m.when_field is null) = m.when_null
                 else p_new ->> m.when_field = m.when_value end))
  order by m.rank
  limit 1
$$;

CREATE FUNCTION private.example_value(p_entity text, p_field text, p_schema jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$
  select case
    when p_schema -> 'type' @> '["null"]' then 'null'
    when p_schema ? 'enum' then p_schema #> '{enum,0}'
    when p_schema ->> 'format' = 'uuid' then
      to_jsonb(md5(case p_field when 'id' then p_entity else regexp_replace(p_field, '_id$', '') end)::uuid)
    when p_schema ->> 'format' = 'date-time' then '"2026-11-23T07:19:23.927988+00:00"'
    when p_schema ->> 'format' = 'date' then '"2026-11-23"'
    when p_schema ->> 'type' in ('integer', 'number') then '0'
    when p_schema ->> 'type' = 'boolean' then 'false'
    when p_schema ->> 'type' = 'array' then '[]'
    when p_schema ->> 'type' = 'string' then to_jsonb(initcap(replace(p_field, '_', ' ')))
    else '{}' end
$_$;

CREATE FUNCTION private.expire_holds(p_level_ids uuid[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_ids constant uuid[] := (
    select array_agg(r.id) from public.reservations r
    where r.level_id = any (p_level_ids) and r.status = 'held' and r.expires_at <= v_now
  );
begin
  if v_ids is not null then
    perform private.give_back('expire', 'expired', v_ids);
  end if;
end $$;

CREATE FUNCTION private.explain_shortage(p_tenant_id uuid, p_lines jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_missing text;
  v_short text;
begin
  select string_agg(distinct case when p.id is null then 'product ' || coalesce(l.product_id::text, 'null')
                                  else 'location ' || l.location_id::text end, ', ')
  into v_missing
  from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid)
  left join public.products p on p.tenant_id = p_tenant_id and p.id = l.product_id
  left join public.locations o on o.tenant_id = p_tenant_id and o.id = l.location_id
  where p.id is null or (l.location_id is not null and o.id is null);
  if v_missing is not null then
    perform private.fail('PT404', 'stock.not_found', format('Not in this tenant: %s.', v_missing));
  end if;
  select string_agg(format('%s of product %s%s, available %s', w.quantity, w.product_id,
    coalesce(' at location ' || w.location_id, ''), w.available), '; ' order by w.product_id, w.location_id)
  into v_short
  from (
    -- All lines of a product together: those without a place draw on what the others leave.
    select l.product_id, l.location_id, l.quantity, coalesce(sum(public.available(s)), 0) as available,
      sum(l.quantity) over (partition by l.product_id) as of_product
    from (
      select l.product_id, l.location_id, sum(l.quantity) as quantity
      from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid, quantity bigint)
      group by l.product_id, l.location_id
    ) l
    left join public.stock_levels s on s.tenant_id = p_tenant_id and s.product_id = l.product_id
      and (l.location_id is null or s.location_id = l.location_id)
    group by l.product_id, l.location_id, l.quantity
    order by 1, 2
  ) w
  where w.quantity > w.available or (w.location_id is null and w.of_product > w.available);
  perform private.fail('PT409', 'stock.insufficient', format('Wanted: %s.', left(v_short, 1000)),
    'Read what is available and decide anew.');
end $$;

CREATE FUNCTION private.export_tenant(p_tenant_id uuid, p_table text, p_after jsonb, p_limit integer) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET "TimeZone" TO 'UTC'
    AS $_$
declare
  v_tenant_column constant text := (select e.tenant_column from private.exported_tables() e where e.name = p_table);
  v_limit constant integer := least(greatest(coalesce(p_limit, 1000), 1), 10000);
  v_key text[];
  v_rows jsonb;
begin
  perform private.require(p_tenant_id, 'tenant.export');
  perform private.require_plain(p_after);
  if p_table is null then
    return jsonb_build_object('tables', (select jsonb_agg(e.name) from private.exported_tables() e),
      'seq', coalesce((select l.seq from private.tenant_log l where l.tenant_id = p_tenant_id), 0));
  end if;
  if v_tenant_column is null then
    perform private.fail('PT404', 'export.table_unknown', format('There is no table %s to export.', p_table),
      'Call without p_table for the list.');
  end if;
  v_key := private.key_of(format('public.%I', p_table)::regclass);
  execute format(
    'select coalesce(jsonb_agg(to_jsonb(p) - ''token_hash'' order by %1$s), ''[]'') from (
       select t.* from public.%2$I t cross join jsonb_populate_record(null::public.%2$I, $2) a
       where t.%3$I = $1 and ($2 is null or (%4$s) > (%5$s)) order by %4$s limit $3
     ) p',
    (select string_agg(format('p.%I', k), ', ') from unnest(v_key) k), p_table, v_tenant_column,
    (select string_agg(format('t.%I', k), ', ') from unnest(v_key) k),
    (select string_agg(format('a.%I', k), ', ') from unnest(v_key) k)
  ) into v_rows using p_tenant_id, p_after, v_limit;
  return jsonb_build_object('table', p_table, 'rows', v_rows, 'next', case jsonb_array_length(v_rows) when v_limit then (
    select jsonb_object_agg(k, v_rows -> -1 -> k) from unnest(v_key) k) end);
end $_$;

CREATE FUNCTION private.exported_tables() RETURNS TABLE(name text, tenant_column text)
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select c.relname::text, case c.relname when 'tenants' then 'id' else 'tenant_id' end
  from pg_catalog.pg_class c
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
    and (c.relname = 'tenants' or exists (
      select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id'))
  order by c.relname
$$;

CREATE FUNCTION private.extend_for(p_tenant_id uuid, p_ids uuid[], p_expires_in interval) RETURNS SETOF public.reservations
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    AS $$
declare
  v_until constant timestamptz := private.hold_until(p_expires_in);
begin
  perform private.lock_reservations(p_tenant_id, p_ids);
  perform private.check_reservations(p_ids, '{held}');
  return query update public.reservations r set expires_at = v_until where r.id = any (p_ids) returning r.*;
end $$;

CREATE FUNCTION private.fail(p_sqlstate text, p_code text, p_detail text DEFAULT NULL::text, p_hint text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  raise exception using errcode = p_sqlstate, message = p_code,
    detail = coalesce(p_detail, ''), hint = coalesce(p_hint, '');
end $$;

CREATE FUNCTION private.failure(p_code text, p_field text, p_detail text, p_severity text DEFAULT 'error'::text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$ select jsonb_build_object('code', p_code, 'field', p_field, 'severity', p_severity, 'detail', p_detail) $$;

CREATE FUNCTION private.failures_to_tell(p_product public.products) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_failures constant jsonb := private.product_failures(p_product, '{error}');
begin
  if v_failures <> '[]' and auth.role() = 'authenticated'
    and not coalesce(p_product.tenant_id = any (private.my_tenants()), false) then
    return '[]';
  end if;
  return v_failures;
end $$;

CREATE FUNCTION private.fan_out(p_limit integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_fan_out queue.fan_outs;
  v_tenants constant uuid[] := array(
    select f.tenant_id from queue.fan_outs f group by f.tenant_id order by random() limit 20
  );
  v_share constant integer := greatest(1, p_limit / greatest(1, cardinality(v_tenants)));
  v_tenant_id uuid;
  v_left integer;
  v_seen integer;
  v_last bigint;
  v_more integer;
  v_queued integer := 0;
begin
  foreach v_tenant_id in array v_tenants loop
    v_left := v_share;
    loop
      select * into v_fan_out from queue.fan_outs f where f.tenant_id = v_tenant_id order by f.seq limit 1;
      exit when not found or v_left <= 0;
      with lanes as materialized (
        select l.id, l.endpoint_id from queue.lanes l
        where l.tenant_id = v_tenant_id and l.id > v_fan_out.after_lane_id and l.id <= v_fan_out.through_lane_id
        order by l.id limit v_left
      ), owed as (
        insert into queue.deliveries (lane_id, tenant_id, seq, dispatched_on)
        select l.id, v_tenant_id, v_fan_out.seq, v_fan_out.dispatched_on
        from lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
        where e.status <> 'disabled' and private.takes_event(e.events, v_fan_out.type, v_fan_out.entity)
        order by l.id
        returning 1
      )
      select (select count(*) from lanes), (select max(l.id) from lanes l), (select count(*) from owed)
      into v_seen, v_last, v_more;
      v_queued := v_queued + v_more;
      if v_seen < v_left then
        delete from queue.fan_outs f where f.tenant_id = v_tenant_id and f.seq = v_fan_out.seq;
      else
        update queue.fan_outs f set after_lane_id = v_last where f.tenant_id = v_tenant_id and f.seq = v_fan_out.seq;
      end if;
      v_left := v_left - greatest(v_seen, 1);
    end loop;
  end loop;
  return v_queued;
end $$;

CREATE FUNCTION private.field_problem(p_entity text, p_field jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$
  select case
    when jsonb_typeof(p_field) is distinct from 'string' then 'must name a field'
    when p_entity = 'product' and p_field #>> '{}'
      ~ '^(sku|name|description|status|price|currency|parent_id|category_id|publish_at|attributes(\.[^.]{1,100}){0,8})$' then null
    else format('names no field of a %s: %s', p_entity, left(p_field #>> '{}', 60))
  end
$_$;

CREATE FUNCTION private.field_value(p_row jsonb, p_field text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$ select nullif(p_row #> string_to_array(p_field, '.'), 'null') $$;

CREATE FUNCTION private.first_failure(p_failures jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select jsonb_build_object('code', p_failures -> 0 -> 'code', 'failures', p_failures,
    'detail', concat(p_failures -> 0 ->> 'detail', ' Also: ' || (
      select string_agg(format('%s [%s]', f.failure ->> 'detail', f.failure ->> 'code'), ' ' order by f.place)
      from jsonb_array_elements(p_failures) with ordinality f (failure, place) where f.place > 1)))
$$;

CREATE FUNCTION private.fold_api_counts() RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  with gone as (
    delete from private.api_instances i where i.seen_at < private.now() - interval '2 hours' returning i.instance_id
  ), counted as (
    delete from private.api_counts c using gone where c.instance_id = gone.instance_id returning c.name, c.count
  )
  insert into private.api_counts as c (instance_id, name, count)
  select '00000000-0000-0000-0000-000000000000', counted.name, sum(counted.count) from counted group by counted.name
  on conflict (instance_id, name) do update set count = c.count + excluded.count
$$;

CREATE FUNCTION private.follow_endpoint_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.follow_lane_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
begin
  if old.ordered and not new.ordered then
    update queue.retries r set blocked = false, order_key = null, due_at = least(r.due_at, private.now())
    from queue.lanes l where l.endpoint_id = new.id and r.lane_id = l.id and r.blocked;
  end if;
  if new.status = 'active' and old.status <> 'active' then
    delete from public.webhook_troubles t where t.endpoint_id = new.id;
  end if;
  return null;
end $$;

CREATE FUNCTION private.forget_last_words(p_before timestamp with time zone, p_limit integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_looked integer;
begin
  with old as (
    select s.tenant_id, s.source, s.entity, s.entity_id,
      not exists (select from public.products p where p.tenant_id = s.tenant_id and p.id = s.entity_id)
        and not exists (select from public.stock_levels l where l.tenant_id = s.tenant_id and l.id = s.entity_id)
        and not exists (
          select from public.sync_changes c where c.tenant_id = s.tenant_id and c.entity_id = s.entity_id and c.status = 'pending'
        ) as gone
    from private.inbox_states s
    where s.looked_on < (p_before at time zone 'UTC')::date order by s.looked_on limit p_limit for update of s skip locked
  ), dropped as (
    delete from private.inbox_states s using old o
    where o.gone and (s.tenant_id, s.source, s.entity, s.entity_id) = (o.tenant_id, o.source, o.entity, o.entity_id)
  ), kept as (
    -- so that what is there is looked at once in so long, and not at every call
    update private.inbox_states s set looked_on = private.today() from old o
    where not o.gone and (s.tenant_id, s.source, s.entity, s.entity_id) = (o.tenant_id, o.source, o.entity, o.entity_id)
  )
  select count(*) into v_looked from old;
  return v_looked;
end $$;

CREATE FUNCTION private.forget_nonce_at(p_signed_at timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select greatest(n.now, least(p_signed_at, n.now + interval '10 minutes')) + interval '11 minutes'
  from (select private.now() as now offset 0) n
$$;

CREATE FUNCTION private.forget_own_changes(p_tenant_id uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  delete from private.outbox o where o.xid = pg_current_xact_id() and o.tenant_id = p_tenant_id
$$;

CREATE FUNCTION private.forget_warnings() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  delete from public.validation_warnings w where w.tenant_id = old.tenant_id and w.rule_id = old.id;
  return null;
end $$;

CREATE FUNCTION private.give_back(p_kind text, p_status text, p_ids uuid[]) RETURNS SETOF public.reservations
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_closed public.reservations[];
begin
  with closed as (
    update public.reservations r set status = p_status, expires_at = null
    where r.id = any (p_ids) and r.status in ('held', 'committed')
    returning r.*
  )
  select array_agg(c) into v_closed from closed c;
  perform private.move_levels(p_kind, array_agg(b.level_id), array_agg(0::bigint), array_agg(-b.rest), null, b.order_id)
  from (
    -- One movement a level; it names the order if there is one only.
    select c.level_id, sum(c.quantity - c.shipped)::bigint as rest,
      case when count(distinct c.order_id) = 1 and count(c.order_id) = count(*)
        then (array_agg(c.order_id))[1] end as order_id
    from unnest(v_closed) c group by c.level_id
  ) b
  group by b.order_id;
  return query select * from unnest(v_closed);
end $$;

CREATE FUNCTION private.give_up_order_rest(p_order public.orders) RETURNS public.orders
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_open constant uuid[] := (
    select array_agg(r.id) from public.reservations r
    where r.order_id = p_order.id and r.status in ('held', 'committed')
  );
begin
  if v_open is not null then
    perform private.release_for(p_order.tenant_id, v_open);
  end if;
  update public.order_lines l set cancelled = l.quantity - l.fulfilled
  where l.order_id = p_order.id;
  return private.sum_order_lines(p_order);
end $$;

CREATE FUNCTION private.graphql_names() RETURNS TABLE(table_name text, type_name text)
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  values ('tenants', 'Tenant'), ('memberships', 'Membership'), ('invitations', 'Invitation'), ('api_keys', 'ApiKey'),
    ('api_key_usage', 'ApiKeyUsage'), ('products', 'Product'),
    ('product_versions', 'ProductVersion'), ('product_images', 'ProductImage'), ('categories', 'Category'),
    ('locations', 'Location'), ('stock_levels', 'StockLevel'), ('stock_movements', 'StockMovement'),
    ('reservations', 'Reservation'), ('orders', 'Order'), ('order_lines', 'OrderLine'),
    ('order_history', 'OrderHistoryEntry'), ('webhook_endpoints', 'WebhookEndpoint'),
    ('webhook_attempts', 'WebhookAttempt'), ('webhook_troubles', 'WebhookTrouble'), ('webhook_replays', 'WebhookReplay'),
    ('event_types', 'EventType'), ('notifications', 'Notification')
$$;

CREATE FUNCTION private.graphql_relations() RETURNS TABLE(table_name text, constraint_name text, up text, down text)
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  values ('products', 'products_parent', 'parent', 'variants'), ('categories', 'categories_parent', 'parent', 'children')
$$;

CREATE FUNCTION private.guard_category_tree() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_above integer;
  v_below integer;
  v_cycle boolean;
begin
  perform pg_advisory_xact_lock(hashtextextended('categories ' || new.tenant_id, 0));
  with recursive up as (
    select c.id, c.parent_id, 1 as depth from public.categories c where c.id = new.id
    union all
    select c.id, c.parent_id, u.depth + 1 from up u
    join public.categories c on c.tenant_id = new.tenant_id and c.id = u.parent_id
    where u.depth < 12 and u.parent_id <> new.id
  )
  select max(u.depth), bool_or(u.parent_id = new.id) into v_above, v_cycle from up u;
  if v_cycle then
    perform private.fail('PT422', 'category.cycle', format('The category %s would lie below itself.', new.slug));
  end if;
  with recursive down as (
    select new.id as id, 0 as depth
    union all
    select c.id, d.depth + 1 from down d
    join public.categories c on c.tenant_id = new.tenant_id and c.parent_id = d.id
    where d.depth < 12
  )
  select max(d.depth) into v_below from down d;
  if v_above + v_below > 10 then
    perform private.fail('PT422', 'category.too_deep', format('%s levels; the most is 10.', v_above + v_below));
  end if;
  return null;
end $$;

CREATE FUNCTION private.guard_deletion() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  if current_user = 'authenticated' then
    perform private.require(old.tenant_id, 'products.delete');
  end if;
  return new;
end $$;

CREATE FUNCTION private.guard_held() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  perform private.refuse_held(old.tenant_id, array[old.id]);
  new.publish_at := null;
  return new;
end $$;

CREATE FUNCTION private.guard_image() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if tg_op = 'INSERT' then
    -- twins may both pass: it bounds a product, and need not be exact
    if (select count(*) from public.product_images i where i.tenant_id = new.tenant_id and i.product_id = new.product_id) >= 250 then
      perform private.fail('PT422', 'image.too_many', 'A product has at most 250 pictures.', 'Delete some first.');
    end if;
  elsif (new.source_url, new.upload_path) is distinct from (old.source_url, old.upload_path) then
    new.source_revision := old.source_revision + 1;
  end if;
  if tg_op = 'UPDATE' and new.source_revision <> old.source_revision then
    new.status := 'pending';
    new.error := null;
  end if;
  if new.upload_path is not null and (tg_op = 'INSERT' or new.upload_path is distinct from old.upload_path) then
    perform private.keep_upload(new.upload_path);
  end if;
  return new;
end $$;

CREATE FUNCTION private.guard_publishing() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_was constant text := case tg_op when 'UPDATE' then old.status end;
  v_failures jsonb;
begin
  if tg_op = 'UPDATE' then
    if new.status <> 'draft' and new.status <> old.status then
      new.publish_at := null;
    end if;
    if new.publish_at is distinct from old.publish_at and new.publish_at is not null or new.status <> old.status then
      new.publish_failures := null;
    end if;
    if (new.status, new.sku, new.name, new.price, new.attributes, new.parent_id, new.deleted_at)
      is not distinct from (old.status, old.sku, old.name, old.price, old.attributes, old.parent_id, old.deleted_at) then
      return new;
    end if;
  end if;
  if new.status <> 'active' or (v_was = 'active' and new.deleted_at is not null)
    or current_setting('pms.importing', true) = 'yes' then
    return new;
  end if;
  -- A parent that is being unpublished at this moment takes this variant along, or is waited for.
  perform 1 from public.products p where p.tenant_id = new.tenant_id and p.id = new.parent_id for share;
  v_failures := private.publishing_failures(new, v_was);
  if v_failures <> '[]' then
    perform private.fail('PT422', 'product.not_publishable',
      (v_failures || private.failures_to_tell(private.sanitised_product(new)))::text, 'Mend all that is listed, then publish again.');
  end if;
  return new;
end $$;

CREATE FUNCTION private.guard_variant() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_parent public.products;
begin
  select * into v_parent from public.products p where p.tenant_id = new.tenant_id and p.id = new.parent_id for share;
  if not found then
    return new;  -- the foreign key answers
  end if;
  if v_parent.parent_id is not null then
    perform private.fail('PT422', 'product.variant_depth',
      format('%s is itself a variant, and variants are one level deep.', v_parent.sku));
  end if;
  if exists (select from public.products v where v.tenant_id = new.tenant_id and v.parent_id = new.id) then
    perform private.fail('PT422', 'product.variant_depth',
      format('%s has variants, so it cannot become one.', new.sku));
  end if;
  if v_parent.deleted_at is not null and new.deleted_at is null then
    perform private.fail('PT404', 'product.parent_missing', format('The product %s is deleted.', v_parent.sku));
  end if;
  return new;
end $$;

CREATE FUNCTION private.has_type(p_value jsonb, p_type text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select case p_type
    when 'integer' then jsonb_typeof(p_value) = 'number' and p_value::numeric = trunc(p_value::numeric)
    else jsonb_typeof(p_value) = p_type
  end
$$;

CREATE FUNCTION private.hidden_columns(p_entity text) RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$ select l.hidden from private.logged_entities l where l.entity = p_entity $$;

CREATE FUNCTION private.hold_sync_attempt(p_attempt_id uuid) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_tenant_id uuid;
begin
  select j.tenant_id into v_tenant_id from queue.jobs j
  where j.attempt_id = p_attempt_id and j.kind = 'sync.work' and j.state = 'running' and j.due_at > private.now()
  for share;
  if v_tenant_id is null then
    perform private.fail('PT409', 'sync.attempt_lost', 'This is no attempt of a worker that works off changes, or its lease is over.');
  end if;
  return v_tenant_id;
end $$;

CREATE FUNCTION private.hold_until(p_expires_in interval) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  if p_expires_in is null or p_expires_in < interval '1 second' or p_expires_in > interval '90 days' then
    perform private.fail('PT400', 'reservation.expiry_invalid', 'A hold lasts from 1 second to 90 days.');
  end if;
  return private.now() + p_expires_in;
end $$;

CREATE FUNCTION private.html_offences(p_html text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_names constant text := '(a|abbr|article|b|bdi|bdo|big|blockquote|br|caption|center|cite|code|col|colgroup|dd|del|dfn|div|dl|dt'
    '|em|figcaption|figure|font|footer|h[1-6]|header|hr|i|img|ins|kbd|li|main|mark|meta|ol|o:p|p|pre|q|s|samp|section|small'
    '|span|strike|strong|sub|sup|table|tbody|td|tfoot|th|thead|time|tr|tt|u|ul|var|wbr)';
  v_found text[] := '{}';
begin
  if p_html !~ '[<&%\\\uff1c\ufe64]' then
    return v_found;
  end if;
  if p_html ~* ('(&(amp;)*(lt|#0*60|#x0*3c);?|%(25)*3c|\\u003c|\\x3c|\\74|[\uff1c\ufe64])[ \t\n/]*'
    '(script|iframe|frame|object|embed|applet|svg|math|style|link|meta|base|form|img[^a-z].*on[a-z]+ *=)') then
    v_found := v_found || 'a scripting tag in disguise'::text;
  end if;
  -- By far the most texts have none but plain tags.
  if p_html !~* ('<(?!/?' || v_names || '[ \t\n]*/?>)[a-z/!?]') then
    return v_found;
  end if;
  if regexp_replace(p_html, '<[a-z/!?][^<>]*>', '', 'gi') ~* '<[a-z/!?]' then
    v_found := v_found || 'a tag that does not end'::text;
  end if;
  return v_found || array(
    select o.offence
    from (select distinct m[1] as tag from regexp_matches(p_html, '<([a-z/!?][^<>]*)>', 'gi') m) t
    cross join lateral private.tag_offence(t.tag) o (offence)
    where o.offence is not null
    order by o.offence limit 5
  );
end $$;

CREATE FUNCTION private.image_in_work(p_image_id uuid, p_revision integer) RETURNS public.product_images
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select i from public.product_images i
  where i.id = p_image_id and i.source_revision = p_revision
    and i.status in ('pending', 'fetching', 'processing')
    and exists (select from public.products p where p.tenant_id = i.tenant_id and p.id = i.product_id and p.deleted_at is null)
  for no key update of i
$$;

CREATE FUNCTION private.import_product(p_tenant_id uuid, p_row jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_parent uuid;
  v_before bigint;
  v_product public.products;
  v_result text := 'created';
  v_received bigint;
begin
  if p_row ->> 'parent_sku' is not null then
    select p.id into v_parent from public.products p
    where p.tenant_id = p_tenant_id and p.sku = p_row ->> 'parent_sku' and p.deleted_at is null;
    if not found then
      perform private.fail('PT404', 'product.parent_missing', format('There is no product %s.', p_row ->> 'parent_sku'));
    end if;
  end if;

  insert into public.products (tenant_id, parent_id, sku, name, description, status, price, currency, attributes)
  values (p_tenant_id, v_parent, p_row ->> 'sku', p_row ->> 'name', coalesce(p_row ->> 'description', ''),
    coalesce(p_row ->> 'status', 'draft'), (p_row ->> 'price')::numeric, p_row ->> 'currency',
    coalesce(p_row -> 'attributes', '{}'))
  on conflict (tenant_id, sku) where deleted_at is null do nothing
  returning * into v_product;

  if v_product.id is null then
    select p.version into v_before from public.products p
    where p.tenant_id = p_tenant_id and p.sku = p_row ->> 'sku' and p.deleted_at is null for update;
    update public.products p
    set parent_id = v_parent, name = p_row ->> 'name', description = coalesce(p_row ->> 'description', ''),
        status = coalesce(p_row ->> 'status', p.status), price = (p_row ->> 'price')::numeric,
        currency = p_row ->> 'currency', attributes = coalesce(p_row -> 'attributes', '{}')
    where p.tenant_id = p_tenant_id and p.sku = p_row ->> 'sku' and p.deleted_at is null
    returning * into v_product;
    v_result := case when v_product.version = v_before then 'unchanged' else 'updated' end;
  end if;

  if p_row -> 'images' is not null and private.set_images(v_product, p_row -> 'images') and v_result = 'unchanged' then
    v_result := 'updated';
  end if;
  v_received := private.receive_once(v_product, p_row);
  return jsonb_build_object('line', p_row -> 'line', 'sku', p_row -> 'sku', 'result', v_result,
    'product_id', v_product.id, 'received', v_received, 'error', null);
end $$;

CREATE FUNCTION private.in_buckets(p_values numeric[], p_bounds numeric[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select jsonb_build_object(
    'buckets', (
      select jsonb_agg(jsonb_build_array(b.bound, (select count(*) from unnest(p_values) v where v <= b.bound)) order by b.bound)
      from unnest(p_bounds) b (bound)
    ),
    'sum', (select coalesce(sum(v), 0) from unnest(p_values) v)
  )
$$;

CREATE FUNCTION private.inbox_defaults(p_tenant_id uuid) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select jsonb_build_object('description', '', 'status', 'draft', 'price', 0, 'currency', t.currency, 'attributes', '{}'::jsonb,
    'category_id', null, 'parent_id', null, 'publish_at', null)
  from public.tenants t where t.id = p_tenant_id
$$;

CREATE FUNCTION private.inbox_edit(p_old jsonb, p_new jsonb, p_first boolean) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
  return (
    select coalesce(jsonb_object_agg(e.field, e.operation), '{}')
    from (
      select n.key as field, case n.key
        when 'on_hand' then jsonb_build_object('delta', (n.value #>> '{}')::bigint - (p_old ->> 'on_hand')::bigint)
        else jsonb_build_object('set', n.value) end as operation
      from jsonb_each(p_new) n
      where n.key <> 'attributes' and n.value <> coalesce(p_old -> n.key, 'null')
        and (n.key <> 'on_hand' or not p_first and p_old ->> 'on_hand' is not null)
      union all
      select 'attributes.' || k.key, jsonb_build_object('set', coalesce(p_new -> 'attributes' -> k.key, 'null'))
      from (
        select jsonb_object_keys(p_new -> 'attributes' || case when p_first then '{}' else coalesce(p_old -> 'attributes', '{}') end) as key
      ) k
      where coalesce(p_old -> 'attributes' -> k.key, 'null') <> coalesce(p_new -> 'attributes' -> k.key, 'null')
    ) e
  );
end $$;

CREATE FUNCTION private.index_words() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_nestloop TO 'off'
    SET enable_hashjoin TO 'on'
    SET jit TO 'off'
    AS $$
begin
  if tg_op = 'INSERT' then
    insert into private.product_words (product_id, words)
    select n.id, private.product_vector(n.tenant_id, n.sku, n.name, n.description)
    from new_rows n where n.deleted_at is null;
    return null;
  end if;
  insert into private.product_words as w (product_id, words)
  select n.id, private.product_vector(n.tenant_id, n.sku, n.name, n.description)
  from new_rows n join old_rows o on o.id = n.id
  where n.deleted_at is null
    and (n.sku, n.name, n.description, o.deleted_at) is distinct from (o.sku, o.name, o.description, n.deleted_at)
  on conflict (product_id) do update set words = excluded.words;
  if exists (select from new_rows n where n.deleted_at is not null) then
    delete from private.product_words w
    where w.product_id = any (array(select n.id from new_rows n where n.deleted_at is not null));
  end if;
  return null;
end $$;

CREATE FUNCTION private.insert_order(p_id uuid, p_tenant_id uuid, p_currency text, p_lines jsonb, p_customer jsonb) RETURNS public.orders
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_order public.orders;
begin
  insert into public.orders (id, tenant_id, number, currency, net_total, tax_total, total, quantity, customer)
  select p_id, p_tenant_id, private.next_order_number(p_tenant_id), p_currency, sum(l.net_total), sum(l.tax_total),
    sum(l.total), sum(l.quantity), p_customer
  from jsonb_populate_recordset(null::public.order_lines, p_lines) l
  returning * into v_order;
  insert into public.order_lines (tenant_id, order_id, position, product_id, sku, name, unit_price, quantity, tax_rate,
    net_total, tax_total, total)
  select p_tenant_id, p_id, l.position, l.product_id, l.sku, l.name, l.unit_price, l.quantity, l.tax_rate,
    l.net_total, l.tax_total, l.total
  from jsonb_populate_recordset(null::public.order_lines, p_lines) l
  order by l.position;
  return v_order;
exception when numeric_value_out_of_range then
  perform private.fail('PT422', 'order.total_too_large', 'A total must be below 100,000,000,000,000.');
end $$;

CREATE FUNCTION private.invite_member(p_tenant_id uuid, p_email text, p_role text, p_expires_in interval) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_token constant text := 'inv_' || encode(extensions.gen_random_bytes(32), 'hex');
  v_invitation public.invitations;
begin
  perform private.require(p_tenant_id, 'members.write');
  perform private.lock_roles(p_tenant_id);
  perform private.require(p_tenant_id, case p_role when 'owner' then 'owners.write' else 'members.write' end);
  perform private.require_known_role(p_role);
  perform private.require_as_strong(p_tenant_id, p_role);
  if p_expires_in is null or p_expires_in < interval '1 minute' or p_expires_in > interval '30 days' then
    perform private.fail('PT422', 'invitation.expiry_invalid', 'An invitation is good for 1 minute to 30 days.');
  end if;
  if exists (
    select from auth.users u join public.memberships m on m.principal_id = u.id
    where m.tenant_id = p_tenant_id and lower(u.email) = lower(btrim(p_email))
  ) then
    perform private.fail('PT409', 'member.exists', format('%s belongs to the tenant already.', btrim(p_email)),
      'Change the role of the member.');
  end if;
  update public.invitations i set status = 'revoked'
  where i.tenant_id = p_tenant_id and lower(i.email) = lower(btrim(p_email)) and i.status = 'pending';
  insert into public.invitations (tenant_id, email, role, token_hash, invited_by, expires_at)
  values (p_tenant_id, btrim(p_email), p_role, sha256(convert_to(v_token, 'UTF8')), auth.uid(),
    -- nobody's invitation is good for longer than they are: an API key may expire
    least(private.now() + p_expires_in,
      (select m.expires_at from public.memberships m where m.tenant_id = p_tenant_id and m.principal_id = auth.uid())))
  returning * into v_invitation;
  return jsonb_build_object('invitation_id', v_invitation.id, 'tenant_id', p_tenant_id, 'email', v_invitation.email,
    'role', p_role, 'expires_at', v_invitation.expires_at, 'token', v_token);
end $$;

CREATE FUNCTION private.is_edit(p_edit jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$
  select case when jsonb_typeof(p_edit) = 'object' and private.is_plain(p_edit) then octet_length(p_edit::text) <= 131072 and (
    select count(*) <= 200 and coalesce(bool_and(
      e.key ~ '^[a-z][a-z_]{0,62}(\.[^[:cntrl:]]{1,200})?$' and jsonb_typeof(e.value) = 'object' and case
        when e.value ? 'set' then e.value - 'set' = '{}'
        when e.value ? 'delta' then e.value - 'delta' = '{}' and jsonb_typeof(e.value -> 'delta') = 'number'
          and e.value ->> 'delta' ~ '^-?[0-9]{1,12}$'
        when e.value ?| '{add,remove}' then e.value - '{add,remove}'::text[] = '{}'
          and not jsonb_path_exists(e.value, 'strict $.* ? (@.type() != "array")')
          and not jsonb_path_exists(e.value, 'strict $.*[*] ? (@.type() != "string")')
        else false
      end
    ), true)
    from jsonb_each(p_edit) e
  ) else false end
$_$;

CREATE FUNCTION private.is_gone(p_message public.inbox_messages, p_known private.inbox_states) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
begin
  return (
    select p_message.entity = 'product' and p_message.body is not null and (p_known.entity_id is null or p_known.state is not null)
      and not exists (select from public.products p where p.id = p_message.entity_id and p.tenant_id = p_message.tenant_id)
      and exists (select from public.product_versions h where h.product_id = p_message.entity_id and h.tenant_id = p_message.tenant_id)
  );
end $$;

CREATE TABLE private.doomed_files (
    host text NOT NULL,
    public_id text NOT NULL,
    due_at timestamp with time zone DEFAULT private.now() NOT NULL,
    held_until timestamp with time zone,
    why text NOT NULL,
    CONSTRAINT doomed_files_why_known CHECK ((why = ANY (ARRAY['unused'::text, 'unknown'::text])))
);

COMMENT ON TABLE private.doomed_files IS 'Files to be deleted where they are';

COMMENT ON COLUMN private.doomed_files.held_until IS 'Until then, and a while longer, a worker may be deleting it';

COMMENT ON COLUMN private.doomed_files.why IS 'unused: ours, and nothing shows it; unknown: it has a tenant''s name, and nobody here knows it';

CREATE FUNCTION private.is_let_off(p_file private.doomed_files) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select private.is_needed(p_file.host, p_file.public_id)
    or (p_file.host = 'upload' and private.is_uploaded_anew(p_file.public_id, p_file.due_at))
$$;

CREATE FUNCTION private.is_needed(p_host text, p_public_id text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select case p_host
    when 'upload' then exists (select from public.product_images i where i.upload_path = p_public_id)
    else exists (select from public.image_assets a where a.host = p_host and a.public_id = p_public_id) end
$$;

CREATE FUNCTION private.is_order_quantity(p_value jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$
  select case when jsonb_typeof(p_value) = 'number' and p_value #>> '{}' ~ '^[0-9]{1,7}$'
    then p_value::integer between 1 and 1000000 else false end
$_$;

CREATE FUNCTION private.is_public_address(p_address inet) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.is_tax_rate(p_value jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select case when jsonb_typeof(p_value) = 'number'
    then p_value::numeric between 0 and 1 and p_value::numeric = round(p_value::numeric, 6) else false end
$$;

CREATE FUNCTION private.is_to_be_judged(p_old public.products, p_new public.products) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select p_new.deleted_at is null and ((p_old).id is null or (
    p_new.sku, p_new.name, p_new.description, p_new.price, p_new.currency, p_new.attributes, p_new.category_id, p_new.parent_id,
    null::timestamptz, case when p_new.status in ('draft', 'archived') then p_old.status else p_new.status end
  ) is distinct from (
    p_old.sku, p_old.name, p_old.description, p_old.price, p_old.currency, p_old.attributes, p_old.category_id, p_old.parent_id,
    p_old.deleted_at, p_old.status
  ))
$$;

CREATE FUNCTION private.is_uploaded_anew(p_path text, p_due_at timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $_$
declare
  v_anew boolean := false;
begin
  if to_regclass('storage.objects') is not null then
    execute 'select exists (select from storage.objects o where o.bucket_id = ''product-images'' and o.name = $1
      and greatest(o.created_at, o.updated_at) > $2)' into v_anew using p_path, p_due_at - interval '1 day';
  end if;
  return v_anew;
end $_$;

CREATE FUNCTION private.items_of_depth(p_items jsonb, p_variants boolean) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select coalesce(jsonb_agg(e.item order by e.n), '[]')
  from jsonb_array_elements(p_items) with ordinality e (item, n)
  where (coalesce(e.item -> 'row' ->> 'parent_sku', e.item -> 'row' ->> 'parent_id') is not null) = p_variants
$$;

CREATE FUNCTION private.judge_endpoint_url() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.keep_an_owner(p_tenant_id uuid, p_principal_id uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if not exists (
    select from public.memberships m
    where m.tenant_id = p_tenant_id and m.role = 'owner' and m.kind = 'user' and m.principal_id <> p_principal_id
  ) then
    perform private.fail('PT409', 'member.last_owner', 'A tenant keeps an owner, and this is the last one.',
      'Make somebody else an owner first.');
  end if;
end $$;

CREATE FUNCTION private.keep_lane() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
begin
  if tg_op = 'INSERT' then
    insert into queue.lanes (endpoint_id, tenant_id) values (new.id, new.tenant_id);
    return null;
  end if;
  -- Who is settling holds the lane for share: wait for it before looking, so that its retries are seen.
  perform 1 from queue.lanes l where l.endpoint_id = old.id for update;
  delete from queue.deliveries d using queue.lanes l where l.endpoint_id = old.id and d.lane_id = l.id;
  delete from queue.retries r using queue.lanes l where l.endpoint_id = old.id and r.lane_id = l.id;
  delete from public.webhook_troubles t where t.endpoint_id = old.id;
  return old;
end $$;

CREATE FUNCTION private.keep_unknown(p_tenant_id uuid, p_kind text, p_event jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_events bigint;
  v_id uuid;
begin
  insert into private.unknown_webhooks as u (tenant_id, day, events) values (p_tenant_id, private.today(), 1)
  on conflict (tenant_id, day) do update set events = u.events + 1
  returning u.events into v_events;
  if v_events > 1000 then
    return;
  end if;
  insert into public.inbound_webhooks (tenant_id, principal_id, event_id, kind, type, data, occurred_at, status, settled_at)
  values (p_tenant_id, auth.uid(), p_event ->> 'id', p_kind, p_event ->> 'type', private.part_of_data(p_event -> 'data'),
    (p_event ->> 'timestamp')::timestamptz, 'unknown', private.now())
  on conflict (tenant_id, principal_id, event_id) do nothing
  returning id into v_id;
  perform private.notify_tenant(p_tenant_id, format('inbound %s unknown %s', p_kind, private.today()),
    'inbound.unknown', 'info', v_id, format('Inbound %s events of an unknown type', p_kind),
    format('A sender sends %s to the %s webhook. The first 1,000 such events of a day are kept in inbound_webhooks, and nothing is done with them.',
      p_event ->> 'type', p_kind));
end $$;

CREATE FUNCTION private.keep_upload(p_path text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  delete from private.doomed_files d
  where d.host = 'upload' and d.public_id = p_path and (d.held_until is null or d.held_until < private.now() - interval '5 min');
  if exists (select from private.doomed_files d where d.host = 'upload' and d.public_id = p_path) then
    perform private.fail('PT409', 'image.upload_going', 'This upload is being deleted, for no picture named it.',
      'Upload the file under another name.');
  end if;
end $$;

CREATE FUNCTION private.keep_versions() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET "TimeZone" TO 'UTC'
    SET enable_nestloop TO 'off'
    SET enable_hashjoin TO 'on'
    SET jit TO 'off'
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_command constant text := nullif(current_setting('pms.command_id', true), '');
begin
  if tg_op = 'UPDATE' then
    insert into public.product_versions (tenant_id, product_id, version, state, actor, command_id, replaced_at)
    select o.tenant_id, o.id, o.version, to_jsonb(o), auth.uid(), v_command, v_now
    from old_rows o join new_rows n on n.id = o.id
    where n.version <> o.version;
  else
    insert into public.product_versions (tenant_id, product_id, version, state, actor, command_id, replaced_at)
    select o.tenant_id, o.id, o.version, to_jsonb(o), auth.uid(), v_command, v_now
    from old_rows o
    -- A tenant that is deleted takes its history along.
    where exists (select from public.tenants t where t.id = o.tenant_id);
  end if;
  return null;
end $$;

CREATE FUNCTION private.key_of(p_table regclass) RETURNS text[]
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select array_agg(a.attname::text order by k.place)
  from pg_catalog.pg_index i
  cross join unnest(i.indkey::smallint[]) with ordinality k (attnum, place)
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  where i.indrelid = p_table and i.indisprimary
$$;

CREATE FUNCTION private.keyword_misuse(p_word text, p_rule jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $_$
declare
  v_type constant text := jsonb_typeof(p_rule);
  v_list constant jsonb := case v_type when 'array' then p_rule else '[]' end;
begin
  return case
    when p_word in ('title', 'description', '$comment') then case when v_type <> 'string' then 'must be text' end
    when p_word in ('default', 'examples', 'const') then null
    when p_word = '$schema' then
      case when p_rule <> '"https://json-schema.org/draft/2020-12/schema"' then 'must be draft 2020-12' end
    when p_word = 'type' then
      case when v_type not in ('string', 'array') or p_rule = '[]' or exists (
        select from jsonb_array_elements(case v_type when 'array' then p_rule else jsonb_build_array(p_rule) end) t
        where jsonb_typeof(t) <> 'string' or not t <@ '["null", "boolean", "integer", "number", "string", "array", "object"]'
      ) then 'must name types of JSON' end
    when p_word = 'enum' then case when v_type <> 'array' or p_rule = '[]' then 'must be a list of values' end
    when p_word = 'required' then
      case when v_type <> 'array' or exists (select from jsonb_array_elements(v_list) e where jsonb_typeof(e) <> 'string')
      then 'must be a list of names' end
    when p_word in ('minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum') then
      case when v_type <> 'number' then 'must be a number' end
    when p_word = 'multipleOf' then case when v_type <> 'number' or p_rule <= '0' then 'must be a number above 0' end
    when p_word in ('minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties') then
      case when v_type <> 'number' or not private.has_type(p_rule, 'integer') or p_rule < '0' then 'must be a whole number' end
    when p_word = 'uniqueItems' then case when v_type <> 'boolean' then 'must be true or false' end
    when p_word = 'pattern' then
      case when v_type <> 'string' then 'must be text' else private.pattern_problem(p_rule #>> '{}') end
    when p_word = 'format' then case when v_type <> 'string' or not p_rule <@ '["date", "email", "uri"]' then 'must be date, email or uri' end
    when p_word = 'properties' then case when v_type <> 'object' then 'must be an object of schemas' end
    when p_word in ('items', 'additionalProperties', 'not') then
      case when v_type not in ('object', 'boolean') then 'must be a schema' end
    when p_word in ('anyOf', 'allOf', 'oneOf') then case when v_type <> 'array' or p_rule = '[]' then 'must be a list of schemas' end
    else 'is not a keyword that is carried out'
  end;
end $_$;

CREATE FUNCTION private.keyword_problem(p_word text, p_rule jsonb, p_value jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_type constant text := jsonb_typeof(p_value);
  v_number constant numeric := case when v_type = 'number' then p_value::numeric end;
  v_bound constant numeric := case when jsonb_typeof(p_rule) = 'number' then p_rule::numeric end;
  v_text constant text := case when v_type = 'string' then p_value #>> '{}' end;
  v_items constant integer := case when v_type = 'array' then jsonb_array_length(p_value) end;
begin
  -- A bound that does not apply compares with null, which is no problem.
  return case p_word
    when 'type' then
      case when not exists (
        select from jsonb_array_elements_text(case jsonb_typeof(p_rule) when 'array' then p_rule else jsonb_build_array(p_rule) end) t
        where private.has_type(p_value, t)
      ) then format('must be of type %s', p_rule #>> '{}') end
    when 'enum' then
      case when not exists (select from jsonb_array_elements(p_rule) e where e = p_value) then format('must be one of %s', left(p_rule::text, 200)) end
    when 'const' then case when p_value <> p_rule then format('must be %s', left(p_rule::text, 200)) end
    when 'minimum' then case when v_number < v_bound then format('must be at least %s', v_bound) end
    when 'maximum' then case when v_number > v_bound then format('must be at most %s', v_bound) end
    when 'exclusiveMinimum' then case when v_number <= v_bound then format('must be above %s', v_bound) end
    when 'exclusiveMaximum' then case when v_number >= v_bound then format('must be below %s', v_bound) end
    when 'multipleOf' then case when mod(v_number, v_bound) <> 0 then format('must be a multiple of %s', v_bound) end
    when 'minLength' then case when length(v_text) < v_bound then format('must have at least %s characters', v_bound) end
    when 'maxLength' then case when length(v_text) > v_bound then format('must have at most %s characters', v_bound) end
    when 'pattern' then case when v_text !~ (p_rule #>> '{}') then format('must match %s', p_rule #>> '{}') end
    when 'format' then case when not private.matches_format(v_text, p_rule #>> '{}') then format('must be a valid %s', p_rule #>> '{}') end
    when 'minItems' then case when v_items < v_bound then format('must have at least %s elements', v_bound) end
    when 'maxItems' then case when v_items > v_bound then format('must have at most %s elements', v_bound) end
    when 'uniqueItems' then
      case when p_rule = 'true' and v_items > (select count(distinct e) from jsonb_array_elements(case v_type when 'array' then p_value else '[]' end) e)
      then 'must not hold the same element twice' end
    when 'minProperties' then
      case when v_type = 'object' and (select count(*) from jsonb_object_keys(case v_type when 'object' then p_value else '{}' end)) < v_bound
      then format('must have at least %s fields', v_bound) end
    when 'maxProperties' then
      case when v_type = 'object' and (select count(*) from jsonb_object_keys(case v_type when 'object' then p_value else '{}' end)) > v_bound
      then format('must have at most %s fields', v_bound) end
  end;
end $$;

CREATE FUNCTION private.laid_over(p_row jsonb, p_fields jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select p_row
    || coalesce(jsonb_object_agg(f.key, f.value) filter (where f.key not like 'attributes.%'), '{}')
    || case when bool_or(f.key like 'attributes.%') then jsonb_build_object('attributes',
        (coalesce(p_fields -> 'attributes', p_row -> 'attributes', '{}')
          || coalesce(jsonb_object_agg(substr(f.key, 12), f.value) filter (where f.key like 'attributes.%'), '{}'))
        - coalesce(array_agg(substr(f.key, 12)) filter (where f.key like 'attributes.%' and f.value = 'null'), '{}'))
      else '{}' end
  from jsonb_each(p_fields) f
$$;

CREATE TABLE queue.lanes (
    id bigint NOT NULL,
    endpoint_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    lease_id bigint
);

COMMENT ON TABLE queue.lanes IS 'One queue per endpoint, and the lease that holds it';

CREATE FUNCTION private.lane_settings(p_lane queue.lanes, p_endpoint public.webhook_endpoints) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select jsonb_build_object(
    'lane_id', p_lane.id, 'endpoint_id', p_endpoint.id, 'tenant_id', p_endpoint.tenant_id, 'url', p_endpoint.url,
    'status', p_endpoint.status, 'headers', p_endpoint.headers, 'timeout_seconds', p_endpoint.timeout_seconds,
    'max_concurrency', p_endpoint.max_concurrency, 'rate_limit_per_second', p_endpoint.rate_limit_per_second,
    'ordered', p_endpoint.ordered, 'expires_after_hours', p_endpoint.expires_after_hours, 'version', p_endpoint.version,
    'secrets', (
      select coalesce(jsonb_agg(
        jsonb_build_object('secret', private.read_secret(s.secret_id), 'expires_at', s.expires_at)
        order by s.created_at desc, s.secret_id), '[]')
      from private.webhook_secrets s
      where s.endpoint_id = p_endpoint.id and (s.expires_at is null or s.expires_at > private.now())
    )
  )
$$;

CREATE FUNCTION private.last_version_with(p_entity text, p_row jsonb, p_state jsonb, p_fields text[]) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET "TimeZone" TO 'UTC'
    AS $$
begin
  return (
    select v.version
    from (
      select (p_row ->> 'version')::bigint as version, p_row as state
      union all
      select h.version, h.state from public.product_versions h
      where p_entity = 'product' and h.product_id = (p_row ->> 'id')::uuid and h.version < (p_row ->> 'version')::bigint
        -- further back is not worth reading, nor merged from
        and h.version >= (p_row ->> 'version')::bigint - 500
    ) v
    where p_state is not null and v.state ->> 'deleted_at' is null and not exists (
      select from unnest(p_fields) f (field)
      where case when f.field like 'attributes.%'
          then coalesce(v.state -> 'attributes' -> substr(f.field, 12), 'null') <> coalesce(p_state -> 'attributes' -> substr(f.field, 12), 'null')
        else coalesce(v.state -> f.field, 'null') <> coalesce(p_state -> f.field, 'null') end
    )
    order by v.version desc limit 1
  );
end $$;

CREATE FUNCTION private.leaf_differences(p_tenant_id uuid, p_entity text, p_table text, p_ranges jsonb, p_leaves bigint[]) RETURNS TABLE(n bigint, "row" jsonb, gone uuid)
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    SET "TimeZone" TO 'UTC'
    AS $_$
begin
  return query execute format($query$
    with leaves as materialized (
      select r.* from private.bounds_of($2) r where r.n = any ($3)
    ), theirs as materialized (
      select l.n, k.key::uuid as id, k.value::bigint as version from leaves l cross join jsonb_each_text(l.rows) k
    ), ours as materialized (
      select l.n, t.id, t.version, to_jsonb(t) - $4 as state
      from leaves l cross join lateral (
        select s.* from %s s
        where s.tenant_id = $1 and s.id between l.first and l.last and s.id is distinct from l.after
        offset 0
      ) t
    )
    select coalesce(o.n, c.n), o.state, case when o.id is null then c.id end
    from ours o full join theirs c on c.id = o.id
    where o.version is distinct from c.version
    order by coalesce(o.id, c.id)
  $query$, p_table) using p_tenant_id, p_ranges, p_leaves, private.hidden_columns(p_entity);
end $_$;

CREATE FUNCTION private.leave_tenants() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_membership public.memberships;
begin
  for v_membership in
    select m.* from public.memberships m where m.principal_id = old.id order by m.tenant_id
  loop
    perform private.lock_roles(v_membership.tenant_id);
    perform private.revoke_invitations_of(v_membership.tenant_id, old.id);
    delete from public.memberships m where m.id = v_membership.id;
    continue when exists (
      select from public.memberships m
      where m.tenant_id = v_membership.tenant_id and m.role = 'owner' and m.kind = 'user'
    );
    update public.memberships m set role = 'owner'
    where m.id = (
      select c.id from public.memberships c where c.tenant_id = v_membership.tenant_id and c.role = 'manager' and c.kind = 'user'
      order by c.created_at, c.id limit 1
    );
    if not found then
      update public.tenants t set orphaned_at = private.now()
      where t.id = v_membership.tenant_id and t.orphaned_at is null;
    end if;
  end loop;
  return null;
end $$;

CREATE FUNCTION private.legal_order_events(p_status text) RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select coalesce(array_agg(t.event order by t.event), '{}')
  from private.order_transitions t where t.from_status = p_status
$$;

CREATE FUNCTION private.let_happen(p_webhook public.inbound_webhooks) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_event constant text := (select t.order_event from private.inbound_types t where t.type = p_webhook.type);
  v_before private.order_webhooks;
  v_code text;
  v_detail text;
  v_status text := 'done';
begin
  select * into v_before from private.order_webhooks o
  where o.tenant_id = p_webhook.tenant_id and o.principal_id = p_webhook.principal_id and o.event_id = p_webhook.event_id;
  if (v_before.order_id, v_before.type) <> (p_webhook.order_id, p_webhook.type) then
    return private.put_off_or_reject(p_webhook, false, 'webhook.id_reused', 'the id was that of another event, long ago', 0);
  elsif v_before.event_id is not null then
    v_status := 'duplicate';
  else
    begin
      insert into private.order_webhooks (tenant_id, principal_id, event_id, order_id, type)
      values (p_webhook.tenant_id, p_webhook.principal_id, p_webhook.event_id, p_webhook.order_id, p_webhook.type);
      -- event ids are the sender's, and may be keys of its other calls
      perform private.order_event(p_webhook.tenant_id, p_webhook.order_id, v_event, (p_webhook.data ->> 'version')::bigint,
        'webhook ' || p_webhook.id, p_webhook.data - '{order_id,number,version}'::text[]);
    exception when others then
      get stacked diagnostics v_code = message_text, v_detail = pg_exception_detail;
      -- what the database refuses it will refuse again; locks, time limits and the like are the worker's to try once more
      if sqlstate not like 'PT4%' and sqlstate not like '23%' and sqlstate not like '22%' then
        raise;
      elsif sqlstate not like 'PT4%' then
        -- the database's own words are no code
        return private.put_off_or_reject(p_webhook, false, 'row.invalid', v_code, 0);
      end if;
      return private.put_off_or_reject(p_webhook, v_code = 'order.transition_illegal' and exists (
        select from public.orders o where o.id = p_webhook.order_id and private.may_come_to_know(o.status, v_event)
      ), v_code, v_detail, 10);
    end;
  end if;
  update public.inbound_webhooks w set status = v_status, settled_at = private.now() where w.id = p_webhook.id;
  return jsonb_build_object('status', v_status);
end $$;

CREATE FUNCTION private.lies_between(p_value jsonb, p_bounds jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select coalesce(
    (p_bounds -> 0 = 'null' or private.compare_values(p_value, p_bounds -> 0) >= 0)
    and (p_bounds -> 1 = 'null' or private.compare_values(p_value, p_bounds -> 1) <= 0), false)
$$;

CREATE FUNCTION private.lock_dispatch() RETURNS void
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select pg_advisory_xact_lock(hashtextextended('pms dispatch', 0)) $$;

CREATE FUNCTION private.lock_for_webhook(p_webhook public.inbound_webhooks) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
begin
  if p_webhook.kind = 'order' then
    perform from public.orders o where o.id = private.webhook_thing(p_webhook) for update;
  else
    perform private.lock_inbox(p_webhook.tenant_id, private.webhook_source(p_webhook.principal_id));
  end if;
end $$;

CREATE FUNCTION private.lock_inbox(p_tenant_id uuid, p_source text) RETURNS void
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select pg_advisory_xact_lock(hashtextextended('pms inbox ' || p_tenant_id || ' ' || p_source, 0)) $$;

CREATE FUNCTION private.lock_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint) RETURNS public.products
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_product public.products;
begin
  select * into v_product from public.products p
  where p.tenant_id = p_tenant_id and p.id = p_product_id
  -- Weaker than "for update": rows that refer to the product need not wait.
  for no key update;
  if not found then
    perform private.fail('PT404', 'product.not_found', format('There is no product %s in this tenant.', p_product_id));
  end if;
  if p_expected_version <> v_product.version then
    perform private.fail('PT409', 'version.stale',
      format('You sent version %s; the stored version is %s.', p_expected_version, v_product.version),
      'Read the row again, apply your change to it, and send the version that you read.');
  end if;
  return v_product;
end $$;

CREATE FUNCTION private.lock_reservations(p_tenant_id uuid, p_ids uuid[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_levels uuid[];
  v_missing text;
begin
  if coalesce(cardinality(p_ids), 0) not between 1 and 10000 then
    perform private.fail('PT400', 'reservation.ids_invalid', 'Name 1 to 10,000 reservations.');
  end if;
  select array_agg(distinct r.level_id), string_agg(coalesce(i.id::text, 'null'), ', ') filter (where r.id is null)
  into v_levels, v_missing
  from unnest(p_ids) as i (id)
  left join public.reservations r on r.id = i.id and r.tenant_id = p_tenant_id;
  if v_missing is not null then
    perform private.fail('PT404', 'reservation.not_found', format('Not in this tenant: %s.', left(v_missing, 1000)));
  end if;
  perform 1 from public.stock_levels s where s.id = any (v_levels) order by s.id for update;
end $$;

CREATE FUNCTION private.lock_roles(p_tenant_id uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$ select from public.tenants t where t.id = p_tenant_id for no key update $$;

CREATE FUNCTION private.log_changes_of(p_table regclass, p_entity text, p_read_permission text, VARIADIC p_hidden text[] DEFAULT '{}'::text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_arguments constant text := (
    select string_agg(quote_literal(a), ', ') from unnest(array[p_entity] || p_hidden) a
  );
begin
  execute format('create trigger capture_insert after insert on %s referencing new table as new_rows
    for each statement execute function private.capture_changes(%s)', p_table, v_arguments);
  execute format('create trigger capture_update after update on %s referencing old table as old_rows new table as new_rows
    for each statement execute function private.capture_changes(%s)', p_table, v_arguments);
  execute format('create trigger capture_delete after delete on %s referencing old table as old_rows
    for each statement execute function private.capture_changes(%s)', p_table, v_arguments);
  execute format('create trigger refuse_truncate before truncate on %s
    for each statement execute function private.refuse_truncate()', p_table);
  insert into private.logged_entities (entity, relation, read_permission, hidden)
  values (p_entity, p_table::text, p_read_permission, p_hidden);
end $$;

CREATE FUNCTION private.log_place(p_tenant_id uuid) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select jsonb_build_object('epoch', e.epoch, 'seq', coalesce((select t.seq from private.tenant_log t where t.tenant_id = p_tenant_id), 0))
  from private.log_epoch e
$$;

CREATE FUNCTION private.log_reach(p_tenant_id uuid, OUT head bigint, OUT first bigint) RETURNS record
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select coalesce((select t.seq from private.tenant_log t where t.tenant_id = p_tenant_id), 0),
    (select e.seq from public.events e where e.tenant_id = p_tenant_id order by e.seq limit 1)
$$;

CREATE FUNCTION private.make_api_key_secret(p_api_key_id uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_secret constant text := 'pms_sk_' || translate(encode(extensions.gen_random_bytes(32), 'base64'), '+/=', '-_');
begin
  insert into private.api_key_secrets (secret_id, api_key_id)
  values (private.put_secret('api key ' || p_api_key_id || ' ' || gen_random_uuid(), v_secret), p_api_key_id);
  return v_secret;
end $$;

CREATE FUNCTION private.make_partition(p_parent text, p_day date) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_name constant text := p_parent || '_' || to_char(p_day, 'YYYYMMDD');
begin
  if to_regclass('private.' || v_name) is not null then
    return null;
  end if;
  -- Of several that find one missing, the first makes it. The second look is a query, because to_regclass may answer
  -- from the session's cache.
  perform pg_advisory_xact_lock(hashtextextended('pms partitions', 0));
  if exists (
    select from pg_catalog.pg_class c where c.relname = v_name and c.relnamespace = 'private'::regnamespace
  ) then
    return null;
  end if;
  execute format('create table private.%I (like public.%I including all)', v_name, p_parent);
  execute format('alter table private.%I enable row level security', v_name);
  execute format('revoke all on private.%I from public, anon, authenticated, service_role', v_name);
  execute format('alter table public.%I attach partition private.%I for values from (%L) to (%L)',
    p_parent, v_name, p_day, p_day + 1);
  return v_name;
end $$;

CREATE FUNCTION private.make_webhook_secret(p_endpoint_id uuid, p_signature text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.mark_cached(p_tenant_id uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.mark_notifications_read(p_tenant_id uuid, p_ids uuid[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_marked integer;
begin
  perform private.require(p_tenant_id, 'notifications.read');
  update public.notifications n set read_at = private.now(), read_by = auth.uid()
  where n.tenant_id = p_tenant_id and n.read_at is null and (p_ids is null or n.id = any (p_ids));
  get diagnostics v_marked = row_count;
  return v_marked;
end $$;

CREATE FUNCTION private.matches_format(p_text text, p_format text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$
  select case p_format
    -- RFC 3339; to_date would accept the 31st of June
    when 'date' then p_text ~ '^\d{4}-\d{2}-\d{2}$' and p_text !~ '^0000' and pg_input_is_valid(p_text, 'date')
    when 'email' then length(p_text) <= 254
      and p_text ~* '^[a-z0-9.!#$%&''*+/=?^_`{|}~-]{1,64}@[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$'
    when 'uri' then p_text ~* '^[a-z][a-z0-9+.-]*:[a-z0-9._~:/?#\[\]@!$&''()*+,;=%-]+$' and p_text !~* '%(?![0-9a-f]{2})'
  end
$_$;

CREATE FUNCTION private.may_come_to_know(p_status text, p_event text) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  with recursive ahead (status) as (
    values (p_status)
    union
    select n.status from ahead a join private.order_transitions t on t.from_status = a.status
    cross join lateral (values (t.to_status), (t.else_status)) n (status) where n.status is not null
  )
  select exists (select from ahead a join private.order_transitions t on t.from_status = a.status and t.event = p_event)
$$;

CREATE FUNCTION private.message_fault(p_message jsonb) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $_$
  select case
    when jsonb_typeof(p_message) <> 'object' then 'it is no object'
    when jsonb_typeof(p_message -> 'message_id') is distinct from 'string' or length(p_message ->> 'message_id') not between 1 and 200
      then 'message_id must be a text of 1 to 200 characters'
    when coalesce(p_message ->> 'entity', '') not in ('product', 'stock_level') then 'entity must be product or stock_level'
    when not pg_input_is_valid(coalesce(p_message ->> 'entity_id', ''), 'uuid') then 'entity_id must be a UUID'
    when jsonb_typeof(p_message -> 'sender_version') is distinct from 'number' or p_message ->> 'sender_version' !~ '^[0-9]{1,18}$'
      then 'sender_version must be a whole number, 0 or above'
    when p_message ->> 'occurred_at' is not null
      and (p_message ->> 'occurred_at' !~ '^[0-9]{4}-' or not pg_input_is_valid(p_message ->> 'occurred_at', 'timestamptz'))
      then 'occurred_at must be a time, as 2026-11-23T07:19:23Z'
    when coalesce(jsonb_typeof(p_message -> 'body'), 'none') not in ('object', 'null')
      then 'body must be an object, or null for a deletion'
    when p_message ->> 'entity' = 'stock_level' and p_message ->> 'body' is null then 'a stock level cannot be deleted'
    when octet_length(p_message ->> 'body') > 131072 or not private.is_plain(coalesce(p_message -> 'body', 'null'))
      then 'body is too large, too deep, or has numbers of more than 40 digits'
    when jsonb_typeof(p_message -> 'body' -> 'attributes') <> 'object' then 'body: attributes must be an object'
    when p_message -> 'body' ? 'on_hand'
      and (jsonb_typeof(p_message #> '{body,on_hand}') <> 'number' or p_message #>> '{body,on_hand}' !~ '^-?[0-9]{1,11}$')
      then 'body: on_hand must be a whole number'
  end
$_$;

CREATE FUNCTION private.missing_order_stock(p_order public.orders) RETURNS jsonb
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  with clock as materialized (select private.now() as at), needed as (
    select l.product_id, sum(l.quantity - l.fulfilled - l.cancelled) as quantity
    from public.order_lines l where l.order_id = p_order.id
    group by l.product_id
  ), kept as (
    select r.product_id, sum(r.quantity - r.shipped) as quantity
    from public.reservations r, clock c
    where r.order_id = p_order.id and (r.status = 'committed' or r.status = 'held' and r.expires_at > c.at)
    group by r.product_id
  )
  select jsonb_agg(jsonb_build_object('product_id', n.product_id, 'location_id', null,
    'quantity', n.quantity - coalesce(k.quantity, 0)) order by n.product_id)
  from needed n left join kept k using (product_id)
  where n.quantity > coalesce(k.quantity, 0)
$$;

CREATE FUNCTION private.move_levels(p_kind text, p_level_ids uuid[], p_on_hand bigint[], p_reserved bigint[], p_reason text DEFAULT NULL::text, p_order_id uuid DEFAULT NULL::uuid, p_sources text[] DEFAULT NULL::text[], p_may_fall_short boolean DEFAULT false) RETURNS SETOF public.stock_levels
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  return query
  with moved as (
    update public.stock_levels s
    set on_hand = s.on_hand + c.on_hand,
        reserved = s.reserved + c.reserved,
        shortfall = case when p_may_fall_short
          then greatest(0, s.reserved + c.reserved - s.on_hand - c.on_hand - s.backorder_limit) else s.shortfall end,
        counted_at = case p_kind when 'count' then private.now() else s.counted_at end,
        repaired_at = case p_kind when 'repair' then private.now() else s.repaired_at end
    from unnest(p_level_ids, p_on_hand, p_reserved, p_sources) as c (level_id, on_hand, reserved, source)
    where s.id = c.level_id
    returning s as level, c.on_hand, c.reserved, c.source
  ), recorded as (
    insert into public.stock_movements (tenant_id, level_id, level_version, kind, quantity, reserved_quantity,
      on_hand_after, reserved_after, reason, source, order_id, actor, command_id)
    select (m.level).tenant_id, (m.level).id, (m.level).version, p_kind, m.on_hand, m.reserved,
      (m.level).on_hand, (m.level).reserved, p_reason, m.source, p_order_id, auth.uid(),
      nullif(current_setting('pms.command_id', true), '')
    from moved m order by (m.level).id
  )
  select (m.level).* from moved m order by (m.level).id;
end $$;

CREATE TABLE private.order_transitions (
    from_status text NOT NULL,
    event text NOT NULL,
    effect text NOT NULL,
    guard text,
    to_status text NOT NULL,
    else_status text,
    CONSTRAINT order_transitions_effect_known CHECK ((effect = ANY (ARRAY['take_payment'::text, 'secure_stock'::text, 'ship_lines'::text, 'ship_rest'::text, 'give_up_rest'::text, 'refund_money'::text, 'take_back'::text]))),
    CONSTRAINT order_transitions_else_needs_guard CHECK (((guard IS NOT NULL) OR (else_status IS NULL))),
    CONSTRAINT order_transitions_guard_known CHECK ((guard = ANY (ARRAY['stock_secured'::text, 'all_fulfilled'::text, 'all_refunded'::text, 'all_returned'::text])))
);

COMMENT ON TABLE private.order_transitions IS 'Which event is legal in which status; after the effect: to_status if the guard holds, else else_status, else refused';

CREATE FUNCTION private.move_order(p_order public.orders, p_rule private.order_transitions, p_payload jsonb) RETURNS public.orders
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_new public.orders := private.apply_order_effect(p_order, p_rule.effect, p_payload);
begin
  v_new.status := case when private.order_guard_holds(v_new, p_rule.guard) then p_rule.to_status
    else p_rule.else_status end;
  if v_new.status is null then
    perform private.fail('PT409', 'order.guard_failed',
      concat_ws(' ', format('%s needs %s.', p_rule.event, p_rule.guard), v_new.review_reason));
  end if;
  update public.orders o
  set status = v_new.status, paid_total = v_new.paid_total, paid_at = v_new.paid_at,
      review_reason = case v_new.status when 'needs_review' then v_new.review_reason end,
      refunded_total = v_new.refunded_total,
      fulfilled = v_new.fulfilled, cancelled = v_new.cancelled, returned = v_new.returned
  where o.id = p_order.id
  returning * into v_new;
  perform private.record_order_event(v_new, p_rule.event, p_rule.from_status, p_payload);
  return v_new;
end $$;

CREATE FUNCTION private.move_stock(p_tenant_id uuid, p_kind text, p_lines jsonb, p_reason text, p_may_fall_short boolean DEFAULT false) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    AS $$
declare
  v_ids uuid[];
  v_quantities bigint[];
  v_sources text[];
  v_constraint text;
begin
  perform private.open_levels(p_tenant_id, p_lines);
  select array_agg(s.id order by s.id), array_agg(l.quantity order by s.id), array_agg(l.source order by s.id)
  into v_ids, v_quantities, v_sources
  from (
    select l.product_id, l.location_id, sum(l.quantity)::bigint as quantity, min(l.source) as source
    -- numeric, because JSON's 1.0 is a whole number and no bigint
    from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid, quantity numeric, source text)
    group by l.product_id, l.location_id
    having sum(l.quantity) <> 0 or p_kind = 'count'
  ) l
  join public.stock_levels s on s.product_id = l.product_id and s.location_id = l.location_id;

  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'product_id', m.product_id, 'location_id', m.location_id, 'on_hand', m.on_hand, 'reserved', m.reserved,
      'version', m.version
    )), '[]')
    from private.move_levels(p_kind, v_ids, v_quantities, array_fill(0::bigint, array[coalesce(cardinality(v_ids), 0)]),
      p_reason, null, v_sources, p_may_fall_short) m
  );
exception when check_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_if_short(v_constraint, p_lines,
    p_numbered => p_kind <> 'transfer',  -- each line of a transfer is two here
    p_may_fall_short => p_may_fall_short);
  raise;
end $$;

CREATE FUNCTION private.my_permissions(p_tenant_id uuid) RETURNS TABLE(tenant_id uuid, role text, permissions text[])
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select m.tenant_id, m.role, private.permissions_of(m.role, m.scopes)
  from public.memberships m
  where m.principal_id = auth.uid() and (m.expires_at is null or m.expires_at > private.now()) and (p_tenant_id is null or m.tenant_id = p_tenant_id)
  order by m.tenant_id
$$;

CREATE FUNCTION private.my_tenants() RETURNS uuid[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
begin
  return (
    select coalesce(array_agg(m.tenant_id), '{}') from public.memberships m
    where m.principal_id = auth.uid() and (m.expires_at is null or m.expires_at > private.now())
  );
end $$;

CREATE FUNCTION private.name_graphql_types() RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_table record;
  v_relation record;
  v_named integer := 0;
begin
  execute 'comment on schema public is ' || quote_literal('@graphql({"inflect_names": true})');
  for v_table in
    select c.oid::regclass as relation, jsonb_build_object('name', n.type_name, 'totalCount', '{"enabled": true}'::jsonb) as directive,
      regexp_replace(coalesce(obj_description(c.oid, 'pg_class'), ''), '\s*@graphql\(.*\)$', '') as words
    from private.graphql_names() n
    join pg_catalog.pg_class c on c.relname = n.table_name and c.relnamespace = 'public'::regnamespace
  loop
    execute format('comment on table %s is %L', v_table.relation,
      ltrim(v_table.words || ' @graphql(' || v_table.directive || ')'));
    v_named := v_named + 1;
  end loop;
  for v_relation in select * from private.graphql_relations() loop
    execute format('comment on constraint %I on public.%I is %L', v_relation.constraint_name, v_relation.table_name,
      format('@graphql(%s)', jsonb_build_object('foreign_name', v_relation.up, 'local_name', v_relation.down)));
  end loop;
  return v_named;
end $_$;

CREATE FUNCTION private.names_of_thing(p_webhook public.inbound_webhooks, p_thing uuid) RETURNS text[]
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
begin
  return case p_webhook.kind
    when 'product' then array['product ' || p_thing, 'sku ' || left(p_webhook.data ->> 'sku', 196),
      (select 'sku ' || p.sku from public.products p where p.tenant_id = p_webhook.tenant_id and p.id = p_thing),
      (select 'sku ' || left(s.state ->> 'sku', 196) from private.inbox_states s
        where s.tenant_id = p_webhook.tenant_id and s.source = private.webhook_source(p_webhook.principal_id) and s.entity = 'product'
          and s.entity_id = p_thing)]
    when 'inventory' then (
      select array_agg(p.name || ' at ' || s.name) || ('level ' || p_thing)
      from public.stock_levels l
      cross join lateral (
        select unnest(array['product ' || r.id, 'sku ' || r.sku]) from public.products r where r.tenant_id = l.tenant_id and r.id = l.product_id
      ) p (name)
      cross join lateral (
        select unnest(array['location ' || r.id, 'code ' || r.code]) from public.locations r where r.tenant_id = l.tenant_id and r.id = l.location_id
      ) s (name)
      where l.tenant_id = p_webhook.tenant_id and l.id = p_thing
    )
    else (select array['order ' || o.id, 'number ' || o.number] from public.orders o where o.tenant_id = p_webhook.tenant_id and o.id = p_thing) end;
end $$;

CREATE TABLE public.image_assets (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    host text NOT NULL,
    public_id text NOT NULL,
    sha256 text NOT NULL,
    format text NOT NULL,
    source_bytes bigint NOT NULL,
    served_bytes bigint NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    color_space text NOT NULL,
    has_alpha boolean NOT NULL,
    animated boolean NOT NULL,
    had_gps boolean NOT NULL,
    dominant_colors text[] NOT NULL,
    blurhash text NOT NULL,
    perceptual_hash bit(64) NOT NULL,
    urls jsonb DEFAULT '{}'::jsonb NOT NULL,
    stored_at timestamp with time zone,
    unused_since timestamp with time zone DEFAULT private.now(),
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT image_assets_height_positive CHECK ((height > 0)),
    CONSTRAINT image_assets_host_form CHECK ((host ~ '^[a-z]{1,20}$'::text)),
    CONSTRAINT image_assets_public_id_length CHECK (((length(public_id) >= 1) AND (length(public_id) <= 255))),
    CONSTRAINT image_assets_served_bytes_positive CHECK ((served_bytes > 0)),
    CONSTRAINT image_assets_sha256_form CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT image_assets_source_bytes_positive CHECK ((source_bytes > 0)),
    CONSTRAINT image_assets_urls_object CHECK ((jsonb_typeof(urls) = 'object'::text)),
    CONSTRAINT image_assets_urls_when_stored CHECK (((stored_at IS NULL) = (urls = '{}'::jsonb))),
    CONSTRAINT image_assets_width_positive CHECK ((width > 0))
);

COMMENT ON TABLE public.image_assets IS 'What image hosts keep: one for each content of a tenant';

COMMENT ON COLUMN public.image_assets.public_id IS 'Its name at the host: <tenant_id>/<sha256>';

COMMENT ON COLUMN public.image_assets.format IS 'Of the source, by its content';

COMMENT ON COLUMN public.image_assets.width IS 'Of the largest that is served, upright';

COMMENT ON COLUMN public.image_assets.had_gps IS 'Whether the source said where it was taken: what is served does not';

COMMENT ON COLUMN public.image_assets.urls IS 'By rendition: master, thumbnail, card, zoom';

COMMENT ON COLUMN public.image_assets.stored_at IS 'Null: the host may have it or not';

COMMENT ON COLUMN public.image_assets.unused_since IS 'Null: a version of a picture is this';

CREATE FUNCTION private.near_duplicates(p_image public.product_images, p_asset public.image_assets) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select coalesce(jsonb_agg(jsonb_build_object('code', 'image.near_duplicate', 'image_id', n.id,
    'detail', format('It looks like a picture of %s.', n.sku)) order by n.distance, n.id), '[]')
  from (
    select distinct on (l.distance, i.id) i.id, p.sku, l.distance
    from (
      select a.id, bit_count(a.perceptual_hash # p_asset.perceptual_hash) as distance
      from public.image_assets a
      where a.tenant_id = p_image.tenant_id and a.unused_since is null and a.id <> p_asset.id
        and bit_count(a.perceptual_hash # p_asset.perceptual_hash) <= 6
      order by 2, 1 limit 10
    ) l
    join public.product_images i on i.asset_id = l.id and i.id <> p_image.id
    join public.products p on p.tenant_id = i.tenant_id and p.id = i.product_id and p.deleted_at is null
    order by l.distance, i.id limit 3
  ) n
$$;

CREATE FUNCTION private.next_order_number(p_tenant_id uuid) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  insert into private.order_counters as c (tenant_id, last) values (p_tenant_id, 1)
  on conflict (tenant_id) do update set last = c.last + 1
  returning 'A-' || lpad(c.last::text, greatest(6, length(c.last::text)), '0')
$$;

CREATE FUNCTION private.normal_text(p_text text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select case when position(E'\r' in p_text) = 0 and p_text is nfc normalized then p_text
    else normalize(replace(replace(p_text, E'\r\n', E'\n'), E'\r', E'\n'), nfc) end
$$;

CREATE FUNCTION private.not_found(p_webhook public.inbound_webhooks) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
begin
  return private.put_off_or_reject(p_webhook,
    p_webhook.about is not null and (p_webhook.put_off_at is not null or 500 > (
      select count(*) from (
        select from public.inbound_webhooks o
        where o.tenant_id = p_webhook.tenant_id and o.principal_id = p_webhook.principal_id
          and o.status = 'queued' and o.inbox_message_id is null and o.put_off_at is not null
        limit 500
      ) waiting
    )),
    case p_webhook.kind when 'product' then 'product.not_found' when 'inventory' then 'stock.not_found' else 'order.not_found' end,
    'data names nothing that there is in this tenant', 30);
end $$;

CREATE FUNCTION private.note_alerts() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_free constant bigint := new.on_hand - new.reserved - new.safety;
begin
  new.shortfall := least(new.shortfall, greatest(0, new.reserved - new.on_hand - new.backorder_limit));
  new.out_since := case when new.shortfall > 0 or v_free + new.backorder_limit <= 0
    then coalesce(new.out_since, private.now()) end;
  new.low_since := case
    when v_free <= new.reorder_point then coalesce(new.low_since, private.now())
    when v_free <= new.reorder_point + greatest(1, new.reorder_point / 10) then new.low_since
  end;
  return new;
end $$;

CREATE FUNCTION private.note_api_counts(p_instance jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.note_client(p_tenant_id uuid, p_client text, p_epoch text, p_seq bigint, p_behind_since timestamp with time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_principal constant uuid := auth.uid();
  v_now constant timestamptz := private.now();
  v_known public.sync_clients;
begin
  select * into v_known from public.sync_clients c
  where c.tenant_id = p_tenant_id and c.principal_id = v_principal and c.client = p_client;
  if v_known.client is null then
    insert into public.sync_clients (tenant_id, principal_id, client, epoch, seq, behind_since, pulled_at, first_seen_at)
    values (p_tenant_id, v_principal, p_client, p_epoch, p_seq, p_behind_since, v_now, v_now)
    on conflict do nothing;
    delete from public.sync_clients c
    where c.tenant_id = p_tenant_id and c.principal_id = v_principal and c.client in (
      select o.client from public.sync_clients o
      where o.tenant_id = p_tenant_id and o.principal_id = v_principal and o.client in (
        select i.client from public.sync_clients i
        where i.tenant_id = p_tenant_id and i.principal_id = v_principal
        order by i.client = p_client desc, i.pulled_at desc, i.client offset 100
      )
      for update skip locked
    );
  elsif (v_known.epoch, v_known.seq) <> (p_epoch, p_seq) or v_known.pulled_at <= v_now - interval '5 s' then
    perform from public.sync_clients c
    where c.tenant_id = p_tenant_id and c.principal_id = v_principal and c.client = p_client
    for no key update skip locked;
    if found then
      update public.sync_clients c
      set epoch = p_epoch, seq = p_seq, pulled_at = v_now,
          -- it lacks what it lacked, also when the log has forgotten that
          behind_since = case when (c.epoch, c.seq) = (p_epoch, p_seq) then coalesce(c.behind_since, p_behind_since) else p_behind_since end
      where c.tenant_id = p_tenant_id and c.principal_id = v_principal and c.client = p_client;
    end if;
  end if;
end $$;

CREATE FUNCTION private.note_pushed(p_tenant_id uuid, p_source text, p_changes jsonb[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
  update private.inbox_states s
  -- of a sender whose changes wait for long only the last are asked for
  set waiting_changes = (s.waiting_changes || c.ids)[greatest(cardinality(s.waiting_changes) + cardinality(c.ids) - 999, 1):]
  from (
    select u.change ->> 'entity' as entity, (u.change ->> 'entity_id')::uuid as entity_id, array_agg((u.change ->> 'id')::uuid order by u.n) as ids
    from unnest(p_changes) with ordinality u (change, n) group by 1, 2
  ) c
  where s.tenant_id = p_tenant_id and s.source = p_source and s.entity = c.entity and s.entity_id = c.entity_id
$$;

CREATE FUNCTION private.note_troubles(p_failures jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_limit constant interval := (select p.disable_after from private.webhook_policy p);
  v_trouble record;
  v_percent integer;
begin
  if p_failures is null then
    return;
  end if;
  insert into public.webhook_troubles as t
    (endpoint_id, tenant_id, failing_since, failures, last_failure_at, last_status, last_error)
  -- by the worker's clock, which may be ahead
  select f.endpoint_id, f.tenant_id, least(f.since, private.now()), f.failures, f.at, f.status, left(f.error, 500)
  from jsonb_to_recordset(p_failures) as f (endpoint_id uuid, tenant_id uuid, failures bigint, since timestamptz,
    at timestamptz, status integer, error text)
  -- one that is being deleted has no troubles
  where exists (select from public.webhook_endpoints e where e.id = f.endpoint_id)
  order by f.endpoint_id
  on conflict (endpoint_id) do update set failures = t.failures + excluded.failures,
    last_failure_at = excluded.last_failure_at, last_status = excluded.last_status, last_error = excluded.last_error;

  for v_trouble in
    select t.*, e.url, e.status as endpoint_status, coalesce(f.gone, false) as gone
    from jsonb_to_recordset(p_failures) as f (endpoint_id uuid, gone boolean)
    join public.webhook_troubles t on t.endpoint_id = f.endpoint_id
    join public.webhook_endpoints e on e.id = t.endpoint_id
    order by t.endpoint_id
  loop
    v_percent := case when v_trouble.gone then 100 else
      (select coalesce(max(s.step), 0) from unnest(array[0, 50, 70, 90, 100]) s (step)
        where private.now() >= v_trouble.failing_since + v_limit * s.step / 100) end;
    continue when v_percent <= v_trouble.told_percent;
    update public.webhook_troubles t set told_percent = v_percent where t.endpoint_id = v_trouble.endpoint_id;
    if v_percent = 100 then
      update public.webhook_endpoints e
      set status = 'disabled', disabled_reason = case when v_trouble.gone then 'the endpoint answered 410 Gone'
        else format('it failed since %s without one success', to_char(v_trouble.failing_since at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')) end
      where e.id = v_trouble.endpoint_id and e.status <> 'disabled';
    end if;
    perform private.notify_tenant(v_trouble.tenant_id,
      format('webhook %s %s %s', v_trouble.endpoint_id, v_percent, v_trouble.failing_since),
      case v_percent when 100 then 'webhook.disabled' else 'webhook.failing' end,
      case when v_percent >= 90 then 'error' else 'warning' end,
      v_trouble.endpoint_id,
      case when v_percent = 100 then format('Webhook endpoint disabled: %s', left(v_trouble.url, 200))
        else format('Webhook endpoint fails: %s', left(v_trouble.url, 200)) end,
      case
        when v_trouble.gone then 'It answered 410 Gone. What it is owed waits until it expires; test it to enable it again.'
        when v_percent = 100 then format('Nothing was delivered since %s (last answer: %s). What it is owed waits until it expires; test it to enable it again.',
          v_trouble.failing_since, coalesce(v_trouble.last_error, 'none'))
        else format('Nothing was delivered since %s (last answer: %s). It will be disabled at %s.',
          v_trouble.failing_since, coalesce(v_trouble.last_error, 'none'), v_trouble.failing_since + v_limit)
      end);
  end loop;
end $$;

CREATE FUNCTION private.note_unused_assets() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  -- finish_image locks the asset, too: what it adds is seen by the statement after this one
  perform from public.image_assets a where a.id in (select o.asset_id from old_rows o) order by a.id for no key update;
  update public.image_assets a set unused_since = private.now()
  where a.id in (select o.asset_id from old_rows o) and a.unused_since is null
    and not exists (select from public.product_image_versions v where v.asset_id = a.id);
  return null;
end $$;

CREATE FUNCTION private.note_warnings() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if not exists (
    select from public.validation_rules r
    where r.severity = 'warning' and r.enabled and r.tenant_id in (select n.tenant_id from new_rows n)
  ) then
    return null;
  end if;
  delete from public.validation_warnings w using new_rows n
  where w.tenant_id = n.tenant_id and w.product_id = n.id;
  insert into public.validation_warnings (tenant_id, product_id, rule_id, code, field, detail, version)
  select p.tenant_id, p.id, r.id, f.code, f.field, f.detail, p.version
  from public.products p
  cross join lateral jsonb_to_recordset(private.rule_failures(p, '{warning}')) as f (code text, field text, detail text)
  join public.validation_rules r on r.tenant_id = p.tenant_id and r.entity = 'product' and 'rule.' || r.name = f.code
  where p.id in (select n.id from new_rows n where n.deleted_at is null);
  return null;
end $$;

CREATE FUNCTION private.notify_tenant(p_tenant_id uuid, p_key text, p_kind text, p_severity text, p_subject_id uuid, p_title text, p_detail text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  insert into public.notifications (tenant_id, key, kind, severity, subject_id, title, detail)
  values (p_tenant_id, p_key, p_kind, p_severity, p_subject_id, p_title, p_detail)
  on conflict (tenant_id, key) do nothing
$$;

CREATE FUNCTION private.number_of_time(p_at timestamp with time zone, p_known private.inbox_states) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select greatest(floor(extract(epoch from p_at) * 1000000)::bigint, 0, case when p_at >= p_known.timed_at then p_known.sender_version + 1 end)
$$;

CREATE FUNCTION private.oldest_xmin_holder() RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.open_api_key(p_tenant_id uuid, p_api_key_id uuid) RETURNS public.api_keys
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_key public.api_keys;
begin
  perform private.require(p_tenant_id, 'api_keys.write');
  perform private.lock_roles(p_tenant_id);
  perform private.require(p_tenant_id, 'api_keys.write');
  select * into v_key from public.api_keys k where k.tenant_id = p_tenant_id and k.id = p_api_key_id for update;
  if v_key.id is null then
    perform private.fail('PT404', 'api_key.not_found', format('There is no API key %s in this tenant.', p_api_key_id));
  end if;
  if v_key.role = 'owner' then
    perform private.require(p_tenant_id, 'owners.write');
  end if;
  return v_key;
end $$;

CREATE FUNCTION private.open_conflict(p_tenant_id uuid, p_conflict_id uuid) RETURNS public.sync_conflicts
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_conflict public.sync_conflicts;
begin
  perform private.require(p_tenant_id, 'sync.manage');
  select * into v_conflict from public.sync_conflicts c where c.tenant_id = p_tenant_id and c.id = p_conflict_id for update;
  if v_conflict.id is null then
    perform private.fail('PT404', 'sync.conflict_not_found', format('There is no conflict %s in this tenant.', p_conflict_id));
  end if;
  if v_conflict.winner is not null then
    perform private.fail('PT409', 'sync.conflict_decided', format('It was decided for %s at %s.', v_conflict.winner, v_conflict.decided_at));
  end if;
  return v_conflict;
end $$;

CREATE FUNCTION private.open_levels(p_tenant_id uuid, p_lines jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_missing text;
begin
  select string_agg(distinct case when p.id is null then 'product ' || coalesce(l.product_id::text, 'null')
                                  else 'location ' || coalesce(l.location_id::text, 'null') end, ', ')
  into v_missing
  from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid)
  left join public.products p on p.tenant_id = p_tenant_id and p.id = l.product_id
  left join public.locations o on o.tenant_id = p_tenant_id and o.id = l.location_id
  where p.id is null or o.id is null;
  if v_missing is not null then
    perform private.fail('PT404', 'stock.not_found', format('Not in this tenant: %s.', v_missing));
  end if;

  insert into public.stock_levels (tenant_id, product_id, location_id)
  select distinct p_tenant_id, l.product_id, l.location_id
  from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid)
  where not exists (
    select from public.stock_levels s where s.product_id = l.product_id and s.location_id = l.location_id
  )
  order by 2, 3
  on conflict (product_id, location_id) do nothing;

  perform 1 from public.stock_levels s
  where (s.product_id, s.location_id) in (
    select l.product_id, l.location_id from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid)
  )
  order by s.id
  for update;
end $$;

CREATE TABLE public.memberships (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    principal_id uuid NOT NULL,
    role text NOT NULL,
    kind text DEFAULT 'user'::text NOT NULL,
    scopes text[],
    expires_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT memberships_kind_known CHECK ((kind = ANY (ARRAY['user'::text, 'api_key'::text]))),
    CONSTRAINT memberships_limits_of_keys CHECK (((kind = 'api_key'::text) OR (num_nonnulls(scopes, expires_at) = 0))),
    CONSTRAINT memberships_role_known CHECK ((role = ANY (ARRAY['owner'::text, 'manager'::text, 'clerk'::text, 'viewer'::text, 'integration'::text])))
);

COMMENT ON TABLE public.memberships IS 'Who belongs to which tenant, in which role';

COMMENT ON COLUMN public.memberships.kind IS 'Whether the principal is a user or an API key';

COMMENT ON COLUMN public.memberships.scopes IS 'The permissions that are left of the role; null: all of them';

COMMENT ON COLUMN public.memberships.expires_at IS 'When it ends by itself; null: never';

CREATE FUNCTION private.open_membership(p_tenant_id uuid, p_principal_id uuid, p_new_role text) RETURNS public.memberships
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_leaves constant boolean := p_new_role is null and p_principal_id is not distinct from auth.uid();
  v_member public.memberships;
begin
  perform private.require(p_tenant_id, case when v_leaves then 'tenant.read' else 'members.write' end);
  perform private.lock_roles(p_tenant_id);
  select * into v_member from public.memberships m
  where m.tenant_id = p_tenant_id and m.principal_id = p_principal_id for update;
  if not v_leaves then
    perform private.require(p_tenant_id,
      case when 'owner' in (v_member.role, p_new_role) then 'owners.write' else 'members.write' end);
  end if;
  if v_member.id is null then
    perform private.fail('PT404', 'member.not_found', 'Nobody of this id belongs to the tenant.');
  end if;
  if p_new_role is not null and v_member.kind = 'api_key' then
    perform private.fail('PT409', 'member.is_api_key', 'This member is an API key, and its scopes belong to its role.',
      'Use change_api_key.');
  end if;
  if p_new_role is not null then
    perform private.require_as_strong(p_tenant_id, p_new_role);
  end if;
  if v_member.kind = 'user' and v_member.role = 'owner' and p_new_role is distinct from 'owner' then
    perform private.keep_an_owner(p_tenant_id, p_principal_id);
  end if;
  return v_member;
end $$;

CREATE FUNCTION private.open_order(p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, OUT locked public.orders, OUT rule private.order_transitions) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  -- By its primary key: on empty tables any index that begins with the tenant looks as good, and such a plan stays.
  select * into locked from public.orders o
  where o.id = p_order_id and (o.tenant_id = p_tenant_id) is true for update;
  if locked.id is null then
    perform private.fail('PT404', 'order.not_found', format('There is no order %s in this tenant.', p_order_id));
  end if;
  if p_expected_version <> locked.version then
    perform private.fail('PT409', 'version.stale',
      format('You sent version %s; the stored version is %s.', p_expected_version, locked.version),
      'Read the order again, and send the version that you read.');
  end if;
  select * into rule from private.order_transitions t where t.from_status = locked.status and t.event = p_event;
  if rule.event is null then
    perform private.fail('PT409', 'order.transition_illegal', format('An order that is %s knows no %s; legal: %s.',
      locked.status, p_event, array_to_string(private.legal_order_events(locked.status), ', ')));
  end if;
end $$;

CREATE FUNCTION private.operand_problem(p_op text, p_value jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$
  select case
    when p_op in ('present', 'absent') then case when p_value is not null then 'takes no value' end
    when p_op in ('=', '!=') then
      case when coalesce(jsonb_typeof(p_value), 'null') not in ('string', 'number', 'boolean') then 'needs text, a number, true or false' end
    when p_op in ('<', '<=', '>', '>=') then
      case when coalesce(jsonb_typeof(p_value), 'null') not in ('string', 'number') then 'needs text or a number' end
    when p_op in ('in', 'not_in') then
      case when jsonb_typeof(p_value) is distinct from 'array' or jsonb_path_exists(p_value, 'strict $[*] ? (@.type() == "object" || @.type() == "array" || @ == null)')
        or p_value = '[]' or p_value #> '{100}' is not null then 'needs a list of 1 to 100 texts, numbers or booleans' end
    when p_op = 'matches' then
      case when jsonb_typeof(p_value) is distinct from 'string' then 'needs a regular expression'
        else private.pattern_problem(p_value #>> '{}') end
    when p_op in ('between', 'length') then
      case when jsonb_typeof(p_value) is distinct from 'array' or p_value #> '{1}' is null or p_value #> '{2}' is not null
        or p_value = '[null, null]'
        or jsonb_path_exists(p_value, 'strict $[*] ? (@.type() != "number" && @ != null)') and (p_op = 'length'
          or jsonb_path_exists(p_value, 'strict $[*] ? (@.type() != "string" && @ != null)'))
      then 'needs [low, high], of which one may be null' end
    else 'is no operator'
  end
$_$;

CREATE FUNCTION private.order_as_json(p_order public.orders) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select to_jsonb(p_order) || jsonb_build_object(
    'lines', (
      select jsonb_agg(to_jsonb(l) order by l.position) from public.order_lines l
      where l.order_id = p_order.id),
    'legal_events', private.legal_order_events(p_order.status)
  ) || private.reservations_json(array(select r from public.reservations r where r.order_id = p_order.id))
$$;

CREATE FUNCTION private.order_event(p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, p_key text, p_payload jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_known jsonb;
  v_open record;
  v_order public.orders;
begin
  perform private.require(p_tenant_id, 'orders.write');
  perform private.require_plain(p_payload);
  if not exists (select from private.order_transitions t where t.event = p_event) then
    perform private.fail('PT400', 'order.event_unknown', format('%s is no event of an order.', coalesce(p_event, 'null')));
  end if;
  if jsonb_typeof(p_payload) is distinct from 'object' or octet_length(p_payload::text) > 65536 then
    perform private.fail('PT400', 'order.payload_invalid', 'p_payload must be an object of at most 64 KiB.');
  end if;
  v_known := private.begin_command(p_tenant_id, 'order_event', p_key, jsonb_build_object('order_id', p_order_id,
    'event', p_event, 'expected_version', p_expected_version, 'payload', p_payload));
  if v_known is not null then
    return v_known;
  end if;
  v_open := private.open_order(p_tenant_id, p_order_id, p_event, p_expected_version);
  v_order := private.move_order(v_open.locked, v_open.rule, p_payload);
  return private.end_command(p_tenant_id, 'order_event', p_key, private.order_as_json(v_order));
end $$;

CREATE FUNCTION private.order_guard_holds(p_order public.orders, p_guard text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select case p_guard
    when 'stock_secured' then p_order.review_reason is null
    when 'all_fulfilled' then p_order.fulfilled + p_order.cancelled = p_order.quantity
    when 'all_refunded' then p_order.refunded_total = p_order.paid_total
    when 'all_returned' then p_order.returned = p_order.fulfilled
    else true end
$$;

CREATE FUNCTION private.outbox_waits_since(p_mark xid8) RETURNS timestamp with time zone
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
  select min(o.occurred_at)
  from (
    select b.occurred_at from private.outbox b
    where b.xid >= case when p_mark > pg_snapshot_xmax(pg_current_snapshot()) then '0'::xid8 else p_mark end
    order by b.xid, b.id limit 1000
  ) o
$$;

CREATE FUNCTION private.overlap_of(p_text text) RETURNS interval
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
  if not pg_input_is_valid(p_text, 'interval') then
    perform private.fail('PT422', 'api_key.overlap_invalid', format('p_overlap is no interval: %s.', left(p_text, 100)),
      'Send such as 2 hours or 1 day; 0 ends the old secret now.');
  end if;
  return p_text::interval;
end $$;

CREATE FUNCTION private.owed_days() RETURNS date[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select array(
    select d.dispatched_on from queue.deliveries d
    union select r.dispatched_on from queue.retries r
    union select f.dispatched_on from queue.fan_outs f
  )
$$;

CREATE FUNCTION private.pair_images(p_product public.products, p_images jsonb) RETURNS TABLE(image_id uuid, source_url text, "position" integer, alt_text text, wanted boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select i.id, w.source_url, w.place, w.alt_text, w.source_url is not null
  from (
    select p.*, row_number() over (partition by p.source_url order by p.position, p.created_at, p.id) as nth
    from public.product_images p
    where p.tenant_id = p_product.tenant_id and p.product_id = p_product.id and p.source_url is not null
  ) i
  full join (
    select e.image ->> 'source_url' as source_url, (e.image ->> 'position')::integer as place, e.image ->> 'alt_text' as alt_text,
      row_number() over (partition by e.image ->> 'source_url' order by e.n) as nth
    from jsonb_array_elements(p_images) with ordinality e (image, n)
  ) w on w.source_url = i.source_url and w.nth = i.nth
$$;

CREATE FUNCTION private.part_failures(p_word text, p_schema jsonb, p_value jsonb, p_path text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_rule constant jsonb := p_schema -> p_word;
  v_found jsonb;
begin
  if jsonb_typeof(p_value) <> (case p_word when 'items' then 'array' else 'object' end) then
    return '[]';
  end if;
  case p_word
    when 'required' then
      select jsonb_agg(jsonb_build_object('field', p_path || '.' || r.name, 'detail', 'is required')) into v_found
      from jsonb_array_elements_text(v_rule) r (name) where not p_value ? r.name;
    when 'items' then
      select jsonb_agg(f) into v_found
      from jsonb_array_elements(p_value) with ordinality e (value, place)
      cross join lateral jsonb_array_elements(private.schema_failures(v_rule, e.value, format('%s.%s', p_path, e.place - 1))) f;
    when 'properties' then
      select jsonb_agg(f) into v_found
      from jsonb_each(v_rule) r
      cross join lateral jsonb_array_elements(private.schema_failures(r.value, p_value -> r.key, p_path || '.' || r.key)) f
      where p_value ? r.key;
    else
      select jsonb_agg(f) into v_found
      from jsonb_each(p_value) v
      cross join lateral jsonb_array_elements(private.schema_failures(v_rule, v.value, p_path || '.' || v.key)) f
      where not coalesce(p_schema -> 'properties' ? v.key, false);
  end case;
  return coalesce(v_found, '[]');
end $$;

CREATE FUNCTION private.part_of_data(p_data jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_text constant text := p_data::text;
begin
  if octet_length(v_text) <= 2048 then
    return p_data;
  end if;
  return jsonb_build_object('bytes', octet_length(v_text),
    -- a character has 4 bytes at most
    'part', left(v_text, case when octet_length(left(v_text, 2048)) <= 2048 then 2048 else 512 end));
end $$;

CREATE FUNCTION private.partitions_ahead() RETURNS integer
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select min(coalesce((
    select max(d.day) - private.today() from private.days_of(p.parent) d where d.day >= private.today()), -1))
  from (values ('public.events'::regclass), ('public.webhook_attempts'::regclass)) p (parent)
$$;

CREATE FUNCTION private.pass_to_inbox(p_webhook public.inbound_webhooks, p_entity_id uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_data constant jsonb := p_webhook.data;
  v_source constant text := private.webhook_source(p_webhook.principal_id);
  v_entity constant text := case p_webhook.kind when 'product' then 'product' else 'stock_level' end;
  v_version constant jsonb := nullif(v_data -> 'version', 'null');
  v_known private.inbox_states;
  v_code text;
  v_detail text;
begin
  select * into v_known from private.inbox_states s
  where s.tenant_id = p_webhook.tenant_id and s.source = v_source and s.entity = v_entity and s.entity_id = p_entity_id;
  if v_known.entity_id is not null and (v_version is null) <> (v_known.timed_at is not null) then
    perform private.reject_webhook(p_webhook, 'webhook.version_mixed', format('Earlier events of this object came %s version; send this one so too, or by another key',
      case when v_version is null then 'with a' else 'without' end));
    return;
  end if;
  begin
    perform private.receive_changes(p_webhook.tenant_id, v_source, jsonb_build_array(private.webhook_message(p_webhook, p_entity_id,
      coalesce(v_version, to_jsonb(private.number_of_time(p_webhook.occurred_at, v_known))))));
  exception when others then
    get stacked diagnostics v_code = message_text, v_detail = pg_exception_detail;
    if sqlstate not like 'PT4%' then
      raise;
    end if;
    perform private.reject_webhook(p_webhook, v_code, v_detail);
    return;
  end;
  update public.inbound_webhooks w
  set status = i.status, error = i.error, inbox_message_id = i.id, change_id = i.change_id,
      settled_at = case when i.status <> 'queued' then private.now() end
  from public.inbox_messages i
  where w.id = p_webhook.id and i.tenant_id = p_webhook.tenant_id and i.source = v_source and i.message_id = p_webhook.event_id
  returning w.* into p_webhook;
  if p_webhook.status = 'rejected' then
    perform private.reject_webhook(p_webhook, p_webhook.error ->> 'code', p_webhook.error ->> 'detail');
  elsif v_version is null and p_webhook.status <> 'stale' then
    update private.inbox_states s set timed_at = greatest(s.timed_at, p_webhook.occurred_at)
    where s.tenant_id = p_webhook.tenant_id and s.source = v_source and s.entity = v_entity and s.entity_id = p_entity_id;
  end if;
end $$;

CREATE FUNCTION private.pattern_problem(p_pattern text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $_$
declare
  v_bare constant text := regexp_replace(p_pattern, '\\[dDwWsStnr.^$*+?()\[\]{}|/\\-]', '_', 'g');
  v_repeats numeric;
begin
  if length(p_pattern) > 200 then
    return 'is longer than 200 characters';
  elsif position('\' in v_bare) > 0 then
    return 'has an escape other than \d \w \s \D \W \S \t \n \r and \ before punctuation; backreferences are not accepted';
  elsif v_bare ~ '\(\?(?!:)' then
    return 'has a group other than ( ) and (?: ); look-around and flags are not accepted';
  elsif v_bare ~ '\[[.:=]' or v_bare ~ '^\*' then
    return 'is not understood alike everywhere: no [: :], and nothing to repeat before the first *';
  end if;
  select coalesce(exp(sum(ln(greatest(coalesce(nullif(m[2], ''), m[1])::numeric, 1)))), 1) into v_repeats
  from regexp_matches(v_bare, '\{([0-9]{1,6})(?:,([0-9]{0,6}))?\}', 'g') m;
  if v_repeats > 1000.5 then
    return 'repeats too much: the counts in { } may multiply to 1000 at most';
  end if;
  perform '' ~ p_pattern;
  return null;
exception when invalid_regular_expression then
  return 'is no regular expression: ' || sqlerrm;
end $_$;

CREATE FUNCTION private.permissions_of(p_role text, p_scopes text[]) RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select coalesce(array_agg(rp.permission order by rp.permission), '{}') from private.role_permissions rp
  where rp.role = p_role and (p_scopes is null or rp.permission = any (p_scopes))
$$;

CREATE FUNCTION private.pick_order_stock(p_order public.orders, p_asked jsonb) RETURNS jsonb
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  with wanted as (
    select a.product_id, sum(a.quantity) as quantity
    from jsonb_to_recordset(p_asked) as a (product_id uuid, quantity bigint) group by a.product_id
  ), pool as (
    select r.id, r.product_id, r.quantity - r.shipped as rest,
      sum(r.quantity - r.shipped) over (partition by r.product_id order by r.created_at, r.id)
        - (r.quantity - r.shipped) as before
    from public.reservations r where r.order_id = p_order.id and r.status = 'committed'
  ), picked as (
    select p.id, least(p.rest, w.quantity - p.before) as quantity
    from pool p join wanted w using (product_id) where w.quantity > p.before
  )
  select case when sum(p.quantity) = (select sum(w.quantity) from wanted w)
    then jsonb_agg(jsonb_build_object('reservation_id', p.id, 'quantity', p.quantity)) end
  from picked p
$$;

CREATE FUNCTION private.place_order(p_tenant_id uuid, p_lines jsonb, p_customer jsonb, p_key text, p_reserve_for interval) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_id constant uuid := gen_random_uuid();
  v_known jsonb;
  v_priced record;
  v_order public.orders;
begin
  perform private.require(p_tenant_id, 'orders.write');
  perform private.require_plain(p_lines);
  perform private.require_plain(p_customer);
  perform private.check_order_lines(p_lines);
  v_known := private.begin_command(p_tenant_id, 'place_order', p_key,
    jsonb_build_object('lines', p_lines, 'customer', p_customer, 'reserve_for', p_reserve_for));
  if v_known is not null then
    return v_known;
  end if;
  v_priced := private.price_order_lines(p_tenant_id, p_lines);
  perform private.reserve_for(p_tenant_id, p_lines, p_reserve_for, v_id);
  v_order := private.insert_order(v_id, p_tenant_id, v_priced.currency, v_priced.lines, coalesce(p_customer, '{}'));
  perform private.record_order_event(v_order, 'place', null, '{}');
  return private.end_command(p_tenant_id, 'place_order', p_key, private.order_as_json(v_order));
end $$;

CREATE FUNCTION private.price_order_lines(p_tenant_id uuid, p_lines jsonb, OUT lines jsonb, OUT currency text) RETURNS record
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_missing text;
  v_currencies text[];
begin
  select string_agg(l.n::text, ', ' order by l.n) filter (where p.id is null), array_agg(distinct p.currency),
    jsonb_agg(jsonb_build_object('position', l.n, 'product_id', p.id, 'sku', p.sku, 'name', p.name,
      'unit_price', p.price, 'quantity', l.quantity, 'tax_rate', l.tax_rate, 'net_total', m.net,
      'tax_total', m.tax, 'total', m.net + m.tax) order by l.n)
  into v_missing, v_currencies, lines
  from (
    select e.n, (e.line ->> 'product_id')::uuid as product_id, (e.line ->> 'quantity')::numeric::bigint as quantity,
      coalesce((e.line ->> 'tax_rate')::numeric, 0) as tax_rate
    from jsonb_array_elements(p_lines) with ordinality as e (line, n)
  ) l
  left join public.products p
    on p.tenant_id = p_tenant_id and p.id = l.product_id and p.status = 'active' and p.deleted_at is null
  -- round() of numeric goes half away from zero: half up, as nothing here is negative.
  cross join lateral (select p.price * l.quantity as net,
    round(p.price * l.quantity * l.tax_rate, private.minor_units(p.currency)) as tax) m;
  if v_missing is not null then
    perform private.fail('PT422', 'order.product_unavailable',
      format('Lines %s name no active product of this tenant.', v_missing));
  end if;
  if cardinality(v_currencies) > 1 then
    perform private.fail('PT422', 'order.currency_mixed',
      format('The products have prices in %s.', array_to_string(v_currencies, ', ')), 'Place one order per currency.');
  end if;
  currency := v_currencies[1];
end $$;

CREATE FUNCTION private.product_failures(p_product public.products, p_severities text[] DEFAULT '{error,warning}'::text[]) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select private.text_failures(p_product) || private.business_failures(p_product)
    || private.attribute_failures(p_product.attributes) || private.category_failures(p_product)
    || private.rule_failures(p_product, p_severities)
$$;

CREATE FUNCTION private.product_since(p_tenant_id uuid, p_product_id uuid, p_base bigint, p_principal_id uuid, p_client text, OUT "row" jsonb, OUT base jsonb, OUT touched jsonb, OUT own jsonb) RETURNS record
    LANGUAGE sql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET "TimeZone" TO 'UTC'
    AS $$
  with now as (
    select to_jsonb(p) as state, p.version from public.products p where p.tenant_id = p_tenant_id and p.id = p_product_id
  ), states as (
    select h.version, h.state, h.replaced_at, h.command_id from public.product_versions h, now n
    -- further back is not worth reading
    where h.product_id = p_product_id and h.version >= p_base and h.version < n.version and n.version - p_base <= 500
  ), steps as (
    select s.version + 1 as version, s.replaced_at, s.state, s.command_id,
      lead(s.state, 1, n.state) over (order by s.version, s.replaced_at) as next
    from states s, now n
  ), own as (
    select c.id::text as id, c.seq, c.edit from public.sync_changes c
    where c.entity_id = p_product_id and c.version > p_base and c.tenant_id = p_tenant_id
      and c.principal_id = p_principal_id and c.client = p_client
  ), fields as (
    select distinct on (f.field) f.field, s.version, floor(extract(epoch from s.replaced_at) * 1000)::bigint as millis,
      s.command_id
    from steps s cross join lateral unnest(private.changed_fields(s.state, s.next)) f (field)
    -- to compare states is what takes time, and is for nothing where the client was alone
    where exists (select from steps o where not exists (select from own where own.id = o.command_id))
    order by f.field, s.version desc
  )
  select n.state,
    case when n.version = p_base then n.state
         else (select s.state from states s where s.version = p_base order by s.replaced_at desc limit 1) end,
    (
      select coalesce(jsonb_agg(jsonb_build_array(f.field, f.version, f.millis)), '[]') from fields f
      where not exists (select from own o where o.id = f.command_id)
    ),
    (select coalesce(jsonb_agg(o.edit order by o.seq), '[]') from own o)
  from (select 1) one left join now n on true
$$;

CREATE FUNCTION private.product_vector(p_tenant_id uuid, p_sku text, p_name text, p_description text) RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
  return (
    select coalesce(string_agg(private.word_key(p_tenant_id) || w.word || ':' || w.marks, ' '), '')::tsvector
    from (
      select f.word, string_agg(f.mark, ',') as marks
      from (
        -- AB-12 is found as ab, as 12 and as ab12
        select s.word, '1A' as mark
        from unnest(private.words_of(p_sku) || private.words_of(regexp_replace(p_sku, '[^[:alnum:]]+', '', 'g'))) s (word)
        union all
        select n.word, '2B' from unnest(private.words_of(p_name)) n (word)
        union all
        select d.word, '3D' from unnest(private.words_of(p_description)) d (word)
      ) f
      group by f.word
    ) w
  );
end;
$$;

CREATE FUNCTION private.publish_due_product(p_product_id uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_state text;
  v_message text;
  v_detail text;
  v_failures jsonb;
begin
  update public.products p set status = 'active' where p.id = p_product_id;
  return true;
exception when others then
  get stacked diagnostics v_state = returned_sqlstate, v_message = message_text, v_detail = pg_exception_detail;
  -- Only a rule that says no is final; anything else is the job's to try again.
  if v_state not like 'PT4%' and v_state not like '23%' then
    raise;
  end if;
  v_failures := case when v_message in ('product.not_publishable', 'product.invalid') then v_detail::jsonb else
    jsonb_build_array(jsonb_build_object('code', v_message, 'field', null, 'severity', 'error', 'detail', v_detail)) end;
  update public.products p set publish_at = null, publish_failures = v_failures where p.id = p_product_id;
  return false;
end $$;

CREATE FUNCTION private.publish_tables(VARIADIC p_tables text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_table text;
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
  end if;
  foreach v_table in array p_tables loop
    if not exists (
      select from pg_catalog.pg_publication_tables
      where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = v_table
    ) then
      execute format('alter publication supabase_realtime add table public.%I', v_table);
    end if;
  end loop;
end $$;

CREATE FUNCTION private.publishing_failures(p_product public.products, p_was text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'code', f.code, 'field', f.field, 'severity', 'error', 'detail', f.detail
  )), '[]')
  from (values
    ('publish.deleted', 'deleted_at', p_product.deleted_at is not null, 'A deleted product must be restored first.'),
    ('publish.archived', 'status', p_was = 'archived', 'An archived product must be unpublished first, which makes it a draft.'),
    ('publish.sku_missing', 'sku', btrim(p_product.sku) = '', 'An active product needs a SKU.'),
    ('publish.name_missing', 'name', btrim(p_product.name) = '', 'An active product needs a name.'),
    ('publish.price_missing', 'price', p_product.price = 0 and p_product.attributes -> 'free' is distinct from 'true',
      'An active product needs a price above 0, unless its attributes say "free": true.'),
    ('publish.parent_not_active', 'parent_id', p_product.parent_id is not null and not exists (
      select from public.products p
      where p.tenant_id = p_product.tenant_id and p.id = p_product.parent_id and p.status = 'active' and p.deleted_at is null
    ), 'The product that this is a variant of must be active.'),
    -- when it is published, not when one that is active gets another picture
    ('publish.alt_text_missing', 'images', p_was is distinct from 'active' and exists (
      select from public.product_images i
      where i.tenant_id = p_product.tenant_id and i.product_id = p_product.id and btrim(coalesce(i.alt_text, '')) = ''
    ), 'Each picture of an active product needs an alt text, for those who cannot see it.')
  ) as f (code, field, broken, detail)
  where f.broken
$$;

CREATE FUNCTION private.pull_changes(p_tenant_id uuid, p_cursor text, p_limit integer, p_wait boolean, p_client text) RETURNS json
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $_$
declare
  v_limit constant integer := least(greatest(coalesce(p_limit, 500), 1), 5000);
  v_epoch constant text := (select e.epoch from private.log_epoch e);
  v_cursor text[];
  v_after bigint;
  v_reach record;
  v_why text;
  v_through bigint;
  v_count bigint;
  v_changes text;
  v_since timestamptz;
  v_behind boolean := false;
  v_entities constant text[] := private.readable_entities(p_tenant_id);
begin
  perform private.require(p_tenant_id, 'tenant.read');
  if p_client is not null then
    perform private.check_client(p_client);
  end if;
  if p_cursor is not null then
    v_cursor := regexp_match(p_cursor, '^([0-9a-f]{1,32}):([0-9]{1,18})$');
    if v_cursor is null then
      perform private.fail('PT400', 'sync.cursor_invalid', 'p_cursor is not one that pull_changes gave.',
        'Send it as it came, or null to begin.');
    end if;
    v_after := v_cursor[2]::bigint;
  end if;
  if p_wait then
    -- so that callers read their own writes; others are served by the workers
    v_behind := private.dispatch_for(p_tenant_id) is not null;
  end if;

  v_reach := private.log_reach(p_tenant_id);
  v_why := private.why_snapshot(v_cursor[1], v_after, v_epoch, v_reach.head, v_reach.first);
  if v_why is null then
    select count(*), max(p.seq), min(p.dispatched_at),
      string_agg('{"entity":' || to_json(p.entity) || ',"entity_id":"' || p.entity_id || '","version":' || p.version
        || ',"command_id":' || coalesce(to_json(p.command_id)::text, 'null') || ',"event":' || p.body || '}', ',' order by p.seq)
        filter (where p.readable)
    into v_count, v_through, v_since, v_changes
    from (
      select e.seq, e.dispatched_at, e.entity, e.entity_id, e.version, e.command_id, e.body,
        e.entity = any (v_entities) as readable
      from public.events e
      where e.tenant_id = p_tenant_id and e.seq > v_after and e.seq <= v_reach.head
      order by e.seq limit v_limit
    ) p;
    v_through := coalesce(v_through, v_after);
    if v_count <> v_through - v_after or v_count < least(v_limit, v_reach.head - v_after) then
      raise warning 'the log of tenant % has a gap after %', p_tenant_id, v_after;
      v_why := 'gap';
    end if;
  end if;
  if v_why is not null then
    -- the first that it lacks of what is kept; of another history it has nothing
    select e.dispatched_at into v_since from public.events e
    where e.tenant_id = p_tenant_id and e.seq > case when v_why in ('retention', 'gap') then v_after else 0 end
    order by e.seq limit 1;
  end if;
  if p_client is not null and auth.uid() is not null then
    perform private.note_client(p_tenant_id, p_client, coalesce(v_cursor[1], v_epoch), coalesce(v_after, 0), v_since);
  end if;
  if v_why is not null then
    return jsonb_build_object('must_snapshot', v_why, 'epoch', v_epoch, 'head', v_reach.head,
      'cursor', v_epoch || ':' || v_reach.head, 'entities', v_entities)::json;
  end if;
  -- put together as text, with the bodies as they are: of type jsonb each would be taken apart and written again
  return ('{"epoch":' || to_json(v_epoch) || ',"from":' || v_after + 1 || ',"through":' || v_through || ',"head":' || v_reach.head
    || ',"behind":' || v_behind || ',"cursor":"' || v_epoch || ':' || v_through || '","entities":' || to_json(v_entities) || ',"changes":[' || coalesce(v_changes, '') || ']}')::json;
end $_$;

CREATE FUNCTION private.push_changes(p_tenant_id uuid, p_client text, p_changes jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_principal constant uuid := auth.uid();
  v_fault record;
  v_new boolean;
  v_other text;
begin
  perform private.require(p_tenant_id, 'sync.push');
  if v_principal is null then
    perform private.fail('PT401', 'auth.required', 'Sign in to push changes: your permissions decide what becomes of them.');
  end if;
  perform private.check_client(p_client);
  if jsonb_typeof(p_changes) is distinct from 'array' or jsonb_array_length(p_changes) not between 1 and 1000 then
    perform private.fail('PT400', 'sync.changes_invalid', 'p_changes must be an array of 1 to 1,000 changes.');
  end if;
  perform private.check_call_size(p_changes);
  select c.n, private.change_fault(c.change) as why into v_fault
  from jsonb_array_elements(p_changes) with ordinality as c (change, n)
  where private.change_fault(c.change) is not null
  order by c.n limit 1;
  if found then
    perform private.fail('PT400', 'sync.change_invalid', format('Change %s: %s.', v_fault.n, v_fault.why));
  end if;

  insert into public.sync_changes
    (id, tenant_id, principal_id, client, entity, entity_id, operation, base_version, edit, stamp)
  select (c.change ->> 'id')::uuid, p_tenant_id, v_principal, p_client, c.change ->> 'entity',
    (c.change ->> 'entity_id')::uuid, c.change ->> 'operation', (c.change ->> 'base_version')::bigint,
    coalesce(c.change -> 'edit', '{}'), c.change ->> 'stamp'
  from jsonb_array_elements(p_changes) with ordinality as c (change, n)
  order by c.n
  on conflict (id) do nothing;
  v_new := found;

  select c.change ->> 'id' into v_other
  from jsonb_array_elements(p_changes) as c (change)
  join public.sync_changes s on s.id = (c.change ->> 'id')::uuid
  where (s.tenant_id, s.principal_id, s.client, s.entity, s.entity_id, s.operation, s.edit, s.stamp) is distinct from
    (p_tenant_id, v_principal, p_client, c.change ->> 'entity', (c.change ->> 'entity_id')::uuid, c.change ->> 'operation',
      coalesce(c.change -> 'edit', '{}'), c.change ->> 'stamp')
    or s.base_version is distinct from (c.change ->> 'base_version')::bigint
  limit 1;
  if v_other is not null then
    perform private.fail('PT409', 'sync.change_id_reused', format('The id %s was used for another change.', v_other),
      'Give every change an id of its own; nothing of this call was kept.');
  end if;
  -- The trigger has queued a job for what is new. For what was pushed before it may have ended badly.
  if not v_new and exists (
    select from jsonb_array_elements(p_changes) as c (change)
    join public.sync_changes s on s.id = (c.change ->> 'id')::uuid where s.status = 'pending'
  ) then
    perform private.queue_sync_work(p_tenant_id);
  end if;
  return (
    select jsonb_agg(jsonb_build_object('id', s.id, 'status', s.status) order by c.n)
    from jsonb_array_elements(p_changes) with ordinality as c (change, n)
    join public.sync_changes s on s.id = (c.change ->> 'id')::uuid
  );
end $$;

CREATE FUNCTION private.put_off_or_reject(p_webhook public.inbound_webhooks, p_may_change boolean, p_code text, p_detail text, p_at_most integer) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_since constant timestamptz := coalesce(p_webhook.put_off_at, private.now());
begin
  if p_may_change and v_since > private.now() - interval '10 minutes' then
    update public.inbound_webhooks w set put_off_at = v_since where w.id = p_webhook.id;
    return private.still_queued(v_since, p_at_most);
  end if;
  perform private.reject_webhook(p_webhook, p_code, p_detail);
  return jsonb_build_object('status', 'rejected');
end $$;

CREATE FUNCTION private.put_secret(p_name text, p_value text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $_$
declare
  v_id uuid;
begin
  if private.secrets_home() = 'vault' then
    execute 'select vault.create_secret($1, $2)' into v_id using p_value, p_name;
  else
    insert into private.secrets (name, value) values (p_name, p_value) returning id into v_id;
  end if;
  return v_id;
end $_$;

CREATE FUNCTION private.queue_image(p_image public.product_images) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select worker.enqueue_job('images.process',
    jsonb_build_object('image_id', p_image.id, 'revision', p_image.source_revision), p_image.tenant_id,
    'images.process ' || p_image.id || ' ' || p_image.source_revision, 'images.process ' || p_image.id, p_max_attempts => 20)
$$;

CREATE FUNCTION private.queue_invalidations(p_tenant_ids uuid[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_left uuid[] := p_tenant_ids;
  v_new integer;
  v_queued integer := 0;
begin
  loop
    insert into queue.jobs (kind, tenant_id, payload, unique_key, serial_key)
    select 'cache.invalidate', t, jsonb_build_object('tenant_id', t), 'cache:' || t, 'cache:' || t from unnest(v_left) t order by t
    on conflict (unique_key) where state = 'waiting' and unique_key is not null do nothing;
    get diagnostics v_new = row_count;
    v_queued := v_queued + v_new;
    with held as (
      select j.tenant_id from queue.jobs j
      where j.unique_key = any (array(select 'cache:' || t from unnest(v_left) t)) and j.state = 'waiting'
      order by j.id for key share
    )
    select array_agg(t) into v_left from unnest(v_left) t where t not in (select h.tenant_id from held h);
    -- those that were claimed between the two statements get a new one
    exit when v_left is null;
  end loop;
  return v_queued;
end $$;

CREATE FUNCTION private.queue_new_source() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  perform private.queue_image(new);
  return null;
end $$;

CREATE FUNCTION private.queue_replays(p_lane_id bigint, p_tenant_id uuid, p_seqs bigint[], p_days date[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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

CREATE FUNCTION private.queue_restored_images() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  perform private.queue_image(i)
  from public.product_images i
  where i.tenant_id = new.tenant_id and i.product_id = new.id and i.status in ('pending', 'fetching', 'processing')
  order by i.id;
  return null;
end $$;

CREATE FUNCTION private.queue_sync_work(p_tenant_id uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select worker.enqueue_job('sync.work', '{}', p_tenant_id, 'sync.work ' || p_tenant_id, 'sync.work ' || p_tenant_id)
$$;

CREATE FUNCTION private.queue_work_of_new_changes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  perform private.queue_sync_work(t.tenant_id)
  from (select distinct n.tenant_id from new_rows n order by n.tenant_id) t;
  return null;
end $$;

CREATE FUNCTION private.range_fault(p_range jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$
  select case
    when jsonb_typeof(p_range) <> 'object' then 'it is no object'
    when not pg_input_is_valid(coalesce(p_range ->> 'after', ''), 'uuid') and p_range ->> 'after' is not null
      or not pg_input_is_valid(coalesce(p_range ->> 'through', ''), 'uuid') and p_range ->> 'through' is not null
      then 'after and through must be UUIDs or null'
    when (p_range ->> 'after')::uuid >= (p_range ->> 'through')::uuid then 'after must be less than through'
    when p_range ? 'rows' and jsonb_typeof(p_range -> 'rows') <> 'object' then 'rows must be {id: version}'
    when p_range ? 'rows' then (
      select format('rows: %L must be a UUID with a whole number above 0', left(r.key, 80))
      from jsonb_each(p_range -> 'rows') r
      where not pg_input_is_valid(r.key, 'uuid') or jsonb_typeof(r.value) <> 'number' or r.value #>> '{}' !~ '^[1-9][0-9]{0,17}$'
      limit 1
    )
    when coalesce(p_range ->> 'count', '') !~ '^[0-9]{1,18}$' then 'count must be a whole number'
    when coalesce(p_range ->> 'checksum', '') !~ '^[0-9a-f]{16}$' then 'checksum must be 16 hexadecimal digits, in lower case'
  end
$_$;

CREATE FUNCTION private.range_parts(p_tenant_id uuid, p_table text, p_ranges jsonb) RETURNS TABLE(n bigint, part bigint, through uuid, rows bigint, sum numeric)
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $_$
begin
  return query execute format($query$
    select r.n, s.part, max(s.id collate "C")::uuid, count(*),
      sum(('x' || encode(substr(sha256((s.id || ':' || s.version)::bytea), 1, 8), 'hex'))::bit(64)::bigint)
    from private.bounds_of($2) r
    cross join lateral (
      select t.id::text as id, t.version, (row_number() over (order by t.id) - 1) / 64 as part
      from %s t
      where t.tenant_id = $1 and t.id between r.first and r.last and t.id is distinct from r.after
    ) s
    group by r.n, s.part
  $query$, p_table) using p_tenant_id, p_ranges;
end $_$;

CREATE FUNCTION private.read_secret(p_id uuid) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $_$
declare
  v_value text;
begin
  select s.value into v_value from private.secrets s where s.id = p_id;
  if not found and private.secrets_home() = 'vault' then
    execute 'select decrypted_secret from vault.decrypted_secrets where id = $1' into v_value using p_id;
  end if;
  return v_value;
end $_$;

CREATE FUNCTION private.readable_entities(p_tenant_id uuid) RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select coalesce(array_agg(l.entity order by l.entity), '{}') from private.logged_entities l
  where auth.role() = 'service_role' or p_tenant_id = any (private.tenants_with(l.read_permission))
$$;

CREATE FUNCTION private.receive_changes(p_tenant_id uuid, p_source text, p_messages jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $_$
declare
  v_principal constant uuid := auth.uid();
  v_fault record;
  v_new uuid[];
  v_other text;
  v_message record;
  v_taken jsonb[];
  v_changes jsonb[] := '{}';
  v_waiting uuid[] := '{}';
begin
  perform private.require(p_tenant_id, 'sync.push');
  if v_principal is null then
    perform private.fail('PT401', 'auth.required', 'Sign in to hand messages in: your permissions decide what becomes of them.');
  end if;
  if coalesce(p_source, '') !~ '^[A-Za-z0-9_.-]{1,58}$' then
    perform private.fail('PT400', 'sync.source_invalid', 'p_source must be 1 to 58 letters, digits, "_", "." or "-".');
  end if;
  if jsonb_typeof(p_messages) is distinct from 'array' or jsonb_array_length(p_messages) not between 1 and 1000 then
    perform private.fail('PT400', 'sync.messages_invalid', 'p_messages must be an array of 1 to 1,000 messages.');
  end if;
  perform private.check_call_size(p_messages);
  select m.n, m.why into v_fault
  from (
    select o.n, coalesce(private.message_fault(o.message), (
      select format('body: of a %s no sender changes %L', e.entity, left(k.key, 80))
      from private.sync_entities e, jsonb_object_keys(case jsonb_typeof(o.message -> 'body') when 'object' then o.message -> 'body' end) k (key)
      where e.entity = o.message ->> 'entity' and k.key <> all (e.fields) limit 1
    )) as why
    from jsonb_array_elements(p_messages) with ordinality o (message, n)
  ) m
  where m.why is not null order by m.n limit 1;
  if found then
    perform private.fail('PT400', 'sync.message_invalid', format('Message %s: %s.', v_fault.n, v_fault.why));
  end if;
  -- Before anything is kept: the number of a message that changes nothing would still make all that follow it stale.
  perform private.require(p_tenant_id, e.permission)
  from (
    select distinct case m ->> 'entity' when 'product' then 'products.write' else 'inventory.write' end as permission
    from jsonb_array_elements(p_messages) m
  ) e;

  -- One call after the other for each sender: two must not take the same last word. What follows sees what the other did.
  perform private.lock_inbox(p_tenant_id, p_source);
  with taken as (
    insert into public.inbox_messages (tenant_id, principal_id, source, message_id, entity, entity_id, sender_version, body, occurred_at)
    select p_tenant_id, v_principal, p_source, o.message ->> 'message_id', o.message ->> 'entity', (o.message ->> 'entity_id')::uuid,
      (o.message ->> 'sender_version')::bigint, nullif(o.message -> 'body', 'null'),
      coalesce((o.message ->> 'occurred_at')::timestamptz, private.now())
    from jsonb_array_elements(p_messages) with ordinality o (message, n)
    order by o.n
    on conflict (tenant_id, source, message_id) do nothing
    returning id
  )
  select array_agg(t.id) into v_new from taken t;
  select o.message ->> 'message_id' into v_other
  from jsonb_array_elements(p_messages) o (message)
  join public.inbox_messages i on i.tenant_id = p_tenant_id and i.source = p_source and i.message_id = o.message ->> 'message_id'
  where (i.entity, i.entity_id, i.sender_version, i.body) is distinct from
    (o.message ->> 'entity', (o.message ->> 'entity_id')::uuid, (o.message ->> 'sender_version')::bigint, nullif(o.message -> 'body', 'null'))
  limit 1;
  if v_other is not null then
    perform private.fail('PT409', 'sync.message_id_reused', format('The id %L was used for another message.', v_other),
      'Give every message an id of its own; nothing of this call was kept.');
  end if;

  -- Each object's messages by the sender's number, in the places that they have among the others.
  for v_message in
    select b.id, b.entity_id
    from (
      select i.id, row_number() over (partition by i.entity, i.entity_id order by i.sender_version, n.place) as rank, i.entity, i.entity_id
      from unnest(v_new) with ordinality n (id, place) join public.inbox_messages i on i.id = n.id
    ) b
    join (
      select i.entity, i.entity_id, n.place, row_number() over (partition by i.entity, i.entity_id order by n.place) as rank
      from unnest(v_new) with ordinality n (id, place) join public.inbox_messages i on i.id = n.id
    ) p on p.entity = b.entity and p.entity_id = b.entity_id and p.rank = b.rank
    order by p.place
  loop
    v_taken := private.take_message(v_message.id, v_message.entity_id = any (v_waiting));
    if v_taken <> '{}' then
      v_changes := v_changes || v_taken;
      v_waiting := array_append(v_waiting, v_message.entity_id);
    end if;
  end loop;
  if v_changes <> '{}' then
    -- a call of push_changes takes 1,000
    for v_from in 1 .. cardinality(v_changes) by 1000 loop
      perform private.push_changes(p_tenant_id, 'inbox.' || p_source, to_jsonb(v_changes[v_from:v_from + 999]));
    end loop;
    perform private.note_pushed(p_tenant_id, p_source, v_changes);
  end if;

  return (
    select jsonb_agg(jsonb_build_object('message_id', i.message_id, 'status', i.status, 'change_id', i.change_id,
      'first_change_id', i.first_change_id, 'repeated', i.id <> all (coalesce(v_new, '{}')) or o.again) order by o.n)
    from (
      select e.n, e.message ->> 'message_id' as message_id, row_number() over (partition by e.message ->> 'message_id' order by e.n) > 1 as again
      from jsonb_array_elements(p_messages) with ordinality e (message, n)
    ) o
    join public.inbox_messages i on i.tenant_id = p_tenant_id and i.source = p_source and i.message_id = o.message_id
  );
end $_$;

CREATE FUNCTION private.receive_once(p_product public.products, p_row jsonb) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_quantity constant bigint := (p_row ->> 'quantity')::bigint;
  v_location uuid;
begin
  if coalesce(v_quantity, 0) = 0 then
    return 0;
  end if;
  if v_quantity < 0 or p_row ->> 'source' is null then
    perform private.fail('PT400', 'import.quantity_invalid', 'A quantity is 0 or more, and has a source to be counted once by.');
  end if;
  -- Twins of one source wait here for each other, so that the second sees the first's movement.
  perform pg_advisory_xact_lock(hashtextextended('import ' || p_product.tenant_id || (p_row ->> 'source'), 0));
  if exists (
    select from public.stock_movements m where m.tenant_id = p_product.tenant_id and m.source = p_row ->> 'source'
  ) then
    return 0;
  end if;
  insert into public.locations (tenant_id, code, name)
  values (p_product.tenant_id, p_row ->> 'location_code', p_row ->> 'location_code')
  on conflict (tenant_id, code) do nothing;
  select l.id into strict v_location from public.locations l
  where l.tenant_id = p_product.tenant_id and l.code = p_row ->> 'location_code';
  perform private.move_stock(p_product.tenant_id, 'receive', jsonb_build_array(jsonb_build_object(
    'product_id', p_product.id, 'location_id', v_location, 'quantity', v_quantity, 'source', p_row ->> 'source'
  )), 'import');
  return v_quantity;
end $$;

CREATE FUNCTION private.receive_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_fault text;
  v_webhook public.inbound_webhooks;
  v_new boolean;
begin
  if p_kind in ('product', 'inventory') then
    perform private.require(p_tenant_id, 'sync.push');
  end if;
  perform private.require(p_tenant_id, case p_kind when 'product' then 'products.write' when 'inventory' then 'inventory.write' else 'orders.write' end);
  if auth.uid() is null then
    perform private.fail('PT401', 'auth.required', 'Sign in to hand events in: your permissions decide what becomes of them.');
  end if;
  if coalesce(p_kind, '') not in ('product', 'inventory', 'order') then
    perform private.fail('PT400', 'webhook.kind_unknown', 'p_kind must be product, inventory or order.');
  end if;
  perform private.require_plain(p_event);
  v_fault := private.webhook_fault(p_event);
  if v_fault is not null then
    perform private.fail('PT400', 'webhook.event_invalid', format('It is no event: %s.', v_fault));
  end if;

  if not exists (select from private.inbound_types t where t.type = p_event ->> 'type' and t.kind = p_kind) then
    v_webhook := private.same_webhook(p_tenant_id, p_kind, p_event);
    if v_webhook.id is null then
      perform private.keep_unknown(p_tenant_id, p_kind, p_event);
    end if;
    return jsonb_build_object('id', p_event ->> 'id', 'status', 'unknown', 'repeated', v_webhook.id is not null);
  end if;
  -- a twin waits here for the first, and finds what it kept
  insert into public.inbound_webhooks (tenant_id, principal_id, event_id, kind, type, data, occurred_at, about)
  values (p_tenant_id, auth.uid(), p_event ->> 'id', p_kind, p_event ->> 'type', p_event -> 'data', (p_event ->> 'timestamp')::timestamptz,
    private.webhook_about(p_kind, p_event -> 'data'))
  on conflict (tenant_id, principal_id, event_id) do nothing
  returning * into v_webhook;
  v_new := v_webhook.id is not null;
  if not v_new then
    v_webhook := private.same_webhook(p_tenant_id, p_kind, p_event);
  end if;
  if v_new or v_webhook.status = 'rejected' and v_webhook.error ->> 'code' like '%.not_found' and not v_webhook.data @> '{"redacted": true}' then
    perform private.begin_webhook(v_webhook);
  elsif v_webhook.status = 'queued' and v_webhook.inbox_message_id is null then
    -- its job may have been buried
    perform private.enqueue_webhook(v_webhook);
  end if;
  return (
    select jsonb_build_object('id', w.event_id, 'status', w.status, 'repeated', not v_new)
    from public.inbound_webhooks w where w.id = v_webhook.id
  );
end $$;

CREATE FUNCTION private.record_order_event(p_order public.orders, p_event text, p_from text, p_payload jsonb) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  insert into public.order_history
    (tenant_id, order_id, order_version, event, from_status, to_status, payload, actor, command_id)
  values (p_order.tenant_id, p_order.id, p_order.version, p_event, p_from, p_order.status, p_payload, auth.uid(),
    nullif(current_setting('pms.command_id', true), ''))
$$;

CREATE FUNCTION private.redact_customer(p_tenant_id uuid, p_email text, p_order_ids uuid[]) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_ids uuid[];
  v_seq bigint;
  v_events bigint;
begin
  perform private.require(p_tenant_id, 'customers.redact');
  if num_nonnulls(p_email, p_order_ids) <> 1 then
    perform private.fail('PT400', 'redaction.selection_invalid', 'Send either p_email or p_order_ids.');
  end if;
  v_ids := array(
    select o.id from public.orders o
    where o.tenant_id = p_tenant_id
      and (o.id = any (p_order_ids) or lower(o.customer ->> 'email') = lower(btrim(p_email)))
    order by o.id for update
  );
  update public.orders o set customer = '{"redacted": true}'
  where o.tenant_id = p_tenant_id and o.id = any (v_ids) and o.customer is distinct from '{"redacted": true}';
  update private.command_results r
  set result = private.without_customer(r.result)
  where r.tenant_id = p_tenant_id and r.command in ('place_order', 'order_event') and (r.result ->> 'id')::uuid = any (v_ids);
  -- One that still waits keeps what it is worked by.
  update public.inbound_webhooks w
  set data = '{"redacted": true}' || case when w.status = 'queued' then
    (select coalesce(jsonb_object_agg(d.key, d.value), '{}') from jsonb_each(w.data) d where d.key in ('amount', 'lines', 'version')) else '{}' end
  where w.tenant_id = p_tenant_id and w.order_id = any (v_ids);

  -- The long part before the lock of dispatch, and under it only what was dispatched meanwhile and what waits.
  v_seq := coalesce((select l.seq from private.tenant_log l where l.tenant_id = p_tenant_id), 0);
  v_events := private.redact_events(p_tenant_id, v_ids, 0);
  perform private.lock_dispatch();
  update private.outbox o
  set new_row = private.without_customer(o.new_row), old_row = private.without_customer(o.old_row)
  where o.tenant_id = p_tenant_id and o.entity = 'order' and o.entity_id = any (v_ids);
  v_events := v_events + private.redact_events(p_tenant_id, v_ids, v_seq);
  return jsonb_build_object('orders', cardinality(v_ids), 'events', v_events);
end $$;

CREATE FUNCTION private.redact_events(p_tenant_id uuid, p_order_ids uuid[], p_after_seq bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_rows bigint;
begin
  update public.events e
  set body = (jsonb_set(jsonb_set(e.body::jsonb,
      '{data,object}', private.without_customer(e.body::jsonb #> '{data,object}')),
      '{data,previous}', private.without_customer(e.body::jsonb #> '{data,previous}')) || '{"redacted": true}')::text
  where e.tenant_id = p_tenant_id and e.seq > p_after_seq and e.entity = 'order' and e.entity_id = any (p_order_ids)
    and not e.body::jsonb ? 'redacted';
  get diagnostics v_rows = row_count;
  return v_rows;
end $$;

CREATE FUNCTION private.reference_failures(p_product public.products, p_stored_version bigint) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select coalesce(jsonb_agg(f.failure), '[]') from (
    select private.failure('product.sku_taken', 'sku', format('Another product has the SKU %s.', p_product.sku))
    where p_product.deleted_at is null and exists (
      select from public.products p
      where p.tenant_id = p_product.tenant_id and p.sku = p_product.sku and p.deleted_at is null and p.id is distinct from p_product.id)
    union all
    select private.failure('product.parent_missing', 'parent_id', format('There is no product %s.', p_product.parent_id))
    where p_product.parent_id is not null and not exists (
      select from public.products p where p.tenant_id = p_product.tenant_id and p.id = p_product.parent_id)
    union all
    select private.failure('product.category_missing', 'category_id', format('There is no category %s.', p_product.category_id))
    where p_product.category_id is not null and not exists (
      select from public.categories c where c.tenant_id = p_product.tenant_id and c.id = p_product.category_id)
    union all
    select private.failure('version.stale', 'version',
      format('You sent version %s; the stored version is %s.', p_product.version, p_stored_version))
    where p_product.version <> p_stored_version
  ) f (failure)
$$;

CREATE FUNCTION private.refresh_event_types(p_breaking text[] DEFAULT '{}'::text[]) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_kind record;
  v_fields jsonb;
  v_hidden text[];
  v_known record;
  v_broken text[];
  v_required text[];
  v_version integer;
begin
  delete from public.event_types t
  where not exists (select from private.event_map m where m.entity = t.entity and m.verb = t.verb);
  for v_kind in
    select m.entity, m.verb, m.entity || '.' || m.verb as type, bool_or(m.webhooks) as webhooks,
      string_agg(distinct m.description, ' ') as description, array_agg(distinct m.operation) as operations
    from private.event_map m group by m.entity, m.verb order by m.entity, m.verb
  loop
    select jsonb_object_agg(f.name, f.schema), array_agg(f.name order by f.place) into v_fields, v_required
    from private.event_fields(v_kind.entity) f;
    -- A type of no table cannot come about; it waits for the migration that puts the table under the log.
    continue when v_fields is null;
    select l.hidden into v_hidden from private.logged_entities l where l.entity = v_kind.entity;
    select t.schema_version, k.required, t.json_schema #> '{properties,data,properties,object,properties}' as fields into v_known
    from public.event_types t join private.event_keys k on k.type = t.type where t.type = v_kind.type;
    v_version := 1;
    if found then
      v_version := v_known.schema_version;
      if v_kind.entity = any (p_breaking) then
        v_version := v_version + 1;
      else
        v_broken := private.broken_promises(v_known.required, v_known.fields, v_fields);
        if v_broken <> '{}' then
          perform private.fail('PT409', 'events.breaking_change',
            format('%s promises what its table no longer has: %s.', v_kind.type, array_to_string(v_broken, ', ')),
            format('Give it back, or raise the version: refresh_event_types(''{%s}'').', v_kind.entity));
        end if;
        v_required := v_known.required;
      end if;
    end if;
    insert into public.event_types as t (type, entity, verb, description, schema_version, webhooks, json_schema, example)
    values (v_kind.type, v_kind.entity, v_kind.verb, v_kind.description, v_version, v_kind.webhooks,
      private.event_schema(v_kind.type, v_kind.description, v_version, v_kind.operations, v_fields, v_required),
      private.event_example(v_kind.entity, v_kind.verb, v_fields, v_version))
    on conflict (type) do update set description = excluded.description, schema_version = excluded.schema_version,
      webhooks = excluded.webhooks, json_schema = excluded.json_schema, example = excluded.example;
    insert into private.event_keys as k (type, schema_version, required, hidden)
    values (v_kind.type, v_version, v_required, v_hidden)
    on conflict (type) do update
      set schema_version = excluded.schema_version, required = excluded.required, hidden = excluded.hidden;
  end loop;
  return (select count(*) from public.event_types);
end $$;

CREATE FUNCTION private.refund_order_money(p_order public.orders, p_payload jsonb) RETURNS public.orders
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  p_order.refunded_total := p_order.refunded_total
    + private.asked_amount(p_order, p_payload, p_order.paid_total - p_order.refunded_total);
  if p_order.refunded_total = p_order.paid_total then
    return private.give_up_order_rest(p_order);
  end if;
  return p_order;
end $$;

CREATE FUNCTION private.refusal(p_sqlstate text, p_message text, p_detail text, p_constraint text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select case when p_message = 'product.invalid' then private.first_failure(p_detail::jsonb) else jsonb_build_object(
    'code', case when p_constraint <> '' then regexp_replace(p_constraint, '^(product|location|product_image)s_', '\1.')
                 when p_sqlstate like 'PT4%' then p_message else 'row.invalid' end,
    'detail', case when p_sqlstate like 'PT4%' then p_detail
                   when p_constraint = 'products_sku_living' then 'Another product has this sku.' else p_message end) end
$$;

CREATE FUNCTION private.refusal_of_product(p_tenant_id uuid, p_old public.products, p_new public.products) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_failures jsonb;
begin
  p_new.tenant_id := p_tenant_id;
  p_new := private.sanitised_product(p_new);
  if private.is_to_be_judged(p_old, p_new) then
    v_failures := private.failures_to_tell(p_new);
  end if;
  return case when v_failures <> '[]' then private.first_failure(v_failures) end;
end $$;

CREATE FUNCTION private.refuse_held(p_tenant_id uuid, p_product_ids uuid[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $_$
declare
  v_finder text;
  v_found jsonb;
  v_held jsonb := '[]';
begin
  for v_finder in select h.finder from private.product_holders h order by h.holder loop
    execute format('select coalesce(jsonb_agg(f), ''[]'') from %s($1, $2) f', v_finder)
      into v_found using p_tenant_id, p_product_ids;
    v_held := v_held || v_found;
  end loop;
  if v_held <> '[]' then
    perform private.fail('PT409', 'product.held', v_held::text, 'End what is listed, then delete again.');
  end if;
end $_$;

CREATE FUNCTION private.refuse_if_short(p_constraint text, p_lines jsonb, p_numbered boolean DEFAULT false, p_may_fall_short boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_short text;
begin
  if p_constraint not like 'stock\_levels\_%' then
    return;
  end if;
  select format('%s %s at location %s has %s on hand, %s of them promised; %s cannot be taken.',
    case when p_numbered then format('Line %s: product', m.n) else 'Product' end, m.product_id, m.location_id, coalesce(s.on_hand, 0),
    least(coalesce(s.reserved, 0), coalesce(s.on_hand, 0)), -m.quantity)
  into v_short
  from (
    select (l.line ->> 'product_id')::uuid as product_id, (l.line ->> 'location_id')::uuid as location_id,
      sum((l.line ->> 'quantity')::numeric)::bigint as quantity, min(l.n) filter (where (l.line ->> 'quantity')::numeric < 0) as n
    from jsonb_array_elements(p_lines) with ordinality l (line, n)
    group by 1, 2
  ) m
  left join public.stock_levels s on s.product_id = m.product_id and s.location_id = m.location_id
  where m.quantity < 0 and coalesce(s.on_hand, 0) + m.quantity
    < case when p_may_fall_short then 0 else greatest(0, coalesce(s.reserved - s.backorder_limit - s.shortfall, 0)) end
  order by m.n
  limit 1;
  perform private.fail('PT409', 'stock.insufficient',
    coalesce(v_short, 'The move would take more than is there or break what is promised.'), 'Read what is there and decide anew.');
end $$;

CREATE FUNCTION private.refuse_invalid_product() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_failures jsonb;
begin
  if private.is_to_be_judged(old, new) then
    v_failures := private.failures_to_tell(new);
    if v_failures <> '[]' then
      perform private.fail('PT422', 'product.invalid', v_failures::text,
        'Correct every field that is listed, then send all of it again.');
    end if;
  end if;
  return new;
end $$;

CREATE FUNCTION private.refuse_ledger_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  if tg_op = 'DELETE' and current_setting('pms.erasing', true) = 'yes' then
    return null;  -- a deleted tenant takes its ledger along (…_privacy.sql)
  end if;
  perform private.fail('PT405', 'ledger.append_only', 'Movements are never changed or deleted; record another one.');
  return null;
end $$;

CREATE FUNCTION private.refuse_message(p_id uuid, p_code text, p_detail text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  update public.inbox_messages m set status = 'rejected', error = jsonb_build_object('code', p_code, 'detail', p_detail) where m.id = p_id
$$;

CREATE FUNCTION private.refuse_truncate() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  perform private.fail('PT405', 'truncate.refused',
    format('TRUNCATE of %s would bypass the event log.', tg_table_name), 'Delete rows instead.');
  return null;
end $$;

CREATE FUNCTION private.refused_row(p_item jsonb, p_error jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select jsonb_build_object('line', p_item -> 'line', 'sku', p_item -> 'row' -> 'sku', 'result', 'refused',
    'product_id', null, 'version', null, 'error', p_error)
$$;

CREATE FUNCTION private.reject_webhook(p_webhook public.inbound_webhooks, p_code text, p_detail text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  update public.inbound_webhooks w
  set status = 'rejected', error = jsonb_build_object('code', p_code, 'detail', p_detail), settled_at = private.now()
  where w.id = p_webhook.id;
  perform private.notify_tenant(p_webhook.tenant_id, left(format('inbound %s %s %s', p_webhook.kind, p_code, private.today()), 200),
    'inbound.rejected', 'warning', p_webhook.id, format('An inbound %s event was refused: %s', p_webhook.kind, left(p_code, 100)),
    format('%s of %s: %s. Others like it may follow; inbound_webhooks lists them.', p_webhook.type, p_webhook.event_id, p_detail));
end $$;

CREATE FUNCTION private.release_for(p_tenant_id uuid, p_ids uuid[]) RETURNS SETOF public.reservations
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    AS $$
begin
  perform private.lock_reservations(p_tenant_id, p_ids);
  perform private.check_reservations(p_ids, '{held,committed,released,expired}');
  perform private.give_back('release', 'released', p_ids);
  return query select r.* from public.reservations r where r.id = any (p_ids);
end $$;

CREATE FUNCTION private.release_next(p_lane_ids bigint[], p_order_keys uuid[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_nestloop TO 'on'
    SET jit TO 'off'
    AS $$
  update queue.retries q set blocked = false, due_at = private.now()
  from (select distinct k.lane_id, k.order_key from unnest(p_lane_ids, p_order_keys) k (lane_id, order_key)) k
  where q.blocked and q.id = (
    select f.id from queue.retries f where f.lane_id = k.lane_id and f.order_key = k.order_key order by f.id limit 1
  )
$$;

CREATE FUNCTION private.remove_member(p_tenant_id uuid, p_principal_id uuid) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_member public.memberships;
begin
  v_member := private.open_membership(p_tenant_id, p_principal_id, null);
  if v_member.kind = 'api_key' then
    if p_principal_id is distinct from auth.uid() then
      perform private.require(p_tenant_id, 'api_keys.write');
      perform private.require_no_api_key(p_tenant_id);
    end if;
    perform private.end_api_key(p_principal_id);
    return to_jsonb(v_member);
  end if;
  perform private.revoke_invitations_of(p_tenant_id, p_principal_id);
  delete from public.memberships m where m.id = v_member.id;
  return to_jsonb(v_member);
end $$;

CREATE FUNCTION private.repair_stock(p_tenant_id uuid, p_level_ids uuid[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  perform 1 from public.stock_levels s where s.id = any (p_level_ids) order by s.id for update;
  -- The level comes in line with the promises, and the ledger with the level.
  with wrong as (
    select d.* from private.stock_differences(p_tenant_id, p_level_ids) d
  ), moved as (
    update public.stock_levels s
    set reserved = w.promised,
        shortfall = greatest(0, w.promised - s.on_hand - s.backorder_limit),
        repaired_at = private.now()
    from wrong w where s.id = w.level_id
    returning s as level, w.ledger_on_hand, w.ledger_reserved
  )
  insert into public.stock_movements (tenant_id, level_id, level_version, kind, quantity, reserved_quantity,
    on_hand_after, reserved_after, reason, actor, command_id)
  select p_tenant_id, (m.level).id, (m.level).version, 'repair', (m.level).on_hand - m.ledger_on_hand,
    (m.level).reserved - m.ledger_reserved, (m.level).on_hand, (m.level).reserved, 'stock proof', auth.uid(),
    nullif(current_setting('pms.command_id', true), '')
  from moved m;
end $$;

CREATE FUNCTION private.replace_product(p_tenant_id uuid, p_product_id uuid, p_product jsonb, p_expected_version bigint, p_key text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_known jsonb;
  v_new public.products;
  v_product public.products;
begin
  perform private.require(p_tenant_id, 'products.write');
  perform private.require_plain(p_product);
  v_known := private.begin_command(p_tenant_id, 'replace_product', p_key,
    jsonb_build_object('product_id', p_product_id, 'product', p_product, 'expected_version', p_expected_version));
  if v_known is not null then
    return v_known;
  end if;
  v_new := private.described_product(p_tenant_id, null, p_product);
  -- Parents before variants, as everywhere: the triggers lock the parent too.
  perform 1 from public.products p
  where p.tenant_id = p_tenant_id and (p.id = v_new.parent_id or p.id = (select v.parent_id from public.products v where v.id = p_product_id))
  order by p.id for share;
  v_product := private.lock_product(p_tenant_id, p_product_id, coalesce(p_expected_version, (p_product ->> 'version')::bigint));
  if (p_product ->> 'id')::uuid <> p_product_id then
    perform private.fail('PT400', 'row.id_changed', 'The id in p_product is not p_product_id.');
  elsif (p_product ->> 'tenant_id')::uuid <> p_tenant_id then
    perform private.fail('PT400', 'row.tenant_changed', 'A product cannot move to another tenant.');
  elsif v_product.deleted_at is not null then
    perform private.fail('PT409', 'product.deleted', 'The product is deleted.', 'Restore it first.');
  end if;
  update public.products p
  set parent_id = v_new.parent_id, category_id = v_new.category_id, sku = v_new.sku, name = v_new.name, description = v_new.description,
      status = v_new.status, price = v_new.price, currency = v_new.currency, attributes = v_new.attributes,
      publish_at = v_new.publish_at, version = coalesce((p_product ->> 'version')::bigint, p.version)
  where p.id = p_product_id
  returning * into v_product;
  return private.end_command(p_tenant_id, 'replace_product', p_key, to_jsonb(v_product));
end $$;

CREATE FUNCTION private.replay_delivery(p_tenant_id uuid, p_delivery_id bigint) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.replay_events(p_tenant_id uuid, p_endpoint_id uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_types text[]) RETURNS public.webhook_replays
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.report_period(p_tenant_id uuid, p_from date, p_to date, p_time_zone text, OUT starts timestamp with time zone, OUT ends timestamp with time zone) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
  perform private.require(p_tenant_id, 'reports.read');
  if p_from is null or p_to is null or not isfinite(p_from) or not isfinite(p_to) or p_to - p_from not between 0 and 365 then
    perform private.fail('PT400', 'report.period_invalid', 'A report covers 1 to 366 days, from p_from to p_to.');
  end if;
  starts := p_from::timestamp at time zone coalesce(p_time_zone, 'UTC');
  ends := (p_to + 1)::timestamp at time zone coalesce(p_time_zone, 'UTC');
exception when invalid_parameter_value then
  perform private.fail('PT400', 'report.time_zone_unknown', format('There is no time zone %s.', p_time_zone));
end $$;

CREATE FUNCTION private.requeue_webhooks(p_limit integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_webhook public.inbound_webhooks;
  v_queued integer := 0;
begin
  for v_webhook in
    select w.* from public.inbound_webhooks w
    where w.status = 'queued' and w.inbox_message_id is null and w.received_at < private.now() - interval '1 hour'
      and not exists (select from queue.jobs j where j.unique_key = 'inbound:' || w.id and j.state = 'waiting')
      and not exists (select from queue.jobs j where j.serial_key = private.webhook_serial(w) and j.state = 'running')
    order by w.received_at limit p_limit
  loop
    -- the new one says why, should it fail as well
    delete from queue.jobs j where j.state = 'buried' and j.unique_key = 'inbound:' || v_webhook.id;
    perform private.enqueue_webhook(v_webhook);
    v_queued := v_queued + 1;
  end loop;
  return v_queued;
end $$;

CREATE FUNCTION private.require(p_tenant_id uuid, p_permission text) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if p_tenant_id is null then
    perform private.fail('PT400', 'tenant.missing', 'p_tenant_id must name a tenant.');
  end if;
  if auth.role() = 'service_role' or p_tenant_id = any (private.tenants_with(p_permission)) then
    return;
  end if;
  if p_tenant_id = any (private.my_tenants()) then
    perform private.fail('PT403', 'access.denied',
      format('Your role, or the scopes of your API key, lacks the permission %s.', p_permission));
  end if;
  perform private.fail('PT404', 'tenant.not_found', format('There is no tenant %s for you.', p_tenant_id));
end $$;

CREATE FUNCTION private.require_as_strong(p_tenant_id uuid, p_role text, p_scopes text[] DEFAULT NULL::text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_lacking text;
begin
  select string_agg(p, ', ' order by p) into v_lacking
  from unnest(private.permissions_of(p_role, p_scopes)) p
  where auth.role() is distinct from 'service_role' and p_tenant_id <> all (private.tenants_with(p));
  if v_lacking is not null then
    perform private.fail('PT403', 'access.denied', format('You cannot give what you lack yourself: %s.', v_lacking));
  end if;
end $$;

CREATE FUNCTION private.require_known_role(p_role text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  if p_role is null or p_role not in ('owner', 'manager', 'clerk', 'viewer', 'integration') then
    perform private.fail('PT422', 'role.unknown', format('There is no role %s.', coalesce(p_role, 'null')),
      'Roles are owner, manager, clerk, viewer and integration.');
  end if;
end $$;

CREATE FUNCTION private.require_no_api_key(p_tenant_id uuid, p_but uuid DEFAULT NULL::uuid) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if auth.uid() is distinct from p_but and exists (select from public.api_keys k where k.id = auth.uid()) then
    perform private.fail('PT403', 'api_key.by_api_key', 'An API key makes and changes no API keys.', 'Let a person do it.');
  end if;
end $$;

CREATE FUNCTION private.require_plain(p_value jsonb, p_deepest jsonpath DEFAULT 'strict $.**{48}'::jsonpath) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
begin
  if private.is_plain(p_value, p_deepest) then
    return;
  end if;
  if jsonb_path_exists(p_value, p_deepest) then
    perform private.fail('PT422', 'json.too_deep', 'JSON nests up to 40 levels here.', 'Send flatter values, or the deep part as text.');
  end if;
  perform private.fail('PT422', 'json.number_too_long', 'A number has at most 40 digits before its point, and 40 after it.',
    'Round it, or send it as text.');
end $$;

CREATE FUNCTION private.reservation_command(p_tenant_id uuid, p_command text, p_key text, p_request jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_known jsonb;
  v_ids uuid[];
  v_done public.reservations[];
begin
  perform private.require(p_tenant_id, 'inventory.write');
  perform private.require_plain(p_request);
  v_known := private.begin_command(p_tenant_id, p_command, p_key, p_request);
  if v_known is not null then
    return v_known;
  end if;
  select array_agg(i.id::uuid) into v_ids from jsonb_array_elements_text(nullif(p_request -> 'ids', 'null')) i (id);
  case p_command
    when 'reserve_stock' then
      v_done := array(select r from private.reserve_for(p_tenant_id, p_request -> 'lines',
        (p_request ->> 'expires_in')::interval, (p_request ->> 'order_id')::uuid) r);
    when 'extend_reservation' then
      v_done := array(select r from private.extend_for(p_tenant_id, v_ids, (p_request ->> 'expires_in')::interval) r);
    when 'release_reservation' then
      v_done := array(select r from private.release_for(p_tenant_id, v_ids) r);
    when 'commit_reservation' then
      v_done := array(select r from private.commit_for(p_tenant_id, v_ids) r);
    when 'ship_reservation' then
      v_done := array(select r from private.ship_for(p_tenant_id, p_request -> 'lines') r);
  end case;
  return private.end_command(p_tenant_id, p_command, p_key, private.reservations_json(v_done));
end $$;

CREATE FUNCTION private.reservations_json(p_reservations public.reservations[]) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
  return (
    select jsonb_build_object('reservations', coalesce(jsonb_agg(jsonb_build_object(
      'reservation_id', r.id, 'product_id', r.product_id, 'location_id', r.location_id, 'order_id', r.order_id,
      'quantity', r.quantity, 'shipped', r.shipped, 'status', r.status, 'expires_at', r.expires_at, 'version', r.version
    ) order by r.level_id, r.id), '[]'))
    from unnest(p_reservations) r
  );
end $$;

CREATE FUNCTION private.reserve_for(p_tenant_id uuid, p_lines jsonb, p_expires_in interval DEFAULT '00:15:00'::interval, p_order_id uuid DEFAULT NULL::uuid) RETURNS SETOF public.reservations
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    AS $$
declare
  v_until constant timestamptz := private.hold_until(p_expires_in);
  v_ids uuid[];
  v_levels public.stock_levels[];
  v_taken uuid[];
  v_quantities bigint[];
  v_wanted numeric;
begin
  perform private.check_lines(p_lines, 'quantity', 1);
  select array_agg(distinct s.id) into v_ids
  from jsonb_to_recordset(p_lines) as l (product_id uuid, location_id uuid)
  cross join lateral (
    select k.id from public.stock_levels k
    where k.tenant_id = p_tenant_id and k.product_id = l.product_id
      and (l.location_id is null or k.location_id = l.location_id)
    offset 0 -- line by line: before there are statistics, the planner would read the tenant's levels first
  ) s;
  perform 1 from public.stock_levels s where s.id = any (v_ids) order by s.id for update;
  perform private.expire_holds(v_ids);
  select array_agg(s) into v_levels from public.stock_levels s where s.id = any (v_ids);
  select array_agg(a.level_id order by a.level_id), array_agg(a.quantity order by a.level_id)
  into v_taken, v_quantities
  from private.allocate(v_levels, p_lines) a;
  v_wanted := (select sum(l.quantity) from jsonb_to_recordset(p_lines) as l (quantity bigint));

  if v_wanted is distinct from (select sum(q) from unnest(v_quantities) q) then
    perform private.explain_shortage(p_tenant_id, p_lines);
  end if;
  perform private.move_levels('reserve', v_taken, array_fill(0::bigint, array[cardinality(v_taken)]), v_quantities, null,
    p_order_id);
  return query
  insert into public.reservations (tenant_id, product_id, location_id, level_id, order_id, quantity, expires_at)
  select s.tenant_id, s.product_id, s.location_id, s.id, p_order_id, t.quantity, v_until
  from unnest(v_taken, v_quantities) as t (level_id, quantity)
  join public.stock_levels s on s.id = t.level_id
  returning *;
end $$;

CREATE FUNCTION private.restore_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint) RETURNS public.products
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_product public.products;
  v_deleted_at timestamptz;
  v_taken text;
begin
  perform private.require(p_tenant_id, 'products.delete');
  v_product := private.lock_product(p_tenant_id, p_product_id, p_expected_version);
  v_deleted_at := v_product.deleted_at;
  if v_deleted_at is null then
    return v_product;
  end if;
  select string_agg(l.sku, ', ' order by l.sku) into v_taken
  from public.products d
  join public.products l on l.tenant_id = p_tenant_id and l.sku = d.sku and l.deleted_at is null
  where d.tenant_id = p_tenant_id and (d.id = p_product_id or (d.parent_id = p_product_id and d.deleted_at = v_deleted_at));
  if v_taken is not null then
    perform private.fail('PT409', 'product.sku_taken', format('Living products have these SKUs: %s.', v_taken),
      'Change the SKU of one of them first.');
  end if;
  -- The parent first: a living variant needs a living parent. What may no longer be active comes back as a draft.
  update public.products p
  set deleted_at = null, status = private.status_after_restoring(p)
  where p.id = p_product_id returning * into v_product;
  update public.products p
  set deleted_at = null, status = private.status_after_restoring(p)
  where p.tenant_id = p_tenant_id and p.parent_id = p_product_id and p.deleted_at = v_deleted_at;
  return v_product;
end $$;

CREATE FUNCTION private.retry_image(p_tenant_id uuid, p_image_id uuid) RETURNS public.product_images
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_image public.product_images;
begin
  perform private.require(p_tenant_id, 'products.write');
  update public.product_images i set source_revision = i.source_revision + 1
  where i.tenant_id = p_tenant_id and i.id = p_image_id
  returning * into v_image;
  if not found then
    perform private.fail('PT404', 'image.not_found', format('There is no picture %s in this tenant.', p_image_id));
  end if;
  return v_image;
end $$;

CREATE FUNCTION private.return_for(p_tenant_id uuid, p_lines jsonb, p_reason text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  perform private.check_lines(p_lines, 'quantity', 1);
  return private.move_stock(p_tenant_id, 'return', p_lines, p_reason);
end $$;

CREATE FUNCTION private.revoke_api_key(p_tenant_id uuid, p_api_key_id uuid) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  perform private.open_api_key(p_tenant_id, p_api_key_id);
  perform private.require_no_api_key(p_tenant_id, p_but => p_api_key_id);
  return private.api_key_answer(private.end_api_key(p_api_key_id));
end $$;

CREATE FUNCTION private.revoke_invitation(p_tenant_id uuid, p_invitation_id uuid) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_invitation public.invitations;
begin
  perform private.require(p_tenant_id, 'members.write');
  update public.invitations i set status = 'revoked'
  where i.tenant_id = p_tenant_id and i.id = p_invitation_id and i.status = 'pending';
  select * into v_invitation from public.invitations i where i.tenant_id = p_tenant_id and i.id = p_invitation_id;
  if not found then
    perform private.fail('PT404', 'invitation.not_found', 'There is no such invitation.');
  end if;
  return to_jsonb(v_invitation) - 'token_hash';
end $$;

CREATE FUNCTION private.revoke_invitations_of(p_tenant_id uuid, p_principal_id uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  update public.invitations set status = 'revoked'
  where tenant_id = p_tenant_id and invited_by = p_principal_id and status = 'pending'
$$;

CREATE FUNCTION private.ring(p_lane text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if current_setting('pms.rung', true) = 'yes' then
    return;
  end if;
  perform set_config('pms.rung', 'yes', true);
  if exists (select from queue.worker_awake a where a.until > private.now()) then
    return;
  end if;
  perform realtime.send(jsonb_build_object('lane', p_lane), 'ring', 'worker', true);
exception when others then
  raise warning 'the worker was not rung: %', sqlerrm;
end $$;

CREATE FUNCTION private.ring_tenants(p_news uuid[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_epoch constant text := (select e.epoch from private.log_epoch e);
  v_tokens numeric;
  v_chosen uuid[];
  v_tenant record;
begin
  if p_news is null and not exists (select from private.tenant_log t where t.unrung_since is not null) then
    return 0;
  end if;
  -- a clock that was set back takes no tokens away
  select least(b.per_second, b.tokens + b.per_second * greatest(extract(epoch from v_now - b.refilled_at), 0)) into v_tokens
  from private.ring_budget b;
  v_chosen := array(
    select c.tenant_id
    from (
      select t.tenant_id, t.unrung_since from private.tenant_log t where t.unrung_since is not null
      union all
      select t.tenant_id, null from private.tenant_log t where t.tenant_id = any (p_news) and t.unrung_since is null
    ) c
    order by c.unrung_since nulls last
    limit floor(v_tokens)
  );
  update private.ring_budget b set tokens = v_tokens - cardinality(v_chosen), refilled_at = v_now where b.one;
  update private.tenant_log t set unrung_since = null where t.tenant_id = any (v_chosen) and t.unrung_since is not null;
  update private.tenant_log t set unrung_since = v_now
  where t.tenant_id = any (p_news) and t.unrung_since is null and t.tenant_id <> all (v_chosen);

  for v_tenant in select t.tenant_id, t.seq from private.tenant_log t where t.tenant_id = any (v_chosen) loop
    begin
      perform realtime.send(
        jsonb_build_object('tenant', v_tenant.tenant_id, 'epoch', v_epoch, 'seq', v_tenant.seq),
        'ring', 'tenant:' || v_tenant.tenant_id, true);
    exception when others then
      raise warning 'a tenant was not rung: %', sqlerrm;
    end;
  end loop;
  return cardinality(v_chosen);
end $$;

CREATE FUNCTION private.rollback_product(p_tenant_id uuid, p_product_id uuid, p_to_version bigint, p_expected_version bigint) RETURNS public.products
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_product public.products;
  v_old public.products;
begin
  perform private.require(p_tenant_id, 'products.write');
  v_product := private.lock_product(p_tenant_id, p_product_id, p_expected_version);
  if v_product.deleted_at is not null then
    perform private.fail('PT409', 'product.deleted', 'The product is deleted.', 'Restore it first.');
  end if;
  if p_to_version = v_product.version then
    return v_product;
  end if;
  select (jsonb_populate_record(v_product, h.state)).* into v_old
  from public.product_versions h
  where h.tenant_id = p_tenant_id and h.product_id = p_product_id and h.version = p_to_version
  order by h.replaced_at desc
  limit 1;
  if not found then
    perform private.fail('PT404', 'product.version_unknown', format('The product had no version %s.', p_to_version));
  end if;
  update public.products p
  set parent_id = v_old.parent_id, category_id = v_old.category_id, sku = v_old.sku, name = v_old.name,
      description = v_old.description, status = v_old.status, price = v_old.price, currency = v_old.currency,
      attributes = v_old.attributes
  where p.id = p_product_id
  returning * into v_product;
  return v_product;
end $$;

CREATE FUNCTION private.rotate_api_key(p_tenant_id uuid, p_api_key_id uuid, p_overlap interval) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_key public.api_keys := private.open_api_key(p_tenant_id, p_api_key_id);
  v_free_at timestamptz;
begin
  perform private.require_no_api_key(p_tenant_id, p_but => p_api_key_id);
  if v_key.status = 'revoked' then
    perform private.fail('PT409', 'api_key.revoked', 'The key was revoked.', 'Make a new one.');
  end if;
  -- Whoever has the secret is the key.
  perform private.require_as_strong(p_tenant_id, v_key.role, v_key.scopes);
  if p_overlap is null or p_overlap < interval '0' or p_overlap > interval '30 days' then
    perform private.fail('PT422', 'api_key.overlap_invalid', 'p_overlap must lie between 0 and 30 days.');
  end if;
  delete from private.api_key_secrets s
  where s.api_key_id = p_api_key_id and (p_overlap = interval '0' or s.expires_at <= v_now);
  select min(s.expires_at) into v_free_at from private.api_key_secrets s where s.api_key_id = p_api_key_id having count(*) >= 3;
  if v_free_at is not null then
    perform private.fail('PT409', 'api_key.rotating',
      format('Three secrets of the key are good; it can be rotated again from %s on.',
        to_char((v_free_at + interval '1 second') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
      'Sign with the newest until then; or send p_overlap = 0, which ends all others at once.');
  end if;
  update private.api_key_secrets s set expires_at = v_now + p_overlap where s.api_key_id = p_api_key_id and s.expires_at is null;
  -- The event of it: who keeps the secrets elsewhere learns that they changed.
  update public.api_keys k set secret_changed_at = v_now where k.id = p_api_key_id returning * into v_key;
  return private.api_key_answer(v_key) || jsonb_build_object(
    'secret', private.make_api_key_secret(p_api_key_id),
    'old_secret_expires_at', (
      select max(s.expires_at) from private.api_key_secrets s where s.api_key_id = p_api_key_id and s.expires_at > v_now));
end $$;

CREATE FUNCTION private.rotate_webhook_secret(p_tenant_id uuid, p_endpoint_id uuid, p_overlap_hours numeric, p_signature text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.row_fault(p_row jsonb) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select jsonb_build_object('code', f.code, 'detail', f.detail)
  from (
    select 1 as place, 'row.invalid' as code, 'A row is an object.' as detail where jsonb_typeof(p_row) <> 'object'
    union all
    select 2, 'row.invalid', 'A row has a sku, or the id of a product.'
    where jsonb_typeof(p_row) = 'object' and coalesce(p_row ->> 'id', p_row ->> 'sku') is null
    union all
    select 3, 'row.invalid', format('%s is no id.', p_row ->> k)
    from unnest('{id,parent_id,category_id}'::text[]) k
    where jsonb_typeof(p_row) = 'object' and not pg_input_is_valid(p_row ->> k, 'uuid')
    union all
    select 4, 'row.invalid', format('%s is no version.', p_row ->> 'version')
    where jsonb_typeof(p_row) = 'object' and not pg_input_is_valid(p_row ->> 'version', 'bigint')
    union all
    select 5, 'row.field_unknown', format('A product has no field %s.', string_agg(k, ', '))
    from jsonb_object_keys(case when jsonb_typeof(p_row) = 'object' then p_row else '{}' end) k
    where k <> all ('{id,tenant_id,parent_id,parent_sku,category_id,sku,name,description,status,price,currency,attributes,
      publish_at,publish_failures,version,deleted_at,created_at,updated_at}'::text[])
    having count(*) > 0
    union all
    -- The column would round it in silence.
    select 6, 'product.price_scale', format('The price %s has more than 4 decimal places.', p_row ->> 'price')
    where case when jsonb_typeof(p_row) = 'object' and p_row ->> 'price' is not null
      and pg_input_is_valid(p_row ->> 'price', 'numeric') then scale((p_row ->> 'price')::numeric) > 4
      and (p_row ->> 'price')::numeric <> round((p_row ->> 'price')::numeric, 4) end
    union all
    select 7, format('product.%s_type', t.field), format('%s is no %s.', p_row ->> t.field, t.told)
    from (values ('price', 'numeric(18,4)', 'numeric'), ('publish_at', 'timestamptz', 'timestamp with time zone'))
      as t (field, type, told)
    where jsonb_typeof(p_row) = 'object' and not pg_input_is_valid(p_row ->> t.field, t.type)
  ) f
  order by f.place
  limit 1
$$;

CREATE FUNCTION private.rule_failures(p_product public.products, p_severities text[]) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $_$
declare
  v_rule record;
  v_row jsonb;
  v_found jsonb := '[]';
begin
  for v_rule in
    select r.name, r.condition, r.message, r.severity from public.validation_rules r
    where r.tenant_id = p_product.tenant_id and r.entity = 'product' and r.enabled and r.severity = any (p_severities)
    order by r.name
  loop
    v_row := coalesce(v_row, to_jsonb(p_product));
    if not private.condition_holds(v_rule.condition, v_row) then
      v_found := v_found || private.failure('rule.' || v_rule.name,
        jsonb_path_query_first(v_rule.condition, 'lax $.**.field') #>> '{}', v_rule.message, v_rule.severity);
    end if;
  end loop;
  return v_found;
end $_$;

CREATE FUNCTION private.run_stock_proof(p_tenant_id uuid, p_repair boolean) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_run constant uuid := gen_random_uuid();
  v_levels uuid[];
  v_findings jsonb;
begin
  perform private.require(p_tenant_id, case when p_repair then 'inventory.repair' else 'inventory.write' end);
  with found as (
    insert into public.reconciliation_findings
      (tenant_id, run_id, level_id, product_id, location_id, kind, level_amount, other_amount, level_version)
    select distinct p_tenant_id, v_run, d.level_id, d.product_id, d.location_id, k.kind, k.level_amount,
      k.other_amount, d.level_version
    from private.stock_differences(p_tenant_id) d
    cross join lateral (
      values ('on_hand', d.on_hand, d.ledger_on_hand), ('reserved', d.reserved, d.promised),
        ('ledger', d.reserved, d.ledger_reserved), ('ledger', d.on_hand, d.on_hand_after),
        ('ledger', d.reserved, d.reserved_after)
    ) as k (kind, level_amount, other_amount)
    where k.level_amount <> k.other_amount
    returning *
  )
  select array_agg(distinct f.level_id), coalesce(jsonb_agg(jsonb_build_object(
    'level_id', f.level_id, 'product_id', f.product_id, 'location_id', f.location_id, 'kind', f.kind,
    'level_amount', f.level_amount, 'other_amount', f.other_amount
  )), '[]')
  into v_levels, v_findings
  from found f;
  if p_repair and v_levels is not null then
    perform private.repair_stock(p_tenant_id, v_levels);
    update public.reconciliation_findings f set repaired_at = private.now()
    where f.tenant_id = p_tenant_id and f.level_id = any (v_levels) and f.repaired_at is null;
  end if;
  return jsonb_build_object('run_id', v_run, 'repaired', p_repair and v_levels is not null, 'findings', v_findings,
    'levels', (select count(*) from public.stock_levels s where s.tenant_id = p_tenant_id));
end $$;

CREATE FUNCTION private.same_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) RETURNS public.inbound_webhooks
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_webhook public.inbound_webhooks;
begin
  select * into v_webhook from public.inbound_webhooks w
  where w.tenant_id = p_tenant_id and w.principal_id = auth.uid() and w.event_id = p_event ->> 'id';
  if v_webhook.id is not null and ((v_webhook.kind, v_webhook.type) is distinct from (p_kind, p_event ->> 'type')
    or v_webhook.data <> case v_webhook.status when 'unknown' then private.part_of_data(p_event -> 'data') else p_event -> 'data' end
      -- of a redacted event it is not known any more
      and not v_webhook.data @> '{"redacted": true}') then
    perform private.fail('PT409', 'webhook.id_reused', format('The id %s was used for another event.', left(p_event ->> 'id', 80)),
      'Give every event an id of its own; the first one stands.');
  end if;
  return v_webhook;
end $$;

CREATE FUNCTION private.sanitise_product() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $_$
begin
  perform private.require_plain(new.attributes, 'strict $.**{40}');
  return private.sanitised_product(new);
end $_$;

CREATE FUNCTION private.sanitised_product(p public.products) RETURNS public.products
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
  p.name := btrim(private.normal_text(p.name), E' \t\n\u00a0');
  p.description := private.normal_text(p.description);
  -- Nothing of JSON's own syntax composes with what follows it.
  if p.attributes::text is not nfc normalized then
    p.attributes := normalize(p.attributes::text, nfc)::jsonb;
  end if;
  return p;
end $$;

CREATE FUNCTION private.schedule_publishing() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_nestloop TO 'off'
    SET enable_hashjoin TO 'on'
    SET jit TO 'off'
    AS $$
declare
  v_moments timestamptz[];
  v_at timestamptz;
begin
  if tg_op = 'INSERT' then
    select array_agg(distinct n.publish_at order by n.publish_at) into v_moments
    from new_rows n where n.publish_at is not null;
  else
    select array_agg(distinct n.publish_at order by n.publish_at) into v_moments
    from new_rows n join old_rows o on o.id = n.id
    where n.publish_at is not null and n.publish_at is distinct from o.publish_at;
  end if;
  foreach v_at in array coalesce(v_moments, '{}') loop
    perform worker.enqueue_job('catalogue.publish_due',
      p_unique_key => 'catalogue.publish_due:' || to_char(v_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
      p_due_in_seconds => greatest(0, extract(epoch from v_at - private.now())));
  end loop;
  return null;
end $$;

CREATE FUNCTION private.schema_failures(p_schema jsonb, p_value jsonb, p_path text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_word text;
  v_rule jsonb;
  v_found jsonb := '[]';
begin
  if jsonb_typeof(p_schema) = 'boolean' then
    return case when p_schema::boolean then v_found
      else jsonb_build_array(jsonb_build_object('field', p_path, 'detail', 'is not allowed here')) end;
  end if;
  for v_word, v_rule in select e.key, e.value from jsonb_each(p_schema) e loop
    v_found := v_found || case
      when v_word in ('properties', 'required', 'additionalProperties', 'items') then
        private.part_failures(v_word, p_schema, p_value, p_path)
      when v_word in ('anyOf', 'allOf', 'oneOf', 'not') then private.choice_failures(v_word, v_rule, p_value, p_path)
      else coalesce(
        (select jsonb_build_array(jsonb_build_object('field', p_path, 'detail', k.problem))
         from private.keyword_problem(v_word, v_rule, p_value) k (problem) where k.problem is not null), '[]')
    end;
  end loop;
  return v_found;
end $$;

CREATE FUNCTION private.schema_problems(p_schema jsonb, p_path text DEFAULT ''::text, p_depth integer DEFAULT 0) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
  if jsonb_typeof(p_schema) = 'boolean' and p_depth > 0 then
    return '{}';
  elsif jsonb_typeof(p_schema) is distinct from 'object' then
    return array[coalesce(nullif(p_path, ''), 'the schema') || ' must be a schema'];
  elsif p_depth > 10 then
    return array[p_path || ' is nested more than 10 deep'];
  elsif p_depth = 0 and octet_length(p_schema::text) > 16384 then
    return array['the schema is larger than 16 KiB'];
  end if;
  return array(
    select format('%s/%s %s', p_path, e.key, m.misuse)
    from jsonb_each(p_schema) e cross join lateral private.keyword_misuse(e.key, e.value) m (misuse)
    where m.misuse is not null
    union all
    select unnest(private.schema_problems(s.schema, format('%s/%s', p_path, s.place), p_depth + 1))
    from (
      select e.key as place, e.value as schema from jsonb_each(p_schema) e
      where e.key in ('items', 'additionalProperties', 'not') and jsonb_typeof(e.value) = 'object'
      union all
      select e.key || '/' || p.key, p.value from jsonb_each(p_schema) e
      cross join lateral jsonb_each(case jsonb_typeof(e.value) when 'object' then e.value else '{}' end) p
      where e.key = 'properties'
      union all
      select format('%s/%s', e.key, c.place - 1), c.value from jsonb_each(p_schema) e
      cross join lateral jsonb_array_elements(case jsonb_typeof(e.value) when 'array' then e.value else '[]' end)
        with ordinality c (value, place)
      where e.key in ('anyOf', 'allOf', 'oneOf')
    ) s
  );
end $$;

CREATE FUNCTION private.search_cursor(p_after jsonb, OUT rank real, OUT created_at timestamp with time zone, OUT id uuid) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
begin
  rank := coalesce((p_after ->> 'rank')::real, 0);
  created_at := (p_after ->> 'created_at')::timestamptz;
  id := (p_after ->> 'id')::uuid;
  if p_after is not null and (created_at is null or id is null) then
    perform private.fail('PT400', 'search.cursor_invalid', 'p_after must be the "next" of a former answer, as it was.');
  end if;
exception when data_exception then
  perform private.fail('PT400', 'search.cursor_invalid', 'p_after must be the "next" of a former answer, as it was.');
end $$;

CREATE FUNCTION private.search_products(p_tenant_id uuid, p_query text, p_after jsonb, p_limit integer, p_status text, p_category_id uuid, p_order text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
declare
  v_terms tsquery;
  v_after record;
  v_categories uuid[];
  v_found jsonb;
begin
  perform private.require(p_tenant_id, 'products.read');
  perform private.require_plain(p_after);
  v_terms := private.search_terms(p_tenant_id, p_query);
  v_after := private.search_cursor(p_after);
  if p_limit is null or p_limit not between 1 and 500 then
    perform private.fail('PT400', 'search.limit_invalid', 'p_limit must be 1 to 500.');
  end if;
  if p_order is null or p_order not in ('relevance', 'newest') then
    perform private.fail('PT400', 'search.order_unknown', 'p_order must be relevance or newest.');
  end if;
  if p_category_id is not null then
    v_categories := array(select private.category_subtree(p_tenant_id, p_category_id));
  end if;

  if v_terms is null then
    select jsonb_agg(jsonb_build_object('rank', 0, 'row', to_jsonb(f)) order by f.created_at desc, f.id desc) into v_found
    from (
      select p.* from public.products p
      where p.tenant_id = p_tenant_id and p.deleted_at is null
        and (p_after is null or (p.created_at, p.id) < (v_after.created_at, v_after.id))
        and (p_status is null or p.status = p_status)
        and (v_categories is null or p.category_id = any (v_categories))
      order by p.created_at desc, p.id desc
      limit p_limit + 1
    ) f;
  elsif p_order = 'newest' then
    select jsonb_agg(jsonb_build_object('rank', 0, 'row', to_jsonb(f)) order by f.created_at desc, f.id desc) into v_found
    from (
      select p.* from public.products p join private.product_words w on w.product_id = p.id
      where p.tenant_id = p_tenant_id and p.deleted_at is null and w.words @@ v_terms
        and (p_after is null or (p.created_at, p.id) < (v_after.created_at, v_after.id))
        and (p_status is null or p.status = p_status)
        and (v_categories is null or p.category_id = any (v_categories))
      order by p.created_at desc, p.id desc
      limit p_limit + 1
    ) f;
  else
    select jsonb_agg(jsonb_build_object('rank', f.rank, 'row', to_jsonb(f.p))
      order by f.rank desc, (f.p).created_at desc, (f.p).id desc) into v_found
    from (
      select r.rank, p
      from public.products p
      join private.product_words w on w.product_id = p.id
      cross join lateral (select ts_rank(w.words, v_terms) as rank) r
      where p.tenant_id = p_tenant_id and p.deleted_at is null and w.words @@ v_terms
        and (p_after is null or (r.rank, p.created_at, p.id) < (v_after.rank, v_after.created_at, v_after.id))
        and (p_status is null or p.status = p_status)
        and (v_categories is null or p.category_id = any (v_categories))
      order by r.rank desc, p.created_at desc, p.id desc
      limit p_limit + 1
    ) f;
  end if;

  return jsonb_build_object(
    'rows', (
      select coalesce(jsonb_agg(f.found -> 'row' order by f.n), '[]')
      from jsonb_array_elements(v_found) with ordinality f (found, n) where f.n <= p_limit
    ),
    'next', case when jsonb_array_length(v_found) > p_limit then jsonb_build_object(
      'rank', v_found -> (p_limit - 1) -> 'rank',
      'created_at', v_found -> (p_limit - 1) -> 'row' -> 'created_at',
      'id', v_found -> (p_limit - 1) -> 'row' -> 'id') end
  );
end $$;

CREATE FUNCTION private.search_terms(p_tenant_id uuid, p_query text) RETURNS tsquery
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_words text[];
begin
  if btrim(coalesce(p_query, '')) = '' then
    return null;
  end if;
  v_words := case when length(p_query) <= 200 then private.words_of(p_query) else '{}' end;
  if cardinality(v_words) not between 1 and 10 then
    perform private.fail('PT400', 'search.query_invalid', 'A query has 1 to 10 words and at most 200 characters.');
  end if;
  return (select string_agg(private.word_key(p_tenant_id) || w || ':*', ' & ') from unnest(v_words) w)::tsquery;
end $$;

CREATE FUNCTION private.secrets_home() RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select case when to_regprocedure('vault.create_secret(text, text, text, uuid)') is null then 'table' else 'vault' end
$$;

CREATE FUNCTION private.secure_order_stock(p_order public.orders) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_missing jsonb;
  v_detail text;
begin
  perform 1 from public.stock_levels s
  where s.tenant_id = p_order.tenant_id
    and s.product_id in (select l.product_id from public.order_lines l where l.order_id = p_order.id)
  order by s.id
  for update;
  perform private.commit_order_holds(p_order);
  v_missing := private.missing_order_stock(p_order);
  if v_missing is null then
    return null;
  end if;
  begin
    perform private.reserve_for(p_order.tenant_id, v_missing, interval '1 hour', p_order.id);
    perform private.commit_order_holds(p_order);
    return null;
  exception when sqlstate 'PT409' then
    get stacked diagnostics v_detail = pg_exception_detail;
    if sqlerrm <> 'stock.insufficient' then
      raise;
    end if;
    return v_detail;
  end;
end $$;

CREATE FUNCTION private.send_test_event(p_tenant_id uuid, p_endpoint_id uuid, p_type text, p_enables boolean) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.seq_of_event(p_event_id text) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$
  select case when p_event_id ~ '^evt_[0-9a-f]{32}$' then ('x' || substr(p_event_id, 5, 12))::bit(48)::bigint end
$_$;

CREATE FUNCTION private.set_images(p_product public.products, p_images jsonb) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_rows integer;
  v_touched integer := 0;
begin
  delete from public.product_images i
  using private.pair_images(p_product, p_images) w where i.id = w.image_id and not w.wanted;
  get diagnostics v_rows = row_count;
  v_touched := v_touched + v_rows;

  update public.product_images i set position = coalesce(w.position, i.position), alt_text = w.alt_text
  from private.pair_images(p_product, p_images) w
  where i.id = w.image_id and (coalesce(w.position, i.position), w.alt_text) is distinct from (i.position, i.alt_text);
  get diagnostics v_rows = row_count;
  v_touched := v_touched + v_rows;

  insert into public.product_images (tenant_id, product_id, source_url, position, alt_text)
  select p_product.tenant_id, p_product.id, w.source_url, w.position, w.alt_text
  from private.pair_images(p_product, p_images) w where w.image_id is null;
  get diagnostics v_rows = row_count;
  return v_touched + v_rows > 0;
end $$;

CREATE FUNCTION private.set_published(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_status text, p_key text DEFAULT NULL::text) RETURNS public.products
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_known jsonb;
  v_product public.products;
begin
  perform private.require(p_tenant_id, 'products.write');
  v_known := private.begin_command(p_tenant_id, 'publish_product', p_key,
    jsonb_build_object('product_id', p_product_id, 'expected_version', p_expected_version));
  if v_known is not null then
    return jsonb_populate_record(null::public.products, v_known);
  end if;
  -- Parents before variants, as everywhere: the trigger locks the parent too.
  perform 1 from public.products p
  where p.tenant_id = p_tenant_id and p.id = (select v.parent_id from public.products v where v.id = p_product_id)
  for share;
  v_product := private.lock_product(p_tenant_id, p_product_id, p_expected_version);
  if v_product.deleted_at is not null then
    perform private.fail('PT409', 'product.deleted', 'The product is deleted.', 'Restore it first.');
  end if;
  update public.products p set status = p_status, publish_at = null where p.id = p_product_id
  returning * into v_product;
  perform private.end_command(p_tenant_id, 'publish_product', p_key, to_jsonb(v_product));
  return v_product;
end $$;

CREATE FUNCTION private.settle_change(p_attempt_id uuid, p_write jsonb, p_version bigint, p_status text, p_error jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_tenant_id constant uuid := private.hold_sync_attempt(p_attempt_id);
  v_change public.sync_changes;
begin
  update public.sync_changes c
  set status = p_status, version = p_version, wrote = p_version is not null and p_write ->> 'action' <> 'none', error = p_error,
      settled_at = private.now()
  where c.id = (p_write ->> 'change_id')::uuid and c.tenant_id = v_tenant_id and c.principal_id = auth.uid()
    and c.status = 'pending'
  returning * into v_change;
  if not found then
    perform private.fail('PT409', 'sync.change_settled', 'The change was settled before.');
  end if;
  if p_status = 'rejected' then
    return;
  end if;
  insert into public.sync_conflicts (tenant_id, change_id, principal_id, entity, entity_id, field, policy, base, ours, theirs,
    winner, decided_at)
  select v_tenant_id, v_change.id, v_change.principal_id, v_change.entity, v_change.entity_id, d.field, d.policy, d.base, d.ours,
    d.theirs, d.winner, case when d.winner is not null then private.now() end
  from jsonb_to_recordset(p_write -> 'decisions') as d (field text, policy text, base jsonb, ours jsonb, theirs jsonb, winner text);
  insert into private.sync_stamps (entity_id, field, tenant_id, version, stamp)
  select v_change.entity_id, s.key, v_tenant_id, p_version, s.value
  from jsonb_each_text(p_write -> 'stamps') s where p_version is not null
  on conflict (entity_id, field) do update set version = excluded.version, stamp = excluded.stamp, settled_at = private.now();
end $$;

CREATE FUNCTION private.settle_delivered(p_delivery_ids bigint[], p_event_ids text[], p_types text[], p_statuses integer[], p_responses text[], p_started_at timestamp with time zone[], p_duration_ms numeric[], p_dns_ms numeric[], p_connect_ms numeric[], p_first_byte_ms numeric[], p_lanes bigint[], p_now timestamp with time zone, p_today date, OUT settled bigint[], OUT endpoints uuid[]) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_nestloop TO 'off'
    SET jit TO 'off'
    AS $$
begin
  with first_tries as (
    delete from queue.deliveries d where d.id = any (p_delivery_ids) and d.lane_id = any (p_lanes)
    returning d.id, d.lane_id, d.tenant_id
  ), lanes as materialized (
    select l.id, l.endpoint_id from queue.lanes l where l.id = any (p_lanes)
  ), logged as (
    insert into public.webhook_attempts (attempted_on, delivery_id, attempt, tenant_id, endpoint_id, event_id, event_type,
      outcome, status, duration_ms, dns_ms, connect_ms, first_byte_ms, response, started_at, settled_at)
    select p_today, f.id, 1, f.tenant_id, l.endpoint_id, r.event_id, r.type, 'delivered', r.status, r.duration_ms,
      r.dns_ms, r.connect_ms, r.first_byte_ms, left(r.response, 4096), r.started_at, p_now
    from first_tries f
    join unnest(p_delivery_ids, p_event_ids, p_types, p_statuses, p_responses, p_started_at, p_duration_ms, p_dns_ms,
      p_connect_ms, p_first_byte_ms) as r (delivery_id, event_id, type, status, response, started_at, duration_ms, dns_ms,
      connect_ms, first_byte_ms) on r.delivery_id = f.id
    join lanes l on l.id = f.lane_id
    returning delivery_id, endpoint_id
  )
  select array_agg(g.delivery_id), array_agg(distinct g.endpoint_id) into settled, endpoints from logged g;
end $$;

CREATE FUNCTION private.settle_others(p_results jsonb, p_lanes bigint[], p_now timestamp with time zone, p_today date, OUT settled bigint[], OUT endpoints uuid[], OUT failures jsonb) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_nestloop TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_key_lanes bigint[];
  v_keys uuid[];
begin
  with results as materialized (
    select r.*, p_now + make_interval(secs => coalesce(r.retry_in_seconds, 0)) as retry_at
    from jsonb_to_recordset(p_results) as r (delivery_id bigint, lane_id bigint, attempt integer, event_id text, type text,
      outcome text, started_at timestamptz, duration_ms numeric, dns_ms numeric, connect_ms numeric, first_byte_ms numeric,
      status integer, error text, response text, retry_in_seconds numeric, order_key uuid, expires_at timestamptz)
    where r.lane_id = any (p_lanes)
  ), lanes as materialized (
    select l.id, l.endpoint_id from queue.lanes l where l.id = any (p_lanes)
  ), first_tries as (
    delete from queue.deliveries d
    where d.id = any (array(select r.delivery_id from results r where r.attempt = 1 and r.outcome <> 'probe'))
      and d.lane_id = any (p_lanes)
    returning d.*
  ), ended as (
    delete from queue.retries q using results r
    where q.id = any (array(select r.delivery_id from results r where r.outcome in ('delivered', 'failed', 'gone', 'expired')))
      and q.id = r.delivery_id and q.lane_id = r.lane_id and q.attempt = r.attempt
      and r.outcome in ('delivered', 'failed', 'gone', 'expired')
    returning q.id, q.lane_id, q.tenant_id, q.kind, q.order_key
  ), postponed as (
    update queue.retries q set attempt = q.attempt + 1, due_at = r.retry_at, last_status = r.status
    from results r
    where q.id = any (array(select r.delivery_id from results r where r.outcome = 'retry'))
      and q.id = r.delivery_id and q.lane_id = r.lane_id and q.attempt = r.attempt and r.outcome = 'retry'
    returning q.id, q.lane_id, q.tenant_id, q.kind
  ), retried as (
    insert into queue.retries (id, lane_id, tenant_id, seq, dispatched_on, attempt, due_at, expires_at, last_status,
      order_key, blocked)
    select f.id, f.lane_id, f.tenant_id, f.seq, f.dispatched_on, case r.outcome when 'blocked' then 1 else 2 end,
      case r.outcome when 'blocked' then 'infinity' else r.retry_at end, r.expires_at,
      case r.outcome when 'retry' then r.status end, r.order_key, r.outcome = 'blocked'
    from first_tries f join results r on r.delivery_id = f.id
    where r.outcome in ('retry', 'blocked')
  ), probed as (
    -- still where it was, so that its place tells whether it is still owed
    select r.delivery_id as id, r.lane_id, p.tenant_id, p.kind
    from results r
    cross join lateral (
      select d.tenant_id, 'event' as kind from queue.deliveries d where d.id = r.delivery_id and d.lane_id = r.lane_id
      union all
      select q.tenant_id, q.kind from queue.retries q where q.id = r.delivery_id and q.lane_id = r.lane_id
    ) p
    where r.outcome = 'probe'
  ), found as materialized (
    select f.id, f.lane_id, f.tenant_id, 'event' as kind from first_tries f
    union all select e.id, e.lane_id, e.tenant_id, e.kind from ended e
    union all select p.id, p.lane_id, p.tenant_id, p.kind from postponed p
    union all select p.id, p.lane_id, p.tenant_id, p.kind from probed p
  ), tried as materialized (
    select f.tenant_id, f.kind, l.endpoint_id, r.*
    from found f join results r on r.delivery_id = f.id join lanes l on l.id = f.lane_id
    where r.outcome <> 'blocked'
  ), logged as (
    insert into public.webhook_attempts (attempted_on, delivery_id, attempt, tenant_id, endpoint_id, event_id, event_type,
      kind, outcome, status, error, duration_ms, dns_ms, connect_ms, first_byte_ms, response, retry_at, started_at, settled_at)
    select p_today, t.delivery_id, t.attempt, t.tenant_id, t.endpoint_id, t.event_id, t.type,
      t.kind, t.outcome, t.status, left(t.error, 500), t.duration_ms, t.dns_ms, t.connect_ms, t.first_byte_ms,
      left(t.response, 4096), case t.outcome when 'retry' then t.retry_at end, t.started_at, p_now
    from tried t
    on conflict do nothing
  ), failing as (
    select t.endpoint_id, t.tenant_id, count(*) as failures, min(t.started_at) as since, max(t.started_at) as at,
      (array_agg(jsonb_build_object('status', t.status, 'error', t.error) order by t.started_at desc))[1] as last,
      bool_or(t.outcome = 'gone') as gone
    from tried t
    where t.outcome in ('retry', 'failed', 'gone', 'probe')
    group by t.endpoint_id, t.tenant_id
  ), keys as (
    select e.lane_id, e.order_key from ended e where e.order_key is not null
    union select r.lane_id, r.order_key from results r where r.outcome = 'blocked'
  )
  select (select array_agg(f.id) from found f),
    (select array_agg(distinct t.endpoint_id) from tried t where t.outcome = 'delivered'),
    (select jsonb_agg(jsonb_build_object('endpoint_id', f.endpoint_id, 'tenant_id', f.tenant_id, 'failures', f.failures,
      'since', f.since, 'at', f.at, 'status', f.last ->> 'status', 'error', f.last ->> 'error', 'gone', f.gone)) from failing f),
    (select array_agg(k.lane_id order by k.lane_id, k.order_key) from keys k),
    (select array_agg(k.order_key order by k.lane_id, k.order_key) from keys k)
  into settled, endpoints, failures, v_key_lanes, v_keys;

  if v_keys is not null then
    perform private.release_next(v_key_lanes, v_keys);
  end if;
end $$;

CREATE FUNCTION private.settle_stuck_images(p_limit integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_image record;
  v_stuck integer := 0;
begin
  for v_image in
    select i as image, exists (
      select from queue.jobs j
      where j.state = 'buried' and j.kind = 'images.process' and j.payload ->> 'image_id' = i.id::text
        and j.payload ->> 'revision' = i.source_revision::text
    ) as buried
    from public.product_images i
    where i.status in ('pending', 'fetching', 'processing') and i.updated_at < private.now() - interval '15 min'
      and exists (select from public.products p where p.tenant_id = i.tenant_id and p.id = i.product_id and p.deleted_at is null)
      and not exists (
        select from queue.jobs j where j.serial_key = 'images.process ' || i.id and j.state in ('waiting', 'running')
      )
    order by i.updated_at limit p_limit
    for no key update of i skip locked
  loop
    v_stuck := v_stuck + 1;
    if not v_image.buried then
      perform private.queue_image(v_image.image);
    else
      update public.product_images i
      set status = 'failed', error = jsonb_build_object('code', 'image.given_up',
        'detail', 'Each attempt at it ended before it was done.')
      where i.id = (v_image.image).id;
    end if;
  end loop;
  return v_stuck;
end $$;

CREATE FUNCTION private.ship_for(p_tenant_id uuid, p_lines jsonb) RETURNS SETOF public.reservations
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    AS $$
declare
  v_ids constant uuid[] := (
    select array_agg(distinct l.reservation_id) from jsonb_to_recordset(p_lines) as l (reservation_id uuid)
  );
  v_constraint text;
  v_bad uuid;
begin
  perform private.lock_reservations(p_tenant_id, v_ids);
  perform private.check_reservations(v_ids, '{committed}');
  select r.id into v_bad
  from jsonb_to_recordset(p_lines) as l (reservation_id uuid, quantity bigint)
  join public.reservations r on r.id = l.reservation_id
  group by r.id
  having sum(coalesce(l.quantity, r.quantity - r.shipped)) > r.quantity - r.shipped
    or bool_or(coalesce(l.quantity, 1) < 1);
  if v_bad is not null then
    perform private.fail('PT409', 'reservation.too_much',
      format('Reservation %s: ship at least 1, and at most what is left of it.', v_bad));
  end if;

  perform private.move_levels('ship', array_agg(b.level_id), array_agg(-b.quantity), array_agg(-b.quantity), null, b.order_id)
  from (
    select r.level_id, sum(coalesce(l.quantity, r.quantity - r.shipped))::bigint as quantity,
      case when count(distinct r.order_id) = 1 and count(r.order_id) = count(*)
        then (array_agg(r.order_id))[1] end as order_id
    from jsonb_to_recordset(p_lines) as l (reservation_id uuid, quantity bigint)
    join public.reservations r on r.id = l.reservation_id
    group by r.level_id
  ) b
  group by b.order_id;
  update public.reservations r
  set shipped = r.shipped + l.quantity,
      status = case when r.shipped + l.quantity = r.quantity then 'shipped' else r.status end
  from (
    select l.reservation_id, sum(coalesce(l.quantity, o.quantity - o.shipped))::bigint as quantity
    from jsonb_to_recordset(p_lines) as l (reservation_id uuid, quantity bigint)
    join public.reservations o on o.id = l.reservation_id
    group by l.reservation_id
  ) l
  where r.id = l.reservation_id;
  return query select r.* from public.reservations r where r.id = any (v_ids);
exception when check_violation then
  get stacked diagnostics v_constraint = constraint_name;
  perform private.refuse_if_short(v_constraint, (
    select jsonb_agg(jsonb_build_object('product_id', r.product_id, 'location_id', r.location_id,
      'quantity', -coalesce(l.quantity, r.quantity - r.shipped)))
    from jsonb_to_recordset(p_lines) as l (reservation_id uuid, quantity bigint)
    join public.reservations r on r.id = l.reservation_id), p_may_fall_short => true);
  raise;
end $$;

CREATE FUNCTION private.ship_order_lines(p_order public.orders, p_payload jsonb) RETURNS public.orders
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_asked constant jsonb := private.asked_order_lines(p_order, p_payload, false);
  v_picked jsonb := private.pick_order_stock(p_order, v_asked);
  v_lacking text;
begin
  if v_picked is null then
    v_lacking := private.secure_order_stock(p_order);
    v_picked := private.pick_order_stock(p_order, v_asked);
  end if;
  if v_picked is null then
    perform private.fail('PT409', 'order.stock_missing', v_lacking,
      'Stock that was committed for the order was given away; receive some, or cancel the rest.');
  end if;
  perform private.ship_for(p_order.tenant_id, v_picked);
  update public.order_lines l set fulfilled = l.fulfilled + a.quantity
  from (
    select e.line_id, sum(e.quantity)::bigint as quantity
    from jsonb_to_recordset(v_asked) as e (line_id uuid, quantity bigint) group by e.line_id
  ) a
  where l.id = a.line_id;
  return private.sum_order_lines(p_order);
end $$;

CREATE FUNCTION private.stamp_version() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_there boolean;
begin
  if tg_op = 'INSERT' then
    -- An upsert that finds its row goes on as an UPDATE with what is left here, so the version sent must survive.
    if new.version <> 1 then
      execute format('select true from %I.%I where id = $1', tg_table_schema, tg_table_name) into v_there using new.id;
    end if;
    if v_there is null then
      new.version := 1;
    end if;
    new.created_at := private.now();
    new.updated_at := new.created_at;
    return new;
  end if;

  if new.id is distinct from old.id then
    perform private.fail('PT400', 'row.id_changed', format('The id of a row in %s cannot change.', tg_table_name));
  end if;
  if to_jsonb(new) -> 'tenant_id' is distinct from to_jsonb(old) -> 'tenant_id' then
    perform private.fail('PT400', 'row.tenant_changed',
      format('A row in %s cannot move to another tenant.', tg_table_name));
  end if;
  if new.version is distinct from old.version then
    perform private.fail('PT409', 'version.stale',
      format('You sent version %s; the stored version is %s.', new.version, old.version),
      'Read the row again, apply your change to it, and send the version that you read.');
  end if;

  new.created_at := old.created_at;
  new.updated_at := old.updated_at;
  if new is distinct from old then
    new.version := old.version + 1;
    new.updated_at := private.now();
  end if;
  return new;
end $_$;

CREATE FUNCTION private.status_after_restoring(p_product public.products) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  p_product.deleted_at := null;
  return case when p_product.status = 'active' and private.publishing_failures(p_product, 'draft') <> '[]'
    then 'draft' else p_product.status end;
end $$;

CREATE FUNCTION private.still_news(p_message public.inbox_messages, p_known private.inbox_states, OUT is_news boolean, OUT body jsonb) RETURNS record
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
  body := p_message.body;
  is_news := p_known.entity_id is null or p_message.sender_version > p_known.sender_version;
  if is_news then
    return;
  end if;
  -- late: a deletion is older than what lives, and a word older than a deletion is gone with it
  select jsonb_object_agg(b.key, b.value) into body
  from jsonb_each(p_message.body) b
  where p_known.state is not null and p_message.sender_version > p_known.deleted_version
    -- a field that the sender's refused words alone had named is not in its state
    and not (p_known.state ? b.key and p_message.sender_version <= coalesce((p_known.field_versions ->> b.key)::bigint, -1));
  is_news := body is not null;
end $$;

CREATE FUNCTION private.still_queued(p_since timestamp with time zone, p_at_most integer DEFAULT 10) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select jsonb_build_object('status', 'queued',
    'in_seconds', least(greatest(floor(extract(epoch from private.now() - p_since) / 10), 1), p_at_most))
$$;

CREATE FUNCTION private.stock_command(p_tenant_id uuid, p_kind text, p_lines jsonb, p_key text, p_reason text, p_may_fall_short boolean DEFAULT false) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_command constant text := p_kind || '_stock';
  v_known jsonb;
begin
  perform private.require(p_tenant_id, 'inventory.write');
  perform private.require_plain(p_lines);
  perform private.check_lines(p_lines, 'quantity', case p_kind when 'adjust' then -1000000000000 else 1 end);
  v_known := private.begin_command(p_tenant_id, v_command, p_key,
    jsonb_build_object('lines', p_lines, 'reason', p_reason, 'may_fall_short', p_may_fall_short));
  if v_known is not null then
    return v_known;
  end if;
  -- A source counts once, for ever: it is the import's to give, and no client may take one away from it.
  return private.end_command(p_tenant_id, v_command, p_key, jsonb_build_object('levels', private.move_stock(p_tenant_id,
    p_kind, (select jsonb_agg(l.line - 'source') from jsonb_array_elements(p_lines) l (line)), p_reason, p_may_fall_short)));
end $$;

CREATE FUNCTION private.stock_differences(p_tenant_id uuid, p_level_ids uuid[] DEFAULT NULL::uuid[]) RETURNS TABLE(level_id uuid, product_id uuid, location_id uuid, level_version bigint, on_hand bigint, reserved bigint, ledger_on_hand bigint, ledger_reserved bigint, on_hand_after bigint, reserved_after bigint, promised bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  with ledger as (
    select m.level_id, sum(m.quantity)::bigint as on_hand, sum(m.reserved_quantity)::bigint as reserved, max(m.id) as last
    from public.stock_movements m
    where m.tenant_id = p_tenant_id and (p_level_ids is null or m.level_id = any (p_level_ids))
    group by m.level_id
  ), promise as (
    select r.level_id, sum(r.quantity - r.shipped)::bigint as promised
    from public.reservations r
    where r.tenant_id = p_tenant_id and r.status in ('held', 'committed')
      and (p_level_ids is null or r.level_id = any (p_level_ids))
    group by r.level_id
  ), said as (
    select s.id, s.product_id, s.location_id, s.version, s.on_hand, s.reserved,
      coalesce(l.on_hand, 0) as ledger_on_hand, coalesce(l.reserved, 0) as ledger_reserved,
      coalesce(m.on_hand_after, 0) as on_hand_after, coalesce(m.reserved_after, 0) as reserved_after,
      coalesce(p.promised, 0) as promised
    from public.stock_levels s
    left join ledger l on l.level_id = s.id
    left join public.stock_movements m on m.id = l.last
    left join promise p on p.level_id = s.id
    where s.tenant_id = p_tenant_id and (p_level_ids is null or s.id = any (p_level_ids))
  )
  select * from said d
  where d.on_hand <> d.ledger_on_hand or d.on_hand <> d.on_hand_after or d.reserved <> d.promised
    or d.reserved <> d.ledger_reserved or d.reserved <> d.reserved_after
$$;

CREATE FUNCTION private.stock_holding(p_tenant_id uuid, p_product_ids uuid[]) RETURNS SETOF jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  perform 1 from public.stock_levels s
  where s.tenant_id = p_tenant_id and s.product_id = any (p_product_ids)
  order by s.id for update;
  return query
    select jsonb_build_object('holder', 'stock', 'product_id', s.product_id, 'location_id', s.location_id,
      'on_hand', s.on_hand, 'reserved', s.reserved)
    from public.stock_levels s
    where s.tenant_id = p_tenant_id and s.product_id = any (p_product_ids) and (s.on_hand > 0 or s.reserved > 0)
    order by s.product_id, s.location_id
    limit 100;
end $$;

CREATE FUNCTION private.stock_level_since(p_tenant_id uuid, p_level_id uuid, p_base bigint, p_principal_id uuid, p_client text, OUT "row" jsonb, OUT base jsonb, OUT touched jsonb, OUT own jsonb) RETURNS record
    LANGUAGE sql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET "TimeZone" TO 'UTC'
    AS $$
  select n.state, case when n.version - p_base = (
      select count(distinct c.version) from public.sync_changes c
      where c.entity_id = p_level_id and c.version > p_base and c.version <= n.version and c.wrote
        and c.tenant_id = p_tenant_id and c.client = p_client and c.principal_id = p_principal_id
    ) then n.state end, '[]'::jsonb, '[]'::jsonb
  from (select 1) one
  left join (
    select to_jsonb(s) as state, s.version from public.stock_levels s where s.tenant_id = p_tenant_id and s.id = p_level_id
  ) n on true
$$;

CREATE FUNCTION private.sum_order_lines(p_order public.orders) RETURNS public.orders
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  select sum(l.fulfilled), sum(l.cancelled), sum(l.returned)
  into p_order.fulfilled, p_order.cancelled, p_order.returned
  from public.order_lines l where l.order_id = p_order.id;
  return p_order;
end $$;

CREATE FUNCTION private.sync_status(p_tenant_id uuid) RETURNS TABLE(client text, principal_id uuid, entity text, last_pulled_at timestamp with time zone, last_pushed_at timestamp with time zone, lag_events bigint, lag_seconds numeric, pending bigint, oldest_pending_seconds numeric, conflicts bigint, last_error jsonb)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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

CREATE FUNCTION private.tag_offence(p_tag text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $_$
declare
  v_names constant text := '(a|abbr|article|b|bdi|bdo|big|blockquote|br|caption|center|cite|code|col|colgroup|dd|del|dfn|div|dl|dt'
    '|em|figcaption|figure|font|footer|h[1-6]|header|hr|i|img|ins|kbd|li|main|mark|meta|ol|o:p|p|pre|q|s|samp|section|small'
    '|span|strike|strong|sub|sup|table|tbody|td|tfoot|th|thead|time|tr|tt|u|ul|var|wbr)';
  v_value constant text := '("[^"`]*"|''[^''`]*''|[^ \t\n"''=`]+)';
  v_attribute text[];
  v_name text;
  v_offence text;
begin
  if p_tag ~* ('^/?' || v_names || '[ \t\n]*/?$') or p_tag ~ '^!--([^-]|-[^-])*--$' then
    return null;
  end if;
  if p_tag !~* ('^' || v_names || '([ \t\n]+[a-z][a-z0-9_:-]*([ \t\n]*=[ \t\n]*' || v_value || ')?)*[ \t\n]*/?$') then
    return format('<%s>', left(p_tag, 40));
  end if;
  v_name := lower(substring(p_tag from '^[a-zA-Z0-9:]+'));
  for v_attribute in
    select regexp_matches(p_tag, '[ \t\n]([a-z][a-z0-9_:-]*)(?:[ \t\n]*=[ \t\n]*' || v_value || ')?', 'gi')
  loop
    v_offence := private.attribute_offence(v_name, lower(v_attribute[1]),
      regexp_replace(coalesce(v_attribute[2], ''), '^["''](.*)["'']$', '\1'));
    if v_offence is not null then
      return format('%s in <%s>', v_offence, v_name);
    end if;
  end loop;
  return null;
end $_$;

CREATE FUNCTION private.take_message(p_id uuid, p_waits boolean) RETURNS jsonb[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_message public.inbox_messages;
  v_known private.inbox_states;
  v_current private.inbox_states;
  v_waits boolean;
  v_news record;
  v_taken record;
  v_new_word private.inbox_states;
  v_fault text;
begin
  select * into v_message from public.inbox_messages m where m.id = p_id;
  select * into v_known from private.inbox_states s
  where s.tenant_id = v_message.tenant_id and s.source = v_message.source and s.entity = v_message.entity
    and s.entity_id = v_message.entity_id;
  v_current := case when p_waits then v_known else private.word_after_outcomes(v_known) end;
  v_news := private.still_news(v_message, v_current);
  if not v_news.is_news then
    update public.inbox_messages m set status = 'stale' where m.id = p_id;
    return '{}';
  end if;
  v_message.body := v_news.body;
  v_waits := p_waits or coalesce(v_current.waiting_changes <> '{}', false);
  if v_message.entity = 'stock_level' and not exists (
    select from public.stock_levels l where l.tenant_id = v_message.tenant_id and l.id = v_message.entity_id
  ) then
    perform private.refuse_message(p_id, 'stock.not_found', format('There is no stock level %s in this tenant.', v_message.entity_id));
    return '{}';
  elsif not v_waits and private.is_gone(v_message, v_current) then
    perform private.refuse_message(p_id, 'product.not_found', format('The product %s was deleted here for good.', v_message.entity_id));
    return '{}';
  end if;
  v_taken := private.changes_of_message(v_message, v_current, v_waits);
  v_new_word := v_taken.new_word;
  -- stamps of one sender grow, and none is of the future
  v_new_word.millis := greatest(floor(extract(epoch from least(v_message.occurred_at, v_message.received_at)) * 1000), v_known.millis + 1, 0);
  v_taken.changes := array(
    select c.change || jsonb_build_object('id', gen_random_uuid(), 'stamp', lpad(v_new_word.millis::text, 13, '0') || '-0000-inbox.' || v_message.source)
    from unnest(v_taken.changes) with ordinality c (change, n) order by c.n
  );
  select private.change_fault(c) into v_fault from unnest(v_taken.changes) c where private.change_fault(c) is not null limit 1;
  if v_fault is not null then
    perform private.refuse_message(p_id, 'sync.change_invalid', v_fault);
    return '{}';
  end if;
  update public.inbox_messages m
  set status = case when v_taken.changes = '{}' then 'duplicate' else 'queued' end,
      change_id = (v_taken.changes[1] ->> 'id')::uuid, first_change_id = (v_taken.changes[2] ->> 'id')::uuid
  where m.id = p_id;
  insert into private.inbox_states as s (tenant_id, source, entity, entity_id, sender_version, field_versions, deleted_version,
    state, settled_state, waiting_changes, millis)
  values (v_message.tenant_id, v_message.source, v_message.entity, v_message.entity_id, v_message.sender_version,
    case when v_message.body is null then '{}' else (
      select coalesce(v_known.field_versions, '{}') || coalesce(jsonb_object_agg(k, v_message.sender_version), '{}') from jsonb_object_keys(v_message.body) k
    ) end,
    case when v_message.body is null then v_message.sender_version else coalesce(v_known.deleted_version, -1) end,
    v_new_word.state, v_new_word.settled_state, coalesce(v_new_word.waiting_changes, '{}'), v_new_word.millis)
  on conflict (tenant_id, source, entity, entity_id) do update
  set sender_version = greatest(s.sender_version, excluded.sender_version), field_versions = excluded.field_versions,
      deleted_version = excluded.deleted_version, state = excluded.state, settled_state = excluded.settled_state, waiting_changes = excluded.waiting_changes,
      millis = excluded.millis, looked_on = private.today();
  return v_taken.changes;
end $$;

CREATE FUNCTION private.take_order_back(p_order public.orders, p_payload jsonb) RETURNS public.orders
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_asked constant jsonb := private.asked_order_lines(p_order, p_payload, true);
  v_stock jsonb;
begin
  select jsonb_agg(jsonb_build_object('product_id', a.product_id, 'quantity', a.quantity, 'location_id',
    coalesce(a.location_id, (
      select r.location_id from public.reservations r
      where r.order_id = p_order.id and r.product_id = a.product_id and r.shipped > 0
      group by r.location_id order by sum(r.shipped) desc, r.location_id limit 1
    ))))
  into v_stock
  from jsonb_to_recordset(v_asked) as a (product_id uuid, quantity bigint, location_id uuid, restock boolean)
  where a.restock;
  if v_stock is not null then
    perform private.return_for(p_order.tenant_id, v_stock, 'order ' || p_order.number);
  end if;
  update public.order_lines l set returned = l.returned + a.quantity
  from (
    select e.line_id, sum(e.quantity)::bigint as quantity
    from jsonb_to_recordset(v_asked) as e (line_id uuid, quantity bigint) group by e.line_id
  ) a
  where l.id = a.line_id;
  return private.sum_order_lines(p_order);
end $$;

CREATE FUNCTION private.take_order_payment(p_order public.orders, p_payload jsonb) RETURNS public.orders
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if p_payload ? 'amount' and (p_payload -> 'amount') is distinct from to_jsonb(p_order.total) then
    perform private.fail('PT422', 'order.amount_invalid', format('payload.amount must be the total, %s %s.',
      round(p_order.total, private.minor_units(p_order.currency)), p_order.currency));
  end if;
  p_order.paid_total := p_order.total;
  p_order.paid_at := private.now();
  p_order.review_reason := private.secure_order_stock(p_order);
  return p_order;
end $$;

CREATE FUNCTION private.take_variants_along() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  update public.products v set status = new.status
  where v.tenant_id = new.tenant_id and v.parent_id = new.id and v.status = 'active';
  return null;
end $$;

CREATE FUNCTION private.takes_event(p_events text[], p_type text, p_entity text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$ select '*' = any (p_events) or p_type = any (p_events) or p_entity || '.*' = any (p_events) $$;

CREATE FUNCTION private.tenants_with(p_permission text) RETURNS uuid[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
begin
  return (
    select coalesce(array_agg(m.tenant_id), '{}')
    from public.memberships m
    join private.role_permissions rp on rp.role = m.role and rp.permission = p_permission
    where m.principal_id = auth.uid()
      and (m.scopes is null or p_permission = any (m.scopes)) and (m.expires_at is null or m.expires_at > private.now())
  );
end $$;

CREATE FUNCTION private.text_failures(p public.products) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_found jsonb := '[]';
  v_offences text[];
begin
  if p.sku is null or p.sku = '' or length(p.sku) > 100 then
    v_found := v_found || private.failure('product.sku_length', 'sku', 'An SKU has 1 to 100 characters.');
  elsif p.sku ~ '[\x01-\x1f\x7f-\x9f]' or p.sku <> btrim(p.sku) or p.sku is not nfc normalized then
    v_found := v_found || private.failure('product.sku_clean', 'sku',
      'An SKU has no control characters, no spaces around it, and its characters are in composed form (NFC).');
  end if;
  if p.name is null or p.name = '' or length(p.name) > 500 then
    v_found := v_found || private.failure('product.name_length', 'name', 'A name has 1 to 500 characters.');
  elsif not private.is_clean(p.name) then
    v_found := v_found || private.failure('product.name_clean', 'name', 'A name has no control characters.');
  elsif p.name ~ '[<&%\\\uff1c\ufe64]' and (p.name ~* '<[a-z/!?]' or private.html_offences(p.name) <> '{}') then
    v_found := v_found || private.failure('product.name_html', 'name', 'A name is plain text, without HTML.');
  end if;
  if p.description is null then
    v_found := v_found || private.failure('product.description_missing', 'description', 'Leave it out or send empty text.');
  elsif octet_length(p.description) > 65536 then
    v_found := v_found || private.failure('product.description_length', 'description', 'A description has at most 64 KiB.');
  elsif not private.is_clean(p.description) then
    v_found := v_found || private.failure('product.description_clean', 'description',
      'A description has no control characters but tabs and line breaks.');
  else
    v_offences := private.html_offences(p.description);
    if v_offences <> '{}' then
      v_found := v_found || private.failure('product.description_html', 'description',
        'This HTML could run a script or is not allowed: ' || array_to_string(v_offences, '; '));
    end if;
  end if;
  return v_found;
end $$;

CREATE FUNCTION private.transfer_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_known jsonb;
  v_moves jsonb;
begin
  perform private.require(p_tenant_id, 'inventory.write');
  perform private.require_plain(p_lines);
  perform private.check_lines(p_lines, 'quantity', 1);
  if exists (
    select from jsonb_to_recordset(p_lines) as l (from_location_id uuid, to_location_id uuid)
    where l.from_location_id = l.to_location_id
  ) then
    perform private.fail('PT400', 'stock.lines_invalid', 'A transfer goes to another location.');
  end if;
  v_known := private.begin_command(p_tenant_id, 'transfer_stock', p_key,
    jsonb_build_object('lines', p_lines, 'reason', p_reason));
  if v_known is not null then
    return v_known;
  end if;
  select jsonb_agg(jsonb_build_object('product_id', l.product_id, 'location_id', e.location_id, 'quantity', e.quantity))
  into v_moves
  from jsonb_to_recordset(p_lines)
    as l (product_id uuid, from_location_id uuid, to_location_id uuid, quantity bigint)
  cross join lateral (
    values (l.from_location_id, -l.quantity), (l.to_location_id, l.quantity)
  ) as e (location_id, quantity);
  return private.end_command(p_tenant_id, 'transfer_stock', p_key,
    jsonb_build_object('levels', private.move_stock(p_tenant_id, 'transfer', v_moves, p_reason)));
end $$;

CREATE FUNCTION private.turn_of(p_webhook public.inbound_webhooks) RETURNS private.webhook_turn
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $_$
  select row(
    -- the sender's, of products and stock; an order's version is ours
    case when p_webhook.kind <> 'order' and p_webhook.data ->> 'version' ~ '^[0-9]{1,18}$' then (p_webhook.data ->> 'version')::bigint else 0 end,
    p_webhook.occurred_at,
    p_webhook.put_off_at is not null and p_webhook.order_id is not null,
    p_webhook.received_at,
    p_webhook.id
  )::private.webhook_turn
$_$;

CREATE FUNCTION private.type_failures(p_product jsonb) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select coalesce(jsonb_agg(case
      when a.attname is null then private.failure('product.field_unknown', g.key, 'A product has no such field.')
      else private.failure(format('product.%s_type', g.key), g.key, format('This is no %s.', format_type(a.atttypid, null)))
    end order by g.key), '[]')
  from jsonb_each(p_product) g
  left join pg_catalog.pg_attribute a
    on a.attrelid = 'public.products'::regclass and a.attname = g.key and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
  where a.attname is null
    or a.atttypid <> 'jsonb'::regtype and jsonb_typeof(g.value) <> 'null'
      and not pg_input_is_valid(g.value #>> '{}', format_type(a.atttypid, a.atttypmod))
$$;

CREATE FUNCTION private.type_schema(p_type regtype) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select case
    when p_type = 'uuid'::regtype then '{"type": "string", "format": "uuid"}'
    when p_type = 'timestamptz'::regtype then '{"type": "string", "format": "date-time"}'
    when p_type = 'date'::regtype then '{"type": "string", "format": "date"}'
    when p_type = any ('{int2,int4,int8}'::regtype[]) then '{"type": "integer"}'
    when p_type = any ('{numeric,float4,float8}'::regtype[]) then '{"type": "number"}'
    when p_type = 'boolean'::regtype then '{"type": "boolean"}'
    when p_type = any ('{json,jsonb}'::regtype[]) then '{}'
    when t.typcategory = 'A' then jsonb_build_object('type', 'array', 'items', private.type_schema(t.typelem))
    when t.typtype = 'c' then '{"type": "object"}'
    else '{"type": "string"}' end
  from pg_catalog.pg_type t where t.oid = p_type
$$;

CREATE FUNCTION private.upsert_products(p_tenant_id uuid, p_rows jsonb, p_all_or_nothing boolean, p_key text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_known jsonb;
  v_answers jsonb;
  v_items jsonb;
  v_ids uuid[];
  v_skus text[];
  v_refused jsonb;
begin
  perform private.require(p_tenant_id, 'products.write');
  if jsonb_typeof(p_rows) is distinct from 'array' or jsonb_array_length(p_rows) not between 1 and 5000 then
    perform private.fail('PT400', 'product.rows_invalid', 'p_rows must be an array of 1 to 5,000 rows.');
  end if;
  perform private.require_plain(p_rows);
  v_known := private.begin_command(p_tenant_id, 'upsert_products', p_key,
    jsonb_build_object('rows', p_rows, 'all_or_nothing', p_all_or_nothing));
  if v_known is not null then
    return v_known;
  end if;

  with item as materialized (
    select jsonb_build_object('line', r.n, 'row', r.row) as item, r.row, r.n, coalesce(private.row_fault(r.row), case
      when count(*) over (partition by r.row ->> 'sku') > 1 and r.row ->> 'sku' is not null
        then jsonb_build_object('code', 'product.sku_repeated', 'detail', 'More than one row of this call has this SKU.')
      when count(*) over (partition by r.row ->> 'id') > 1 and r.row ->> 'id' is not null
        then jsonb_build_object('code', 'product.id_repeated', 'detail', 'More than one row of this call has this id.')
    end) as fault
    from jsonb_array_elements(p_rows) with ordinality r (row, n)
  )
  select coalesce(jsonb_agg(private.refused_row(i.item, i.fault)) filter (where i.fault is not null), '[]'),
    -- Sorted, so that twins that add the same SKUs wait for each other in one order.
    coalesce(jsonb_agg(i.item order by i.row ->> 'sku', i.n) filter (where i.fault is null), '[]')
  into v_answers, v_items
  from item i;

  v_ids := array(select (e -> 'row' ->> 'id')::uuid from jsonb_array_elements(v_items) e);
  v_skus := array(select e -> 'row' ->> 'sku' from jsonb_array_elements(v_items) e);
  perform 1 from public.products p
  where p.tenant_id = p_tenant_id and p.deleted_at is null and (p.sku = any (v_skus) or p.id = any (v_ids))
  order by p.id
  for no key update;

  v_answers := v_answers
    || private.write_slice(p_tenant_id, private.items_of_depth(v_items, p_variants => false))
    || private.write_slice(p_tenant_id, private.items_of_depth(v_items, p_variants => true));

  select jsonb_agg(a order by (a ->> 'line')::integer) into v_refused
  from jsonb_array_elements(v_answers) a where a ->> 'result' = 'refused';
  if p_all_or_nothing and v_refused is not null then
    perform private.fail('PT422', 'product.rows_refused', v_refused::text, 'Nothing was written. Mend the rows that are listed, then send all of them again.');
  end if;
  return private.end_command(p_tenant_id, 'upsert_products', p_key, (
    select jsonb_build_object(
      'created', count(*) filter (where a ->> 'result' = 'created'),
      'updated', count(*) filter (where a ->> 'result' = 'updated'),
      'unchanged', count(*) filter (where a ->> 'result' = 'unchanged'),
      'refused', count(*) filter (where a ->> 'result' = 'refused'),
      'rows', jsonb_agg(a order by (a ->> 'line')::integer))
    from jsonb_array_elements(v_answers) a
  ));
end $$;

CREATE FUNCTION private.url_problem(p_url text, p_private boolean DEFAULT false) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $_$
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
end $_$;

CREATE FUNCTION private.uuid_or_null(p_text text) RETURNS uuid
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
  if pg_input_is_valid(p_text, 'uuid') then
    return p_text::uuid;
  end if;
  return null;
end $$;

CREATE FUNCTION private.validate_product(p_tenant_id uuid, p_product jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $_$
declare
  v_types jsonb;
  v_product public.products;
  v_stored_version bigint;
  v_was text;
  v_failures jsonb;
begin
  perform private.require(p_tenant_id, 'products.read');
  perform private.require_plain(p_product);
  if jsonb_typeof(p_product) is distinct from 'object' or octet_length(p_product::text) > 262144 then
    perform private.fail('PT400', 'product.not_object', 'p_product must be a JSON object of at most 256 KiB.');
  end if;
  v_types := private.type_failures(p_product);
  p_product := p_product - array(select f ->> 'field' from jsonb_array_elements(v_types) f) - 'tenant_id';
  select p.* into v_product from public.products p where p.tenant_id = p_tenant_id and p.id = (p_product ->> 'id')::uuid;
  v_stored_version := v_product.version;
  v_was := v_product.status;
  if v_stored_version is null then
    -- The table's defaults.
    v_product := jsonb_populate_record(null::public.products, jsonb_build_object('id', gen_random_uuid(), 'tenant_id', p_tenant_id,
      'description', '', 'status', 'draft', 'price', 0, 'currency', 'USD', 'attributes', '{}'::jsonb, 'version', 1));
  end if;
  v_product := private.sanitised_product(jsonb_populate_record(v_product, p_product));
  v_failures := v_types
    || case when v_product.status = 'active' then private.publishing_failures(v_product, v_was) else '[]' end
    || private.product_failures(v_product) || private.reference_failures(v_product, v_stored_version);
  return jsonb_build_object('failures', v_failures,
    'valid', not jsonb_path_exists(v_failures, '$[*] ? (@.severity == "error")'));
end $_$;

CREATE FUNCTION private.variants_holding(p_tenant_id uuid, p_product_ids uuid[]) RETURNS SETOF jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select jsonb_build_object('holder', 'variant', 'product_id', v.parent_id, 'variant_id', v.id, 'sku', v.sku)
  from public.products v
  where v.tenant_id = p_tenant_id and v.parent_id = any (p_product_ids) and v.id <> all (p_product_ids)
    and v.deleted_at is null
  order by v.sku
  limit 100
$$;

CREATE FUNCTION private.waits_for_others(p_webhook public.inbound_webhooks, p_thing uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_names constant text[] := private.names_of_thing(p_webhook, p_thing);
begin
  return exists (
    select from public.inbound_webhooks o
    where o.tenant_id = p_webhook.tenant_id and o.kind = p_webhook.kind and o.about = any (v_names)
      and o.status = 'queued' and o.inbox_message_id is null
      and (o.principal_id = p_webhook.principal_id or o.kind = 'order' and not (private.turn_of(o)).too_early)
      and private.turn_of(o) < private.turn_of(p_webhook)
  );
end $$;

CREATE FUNCTION private.webhook_about(p_kind text, p_data jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
declare
  v_product constant text := coalesce('product ' || private.uuid_or_null(p_data ->> case p_kind when 'product' then 'id' else 'product_id' end),
    'sku ' || (p_data ->> 'sku'));
begin
  return left(case p_kind
    when 'product' then v_product
    when 'inventory' then coalesce('level ' || private.uuid_or_null(p_data ->> 'level_id'), v_product || ' at '
      || coalesce('location ' || private.uuid_or_null(p_data ->> 'location_id'), 'code ' || (p_data ->> 'location')))
    else coalesce('order ' || private.uuid_or_null(p_data ->> 'order_id'), 'number ' || (p_data ->> 'number')) end, 200);
end $$;

CREATE FUNCTION private.webhook_fault(p_event jsonb) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $_$
begin
  return case
    when jsonb_typeof(p_event) is distinct from 'object' then 'the event must be an object'
    when jsonb_typeof(p_event -> 'id') is distinct from 'string' or length(p_event ->> 'id') not between 1 and 200
      or not private.is_clean(p_event ->> 'id') then 'id must be a text of 1 to 200 characters'
    when jsonb_typeof(p_event -> 'type') is distinct from 'string' or p_event ->> 'type' !~ '^[A-Za-z0-9_.:/-]{1,100}$'
      then 'type must be a text of 1 to 100 letters, digits or "_.:/-"'
    when jsonb_typeof(p_event -> 'timestamp') is distinct from 'string' or p_event ->> 'timestamp' !~ '^[0-9]{4}-'
      or not pg_input_is_valid(p_event ->> 'timestamp', 'timestamptz') then 'timestamp must be a time, as 2026-11-23T07:19:23Z'
    -- all that came after it would be old
    when (p_event ->> 'timestamp')::timestamptz > private.now() + interval '5 minutes' then 'timestamp lies more than 5 minutes ahead'
    when jsonb_typeof(p_event -> 'data') is distinct from 'object' then 'data must be an object'
    when not private.is_plain(p_event -> 'data') then 'data nests too deep, or has numbers of more than 40 digits'
    when octet_length(p_event ->> 'data') > 131072 then 'data is too large (128 KiB)'
  end;
end $_$;

CREATE FUNCTION private.webhook_keys(p_tenant_id uuid, p_endpoint_id uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION private.webhook_level(p_tenant_id uuid, p_data jsonb) RETURNS uuid
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
begin
  if private.uuid_or_null(p_data ->> 'level_id') is not null then
    return (select l.id from public.stock_levels l where l.tenant_id = p_tenant_id and l.id = private.uuid_or_null(p_data ->> 'level_id'));
  end if;
  return (
    select l.id from public.stock_levels l join public.locations s on s.id = l.location_id
    where l.tenant_id = p_tenant_id and s.tenant_id = p_tenant_id
      and l.product_id = private.webhook_product(p_tenant_id, p_data ->> 'product_id', p_data ->> 'sku')
      and case when private.uuid_or_null(p_data ->> 'location_id') is not null then s.id = private.uuid_or_null(p_data ->> 'location_id')
        else s.code = p_data ->> 'location' end
  );
end $$;

CREATE FUNCTION private.webhook_message(p_webhook public.inbound_webhooks, p_entity_id uuid, p_number jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    AS $$
declare
  v_data constant jsonb := p_webhook.data;
  v_is_product constant boolean := p_webhook.kind = 'product';
begin
  return jsonb_build_object('message_id', p_webhook.event_id,
    'entity', case when v_is_product then 'product' else 'stock_level' end,
    'entity_id', p_entity_id,
    'sender_version', p_number,
    'occurred_at', p_webhook.occurred_at,
    'body', case when p_webhook.type <> 'product.deleted' then v_data - case when v_is_product
      -- what rows of ours have and no sender changes
      then '{id,version,tenant_id,created_at,updated_at,deleted_at}'::text[]
      else '{level_id,product_id,sku,location_id,location,version}'::text[] end end);
end $$;

CREATE FUNCTION private.webhook_product(p_tenant_id uuid, p_id text, p_sku text) RETURNS uuid
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
begin
  return coalesce(private.uuid_or_null(p_id), (select p.id from public.products p where p.tenant_id = p_tenant_id and p.sku = p_sku and p.deleted_at is null));
end $$;

CREATE FUNCTION private.webhook_serial(p_webhook public.inbound_webhooks) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$ select 'inbound:' || p_webhook.tenant_id || ' ' || p_webhook.about $$;

CREATE FUNCTION private.webhook_source(p_principal_id uuid) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$ select 'key_' || replace(p_principal_id::text, '-', '') $$;

CREATE FUNCTION private.webhook_thing(p_webhook public.inbound_webhooks) RETURNS uuid
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_data constant jsonb := p_webhook.data;
begin
  return case p_webhook.kind
    when 'product' then private.webhook_product(p_webhook.tenant_id, v_data ->> 'id', v_data ->> 'sku')
    when 'inventory' then private.webhook_level(p_webhook.tenant_id, v_data)
    else (
      select o.id from public.orders o
      where o.tenant_id = p_webhook.tenant_id and case
        when p_webhook.order_id is not null then o.id = p_webhook.order_id
        when private.uuid_or_null(v_data ->> 'order_id') is not null then o.id = private.uuid_or_null(v_data ->> 'order_id')
        else o.number = v_data ->> 'number' end
    ) end;
end $$;

CREATE FUNCTION private.why_snapshot(p_epoch text, p_seq bigint, p_known_epoch text, p_head bigint, p_first bigint) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select case
    when p_seq is null then 'start'
    when p_epoch <> p_known_epoch then 'epoch'
    when p_seq > p_head then 'ahead'
    when p_seq < p_head and p_seq + 1 < coalesce(p_first, p_head + 1) then 'retention'
  end
$$;

CREATE FUNCTION private.wide_tenant() RETURNS integer
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$ select 1000 $$;

CREATE FUNCTION private.without_customer(p_row jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select case when p_row ? 'customer' then p_row || '{"customer": {"redacted": true}}' else p_row end
$$;

CREATE FUNCTION private.word_after_outcomes(p_known private.inbox_states) RETURNS private.inbox_states
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_change record;
  v_done integer := 0;
begin
  for v_change in
    select c.status, c.operation, c.edit
    from unnest(p_known.waiting_changes) with ordinality p (id, n) left join public.sync_changes c on c.id = p.id order by p.n
  loop
    exit when v_change.status = 'pending';
    v_done := v_done + 1;
    if v_change.status = 'rejected' then
      p_known.state := private.word_without_change(p_known.state, p_known.settled_state, v_change.operation, v_change.edit);
    elsif v_change.status is not null then
      p_known.settled_state := private.word_with_change(p_known.settled_state, v_change.operation, v_change.edit);
    end if;
  end loop;
  p_known.waiting_changes := p_known.waiting_changes[v_done + 1:];
  if p_known.waiting_changes = '{}' then
    p_known.settled_state := p_known.state;
  end if;
  return p_known;
end $$;

CREATE FUNCTION private.word_key(p_tenant_id uuid) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$ select right(replace(p_tenant_id::text, '-', ''), 12) $$;

CREATE FUNCTION private.word_with_change(p_state jsonb, p_operation text, p_edit jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
  return (
    select case when p_operation <> 'delete' then
      private.laid_over(coalesce(p_state, '{}'), (
        select coalesce(jsonb_object_agg(e.key, e.value -> 'set'), '{}') from jsonb_each(p_edit) e where e.value ? 'set'
      )) end
  );
end $$;

CREATE FUNCTION private.word_without_change(p_state jsonb, p_settled_state jsonb, p_operation text, p_edit jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
  return (
    with back as (
      select e.key, case when e.key like 'attributes.%' then p_settled_state -> 'attributes' -> substr(e.key, 12) else p_settled_state -> e.key end as value,
        coalesce(p_settled_state ? split_part(e.key, '.', 1), false) as named
      from jsonb_each(p_edit) e
      where e.value ? 'set' and e.value -> 'set' = coalesce(
        case when e.key like 'attributes.%' then p_state -> 'attributes' -> substr(e.key, 12) else p_state -> e.key end, 'null')
    )
    select case
      when p_operation = 'delete' then coalesce(p_state, p_settled_state)
      when p_operation = 'insert' then '{}'
      when p_state is not null then
        private.laid_over(p_state, (select coalesce(jsonb_object_agg(b.key, coalesce(b.value, 'null')), '{}') from back b))
          - array(select split_part(b.key, '.', 1) from back b where not b.named)
          || case when p_state ->> 'on_hand' is not null and p_edit ? 'on_hand'
            then jsonb_build_object('on_hand', (p_state ->> 'on_hand')::bigint - (p_edit #>> '{on_hand,delta}')::bigint) else '{}' end
    end
  );
end $$;

CREATE FUNCTION private.words_of(p_text text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO ''
    AS $$
begin
  return array(
    select distinct left(w, 64)
    from string_to_table(regexp_replace(lower(p_text), '[^[:alnum:]]+', ' ', 'g'), ' ') w
    where w <> ''
  );
end;
$$;

CREATE FUNCTION private.work_webhook(p_webhook public.inbound_webhooks) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_thing constant uuid := private.webhook_thing(p_webhook);
begin
  if v_thing is null then
    return private.not_found(p_webhook);
  end if;
  if p_webhook.kind = 'order' and p_webhook.order_id is null then
    -- that it was not there is no reason to let others pass, now that it is
    update public.inbound_webhooks w set order_id = v_thing, put_off_at = null where w.id = p_webhook.id returning w.* into p_webhook;
  end if;
  if private.waits_for_others(p_webhook, v_thing) then
    return private.still_queued(coalesce(p_webhook.put_off_at, p_webhook.received_at));
  elsif p_webhook.kind = 'order' then
    return private.let_happen(p_webhook);
  end if;
  perform private.pass_to_inbox(p_webhook, v_thing);
  return (select jsonb_build_object('status', case w.status when 'queued' then 'done' else w.status end)
    from public.inbound_webhooks w where w.id = p_webhook.id);
end $$;

CREATE FUNCTION private.write_fields(p_tenant_id uuid, p_entity text, p_entity_id uuid, p_version bigint, p_fields jsonb) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_product public.products;
  v_level public.stock_levels;
  v_version bigint;
begin
  perform private.check_sync_fields(p_entity, p_fields);
  if p_entity = 'product' then
    perform private.require(p_tenant_id, 'products.write');
    select * into v_product from public.products p where p.tenant_id = p_tenant_id and p.id = p_entity_id;
    if v_product.id is null then
      perform private.fail('PT404', 'product.not_found', format('There is no product %s in this tenant.', p_entity_id));
    end if;
    v_version := v_product.version;
    if v_version <> p_version then
      return null;
    end if;
    select * into v_product from jsonb_populate_record(v_product, private.laid_over(to_jsonb(v_product), p_fields));
    update public.products p
    set sku = v_product.sku, name = v_product.name, description = v_product.description, status = v_product.status,
        price = v_product.price, currency = v_product.currency, attributes = v_product.attributes,
        category_id = v_product.category_id, parent_id = v_product.parent_id, publish_at = v_product.publish_at
    where p.id = p_entity_id and p.version = v_version
    returning p.version into v_version;
  else
    perform private.require(p_tenant_id, 'inventory.write');
    select * into v_level from public.stock_levels s where s.tenant_id = p_tenant_id and s.id = p_entity_id;
    if v_level.id is null then
      perform private.fail('PT404', 'stock.not_found', format('There is no stock level %s in this tenant.', p_entity_id));
    end if;
    v_version := v_level.version;
    if v_version <> p_version then
      return null;
    end if;
    select * into v_level from jsonb_populate_record(v_level, p_fields);
    update public.stock_levels s
    set safety = v_level.safety, reorder_point = v_level.reorder_point, backorder_limit = v_level.backorder_limit
    where s.id = p_entity_id and s.version = v_version
    returning s.version into v_version;
  end if;
  return case when found then v_version end;
end $$;

CREATE FUNCTION private.write_products(p_tenant_id uuid, p_items jsonb, p_judged boolean) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_nestloop TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_hashjoin TO 'on'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    AS $$
declare
  v_defaults constant jsonb := (
    select jsonb_build_object('description', '', 'status', 'draft', 'price', 0, 'currency', t.currency, 'attributes', '{}'::jsonb)
    from public.tenants t where t.id = p_tenant_id
  );
  v_ids constant uuid[] := array(select (e -> 'row' ->> 'id')::uuid from jsonb_array_elements(p_items) e);
  v_skus constant text[] := array(select e -> 'row' ->> 'sku' from jsonb_array_elements(p_items) e);
  v_parents constant text[] := array(select e -> 'row' ->> 'parent_sku' from jsonb_array_elements(p_items) e);
  v_parent_ids constant uuid[] := array(select (e -> 'row' ->> 'parent_id')::uuid from jsonb_array_elements(p_items) e);
  v_categories constant uuid[] := array(select (e -> 'row' ->> 'category_id')::uuid from jsonb_array_elements(p_items) e);
  v_answer jsonb;
begin
  with item as materialized (
    select i.line, i.row, i.row - '{id,tenant_id,parent_sku,version,deleted_at,created_at,updated_at,publish_failures}'::text[]
        as fields, (i.row ->> 'version')::bigint as version, (i.row ->> 'id')::uuid as id, i.row ->> 'sku' as sku
    from jsonb_to_recordset(p_items) as i (line integer, row jsonb)
  ), by_id as materialized (
    select p from public.products p where p.tenant_id = p_tenant_id and p.id = any (v_ids) and p.deleted_at is null
  ), by_sku as materialized (
    select p from public.products p where p.tenant_id = p_tenant_id and p.sku = any (v_skus) and p.deleted_at is null
  ), parent as materialized (
    select p.id, p.sku from public.products p
    where p.tenant_id = p_tenant_id and p.sku = any (v_parents) and p.deleted_at is null
  ), parent_by_id as materialized (
    select p.id from public.products p where p.tenant_id = p_tenant_id and p.id = any (v_parent_ids)
  ), category as materialized (
    select c.id from public.categories c where c.tenant_id = p_tenant_id and c.id = any (v_categories)
  ), met as materialized (
    select i.*, coalesce(d.p, s.p) as stored, a.id as parent_id,
      i.row ->> 'parent_id' is not null and b.id is null as parent_missing,
      i.row ->> 'category_id' is not null and c.id is null as category_missing
    from item i
    left join by_id d on (d.p).id = i.id
    left join by_sku s on (s.p).sku = i.sku and i.id is null
    left join parent a on a.sku = i.row ->> 'parent_sku'
    left join parent_by_id b on b.id = (i.row ->> 'parent_id')::uuid
    left join category c on c.id = (i.row ->> 'category_id')::uuid
  ), filled as materialized (
    select m.line, m.stored,
      case
        when (m.stored).id is null and (m.id is not null or m.version is not null) then jsonb_build_object(
          'code', 'product.not_found', 'detail', 'There is no such product among the living.')
        when m.row ->> 'parent_sku' is not null and m.parent_id is null then jsonb_build_object(
          'code', 'product.parent_missing', 'detail', format('There is no product %s.', m.row ->> 'parent_sku'))
        when m.parent_missing then jsonb_build_object(
          'code', 'product.parent_missing', 'detail', format('There is no product %s.', m.row ->> 'parent_id'))
        when m.category_missing then jsonb_build_object(
          'code', 'product.category_missing', 'detail', format('There is no category %s.', m.row ->> 'category_id'))
        when m.version <> (m.stored).version then jsonb_build_object(
          'code', 'version.stale', 'detail', format('You sent version %s; the stored version is %s.', m.version, (m.stored).version))
      end as error,
      jsonb_populate_record(m.stored, case when (m.stored).id is null then v_defaults else '{}' end || m.fields
        || case when m.row ? 'parent_sku' then jsonb_build_object('parent_id', m.parent_id) else '{}' end) as n
    from met m
  ), merged as materialized (
    select f.line, (f.stored).id as id, (f.stored).version as version, f.n,
      case when f.error is not null or not p_judged then f.error else private.refusal_of_product(p_tenant_id, f.stored, f.n) end
        as error
    from filled f
  ), inserted as (
    insert into public.products
      (tenant_id, parent_id, category_id, sku, name, description, status, price, currency, attributes, publish_at)
    select p_tenant_id, (m.n).parent_id, (m.n).category_id, (m.n).sku, (m.n).name, (m.n).description, (m.n).status,
      (m.n).price, (m.n).currency, (m.n).attributes, (m.n).publish_at
    from merged m
    where m.id is null and m.error is null
    order by (m.n).sku
    returning id, sku, version
  ), updated as (
    update public.products p
    set parent_id = (m.n).parent_id, category_id = (m.n).category_id, sku = (m.n).sku, name = (m.n).name,
        description = (m.n).description, status = (m.n).status, price = (m.n).price, currency = (m.n).currency,
        attributes = (m.n).attributes, publish_at = (m.n).publish_at
    from merged m
    where p.id = m.id and m.error is null and p.id = any (array(select g.id from merged g))
      and ((m.n).parent_id, (m.n).category_id, (m.n).sku, (m.n).name, (m.n).description, (m.n).status, (m.n).price,
        (m.n).currency, (m.n).attributes, (m.n).publish_at)
      is distinct from (p.parent_id, p.category_id, p.sku, p.name, p.description, p.status, p.price,
        p.currency, p.attributes, p.publish_at)
    returning p.id, p.version
  )
  select jsonb_agg(jsonb_build_object('line', m.line, 'sku', (m.n).sku,
    'result', case when m.error is not null then 'refused' when i.id is not null then 'created'
                   when u.version <> m.version then 'updated' else 'unchanged' end,
    'product_id', case when m.error is null then coalesce(m.id, i.id) end,
    'version', case when m.error is null then coalesce(u.version, i.version, m.version) end,
    'error', m.error))
  into v_answer
  from merged m
  left join inserted i on i.sku = (m.n).sku
  left join updated u on u.id = m.id;
  return coalesce(v_answer, '[]');
end $$;

CREATE FUNCTION private.write_slice(p_tenant_id uuid, p_items jsonb, p_judged boolean DEFAULT false) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_size constant integer := jsonb_array_length(p_items);
  v_step constant integer := greatest(1, ceil(v_size / 8.0));
  v_answer jsonb := '[]';
  v_state text;
  v_message text;
  v_detail text;
  v_constraint text;
begin
  if v_size = 0 then
    return '[]';
  end if;
  begin
    return private.write_products(p_tenant_id, p_items, p_judged);
  exception
    -- Faults of the moment are the caller's to repeat, not the rows'.
    when serialization_failure or deadlock_detected or query_canceled or insufficient_resources
      or operator_intervention then
      raise;
    when others then
      get stacked diagnostics v_state = returned_sqlstate, v_message = message_text, v_detail = pg_exception_detail,
        v_constraint = constraint_name;
  end;
  if not p_judged then
    return private.write_slice(p_tenant_id, p_items, p_judged => true);
  elsif v_size = 1 then
    return jsonb_build_array(private.refused_row(p_items -> 0, private.refusal(v_state, v_message, v_detail, v_constraint)));
  end if;
  for v_first in 0 .. v_size - 1 by v_step loop
    v_answer := v_answer || private.write_slice(p_tenant_id, (
      select jsonb_agg(e.item order by e.n) from jsonb_array_elements(p_items) with ordinality e (item, n)
      where e.n between v_first + 1 and v_first + v_step
    ), p_judged);
  end loop;
  return v_answer;
end $$;

CREATE FUNCTION public.accept_invitation(p_token text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.accept_invitation(p_token) $$;

CREATE FUNCTION public.adjust_stock(p_tenant_id uuid, p_lines jsonb, p_key text DEFAULT NULL::text, p_reason text DEFAULT NULL::text, p_allow_shortfall boolean DEFAULT false) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.stock_command(p_tenant_id, 'adjust', p_lines, p_key, p_reason, p_allow_shortfall) $$;

CREATE FUNCTION public.apply_changes(p_attempt_id uuid, p_writes jsonb) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_tenant_id constant uuid := private.hold_sync_attempt(p_attempt_id);
  v_write jsonb;
  v_done record;
  v_state text;
  v_code text;
  v_detail text;
  v_outcome text;
  v_outcomes jsonb := '[]';
begin
  perform private.require_plain(p_writes);
  for v_write in select w from jsonb_array_elements(p_writes) w loop
    v_outcome := 'written';
    if not private.begin_change(p_attempt_id, v_write) then
      v_outcome := 'gone';
    elsif v_write -> 'error' <> 'null' then
      v_outcome := 'rejected';
      perform private.settle_change(p_attempt_id, v_write, null, 'rejected', v_write -> 'error');
    else
      begin
        -- so that the log says which change made the event
        perform set_config('pms.command_id', v_write ->> 'change_id', true);
        v_done := private.apply_change(v_tenant_id, v_write);
        if v_done.stale then
          raise exception using errcode = 'PT409', message = 'version.stale';
        end if;
        perform private.settle_change(p_attempt_id, v_write, v_done.version, v_write ->> 'status', null);
      exception
        when serialization_failure or deadlock_detected or lock_not_available or query_canceled then
          raise;
        when others then
          get stacked diagnostics v_state = returned_sqlstate, v_code = message_text, v_detail = pg_exception_detail;
          v_outcome := case v_code when 'version.stale' then 'stale' else 'rejected' end;
          if v_outcome = 'rejected' then
            perform private.settle_change(p_attempt_id, v_write, null, 'rejected',
              jsonb_build_object('sqlstate', v_state, 'code', v_code, 'detail', v_detail));
          end if;
      end;
    end if;
    v_outcomes := v_outcomes || jsonb_build_object('change_id', v_write -> 'change_id', 'outcome', v_outcome);
  end loop;
  return v_outcomes;
end $$;

CREATE FUNCTION public.apply_webhook(p_webhook_id uuid) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.apply_webhook(p_webhook_id) $$;

CREATE FUNCTION public.arrange_images(p_tenant_id uuid, p_product_id uuid, p_image_ids uuid[]) RETURNS SETOF public.product_images
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select * from private.arrange_images(p_tenant_id, p_product_id, p_image_ids) $$;

CREATE FUNCTION public.audit_log(p_tenant_id uuid, p_before bigint DEFAULT NULL::bigint, p_limit integer DEFAULT 100, p_actor uuid DEFAULT NULL::uuid, p_entity text DEFAULT NULL::text, p_entity_id uuid DEFAULT NULL::uuid) RETURNS TABLE(seq bigint, occurred_at timestamp with time zone, actor uuid, command_id text, type text, entity_id uuid, version bigint, changed jsonb, previous jsonb)
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$ select * from private.audit_log(p_tenant_id, p_before, p_limit, p_actor, p_entity, p_entity_id) $$;

CREATE FUNCTION public.available(p_level public.stock_levels) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$
  select case when p_level.shortfall > 0 then 0
    else greatest(0, p_level.on_hand - p_level.reserved - p_level.safety + p_level.backorder_limit) end
$$;

CREATE FUNCTION public.cancel_replay(p_tenant_id uuid, p_replay_id uuid) RETURNS public.webhook_replays
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.cancel_replay(p_tenant_id, p_replay_id) $$;

CREATE FUNCTION public.change_api_key(p_tenant_id uuid, p_api_key_id text, p_changes jsonb) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.change_api_key(p_tenant_id, private.api_key_id_of(p_api_key_id), p_changes) $$;

CREATE FUNCTION public.change_role(p_tenant_id uuid, p_principal_id uuid, p_role text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.change_role(p_tenant_id, p_principal_id, p_role) $$;

CREATE FUNCTION public.commit_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select private.reservation_command(p_tenant_id, 'commit_reservation', p_key, jsonb_build_object('ids', p_reservation_ids))
$$;

CREATE FUNCTION public.count_stock(p_tenant_id uuid, p_lines jsonb, p_key text DEFAULT NULL::text, p_reason text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.count_stock(p_tenant_id, p_lines, p_key, p_reason) $$;

CREATE FUNCTION public.create_api_key(p_tenant_id uuid, p_name text, p_role text DEFAULT 'integration'::text, p_scopes text[] DEFAULT NULL::text[], p_expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone, p_allowed_ips text[] DEFAULT NULL::text[], p_rate_per_minute integer DEFAULT NULL::integer) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.create_api_key(p_tenant_id, p_name, p_role, p_scopes, p_expires_at, p_allowed_ips, p_rate_per_minute) $$;

CREATE FUNCTION public.create_product(p_tenant_id uuid, p_product jsonb, p_key text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.create_product(p_tenant_id, p_product, p_key) $$;

CREATE FUNCTION public.create_tenant(p_slug text, p_name text, p_currency text DEFAULT 'USD'::text) RETURNS public.tenants
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.create_tenant(p_slug, p_name, p_currency) $$;

CREATE FUNCTION public.create_webhook_endpoint(p_tenant_id uuid, p_url text, p_events text[] DEFAULT '{*}'::text[], p_description text DEFAULT ''::text, p_labels jsonb DEFAULT '{}'::jsonb, p_headers jsonb DEFAULT '{}'::jsonb, p_timeout_seconds integer DEFAULT 15, p_max_concurrency integer DEFAULT 10, p_rate_limit_per_second integer DEFAULT NULL::integer, p_ordered boolean DEFAULT false, p_signature text DEFAULT 'hmac'::text, p_expires_after_hours integer DEFAULT 72) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select private.create_webhook_endpoint(p_tenant_id, p_url, p_events, p_description, p_labels, p_headers,
    p_timeout_seconds, p_max_concurrency, p_rate_limit_per_second, p_ordered, p_signature, p_expires_after_hours)
$$;

CREATE FUNCTION public.delete_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint DEFAULT NULL::bigint, p_key text DEFAULT NULL::text) RETURNS public.products
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.delete_product(p_tenant_id, p_product_id, p_expected_version, p_key) $$;

CREATE FUNCTION public.delete_tenant(p_tenant_id uuid, p_confirm_slug text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.delete_tenant(p_tenant_id, p_confirm_slug) $$;

CREATE FUNCTION public.delivery_health(p_tenant_id uuid, p_from date, p_to date, p_time_zone text DEFAULT 'UTC'::text) RETURNS TABLE(endpoint_id uuid, url text, status text, attempts bigint, delivered bigint, success_rate numeric, p50_ms numeric, p95_ms numeric, failing_since timestamp with time zone)
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
declare
  v_period constant record := private.report_period(p_tenant_id, p_from, p_to, p_time_zone);
begin
  return query
  with tried as (
    select a.endpoint_id, a.outcome, a.duration_ms, a.started_at,
      max(a.started_at) filter (where a.outcome = 'delivered') over (partition by a.endpoint_id) as last_success
    from public.webhook_attempts a
    where a.tenant_id = p_tenant_id and a.started_at >= v_period.starts and a.started_at < v_period.ends
      and a.kind <> 'test' and a.outcome not in ('probe', 'expired')
      -- for pruning: an attempt lies in the partition of the day, in UTC, on which it was settled
      and a.attempted_on >= (v_period.starts at time zone 'UTC')::date
  )
  select e.id, e.url, e.status, count(t.outcome), count(*) filter (where t.outcome = 'delivered'),
    round(count(*) filter (where t.outcome = 'delivered')::numeric / nullif(count(t.outcome), 0), 4),
    percentile_disc(0.5) within group (order by t.duration_ms), percentile_disc(0.95) within group (order by t.duration_ms),
    min(t.started_at) filter (where t.outcome <> 'delivered' and (t.last_success is null or t.started_at > t.last_success))
  from public.webhook_endpoints e
  left join tried t on t.endpoint_id = e.id
  where e.tenant_id = p_tenant_id
  group by e.id
  order by 6 nulls last, e.id;
end $$;

CREATE FUNCTION public.enable_webhook_endpoint(p_tenant_id uuid, p_endpoint_id uuid) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.send_test_event(p_tenant_id, p_endpoint_id, 'product.updated', true) $$;

CREATE FUNCTION public.event_history(p_tenant_id uuid, p_event_id text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.event_history(p_tenant_id, p_event_id) $$;

CREATE FUNCTION public.export_tenant(p_tenant_id uuid, p_table text DEFAULT NULL::text, p_after jsonb DEFAULT NULL::jsonb, p_limit integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$ select private.export_tenant(p_tenant_id, p_table, p_after, p_limit) $$;

CREATE FUNCTION public.extend_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_expires_in interval DEFAULT '00:15:00'::interval, p_key text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select private.reservation_command(p_tenant_id, 'extend_reservation', p_key,
    jsonb_build_object('ids', p_reservation_ids, 'expires_in', p_expires_in))
$$;

CREATE FUNCTION public.invite_member(p_tenant_id uuid, p_email text, p_role text, p_expires_in interval DEFAULT '7 days'::interval) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.invite_member(p_tenant_id, p_email, p_role, p_expires_in) $$;

CREATE FUNCTION public.legal_events(p_order public.orders) RETURNS text[]
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$ select private.legal_order_events(p_order.status) $$;

CREATE FUNCTION public.mark_notifications_read(p_tenant_id uuid, p_ids uuid[] DEFAULT NULL::uuid[]) RETURNS integer
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.mark_notifications_read(p_tenant_id, p_ids) $$;

CREATE FUNCTION public.my_permissions(p_tenant_id uuid DEFAULT NULL::uuid) RETURNS TABLE(tenant_id uuid, role text, permissions text[])
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$ select * from private.my_permissions(p_tenant_id) $$;

CREATE FUNCTION public.name_head(public.products) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $_$ select left($1.name, 80) $_$;

COMMENT ON FUNCTION public.name_head(public.products) IS 'The first 80 characters of the name; pages by name are in its order';

CREATE FUNCTION public.order_event(p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, p_key text DEFAULT NULL::text, p_payload jsonb DEFAULT '{}'::jsonb) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.order_event(p_tenant_id, p_order_id, p_event, p_expected_version, p_key, p_payload) $$;

CREATE FUNCTION public.place_order(p_tenant_id uuid, p_lines jsonb, p_customer jsonb DEFAULT '{}'::jsonb, p_key text DEFAULT NULL::text, p_reserve_for interval DEFAULT '00:15:00'::interval) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.place_order(p_tenant_id, p_lines, p_customer, p_key, p_reserve_for) $$;

CREATE FUNCTION public.primary_image(p_product public.products) RETURNS SETOF public.product_images
    LANGUAGE sql STABLE ROWS 1
    SET search_path TO ''
    AS $$
  select i.* from public.product_images i
  where i.tenant_id = p_product.tenant_id and i.product_id = p_product.id
  order by i.position, i.created_at, i.id limit 1
$$;

CREATE FUNCTION public.publish_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint DEFAULT NULL::bigint, p_key text DEFAULT NULL::text) RETURNS public.products
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.set_published(p_tenant_id, p_product_id, p_expected_version, 'active', p_key) $$;

CREATE FUNCTION public.pull_changes(p_tenant_id uuid, p_cursor text DEFAULT NULL::text, p_limit integer DEFAULT 500, p_wait boolean DEFAULT false, p_client text DEFAULT NULL::text) RETURNS json
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.pull_changes(p_tenant_id, p_cursor, p_limit, p_wait, p_client) $$;

CREATE FUNCTION public.push_changes(p_tenant_id uuid, p_client text, p_changes jsonb) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.push_changes(p_tenant_id, p_client, p_changes) $$;

CREATE FUNCTION public.receive_changes(p_tenant_id uuid, p_source text, p_messages jsonb) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.receive_changes(p_tenant_id, p_source, p_messages) $$;

CREATE FUNCTION public.receive_stock(p_tenant_id uuid, p_lines jsonb, p_key text DEFAULT NULL::text, p_reason text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.stock_command(p_tenant_id, 'receive', p_lines, p_key, p_reason) $$;

CREATE FUNCTION public.receive_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.receive_webhook(p_tenant_id, p_kind, p_event) $$;

CREATE FUNCTION public.redact_customer(p_tenant_id uuid, p_email text DEFAULT NULL::text, p_order_ids uuid[] DEFAULT NULL::uuid[]) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.redact_customer(p_tenant_id, p_email, p_order_ids) $$;

CREATE FUNCTION public.release_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select private.reservation_command(p_tenant_id, 'release_reservation', p_key, jsonb_build_object('ids', p_reservation_ids))
$$;

CREATE FUNCTION public.remove_member(p_tenant_id uuid, p_principal_id uuid) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.remove_member(p_tenant_id, p_principal_id) $$;

CREATE FUNCTION public.replace_product(p_tenant_id uuid, p_product_id uuid, p_product jsonb, p_expected_version bigint DEFAULT NULL::bigint, p_key text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.replace_product(p_tenant_id, p_product_id, p_product, p_expected_version, p_key) $$;

CREATE FUNCTION public.replay_delivery(p_tenant_id uuid, p_delivery_id bigint) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.replay_delivery(p_tenant_id, p_delivery_id) $$;

CREATE FUNCTION public.replay_events(p_tenant_id uuid, p_endpoint_id uuid, p_from timestamp with time zone, p_to timestamp with time zone DEFAULT NULL::timestamp with time zone, p_types text[] DEFAULT NULL::text[]) RETURNS public.webhook_replays
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.replay_events(p_tenant_id, p_endpoint_id, p_from, p_to, p_types) $$;

CREATE FUNCTION public.report_state(p_tenant_id uuid, p_client text, p_entity text, p_ranges jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET jit TO 'off'
    AS $$
declare
  v_small constant bigint := 100;
  v_table constant text := case p_entity when 'product' then 'public.products' when 'stock_level' then 'public.stock_levels' end;
  v_leaves bigint[];
  v_open bigint[];
  v_ranges jsonb;
  v_differ bigint[];
  v_rows jsonb;
  v_gone jsonb;
begin
  perform private.require(p_tenant_id, 'tenant.read');
  perform private.require_plain(p_ranges);
  perform private.check_client(p_client);
  if v_table is null then
    perform private.fail('PT400', 'sync.entity_unknown', 'p_entity must be product or stock_level.');
  end if;
  perform private.check_ranges(p_ranges);

  with asked as materialized (
    select r.n, r.range, r.range ? 'rows' as leaf from jsonb_array_elements(p_ranges) with ordinality r (range, n)
  ), parts as materialized (
    select p.*, ntile(16) over (partition by p.n order by p.part) as share
    from private.range_parts(p_tenant_id, v_table, p_ranges) p
  ), totals as materialized (
    select a.*, coalesce(t.rows, 0) as rows, private.checksum(coalesce(t.sum, 0)) as checksum
    from asked a left join (select p.n, sum(p.rows) as rows, sum(p.sum) as sum from parts p group by p.n) t on t.n = a.n
  ), judged as materialized (
    select t.*, t.leaf and t.rows <= 2 * v_small as told,
      not t.leaf and (t.range ->> 'count')::numeric = t.rows and t.range ->> 'checksum' = t.checksum as agrees
    from totals t
  ), shares as (
    select p.n, p.share, (array_agg(p.through order by p.part desc))[1] as through, sum(p.rows) as rows, sum(p.sum) as sum,
      p.share = max(p.share) over (partition by p.n) as last
    from parts p join judged j on j.n = p.n and not j.told and not j.agrees and j.rows > v_small
    group by p.n, p.share
  ), answers as (
    select s.n, s.share, jsonb_build_object(
      'after', coalesce(to_jsonb(lag(s.through) over (partition by s.n order by s.share)), j.range -> 'after'),
      'through', case when s.last then j.range -> 'through' else to_jsonb(s.through) end,
      'count', s.rows, 'checksum', private.checksum(s.sum)) as answer
    from shares s join judged j on j.n = s.n
    union all
    select j.n, 0, jsonb_build_object('after', j.range -> 'after', 'through', j.range -> 'through', 'leaf', true)
    from judged j where not j.told and not j.agrees and j.rows <= v_small
  )
  select (select jsonb_agg(a.answer order by a.n, a.share) from answers a), array_agg(j.n) filter (where j.told),
    array_agg(j.n) filter (where not j.told and not j.agrees)
  into v_ranges, v_leaves, v_open
  from judged j;

  select array_agg(distinct d.n), jsonb_agg(d."row") filter (where d."row" is not null), jsonb_agg(d.gone) filter (where d.gone is not null)
  into v_differ, v_rows, v_gone
  from private.leaf_differences(p_tenant_id, p_entity, v_table, p_ranges, v_leaves) d;
  return jsonb_build_object('same',
    jsonb_array_length(p_ranges) - coalesce(cardinality(v_open), 0) - coalesce(cardinality(v_differ), 0),
    'ranges', coalesce(v_ranges, '[]'), 'rows', coalesce(v_rows, '[]'), 'gone', coalesce(v_gone, '[]'));
end $$;

CREATE FUNCTION public.reserve_stock(p_tenant_id uuid, p_lines jsonb, p_expires_in interval DEFAULT '00:15:00'::interval, p_key text DEFAULT NULL::text, p_order_id uuid DEFAULT NULL::uuid) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select private.reservation_command(p_tenant_id, 'reserve_stock', p_key,
    jsonb_build_object('lines', p_lines, 'expires_in', p_expires_in, 'order_id', p_order_id))
$$;

CREATE FUNCTION public.resolve_conflict(p_tenant_id uuid, p_conflict_id uuid, p_choice text, p_value jsonb DEFAULT NULL::jsonb) RETURNS public.sync_conflicts
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $$
declare
  v_conflict constant public.sync_conflicts := private.open_conflict(p_tenant_id, p_conflict_id);
  v_value constant jsonb := coalesce(case p_choice when 'theirs' then v_conflict.theirs when 'value' then p_value end, 'null');
begin
  perform private.require_plain(p_value);
  if p_choice is null or p_choice not in ('ours', 'theirs', 'value') then
    perform private.fail('PT400', 'sync.choice_unknown', 'p_choice must be ours, theirs or value.');
  end if;
  if p_choice = 'value' and v_conflict.field = 'deleted_at' then
    perform private.fail('PT400', 'sync.choice_unknown', 'A deletion is a matter of ours or theirs.');
  end if;
  -- so that the log says which conflict made the event
  perform set_config('pms.command_id', v_conflict.id::text, true);
  if p_choice = 'ours' then
    null;
  elsif v_conflict.field <> 'deleted_at' then
    perform private.write_fields(p_tenant_id, v_conflict.entity, v_conflict.entity_id, null,
      jsonb_build_object(v_conflict.field, v_value));
  elsif v_value = '{"deleted": true}' then
    perform public.delete_product(p_tenant_id, v_conflict.entity_id);
  else
    perform public.restore_product(p_tenant_id, v_conflict.entity_id);
    perform private.write_fields(p_tenant_id, v_conflict.entity, v_conflict.entity_id, null, v_value);
  end if;
  return private.close_conflict(p_tenant_id, p_conflict_id, p_choice, nullif(v_value, 'null'));
end $$;

CREATE FUNCTION public.restore_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint DEFAULT NULL::bigint) RETURNS public.products
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.restore_product(p_tenant_id, p_product_id, p_expected_version) $$;

CREATE FUNCTION public.retry_image(p_tenant_id uuid, p_image_id uuid) RETURNS public.product_images
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.retry_image(p_tenant_id, p_image_id) $$;

CREATE FUNCTION public.revoke_api_key(p_tenant_id uuid, p_api_key_id text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.revoke_api_key(p_tenant_id, private.api_key_id_of(p_api_key_id)) $$;

CREATE FUNCTION public.revoke_invitation(p_tenant_id uuid, p_invitation_id uuid) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.revoke_invitation(p_tenant_id, p_invitation_id) $$;

CREATE FUNCTION public.rollback_product(p_tenant_id uuid, p_product_id uuid, p_to_version bigint, p_expected_version bigint DEFAULT NULL::bigint) RETURNS public.products
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.rollback_product(p_tenant_id, p_product_id, p_to_version, p_expected_version) $$;

CREATE FUNCTION public.rotate_api_key(p_tenant_id uuid, p_api_key_id text, p_overlap text DEFAULT '24 hours'::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.rotate_api_key(p_tenant_id, private.api_key_id_of(p_api_key_id), private.overlap_of(p_overlap)) $$;

CREATE FUNCTION public.rotate_webhook_secret(p_tenant_id uuid, p_endpoint_id uuid, p_overlap_hours numeric DEFAULT 24, p_signature text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.rotate_webhook_secret(p_tenant_id, p_endpoint_id, p_overlap_hours, p_signature) $$;

CREATE FUNCTION public.run_stock_proof(p_tenant_id uuid, p_repair boolean DEFAULT false) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.run_stock_proof(p_tenant_id, p_repair) $$;

CREATE FUNCTION public.sales_by_day(p_tenant_id uuid, p_from date, p_to date, p_time_zone text DEFAULT 'UTC'::text) RETURNS TABLE(day date, product_id uuid, sku text, currency text, orders bigint, quantity bigint, returned bigint, net_total numeric, tax_total numeric, total numeric)
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
declare
  v_period constant record := private.report_period(p_tenant_id, p_from, p_to, p_time_zone);
begin
  return query
  select (o.paid_at at time zone coalesce(p_time_zone, 'UTC'))::date, l.product_id, (array_agg(l.sku order by o.paid_at desc))[1],
    o.currency, count(distinct o.id), sum(k.pieces)::bigint, sum(l.returned)::bigint, sum(k.net), sum(k.tax), sum(k.net + k.tax)
  from public.orders o
  join public.order_lines l on l.tenant_id = o.tenant_id and l.order_id = o.id
  cross join lateral (select l.quantity - l.cancelled - l.returned as pieces) s
  cross join lateral (
    select s.pieces, l.unit_price * s.pieces as net,
      round(l.unit_price * s.pieces * l.tax_rate, private.minor_units(o.currency)) as tax
  ) k
  where o.tenant_id = p_tenant_id and o.paid_at >= v_period.starts and o.paid_at < v_period.ends
  group by 1, 2, 4
  order by 1, 2, 4;
end $$;

CREATE FUNCTION public.search_products(p_tenant_id uuid, p_query text DEFAULT NULL::text, p_after jsonb DEFAULT NULL::jsonb, p_limit integer DEFAULT 50, p_status text DEFAULT NULL::text, p_category_id uuid DEFAULT NULL::uuid, p_order text DEFAULT 'relevance'::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.search_products(p_tenant_id, p_query, p_after, p_limit, p_status, p_category_id, p_order) $$;

CREATE FUNCTION public.send_test_event(p_tenant_id uuid, p_endpoint_id uuid, p_type text DEFAULT 'product.updated'::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.send_test_event(p_tenant_id, p_endpoint_id, p_type, false) $$;

CREATE FUNCTION public.ship_reservation(p_tenant_id uuid, p_reservation_ids uuid[] DEFAULT NULL::uuid[], p_key text DEFAULT NULL::text, p_lines jsonb DEFAULT NULL::jsonb) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$
  select private.reservation_command(p_tenant_id, 'ship_reservation', p_key, jsonb_build_object('lines',
    coalesce(p_lines, (select jsonb_agg(jsonb_build_object('reservation_id', i)) from unnest(p_reservation_ids) i), '[]')))
$$;

CREATE FUNCTION public.slow_movers(p_tenant_id uuid, p_from date, p_to date, p_time_zone text DEFAULT 'UTC'::text, p_at_most bigint DEFAULT 0) RETURNS TABLE(product_id uuid, sku text, name text, shipped bigint, on_hand bigint, currency text, value numeric)
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
declare
  v_period constant record := private.report_period(p_tenant_id, p_from, p_to, p_time_zone);
begin
  return query
  with sold as (
    select m.level_id, -sum(m.quantity) as shipped
    from public.stock_movements m
    where m.tenant_id = p_tenant_id and m.kind = 'ship' and m.created_at >= v_period.starts and m.created_at < v_period.ends
    group by m.level_id
  ), held as (
    select s.product_id, sum(s.on_hand)::bigint as on_hand, sum(coalesce(o.shipped, 0))::bigint as shipped
    from public.stock_levels s left join sold o on o.level_id = s.id
    where s.tenant_id = p_tenant_id
    group by s.product_id
    having sum(s.on_hand) > 0 and sum(coalesce(o.shipped, 0)) <= p_at_most
  )
  select h.product_id, p.sku, p.name, h.shipped, h.on_hand, p.currency, h.on_hand * p.price
  from held h
  join public.products p on p.tenant_id = p_tenant_id and p.id = h.product_id
  where p.deleted_at is null
  order by 7 desc, 2;
end $$;

CREATE FUNCTION public.stock_history(p_tenant_id uuid, p_product_id uuid, p_location_id uuid DEFAULT NULL::uuid, p_before bigint DEFAULT NULL::bigint, p_limit integer DEFAULT 50) RETURNS TABLE(movement_id bigint, location_id uuid, kind text, quantity bigint, reserved_quantity bigint, on_hand_after bigint, reserved_after bigint, level_version bigint, reason text, order_id uuid, actor uuid, command_id text, created_at timestamp with time zone)
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$
  select m.id, s.location_id, m.kind, m.quantity, m.reserved_quantity, m.on_hand_after, m.reserved_after,
    m.level_version, m.reason, m.order_id, m.actor, m.command_id, m.created_at
  from public.stock_levels s
  cross join lateral (
    select * from public.stock_movements m
    where m.level_id = s.id and m.tenant_id = p_tenant_id and m.id < coalesce(p_before, 9223372036854775807)
    order by m.id desc
    limit greatest(1, least(p_limit, 1000))
  ) m
  where s.tenant_id = p_tenant_id and s.product_id = p_product_id
    and (p_location_id is null or s.location_id = p_location_id)
  order by m.id desc
  limit greatest(1, least(p_limit, 1000))
$$;

CREATE FUNCTION public.stock_out_history(p_tenant_id uuid, p_from date, p_to date, p_time_zone text DEFAULT 'UTC'::text) RETURNS TABLE(product_id uuid, sku text, location_id uuid, out_from timestamp with time zone, out_until timestamp with time zone, lasted interval)
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
declare
  v_period constant record := private.report_period(p_tenant_id, p_from, p_to, p_time_zone);
  v_ends constant timestamptz := least(v_period.ends, private.now());
begin
  return query
  with moved as (
    select m.level_id, m.id, m.created_at as at, m.on_hand_after - m.reserved_after as free,
      m.quantity - m.reserved_quantity as change
    from public.stock_movements m
    where m.tenant_id = p_tenant_id and m.created_at >= v_period.starts
  ), first as (
    select distinct on (m.level_id) m.level_id, m.free - m.change as free from moved m order by m.level_id, m.id
  ), state as (
    -- how each level that was there began, by its first movement since, or by what it is now
    select s.id as level_id, 0::bigint as id, v_period.starts as at, coalesce(f.free, s.on_hand - s.reserved) <= 0 as is_out
    from public.stock_levels s left join first f on f.level_id = s.id
    where s.tenant_id = p_tenant_id and s.created_at < v_period.starts
    union all
    select m.level_id, m.id, m.at, m.free <= 0 from moved m where m.at < v_ends
  ), turn as (
    select t.level_id, t.id, t.at, t.is_out, lag(t.is_out) over (partition by t.level_id order by t.id) as was_out
    from state t
  ), spell as (
    select t.level_id, t.is_out, t.at, lead(t.at) over (partition by t.level_id order by t.id) as until
    from turn t where t.was_out is distinct from t.is_out
  )
  select s.product_id, p.sku, s.location_id, e.at, e.until, coalesce(e.until, v_ends) - e.at
  from spell e
  join public.stock_levels s on s.id = e.level_id
  join public.products p on p.tenant_id = p_tenant_id and p.id = s.product_id
  where e.is_out
  order by e.at, p.sku, s.location_id;
end $$;

CREATE FUNCTION public.stock_turnover(p_tenant_id uuid, p_from date, p_to date, p_time_zone text DEFAULT 'UTC'::text) RETURNS TABLE(product_id uuid, sku text, shipped bigint, returned bigint, opening bigint, closing bigint, average numeric, turnover numeric)
    LANGUAGE plpgsql STABLE
    SET search_path TO ''
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
declare
  v_period constant record := private.report_period(p_tenant_id, p_from, p_to, p_time_zone);
  v_ends constant timestamptz := least(v_period.ends, private.now());
  v_seconds constant numeric := greatest(extract(epoch from v_ends - v_period.starts), 0);
begin
  return query
  with moved as (
    select m.level_id, sum(m.quantity) as since,
      sum(m.quantity) filter (where m.created_at < v_ends) as within,
      -- a piece that came in counts for the rest of the period
      sum(m.quantity * extract(epoch from v_ends - m.created_at)) filter (where m.created_at < v_ends) as piece_seconds,
      -sum(m.quantity) filter (where m.kind = 'ship' and m.created_at < v_ends) as shipped,
      sum(m.quantity) filter (where m.kind = 'return' and m.created_at < v_ends) as returned
    from public.stock_movements m
    where m.tenant_id = p_tenant_id and m.created_at >= v_period.starts
    group by m.level_id
  ), told as (
    select s.product_id, sum(coalesce(m.shipped, 0))::bigint as shipped, sum(coalesce(m.returned, 0))::bigint as returned,
      sum(s.on_hand - coalesce(m.since, 0))::bigint as opening,
      sum(s.on_hand - coalesce(m.since, 0) + coalesce(m.within, 0))::bigint as closing,
      sum(s.on_hand - coalesce(m.since, 0) + coalesce(m.piece_seconds, 0) / nullif(v_seconds, 0)) as average
    from public.stock_levels s
    left join moved m on m.level_id = s.id
    where s.tenant_id = p_tenant_id
    group by s.product_id
  )
  select t.product_id, p.sku, t.shipped, t.returned, t.opening, t.closing, round(t.average, 4),
    round((t.shipped - t.returned) / nullif(t.average, 0), 4)
  from told t
  join public.products p on p.tenant_id = p_tenant_id and p.id = t.product_id
  order by 8 desc nulls last, 2;
end $$;

CREATE FUNCTION public.sync_status(p_tenant_id uuid) RETURNS TABLE(client text, principal_id uuid, entity text, last_pulled_at timestamp with time zone, last_pushed_at timestamp with time zone, lag_events bigint, lag_seconds numeric, pending bigint, oldest_pending_seconds numeric, conflicts bigint, last_error jsonb)
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$ select * from private.sync_status(p_tenant_id) $$;

CREATE FUNCTION public.transfer_stock(p_tenant_id uuid, p_lines jsonb, p_key text DEFAULT NULL::text, p_reason text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.transfer_stock(p_tenant_id, p_lines, p_key, p_reason) $$;

CREATE FUNCTION public.unpublish_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint DEFAULT NULL::bigint) RETURNS public.products
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.set_published(p_tenant_id, p_product_id, p_expected_version, 'draft') $$;

CREATE FUNCTION public.upsert_products(p_tenant_id uuid, p_rows jsonb, p_all_or_nothing boolean DEFAULT false, p_key text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE sql
    SET search_path TO ''
    AS $$ select private.upsert_products(p_tenant_id, p_rows, p_all_or_nothing, p_key) $$;

CREATE FUNCTION public.validate_product(p_tenant_id uuid, p_product jsonb) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$ select private.validate_product(p_tenant_id, p_product) $$;

CREATE FUNCTION public.webhook_keys(p_tenant_id uuid, p_endpoint_id uuid) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO ''
    AS $$ select private.webhook_keys(p_tenant_id, p_endpoint_id) $$;

CREATE FUNCTION worker.adapter_health() RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
begin
  return jsonb_build_object(
    'inbound', (
      select jsonb_build_object(
        'rejected', count(*) filter (where w.status = 'rejected' and w.received_at > private.now() - interval '1 day'),
        'unknown', (select coalesce(sum(u.events), 0) from private.unknown_webhooks u where u.day = private.today()),
        'queued', count(*) filter (where w.status = 'queued'),
        'oldest_queued_seconds', coalesce(extract(epoch from private.now() - min(w.received_at) filter (where w.status = 'queued')), 0)::float)
      from public.inbound_webhooks w
      where w.status = 'rejected' and w.received_at > private.now() - interval '1 day' or w.status = 'queued' and w.inbox_message_id is null
    ),
    'instances', (
      select jsonb_build_object('redis', count(*) filter (where i.cached), 'none', count(*) filter (where not i.cached))
      from private.api_instances i where i.seen_at > private.now() - interval '5 minutes'
    ),
    'invalidations', (
      select jsonb_build_object('waiting', count(*),
        'oldest_seconds', coalesce(extract(epoch from private.now() - min(j.created_at)), 0)::float)
      from (select q.created_at from queue.jobs q where q.kind = 'cache.invalidate' order by q.created_at limit 10000) j
    ),
    'counts', (
      select coalesce(jsonb_object_agg(c.name, c.count), '{}')
      from (select a.name, sum(a.count) as count from private.api_counts a group by a.name) c
    ));
end $$;

CREATE FUNCTION worker.admit_address(p_address text, p_rate_per_minute integer) RETURNS jsonb
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select private.admit('address ' || case
    when not pg_input_is_valid(p_address, 'inet') then left(coalesce(p_address, ''), 64)
    when family(p_address::inet) = 6 then network(set_masklen(p_address::inet, 64))::text
    else host(p_address::inet) end, p_rate_per_minute)
$$;

CREATE FUNCTION worker.admit_request(p_api_key_id uuid, p_nonce text, p_signed_at timestamp with time zone, p_rate_per_minute integer, p_version bigint DEFAULT NULL::bigint) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION worker.begin_asset(p_image_id uuid, p_revision integer, p_host text, p_picture jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_image constant public.product_images := private.image_in_work(p_image_id, p_revision);
  v_new constant public.image_assets := jsonb_populate_record(null::public.image_assets, p_picture - 'perceptual_hash');
  v_public_id constant text := v_image.tenant_id || '/' || v_new.sha256;
  v_asset public.image_assets;
begin
  if v_image.id is null then
    return null;
  end if;
  insert into public.image_assets as a (tenant_id, host, public_id, sha256, format, source_bytes, served_bytes, width, height, color_space,
    has_alpha, animated, had_gps, dominant_colors, blurhash, perceptual_hash)
  values (v_image.tenant_id, p_host, v_public_id, v_new.sha256, v_new.format, v_new.source_bytes, v_new.served_bytes, v_new.width,
    v_new.height, v_new.color_space, v_new.has_alpha, v_new.animated, v_new.had_gps, v_new.dominant_colors, v_new.blurhash,
    ('x' || (p_picture ->> 'perceptual_hash'))::bit(64))
  on conflict (host, public_id) do update
  set unused_since = case when a.unused_since is not null then v_now end
  returning * into v_asset;
  -- Only now, for the asset may have been deleted while the insert waited for it. What is not being deleted yet will not be.
  delete from private.doomed_files d
  where d.host = p_host and d.public_id = v_public_id and (d.held_until is null or d.held_until < v_now - interval '5 min');
  if exists (select from private.doomed_files d where d.host = p_host and d.public_id = v_public_id) then
    return jsonb_build_object('busy', true);
  end if;
  return jsonb_build_object('asset_id', v_asset.id, 'public_id', v_public_id, 'stored', v_asset.stored_at is not null);
end $$;

CREATE FUNCTION worker.begin_image(p_image_id uuid, p_revision integer) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_image constant public.product_images := private.image_in_work(p_image_id, p_revision);
begin
  if v_image.id is null then
    return null;
  end if;
  update public.product_images i set status = 'fetching' where i.id = p_image_id and i.status <> 'fetching';
  return jsonb_build_object('tenant_id', v_image.tenant_id, 'revision', v_image.source_revision,
    'source_url', v_image.source_url, 'upload_path', v_image.upload_path,
    'crashes', coalesce((v_image.error ->> 'crashes')::integer, 0));
end $$;

CREATE FUNCTION worker.changed_tags(p_tenant_id uuid, p_epoch text, p_after bigint) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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

CREATE FUNCTION worker.claim_doomed_files(p_host text, p_limit integer DEFAULT 100, p_lease_seconds integer DEFAULT 300) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_claimed jsonb;
begin
  -- whoever became known again is let off
  delete from private.doomed_files d
  where (d.host, d.public_id) in (
    select o.host, o.public_id from private.doomed_files o
    where o.host = p_host and o.due_at <= v_now
      and private.is_let_off(o)
      and (o.held_until is null or o.held_until < v_now - interval '5 min')
    order by o.due_at limit p_limit for update skip locked
  );
  with claimed as (
    update private.doomed_files d set held_until = v_now + make_interval(secs => p_lease_seconds)
    where (d.host, d.public_id) in (
      select o.host, o.public_id from private.doomed_files o
      where o.host = p_host and o.due_at <= v_now and (o.held_until is null or o.held_until < v_now)
        and not private.is_let_off(o)
      order by o.due_at limit p_limit for update skip locked
    )
    returning d.public_id
  )
  select coalesce(jsonb_agg(c.public_id), '[]') into v_claimed from claimed c;
  return v_claimed;
end $$;

CREATE FUNCTION worker.claim_jobs(p_worker text, p_kinds text[], p_limit integer, p_lease_seconds integer DEFAULT 60) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $$
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

CREATE FUNCTION worker.continue_replay(p_replay_id uuid, p_limit integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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

CREATE FUNCTION worker.describe_lanes(p_token bigint, p_lane_ids bigint[]) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
  select coalesce(jsonb_agg(private.lane_settings(l, e) order by l.id), '[]')
  from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
  where l.lease_id = p_token and l.id = any (p_lane_ids)
$$;

CREATE FUNCTION worker.dispatch_outbox(p_limit integer DEFAULT 2000, p_mark xid8 DEFAULT '0'::xid8, p_worker text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_today constant date := private.today();
  v_now constant timestamptz := private.now();
  v_mark xid8;
  v_seen integer := 0;
  v_taken integer := 0;
  v_events integer := 0;
  v_deliveries integer := 0;
  v_endpoints integer := 0;
  v_endpoint_gone boolean := false;
  v_fanned_out boolean := true;
  v_last bigint;
  v_news uuid[];
  v_stale uuid[];
  v_jobs integer := 0;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    perform private.fail('PT400', 'dispatch.isolation', 'Dispatch needs read committed: its snapshot must follow its lock.');
  end if;
  perform private.lock_dispatch();

  v_mark := pg_snapshot_xmin(pg_current_snapshot());
  -- After a restore transaction ids start lower: a mark from before would hide everything.
  if p_mark > v_mark then
    p_mark := '0';
  end if;
  perform private.make_partition('events', v_today);

  -- Most looks find nothing, and need not even start the statement below.
  perform from private.outbox where xid >= p_mark limit 1;
  if found then
    -- A slice ends before it could queue more than 100,000 deliveries, or it could be one that no time limit allows, and
    -- nobody's would ever end. One change is at most private.wide_tenant() of them.
    with slice as materialized (
      select o.ctid as place, o.* from private.outbox o where o.xid >= p_mark order by o.id limit p_limit
    ), fan_out as materialized (
      select t.tenant_id, t.lanes, t.through_lane_id is not null as wide, t.through_lane_id, t.cached
      from (
        select d.tenant_id,
          exists (select from private.cached_tenants c where c.tenant_id = d.tenant_id and c.until > v_now) as cached,
          (select count(*) from (select from queue.lanes l where l.tenant_id = d.tenant_id limit private.wide_tenant()) l) as lanes,
          case when exists (select from queue.fan_outs f where f.tenant_id = d.tenant_id)
            or exists (select from queue.lanes l where l.tenant_id = d.tenant_id offset private.wide_tenant())
          then (select max(l.id) from queue.lanes l where l.tenant_id = d.tenant_id) end as through_lane_id
        from (select distinct s.tenant_id from slice s) d
      ) t
    ), taken as materialized (
      select w.* from (
        select s.*, f.wide, f.through_lane_id, f.cached, case when f.wide then 0 else f.lanes end as lanes,
          sum(case when f.wide then 0 else f.lanes end) over (order by s.id rows unbounded preceding) as owed
        from slice s join fan_out f on f.tenant_id = s.tenant_id
      ) w
      where w.owed <= 100000
    ), gone as (
      delete from private.outbox o using taken t where o.ctid = t.place
    ), typed as materialized (
      select t.*, e.type, e.webhooks, k.schema_version,
        -- private.event_problem is null; here at the price of a join
        coalesce(t.new_row, t.old_row) ?& k.required and not coalesce(t.new_row, t.old_row) ?| k.hidden as fits,
        row_number() over (partition by t.tenant_id order by t.id) as place_in_tenant
      from taken t cross join lateral private.event_type(t.entity, t.operation, t.changed, t.new_row) e
      left join private.event_keys k on k.type = e.type
      where e.type is not null
    ), counted as (
      insert into private.tenant_log as l (tenant_id, seq)
      select t.tenant_id, count(*) from typed t group by t.tenant_id order by t.tenant_id
      on conflict (tenant_id) do update set seq = l.seq + excluded.seq
      returning l.tenant_id, l.seq
    ), numbered as materialized (
      select t.*, private.event_id(t.seq) as event_id
      from (
        select t.*, c.seq - max(t.place_in_tenant) over (partition by t.tenant_id) + t.place_in_tenant as seq
        from typed t join counted c on c.tenant_id = t.tenant_id
      ) t
    ), logged as (
      insert into public.events (dispatched_on, tenant_id, seq, id, type, entity, entity_id, version, actor, command_id,
        occurred_at, dispatched_at, body)
      select v_today, n.tenant_id, n.seq, n.event_id, n.type, n.entity, n.entity_id, n.version, n.actor, n.command_id,
        n.occurred_at, v_now, private.event_body(n.event_id, n.type, n.tenant_id, n.seq, n.occurred_at, n.version,
          n.operation, n.changed, n.new_row, n.old_row, coalesce(n.schema_version, 1))
      from numbered n order by n.id
    ), refused as (
      insert into private.invalid_events (tenant_id, seq, type, problem, at)
      select n.tenant_id, n.seq, n.type, coalesce(private.event_problem(n.type, coalesce(n.new_row, n.old_row)), 'unknown'), v_now
      from numbered n where n.fits is not true
    ), owed as (
      insert into queue.deliveries (lane_id, tenant_id, seq, dispatched_on)
      select l.id, n.tenant_id, n.seq, v_today
      from numbered n
      join public.webhook_endpoints e on e.tenant_id = n.tenant_id and e.status <> 'disabled'
        and private.takes_event(e.events, n.type, n.entity)
      join queue.lanes l on l.endpoint_id = e.id
      where n.webhooks and n.fits and not n.wide
      order by n.id, l.id
      returning 1
    ), later as (
      insert into queue.fan_outs (tenant_id, seq, dispatched_on, type, entity, through_lane_id)
      select n.tenant_id, n.seq, v_today, n.type, n.entity, n.through_lane_id
      from numbered n
      where n.webhooks and n.fits and n.wide
    )
    select (select count(*) from slice), (select count(*) from taken), (select count(*) from numbered), (select count(*) from owed),
      (select count(*) from taken t where t.entity = 'webhook_endpoint'),
      exists (select from taken t where t.entity = 'webhook_endpoint' and t.operation = 'DELETE'),
      (select array_agg(c.tenant_id) from counted c),
      (select array_agg(distinct n.tenant_id) from numbered n
        where n.cached and n.entity = any (array(select e.entity from private.cached_entities e)))
    into v_seen, v_taken, v_events, v_deliveries, v_endpoints, v_endpoint_gone, v_news, v_stale;
  end if;
  if v_stale is not null then
    v_jobs := private.queue_invalidations(v_stale);
  end if;

  if exists (select from queue.fan_outs) then
    v_deliveries := v_deliveries + private.fan_out(2500);
    v_fanned_out := not exists (select from queue.fan_outs);
  end if;

  -- What a call before this one queued for an endpoint whose deletion it could not see yet.
  if v_endpoint_gone then
    delete from queue.deliveries d where not exists (select from queue.lanes l where l.id = d.lane_id);
  end if;

  -- After a crash Postgres gives out again the ids that left no trace on disk. So a mark must lie below an id whose
  -- commit is on disk: this call's own, if it wrote anything. One that found nothing keeps the mark it was given, or
  -- writes a word to the WAL when that is worth it.
  if v_taken = 0 and v_mark > p_mark then
    if p_mark > '0' and v_mark::text::bigint - p_mark::text::bigint < 256 then
      v_mark := p_mark;
    else
      perform pg_logical_emit_message(true, 'pms.mark', '');
    end if;
  end if;

  -- Written now and then alone: a row that each call updates would bloat while a session holds xmin.
  if v_taken = v_seen and v_seen < p_limit and (v_taken > 0 or v_mark > p_mark)
    and v_mark::text::bigint - private.dispatch_mark()::text::bigint >= 256
  then
    update private.dispatch_mark d set mark = v_mark, epoch = (select e.epoch from private.log_epoch e) where d.one;
  end if;

  -- Under the lock nothing else takes ids, so all of them up to here are committed with this call at the latest.
  v_last := coalesce(pg_sequence_last_value(pg_get_serial_sequence('queue.deliveries', 'id')::regclass), 0);

  perform private.ring_tenants(v_news);
  if (v_deliveries > 0 or v_endpoints > 0) and exists (
    select from queue.leases l where l.expires_at > v_now and l.worker is distinct from p_worker
  ) then
    -- whoever hears of more than one thing looks for all
    perform private.ring(case when v_jobs > 0 then 'all' when v_endpoints > 0 then 'endpoints' else 'deliveries' end);
  elsif v_jobs > 0 then
    perform private.ring('jobs');
  end if;

  return jsonb_build_object(
    'events', v_events, 'deliveries', v_deliveries, 'jobs', v_jobs, 'endpoints', v_endpoints,
    'last_delivery_id', v_last, 'drained', v_taken = v_seen and v_seen < p_limit and v_fanned_out,
    'mark', case when v_taken = v_seen and v_seen < p_limit then v_mark else p_mark end::text
  );
end $$;

CREATE FUNCTION worker.drop_partitions(p_keep_days integer DEFAULT 30) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET lock_timeout TO '500ms'
    AS $$
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

CREATE FUNCTION worker.enqueue_job(p_kind text, p_payload jsonb DEFAULT '{}'::jsonb, p_tenant_id uuid DEFAULT NULL::uuid, p_unique_key text DEFAULT NULL::text, p_serial_key text DEFAULT NULL::text, p_due_in_seconds numeric DEFAULT 0, p_max_attempts integer DEFAULT 10) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION worker.erase_tenants(p_limit integer DEFAULT 10000) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET statement_timeout TO '30s'
    AS $$
declare
  v_limit constant integer := least(greatest(p_limit, 1), 100000);
  v_tenant_id uuid;
  v_erased bigint := 0;
  v_late bigint := 0;
  v_done boolean := false;
begin
  select b.id into v_tenant_id from private.tombstones b where b.erased_at is null
  order by b.requested_at, b.id limit 1 for update skip locked;
  if v_tenant_id is not null then
    v_erased := private.erase_rows(v_tenant_id, v_limit);
    if v_erased < v_limit then
      delete from public.tenants t where t.id = v_tenant_id;
      perform private.lock_dispatch();
      v_late := private.erase_rows(v_tenant_id, v_limit);
      v_done := v_late < v_limit;
    end if;
    update private.tombstones b
    set rows_erased = b.rows_erased + v_erased + v_late, erased_at = case when v_done then private.now() end
    where b.id = v_tenant_id;
  end if;
  return jsonb_build_object('tenant_id', v_tenant_id, 'erased', v_erased + v_late, 'done', v_done,
    'left', (select count(*) from private.tombstones b where b.erased_at is null));
end $$;

CREATE FUNCTION worker.expire_deliveries(p_limit integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_today constant date := private.today();
  v_limit constant integer := greatest(1, least(p_limit, 10000));
  v_expired integer;
  v_key_lanes bigint[];
  v_keys uuid[];
begin
  perform private.make_partition('webhook_attempts', v_today);
  with late_firsts as materialized (
    -- The first of a lane are its oldest: one that is in time ends the look at its lane. Rows are compared as wholes because
    -- only the index by lane can do that: asked for the least id of a lane, a plan read everybody's deliveries for it.
    select f.id from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
    cross join lateral (
      select o.lane_id, o.dispatched_on from queue.deliveries o where (o.lane_id, o.id) >= (l.id, 0)
      order by o.lane_id, o.id limit 1
    ) oldest
    cross join lateral (
      select d.id, v.occurred_at
      from (
        select * from queue.deliveries o where (o.lane_id, o.id) >= (l.id, 0) and (o.lane_id, o.id) < (l.id + 1, 0)
        order by o.lane_id, o.id limit v_limit
      ) d
      left join public.events v on v.tenant_id = d.tenant_id and v.seq = d.seq and v.dispatched_on = d.dispatched_on
      where coalesce(v.occurred_at, d.dispatched_on + interval '1 day') < v_now - make_interval(hours => e.expires_after_hours)
    ) f
    where oldest.lane_id = l.id
      and oldest.dispatched_on <= ((v_now - make_interval(hours => e.expires_after_hours)) at time zone 'UTC')::date
    order by f.id limit v_limit
  ), firsts as (
    delete from queue.deliveries d using late_firsts f where d.id = f.id
    returning d.id, d.lane_id, d.tenant_id, d.seq, d.dispatched_on, 1 as attempt, 'event' as kind, null::uuid as order_key
  ), late_retries as materialized (
    select r.id from queue.retries r where r.expires_at <= v_now order by r.expires_at limit v_limit
  ), retries as (
    delete from queue.retries q using late_retries r where q.id = r.id
    returning q.id, q.lane_id, q.tenant_id, q.seq, q.dispatched_on, q.attempt, q.kind, q.order_key
  ), late as materialized (
    select * from firsts union all select * from retries
  ), logged as (
    insert into public.webhook_attempts (attempted_on, delivery_id, attempt, tenant_id, endpoint_id, event_id, event_type,
      kind, outcome, error, started_at, settled_at)
    select v_today, t.id, t.attempt, t.tenant_id, l.endpoint_id, coalesce(v.id, ''), coalesce(v.type, ''), t.kind, 'expired',
      'expired: it could not be delivered in its time', v_now, v_now
    from late t
    join queue.lanes l on l.id = t.lane_id
    left join public.events v on v.tenant_id = t.tenant_id and v.seq = t.seq and v.dispatched_on = t.dispatched_on
  )
  select count(*), array_agg(t.lane_id) filter (where t.order_key is not null),
    array_agg(t.order_key) filter (where t.order_key is not null)
  into v_expired, v_key_lanes, v_keys
  from late t;
  if v_keys is not null then
    perform private.release_next(v_key_lanes, v_keys);
  end if;
  return jsonb_build_object('expired', v_expired, 'more', v_expired >= v_limit);
end $$;

CREATE FUNCTION worker.extend_jobs(p_attempt_ids uuid[], p_lease_seconds integer DEFAULT 60) RETURNS jsonb
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  with extended as (
    update queue.jobs j set due_at = private.now() + make_interval(secs => p_lease_seconds)
    where j.attempt_id = any (p_attempt_ids)
    returning j.attempt_id
  )
  select jsonb_build_object('held', coalesce(jsonb_agg(e.attempt_id), '[]')) from extended e
$$;

CREATE FUNCTION worker.fail_image(p_image_id uuid, p_revision integer, p_status text, p_error jsonb) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if (private.image_in_work(p_image_id, p_revision)).id is null then
    return false;
  end if;
  update public.product_images i set status = p_status, error = p_error where i.id = p_image_id;
  return true;
end $$;

CREATE FUNCTION worker.find_missed_delivery(p_token bigint, p_through bigint, p_in_hand bigint[] DEFAULT '{}'::bigint[], p_behind_lane_ids bigint[] DEFAULT '{}'::bigint[]) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
  select jsonb_build_object(
    'stale', not exists (select from queue.leases l where l.id = p_token and l.expires_at > private.now()),
    'missed', (
      select min(m.id)
      from queue.lanes l
      join public.webhook_endpoints e on e.id = l.endpoint_id and e.status = 'active'
      cross join lateral (
        select d.id from queue.deliveries d
        -- Rows as wholes for the index by lane, as in expire_deliveries; sub-selects because they are hashed: an array would
        -- be walked for each row.
        where (d.lane_id, d.id) > (l.id, 0) and (d.lane_id, d.id) <= (l.id, p_through)
          and d.id not in (select h from unnest(p_in_hand) h)
          -- what has lost its event stays pending, and is nobody's to send
          and exists (select from public.events v
            where v.tenant_id = d.tenant_id and v.seq = d.seq and v.dispatched_on = d.dispatched_on)
        order by d.lane_id, d.id limit 1
      ) m
      where l.lease_id = p_token and l.id not in (select b from unnest(p_behind_lane_ids) b)
    )
  )
$$;

CREATE FUNCTION worker.finish_image(p_image_id uuid, p_revision integer, p_asset_id uuid, p_urls jsonb) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_image constant public.product_images := private.image_in_work(p_image_id, p_revision);
  v_asset public.image_assets;
  v_again boolean;
  v_number integer;
begin
  if v_image.id is null then
    return false;
  end if;
  update public.image_assets a
  set stored_at = coalesce(a.stored_at, v_now), urls = case when a.stored_at is null then p_urls else a.urls end, unused_since = null
  where a.id = p_asset_id and a.tenant_id = v_image.tenant_id and (a.stored_at is not null or p_urls is not null)
  returning * into v_asset;
  if not found then
    return false;
  end if;
  v_again := v_image.asset_id is not distinct from p_asset_id;
  v_number := v_image.content_version + (not v_again)::integer;
  if not v_again then
    update public.product_image_versions v set retired_at = v_now where v.image_id = p_image_id and v.retired_at is null;
    insert into public.product_image_versions (tenant_id, image_id, number, asset_id, source_url, upload_path, ready_at)
    values (v_image.tenant_id, p_image_id, v_number, p_asset_id, v_image.source_url, v_image.upload_path, v_now);
  end if;
  update public.product_images i
  set status = 'ready', error = null, asset_id = p_asset_id, content_version = v_number, urls = v_asset.urls, width = v_asset.width,
      height = v_asset.height, blurhash = v_asset.blurhash, warnings = private.near_duplicates(v_image, v_asset)
  where i.id = p_image_id;
  return true;
end $$;

CREATE FUNCTION worker.forget_api_requests(p_limit integer DEFAULT 20000) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
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

CREATE FUNCTION worker.forget_changes(p_keep_days integer DEFAULT 30, p_limit integer DEFAULT 10000) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_before timestamptz;
  v_changes integer;
  v_stamps integer;
  v_clients integer;
  v_messages integer;
begin
  if p_keep_days is null or p_keep_days < 1 then
    perform private.fail('PT400', 'retention.too_short', 'Keep at least one day.');
  end if;
  v_before := private.now() - make_interval(days => p_keep_days);
  delete from public.sync_changes c
  where c.settled_at < v_before and c.status <> 'conflict' and c.id in (
    select o.id from public.sync_changes o
    where o.settled_at < v_before and o.status <> 'conflict' order by o.settled_at limit p_limit for update skip locked
  );
  get diagnostics v_changes = row_count;
  delete from private.sync_stamps s
  where s.settled_at < v_before and (s.entity_id, s.field) in (
    select o.entity_id, o.field from private.sync_stamps o
    where o.settled_at < v_before order by o.settled_at limit p_limit for update skip locked
  );
  get diagnostics v_stamps = row_count;
  delete from public.sync_clients c
  where c.pulled_at < v_before and (c.tenant_id, c.principal_id, c.client) in (
    select o.tenant_id, o.principal_id, o.client from public.sync_clients o
    where o.pulled_on <= (v_before at time zone 'UTC')::date and o.pulled_at < v_before
    order by o.pulled_on limit p_limit for update skip locked
  );
  get diagnostics v_clients = row_count;
  delete from public.inbox_messages m
  where m.received_at < v_before and m.id in (
    select o.id from public.inbox_messages o
    where o.received_at < v_before order by o.received_at limit p_limit for update skip locked
  );
  get diagnostics v_messages = row_count;
  return jsonb_build_object('forgotten', v_changes,
    'more', greatest(v_changes, v_stamps, v_clients, v_messages, private.forget_last_words(v_before, p_limit)) >= p_limit);
end $$;

CREATE FUNCTION worker.forget_command_results(p_keep_hours integer DEFAULT 24) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_before constant timestamptz := private.now() - make_interval(hours => p_keep_hours);
  v_forgotten integer;
begin
  delete from private.command_results r where r.created_at < v_before;
  get diagnostics v_forgotten = row_count;
  return jsonb_build_object('forgotten', v_forgotten);
end $$;

CREATE FUNCTION worker.forget_webhook_secrets() RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_forgotten integer;
begin
  delete from private.webhook_secrets s where s.expires_at < private.now() - interval '1 hour';
  get diagnostics v_forgotten = row_count;
  return jsonb_build_object('forgotten', v_forgotten);
end $$;

CREATE FUNCTION worker.forget_webhooks(p_keep_days integer DEFAULT 30, p_limit integer DEFAULT 10000) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
declare
  v_before timestamptz;
  v_forgotten integer;
begin
  if p_keep_days is null or p_keep_days < 1 then
    perform private.fail('PT400', 'retention.too_short', 'Keep at least one day.');
  end if;
  v_before := private.now() - make_interval(days => p_keep_days);
  delete from public.inbound_webhooks w
  where w.received_at < v_before and w.id in (
    select o.id from public.inbound_webhooks o
    where o.received_at < v_before and not (o.status = 'queued' and o.inbox_message_id is null)
    order by o.received_at limit p_limit for update skip locked
  );
  get diagnostics v_forgotten = row_count;
  delete from private.unknown_webhooks u where u.day < (v_before at time zone 'UTC')::date;
  return jsonb_build_object('forgotten', v_forgotten, 'requeued', private.requeue_webhooks(1000), 'more', v_forgotten >= p_limit);
end $$;

CREATE FUNCTION worker.image_fetched(p_image_id uuid, p_revision integer) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if (private.image_in_work(p_image_id, p_revision)).id is null then
    return false;
  end if;
  update public.product_images i set status = 'processing' where i.id = p_image_id and i.status <> 'processing';
  return true;
end $$;

CREATE FUNCTION worker.image_troubled(p_image_id uuid, p_revision integer, p_error jsonb) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  if (private.image_in_work(p_image_id, p_revision)).id is null then
    return false;
  end if;
  update public.product_images i set status = 'pending', error = p_error where i.id = p_image_id;
  return true;
end $$;

CREATE FUNCTION worker.import_products(p_tenant_id uuid, p_rows jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_row jsonb;
  v_answer jsonb := '[]';
  v_message text;
  v_detail text;
  v_constraint text;
begin
  -- A catalogue that comes in is taken as it is: see guard_publishing.
  perform set_config('pms.importing', 'yes', true);
  if jsonb_typeof(p_rows) is distinct from 'array' or jsonb_array_length(p_rows) > 500 then
    perform private.fail('PT400', 'import.rows_invalid', 'p_rows must be an array of at most 500 rows.');
  end if;
  if not exists (select from public.tenants t where t.id = p_tenant_id) then
    perform private.fail('PT404', 'tenant.not_found', format('There is no tenant %s.', p_tenant_id));
  end if;
  -- Levels are locked in primary-key order, first, as every command does: row by row, in the file's order, a command
  -- that moves some of them too would deadlock with the batch.
  perform 1 from public.stock_levels s
  where s.id in (
    select l.id
    from jsonb_array_elements(p_rows) r (line)
    join public.products p on p.tenant_id = p_tenant_id and p.sku = r.line ->> 'sku' and p.deleted_at is null
    join public.locations o on o.tenant_id = p_tenant_id and o.code = r.line ->> 'location_code'
    join public.stock_levels l on l.product_id = p.id and l.location_id = o.id
    where r.line ->> 'quantity' is not null
  )
  order by s.id
  for update;
  for v_row in select jsonb_array_elements(p_rows) loop
    begin
      v_answer := v_answer || private.import_product(p_tenant_id, v_row);
    exception
      -- Faults of the moment are the caller's to retry, not the row's.
      when serialization_failure or deadlock_detected or lock_not_available or query_canceled
        or insufficient_resources or operator_intervention then
        raise;
      when others then
        get stacked diagnostics v_message = message_text, v_detail = pg_exception_detail, v_constraint = constraint_name;
        v_answer := v_answer || jsonb_build_object('line', v_row -> 'line', 'sku', v_row -> 'sku', 'result', 'refused',
          'product_id', null, 'received', 0, 'error', private.refusal(sqlstate, v_message, v_detail, v_constraint));
    end;
  end loop;
  return v_answer;
end $$;

CREATE FUNCTION worker.judge_files(p_host text, p_public_ids text[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_judged integer;
begin
  with judged as (
    insert into private.doomed_files (host, public_id, due_at, why)
    select p_host, f.public_id, private.now() + interval '1 day', 'unknown'
    from (select distinct u.public_id from unnest(p_public_ids) u (public_id)) f
    where split_part(f.public_id, '/', 1) in (select t.id::text from public.tenants t union all select d.id::text from private.tombstones d)
      and not private.is_needed(p_host, f.public_id)
    order by f.public_id
    on conflict do nothing
    returning 1
  )
  select count(*)::integer into v_judged from judged;
  return v_judged;
end $$;

CREATE FUNCTION worker.lease_lanes(p_worker text, p_token bigint DEFAULT NULL::bigint, p_seconds integer DEFAULT 30, p_limit integer DEFAULT 200000, p_known text DEFAULT NULL::text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET jit TO 'off'
    AS $$
declare
  v_token bigint;
  v_expires timestamptz := private.now() + make_interval(secs => p_seconds);
  v_share integer;
  v_held integer;
  v_known text;
begin
  update queue.leases l set expires_at = v_expires
  where l.id = p_token and l.worker = p_worker and l.expires_at > private.now()
  returning l.id into v_token;
  if v_token is null then
    insert into queue.leases (worker, expires_at) values (p_worker, v_expires) returning id into v_token;
  end if;

  -- One that is being settled under holds a share lock, so its lanes are taken only after that has committed.
  delete from queue.leases l
  where l.id in (select e.id from queue.leases e where e.expires_at <= private.now() for update skip locked);

  select ceil((select count(*) from queue.lanes)::numeric / count(distinct l.worker)) into v_share
  from queue.leases l where l.expires_at > private.now();
  select count(*) into v_held from queue.lanes l where l.lease_id = v_token;

  update queue.lanes l set lease_id = v_token
  where l.id in (
    select f.id from queue.lanes f where f.lease_id is null order by f.id
    limit greatest(0, least(p_limit, v_share) - v_held) for update skip locked
  );

  select count(*) || ':' || coalesce(sum(hashtextextended(l.id || ' ' || e.version, 0)::numeric), 0) into v_known
  from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
  where l.lease_id = v_token;

  return jsonb_build_object(
    'token', v_token,
    'expires_at', v_expires,
    'surplus', greatest(0, v_held - v_share),
    'known', v_known,
    'lanes', case when v_known is distinct from p_known then (
      select coalesce(jsonb_agg(jsonb_build_array(l.id, e.version) order by l.id), '[]')
      from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
      where l.lease_id = v_token
    ) end
  );
end $$;

CREATE FUNCTION worker.log_seq(p_tenant_id uuid, p_wait boolean DEFAULT false, p_until bigint DEFAULT NULL::bigint) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_until bigint;
begin
  if p_wait then
    v_until := private.dispatch_for(p_tenant_id, p_until);
  end if;
  return private.log_place(p_tenant_id) || jsonb_build_object('through', p_wait and v_until is null, 'until', v_until);
end $$;

CREATE FUNCTION worker.lose_files(p_host text, p_public_ids text[], p_told_at timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_lost uuid[];
  v_pictures integer;
begin
  -- pictures first, as finish_image has them
  perform from public.product_images i join public.image_assets a on a.id = i.asset_id
  where a.host = p_host and a.public_id = any (p_public_ids) order by i.id for no key update of i;
  with lost as (
    update public.image_assets a set stored_at = null, urls = '{}'
    where a.host = p_host and a.public_id = any (p_public_ids) and a.stored_at < p_told_at
    returning a.id
  )
  select array_agg(l.id) into v_lost from lost l;
  update public.product_images i set source_revision = i.source_revision + 1 where i.asset_id = any (v_lost);
  get diagnostics v_pictures = row_count;
  return v_pictures;
end $$;

CREATE FUNCTION worker.make_partitions(p_days_ahead integer DEFAULT 7) RETURNS jsonb
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select jsonb_build_object('made', coalesce(jsonb_agg(m.name) filter (where m.name is not null), '[]'))
  from (
    select private.make_partition(p.parent, private.today() + d.days) as name
    from (values ('events'), ('webhook_attempts')) p (parent)
    cross join generate_series(0, least(p_days_ahead, 60)) d (days)
  ) m
$$;

CREATE FUNCTION worker.note_api_use(p_uses jsonb, p_instance jsonb DEFAULT NULL::jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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

CREATE FUNCTION worker.notify_open_conflicts(p_minutes integer DEFAULT 60) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_told integer;
begin
  perform private.notify_tenant(o.tenant_id, 'sync.conflicts_open ' || private.today(), 'sync.conflicts_open', 'warning', null,
    format('Edits wait for your decision: %s', o.waiting),
    format('The oldest since %s UTC, on %s. resolve_conflict decides them.',
      to_char(o.oldest at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), o.fields))
  from (
    select c.tenant_id, count(*) as waiting, min(c.created_at) as oldest, string_agg(distinct c.field, ', ' order by c.field) as fields
    from public.sync_conflicts c
    where c.winner is null
    group by c.tenant_id having min(c.created_at) <= private.now() - make_interval(mins => p_minutes)
  ) o
  where not exists (
    select from public.notifications n where n.tenant_id = o.tenant_id and n.key = 'sync.conflicts_open ' || private.today()
  );
  get diagnostics v_told = row_count;
  return jsonb_build_object('told', v_told);
end $$;

CREATE FUNCTION worker.publish_due_products(p_limit integer DEFAULT 500) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_product record;
  v_published integer := 0;
  v_failed integer := 0;
begin
  for v_product in
    select p.id from public.products p
    where p.publish_at <= v_now and p.deleted_at is null
    order by p.publish_at, p.parent_id nulls first, p.id
    limit p_limit for no key update skip locked
  loop
    if private.publish_due_product(v_product.id) then
      v_published := v_published + 1;
    else
      v_failed := v_failed + 1;
    end if;
  end loop;
  return jsonb_build_object('published', v_published, 'failed', v_failed, 'more', v_published + v_failed >= p_limit);
end $$;

CREATE FUNCTION worker.queue_health(p_mark xid8 DEFAULT '0'::xid8) RETURNS jsonb
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    SET jit TO 'off'
    AS $$
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

CREATE FUNCTION worker.read_api_key(p_api_key_id uuid, p_cached boolean DEFAULT false) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    AS $$
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

CREATE FUNCTION worker.read_changes(p_tenant_id uuid, p_after bigint DEFAULT 0, p_limit integer DEFAULT 200) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    SET "TimeZone" TO 'UTC'
    AS $$
  with page as (
    select c.* from public.sync_changes c
    where c.tenant_id = p_tenant_id and c.status = 'pending' and c.seq > p_after
    order by c.seq limit p_limit
  ), first as (
    select p.* from page p
    where not exists (
      select from public.sync_changes o
      where o.entity_id = p.entity_id and o.tenant_id = p_tenant_id and o.status = 'pending' and o.seq < p.seq
    )
  ), told as (
    select f.*, s."row", s.base, s.touched, s.own,
      not private.is_plain(coalesce(s."row", '{}')) or not private.is_plain(coalesce(s.base, '{}')) as unfit
    from first f
    cross join lateral (
      select * from private.product_since(p_tenant_id, f.entity_id, f.base_version, f.principal_id, f.client)
      where f.entity = 'product'
      union all
      select * from private.stock_level_since(p_tenant_id, f.entity_id, f.base_version, f.principal_id, f.client)
      where f.entity = 'stock_level'
    ) s
  )
  select jsonb_build_object(
    'changes', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'id', t.id, 'principal_id', t.principal_id, 'entity', t.entity, 'entity_id', t.entity_id, 'operation', t.operation,
        'base_version', t.base_version, 'edit', t.edit, 'stamp', t.stamp, 'pushed_at', t.pushed_at,
        'row', case when not t.unfit then t."row" end, 'base', case when not t.unfit then t.base end,
        'touched', t.touched, 'own', t.own, 'unfit', t.unfit, 'stamps', (
          select coalesce(jsonb_agg(jsonb_build_array(s.field, s.version, s.stamp)), '[]')
          from private.sync_stamps s where s.entity_id = t.entity_id and t.edit ? split_part(s.field, chr(31), 1)
        )
      ) order by t.seq), '[]')
      from told t
    ),
    'policies', (
      select jsonb_object_agg(d.entity, d.policies) from (
        select d.entity, jsonb_object_agg(d.field, d.policy) || coalesce((
          select jsonb_object_agg(p.field, p.policy) from public.sync_policies p
          where p.tenant_id = p_tenant_id and p.entity = d.entity
        ), '{}') as policies
        from private.sync_defaults d group by d.entity
      ) d
    ),
    'now', private.now(),
    'after', (select max(p.seq) from page p),
    'more', (select count(*) >= p_limit from page p)
  )
$$;

CREATE FUNCTION worker.read_lanes(p_token bigint, p_after bigint, p_limit integer, p_lane_ids bigint[] DEFAULT NULL::bigint[], p_busy_ids bigint[] DEFAULT '{}'::bigint[], p_through bigint DEFAULT NULL::bigint, p_parked_lane_ids bigint[] DEFAULT '{}'::bigint[], p_behind_lane_ids bigint[] DEFAULT '{}'::bigint[]) RETURNS worker."application/json"
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'auto'
    AS $$
declare
  -- A volatile function is no index condition; its value is.
  v_now constant timestamptz := private.now();
  v_first text;
  v_again text;
  v_after bigint;
  v_more boolean;
  v_next timestamptz;
begin
  if not exists (select from queue.leases l where l.id = p_token and l.expires_at > v_now) then
    return jsonb_build_object('stale', true, 'after', p_after, 'more', false, 'next_retry_at', null, 'deliveries', '[]'::jsonb);
  end if;

  -- Which index finds the deliveries of these lanes depends on which they are. And only an array that is known when the plan
  -- is made is looked up by hash; sub-selects are, below, whatever the plan.
  if p_lane_ids is not null then
    perform set_config('plan_cache_mode', 'force_custom_plan', true);
  end if;

  with found as (
    select d.id, d.lane_id, d.tenant_id, d.seq, d.dispatched_on, l.ordered, l.version
    from queue.deliveries d
    -- OFFSET keeps it an inner side, IS TRUE off the index by lease. From the lanes outwards all that they are owed was read
    -- and sorted for each page; by lease each delivery was compared with each lane.
    cross join lateral (
      select e.ordered, e.version from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
      where l.id = d.lane_id and (l.lease_id = p_token) is true and e.status = 'active' offset 0
    ) l
    where d.id > p_after and d.lane_id not in (select b from unnest(p_behind_lane_ids) b)
      and (p_lane_ids is null or d.lane_id = any (p_lane_ids))
    order by d.id
    limit p_limit
  )
  -- How far the answer reaches is told by what was found, not by what has its event still. A delivery whose event is
  -- gone is passed over and stays pending, for people to see: nobody can send it, and it must not hold up the others.
  select string_agg('{"delivery_id":' || f.id || ',"lane_id":' || f.lane_id || ',"version":' || f.version || ',"retry":false,"attempt":1,"event_id":'
      || to_json(v.id) || ',"type":' || to_json(v.type) || ',"occurred_at":' || to_json(v.occurred_at)
      || case when f.ordered then ',"order_key":"' || v.entity_id || '","blocked":' || exists (
          select from queue.retries r where r.lane_id = f.lane_id and r.order_key = v.entity_id and r.id < f.id
        ) else '' end
      || ',"body":' || v.body || '}', ',' order by f.id) filter (where v.id is not null), max(f.id), count(*) >= p_limit
  into v_first, v_after, v_more
  from found f
  left join public.events v on v.tenant_id = f.tenant_id and v.seq = f.seq and v.dispatched_on = f.dispatched_on;

  -- A complete answer covers everything visible, not only what is the caller's. The caller's own dispatch told it how
  -- far that is (p_through); without that, look, which walks dead entries while a session holds xmin.
  if not v_more then
    v_after := greatest(p_after, v_after, p_through);
    if p_through is null then
      v_after := greatest(v_after, (select d.id from queue.deliveries d where d.id > p_after order by d.id desc limit 1));
    end if;
  end if;

  if p_lane_ids is null then
    select string_agg('{"delivery_id":' || r.id || ',"lane_id":' || r.lane_id || ',"version":' || r.version || ',"retry":true,"attempt":' || r.attempt
        || ',"event_id":' || to_json(r.event_id) || ',"type":' || to_json(r.type) || ',"occurred_at":' || to_json(r.occurred_at)
        || ',"expires_at":' || to_json(r.expires_at) || ',"order_key":' || coalesce('"' || r.order_key || '"', 'null')
        || ',"body":' || r.body || '}', ',' order by r.due_at, r.id)
    into v_again
    from (
      select r.id, r.lane_id, r.attempt, r.due_at, r.expires_at, r.order_key, v.id as event_id, v.type, v.body,
        v.occurred_at, l.version
      from queue.retries r
      join public.events v on v.tenant_id = r.tenant_id and v.seq = r.seq and v.dispatched_on = r.dispatched_on
      cross join lateral (
        select e.version from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
        where l.id = r.lane_id and (l.lease_id = p_token) is true and e.status = 'active' offset 0
      ) l
      where not r.blocked and r.due_at <= v_now and r.id not in (select b from unnest(p_busy_ids) b)
        and r.lane_id not in (select p from unnest(p_parked_lane_ids) p)
      order by r.due_at, r.id
      limit p_limit
    ) r;

    select r.due_at into v_next
    from queue.retries r
    cross join lateral (select 1 from queue.lanes l where l.id = r.lane_id and (l.lease_id = p_token) is true offset 0) l
    where not r.blocked and r.due_at > v_now and r.lane_id not in (select p from unnest(p_parked_lane_ids) p)
    order by r.due_at limit 1;
  end if;

  return '{"stale":false,"after":' || v_after || ',"more":' || v_more || ',"next_retry_at":'
    || coalesce(to_json(v_next)::text, 'null') || ',"deliveries":[' || concat_ws(',', v_first, v_again) || ']}';
end $$;

CREATE FUNCTION worker.read_webhook_test(p_delivery_id bigint) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select jsonb_build_object(
    'delivery_id', t.id, 'event_id', t.event_id, 'type', t.type, 'body', t.body, 'created_at', t.created_at,
    'lane', private.lane_settings(l, e)
  )
  from private.webhook_tests t
  join public.webhook_endpoints e on e.id = t.endpoint_id
  join queue.lanes l on l.endpoint_id = e.id
  where t.id = p_delivery_id
$$;

CREATE FUNCTION worker.release_lanes(p_token bigint, p_lane_ids bigint[] DEFAULT NULL::bigint[]) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_released integer;
begin
  -- The lease before its lanes, as settling does.
  perform 1 from queue.leases l where l.id = p_token for update;
  update queue.lanes l set lease_id = null
  where l.lease_id = p_token and (p_lane_ids is null or l.id = any (p_lane_ids));
  get diagnostics v_released = row_count;
  if p_lane_ids is null then
    delete from queue.leases l where l.id = p_token;
  end if;
  if v_released > 0 then
    perform private.ring('endpoints');
  end if;
  return jsonb_build_object('released', v_released);
end $$;

CREATE FUNCTION worker.schema_version() RETURNS integer
    LANGUAGE sql IMMUTABLE
    SET search_path TO ''
    AS $$ select 1 $$;

CREATE FUNCTION worker.settle_deliveries(p_token bigint, p_results jsonb DEFAULT '[]'::jsonb, p_delivered json DEFAULT '{}'::json) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_today constant date := private.today();
  v_columns record;
  v_lanes bigint[];
  v_settled bigint[] := '{}';
  v_took uuid[] := '{}';
  v_plain record;
  v_rest record;
begin
  perform 1 from queue.leases l where l.id = p_token and l.expires_at > v_now for share;
  if not found then
    return jsonb_build_object('stale', true, 'settled', 0, 'unknown', '[]'::jsonb);
  end if;
  select * into v_columns from json_to_record(p_delivered) as c (delivery_id bigint[], lane_id bigint[], event_id text[],
    type text[], status integer[], response text[], started_at timestamptz[], duration_ms numeric[], dns_ms numeric[],
    connect_ms numeric[], first_byte_ms numeric[]);
  v_lanes := array(
    select l.id from queue.lanes l
    where l.lease_id = p_token and l.id in (
      select unnest(v_columns.lane_id) union select (r ->> 'lane_id')::bigint from jsonb_array_elements(p_results) r
    )
    order by l.id for share
  );
  perform private.make_partition('webhook_attempts', v_today);

  if v_columns.delivery_id is not null then
    v_plain := private.settle_delivered(v_columns.delivery_id, v_columns.event_id, v_columns.type, v_columns.status,
      v_columns.response, v_columns.started_at, v_columns.duration_ms, v_columns.dns_ms, v_columns.connect_ms,
      v_columns.first_byte_ms, v_lanes, v_now, v_today);
    v_settled := coalesce(v_plain.settled, '{}');
    v_took := coalesce(v_plain.endpoints, '{}');
    if cardinality(v_settled) < cardinality(v_columns.delivery_id) then
      -- one that lined up is among the retries, though this was its first attempt; others are gone
      p_results := p_results || coalesce((
        select jsonb_agg(to_jsonb(r) || '{"attempt": 1, "outcome": "delivered"}')
        from unnest(v_columns.delivery_id, v_columns.lane_id, v_columns.event_id, v_columns.type, v_columns.status,
          v_columns.response, v_columns.started_at, v_columns.duration_ms, v_columns.dns_ms, v_columns.connect_ms,
          v_columns.first_byte_ms) as r (delivery_id, lane_id, event_id, type, status, response, started_at, duration_ms, dns_ms,
          connect_ms, first_byte_ms)
        left join unnest(v_settled) s (id) on s.id = r.delivery_id
        where s.id is null
      ), '[]');
    end if;
  end if;
  if p_results <> '[]' then
    v_rest := private.settle_others(p_results, v_lanes, v_now, v_today);
    v_settled := v_settled || coalesce(v_rest.settled, '{}');
    v_took := v_took || coalesce(v_rest.endpoints, '{}');
  end if;
  -- One success is enough: an endpoint that works now and then is not one to be disabled.
  delete from public.webhook_troubles t where t.endpoint_id = any (v_took);
  if p_results <> '[]' then
    perform private.note_troubles((
      select jsonb_agg(f) from jsonb_array_elements(v_rest.failures) f
      where (f ->> 'gone')::boolean or not (f ->> 'endpoint_id')::uuid = any (v_took)
    ));
  end if;

  return jsonb_build_object(
    'stale', false,
    'settled', cardinality(v_settled),
    'unknown', (
      select coalesce(jsonb_agg(r -> 'delivery_id'), '[]') from jsonb_array_elements(p_results) r
      where not (r ->> 'delivery_id')::bigint = any (v_settled)
    )
  );
end $$;

CREATE FUNCTION worker.settle_doomed_files(p_host text, p_public_ids text[]) RETURNS integer
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  with gone as (
    delete from private.doomed_files d where d.host = p_host and d.public_id = any (p_public_ids) returning 1
  )
  select count(*)::integer from gone
$$;

CREATE FUNCTION worker.settle_jobs(p_results jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION worker.settle_webhook_test(p_delivery_id bigint, p_result jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE FUNCTION worker.stay_awake(p_seconds numeric) RETURNS jsonb
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO ''
    AS $$
  update queue.worker_awake set until = private.now() + make_interval(secs => least(p_seconds, 60))
  where one
  returning jsonb_build_object('until', until)
$$;

CREATE FUNCTION worker.sweep_images(p_keep_days integer DEFAULT 30, p_limit integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
  v_before constant timestamptz := private.now() - make_interval(days => p_keep_days);
  v_versions integer;
  v_products integer;
  v_assets integer;
  v_uploads integer;
  v_stuck integer;
  v_images uuid[];
begin
  if p_keep_days is null or p_keep_days < 1 then
    perform private.fail('PT400', 'retention.too_short', 'Keep at least one day.');
  end if;
  delete from public.product_image_versions v
  where (v.image_id, v.number) in (
    select o.image_id, o.number from public.product_image_versions o where o.retired_at < v_before
    order by o.retired_at limit p_limit for update skip locked
  );
  get diagnostics v_versions = row_count;

  v_images := array(
    select i.id from public.products p join public.product_images i on i.tenant_id = p.tenant_id and i.product_id = p.id
    where p.deleted_at < v_before and i.asset_id is not null
    order by i.id limit p_limit for no key update of i skip locked
  );
  -- as if it were new, should the product come back
  update public.product_images i
  set status = 'pending', error = null, asset_id = null, urls = '{}', width = null, height = null, blurhash = null, warnings = '[]'
  where i.id = any (v_images);
  delete from public.product_image_versions v where v.image_id = any (v_images);
  v_products := cardinality(v_images);

  delete from public.image_assets a
  where a.id in (
    select o.id from public.image_assets o
    where o.unused_since < case when o.stored_at is null then private.now() - interval '1 day' else v_before end
    order by o.unused_since limit p_limit for update skip locked
  );
  get diagnostics v_assets = row_count;
  v_uploads := private.doom_forgotten_uploads(p_limit);
  v_stuck := private.settle_stuck_images(p_limit);
  return jsonb_build_object('versions', v_versions, 'products', v_products, 'assets', v_assets, 'uploads', v_uploads, 'stuck', v_stuck,
    'more', greatest(v_versions, v_products, v_assets, v_stuck) >= p_limit);
end $$;

CREATE FUNCTION worker.sweep_reservations(p_limit integer DEFAULT 1000) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    AS $$
declare
  v_now constant timestamptz := private.now();
  v_due uuid[];
  v_levels uuid[];
  v_expired integer;
begin
  select array_agg(d.id), array_agg(distinct d.level_id) into v_due, v_levels
  from (
    select r.id, r.level_id from public.reservations r
    where r.status = 'held' and r.expires_at <= v_now
    order by r.expires_at
    limit greatest(1, least(p_limit, 10000))
  ) d;
  select array_agg(s.id) into v_levels
  from (select s.id from public.stock_levels s where s.id = any (v_levels) order by s.id for update skip locked) s;
  -- Read again under the locks: one that was extended meanwhile goes on.
  select count(*) into v_expired from private.give_back('expire', 'expired', array(
    select r.id from public.reservations r
    where r.id = any (v_due) and r.level_id = any (v_levels) and r.status = 'held' and r.expires_at <= v_now
  ));
  return jsonb_build_object('expired', v_expired, 'more', v_expired > 0 and cardinality(v_due) >= p_limit);
end $$;

CREATE FUNCTION worker.sync_health() RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO ''
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
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

CREATE FUNCTION worker.worker_status() RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
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

CREATE TABLE private.api_counts (
    instance_id uuid NOT NULL,
    name text NOT NULL,
    count bigint NOT NULL,
    CONSTRAINT api_counts_count_positive CHECK ((count >= 0)),
    CONSTRAINT api_counts_name_known CHECK ((name = ANY (private.api_count_names())))
)
WITH (fillfactor='50');

COMMENT ON TABLE private.api_counts IS 'Requests by how they ended, and reads by what the cache did, by instance of the edge adapter';

CREATE TABLE private.api_instances (
    instance_id uuid NOT NULL,
    cached boolean NOT NULL,
    seen_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

COMMENT ON TABLE private.api_instances IS 'Instances of the edge adapter that counted lately';

COMMENT ON COLUMN private.api_instances.cached IS 'Whether it has a Redis, and waits for a worker to tell it what changes';

CREATE TABLE private.api_key_secrets (
    secret_id uuid NOT NULL,
    turn bigint NOT NULL,
    api_key_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    expires_at timestamp with time zone
);

COMMENT ON TABLE private.api_key_secrets IS 'Which secrets sign for an API key';

ALTER TABLE private.api_key_secrets ALTER COLUMN turn ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME private.api_key_secrets_turn_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE private.api_nonces (
    api_key_id uuid NOT NULL,
    nonce text NOT NULL,
    forget_at timestamp with time zone NOT NULL,
    CONSTRAINT api_nonces_length CHECK (((length(nonce) >= 1) AND (length(nonce) <= 64)))
);

COMMENT ON TABLE private.api_nonces IS 'Nonces of signed requests, each good for one';

CREATE UNLOGGED TABLE private.api_rates (
    subject text NOT NULL,
    full_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

COMMENT ON TABLE private.api_rates IS 'How far keys and addresses have used their requests up';

CREATE TABLE private.cached_entities (
    entity text NOT NULL,
    tag text
);

COMMENT ON TABLE private.cached_entities IS 'Which changes touch which cached answers';

CREATE TABLE private.cached_tenants (
    tenant_id uuid NOT NULL,
    until timestamp with time zone NOT NULL
);

COMMENT ON TABLE private.cached_tenants IS 'Tenants that an edge adapter caches, and how long dispatch tells it of changes';

CREATE TABLE private.command_results (
    tenant_id uuid NOT NULL,
    principal_id uuid NOT NULL,
    command text NOT NULL,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    result jsonb,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT command_results_key_length CHECK (((length(key) >= 1) AND (length(key) <= 200)))
);

COMMENT ON TABLE private.command_results IS 'Results by idempotency key, kept 24 h';

CREATE TABLE private.dispatch_mark (
    one boolean DEFAULT true NOT NULL,
    mark xid8 DEFAULT '0'::xid8 NOT NULL,
    epoch text DEFAULT ''::text NOT NULL,
    CONSTRAINT dispatch_mark_one_row CHECK (one)
);

COMMENT ON TABLE private.dispatch_mark IS 'Below which transaction the outbox needs no look';

CREATE TABLE private.event_examples (
    entity text NOT NULL,
    verb text NOT NULL,
    object jsonb DEFAULT '{}'::jsonb NOT NULL,
    previous jsonb,
    CONSTRAINT event_examples_object CHECK ((jsonb_typeof(object) = 'object'::text)),
    CONSTRAINT event_examples_previous CHECK ((jsonb_typeof(previous) = 'object'::text))
);

COMMENT ON TABLE private.event_examples IS 'Values of example events: of verb * for all of an entity; previous: what changed and how it was';

CREATE TABLE private.event_keys (
    type text NOT NULL,
    schema_version integer NOT NULL,
    required text[] NOT NULL,
    hidden text[] NOT NULL
);

COMMENT ON TABLE private.event_keys IS 'Keys that an event''s object must have, and those that it must not have';

CREATE TABLE private.event_map (
    entity text NOT NULL,
    operation text NOT NULL,
    rank integer DEFAULT 9 NOT NULL,
    when_field text,
    when_null boolean,
    when_value text,
    verb text NOT NULL,
    webhooks boolean DEFAULT true NOT NULL,
    description text NOT NULL,
    CONSTRAINT event_map_one_condition CHECK ((num_nonnulls(when_null, when_value) = num_nonnulls(when_field)))
);

COMMENT ON TABLE private.event_map IS 'Which change becomes which event type: <entity>.<verb>';

CREATE TABLE public.events (
    dispatched_on date NOT NULL,
    tenant_id uuid NOT NULL,
    seq bigint NOT NULL,
    id text NOT NULL,
    type text NOT NULL,
    entity text NOT NULL,
    entity_id uuid NOT NULL,
    version bigint NOT NULL,
    actor uuid,
    command_id text,
    occurred_at timestamp with time zone NOT NULL,
    dispatched_at timestamp with time zone NOT NULL,
    body text NOT NULL
)
PARTITION BY RANGE (dispatched_on);

COMMENT ON TABLE public.events IS 'The log of every tenant, gapless by seq; body is what webhooks sign';

CREATE TABLE private.inbound_types (
    type text NOT NULL,
    kind text NOT NULL,
    order_event text,
    CONSTRAINT inbound_types_event_of_orders CHECK (((kind = 'order'::text) = (order_event IS NOT NULL))),
    CONSTRAINT inbound_types_kind_known CHECK ((kind = ANY (ARRAY['product'::text, 'inventory'::text, 'order'::text])))
);

COMMENT ON TABLE private.inbound_types IS 'The types of inbound webhooks that mean something here';

CREATE TABLE private.invalid_events (
    tenant_id uuid NOT NULL,
    seq bigint NOT NULL,
    type text NOT NULL,
    problem text NOT NULL,
    at timestamp with time zone NOT NULL
);

COMMENT ON TABLE private.invalid_events IS 'Events that were kept from webhooks, and why; worker_status counts them';

CREATE TABLE private.log_epoch (
    one boolean DEFAULT true NOT NULL,
    epoch text DEFAULT encode(extensions.gen_random_bytes(6), 'hex'::text) NOT NULL,
    CONSTRAINT log_epoch_one_row CHECK (one)
);

COMMENT ON TABLE private.log_epoch IS 'Changes when history does: clients that kept a cursor start again';

CREATE TABLE private.logged_entities (
    entity text NOT NULL,
    relation text NOT NULL,
    read_permission text NOT NULL,
    hidden text[] NOT NULL
);

COMMENT ON TABLE private.logged_entities IS 'Which table holds an entity, who may read its events, and which of its columns never leave it';

CREATE TABLE private.order_counters (
    tenant_id uuid NOT NULL,
    last bigint NOT NULL
);

COMMENT ON TABLE private.order_counters IS 'The last order number of each tenant: gapless, given when an order is placed';

CREATE TABLE private.order_webhooks (
    tenant_id uuid NOT NULL,
    principal_id uuid NOT NULL,
    event_id text NOT NULL,
    order_id uuid NOT NULL,
    type text NOT NULL
);

COMMENT ON TABLE private.order_webhooks IS 'The events that happened to orders, by the ids that their senders gave them';

CREATE TABLE private.outbox (
    id bigint NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    tenant_id uuid NOT NULL,
    entity text NOT NULL,
    entity_id uuid NOT NULL,
    operation text NOT NULL,
    version bigint NOT NULL,
    changed text[],
    new_row jsonb,
    old_row jsonb,
    actor uuid,
    command_id text,
    occurred_at timestamp with time zone NOT NULL,
    CONSTRAINT outbox_operation_known CHECK ((operation = ANY (ARRAY['INSERT'::text, 'UPDATE'::text, 'DELETE'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='20000');

COMMENT ON TABLE private.outbox IS 'Committed changes that are not yet in the log';

ALTER TABLE private.outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME private.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE private.product_holders (
    holder text NOT NULL,
    finder text NOT NULL,
    CONSTRAINT product_holders_finder_form CHECK ((finder ~ '^private\.[a-z_]+$'::text))
);

COMMENT ON TABLE private.product_holders IS 'Who may hold products back from deletion, and the function that finds it';

CREATE TABLE private.product_words (
    product_id uuid NOT NULL,
    words tsvector NOT NULL
);

COMMENT ON TABLE private.product_words IS 'What living products are found by; kept by triggers';

CREATE TABLE private.ring_budget (
    one boolean DEFAULT true NOT NULL,
    per_second numeric DEFAULT 20 NOT NULL,
    tokens numeric DEFAULT 20 NOT NULL,
    refilled_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT ring_budget_one_row CHECK (one),
    CONSTRAINT ring_budget_positive CHECK ((per_second > (0)::numeric))
);

COMMENT ON TABLE private.ring_budget IS 'How many tenants dispatch may ring';

CREATE TABLE private.role_permissions (
    role text NOT NULL,
    permission text NOT NULL
);

COMMENT ON TABLE private.role_permissions IS 'What each role may do';

CREATE TABLE private.secrets (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    value text NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL
);

COMMENT ON TABLE private.secrets IS 'Where secrets live when the project has no Vault';

CREATE TABLE private.sync_defaults (
    entity text NOT NULL,
    field text NOT NULL,
    policy text NOT NULL
);

COMMENT ON TABLE private.sync_defaults IS 'Policies of fields for which a tenant has none; field *: all others';

CREATE TABLE private.sync_entities (
    entity text NOT NULL,
    fields text[] NOT NULL
);

COMMENT ON TABLE private.sync_entities IS 'What clients may change by sync, and which of its fields';

CREATE TABLE private.sync_stamps (
    entity_id uuid NOT NULL,
    field text NOT NULL,
    tenant_id uuid NOT NULL,
    version bigint NOT NULL,
    stamp text NOT NULL,
    settled_at timestamp with time zone DEFAULT private.now() NOT NULL
);

COMMENT ON TABLE private.sync_stamps IS 'When clients wrote fields, for the merges of what others did at the same time';

CREATE TABLE private.tenant_log (
    tenant_id uuid NOT NULL,
    seq bigint NOT NULL,
    unrung_since timestamp with time zone
);

COMMENT ON TABLE private.tenant_log IS 'The last seq of each tenant; unrung_since: news that no ring announced yet';

CREATE TABLE private.tombstones (
    id uuid NOT NULL,
    requested_at timestamp with time zone DEFAULT private.now() NOT NULL,
    erased_at timestamp with time zone,
    rows_erased bigint DEFAULT 0 NOT NULL
);

COMMENT ON TABLE private.tombstones IS 'Tenants that were deleted: id is what the tenant''s was; erased_at is null until all rows are gone';

CREATE TABLE private.unknown_webhooks (
    tenant_id uuid NOT NULL,
    day date NOT NULL,
    events bigint NOT NULL
);

COMMENT ON TABLE private.unknown_webhooks IS 'How many events of unknown types came on a day, in UTC';

CREATE TABLE private.upload_walk (
    one boolean DEFAULT true NOT NULL,
    after_name text DEFAULT ''::text NOT NULL,
    CONSTRAINT upload_walk_one CHECK (one)
);

COMMENT ON TABLE private.upload_walk IS 'Up to which name the uploads were looked at';

CREATE TABLE public.webhook_attempts (
    attempted_on date NOT NULL,
    delivery_id bigint NOT NULL,
    attempt integer NOT NULL,
    tenant_id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    event_id text NOT NULL,
    event_type text NOT NULL,
    kind text DEFAULT 'event'::text NOT NULL,
    outcome text NOT NULL,
    status integer,
    error text,
    duration_ms numeric(12,1),
    dns_ms numeric(12,1),
    connect_ms numeric(12,1),
    first_byte_ms numeric(12,1),
    response text,
    retry_at timestamp with time zone,
    started_at timestamp with time zone NOT NULL,
    settled_at timestamp with time zone NOT NULL,
    CONSTRAINT webhook_attempts_kind_known CHECK ((kind = ANY (ARRAY['event'::text, 'replay'::text, 'test'::text]))),
    CONSTRAINT webhook_attempts_outcome_known CHECK ((outcome = ANY (ARRAY['delivered'::text, 'retry'::text, 'probe'::text, 'failed'::text, 'gone'::text, 'expired'::text])))
)
PARTITION BY RANGE (attempted_on);

COMMENT ON TABLE public.webhook_attempts IS 'What was tried, one row an attempt; after the outcomes retry and probe others follow';

COMMENT ON COLUMN public.webhook_attempts.outcome IS 'probe: tried while the endpoint was down, and not counted as an attempt of the event';

COMMENT ON COLUMN public.webhook_attempts.connect_ms IS 'TCP, TLS and a proxy''s part; null when an open connection was used';

COMMENT ON COLUMN public.webhook_attempts.first_byte_ms IS 'From writing the request to the first byte of the answer';

CREATE TABLE private.webhook_policy (
    one boolean DEFAULT true NOT NULL,
    allow_private_hosts boolean DEFAULT false NOT NULL,
    disable_after interval DEFAULT '5 days'::interval NOT NULL,
    CONSTRAINT webhook_policy_disable_after_range CHECK (((disable_after >= '01:00:00'::interval) AND (disable_after <= '90 days'::interval))),
    CONSTRAINT webhook_policy_one_row CHECK (one)
);

COMMENT ON TABLE private.webhook_policy IS 'What the project allows of webhook endpoints: one row';

COMMENT ON COLUMN private.webhook_policy.allow_private_hosts IS 'Whether http, and hosts of private networks, may be stored: for development alone (the worker has a setting of its own)';

COMMENT ON COLUMN private.webhook_policy.disable_after IS 'How long an endpoint may fail without a break before it is disabled';

CREATE TABLE private.webhook_secrets (
    secret_id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    public_key text,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    expires_at timestamp with time zone
);

COMMENT ON TABLE private.webhook_secrets IS 'Which secrets sign for an endpoint';

COMMENT ON COLUMN private.webhook_secrets.public_key IS 'whpk_…, what receivers verify with; null of a shared secret';

CREATE TABLE private.webhook_tests (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    body text NOT NULL,
    enables boolean NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL
);

COMMENT ON TABLE private.webhook_tests IS 'Tests that wait to be sent; the id is that of a delivery';

CREATE TABLE public.api_key_usage (
    tenant_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    day date NOT NULL,
    requests bigint DEFAULT 0 NOT NULL,
    refused bigint DEFAULT 0 NOT NULL,
    cache_hit bigint DEFAULT 0 NOT NULL,
    cache_miss bigint DEFAULT 0 NOT NULL,
    cache_stale bigint DEFAULT 0 NOT NULL,
    cache_joined bigint DEFAULT 0 NOT NULL,
    cache_bypass bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');

COMMENT ON TABLE public.api_key_usage IS 'Requests by API key and day (UTC), and how the cache answered them; kept for 400 days';

COMMENT ON COLUMN public.api_key_usage.refused IS 'Of the requests: replays, those over the limit, and those from other networks';

CREATE TABLE public.categories (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    parent_id uuid,
    name text NOT NULL,
    slug text NOT NULL,
    "position" integer DEFAULT 1 NOT NULL,
    attribute_schema jsonb,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT categories_attribute_schema_object CHECK ((jsonb_typeof(attribute_schema) = 'object'::text)),
    CONSTRAINT categories_attribute_schema_plain CHECK (private.is_plain(attribute_schema)),
    CONSTRAINT categories_attribute_schema_size CHECK ((octet_length((attribute_schema)::text) <= 65536)),
    CONSTRAINT categories_name_clean CHECK (private.is_clean(name)),
    CONSTRAINT categories_name_length CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT categories_not_own_parent CHECK ((parent_id <> id)),
    CONSTRAINT categories_position_positive CHECK (("position" > 0)),
    CONSTRAINT categories_slug_form CHECK ((slug ~ '^[a-z0-9]([a-z0-9-]{0,98}[a-z0-9])?$'::text))
);

COMMENT ON TABLE public.categories IS 'A tenant''s tree of categories';

COMMENT ON COLUMN public.categories.attribute_schema IS 'JSON schema of the attributes of its products; null: any';

CREATE TABLE public.event_types (
    type text NOT NULL,
    entity text NOT NULL,
    verb text NOT NULL,
    description text NOT NULL,
    schema_version integer DEFAULT 1 NOT NULL,
    webhooks boolean NOT NULL,
    json_schema jsonb NOT NULL,
    example jsonb NOT NULL,
    CONSTRAINT event_types_schema_version_positive CHECK ((schema_version > 0)),
    CONSTRAINT event_types_type_is_entity_and_verb CHECK ((type = ((entity || '.'::text) || verb)))
);

COMMENT ON TABLE public.event_types IS 'Which events there are, their JSON Schema, and an example of each; the same for all tenants';

COMMENT ON COLUMN public.event_types.webhooks IS 'Whether endpoints receive it; if not, it is in the log only';

CREATE TABLE public.locations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT locations_code_form CHECK ((code ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,49}$'::text)),
    CONSTRAINT locations_name_clean CHECK (private.is_clean(name)),
    CONSTRAINT locations_name_length CHECK (((length(name) >= 1) AND (length(name) <= 200)))
);

COMMENT ON TABLE public.locations IS 'Where a tenant keeps stock';

CREATE TABLE public.notifications (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    key text NOT NULL,
    kind text NOT NULL,
    severity text NOT NULL,
    subject_id uuid,
    title text NOT NULL,
    detail text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    read_at timestamp with time zone,
    read_by uuid,
    CONSTRAINT notifications_key_length CHECK ((length(key) <= 200)),
    CONSTRAINT notifications_kind_form CHECK ((kind ~ '^[a-z_]+\.[a-z_]+$'::text)),
    CONSTRAINT notifications_severity_known CHECK ((severity = ANY (ARRAY['info'::text, 'warning'::text, 'error'::text])))
);

COMMENT ON TABLE public.notifications IS 'What a tenant''s people must know; written by the database, read by owners and managers';

COMMENT ON COLUMN public.notifications.subject_id IS 'What it is about, a webhook endpoint for example';

CREATE TABLE public.order_history (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    order_id uuid NOT NULL,
    order_version bigint NOT NULL,
    event text NOT NULL,
    from_status text,
    to_status text NOT NULL,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    actor uuid,
    command_id text,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL
);

COMMENT ON TABLE public.order_history IS 'Who did what to an order, when, and where it went';

ALTER TABLE public.order_history ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.order_history_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.order_lines (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    order_id uuid NOT NULL,
    "position" integer NOT NULL,
    product_id uuid NOT NULL,
    sku text NOT NULL,
    name text NOT NULL,
    unit_price numeric(18,4) NOT NULL,
    quantity bigint NOT NULL,
    tax_rate numeric(7,6) DEFAULT 0 NOT NULL,
    net_total numeric(18,4) NOT NULL,
    tax_total numeric(18,4) NOT NULL,
    total numeric(18,4) NOT NULL,
    fulfilled bigint DEFAULT 0 NOT NULL,
    cancelled bigint DEFAULT 0 NOT NULL,
    returned bigint DEFAULT 0 NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT order_lines_cancelled_not_negative CHECK ((cancelled >= 0)),
    CONSTRAINT order_lines_fulfilled_not_negative CHECK ((fulfilled >= 0)),
    CONSTRAINT order_lines_fulfilled_within CHECK (((fulfilled + cancelled) <= quantity)),
    CONSTRAINT order_lines_quantity_positive CHECK ((quantity > 0)),
    CONSTRAINT order_lines_returned_not_negative CHECK ((returned >= 0)),
    CONSTRAINT order_lines_returned_within CHECK ((returned <= fulfilled)),
    CONSTRAINT order_lines_tax_rate_share CHECK (((tax_rate >= (0)::numeric) AND (tax_rate <= (1)::numeric))),
    CONSTRAINT order_lines_total_is_sum CHECK ((total = (net_total + tax_total)))
);

COMMENT ON TABLE public.order_lines IS 'The lines of orders: each product as it was when the order was placed';

CREATE TABLE public.product_image_versions (
    tenant_id uuid NOT NULL,
    image_id uuid NOT NULL,
    number integer NOT NULL,
    asset_id uuid NOT NULL,
    source_url text,
    upload_path text,
    ready_at timestamp with time zone DEFAULT private.now() NOT NULL,
    retired_at timestamp with time zone,
    CONSTRAINT product_image_versions_number_positive CHECK ((number > 0))
);

COMMENT ON TABLE public.product_image_versions IS 'What a picture shows, and what it showed before; that goes by retention';

CREATE TABLE public.product_versions (
    tenant_id uuid NOT NULL,
    product_id uuid NOT NULL,
    version bigint NOT NULL,
    state jsonb NOT NULL,
    actor uuid,
    command_id text,
    replaced_at timestamp with time zone DEFAULT private.now() NOT NULL
);

COMMENT ON TABLE public.product_versions IS 'Every former state of a product; written by triggers only';

COMMENT ON COLUMN public.product_versions.actor IS 'Who replaced this state; null: the worker or the project itself';

CREATE TABLE public.reconciliation_findings (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    level_id uuid NOT NULL,
    product_id uuid NOT NULL,
    location_id uuid NOT NULL,
    kind text NOT NULL,
    level_amount bigint NOT NULL,
    other_amount bigint NOT NULL,
    level_version bigint NOT NULL,
    found_at timestamp with time zone DEFAULT private.now() NOT NULL,
    repaired_at timestamp with time zone,
    CONSTRAINT reconciliation_findings_differ CHECK ((level_amount <> other_amount)),
    CONSTRAINT reconciliation_findings_kind_known CHECK ((kind = ANY (ARRAY['on_hand'::text, 'reserved'::text, 'ledger'::text])))
);

COMMENT ON TABLE public.reconciliation_findings IS 'Where ledger, levels and reservations disagreed, by run of the proof';

CREATE TABLE public.stock_movements (
    id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    level_id uuid NOT NULL,
    level_version bigint NOT NULL,
    kind text NOT NULL,
    quantity bigint NOT NULL,
    reserved_quantity bigint DEFAULT 0 NOT NULL,
    on_hand_after bigint NOT NULL,
    reserved_after bigint NOT NULL,
    reason text,
    source text,
    order_id uuid,
    actor uuid,
    command_id text,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT stock_movements_kind_known CHECK ((kind = ANY (ARRAY['receive'::text, 'adjust'::text, 'transfer'::text, 'count'::text, 'return'::text, 'reserve'::text, 'release'::text, 'expire'::text, 'ship'::text, 'repair'::text]))),
    CONSTRAINT stock_movements_not_nothing CHECK (((quantity <> 0) OR (reserved_quantity <> 0) OR (kind = ANY (ARRAY['count'::text, 'repair'::text])))),
    CONSTRAINT stock_movements_promises_by_kind CHECK (((reserved_quantity = 0) OR (kind = ANY (ARRAY['reserve'::text, 'release'::text, 'expire'::text, 'ship'::text, 'repair'::text])))),
    CONSTRAINT stock_movements_reason_length CHECK ((length(reason) <= 500)),
    CONSTRAINT stock_movements_source_length CHECK ((length(source) <= 300))
);

COMMENT ON TABLE public.stock_movements IS 'The ledger: every change of a level''s amounts, with the amounts after it';

COMMENT ON COLUMN public.stock_movements.quantity IS 'What was added to on_hand, or taken from it';

COMMENT ON COLUMN public.stock_movements.reserved_quantity IS 'What was added to reserved, or taken from it';

ALTER TABLE public.stock_movements ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.stock_movements_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW public.stock_outs WITH (security_invoker='true') AS
 SELECT s.tenant_id,
    s.product_id,
    p.sku,
    p.name,
    s.location_id,
    l.code AS location_code,
    s.out_since,
    s.on_hand,
    s.reserved,
    s.safety,
    s.shortfall
   FROM ((public.stock_levels s
     JOIN public.products p ON (((p.tenant_id = s.tenant_id) AND (p.id = s.product_id))))
     JOIN public.locations l ON (((l.tenant_id = s.tenant_id) AND (l.id = s.location_id))))
  WHERE ((s.out_since IS NOT NULL) AND (p.deleted_at IS NULL) AND ((( SELECT auth.role() AS role) = 'service_role'::text) OR (s.tenant_id = ANY (( SELECT private.tenants_with('reports.read'::text) AS tenants_with)::uuid[]))));

COMMENT ON VIEW public.stock_outs IS 'Levels of which nothing can be sold, and since when';

CREATE VIEW public.stock_valuation WITH (security_invoker='true') AS
 SELECT s.tenant_id,
    s.location_id,
    p.currency,
    count(*) AS products,
    (sum(s.on_hand))::bigint AS on_hand,
    sum(((s.on_hand)::numeric * p.price)) AS value
   FROM (public.stock_levels s
     JOIN public.products p ON (((p.tenant_id = s.tenant_id) AND (p.id = s.product_id))))
  WHERE ((s.on_hand > 0) AND ((( SELECT auth.role() AS role) = 'service_role'::text) OR (s.tenant_id = ANY (( SELECT private.tenants_with('reports.read'::text) AS tenants_with)::uuid[]))))
  GROUP BY s.tenant_id, s.location_id, p.currency;

COMMENT ON VIEW public.stock_valuation IS 'What lies at each location, at today''s prices, per currency';

CREATE TABLE public.sync_changes (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    principal_id uuid DEFAULT auth.uid() NOT NULL,
    seq bigint NOT NULL,
    client text NOT NULL,
    entity text NOT NULL,
    entity_id uuid NOT NULL,
    operation text NOT NULL,
    base_version bigint,
    edit jsonb DEFAULT '{}'::jsonb NOT NULL,
    stamp text NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    version bigint,
    wrote boolean DEFAULT false NOT NULL,
    error jsonb,
    pushed_at timestamp with time zone DEFAULT private.now() NOT NULL,
    settled_at timestamp with time zone,
    CONSTRAINT sync_changes_base_version_positive CHECK ((base_version > 0)),
    CONSTRAINT sync_changes_client_form CHECK ((client ~ '^[A-Za-z0-9_.-]{1,64}$'::text)),
    CONSTRAINT sync_changes_entity_known CHECK ((entity = ANY (ARRAY['product'::text, 'stock_level'::text]))),
    CONSTRAINT sync_changes_error_of_rejected CHECK (((status = 'rejected'::text) = (error IS NOT NULL))),
    CONSTRAINT sync_changes_new_has_no_base CHECK (((operation <> 'insert'::text) OR (base_version IS NULL))),
    CONSTRAINT sync_changes_operation_known CHECK ((operation = ANY (ARRAY['insert'::text, 'update'::text, 'delete'::text]))),
    CONSTRAINT sync_changes_settled CHECK (((status = 'pending'::text) = (settled_at IS NULL))),
    CONSTRAINT sync_changes_something CHECK (((operation = 'delete'::text) = (edit = '{}'::jsonb))),
    CONSTRAINT sync_changes_stamp_form CHECK ((stamp ~ '^[0-9]{13}-[0-9]{4}-[A-Za-z0-9_.-]{1,64}$'::text)),
    CONSTRAINT sync_changes_status_known CHECK ((status = ANY (ARRAY['pending'::text, 'applied'::text, 'merged'::text, 'conflict'::text, 'rejected'::text]))),
    CONSTRAINT sync_changes_stock_is_updated CHECK (((entity <> 'stock_level'::text) OR (operation = 'update'::text)))
)
WITH (fillfactor='80');

COMMENT ON TABLE public.sync_changes IS 'Changes that clients pushed, and what became of them';

COMMENT ON COLUMN public.sync_changes.base_version IS 'The version of the row that the edit was made to; null: not known any more';

COMMENT ON COLUMN public.sync_changes.stamp IS 'When the client made it: milliseconds, number, client; a hybrid logical clock';

COMMENT ON COLUMN public.sync_changes.version IS 'The version of the row once it was written';

COMMENT ON COLUMN public.sync_changes.wrote IS 'Whether it made that version; false: there was nothing to write';

ALTER TABLE public.sync_changes ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.sync_changes_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.sync_clients (
    tenant_id uuid NOT NULL,
    principal_id uuid NOT NULL,
    client text NOT NULL,
    epoch text NOT NULL,
    seq bigint NOT NULL,
    behind_since timestamp with time zone,
    pulled_at timestamp with time zone DEFAULT private.now() NOT NULL,
    pulled_on date GENERATED ALWAYS AS (((pulled_at AT TIME ZONE 'UTC'::text))::date) STORED NOT NULL,
    first_seen_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT sync_clients_client_form CHECK ((client ~ '^[A-Za-z0-9_.-]{1,64}$'::text)),
    CONSTRAINT sync_clients_seq_not_negative CHECK ((seq >= 0))
)
WITH (fillfactor='50');

COMMENT ON TABLE public.sync_clients IS 'How far the clients are that keep a copy';

COMMENT ON COLUMN public.sync_clients.seq IS 'The cursor that it sent: it has everything up to here; 0: it began';

COMMENT ON COLUMN public.sync_clients.behind_since IS 'When the event after seq was dispatched, or the oldest that was kept; null: there was none when it pulled';

COMMENT ON COLUMN public.sync_clients.pulled_at IS 'When it pulled last, up to 5 s ago';

COMMENT ON COLUMN public.sync_clients.pulled_on IS 'The day of that, in UTC: an index on the moment would move with every pull';

CREATE TABLE public.sync_policies (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    entity text NOT NULL,
    field text NOT NULL,
    policy text NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT sync_policies_counters CHECK (((policy = 'counter'::text) = ((entity = 'stock_level'::text) AND (field = 'on_hand'::text)))),
    CONSTRAINT sync_policies_entity_known CHECK ((entity = ANY (ARRAY['product'::text, 'stock_level'::text]))),
    CONSTRAINT sync_policies_field_form CHECK ((field ~ '^([a-z][a-z_]{0,62}(\..{1,200})?|\*)$'::text)),
    CONSTRAINT sync_policies_policy_known CHECK ((policy = ANY (ARRAY['last_write'::text, 'set'::text, 'server_wins'::text, 'client_wins'::text, 'manual'::text, 'counter'::text])))
);

COMMENT ON TABLE public.sync_policies IS 'How a tenant wants edits of one field from two sides to be decided';

CREATE TABLE public.validation_rules (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    entity text DEFAULT 'product'::text NOT NULL,
    condition jsonb NOT NULL,
    severity text DEFAULT 'error'::text NOT NULL,
    message text NOT NULL,
    enabled boolean DEFAULT true NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    updated_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT validation_rules_condition_plain CHECK (private.is_plain(condition)),
    CONSTRAINT validation_rules_entity_known CHECK ((entity = 'product'::text)),
    CONSTRAINT validation_rules_message_clean CHECK (private.is_clean(message)),
    CONSTRAINT validation_rules_message_length CHECK (((length(message) >= 1) AND (length(message) <= 500))),
    CONSTRAINT validation_rules_name_form CHECK ((name ~ '^[a-z][a-z0-9_]{0,62}$'::text)),
    CONSTRAINT validation_rules_severity_known CHECK ((severity = ANY (ARRAY['error'::text, 'warning'::text])))
);

COMMENT ON TABLE public.validation_rules IS 'Conditions that a tenant''s products must meet, of its own making; see docs/validation.md';

CREATE TABLE public.validation_warnings (
    tenant_id uuid NOT NULL,
    product_id uuid NOT NULL,
    rule_id uuid NOT NULL,
    code text NOT NULL,
    field text NOT NULL,
    detail text NOT NULL,
    version bigint NOT NULL,
    noted_at timestamp with time zone DEFAULT private.now() NOT NULL
);

COMMENT ON TABLE public.validation_warnings IS 'Rules of severity warning that a product breaks, as of its `version`';

CREATE TABLE queue.deliveries (
    id bigint NOT NULL,
    lane_id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    seq bigint NOT NULL,
    dispatched_on date NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='20000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='20000');

COMMENT ON TABLE queue.deliveries IS 'First attempts that are owed';

CREATE TABLE queue.retries (
    id bigint NOT NULL,
    lane_id bigint NOT NULL,
    tenant_id uuid NOT NULL,
    seq bigint NOT NULL,
    dispatched_on date NOT NULL,
    kind text DEFAULT 'event'::text NOT NULL,
    attempt integer NOT NULL,
    due_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    last_status integer,
    order_key uuid,
    blocked boolean DEFAULT false NOT NULL,
    CONSTRAINT retries_attempt_positive CHECK ((attempt > 0)),
    CONSTRAINT retries_blocked_by_order CHECK (((NOT blocked) OR (order_key IS NOT NULL))),
    CONSTRAINT retries_kind_known CHECK ((kind = ANY (ARRAY['event'::text, 'replay'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000');

COMMENT ON TABLE queue.retries IS 'Deliveries that are due at a time: those that failed, and replays; attempt is the next one''s number';

COMMENT ON COLUMN queue.retries.order_key IS 'The entity that it holds up, of an ordered endpoint';

COMMENT ON COLUMN queue.retries.blocked IS 'Another retry of the same lane and entity goes first';

CREATE VIEW public.webhook_deliveries WITH (security_invoker='true') AS
 SELECT d.id AS delivery_id,
    d.tenant_id,
    l.endpoint_id,
    'event'::text AS kind,
        CASE e.status
            WHEN 'active'::text THEN 'pending'::text
            ELSE 'paused'::text
        END AS status,
    d.seq,
    0 AS attempts,
    NULL::integer AS last_status,
    NULL::timestamp with time zone AS next_attempt_at,
    NULL::timestamp with time zone AS finished_at
   FROM ((queue.deliveries d
     JOIN queue.lanes l ON ((l.id = d.lane_id)))
     JOIN public.webhook_endpoints e ON ((e.id = l.endpoint_id)))
UNION ALL
 SELECT r.id AS delivery_id,
    r.tenant_id,
    l.endpoint_id,
    r.kind,
        CASE
            WHEN (e.status <> 'active'::text) THEN 'paused'::text
            WHEN (r.attempt > 1) THEN 'retrying'::text
            ELSE 'pending'::text
        END AS status,
    r.seq,
    (r.attempt - 1) AS attempts,
    r.last_status,
    NULLIF(r.due_at, 'infinity'::timestamp with time zone) AS next_attempt_at,
    NULL::timestamp with time zone AS finished_at
   FROM ((queue.retries r
     JOIN queue.lanes l ON ((l.id = r.lane_id)))
     JOIN public.webhook_endpoints e ON ((e.id = l.endpoint_id)))
UNION ALL
 SELECT a.delivery_id,
    a.tenant_id,
    a.endpoint_id,
    a.kind,
        CASE a.outcome
            WHEN 'gone'::text THEN 'failed'::text
            ELSE a.outcome
        END AS status,
    private.seq_of_event(a.event_id) AS seq,
    (a.attempt - ((a.outcome = 'expired'::text))::integer) AS attempts,
    a.status AS last_status,
    NULL::timestamp with time zone AS next_attempt_at,
    a.settled_at AS finished_at
   FROM public.webhook_attempts a
  WHERE (a.outcome <> ALL (ARRAY['retry'::text, 'probe'::text]));

COMMENT ON VIEW public.webhook_deliveries IS 'Every delivery: pending, paused, retrying, delivered, failed or expired';

CREATE TABLE public.webhook_troubles (
    endpoint_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    failing_since timestamp with time zone NOT NULL,
    failures bigint NOT NULL,
    last_failure_at timestamp with time zone NOT NULL,
    last_status integer,
    last_error text,
    told_percent integer DEFAULT 0 NOT NULL
);

COMMENT ON TABLE public.webhook_troubles IS 'Endpoints that fail now, since when and why; a row ends with the next success';

COMMENT ON COLUMN public.webhook_troubles.told_percent IS 'How far on the way to being disabled its people were told: 50, 70, 90 or 100';

ALTER TABLE queue.deliveries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME queue.deliveries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE queue.fan_outs (
    tenant_id uuid NOT NULL,
    seq bigint NOT NULL,
    dispatched_on date NOT NULL,
    type text NOT NULL,
    entity text NOT NULL,
    after_lane_id bigint DEFAULT 0 NOT NULL,
    through_lane_id bigint NOT NULL
);

COMMENT ON TABLE queue.fan_outs IS 'Events of tenants with many endpoints, whose deliveries are queued part by part';

COMMENT ON COLUMN queue.fan_outs.through_lane_id IS 'The last lane that was there when it was dispatched: later ones get later events';

CREATE TABLE queue.jobs (
    id bigint NOT NULL,
    kind text NOT NULL,
    tenant_id uuid,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    due_at timestamp with time zone DEFAULT private.now() NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    max_attempts integer DEFAULT 10 NOT NULL,
    attempt_id uuid,
    worker text,
    serial_key text,
    unique_key text,
    last_error text,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL,
    CONSTRAINT jobs_kind_form CHECK ((kind ~ '^[a-z_]+(\.[a-z_]+)*$'::text)),
    CONSTRAINT jobs_lease_when_running CHECK (((state = 'running'::text) = ((attempt_id IS NOT NULL) AND (worker IS NOT NULL)))),
    CONSTRAINT jobs_payload_object CHECK ((jsonb_typeof(payload) = 'object'::text)),
    CONSTRAINT jobs_some_attempts CHECK ((max_attempts > 0)),
    CONSTRAINT jobs_state_known CHECK ((state = ANY (ARRAY['waiting'::text, 'running'::text, 'buried'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000');

COMMENT ON TABLE queue.jobs IS 'Work for the worker; due_at of a running job is when its lease ends';

ALTER TABLE queue.jobs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME queue.jobs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE queue.lanes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME queue.lanes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE queue.leases (
    id bigint NOT NULL,
    worker text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT private.now() NOT NULL
);

COMMENT ON TABLE queue.leases IS 'Workers that hold lanes; the id is the fencing token';

ALTER TABLE queue.leases ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME queue.leases_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE queue.worker_awake (
    one boolean DEFAULT true NOT NULL,
    until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT worker_awake_one_row CHECK (one)
);

COMMENT ON TABLE queue.worker_awake IS 'Until when writers need not ring the worker';

ALTER TABLE ONLY private.api_counts
    ADD CONSTRAINT api_counts_pkey PRIMARY KEY (instance_id, name);

ALTER TABLE ONLY private.api_instances
    ADD CONSTRAINT api_instances_pkey PRIMARY KEY (instance_id);

ALTER TABLE ONLY private.api_key_secrets
    ADD CONSTRAINT api_key_secrets_pkey PRIMARY KEY (secret_id);

ALTER TABLE ONLY private.api_nonces
    ADD CONSTRAINT api_nonces_pkey PRIMARY KEY (api_key_id, nonce);

ALTER TABLE ONLY private.api_rates
    ADD CONSTRAINT api_rates_pkey PRIMARY KEY (subject);

ALTER TABLE ONLY private.cached_entities
    ADD CONSTRAINT cached_entities_pkey PRIMARY KEY (entity);

ALTER TABLE ONLY private.cached_tenants
    ADD CONSTRAINT cached_tenants_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY private.command_results
    ADD CONSTRAINT command_results_pkey PRIMARY KEY (tenant_id, principal_id, key);

ALTER TABLE ONLY private.dispatch_mark
    ADD CONSTRAINT dispatch_mark_pkey PRIMARY KEY (one);

ALTER TABLE ONLY private.doomed_files
    ADD CONSTRAINT doomed_files_pkey PRIMARY KEY (host, public_id);

ALTER TABLE ONLY private.event_examples
    ADD CONSTRAINT event_examples_pkey PRIMARY KEY (entity, verb);

ALTER TABLE ONLY private.event_keys
    ADD CONSTRAINT event_keys_pkey PRIMARY KEY (type);

ALTER TABLE ONLY private.event_map
    ADD CONSTRAINT event_map_pkey PRIMARY KEY (entity, operation, rank);

ALTER TABLE ONLY private.inbound_types
    ADD CONSTRAINT inbound_types_pkey PRIMARY KEY (type);

ALTER TABLE ONLY private.inbox_states
    ADD CONSTRAINT inbox_states_pkey PRIMARY KEY (tenant_id, source, entity, entity_id);

ALTER TABLE ONLY private.invalid_events
    ADD CONSTRAINT invalid_events_pkey PRIMARY KEY (tenant_id, seq);

ALTER TABLE ONLY private.log_epoch
    ADD CONSTRAINT log_epoch_pkey PRIMARY KEY (one);

ALTER TABLE ONLY private.logged_entities
    ADD CONSTRAINT logged_entities_one_per_table UNIQUE (relation);

ALTER TABLE ONLY private.logged_entities
    ADD CONSTRAINT logged_entities_pkey PRIMARY KEY (entity);

ALTER TABLE ONLY private.order_counters
    ADD CONSTRAINT order_counters_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY private.order_transitions
    ADD CONSTRAINT order_transitions_pkey PRIMARY KEY (from_status, event);

ALTER TABLE ONLY private.order_webhooks
    ADD CONSTRAINT order_webhooks_pkey PRIMARY KEY (tenant_id, principal_id, event_id);

ALTER TABLE ONLY private.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (xid, id);

ALTER TABLE ONLY private.product_holders
    ADD CONSTRAINT product_holders_pkey PRIMARY KEY (holder);

ALTER TABLE ONLY private.product_words
    ADD CONSTRAINT product_words_pkey PRIMARY KEY (product_id);

ALTER TABLE ONLY private.ring_budget
    ADD CONSTRAINT ring_budget_pkey PRIMARY KEY (one);

ALTER TABLE ONLY private.role_permissions
    ADD CONSTRAINT role_permissions_pkey PRIMARY KEY (role, permission);

ALTER TABLE ONLY private.secrets
    ADD CONSTRAINT secrets_name_unique UNIQUE (name);

ALTER TABLE ONLY private.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY private.sync_defaults
    ADD CONSTRAINT sync_defaults_pkey PRIMARY KEY (entity, field);

ALTER TABLE ONLY private.sync_entities
    ADD CONSTRAINT sync_entities_pkey PRIMARY KEY (entity);

ALTER TABLE ONLY private.sync_stamps
    ADD CONSTRAINT sync_stamps_pkey PRIMARY KEY (entity_id, field);

ALTER TABLE ONLY private.tenant_log
    ADD CONSTRAINT tenant_log_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY private.tombstones
    ADD CONSTRAINT tombstones_pkey PRIMARY KEY (id);

ALTER TABLE ONLY private.unknown_webhooks
    ADD CONSTRAINT unknown_webhooks_pkey PRIMARY KEY (tenant_id, day);

ALTER TABLE ONLY private.upload_walk
    ADD CONSTRAINT upload_walk_pkey PRIMARY KEY (one);

ALTER TABLE ONLY private.webhook_policy
    ADD CONSTRAINT webhook_policy_pkey PRIMARY KEY (one);

ALTER TABLE ONLY private.webhook_secrets
    ADD CONSTRAINT webhook_secrets_pkey PRIMARY KEY (secret_id);

ALTER TABLE ONLY private.webhook_tests
    ADD CONSTRAINT webhook_tests_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.api_key_usage
    ADD CONSTRAINT api_key_usage_pkey PRIMARY KEY (api_key_id, day);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.categories
    ADD CONSTRAINT categories_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.categories
    ADD CONSTRAINT categories_slug_unique UNIQUE NULLS NOT DISTINCT (tenant_id, parent_id, slug);

ALTER TABLE ONLY public.categories
    ADD CONSTRAINT categories_within_tenant UNIQUE (tenant_id, id);

ALTER TABLE ONLY public.event_types
    ADD CONSTRAINT event_types_pkey PRIMARY KEY (type);

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (tenant_id, seq, dispatched_on);

ALTER TABLE ONLY public.image_assets
    ADD CONSTRAINT image_assets_in_tenant UNIQUE (tenant_id, id);

ALTER TABLE ONLY public.image_assets
    ADD CONSTRAINT image_assets_once UNIQUE (host, public_id);

ALTER TABLE ONLY public.image_assets
    ADD CONSTRAINT image_assets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.inbound_webhooks
    ADD CONSTRAINT inbound_webhooks_once UNIQUE (tenant_id, principal_id, event_id);

ALTER TABLE ONLY public.inbound_webhooks
    ADD CONSTRAINT inbound_webhooks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.inbox_messages
    ADD CONSTRAINT inbox_messages_once UNIQUE (tenant_id, source, message_id);

ALTER TABLE ONLY public.inbox_messages
    ADD CONSTRAINT inbox_messages_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_token_unique UNIQUE (token_hash);

ALTER TABLE ONLY public.locations
    ADD CONSTRAINT locations_code_unique UNIQUE (tenant_id, code);

ALTER TABLE ONLY public.locations
    ADD CONSTRAINT locations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.locations
    ADD CONSTRAINT locations_within_tenant UNIQUE (tenant_id, id);

ALTER TABLE ONLY public.memberships
    ADD CONSTRAINT memberships_one_role UNIQUE (tenant_id, principal_id);

ALTER TABLE ONLY public.memberships
    ADD CONSTRAINT memberships_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_once UNIQUE (tenant_id, key);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.order_history
    ADD CONSTRAINT order_history_one_per_version UNIQUE (order_id, order_version);

ALTER TABLE ONLY public.order_history
    ADD CONSTRAINT order_history_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.order_lines
    ADD CONSTRAINT order_lines_one_per_position UNIQUE (order_id, "position");

ALTER TABLE ONLY public.order_lines
    ADD CONSTRAINT order_lines_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_number_unique UNIQUE (tenant_id, number);

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_within_tenant UNIQUE (tenant_id, id);

ALTER TABLE ONLY public.product_image_versions
    ADD CONSTRAINT product_image_versions_pkey PRIMARY KEY (image_id, number);

ALTER TABLE ONLY public.product_images
    ADD CONSTRAINT product_images_in_tenant UNIQUE (tenant_id, id);

ALTER TABLE ONLY public.product_images
    ADD CONSTRAINT product_images_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.product_versions
    ADD CONSTRAINT product_versions_pkey PRIMARY KEY (product_id, version, replaced_at);

ALTER TABLE ONLY public.products
    ADD CONSTRAINT products_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.products
    ADD CONSTRAINT products_within_tenant UNIQUE (tenant_id, id);

ALTER TABLE ONLY public.reconciliation_findings
    ADD CONSTRAINT reconciliation_findings_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.reservations
    ADD CONSTRAINT reservations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.stock_levels
    ADD CONSTRAINT stock_levels_one_per_place UNIQUE (product_id, location_id);

ALTER TABLE ONLY public.stock_levels
    ADD CONSTRAINT stock_levels_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.stock_movements
    ADD CONSTRAINT stock_movements_one_per_version UNIQUE (level_id, level_version);

ALTER TABLE ONLY public.stock_movements
    ADD CONSTRAINT stock_movements_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.sync_changes
    ADD CONSTRAINT sync_changes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.sync_clients
    ADD CONSTRAINT sync_clients_pkey PRIMARY KEY (tenant_id, principal_id, client);

ALTER TABLE ONLY public.sync_conflicts
    ADD CONSTRAINT sync_conflicts_once UNIQUE (change_id, field);

ALTER TABLE ONLY public.sync_conflicts
    ADD CONSTRAINT sync_conflicts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.sync_policies
    ADD CONSTRAINT sync_policies_one_a_field UNIQUE (tenant_id, entity, field);

ALTER TABLE ONLY public.sync_policies
    ADD CONSTRAINT sync_policies_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_slug_unique UNIQUE (slug);

ALTER TABLE ONLY public.validation_rules
    ADD CONSTRAINT validation_rules_one_name UNIQUE (tenant_id, entity, name);

ALTER TABLE ONLY public.validation_rules
    ADD CONSTRAINT validation_rules_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.validation_rules
    ADD CONSTRAINT validation_rules_within_tenant UNIQUE (tenant_id, id);

ALTER TABLE ONLY public.validation_warnings
    ADD CONSTRAINT validation_warnings_pkey PRIMARY KEY (product_id, rule_id);

ALTER TABLE ONLY public.webhook_attempts
    ADD CONSTRAINT webhook_attempts_pkey PRIMARY KEY (delivery_id, attempt, started_at, attempted_on);

ALTER TABLE ONLY public.webhook_endpoints
    ADD CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.webhook_endpoints
    ADD CONSTRAINT webhook_endpoints_within_tenant UNIQUE (tenant_id, id);

ALTER TABLE ONLY public.webhook_replays
    ADD CONSTRAINT webhook_replays_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.webhook_troubles
    ADD CONSTRAINT webhook_troubles_pkey PRIMARY KEY (endpoint_id);

ALTER TABLE ONLY queue.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queue.fan_outs
    ADD CONSTRAINT fan_outs_pkey PRIMARY KEY (tenant_id, seq);

ALTER TABLE ONLY queue.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queue.lanes
    ADD CONSTRAINT lanes_one_per_endpoint UNIQUE (endpoint_id);

ALTER TABLE ONLY queue.lanes
    ADD CONSTRAINT lanes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queue.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queue.retries
    ADD CONSTRAINT retries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY queue.worker_awake
    ADD CONSTRAINT worker_awake_pkey PRIMARY KEY (one);

CREATE INDEX api_key_secrets_by_key ON private.api_key_secrets USING btree (api_key_id, turn DESC);

CREATE INDEX api_key_secrets_expiring ON private.api_key_secrets USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE UNIQUE INDEX api_key_secrets_newest ON private.api_key_secrets USING btree (api_key_id) WHERE (expires_at IS NULL);

CREATE INDEX api_nonces_by_age ON private.api_nonces USING btree (forget_at);

CREATE INDEX command_results_by_age ON private.command_results USING btree (created_at);

CREATE INDEX doomed_files_due ON private.doomed_files USING btree (host, due_at);

CREATE INDEX inbox_states_by_day ON private.inbox_states USING btree (looked_on);

CREATE INDEX order_webhooks_of_order ON private.order_webhooks USING btree (order_id);

CREATE INDEX product_words_by_word ON private.product_words USING gin (words) WITH (fastupdate=off);

CREATE INDEX sync_stamps_by_age ON private.sync_stamps USING btree (settled_at);

CREATE INDEX sync_stamps_by_tenant ON private.sync_stamps USING btree (tenant_id);

CREATE INDEX tenant_log_unrung ON private.tenant_log USING btree (unrung_since) WHERE (unrung_since IS NOT NULL);

CREATE INDEX webhook_secrets_by_endpoint ON private.webhook_secrets USING btree (endpoint_id, created_at DESC);

CREATE INDEX webhook_secrets_expiring ON private.webhook_secrets USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE INDEX webhook_tests_by_endpoint ON private.webhook_tests USING btree (endpoint_id);

CREATE INDEX webhook_tests_by_tenant ON private.webhook_tests USING btree (tenant_id);

CREATE INDEX api_key_usage_by_day ON public.api_key_usage USING btree (day);

CREATE INDEX api_key_usage_by_tenant ON public.api_key_usage USING btree (tenant_id, day);

CREATE INDEX api_keys_by_tenant ON public.api_keys USING btree (tenant_id, created_at, id);

CREATE INDEX event_types_by_entity ON public.event_types USING btree (entity) WHERE webhooks;

CREATE INDEX image_assets_looks ON public.image_assets USING btree (tenant_id, perceptual_hash) INCLUDE (id) WHERE (unused_since IS NULL);

CREATE INDEX image_assets_unused ON public.image_assets USING btree (unused_since) WHERE (unused_since IS NOT NULL);

CREATE INDEX inbound_webhooks_by_age ON public.inbound_webhooks USING btree (received_at);

CREATE INDEX inbound_webhooks_newest ON public.inbound_webhooks USING btree (tenant_id, received_at DESC);

CREATE INDEX inbound_webhooks_of_order ON public.inbound_webhooks USING btree (order_id) WHERE (order_id IS NOT NULL);

CREATE INDEX inbound_webhooks_put_off ON public.inbound_webhooks USING btree (tenant_id, principal_id) WHERE ((status = 'queued'::text) AND (inbox_message_id IS NULL) AND (put_off_at IS NOT NULL));

CREATE INDEX inbound_webhooks_unsettled ON public.inbound_webhooks USING btree (status, received_at) WHERE ((status = 'rejected'::text) OR ((status = 'queued'::text) AND (inbox_message_id IS NULL)));

CREATE INDEX inbound_webhooks_waiting ON public.inbound_webhooks USING btree (tenant_id, kind, about) WHERE ((status = 'queued'::text) AND (inbox_message_id IS NULL));

CREATE INDEX inbox_messages_by_age ON public.inbox_messages USING btree (received_at);

CREATE UNIQUE INDEX invitations_one_pending ON public.invitations USING btree (tenant_id, lower(email)) WHERE (status = 'pending'::text);

CREATE INDEX memberships_by_principal ON public.memberships USING btree (principal_id, role, tenant_id);

CREATE INDEX notifications_newest ON public.notifications USING btree (tenant_id, created_at DESC, id);

CREATE INDEX order_lines_by_product ON public.order_lines USING btree (tenant_id, product_id);

CREATE INDEX orders_by_payment ON public.orders USING btree (tenant_id, paid_at) WHERE (paid_at IS NOT NULL);

CREATE INDEX orders_by_status ON public.orders USING btree (tenant_id, status, placed_at DESC);

CREATE INDEX orders_by_time ON public.orders USING btree (tenant_id, placed_at DESC, id);

CREATE INDEX product_image_versions_by_asset ON public.product_image_versions USING btree (asset_id);

CREATE INDEX product_image_versions_retired ON public.product_image_versions USING btree (retired_at) WHERE (retired_at IS NOT NULL);

CREATE INDEX product_images_by_asset ON public.product_images USING btree (asset_id);

CREATE INDEX product_images_by_product ON public.product_images USING btree (tenant_id, product_id, "position");

CREATE INDEX product_images_by_upload ON public.product_images USING btree (upload_path) WHERE (upload_path IS NOT NULL);

CREATE INDEX product_images_unfinished ON public.product_images USING btree (updated_at) WHERE (status = ANY (ARRAY['pending'::text, 'fetching'::text, 'processing'::text]));

CREATE INDEX product_versions_by_tenant ON public.product_versions USING btree (tenant_id, replaced_at);

CREATE INDEX products_by_category ON public.products USING btree (tenant_id, category_id) WHERE (category_id IS NOT NULL);

CREATE INDEX products_by_parent ON public.products USING btree (tenant_id, parent_id) WHERE (parent_id IS NOT NULL);

CREATE INDEX products_deleted ON public.products USING btree (deleted_at) WHERE (deleted_at IS NOT NULL);

CREATE INDEX products_living_by_age ON public.products USING btree (tenant_id, created_at, id) WHERE (deleted_at IS NULL);

CREATE UNIQUE INDEX products_sku_living ON public.products USING btree (tenant_id, sku) WHERE (deleted_at IS NULL);

CREATE INDEX products_to_publish ON public.products USING btree (publish_at, id) WHERE ((publish_at IS NOT NULL) AND (deleted_at IS NULL));

CREATE INDEX reconciliation_findings_by_tenant ON public.reconciliation_findings USING btree (tenant_id, found_at DESC);

CREATE INDEX reconciliation_findings_open ON public.reconciliation_findings USING btree (level_id) WHERE (repaired_at IS NULL);

CREATE INDEX reservations_by_order ON public.reservations USING btree (order_id) WHERE (order_id IS NOT NULL);

CREATE INDEX reservations_by_tenant ON public.reservations USING btree (tenant_id, created_at DESC);

CREATE INDEX reservations_due ON public.reservations USING btree (expires_at) WHERE (status = 'held'::text);

CREATE INDEX reservations_expiring ON public.reservations USING btree (level_id, expires_at) WHERE (status = 'held'::text);

CREATE INDEX reservations_open ON public.reservations USING btree (level_id) WHERE (status = ANY (ARRAY['held'::text, 'committed'::text]));

CREATE INDEX stock_levels_by_location ON public.stock_levels USING btree (tenant_id, location_id);

CREATE INDEX stock_levels_by_tenant ON public.stock_levels USING btree (tenant_id, product_id);

CREATE UNIQUE INDEX stock_levels_within_tenant ON public.stock_levels USING btree (tenant_id, id);

CREATE INDEX stock_movements_by_level ON public.stock_movements USING btree (level_id, id);

CREATE INDEX stock_movements_by_time ON public.stock_movements USING btree (tenant_id, created_at DESC);

CREATE UNIQUE INDEX stock_movements_source_once ON public.stock_movements USING btree (tenant_id, source) WHERE (source IS NOT NULL);

CREATE INDEX sync_changes_by_age ON public.sync_changes USING btree (settled_at) WHERE ((settled_at IS NOT NULL) AND (status <> 'conflict'::text));

CREATE INDEX sync_changes_of_client ON public.sync_changes USING btree (tenant_id, principal_id, client, entity, seq);

CREATE INDEX sync_changes_oldest_pending ON public.sync_changes USING btree (pushed_at) WHERE (status = 'pending'::text);

CREATE INDEX sync_changes_pending ON public.sync_changes USING btree (tenant_id, seq) WHERE (status = 'pending'::text);

CREATE INDEX sync_changes_pending_of ON public.sync_changes USING btree (entity_id, seq) WHERE (status = 'pending'::text);

CREATE INDEX sync_changes_rejected ON public.sync_changes USING btree (tenant_id, principal_id, client, entity, seq) WHERE (status = 'rejected'::text);

CREATE INDEX sync_changes_written ON public.sync_changes USING btree (entity_id, version) WHERE (version IS NOT NULL);

CREATE INDEX sync_clients_by_day ON public.sync_clients USING btree (pulled_on);

CREATE INDEX sync_conflicts_by_entity ON public.sync_conflicts USING btree (tenant_id, entity_id, created_at DESC);

CREATE INDEX sync_conflicts_open ON public.sync_conflicts USING btree (tenant_id, created_at) WHERE (winner IS NULL);

CREATE INDEX validation_warnings_by_product ON public.validation_warnings USING btree (tenant_id, product_id);

CREATE INDEX validation_warnings_by_rule ON public.validation_warnings USING btree (tenant_id, rule_id);

CREATE INDEX webhook_attempts_by_endpoint ON ONLY public.webhook_attempts USING btree (endpoint_id, started_at DESC);

CREATE INDEX webhook_attempts_by_event ON ONLY public.webhook_attempts USING btree (tenant_id, event_id);

CREATE INDEX webhook_endpoints_resting ON public.webhook_endpoints USING btree (status) WHERE (status <> 'active'::text);

CREATE INDEX webhook_replays_by_endpoint ON public.webhook_replays USING btree (tenant_id, endpoint_id, created_at DESC);

CREATE INDEX webhook_replays_running ON public.webhook_replays USING btree (id) WHERE (status = 'running'::text);

CREATE INDEX webhook_troubles_by_tenant ON public.webhook_troubles USING btree (tenant_id, endpoint_id);

CREATE INDEX deliveries_by_lane ON queue.deliveries USING btree (lane_id, id);

CREATE UNIQUE INDEX jobs_attempt ON queue.jobs USING btree (attempt_id) WHERE (attempt_id IS NOT NULL);

CREATE INDEX jobs_buried ON queue.jobs USING btree (id) WHERE (state = 'buried'::text);

CREATE INDEX jobs_cache ON queue.jobs USING btree (created_at) WHERE (kind = 'cache.invalidate'::text);

CREATE INDEX jobs_due ON queue.jobs USING btree (due_at, id) WHERE (state = ANY (ARRAY['waiting'::text, 'running'::text]));

CREATE INDEX jobs_serial ON queue.jobs USING btree (serial_key) WHERE (serial_key IS NOT NULL);

CREATE UNIQUE INDEX jobs_serial_running ON queue.jobs USING btree (serial_key) WHERE ((state = 'running'::text) AND (serial_key IS NOT NULL));

CREATE UNIQUE INDEX jobs_unique_waiting ON queue.jobs USING btree (unique_key) WHERE ((state = 'waiting'::text) AND (unique_key IS NOT NULL));

CREATE INDEX lanes_by_lease ON queue.lanes USING btree (lease_id);

CREATE INDEX lanes_by_tenant ON queue.lanes USING btree (tenant_id, id);

CREATE INDEX retries_by_lane ON queue.retries USING btree (lane_id, due_at);

CREATE INDEX retries_due ON queue.retries USING btree (due_at, id) WHERE (NOT blocked);

CREATE INDEX retries_expiring ON queue.retries USING btree (expires_at);

CREATE INDEX retries_in_order ON queue.retries USING btree (lane_id, order_key, id) WHERE (order_key IS NOT NULL);

CREATE TRIGGER drop_secret AFTER DELETE ON private.api_key_secrets FOR EACH ROW EXECUTE FUNCTION private.drop_secret_of_row();

CREATE TRIGGER drop_secret AFTER DELETE ON private.webhook_secrets FOR EACH ROW EXECUTE FUNCTION private.drop_secret_of_row();

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.stock_movements FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_ledger_change();

CREATE TRIGGER capture_delete AFTER DELETE ON public.api_keys REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('api_key', 'last_used_at');

CREATE TRIGGER capture_delete AFTER DELETE ON public.categories REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('category');

CREATE TRIGGER capture_delete AFTER DELETE ON public.invitations REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('invitation', 'token_hash', 'email');

CREATE TRIGGER capture_delete AFTER DELETE ON public.locations REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('location');

CREATE TRIGGER capture_delete AFTER DELETE ON public.memberships REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('membership');

CREATE TRIGGER capture_delete AFTER DELETE ON public.order_lines REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('order_line');

CREATE TRIGGER capture_delete AFTER DELETE ON public.orders REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('order');

CREATE TRIGGER capture_delete AFTER DELETE ON public.product_images REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('product_image');

CREATE TRIGGER capture_delete AFTER DELETE ON public.products REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('product');

CREATE TRIGGER capture_delete AFTER DELETE ON public.reservations REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('reservation');

CREATE TRIGGER capture_delete AFTER DELETE ON public.stock_levels REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('stock_level');

CREATE TRIGGER capture_delete AFTER DELETE ON public.tenants REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('tenant');

CREATE TRIGGER capture_delete AFTER DELETE ON public.webhook_endpoints REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('webhook_endpoint', 'headers');

CREATE TRIGGER capture_insert AFTER INSERT ON public.api_keys REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('api_key', 'last_used_at');

CREATE TRIGGER capture_insert AFTER INSERT ON public.categories REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('category');

CREATE TRIGGER capture_insert AFTER INSERT ON public.invitations REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('invitation', 'token_hash', 'email');

CREATE TRIGGER capture_insert AFTER INSERT ON public.locations REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('location');

CREATE TRIGGER capture_insert AFTER INSERT ON public.memberships REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('membership');

CREATE TRIGGER capture_insert AFTER INSERT ON public.order_lines REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('order_line');

CREATE TRIGGER capture_insert AFTER INSERT ON public.orders REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('order');

CREATE TRIGGER capture_insert AFTER INSERT ON public.product_images REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('product_image');

CREATE TRIGGER capture_insert AFTER INSERT ON public.products REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('product');

CREATE TRIGGER capture_insert AFTER INSERT ON public.reservations REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('reservation');

CREATE TRIGGER capture_insert AFTER INSERT ON public.stock_levels REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('stock_level');

CREATE TRIGGER capture_insert AFTER INSERT ON public.tenants REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('tenant');

CREATE TRIGGER capture_insert AFTER INSERT ON public.webhook_endpoints REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('webhook_endpoint', 'headers');

CREATE TRIGGER capture_update AFTER UPDATE ON public.api_keys REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('api_key', 'last_used_at');

CREATE TRIGGER capture_update AFTER UPDATE ON public.categories REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('category');

CREATE TRIGGER capture_update AFTER UPDATE ON public.invitations REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('invitation', 'token_hash', 'email');

CREATE TRIGGER capture_update AFTER UPDATE ON public.locations REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('location');

CREATE TRIGGER capture_update AFTER UPDATE ON public.memberships REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('membership');

CREATE TRIGGER capture_update AFTER UPDATE ON public.order_lines REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('order_line');

CREATE TRIGGER capture_update AFTER UPDATE ON public.orders REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('order');

CREATE TRIGGER capture_update AFTER UPDATE ON public.product_images REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('product_image');

CREATE TRIGGER capture_update AFTER UPDATE ON public.products REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('product');

CREATE TRIGGER capture_update AFTER UPDATE ON public.reservations REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('reservation');

CREATE TRIGGER capture_update AFTER UPDATE ON public.stock_levels REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('stock_level');

CREATE TRIGGER capture_update AFTER UPDATE ON public.tenants REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('tenant');

CREATE TRIGGER capture_update AFTER UPDATE ON public.webhook_endpoints REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.capture_changes('webhook_endpoint', 'headers');

CREATE TRIGGER check_customer BEFORE INSERT OR UPDATE OF customer ON public.orders FOR EACH ROW EXECUTE FUNCTION private.check_customer();

CREATE TRIGGER check_edit BEFORE INSERT ON public.sync_changes FOR EACH ROW WHEN ((NOT private.is_edit(new.edit))) EXECUTE FUNCTION private.check_edit();

CREATE TRIGGER check_events BEFORE UPDATE ON public.webhook_endpoints FOR EACH ROW WHEN ((new.events IS DISTINCT FROM old.events)) EXECUTE FUNCTION private.check_event_filter();

CREATE TRIGGER check_events_of_new BEFORE INSERT ON public.webhook_endpoints FOR EACH ROW EXECUTE FUNCTION private.check_event_filter();

CREATE TRIGGER check_rule BEFORE INSERT OR UPDATE ON public.validation_rules FOR EACH ROW EXECUTE FUNCTION private.check_rule();

CREATE TRIGGER check_schema BEFORE INSERT OR UPDATE ON public.categories FOR EACH ROW WHEN ((new.attribute_schema IS NOT NULL)) EXECUTE FUNCTION private.check_schema();

CREATE TRIGGER clear_lane BEFORE DELETE ON public.webhook_endpoints FOR EACH ROW EXECUTE FUNCTION private.keep_lane();

CREATE TRIGGER doom_files AFTER DELETE ON public.image_assets REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.doom_files();

CREATE TRIGGER doom_upload_of_deleted AFTER DELETE ON public.product_images FOR EACH ROW WHEN ((old.upload_path IS NOT NULL)) EXECUTE FUNCTION private.doom_upload();

CREATE TRIGGER doom_upload_of_replaced AFTER UPDATE ON public.product_images FOR EACH ROW WHEN (((old.upload_path IS NOT NULL) AND (old.upload_path IS DISTINCT FROM new.upload_path))) EXECUTE FUNCTION private.doom_upload();

CREATE TRIGGER follow_change BEFORE INSERT OR UPDATE ON public.webhook_endpoints FOR EACH ROW EXECUTE FUNCTION private.follow_endpoint_change();

CREATE TRIGGER follow_lane_change AFTER UPDATE OF ordered, status ON public.webhook_endpoints FOR EACH ROW EXECUTE FUNCTION private.follow_lane_change();

CREATE TRIGGER forget_warnings AFTER UPDATE ON public.validation_rules FOR EACH ROW WHEN (((new.condition <> old.condition) OR (new.severity <> old.severity) OR (new.message <> old.message) OR (new.enabled <> old.enabled) OR (new.name <> old.name))) EXECUTE FUNCTION private.forget_warnings();

CREATE TRIGGER guard_deletion BEFORE UPDATE ON public.products FOR EACH ROW WHEN ((new.deleted_at IS DISTINCT FROM old.deleted_at)) EXECUTE FUNCTION private.guard_deletion();

CREATE TRIGGER guard_held BEFORE UPDATE ON public.products FOR EACH ROW WHEN (((old.deleted_at IS NULL) AND (new.deleted_at IS NOT NULL))) EXECUTE FUNCTION private.guard_held();

CREATE TRIGGER guard_image BEFORE INSERT OR UPDATE ON public.product_images FOR EACH ROW EXECUTE FUNCTION private.guard_image();

CREATE TRIGGER guard_publishing BEFORE UPDATE ON public.products FOR EACH ROW WHEN (((new.status = 'active'::text) OR (old.status <> new.status) OR (new.publish_at IS DISTINCT FROM old.publish_at))) EXECUTE FUNCTION private.guard_publishing();

CREATE TRIGGER guard_publishing_of_new BEFORE INSERT ON public.products FOR EACH ROW WHEN ((new.status = 'active'::text)) EXECUTE FUNCTION private.guard_publishing();

CREATE TRIGGER guard_tree_of_moved AFTER UPDATE ON public.categories FOR EACH ROW WHEN ((new.parent_id IS DISTINCT FROM old.parent_id)) EXECUTE FUNCTION private.guard_category_tree();

CREATE TRIGGER guard_tree_of_new AFTER INSERT ON public.categories FOR EACH ROW WHEN ((new.parent_id IS NOT NULL)) EXECUTE FUNCTION private.guard_category_tree();

CREATE TRIGGER guard_variant BEFORE UPDATE ON public.products FOR EACH ROW WHEN (((new.parent_id IS NOT NULL) AND ((new.parent_id IS DISTINCT FROM old.parent_id) OR (new.deleted_at IS DISTINCT FROM old.deleted_at)))) EXECUTE FUNCTION private.guard_variant();

CREATE TRIGGER guard_variant_of_new BEFORE INSERT ON public.products FOR EACH ROW WHEN ((new.parent_id IS NOT NULL)) EXECUTE FUNCTION private.guard_variant();

CREATE TRIGGER index_words AFTER UPDATE ON public.products REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.index_words();

CREATE TRIGGER index_words_of_new AFTER INSERT ON public.products REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.index_words();

CREATE TRIGGER judge_url BEFORE INSERT OR UPDATE OF url ON public.webhook_endpoints FOR EACH ROW EXECUTE FUNCTION private.judge_endpoint_url();

CREATE TRIGGER keep_versions_of_deleted AFTER DELETE ON public.products REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.keep_versions();

CREATE TRIGGER keep_versions_of_updated AFTER UPDATE ON public.products REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.keep_versions();

CREATE TRIGGER make_lane AFTER INSERT ON public.webhook_endpoints FOR EACH ROW EXECUTE FUNCTION private.keep_lane();

CREATE TRIGGER note_alerts BEFORE INSERT OR UPDATE ON public.stock_levels FOR EACH ROW EXECUTE FUNCTION private.note_alerts();

CREATE TRIGGER note_unused_assets AFTER DELETE ON public.product_image_versions REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION private.note_unused_assets();

CREATE TRIGGER note_warnings_of_insert AFTER INSERT ON public.products REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.note_warnings();

CREATE TRIGGER note_warnings_of_update AFTER UPDATE ON public.products REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.note_warnings();

CREATE TRIGGER queue_new_image AFTER INSERT ON public.product_images FOR EACH ROW WHEN ((new.status = 'pending'::text)) EXECUTE FUNCTION private.queue_new_source();

CREATE TRIGGER queue_new_source AFTER UPDATE ON public.product_images FOR EACH ROW WHEN ((new.source_revision <> old.source_revision)) EXECUTE FUNCTION private.queue_new_source();

CREATE TRIGGER queue_restored_images AFTER UPDATE ON public.products FOR EACH ROW WHEN (((old.deleted_at IS NOT NULL) AND (new.deleted_at IS NULL))) EXECUTE FUNCTION private.queue_restored_images();

CREATE TRIGGER queue_work_of_new_changes AFTER INSERT ON public.sync_changes REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.queue_work_of_new_changes();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.api_keys FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.categories FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.invitations FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.locations FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.memberships FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.order_lines FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.orders FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.product_images FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.products FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.reservations FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.stock_levels FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.tenants FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.webhook_endpoints FOR EACH STATEMENT EXECUTE FUNCTION private.refuse_truncate();

CREATE TRIGGER sanitise BEFORE INSERT OR UPDATE ON public.products FOR EACH ROW EXECUTE FUNCTION private.sanitise_product();

CREATE TRIGGER schedule_publishing AFTER UPDATE ON public.products REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.schedule_publishing();

CREATE TRIGGER schedule_publishing_of_new AFTER INSERT ON public.products REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION private.schedule_publishing();

CREATE TRIGGER stamp_version BEFORE UPDATE ON public.api_keys FOR EACH ROW WHEN ((NOT (new.last_used_at IS DISTINCT FROM old.last_used_at))) EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.categories FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.invitations FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.locations FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.memberships FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.order_lines FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.orders FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.product_images FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.products FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.reservations FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.stock_levels FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.sync_policies FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.tenants FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.validation_rules FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version BEFORE INSERT OR UPDATE ON public.webhook_endpoints FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER stamp_version_of_new BEFORE INSERT ON public.api_keys FOR EACH ROW EXECUTE FUNCTION private.stamp_version();

CREATE TRIGGER take_variants_along AFTER UPDATE ON public.products FOR EACH ROW WHEN (((old.status = 'active'::text) AND (new.status <> 'active'::text) AND (new.parent_id IS NULL))) EXECUTE FUNCTION private.take_variants_along();

CREATE TRIGGER validate BEFORE INSERT OR UPDATE ON public.products FOR EACH ROW EXECUTE FUNCTION private.refuse_invalid_product();

ALTER TABLE ONLY private.api_key_secrets
    ADD CONSTRAINT api_key_secrets_api_key_id_fkey FOREIGN KEY (api_key_id) REFERENCES public.api_keys(id) ON DELETE CASCADE;

ALTER TABLE ONLY private.event_keys
    ADD CONSTRAINT event_keys_type_fkey FOREIGN KEY (type) REFERENCES public.event_types(type) ON DELETE CASCADE;

ALTER TABLE ONLY private.inbox_states
    ADD CONSTRAINT inbox_states_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY private.order_counters
    ADD CONSTRAINT order_counters_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY private.order_webhooks
    ADD CONSTRAINT order_webhooks_order_id_fkey FOREIGN KEY (order_id) REFERENCES public.orders(id) ON DELETE CASCADE;

ALTER TABLE ONLY private.order_webhooks
    ADD CONSTRAINT order_webhooks_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY private.product_words
    ADD CONSTRAINT product_words_product_id_fkey FOREIGN KEY (product_id) REFERENCES public.products(id) ON DELETE CASCADE;

ALTER TABLE ONLY private.sync_stamps
    ADD CONSTRAINT sync_stamps_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY private.unknown_webhooks
    ADD CONSTRAINT unknown_webhooks_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY private.webhook_secrets
    ADD CONSTRAINT webhook_secrets_endpoint_id_fkey FOREIGN KEY (endpoint_id) REFERENCES public.webhook_endpoints(id) ON DELETE CASCADE;

ALTER TABLE ONLY private.webhook_tests
    ADD CONSTRAINT webhook_tests_endpoint_id_fkey FOREIGN KEY (endpoint_id) REFERENCES public.webhook_endpoints(id) ON DELETE CASCADE;

ALTER TABLE ONLY private.webhook_tests
    ADD CONSTRAINT webhook_tests_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.api_key_usage
    ADD CONSTRAINT api_key_usage_api_key_id_fkey FOREIGN KEY (api_key_id) REFERENCES public.api_keys(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.api_key_usage
    ADD CONSTRAINT api_key_usage_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.categories
    ADD CONSTRAINT categories_parent FOREIGN KEY (tenant_id, parent_id) REFERENCES public.categories(tenant_id, id);

ALTER TABLE ONLY public.categories
    ADD CONSTRAINT categories_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.image_assets
    ADD CONSTRAINT image_assets_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.inbound_webhooks
    ADD CONSTRAINT inbound_webhooks_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.inbox_messages
    ADD CONSTRAINT inbox_messages_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.locations
    ADD CONSTRAINT locations_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.memberships
    ADD CONSTRAINT memberships_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.order_history
    ADD CONSTRAINT order_history_order FOREIGN KEY (tenant_id, order_id) REFERENCES public.orders(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.order_lines
    ADD CONSTRAINT order_lines_order FOREIGN KEY (tenant_id, order_id) REFERENCES public.orders(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.order_lines
    ADD CONSTRAINT order_lines_product FOREIGN KEY (tenant_id, product_id) REFERENCES public.products(tenant_id, id);

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.product_image_versions
    ADD CONSTRAINT product_image_versions_asset FOREIGN KEY (tenant_id, asset_id) REFERENCES public.image_assets(tenant_id, id);

ALTER TABLE ONLY public.product_image_versions
    ADD CONSTRAINT product_image_versions_image FOREIGN KEY (tenant_id, image_id) REFERENCES public.product_images(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.product_images
    ADD CONSTRAINT product_images_asset FOREIGN KEY (tenant_id, asset_id) REFERENCES public.image_assets(tenant_id, id);

ALTER TABLE ONLY public.product_images
    ADD CONSTRAINT product_images_product FOREIGN KEY (tenant_id, product_id) REFERENCES public.products(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.product_versions
    ADD CONSTRAINT product_versions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.products
    ADD CONSTRAINT products_category FOREIGN KEY (tenant_id, category_id) REFERENCES public.categories(tenant_id, id);

ALTER TABLE ONLY public.products
    ADD CONSTRAINT products_parent FOREIGN KEY (tenant_id, parent_id) REFERENCES public.products(tenant_id, id);

ALTER TABLE ONLY public.products
    ADD CONSTRAINT products_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.reconciliation_findings
    ADD CONSTRAINT reconciliation_findings_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.reservations
    ADD CONSTRAINT reservations_level FOREIGN KEY (level_id) REFERENCES public.stock_levels(id);

ALTER TABLE ONLY public.reservations
    ADD CONSTRAINT reservations_order FOREIGN KEY (tenant_id, order_id) REFERENCES public.orders(tenant_id, id) DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY public.stock_levels
    ADD CONSTRAINT stock_levels_location FOREIGN KEY (tenant_id, location_id) REFERENCES public.locations(tenant_id, id);

ALTER TABLE ONLY public.stock_levels
    ADD CONSTRAINT stock_levels_product FOREIGN KEY (tenant_id, product_id) REFERENCES public.products(tenant_id, id);

ALTER TABLE ONLY public.stock_movements
    ADD CONSTRAINT stock_movements_level_id_fkey FOREIGN KEY (level_id) REFERENCES public.stock_levels(id);

ALTER TABLE ONLY public.sync_changes
    ADD CONSTRAINT sync_changes_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.sync_clients
    ADD CONSTRAINT sync_clients_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.sync_conflicts
    ADD CONSTRAINT sync_conflicts_change_id_fkey FOREIGN KEY (change_id) REFERENCES public.sync_changes(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.sync_conflicts
    ADD CONSTRAINT sync_conflicts_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.sync_policies
    ADD CONSTRAINT sync_policies_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.validation_rules
    ADD CONSTRAINT validation_rules_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.validation_warnings
    ADD CONSTRAINT validation_warnings_product FOREIGN KEY (tenant_id, product_id) REFERENCES public.products(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.validation_warnings
    ADD CONSTRAINT validation_warnings_rule FOREIGN KEY (tenant_id, rule_id) REFERENCES public.validation_rules(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.webhook_endpoints
    ADD CONSTRAINT webhook_endpoints_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.webhook_replays
    ADD CONSTRAINT webhook_replays_endpoint FOREIGN KEY (tenant_id, endpoint_id) REFERENCES public.webhook_endpoints(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.webhook_replays
    ADD CONSTRAINT webhook_replays_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id) ON DELETE CASCADE;

ALTER TABLE ONLY queue.lanes
    ADD CONSTRAINT lanes_endpoint_id_fkey FOREIGN KEY (endpoint_id) REFERENCES public.webhook_endpoints(id) ON DELETE CASCADE;

ALTER TABLE ONLY queue.lanes
    ADD CONSTRAINT lanes_lease_id_fkey FOREIGN KEY (lease_id) REFERENCES queue.leases(id) ON DELETE SET NULL;

ALTER TABLE private.api_counts ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.api_instances ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.api_key_secrets ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.api_nonces ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.api_rates ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.cached_entities ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.cached_tenants ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.command_results ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.dispatch_mark ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.doomed_files ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.event_examples ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.event_keys ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.event_map ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.inbound_types ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.inbox_states ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.invalid_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.log_epoch ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.logged_entities ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.order_counters ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.order_transitions ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.order_webhooks ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.outbox ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.product_holders ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.product_words ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.ring_budget ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.role_permissions ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.secrets ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.sync_defaults ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.sync_entities ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.sync_stamps ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.tenant_log ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.tombstones ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.unknown_webhooks ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.upload_walk ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.webhook_policy ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.webhook_secrets ENABLE ROW LEVEL SECURITY;

ALTER TABLE private.webhook_tests ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.api_key_usage ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.api_keys ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.categories ENABLE ROW LEVEL SECURITY;

CREATE POLICY "clerks correct the customer of their tenant's orders" ON public.orders FOR UPDATE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('orders.write'::text) AS tenants_with)::uuid[]))) WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('orders.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "clerks push changes of their own" ON public.sync_changes FOR INSERT TO authenticated WITH CHECK (((principal_id = ( SELECT auth.uid() AS uid)) AND (tenant_id = ANY (( SELECT private.tenants_with('sync.push'::text) AS tenants_with)::uuid[]))));

CREATE POLICY "clerks set limits of their tenant's stock" ON public.stock_levels FOR UPDATE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('inventory.write'::text) AS tenants_with)::uuid[]))) WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('inventory.write'::text) AS tenants_with)::uuid[])));

ALTER TABLE public.event_types ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.events ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.image_assets ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.inbound_webhooks ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.inbox_messages ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.invitations ENABLE ROW LEVEL SECURITY;

CREATE POLICY "keys see themselves, managers see everyone's" ON public.api_keys FOR SELECT TO authenticated USING (((id = ( SELECT auth.uid() AS uid)) OR (tenant_id = ANY (( SELECT private.tenants_with('api_keys.read'::text) AS tenants_with)::uuid[]))));

ALTER TABLE public.locations ENABLE ROW LEVEL SECURITY;

CREATE POLICY "managers add categories to their tenant" ON public.categories FOR INSERT TO authenticated WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('products.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers add locations to their tenant" ON public.locations FOR INSERT TO authenticated WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('locations.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers add pictures to their tenant" ON public.product_images FOR INSERT TO authenticated WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('products.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers add policies to their tenant" ON public.sync_policies FOR INSERT TO authenticated WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('sync.manage'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers add products to their tenant" ON public.products FOR INSERT TO authenticated WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('products.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers add rules to their tenant" ON public.validation_rules FOR INSERT TO authenticated WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('rules.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers change their tenant's categories" ON public.categories FOR UPDATE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.write'::text) AS tenants_with)::uuid[]))) WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('products.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers change their tenant's endpoints" ON public.webhook_endpoints FOR UPDATE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('webhooks.write'::text) AS tenants_with)::uuid[]))) WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('webhooks.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers change their tenant's locations" ON public.locations FOR UPDATE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('locations.write'::text) AS tenants_with)::uuid[]))) WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('locations.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers change their tenant's pictures" ON public.product_images FOR UPDATE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.write'::text) AS tenants_with)::uuid[]))) WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('products.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers change their tenant's policies" ON public.sync_policies FOR UPDATE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('sync.manage'::text) AS tenants_with)::uuid[]))) WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('sync.manage'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers change their tenant's products" ON public.products FOR UPDATE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.write'::text) AS tenants_with)::uuid[]))) WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('products.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers change their tenant's rules" ON public.validation_rules FOR UPDATE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('rules.write'::text) AS tenants_with)::uuid[]))) WITH CHECK ((tenant_id = ANY (( SELECT private.tenants_with('rules.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers delete their tenant's categories" ON public.categories FOR DELETE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.delete'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers delete their tenant's endpoints" ON public.webhook_endpoints FOR DELETE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('webhooks.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers delete their tenant's locations" ON public.locations FOR DELETE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('locations.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers delete their tenant's pictures" ON public.product_images FOR DELETE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers delete their tenant's policies" ON public.sync_policies FOR DELETE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('sync.manage'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers delete their tenant's products" ON public.products FOR DELETE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.delete'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers delete their tenant's rules" ON public.validation_rules FOR DELETE TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('rules.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers see how keys are used" ON public.api_key_usage FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('api_keys.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers see their tenant's endpoints" ON public.webhook_endpoints FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('webhooks.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers see their tenant's invitations" ON public.invitations FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('members.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers see their tenant's notifications" ON public.notifications FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('notifications.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers see their tenant's replays" ON public.webhook_replays FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('webhooks.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers see what was sent to their endpoints" ON public.webhook_attempts FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('webhooks.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers see which of their endpoints fail" ON public.webhook_troubles FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('webhooks.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant" ON public.tenants FOR SELECT TO authenticated USING ((id = ANY (( SELECT private.tenants_with('tenant.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's categories" ON public.categories FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's findings" ON public.reconciliation_findings FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('inventory.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's history" ON public.product_versions FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's locations" ON public.locations FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('inventory.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's movements" ON public.stock_movements FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('inventory.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's order history" ON public.order_history FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('orders.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's order lines" ON public.order_lines FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('orders.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's orders" ON public.orders FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('orders.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's pictures" ON public.product_images FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's policies" ON public.sync_policies FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('tenant.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's products" ON public.products FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's reservations" ON public.reservations FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('inventory.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's rules" ON public.validation_rules FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's stock" ON public.stock_levels FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('inventory.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see their tenant's warnings" ON public.validation_warnings FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see themselves, managers see everyone" ON public.memberships FOR SELECT TO authenticated USING (((principal_id = ( SELECT auth.uid() AS uid)) OR (tenant_id = ANY (( SELECT private.tenants_with('members.read'::text) AS tenants_with)::uuid[]))));

CREATE POLICY "members see what their tenant's pictures show" ON public.image_assets FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "members see what their tenant's pictures showed" ON public.product_image_versions FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('products.read'::text) AS tenants_with)::uuid[])));

ALTER TABLE public.memberships ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.notifications ENABLE ROW LEVEL SECURITY;

CREATE POLICY "only one's own tenants" ON public.tenants AS RESTRICTIVE TO authenticated USING ((id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.api_key_usage AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.api_keys AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.categories AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.image_assets AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.inbound_webhooks AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.inbox_messages AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.invitations AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.locations AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.memberships AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.notifications AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.order_history AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.order_lines AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.orders AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.product_image_versions AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.product_images AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.product_versions AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.products AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.reconciliation_findings AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.reservations AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.stock_levels AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.stock_movements AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.sync_changes AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.sync_clients AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.sync_conflicts AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.sync_policies AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.validation_rules AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.validation_warnings AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.webhook_attempts AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.webhook_endpoints AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.webhook_replays AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

CREATE POLICY "only within one's own tenants" ON public.webhook_troubles AS RESTRICTIVE TO authenticated USING ((tenant_id = ANY (( SELECT private.my_tenants() AS my_tenants)::uuid[])));

ALTER TABLE public.order_history ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.order_lines ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY;

CREATE POLICY "owners change their tenant" ON public.tenants FOR UPDATE TO authenticated USING ((id = ANY (( SELECT private.tenants_with('tenant.write'::text) AS tenants_with)::uuid[]))) WITH CHECK ((id = ANY (( SELECT private.tenants_with('tenant.write'::text) AS tenants_with)::uuid[])));

CREATE POLICY "people see conflicts of their own changes, managers see all" ON public.sync_conflicts FOR SELECT TO authenticated USING (((principal_id = ( SELECT auth.uid() AS uid)) OR (tenant_id = ANY (( SELECT private.tenants_with('sync.manage'::text) AS tenants_with)::uuid[]))));

CREATE POLICY "people see their own changes, managers see everyone's" ON public.sync_changes FOR SELECT TO authenticated USING (((principal_id = ( SELECT auth.uid() AS uid)) OR (tenant_id = ANY (( SELECT private.tenants_with('sync.manage'::text) AS tenants_with)::uuid[]))));

CREATE POLICY "people see their own clients, managers see everyone's" ON public.sync_clients FOR SELECT TO authenticated USING (((principal_id = ( SELECT auth.uid() AS uid)) OR (tenant_id = ANY (( SELECT private.tenants_with('sync.manage'::text) AS tenants_with)::uuid[]))));

CREATE POLICY "people see their own messages, managers see everyone's" ON public.inbox_messages FOR SELECT TO authenticated USING (((principal_id = ( SELECT auth.uid() AS uid)) OR (tenant_id = ANY (( SELECT private.tenants_with('sync.manage'::text) AS tenants_with)::uuid[]))));

ALTER TABLE public.product_image_versions ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.product_images ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.product_versions ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.products ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.reconciliation_findings ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.reservations ENABLE ROW LEVEL SECURITY;

CREATE POLICY "senders see their own events, managers see everyone's" ON public.inbound_webhooks FOR SELECT TO authenticated USING (((principal_id = ( SELECT auth.uid() AS uid)) OR (tenant_id = ANY (( SELECT private.tenants_with('sync.manage'::text) AS tenants_with)::uuid[]))));

ALTER TABLE public.stock_levels ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.stock_movements ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.sync_changes ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.sync_clients ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.sync_conflicts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.sync_policies ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.tenants ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.validation_rules ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.validation_warnings ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_attempts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_endpoints ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_replays ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.webhook_troubles ENABLE ROW LEVEL SECURITY;

CREATE POLICY "whoever is signed in sees the catalogue" ON public.event_types FOR SELECT TO authenticated USING (true);

ALTER TABLE queue.deliveries ENABLE ROW LEVEL SECURITY;

ALTER TABLE queue.fan_outs ENABLE ROW LEVEL SECURITY;

ALTER TABLE queue.jobs ENABLE ROW LEVEL SECURITY;

ALTER TABLE queue.lanes ENABLE ROW LEVEL SECURITY;

ALTER TABLE queue.leases ENABLE ROW LEVEL SECURITY;

CREATE POLICY "managers see their tenant's lanes" ON queue.lanes FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('webhooks.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers see what their endpoints are owed" ON queue.deliveries FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('webhooks.read'::text) AS tenants_with)::uuid[])));

CREATE POLICY "managers see what their endpoints will be sent again" ON queue.retries FOR SELECT TO authenticated USING ((tenant_id = ANY (( SELECT private.tenants_with('webhooks.read'::text) AS tenants_with)::uuid[])));

ALTER TABLE queue.retries ENABLE ROW LEVEL SECURITY;

ALTER TABLE queue.worker_awake ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA private TO authenticated;
GRANT USAGE ON SCHEMA private TO service_role;

GRANT USAGE ON SCHEMA public TO postgres;
GRANT USAGE ON SCHEMA public TO anon;
GRANT USAGE ON SCHEMA public TO authenticated;
GRANT USAGE ON SCHEMA public TO service_role;

GRANT USAGE ON SCHEMA queue TO authenticated;
GRANT USAGE ON SCHEMA queue TO service_role;

GRANT USAGE ON SCHEMA worker TO service_role;

REVOKE ALL ON FUNCTION private.accept_invitation(p_token text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.accept_invitation(p_token text) TO authenticated;

REVOKE ALL ON FUNCTION private.admit(p_subject text, p_rate_per_minute integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.now() FROM PUBLIC;
GRANT ALL ON FUNCTION private.now() TO authenticated;
GRANT ALL ON FUNCTION private.now() TO service_role;

GRANT SELECT ON TABLE public.stock_levels TO authenticated;
GRANT SELECT ON TABLE public.stock_levels TO service_role;

GRANT UPDATE(safety) ON TABLE public.stock_levels TO authenticated;
GRANT UPDATE(safety) ON TABLE public.stock_levels TO service_role;

GRANT UPDATE(reorder_point) ON TABLE public.stock_levels TO authenticated;
GRANT UPDATE(reorder_point) ON TABLE public.stock_levels TO service_role;

GRANT UPDATE(backorder_limit) ON TABLE public.stock_levels TO authenticated;
GRANT UPDATE(backorder_limit) ON TABLE public.stock_levels TO service_role;

GRANT UPDATE(version) ON TABLE public.stock_levels TO authenticated;
GRANT UPDATE(version) ON TABLE public.stock_levels TO service_role;

REVOKE ALL ON FUNCTION private.allocate(p_levels public.stock_levels[], p_lines jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.api_count_names() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.is_clean(p_text text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.is_clean(p_text text) TO authenticated;
GRANT ALL ON FUNCTION private.is_clean(p_text text) TO service_role;

GRANT SELECT ON TABLE public.api_keys TO authenticated;
GRANT SELECT ON TABLE public.api_keys TO service_role;

REVOKE ALL ON FUNCTION private.api_key_answer(p_key public.api_keys) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.api_key_id_of(p_text text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.api_key_id_of(p_text text) TO authenticated;
GRANT ALL ON FUNCTION private.api_key_id_of(p_text text) TO service_role;

REVOKE ALL ON FUNCTION private.api_key_with(p_key public.api_keys, p_changes jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.apply_change(p_tenant_id uuid, p_write jsonb, OUT version bigint, OUT stale boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION private.apply_change(p_tenant_id uuid, p_write jsonb, OUT version bigint, OUT stale boolean) TO authenticated;

REVOKE ALL ON FUNCTION private.is_plain(p_value jsonb, p_deepest jsonpath) FROM PUBLIC;
GRANT ALL ON FUNCTION private.is_plain(p_value jsonb, p_deepest jsonpath) TO authenticated;
GRANT ALL ON FUNCTION private.is_plain(p_value jsonb, p_deepest jsonpath) TO service_role;

GRANT SELECT ON TABLE public.orders TO authenticated;
GRANT SELECT ON TABLE public.orders TO service_role;

GRANT UPDATE(customer) ON TABLE public.orders TO authenticated;
GRANT UPDATE(customer) ON TABLE public.orders TO service_role;

GRANT UPDATE(version) ON TABLE public.orders TO authenticated;
GRANT UPDATE(version) ON TABLE public.orders TO service_role;

REVOKE ALL ON FUNCTION private.apply_order_effect(p_order public.orders, p_effect text, p_payload jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.apply_webhook(p_webhook_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION private.apply_webhook(p_webhook_id uuid) TO authenticated;

REVOKE ALL ON FUNCTION private.are_free_headers(p_headers jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.are_free_headers(p_headers jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.are_free_headers(p_headers jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.upload_tenant(p_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.upload_tenant(p_name text) TO authenticated;
GRANT ALL ON FUNCTION private.upload_tenant(p_name text) TO service_role;

GRANT SELECT,DELETE ON TABLE public.product_images TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.product_images TO service_role;

GRANT INSERT(id) ON TABLE public.product_images TO authenticated;

GRANT INSERT(tenant_id) ON TABLE public.product_images TO authenticated;

GRANT INSERT(product_id) ON TABLE public.product_images TO authenticated;

GRANT INSERT(source_url),UPDATE(source_url) ON TABLE public.product_images TO authenticated;

GRANT INSERT(upload_path),UPDATE(upload_path) ON TABLE public.product_images TO authenticated;

GRANT INSERT("position"),UPDATE("position") ON TABLE public.product_images TO authenticated;

GRANT INSERT(alt_text),UPDATE(alt_text) ON TABLE public.product_images TO authenticated;

GRANT UPDATE(version) ON TABLE public.product_images TO authenticated;

REVOKE ALL ON FUNCTION private.arrange_images(p_tenant_id uuid, p_product_id uuid, p_image_ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION private.arrange_images(p_tenant_id uuid, p_product_id uuid, p_image_ids uuid[]) TO authenticated;
GRANT ALL ON FUNCTION private.arrange_images(p_tenant_id uuid, p_product_id uuid, p_image_ids uuid[]) TO service_role;

REVOKE ALL ON FUNCTION private.as_in_rows(p_body jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.asked_amount(p_order public.orders, p_payload jsonb, p_most numeric) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.asked_order_lines(p_order public.orders, p_payload jsonb, p_back boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.attribute_failures(p_attributes jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.attribute_offence(p_tag text, p_name text, p_value text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.audit_log(p_tenant_id uuid, p_before bigint, p_limit integer, p_actor uuid, p_entity text, p_entity_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION private.audit_log(p_tenant_id uuid, p_before bigint, p_limit integer, p_actor uuid, p_entity text, p_entity_id uuid) TO authenticated;
GRANT ALL ON FUNCTION private.audit_log(p_tenant_id uuid, p_before bigint, p_limit integer, p_actor uuid, p_entity text, p_entity_id uuid) TO service_role;

REVOKE ALL ON FUNCTION private.begin_change(p_attempt_id uuid, p_write jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.begin_change(p_attempt_id uuid, p_write jsonb) TO authenticated;

REVOKE ALL ON FUNCTION private.begin_command(p_tenant_id uuid, p_command text, p_key text, p_request jsonb) FROM PUBLIC;

GRANT SELECT ON TABLE public.inbound_webhooks TO authenticated;
GRANT SELECT ON TABLE public.inbound_webhooks TO service_role;

REVOKE ALL ON FUNCTION private.begin_webhook(p_webhook public.inbound_webhooks) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.bounds_of(p_ranges jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.bounds_of(p_ranges jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.bounds_of(p_ranges jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.broken_promises(p_required text[], p_before jsonb, p_now jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.minor_units(p_currency text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.minor_units(p_currency text) TO authenticated;
GRANT ALL ON FUNCTION private.minor_units(p_currency text) TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.products TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.products TO service_role;

REVOKE ALL ON FUNCTION private.business_failures(p public.products) FROM PUBLIC;

GRANT SELECT ON TABLE public.webhook_replays TO authenticated;
GRANT SELECT ON TABLE public.webhook_replays TO service_role;

REVOKE ALL ON FUNCTION private.cancel_replay(p_tenant_id uuid, p_replay_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION private.cancel_replay(p_tenant_id uuid, p_replay_id uuid) TO authenticated;
GRANT ALL ON FUNCTION private.cancel_replay(p_tenant_id uuid, p_replay_id uuid) TO service_role;

REVOKE ALL ON FUNCTION private.capture_changes() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.category_failures(p_product public.products) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.category_subtree(p_tenant_id uuid, p_category_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.change_api_key(p_tenant_id uuid, p_api_key_id uuid, p_changes jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.change_api_key(p_tenant_id uuid, p_api_key_id uuid, p_changes jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.change_api_key(p_tenant_id uuid, p_api_key_id uuid, p_changes jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.change_fault(p_change jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.change_role(p_tenant_id uuid, p_principal_id uuid, p_role text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.change_role(p_tenant_id uuid, p_principal_id uuid, p_role text) TO authenticated;
GRANT ALL ON FUNCTION private.change_role(p_tenant_id uuid, p_principal_id uuid, p_role text) TO service_role;

REVOKE ALL ON FUNCTION private.changed_fields(p_old jsonb, p_new jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.today() FROM PUBLIC;

GRANT SELECT ON TABLE public.inbox_messages TO authenticated;
GRANT SELECT ON TABLE public.inbox_messages TO service_role;

REVOKE ALL ON FUNCTION private.changes_of_message(p_message public.inbox_messages, p_known private.inbox_states, p_waits boolean, OUT changes jsonb[], OUT new_word private.inbox_states) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.check_api_key(p_key public.api_keys) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.check_call_size(p_parts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.check_client(p_client text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.check_client(p_client text) TO authenticated;
GRANT ALL ON FUNCTION private.check_client(p_client text) TO service_role;

REVOKE ALL ON FUNCTION private.check_customer() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.check_edit() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.check_event_filter() FROM PUBLIC;

GRANT SELECT(id) ON TABLE public.invitations TO authenticated;
GRANT SELECT(id) ON TABLE public.invitations TO service_role;

GRANT SELECT(tenant_id) ON TABLE public.invitations TO authenticated;
GRANT SELECT(tenant_id) ON TABLE public.invitations TO service_role;

GRANT SELECT(email) ON TABLE public.invitations TO authenticated;
GRANT SELECT(email) ON TABLE public.invitations TO service_role;

GRANT SELECT(role) ON TABLE public.invitations TO authenticated;
GRANT SELECT(role) ON TABLE public.invitations TO service_role;

GRANT SELECT(status) ON TABLE public.invitations TO authenticated;
GRANT SELECT(status) ON TABLE public.invitations TO service_role;

GRANT SELECT(invited_by) ON TABLE public.invitations TO authenticated;
GRANT SELECT(invited_by) ON TABLE public.invitations TO service_role;

GRANT SELECT(accepted_by) ON TABLE public.invitations TO authenticated;
GRANT SELECT(accepted_by) ON TABLE public.invitations TO service_role;

GRANT SELECT(expires_at) ON TABLE public.invitations TO authenticated;
GRANT SELECT(expires_at) ON TABLE public.invitations TO service_role;

GRANT SELECT(version) ON TABLE public.invitations TO authenticated;
GRANT SELECT(version) ON TABLE public.invitations TO service_role;

GRANT SELECT(created_at) ON TABLE public.invitations TO authenticated;
GRANT SELECT(created_at) ON TABLE public.invitations TO service_role;

GRANT SELECT(updated_at) ON TABLE public.invitations TO authenticated;
GRANT SELECT(updated_at) ON TABLE public.invitations TO service_role;

REVOKE ALL ON FUNCTION private.check_invitation(p_invitation public.invitations) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.check_lines(p_lines jsonb, p_field text, p_least numeric) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.check_order_lines(p_lines jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.check_ranges(p_ranges jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.check_ranges(p_ranges jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.check_ranges(p_ranges jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.check_reservations(p_ids uuid[], p_allowed text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.check_rule() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.check_schema() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.check_sync_fields(p_entity text, p_fields jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.check_sync_fields(p_entity text, p_fields jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.check_sync_fields(p_entity text, p_fields jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.checked_networks(p_allowed_ips text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.checked_scopes(p_role text, p_scopes text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.checksum(p_sum numeric) FROM PUBLIC;
GRANT ALL ON FUNCTION private.checksum(p_sum numeric) TO authenticated;
GRANT ALL ON FUNCTION private.checksum(p_sum numeric) TO service_role;

REVOKE ALL ON FUNCTION private.choice_failures(p_word text, p_rule jsonb, p_value jsonb, p_path text) FROM PUBLIC;

GRANT SELECT ON TABLE public.sync_conflicts TO authenticated;
GRANT SELECT ON TABLE public.sync_conflicts TO service_role;

REVOKE ALL ON FUNCTION private.close_conflict(p_tenant_id uuid, p_conflict_id uuid, p_winner text, p_value jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.close_conflict(p_tenant_id uuid, p_conflict_id uuid, p_winner text, p_value jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.close_conflict(p_tenant_id uuid, p_conflict_id uuid, p_winner text, p_value jsonb) TO service_role;

GRANT SELECT ON TABLE public.reservations TO authenticated;
GRANT SELECT ON TABLE public.reservations TO service_role;

REVOKE ALL ON FUNCTION private.commit_for(p_tenant_id uuid, p_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.commit_order_holds(p_order public.orders) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.compare_values(p_a jsonb, p_b jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.comparison_holds(p_condition jsonb, p_row jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.comparison_problem(p_entity text, p_condition jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.condition_holds(p_condition jsonb, p_row jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.condition_problems(p_entity text, p_condition jsonb, p_path text, p_depth integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.count_levels(p_tenant_id uuid, p_lines jsonb, p_reason text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.count_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.count_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) TO authenticated;
GRANT ALL ON FUNCTION private.count_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) TO service_role;

REVOKE ALL ON FUNCTION private.create_api_key(p_tenant_id uuid, p_name text, p_role text, p_scopes text[], p_expires_at timestamp with time zone, p_allowed_ips text[], p_rate_per_minute integer) FROM PUBLIC;
GRANT ALL ON FUNCTION private.create_api_key(p_tenant_id uuid, p_name text, p_role text, p_scopes text[], p_expires_at timestamp with time zone, p_allowed_ips text[], p_rate_per_minute integer) TO authenticated;
GRANT ALL ON FUNCTION private.create_api_key(p_tenant_id uuid, p_name text, p_role text, p_scopes text[], p_expires_at timestamp with time zone, p_allowed_ips text[], p_rate_per_minute integer) TO service_role;

REVOKE ALL ON FUNCTION private.create_product(p_tenant_id uuid, p_product jsonb, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.create_product(p_tenant_id uuid, p_product jsonb, p_key text) TO authenticated;
GRANT ALL ON FUNCTION private.create_product(p_tenant_id uuid, p_product jsonb, p_key text) TO service_role;

GRANT SELECT ON TABLE public.tenants TO authenticated;
GRANT SELECT ON TABLE public.tenants TO service_role;

GRANT UPDATE(name) ON TABLE public.tenants TO authenticated;

GRANT UPDATE(currency) ON TABLE public.tenants TO authenticated;

GRANT UPDATE(version) ON TABLE public.tenants TO authenticated;

REVOKE ALL ON FUNCTION private.create_tenant(p_slug text, p_name text, p_currency text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.create_tenant(p_slug text, p_name text, p_currency text) TO authenticated;

REVOKE ALL ON FUNCTION private.create_webhook_endpoint(p_tenant_id uuid, p_url text, p_events text[], p_description text, p_labels jsonb, p_headers jsonb, p_timeout_seconds integer, p_max_concurrency integer, p_rate_limit_per_second integer, p_ordered boolean, p_signature text, p_expires_after_hours integer) FROM PUBLIC;
GRANT ALL ON FUNCTION private.create_webhook_endpoint(p_tenant_id uuid, p_url text, p_events text[], p_description text, p_labels jsonb, p_headers jsonb, p_timeout_seconds integer, p_max_concurrency integer, p_rate_limit_per_second integer, p_ordered boolean, p_signature text, p_expires_after_hours integer) TO authenticated;
GRANT ALL ON FUNCTION private.create_webhook_endpoint(p_tenant_id uuid, p_url text, p_events text[], p_description text, p_labels jsonb, p_headers jsonb, p_timeout_seconds integer, p_max_concurrency integer, p_rate_limit_per_second integer, p_ordered boolean, p_signature text, p_expires_after_hours integer) TO service_role;

REVOKE ALL ON FUNCTION private.days_of(p_parent regclass) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.delete_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.delete_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_key text) TO authenticated;
GRANT ALL ON FUNCTION private.delete_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_key text) TO service_role;

REVOKE ALL ON FUNCTION private.delete_tenant(p_tenant_id uuid, p_confirm_slug text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.delete_tenant(p_tenant_id uuid, p_confirm_slug text) TO authenticated;
GRANT ALL ON FUNCTION private.delete_tenant(p_tenant_id uuid, p_confirm_slug text) TO service_role;

REVOKE ALL ON FUNCTION private.described_product(p_tenant_id uuid, p_base public.products, p_product jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.dispatch_for(p_tenant_id uuid, p_until bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.dispatch_mark() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.doom_files() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.doom_forgotten_uploads(p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.doom_upload() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.drop_secret(p_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.drop_secret_of_row() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.ed25519_public_key(p_seed bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.enable_graphql() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.end_api_key(p_api_key_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.end_command(p_tenant_id uuid, p_command text, p_key text, p_result jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.is_flat_text(p_object jsonb, p_key text, p_length integer, p_most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION private.is_flat_text(p_object jsonb, p_key text, p_length integer, p_most integer) TO authenticated;
GRANT ALL ON FUNCTION private.is_flat_text(p_object jsonb, p_key text, p_length integer, p_most integer) TO service_role;

GRANT SELECT,DELETE ON TABLE public.webhook_endpoints TO authenticated;
GRANT SELECT,DELETE ON TABLE public.webhook_endpoints TO service_role;

GRANT UPDATE(url) ON TABLE public.webhook_endpoints TO authenticated;
GRANT UPDATE(url) ON TABLE public.webhook_endpoints TO service_role;

GRANT UPDATE(description) ON TABLE public.webhook_endpoints TO authenticated;
GRANT UPDATE(description) ON TABLE public.webhook_endpoints TO service_role;

GRANT UPDATE(labels) ON TABLE public.webhook_endpoints TO authenticated;
GRANT UPDATE(labels) ON TABLE public.webhook_endpoints TO service_role;

GRANT UPDATE(events) ON TABLE public.webhook_endpoints TO authenticated;
GRANT UPDATE(events) ON TABLE public.webhook_endpoints TO service_role;

GRANT UPDATE(status) ON TABLE public.webhook_endpoints TO authenticated;
GRANT UPDATE(status) ON TABLE public.webhook_endpoints TO service_role;

GRANT UPDATE(timeout_seconds) ON TABLE public.webhook_endpoints TO authenticated;
GRANT UPDATE(timeout_seconds) ON TABLE public.webhook_endpoints TO service_role;

GRANT UPDATE(max_concurrency) ON TABLE public.webhook_endpoints TO authenticated;
GRANT UPDATE(max_concurrency) ON TABLE public.webhook_endpoints TO service_role;

GRANT UPDATE(rate_limit_per_second) ON TABLE public.webhook_endpoints TO authenticated;
GRANT UPDATE(rate_limit_per_second) ON TABLE public.webhook_endpoints TO service_role;

GRANT UPDATE(ordered) ON TABLE public.webhook_endpoints TO authenticated;
GRANT UPDATE(ordered) ON TABLE public.webhook_endpoints TO service_role;

GRANT UPDATE(headers) ON TABLE public.webhook_endpoints TO authenticated;
GRANT UPDATE(headers) ON TABLE public.webhook_endpoints TO service_role;

GRANT UPDATE(expires_after_hours) ON TABLE public.webhook_endpoints TO authenticated;
GRANT UPDATE(expires_after_hours) ON TABLE public.webhook_endpoints TO service_role;

GRANT UPDATE(version) ON TABLE public.webhook_endpoints TO authenticated;
GRANT UPDATE(version) ON TABLE public.webhook_endpoints TO service_role;

REVOKE ALL ON FUNCTION private.endpoint_for(p_tenant_id uuid, p_endpoint_id uuid, p_permission text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.endpoints_by_status() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.enqueue_webhook(p_webhook public.inbound_webhooks, p_in_seconds numeric) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.erase_rows(p_tenant_id uuid, p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.erased_tables() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.event_body(p_id text, p_type text, p_tenant_id uuid, p_seq bigint, p_occurred_at timestamp with time zone, p_version bigint, p_operation text, p_changed text[], p_new jsonb, p_old jsonb, p_schema integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.event_example(p_entity text, p_verb text, p_fields jsonb, p_version integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.event_fields(p_entity text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.event_history(p_tenant_id uuid, p_event_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.event_history(p_tenant_id uuid, p_event_id text) TO authenticated;
GRANT ALL ON FUNCTION private.event_history(p_tenant_id uuid, p_event_id text) TO service_role;

REVOKE ALL ON FUNCTION private.event_id(p_seq bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.event_problem(p_type text, p_object jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.event_schema(p_type text, p_description text, p_version integer, p_operations text[], p_fields jsonb, p_required text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.event_type(p_entity text, p_operation text, p_changed text[], p_new jsonb, OUT type text, OUT webhooks boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.example_value(p_entity text, p_field text, p_schema jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.expire_holds(p_level_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.explain_shortage(p_tenant_id uuid, p_lines jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.export_tenant(p_tenant_id uuid, p_table text, p_after jsonb, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION private.export_tenant(p_tenant_id uuid, p_table text, p_after jsonb, p_limit integer) TO authenticated;
GRANT ALL ON FUNCTION private.export_tenant(p_tenant_id uuid, p_table text, p_after jsonb, p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION private.exported_tables() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.extend_for(p_tenant_id uuid, p_ids uuid[], p_expires_in interval) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.fail(p_sqlstate text, p_code text, p_detail text, p_hint text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.fail(p_sqlstate text, p_code text, p_detail text, p_hint text) TO authenticated;
GRANT ALL ON FUNCTION private.fail(p_sqlstate text, p_code text, p_detail text, p_hint text) TO service_role;

REVOKE ALL ON FUNCTION private.failure(p_code text, p_field text, p_detail text, p_severity text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.failures_to_tell(p_product public.products) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.fan_out(p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.field_problem(p_entity text, p_field jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.field_value(p_row jsonb, p_field text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.first_failure(p_failures jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.fold_api_counts() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.follow_endpoint_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.follow_lane_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.forget_last_words(p_before timestamp with time zone, p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.forget_nonce_at(p_signed_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.forget_own_changes(p_tenant_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.forget_warnings() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.give_back(p_kind text, p_status text, p_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.give_up_order_rest(p_order public.orders) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.graphql_names() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.graphql_relations() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.guard_category_tree() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.guard_deletion() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.guard_held() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.guard_image() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.guard_publishing() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.guard_variant() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.has_type(p_value jsonb, p_type text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.hidden_columns(p_entity text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.hidden_columns(p_entity text) TO authenticated;
GRANT ALL ON FUNCTION private.hidden_columns(p_entity text) TO service_role;

REVOKE ALL ON FUNCTION private.hold_sync_attempt(p_attempt_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION private.hold_sync_attempt(p_attempt_id uuid) TO authenticated;

REVOKE ALL ON FUNCTION private.hold_until(p_expires_in interval) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.html_offences(p_html text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.image_in_work(p_image_id uuid, p_revision integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.import_product(p_tenant_id uuid, p_row jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.in_buckets(p_values numeric[], p_bounds numeric[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.inbox_defaults(p_tenant_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.inbox_edit(p_old jsonb, p_new jsonb, p_first boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.index_words() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.insert_order(p_id uuid, p_tenant_id uuid, p_currency text, p_lines jsonb, p_customer jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.invite_member(p_tenant_id uuid, p_email text, p_role text, p_expires_in interval) FROM PUBLIC;
GRANT ALL ON FUNCTION private.invite_member(p_tenant_id uuid, p_email text, p_role text, p_expires_in interval) TO authenticated;
GRANT ALL ON FUNCTION private.invite_member(p_tenant_id uuid, p_email text, p_role text, p_expires_in interval) TO service_role;

REVOKE ALL ON FUNCTION private.is_edit(p_edit jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.is_edit(p_edit jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.is_edit(p_edit jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.is_gone(p_message public.inbox_messages, p_known private.inbox_states) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.is_let_off(p_file private.doomed_files) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.is_needed(p_host text, p_public_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.is_order_quantity(p_value jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.is_public_address(p_address inet) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.is_tax_rate(p_value jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.is_to_be_judged(p_old public.products, p_new public.products) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.is_uploaded_anew(p_path text, p_due_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.items_of_depth(p_items jsonb, p_variants boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.judge_endpoint_url() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.keep_an_owner(p_tenant_id uuid, p_principal_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.keep_lane() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.keep_unknown(p_tenant_id uuid, p_kind text, p_event jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.keep_upload(p_path text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.keep_versions() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.key_of(p_table regclass) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.keyword_misuse(p_word text, p_rule jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.keyword_problem(p_word text, p_rule jsonb, p_value jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.laid_over(p_row jsonb, p_fields jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.laid_over(p_row jsonb, p_fields jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.laid_over(p_row jsonb, p_fields jsonb) TO service_role;

GRANT SELECT(id) ON TABLE queue.lanes TO authenticated;
GRANT SELECT(id) ON TABLE queue.lanes TO service_role;

GRANT SELECT(endpoint_id) ON TABLE queue.lanes TO authenticated;
GRANT SELECT(endpoint_id) ON TABLE queue.lanes TO service_role;

GRANT SELECT(tenant_id) ON TABLE queue.lanes TO authenticated;
GRANT SELECT(tenant_id) ON TABLE queue.lanes TO service_role;

REVOKE ALL ON FUNCTION private.lane_settings(p_lane queue.lanes, p_endpoint public.webhook_endpoints) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.last_version_with(p_entity text, p_row jsonb, p_state jsonb, p_fields text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.leaf_differences(p_tenant_id uuid, p_entity text, p_table text, p_ranges jsonb, p_leaves bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION private.leaf_differences(p_tenant_id uuid, p_entity text, p_table text, p_ranges jsonb, p_leaves bigint[]) TO authenticated;
GRANT ALL ON FUNCTION private.leaf_differences(p_tenant_id uuid, p_entity text, p_table text, p_ranges jsonb, p_leaves bigint[]) TO service_role;

REVOKE ALL ON FUNCTION private.leave_tenants() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.legal_order_events(p_status text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.legal_order_events(p_status text) TO authenticated;
GRANT ALL ON FUNCTION private.legal_order_events(p_status text) TO service_role;

REVOKE ALL ON FUNCTION private.let_happen(p_webhook public.inbound_webhooks) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.lies_between(p_value jsonb, p_bounds jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.lock_dispatch() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.lock_for_webhook(p_webhook public.inbound_webhooks) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.lock_inbox(p_tenant_id uuid, p_source text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.lock_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.lock_reservations(p_tenant_id uuid, p_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.lock_roles(p_tenant_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.log_changes_of(p_table regclass, p_entity text, p_read_permission text, VARIADIC p_hidden text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.log_place(p_tenant_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.log_reach(p_tenant_id uuid, OUT head bigint, OUT first bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.make_api_key_secret(p_api_key_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.make_partition(p_parent text, p_day date) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.make_webhook_secret(p_endpoint_id uuid, p_signature text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.mark_cached(p_tenant_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.mark_notifications_read(p_tenant_id uuid, p_ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION private.mark_notifications_read(p_tenant_id uuid, p_ids uuid[]) TO authenticated;
GRANT ALL ON FUNCTION private.mark_notifications_read(p_tenant_id uuid, p_ids uuid[]) TO service_role;

REVOKE ALL ON FUNCTION private.matches_format(p_text text, p_format text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.may_come_to_know(p_status text, p_event text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.message_fault(p_message jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.missing_order_stock(p_order public.orders) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.move_levels(p_kind text, p_level_ids uuid[], p_on_hand bigint[], p_reserved bigint[], p_reason text, p_order_id uuid, p_sources text[], p_may_fall_short boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.move_order(p_order public.orders, p_rule private.order_transitions, p_payload jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.move_stock(p_tenant_id uuid, p_kind text, p_lines jsonb, p_reason text, p_may_fall_short boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.my_permissions(p_tenant_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION private.my_permissions(p_tenant_id uuid) TO authenticated;

REVOKE ALL ON FUNCTION private.my_tenants() FROM PUBLIC;
GRANT ALL ON FUNCTION private.my_tenants() TO authenticated;
GRANT ALL ON FUNCTION private.my_tenants() TO service_role;

REVOKE ALL ON FUNCTION private.name_graphql_types() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.names_of_thing(p_webhook public.inbound_webhooks, p_thing uuid) FROM PUBLIC;

GRANT SELECT ON TABLE public.image_assets TO authenticated;
GRANT SELECT ON TABLE public.image_assets TO service_role;

REVOKE ALL ON FUNCTION private.near_duplicates(p_image public.product_images, p_asset public.image_assets) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.next_order_number(p_tenant_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.normal_text(p_text text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.not_found(p_webhook public.inbound_webhooks) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.note_alerts() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.note_api_counts(p_instance jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.note_client(p_tenant_id uuid, p_client text, p_epoch text, p_seq bigint, p_behind_since timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.note_pushed(p_tenant_id uuid, p_source text, p_changes jsonb[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.note_troubles(p_failures jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.note_unused_assets() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.note_warnings() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.notify_tenant(p_tenant_id uuid, p_key text, p_kind text, p_severity text, p_subject_id uuid, p_title text, p_detail text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.number_of_time(p_at timestamp with time zone, p_known private.inbox_states) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.oldest_xmin_holder() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.open_api_key(p_tenant_id uuid, p_api_key_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.open_conflict(p_tenant_id uuid, p_conflict_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION private.open_conflict(p_tenant_id uuid, p_conflict_id uuid) TO authenticated;
GRANT ALL ON FUNCTION private.open_conflict(p_tenant_id uuid, p_conflict_id uuid) TO service_role;

REVOKE ALL ON FUNCTION private.open_levels(p_tenant_id uuid, p_lines jsonb) FROM PUBLIC;

GRANT SELECT ON TABLE public.memberships TO authenticated;
GRANT SELECT ON TABLE public.memberships TO service_role;

REVOKE ALL ON FUNCTION private.open_membership(p_tenant_id uuid, p_principal_id uuid, p_new_role text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.open_order(p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, OUT locked public.orders, OUT rule private.order_transitions) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.operand_problem(p_op text, p_value jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.order_as_json(p_order public.orders) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.order_event(p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, p_key text, p_payload jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.order_event(p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, p_key text, p_payload jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.order_event(p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, p_key text, p_payload jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.order_guard_holds(p_order public.orders, p_guard text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.outbox_waits_since(p_mark xid8) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.overlap_of(p_text text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.overlap_of(p_text text) TO authenticated;
GRANT ALL ON FUNCTION private.overlap_of(p_text text) TO service_role;

REVOKE ALL ON FUNCTION private.owed_days() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.pair_images(p_product public.products, p_images jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.part_failures(p_word text, p_schema jsonb, p_value jsonb, p_path text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.part_of_data(p_data jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.partitions_ahead() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.pass_to_inbox(p_webhook public.inbound_webhooks, p_entity_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.pattern_problem(p_pattern text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.permissions_of(p_role text, p_scopes text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.pick_order_stock(p_order public.orders, p_asked jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.place_order(p_tenant_id uuid, p_lines jsonb, p_customer jsonb, p_key text, p_reserve_for interval) FROM PUBLIC;
GRANT ALL ON FUNCTION private.place_order(p_tenant_id uuid, p_lines jsonb, p_customer jsonb, p_key text, p_reserve_for interval) TO authenticated;
GRANT ALL ON FUNCTION private.place_order(p_tenant_id uuid, p_lines jsonb, p_customer jsonb, p_key text, p_reserve_for interval) TO service_role;

REVOKE ALL ON FUNCTION private.price_order_lines(p_tenant_id uuid, p_lines jsonb, OUT lines jsonb, OUT currency text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.product_failures(p_product public.products, p_severities text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.product_since(p_tenant_id uuid, p_product_id uuid, p_base bigint, p_principal_id uuid, p_client text, OUT "row" jsonb, OUT base jsonb, OUT touched jsonb, OUT own jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.product_vector(p_tenant_id uuid, p_sku text, p_name text, p_description text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.publish_due_product(p_product_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.publish_tables(VARIADIC p_tables text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.publishing_failures(p_product public.products, p_was text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.pull_changes(p_tenant_id uuid, p_cursor text, p_limit integer, p_wait boolean, p_client text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.pull_changes(p_tenant_id uuid, p_cursor text, p_limit integer, p_wait boolean, p_client text) TO authenticated;
GRANT ALL ON FUNCTION private.pull_changes(p_tenant_id uuid, p_cursor text, p_limit integer, p_wait boolean, p_client text) TO service_role;

REVOKE ALL ON FUNCTION private.push_changes(p_tenant_id uuid, p_client text, p_changes jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.push_changes(p_tenant_id uuid, p_client text, p_changes jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.push_changes(p_tenant_id uuid, p_client text, p_changes jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.put_off_or_reject(p_webhook public.inbound_webhooks, p_may_change boolean, p_code text, p_detail text, p_at_most integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.put_secret(p_name text, p_value text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.queue_image(p_image public.product_images) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.queue_invalidations(p_tenant_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.queue_new_source() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.queue_replays(p_lane_id bigint, p_tenant_id uuid, p_seqs bigint[], p_days date[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.queue_restored_images() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.queue_sync_work(p_tenant_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.queue_work_of_new_changes() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.range_fault(p_range jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.range_fault(p_range jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.range_fault(p_range jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.range_parts(p_tenant_id uuid, p_table text, p_ranges jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.range_parts(p_tenant_id uuid, p_table text, p_ranges jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.range_parts(p_tenant_id uuid, p_table text, p_ranges jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.read_secret(p_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.readable_entities(p_tenant_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.receive_changes(p_tenant_id uuid, p_source text, p_messages jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.receive_changes(p_tenant_id uuid, p_source text, p_messages jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.receive_changes(p_tenant_id uuid, p_source text, p_messages jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.receive_once(p_product public.products, p_row jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.receive_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.receive_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.receive_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.record_order_event(p_order public.orders, p_event text, p_from text, p_payload jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.redact_customer(p_tenant_id uuid, p_email text, p_order_ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION private.redact_customer(p_tenant_id uuid, p_email text, p_order_ids uuid[]) TO authenticated;
GRANT ALL ON FUNCTION private.redact_customer(p_tenant_id uuid, p_email text, p_order_ids uuid[]) TO service_role;

REVOKE ALL ON FUNCTION private.redact_events(p_tenant_id uuid, p_order_ids uuid[], p_after_seq bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.reference_failures(p_product public.products, p_stored_version bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.refresh_event_types(p_breaking text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.refund_order_money(p_order public.orders, p_payload jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.refusal(p_sqlstate text, p_message text, p_detail text, p_constraint text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.refusal_of_product(p_tenant_id uuid, p_old public.products, p_new public.products) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.refuse_held(p_tenant_id uuid, p_product_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.refuse_if_short(p_constraint text, p_lines jsonb, p_numbered boolean, p_may_fall_short boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.refuse_invalid_product() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.refuse_ledger_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.refuse_message(p_id uuid, p_code text, p_detail text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.refuse_truncate() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.refused_row(p_item jsonb, p_error jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.reject_webhook(p_webhook public.inbound_webhooks, p_code text, p_detail text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.release_for(p_tenant_id uuid, p_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.release_next(p_lane_ids bigint[], p_order_keys uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.remove_member(p_tenant_id uuid, p_principal_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION private.remove_member(p_tenant_id uuid, p_principal_id uuid) TO authenticated;
GRANT ALL ON FUNCTION private.remove_member(p_tenant_id uuid, p_principal_id uuid) TO service_role;

REVOKE ALL ON FUNCTION private.repair_stock(p_tenant_id uuid, p_level_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.replace_product(p_tenant_id uuid, p_product_id uuid, p_product jsonb, p_expected_version bigint, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.replace_product(p_tenant_id uuid, p_product_id uuid, p_product jsonb, p_expected_version bigint, p_key text) TO authenticated;
GRANT ALL ON FUNCTION private.replace_product(p_tenant_id uuid, p_product_id uuid, p_product jsonb, p_expected_version bigint, p_key text) TO service_role;

REVOKE ALL ON FUNCTION private.replay_delivery(p_tenant_id uuid, p_delivery_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION private.replay_delivery(p_tenant_id uuid, p_delivery_id bigint) TO authenticated;
GRANT ALL ON FUNCTION private.replay_delivery(p_tenant_id uuid, p_delivery_id bigint) TO service_role;

REVOKE ALL ON FUNCTION private.replay_events(p_tenant_id uuid, p_endpoint_id uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_types text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION private.replay_events(p_tenant_id uuid, p_endpoint_id uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_types text[]) TO authenticated;
GRANT ALL ON FUNCTION private.replay_events(p_tenant_id uuid, p_endpoint_id uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_types text[]) TO service_role;

REVOKE ALL ON FUNCTION private.report_period(p_tenant_id uuid, p_from date, p_to date, p_time_zone text, OUT starts timestamp with time zone, OUT ends timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION private.report_period(p_tenant_id uuid, p_from date, p_to date, p_time_zone text, OUT starts timestamp with time zone, OUT ends timestamp with time zone) TO authenticated;
GRANT ALL ON FUNCTION private.report_period(p_tenant_id uuid, p_from date, p_to date, p_time_zone text, OUT starts timestamp with time zone, OUT ends timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION private.requeue_webhooks(p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.require(p_tenant_id uuid, p_permission text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.require(p_tenant_id uuid, p_permission text) TO authenticated;
GRANT ALL ON FUNCTION private.require(p_tenant_id uuid, p_permission text) TO service_role;

REVOKE ALL ON FUNCTION private.require_as_strong(p_tenant_id uuid, p_role text, p_scopes text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.require_known_role(p_role text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.require_no_api_key(p_tenant_id uuid, p_but uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.require_plain(p_value jsonb, p_deepest jsonpath) FROM PUBLIC;
GRANT ALL ON FUNCTION private.require_plain(p_value jsonb, p_deepest jsonpath) TO authenticated;
GRANT ALL ON FUNCTION private.require_plain(p_value jsonb, p_deepest jsonpath) TO service_role;

REVOKE ALL ON FUNCTION private.reservation_command(p_tenant_id uuid, p_command text, p_key text, p_request jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.reservation_command(p_tenant_id uuid, p_command text, p_key text, p_request jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.reservation_command(p_tenant_id uuid, p_command text, p_key text, p_request jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.reservations_json(p_reservations public.reservations[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.reserve_for(p_tenant_id uuid, p_lines jsonb, p_expires_in interval, p_order_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.restore_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION private.restore_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint) TO authenticated;
GRANT ALL ON FUNCTION private.restore_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint) TO service_role;

REVOKE ALL ON FUNCTION private.retry_image(p_tenant_id uuid, p_image_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION private.retry_image(p_tenant_id uuid, p_image_id uuid) TO authenticated;
GRANT ALL ON FUNCTION private.retry_image(p_tenant_id uuid, p_image_id uuid) TO service_role;

REVOKE ALL ON FUNCTION private.return_for(p_tenant_id uuid, p_lines jsonb, p_reason text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.revoke_api_key(p_tenant_id uuid, p_api_key_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION private.revoke_api_key(p_tenant_id uuid, p_api_key_id uuid) TO authenticated;
GRANT ALL ON FUNCTION private.revoke_api_key(p_tenant_id uuid, p_api_key_id uuid) TO service_role;

REVOKE ALL ON FUNCTION private.revoke_invitation(p_tenant_id uuid, p_invitation_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION private.revoke_invitation(p_tenant_id uuid, p_invitation_id uuid) TO authenticated;
GRANT ALL ON FUNCTION private.revoke_invitation(p_tenant_id uuid, p_invitation_id uuid) TO service_role;

REVOKE ALL ON FUNCTION private.revoke_invitations_of(p_tenant_id uuid, p_principal_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.ring(p_lane text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.ring_tenants(p_news uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.rollback_product(p_tenant_id uuid, p_product_id uuid, p_to_version bigint, p_expected_version bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION private.rollback_product(p_tenant_id uuid, p_product_id uuid, p_to_version bigint, p_expected_version bigint) TO authenticated;
GRANT ALL ON FUNCTION private.rollback_product(p_tenant_id uuid, p_product_id uuid, p_to_version bigint, p_expected_version bigint) TO service_role;

REVOKE ALL ON FUNCTION private.rotate_api_key(p_tenant_id uuid, p_api_key_id uuid, p_overlap interval) FROM PUBLIC;
GRANT ALL ON FUNCTION private.rotate_api_key(p_tenant_id uuid, p_api_key_id uuid, p_overlap interval) TO authenticated;
GRANT ALL ON FUNCTION private.rotate_api_key(p_tenant_id uuid, p_api_key_id uuid, p_overlap interval) TO service_role;

REVOKE ALL ON FUNCTION private.rotate_webhook_secret(p_tenant_id uuid, p_endpoint_id uuid, p_overlap_hours numeric, p_signature text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.rotate_webhook_secret(p_tenant_id uuid, p_endpoint_id uuid, p_overlap_hours numeric, p_signature text) TO authenticated;
GRANT ALL ON FUNCTION private.rotate_webhook_secret(p_tenant_id uuid, p_endpoint_id uuid, p_overlap_hours numeric, p_signature text) TO service_role;

REVOKE ALL ON FUNCTION private.row_fault(p_row jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.rule_failures(p_product public.products, p_severities text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.run_stock_proof(p_tenant_id uuid, p_repair boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION private.run_stock_proof(p_tenant_id uuid, p_repair boolean) TO authenticated;
GRANT ALL ON FUNCTION private.run_stock_proof(p_tenant_id uuid, p_repair boolean) TO service_role;

REVOKE ALL ON FUNCTION private.same_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.sanitise_product() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.sanitised_product(p public.products) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.schedule_publishing() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.schema_failures(p_schema jsonb, p_value jsonb, p_path text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.schema_problems(p_schema jsonb, p_path text, p_depth integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.search_cursor(p_after jsonb, OUT rank real, OUT created_at timestamp with time zone, OUT id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.search_products(p_tenant_id uuid, p_query text, p_after jsonb, p_limit integer, p_status text, p_category_id uuid, p_order text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.search_products(p_tenant_id uuid, p_query text, p_after jsonb, p_limit integer, p_status text, p_category_id uuid, p_order text) TO authenticated;
GRANT ALL ON FUNCTION private.search_products(p_tenant_id uuid, p_query text, p_after jsonb, p_limit integer, p_status text, p_category_id uuid, p_order text) TO service_role;

REVOKE ALL ON FUNCTION private.search_terms(p_tenant_id uuid, p_query text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.secrets_home() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.secure_order_stock(p_order public.orders) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.send_test_event(p_tenant_id uuid, p_endpoint_id uuid, p_type text, p_enables boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION private.send_test_event(p_tenant_id uuid, p_endpoint_id uuid, p_type text, p_enables boolean) TO authenticated;
GRANT ALL ON FUNCTION private.send_test_event(p_tenant_id uuid, p_endpoint_id uuid, p_type text, p_enables boolean) TO service_role;

REVOKE ALL ON FUNCTION private.seq_of_event(p_event_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.seq_of_event(p_event_id text) TO authenticated;
GRANT ALL ON FUNCTION private.seq_of_event(p_event_id text) TO service_role;

REVOKE ALL ON FUNCTION private.set_images(p_product public.products, p_images jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.set_published(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_status text, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.set_published(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_status text, p_key text) TO authenticated;
GRANT ALL ON FUNCTION private.set_published(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_status text, p_key text) TO service_role;

REVOKE ALL ON FUNCTION private.settle_change(p_attempt_id uuid, p_write jsonb, p_version bigint, p_status text, p_error jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.settle_change(p_attempt_id uuid, p_write jsonb, p_version bigint, p_status text, p_error jsonb) TO authenticated;

REVOKE ALL ON FUNCTION private.settle_delivered(p_delivery_ids bigint[], p_event_ids text[], p_types text[], p_statuses integer[], p_responses text[], p_started_at timestamp with time zone[], p_duration_ms numeric[], p_dns_ms numeric[], p_connect_ms numeric[], p_first_byte_ms numeric[], p_lanes bigint[], p_now timestamp with time zone, p_today date, OUT settled bigint[], OUT endpoints uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.settle_others(p_results jsonb, p_lanes bigint[], p_now timestamp with time zone, p_today date, OUT settled bigint[], OUT endpoints uuid[], OUT failures jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.settle_stuck_images(p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.ship_for(p_tenant_id uuid, p_lines jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.ship_order_lines(p_order public.orders, p_payload jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.stamp_version() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.status_after_restoring(p_product public.products) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.still_news(p_message public.inbox_messages, p_known private.inbox_states, OUT is_news boolean, OUT body jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.still_queued(p_since timestamp with time zone, p_at_most integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.stock_command(p_tenant_id uuid, p_kind text, p_lines jsonb, p_key text, p_reason text, p_may_fall_short boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION private.stock_command(p_tenant_id uuid, p_kind text, p_lines jsonb, p_key text, p_reason text, p_may_fall_short boolean) TO authenticated;
GRANT ALL ON FUNCTION private.stock_command(p_tenant_id uuid, p_kind text, p_lines jsonb, p_key text, p_reason text, p_may_fall_short boolean) TO service_role;

REVOKE ALL ON FUNCTION private.stock_differences(p_tenant_id uuid, p_level_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.stock_holding(p_tenant_id uuid, p_product_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.stock_level_since(p_tenant_id uuid, p_level_id uuid, p_base bigint, p_principal_id uuid, p_client text, OUT "row" jsonb, OUT base jsonb, OUT touched jsonb, OUT own jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.sum_order_lines(p_order public.orders) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.sync_status(p_tenant_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION private.sync_status(p_tenant_id uuid) TO authenticated;
GRANT ALL ON FUNCTION private.sync_status(p_tenant_id uuid) TO service_role;

REVOKE ALL ON FUNCTION private.tag_offence(p_tag text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.take_message(p_id uuid, p_waits boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.take_order_back(p_order public.orders, p_payload jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.take_order_payment(p_order public.orders, p_payload jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.take_variants_along() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.takes_event(p_events text[], p_type text, p_entity text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.tenants_with(p_permission text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.tenants_with(p_permission text) TO authenticated;
GRANT ALL ON FUNCTION private.tenants_with(p_permission text) TO service_role;

REVOKE ALL ON FUNCTION private.text_failures(p public.products) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.transfer_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.transfer_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) TO authenticated;
GRANT ALL ON FUNCTION private.transfer_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) TO service_role;

REVOKE ALL ON FUNCTION private.turn_of(p_webhook public.inbound_webhooks) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.type_failures(p_product jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.type_schema(p_type regtype) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.upsert_products(p_tenant_id uuid, p_rows jsonb, p_all_or_nothing boolean, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION private.upsert_products(p_tenant_id uuid, p_rows jsonb, p_all_or_nothing boolean, p_key text) TO authenticated;
GRANT ALL ON FUNCTION private.upsert_products(p_tenant_id uuid, p_rows jsonb, p_all_or_nothing boolean, p_key text) TO service_role;

REVOKE ALL ON FUNCTION private.url_problem(p_url text, p_private boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.uuid_or_null(p_text text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.validate_product(p_tenant_id uuid, p_product jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.validate_product(p_tenant_id uuid, p_product jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.validate_product(p_tenant_id uuid, p_product jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.variants_holding(p_tenant_id uuid, p_product_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.waits_for_others(p_webhook public.inbound_webhooks, p_thing uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.webhook_about(p_kind text, p_data jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.webhook_fault(p_event jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.webhook_keys(p_tenant_id uuid, p_endpoint_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION private.webhook_keys(p_tenant_id uuid, p_endpoint_id uuid) TO authenticated;
GRANT ALL ON FUNCTION private.webhook_keys(p_tenant_id uuid, p_endpoint_id uuid) TO service_role;

REVOKE ALL ON FUNCTION private.webhook_level(p_tenant_id uuid, p_data jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.webhook_message(p_webhook public.inbound_webhooks, p_entity_id uuid, p_number jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.webhook_product(p_tenant_id uuid, p_id text, p_sku text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.webhook_serial(p_webhook public.inbound_webhooks) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.webhook_source(p_principal_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.webhook_thing(p_webhook public.inbound_webhooks) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.why_snapshot(p_epoch text, p_seq bigint, p_known_epoch text, p_head bigint, p_first bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.wide_tenant() FROM PUBLIC;

REVOKE ALL ON FUNCTION private.without_customer(p_row jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.word_after_outcomes(p_known private.inbox_states) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.word_key(p_tenant_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.word_with_change(p_state jsonb, p_operation text, p_edit jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.word_without_change(p_state jsonb, p_settled_state jsonb, p_operation text, p_edit jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.words_of(p_text text) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.work_webhook(p_webhook public.inbound_webhooks) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.write_fields(p_tenant_id uuid, p_entity text, p_entity_id uuid, p_version bigint, p_fields jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION private.write_fields(p_tenant_id uuid, p_entity text, p_entity_id uuid, p_version bigint, p_fields jsonb) TO authenticated;
GRANT ALL ON FUNCTION private.write_fields(p_tenant_id uuid, p_entity text, p_entity_id uuid, p_version bigint, p_fields jsonb) TO service_role;

REVOKE ALL ON FUNCTION private.write_products(p_tenant_id uuid, p_items jsonb, p_judged boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION private.write_slice(p_tenant_id uuid, p_items jsonb, p_judged boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.accept_invitation(p_token text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.accept_invitation(p_token text) TO authenticated;

REVOKE ALL ON FUNCTION public.adjust_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text, p_allow_shortfall boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.adjust_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text, p_allow_shortfall boolean) TO authenticated;
GRANT ALL ON FUNCTION public.adjust_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text, p_allow_shortfall boolean) TO service_role;

REVOKE ALL ON FUNCTION public.apply_changes(p_attempt_id uuid, p_writes jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.apply_changes(p_attempt_id uuid, p_writes jsonb) TO authenticated;

REVOKE ALL ON FUNCTION public.apply_webhook(p_webhook_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.apply_webhook(p_webhook_id uuid) TO authenticated;

REVOKE ALL ON FUNCTION public.arrange_images(p_tenant_id uuid, p_product_id uuid, p_image_ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.arrange_images(p_tenant_id uuid, p_product_id uuid, p_image_ids uuid[]) TO authenticated;
GRANT ALL ON FUNCTION public.arrange_images(p_tenant_id uuid, p_product_id uuid, p_image_ids uuid[]) TO service_role;

REVOKE ALL ON FUNCTION public.audit_log(p_tenant_id uuid, p_before bigint, p_limit integer, p_actor uuid, p_entity text, p_entity_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.audit_log(p_tenant_id uuid, p_before bigint, p_limit integer, p_actor uuid, p_entity text, p_entity_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.audit_log(p_tenant_id uuid, p_before bigint, p_limit integer, p_actor uuid, p_entity text, p_entity_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.available(p_level public.stock_levels) FROM PUBLIC;
GRANT ALL ON FUNCTION public.available(p_level public.stock_levels) TO authenticated;
GRANT ALL ON FUNCTION public.available(p_level public.stock_levels) TO service_role;

REVOKE ALL ON FUNCTION public.cancel_replay(p_tenant_id uuid, p_replay_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.cancel_replay(p_tenant_id uuid, p_replay_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.cancel_replay(p_tenant_id uuid, p_replay_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.change_api_key(p_tenant_id uuid, p_api_key_id text, p_changes jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.change_api_key(p_tenant_id uuid, p_api_key_id text, p_changes jsonb) TO authenticated;
GRANT ALL ON FUNCTION public.change_api_key(p_tenant_id uuid, p_api_key_id text, p_changes jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.change_role(p_tenant_id uuid, p_principal_id uuid, p_role text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.change_role(p_tenant_id uuid, p_principal_id uuid, p_role text) TO authenticated;
GRANT ALL ON FUNCTION public.change_role(p_tenant_id uuid, p_principal_id uuid, p_role text) TO service_role;

REVOKE ALL ON FUNCTION public.commit_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.commit_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text) TO authenticated;
GRANT ALL ON FUNCTION public.commit_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text) TO service_role;

REVOKE ALL ON FUNCTION public.count_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.count_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) TO authenticated;
GRANT ALL ON FUNCTION public.count_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) TO service_role;

REVOKE ALL ON FUNCTION public.create_api_key(p_tenant_id uuid, p_name text, p_role text, p_scopes text[], p_expires_at timestamp with time zone, p_allowed_ips text[], p_rate_per_minute integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.create_api_key(p_tenant_id uuid, p_name text, p_role text, p_scopes text[], p_expires_at timestamp with time zone, p_allowed_ips text[], p_rate_per_minute integer) TO authenticated;
GRANT ALL ON FUNCTION public.create_api_key(p_tenant_id uuid, p_name text, p_role text, p_scopes text[], p_expires_at timestamp with time zone, p_allowed_ips text[], p_rate_per_minute integer) TO service_role;

REVOKE ALL ON FUNCTION public.create_product(p_tenant_id uuid, p_product jsonb, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.create_product(p_tenant_id uuid, p_product jsonb, p_key text) TO authenticated;
GRANT ALL ON FUNCTION public.create_product(p_tenant_id uuid, p_product jsonb, p_key text) TO service_role;

REVOKE ALL ON FUNCTION public.create_tenant(p_slug text, p_name text, p_currency text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.create_tenant(p_slug text, p_name text, p_currency text) TO authenticated;

REVOKE ALL ON FUNCTION public.create_webhook_endpoint(p_tenant_id uuid, p_url text, p_events text[], p_description text, p_labels jsonb, p_headers jsonb, p_timeout_seconds integer, p_max_concurrency integer, p_rate_limit_per_second integer, p_ordered boolean, p_signature text, p_expires_after_hours integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.create_webhook_endpoint(p_tenant_id uuid, p_url text, p_events text[], p_description text, p_labels jsonb, p_headers jsonb, p_timeout_seconds integer, p_max_concurrency integer, p_rate_limit_per_second integer, p_ordered boolean, p_signature text, p_expires_after_hours integer) TO authenticated;
GRANT ALL ON FUNCTION public.create_webhook_endpoint(p_tenant_id uuid, p_url text, p_events text[], p_description text, p_labels jsonb, p_headers jsonb, p_timeout_seconds integer, p_max_concurrency integer, p_rate_limit_per_second integer, p_ordered boolean, p_signature text, p_expires_after_hours integer) TO service_role;

REVOKE ALL ON FUNCTION public.delete_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.delete_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_key text) TO authenticated;
GRANT ALL ON FUNCTION public.delete_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_key text) TO service_role;

REVOKE ALL ON FUNCTION public.delete_tenant(p_tenant_id uuid, p_confirm_slug text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.delete_tenant(p_tenant_id uuid, p_confirm_slug text) TO authenticated;
GRANT ALL ON FUNCTION public.delete_tenant(p_tenant_id uuid, p_confirm_slug text) TO service_role;

REVOKE ALL ON FUNCTION public.delivery_health(p_tenant_id uuid, p_from date, p_to date, p_time_zone text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.delivery_health(p_tenant_id uuid, p_from date, p_to date, p_time_zone text) TO authenticated;
GRANT ALL ON FUNCTION public.delivery_health(p_tenant_id uuid, p_from date, p_to date, p_time_zone text) TO service_role;

REVOKE ALL ON FUNCTION public.enable_webhook_endpoint(p_tenant_id uuid, p_endpoint_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.enable_webhook_endpoint(p_tenant_id uuid, p_endpoint_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.enable_webhook_endpoint(p_tenant_id uuid, p_endpoint_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.event_history(p_tenant_id uuid, p_event_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.event_history(p_tenant_id uuid, p_event_id text) TO authenticated;
GRANT ALL ON FUNCTION public.event_history(p_tenant_id uuid, p_event_id text) TO service_role;

REVOKE ALL ON FUNCTION public.export_tenant(p_tenant_id uuid, p_table text, p_after jsonb, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.export_tenant(p_tenant_id uuid, p_table text, p_after jsonb, p_limit integer) TO authenticated;
GRANT ALL ON FUNCTION public.export_tenant(p_tenant_id uuid, p_table text, p_after jsonb, p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION public.extend_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_expires_in interval, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.extend_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_expires_in interval, p_key text) TO authenticated;
GRANT ALL ON FUNCTION public.extend_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_expires_in interval, p_key text) TO service_role;

REVOKE ALL ON FUNCTION public.invite_member(p_tenant_id uuid, p_email text, p_role text, p_expires_in interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.invite_member(p_tenant_id uuid, p_email text, p_role text, p_expires_in interval) TO authenticated;
GRANT ALL ON FUNCTION public.invite_member(p_tenant_id uuid, p_email text, p_role text, p_expires_in interval) TO service_role;

REVOKE ALL ON FUNCTION public.legal_events(p_order public.orders) FROM PUBLIC;
GRANT ALL ON FUNCTION public.legal_events(p_order public.orders) TO authenticated;
GRANT ALL ON FUNCTION public.legal_events(p_order public.orders) TO service_role;

REVOKE ALL ON FUNCTION public.mark_notifications_read(p_tenant_id uuid, p_ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.mark_notifications_read(p_tenant_id uuid, p_ids uuid[]) TO authenticated;
GRANT ALL ON FUNCTION public.mark_notifications_read(p_tenant_id uuid, p_ids uuid[]) TO service_role;

REVOKE ALL ON FUNCTION public.my_permissions(p_tenant_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.my_permissions(p_tenant_id uuid) TO authenticated;

REVOKE ALL ON FUNCTION public.name_head(public.products) FROM PUBLIC;
GRANT ALL ON FUNCTION public.name_head(public.products) TO authenticated;
GRANT ALL ON FUNCTION public.name_head(public.products) TO service_role;

REVOKE ALL ON FUNCTION public.order_event(p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, p_key text, p_payload jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.order_event(p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, p_key text, p_payload jsonb) TO authenticated;
GRANT ALL ON FUNCTION public.order_event(p_tenant_id uuid, p_order_id uuid, p_event text, p_expected_version bigint, p_key text, p_payload jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.place_order(p_tenant_id uuid, p_lines jsonb, p_customer jsonb, p_key text, p_reserve_for interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.place_order(p_tenant_id uuid, p_lines jsonb, p_customer jsonb, p_key text, p_reserve_for interval) TO authenticated;
GRANT ALL ON FUNCTION public.place_order(p_tenant_id uuid, p_lines jsonb, p_customer jsonb, p_key text, p_reserve_for interval) TO service_role;

REVOKE ALL ON FUNCTION public.primary_image(p_product public.products) FROM PUBLIC;
GRANT ALL ON FUNCTION public.primary_image(p_product public.products) TO authenticated;
GRANT ALL ON FUNCTION public.primary_image(p_product public.products) TO service_role;

REVOKE ALL ON FUNCTION public.publish_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.publish_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_key text) TO authenticated;
GRANT ALL ON FUNCTION public.publish_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint, p_key text) TO service_role;

REVOKE ALL ON FUNCTION public.pull_changes(p_tenant_id uuid, p_cursor text, p_limit integer, p_wait boolean, p_client text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.pull_changes(p_tenant_id uuid, p_cursor text, p_limit integer, p_wait boolean, p_client text) TO authenticated;
GRANT ALL ON FUNCTION public.pull_changes(p_tenant_id uuid, p_cursor text, p_limit integer, p_wait boolean, p_client text) TO service_role;

REVOKE ALL ON FUNCTION public.push_changes(p_tenant_id uuid, p_client text, p_changes jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.push_changes(p_tenant_id uuid, p_client text, p_changes jsonb) TO authenticated;
GRANT ALL ON FUNCTION public.push_changes(p_tenant_id uuid, p_client text, p_changes jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.receive_changes(p_tenant_id uuid, p_source text, p_messages jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.receive_changes(p_tenant_id uuid, p_source text, p_messages jsonb) TO authenticated;
GRANT ALL ON FUNCTION public.receive_changes(p_tenant_id uuid, p_source text, p_messages jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.receive_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.receive_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) TO authenticated;
GRANT ALL ON FUNCTION public.receive_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) TO service_role;

REVOKE ALL ON FUNCTION public.receive_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.receive_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) TO authenticated;
GRANT ALL ON FUNCTION public.receive_webhook(p_tenant_id uuid, p_kind text, p_event jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.redact_customer(p_tenant_id uuid, p_email text, p_order_ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.redact_customer(p_tenant_id uuid, p_email text, p_order_ids uuid[]) TO authenticated;
GRANT ALL ON FUNCTION public.redact_customer(p_tenant_id uuid, p_email text, p_order_ids uuid[]) TO service_role;

REVOKE ALL ON FUNCTION public.release_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.release_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text) TO authenticated;
GRANT ALL ON FUNCTION public.release_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text) TO service_role;

REVOKE ALL ON FUNCTION public.remove_member(p_tenant_id uuid, p_principal_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.remove_member(p_tenant_id uuid, p_principal_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.remove_member(p_tenant_id uuid, p_principal_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.replace_product(p_tenant_id uuid, p_product_id uuid, p_product jsonb, p_expected_version bigint, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.replace_product(p_tenant_id uuid, p_product_id uuid, p_product jsonb, p_expected_version bigint, p_key text) TO authenticated;
GRANT ALL ON FUNCTION public.replace_product(p_tenant_id uuid, p_product_id uuid, p_product jsonb, p_expected_version bigint, p_key text) TO service_role;

REVOKE ALL ON FUNCTION public.replay_delivery(p_tenant_id uuid, p_delivery_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.replay_delivery(p_tenant_id uuid, p_delivery_id bigint) TO authenticated;
GRANT ALL ON FUNCTION public.replay_delivery(p_tenant_id uuid, p_delivery_id bigint) TO service_role;

REVOKE ALL ON FUNCTION public.replay_events(p_tenant_id uuid, p_endpoint_id uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_types text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.replay_events(p_tenant_id uuid, p_endpoint_id uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_types text[]) TO authenticated;
GRANT ALL ON FUNCTION public.replay_events(p_tenant_id uuid, p_endpoint_id uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_types text[]) TO service_role;

REVOKE ALL ON FUNCTION public.report_state(p_tenant_id uuid, p_client text, p_entity text, p_ranges jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.report_state(p_tenant_id uuid, p_client text, p_entity text, p_ranges jsonb) TO authenticated;
GRANT ALL ON FUNCTION public.report_state(p_tenant_id uuid, p_client text, p_entity text, p_ranges jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.reserve_stock(p_tenant_id uuid, p_lines jsonb, p_expires_in interval, p_key text, p_order_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.reserve_stock(p_tenant_id uuid, p_lines jsonb, p_expires_in interval, p_key text, p_order_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.reserve_stock(p_tenant_id uuid, p_lines jsonb, p_expires_in interval, p_key text, p_order_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.resolve_conflict(p_tenant_id uuid, p_conflict_id uuid, p_choice text, p_value jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.resolve_conflict(p_tenant_id uuid, p_conflict_id uuid, p_choice text, p_value jsonb) TO authenticated;
GRANT ALL ON FUNCTION public.resolve_conflict(p_tenant_id uuid, p_conflict_id uuid, p_choice text, p_value jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.restore_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.restore_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint) TO authenticated;
GRANT ALL ON FUNCTION public.restore_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint) TO service_role;

REVOKE ALL ON FUNCTION public.retry_image(p_tenant_id uuid, p_image_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.retry_image(p_tenant_id uuid, p_image_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.retry_image(p_tenant_id uuid, p_image_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.revoke_api_key(p_tenant_id uuid, p_api_key_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.revoke_api_key(p_tenant_id uuid, p_api_key_id text) TO authenticated;
GRANT ALL ON FUNCTION public.revoke_api_key(p_tenant_id uuid, p_api_key_id text) TO service_role;

REVOKE ALL ON FUNCTION public.revoke_invitation(p_tenant_id uuid, p_invitation_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.revoke_invitation(p_tenant_id uuid, p_invitation_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.revoke_invitation(p_tenant_id uuid, p_invitation_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.rollback_product(p_tenant_id uuid, p_product_id uuid, p_to_version bigint, p_expected_version bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.rollback_product(p_tenant_id uuid, p_product_id uuid, p_to_version bigint, p_expected_version bigint) TO authenticated;
GRANT ALL ON FUNCTION public.rollback_product(p_tenant_id uuid, p_product_id uuid, p_to_version bigint, p_expected_version bigint) TO service_role;

REVOKE ALL ON FUNCTION public.rotate_api_key(p_tenant_id uuid, p_api_key_id text, p_overlap text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.rotate_api_key(p_tenant_id uuid, p_api_key_id text, p_overlap text) TO authenticated;
GRANT ALL ON FUNCTION public.rotate_api_key(p_tenant_id uuid, p_api_key_id text, p_overlap text) TO service_role;

REVOKE ALL ON FUNCTION public.rotate_webhook_secret(p_tenant_id uuid, p_endpoint_id uuid, p_overlap_hours numeric, p_signature text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.rotate_webhook_secret(p_tenant_id uuid, p_endpoint_id uuid, p_overlap_hours numeric, p_signature text) TO authenticated;
GRANT ALL ON FUNCTION public.rotate_webhook_secret(p_tenant_id uuid, p_endpoint_id uuid, p_overlap_hours numeric, p_signature text) TO service_role;

REVOKE ALL ON FUNCTION public.run_stock_proof(p_tenant_id uuid, p_repair boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.run_stock_proof(p_tenant_id uuid, p_repair boolean) TO authenticated;
GRANT ALL ON FUNCTION public.run_stock_proof(p_tenant_id uuid, p_repair boolean) TO service_role;

REVOKE ALL ON FUNCTION public.sales_by_day(p_tenant_id uuid, p_from date, p_to date, p_time_zone text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.sales_by_day(p_tenant_id uuid, p_from date, p_to date, p_time_zone text) TO authenticated;
GRANT ALL ON FUNCTION public.sales_by_day(p_tenant_id uuid, p_from date, p_to date, p_time_zone text) TO service_role;

REVOKE ALL ON FUNCTION public.search_products(p_tenant_id uuid, p_query text, p_after jsonb, p_limit integer, p_status text, p_category_id uuid, p_order text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.search_products(p_tenant_id uuid, p_query text, p_after jsonb, p_limit integer, p_status text, p_category_id uuid, p_order text) TO authenticated;
GRANT ALL ON FUNCTION public.search_products(p_tenant_id uuid, p_query text, p_after jsonb, p_limit integer, p_status text, p_category_id uuid, p_order text) TO service_role;

REVOKE ALL ON FUNCTION public.send_test_event(p_tenant_id uuid, p_endpoint_id uuid, p_type text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.send_test_event(p_tenant_id uuid, p_endpoint_id uuid, p_type text) TO authenticated;
GRANT ALL ON FUNCTION public.send_test_event(p_tenant_id uuid, p_endpoint_id uuid, p_type text) TO service_role;

REVOKE ALL ON FUNCTION public.ship_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text, p_lines jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.ship_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text, p_lines jsonb) TO authenticated;
GRANT ALL ON FUNCTION public.ship_reservation(p_tenant_id uuid, p_reservation_ids uuid[], p_key text, p_lines jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.slow_movers(p_tenant_id uuid, p_from date, p_to date, p_time_zone text, p_at_most bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.slow_movers(p_tenant_id uuid, p_from date, p_to date, p_time_zone text, p_at_most bigint) TO authenticated;
GRANT ALL ON FUNCTION public.slow_movers(p_tenant_id uuid, p_from date, p_to date, p_time_zone text, p_at_most bigint) TO service_role;

REVOKE ALL ON FUNCTION public.stock_history(p_tenant_id uuid, p_product_id uuid, p_location_id uuid, p_before bigint, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.stock_history(p_tenant_id uuid, p_product_id uuid, p_location_id uuid, p_before bigint, p_limit integer) TO authenticated;
GRANT ALL ON FUNCTION public.stock_history(p_tenant_id uuid, p_product_id uuid, p_location_id uuid, p_before bigint, p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION public.stock_out_history(p_tenant_id uuid, p_from date, p_to date, p_time_zone text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.stock_out_history(p_tenant_id uuid, p_from date, p_to date, p_time_zone text) TO authenticated;
GRANT ALL ON FUNCTION public.stock_out_history(p_tenant_id uuid, p_from date, p_to date, p_time_zone text) TO service_role;

REVOKE ALL ON FUNCTION public.stock_turnover(p_tenant_id uuid, p_from date, p_to date, p_time_zone text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.stock_turnover(p_tenant_id uuid, p_from date, p_to date, p_time_zone text) TO authenticated;
GRANT ALL ON FUNCTION public.stock_turnover(p_tenant_id uuid, p_from date, p_to date, p_time_zone text) TO service_role;

REVOKE ALL ON FUNCTION public.sync_status(p_tenant_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.sync_status(p_tenant_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.sync_status(p_tenant_id uuid) TO service_role;

REVOKE ALL ON FUNCTION public.transfer_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.transfer_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) TO authenticated;
GRANT ALL ON FUNCTION public.transfer_stock(p_tenant_id uuid, p_lines jsonb, p_key text, p_reason text) TO service_role;

REVOKE ALL ON FUNCTION public.unpublish_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.unpublish_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint) TO authenticated;
GRANT ALL ON FUNCTION public.unpublish_product(p_tenant_id uuid, p_product_id uuid, p_expected_version bigint) TO service_role;

REVOKE ALL ON FUNCTION public.upsert_products(p_tenant_id uuid, p_rows jsonb, p_all_or_nothing boolean, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.upsert_products(p_tenant_id uuid, p_rows jsonb, p_all_or_nothing boolean, p_key text) TO authenticated;
GRANT ALL ON FUNCTION public.upsert_products(p_tenant_id uuid, p_rows jsonb, p_all_or_nothing boolean, p_key text) TO service_role;

REVOKE ALL ON FUNCTION public.validate_product(p_tenant_id uuid, p_product jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.validate_product(p_tenant_id uuid, p_product jsonb) TO authenticated;
GRANT ALL ON FUNCTION public.validate_product(p_tenant_id uuid, p_product jsonb) TO service_role;

REVOKE ALL ON FUNCTION public.webhook_keys(p_tenant_id uuid, p_endpoint_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.webhook_keys(p_tenant_id uuid, p_endpoint_id uuid) TO authenticated;
GRANT ALL ON FUNCTION public.webhook_keys(p_tenant_id uuid, p_endpoint_id uuid) TO service_role;

REVOKE ALL ON FUNCTION worker.adapter_health() FROM PUBLIC;
GRANT ALL ON FUNCTION worker.adapter_health() TO service_role;

REVOKE ALL ON FUNCTION worker.admit_address(p_address text, p_rate_per_minute integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.admit_address(p_address text, p_rate_per_minute integer) TO service_role;

REVOKE ALL ON FUNCTION worker.admit_request(p_api_key_id uuid, p_nonce text, p_signed_at timestamp with time zone, p_rate_per_minute integer, p_version bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.admit_request(p_api_key_id uuid, p_nonce text, p_signed_at timestamp with time zone, p_rate_per_minute integer, p_version bigint) TO service_role;

REVOKE ALL ON FUNCTION worker.begin_asset(p_image_id uuid, p_revision integer, p_host text, p_picture jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.begin_asset(p_image_id uuid, p_revision integer, p_host text, p_picture jsonb) TO service_role;

REVOKE ALL ON FUNCTION worker.begin_image(p_image_id uuid, p_revision integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.begin_image(p_image_id uuid, p_revision integer) TO service_role;

REVOKE ALL ON FUNCTION worker.changed_tags(p_tenant_id uuid, p_epoch text, p_after bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.changed_tags(p_tenant_id uuid, p_epoch text, p_after bigint) TO service_role;

REVOKE ALL ON FUNCTION worker.claim_doomed_files(p_host text, p_limit integer, p_lease_seconds integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.claim_doomed_files(p_host text, p_limit integer, p_lease_seconds integer) TO service_role;

REVOKE ALL ON FUNCTION worker.claim_jobs(p_worker text, p_kinds text[], p_limit integer, p_lease_seconds integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.claim_jobs(p_worker text, p_kinds text[], p_limit integer, p_lease_seconds integer) TO service_role;

REVOKE ALL ON FUNCTION worker.continue_replay(p_replay_id uuid, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.continue_replay(p_replay_id uuid, p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION worker.describe_lanes(p_token bigint, p_lane_ids bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.describe_lanes(p_token bigint, p_lane_ids bigint[]) TO service_role;

REVOKE ALL ON FUNCTION worker.dispatch_outbox(p_limit integer, p_mark xid8, p_worker text) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.dispatch_outbox(p_limit integer, p_mark xid8, p_worker text) TO service_role;

REVOKE ALL ON FUNCTION worker.drop_partitions(p_keep_days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.drop_partitions(p_keep_days integer) TO service_role;

REVOKE ALL ON FUNCTION worker.enqueue_job(p_kind text, p_payload jsonb, p_tenant_id uuid, p_unique_key text, p_serial_key text, p_due_in_seconds numeric, p_max_attempts integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.enqueue_job(p_kind text, p_payload jsonb, p_tenant_id uuid, p_unique_key text, p_serial_key text, p_due_in_seconds numeric, p_max_attempts integer) TO service_role;

REVOKE ALL ON FUNCTION worker.erase_tenants(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.erase_tenants(p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION worker.expire_deliveries(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.expire_deliveries(p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION worker.extend_jobs(p_attempt_ids uuid[], p_lease_seconds integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.extend_jobs(p_attempt_ids uuid[], p_lease_seconds integer) TO service_role;

REVOKE ALL ON FUNCTION worker.fail_image(p_image_id uuid, p_revision integer, p_status text, p_error jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.fail_image(p_image_id uuid, p_revision integer, p_status text, p_error jsonb) TO service_role;

REVOKE ALL ON FUNCTION worker.find_missed_delivery(p_token bigint, p_through bigint, p_in_hand bigint[], p_behind_lane_ids bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.find_missed_delivery(p_token bigint, p_through bigint, p_in_hand bigint[], p_behind_lane_ids bigint[]) TO service_role;

REVOKE ALL ON FUNCTION worker.finish_image(p_image_id uuid, p_revision integer, p_asset_id uuid, p_urls jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.finish_image(p_image_id uuid, p_revision integer, p_asset_id uuid, p_urls jsonb) TO service_role;

REVOKE ALL ON FUNCTION worker.forget_api_requests(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.forget_api_requests(p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION worker.forget_changes(p_keep_days integer, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.forget_changes(p_keep_days integer, p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION worker.forget_command_results(p_keep_hours integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.forget_command_results(p_keep_hours integer) TO service_role;

REVOKE ALL ON FUNCTION worker.forget_webhook_secrets() FROM PUBLIC;
GRANT ALL ON FUNCTION worker.forget_webhook_secrets() TO service_role;

REVOKE ALL ON FUNCTION worker.forget_webhooks(p_keep_days integer, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.forget_webhooks(p_keep_days integer, p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION worker.image_fetched(p_image_id uuid, p_revision integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.image_fetched(p_image_id uuid, p_revision integer) TO service_role;

REVOKE ALL ON FUNCTION worker.image_troubled(p_image_id uuid, p_revision integer, p_error jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.image_troubled(p_image_id uuid, p_revision integer, p_error jsonb) TO service_role;

REVOKE ALL ON FUNCTION worker.import_products(p_tenant_id uuid, p_rows jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.import_products(p_tenant_id uuid, p_rows jsonb) TO service_role;

REVOKE ALL ON FUNCTION worker.judge_files(p_host text, p_public_ids text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.judge_files(p_host text, p_public_ids text[]) TO service_role;

REVOKE ALL ON FUNCTION worker.lease_lanes(p_worker text, p_token bigint, p_seconds integer, p_limit integer, p_known text) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.lease_lanes(p_worker text, p_token bigint, p_seconds integer, p_limit integer, p_known text) TO service_role;

REVOKE ALL ON FUNCTION worker.log_seq(p_tenant_id uuid, p_wait boolean, p_until bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.log_seq(p_tenant_id uuid, p_wait boolean, p_until bigint) TO service_role;

REVOKE ALL ON FUNCTION worker.lose_files(p_host text, p_public_ids text[], p_told_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.lose_files(p_host text, p_public_ids text[], p_told_at timestamp with time zone) TO service_role;

REVOKE ALL ON FUNCTION worker.make_partitions(p_days_ahead integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.make_partitions(p_days_ahead integer) TO service_role;

REVOKE ALL ON FUNCTION worker.note_api_use(p_uses jsonb, p_instance jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.note_api_use(p_uses jsonb, p_instance jsonb) TO service_role;

REVOKE ALL ON FUNCTION worker.notify_open_conflicts(p_minutes integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.notify_open_conflicts(p_minutes integer) TO service_role;

REVOKE ALL ON FUNCTION worker.publish_due_products(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.publish_due_products(p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION worker.queue_health(p_mark xid8) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.queue_health(p_mark xid8) TO service_role;

REVOKE ALL ON FUNCTION worker.read_api_key(p_api_key_id uuid, p_cached boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.read_api_key(p_api_key_id uuid, p_cached boolean) TO service_role;

REVOKE ALL ON FUNCTION worker.read_changes(p_tenant_id uuid, p_after bigint, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.read_changes(p_tenant_id uuid, p_after bigint, p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION worker.read_lanes(p_token bigint, p_after bigint, p_limit integer, p_lane_ids bigint[], p_busy_ids bigint[], p_through bigint, p_parked_lane_ids bigint[], p_behind_lane_ids bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.read_lanes(p_token bigint, p_after bigint, p_limit integer, p_lane_ids bigint[], p_busy_ids bigint[], p_through bigint, p_parked_lane_ids bigint[], p_behind_lane_ids bigint[]) TO service_role;

REVOKE ALL ON FUNCTION worker.read_webhook_test(p_delivery_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.read_webhook_test(p_delivery_id bigint) TO service_role;

REVOKE ALL ON FUNCTION worker.release_lanes(p_token bigint, p_lane_ids bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.release_lanes(p_token bigint, p_lane_ids bigint[]) TO service_role;

REVOKE ALL ON FUNCTION worker.schema_version() FROM PUBLIC;
GRANT ALL ON FUNCTION worker.schema_version() TO service_role;

REVOKE ALL ON FUNCTION worker.settle_deliveries(p_token bigint, p_results jsonb, p_delivered json) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.settle_deliveries(p_token bigint, p_results jsonb, p_delivered json) TO service_role;

REVOKE ALL ON FUNCTION worker.settle_doomed_files(p_host text, p_public_ids text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.settle_doomed_files(p_host text, p_public_ids text[]) TO service_role;

REVOKE ALL ON FUNCTION worker.settle_jobs(p_results jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.settle_jobs(p_results jsonb) TO service_role;

REVOKE ALL ON FUNCTION worker.settle_webhook_test(p_delivery_id bigint, p_result jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.settle_webhook_test(p_delivery_id bigint, p_result jsonb) TO service_role;

REVOKE ALL ON FUNCTION worker.stay_awake(p_seconds numeric) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.stay_awake(p_seconds numeric) TO service_role;

REVOKE ALL ON FUNCTION worker.sweep_images(p_keep_days integer, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.sweep_images(p_keep_days integer, p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION worker.sweep_reservations(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION worker.sweep_reservations(p_limit integer) TO service_role;

REVOKE ALL ON FUNCTION worker.sync_health() FROM PUBLIC;
GRANT ALL ON FUNCTION worker.sync_health() TO service_role;

REVOKE ALL ON FUNCTION worker.worker_status() FROM PUBLIC;
GRANT ALL ON FUNCTION worker.worker_status() TO service_role;

GRANT SELECT ON TABLE public.webhook_attempts TO authenticated;
GRANT SELECT ON TABLE public.webhook_attempts TO service_role;

GRANT SELECT ON TABLE public.api_key_usage TO authenticated;
GRANT SELECT ON TABLE public.api_key_usage TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.categories TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.categories TO service_role;

GRANT SELECT ON TABLE public.event_types TO authenticated;
GRANT SELECT ON TABLE public.event_types TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.locations TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.locations TO service_role;

GRANT SELECT ON TABLE public.notifications TO authenticated;
GRANT SELECT ON TABLE public.notifications TO service_role;

GRANT SELECT ON TABLE public.order_history TO authenticated;
GRANT SELECT ON TABLE public.order_history TO service_role;

GRANT ALL ON SEQUENCE public.order_history_id_seq TO anon;
GRANT ALL ON SEQUENCE public.order_history_id_seq TO authenticated;
GRANT ALL ON SEQUENCE public.order_history_id_seq TO service_role;

GRANT SELECT ON TABLE public.order_lines TO authenticated;
GRANT SELECT ON TABLE public.order_lines TO service_role;

GRANT SELECT ON TABLE public.product_image_versions TO authenticated;
GRANT SELECT ON TABLE public.product_image_versions TO service_role;

GRANT SELECT ON TABLE public.product_versions TO authenticated;
GRANT SELECT ON TABLE public.product_versions TO service_role;

GRANT SELECT ON TABLE public.reconciliation_findings TO authenticated;
GRANT SELECT ON TABLE public.reconciliation_findings TO service_role;

GRANT SELECT ON TABLE public.stock_movements TO authenticated;
GRANT SELECT ON TABLE public.stock_movements TO service_role;

GRANT ALL ON SEQUENCE public.stock_movements_id_seq TO anon;
GRANT ALL ON SEQUENCE public.stock_movements_id_seq TO authenticated;
GRANT ALL ON SEQUENCE public.stock_movements_id_seq TO service_role;

GRANT SELECT ON TABLE public.stock_outs TO authenticated;
GRANT SELECT ON TABLE public.stock_outs TO service_role;

GRANT SELECT ON TABLE public.stock_valuation TO authenticated;
GRANT SELECT ON TABLE public.stock_valuation TO service_role;

GRANT SELECT ON TABLE public.sync_changes TO authenticated;
GRANT SELECT ON TABLE public.sync_changes TO service_role;

GRANT INSERT(id) ON TABLE public.sync_changes TO authenticated;

GRANT INSERT(tenant_id) ON TABLE public.sync_changes TO authenticated;

GRANT INSERT(client) ON TABLE public.sync_changes TO authenticated;

GRANT INSERT(entity) ON TABLE public.sync_changes TO authenticated;

GRANT INSERT(entity_id) ON TABLE public.sync_changes TO authenticated;

GRANT INSERT(operation) ON TABLE public.sync_changes TO authenticated;

GRANT INSERT(base_version) ON TABLE public.sync_changes TO authenticated;

GRANT INSERT(edit) ON TABLE public.sync_changes TO authenticated;

GRANT INSERT(stamp) ON TABLE public.sync_changes TO authenticated;

GRANT ALL ON SEQUENCE public.sync_changes_seq_seq TO anon;
GRANT ALL ON SEQUENCE public.sync_changes_seq_seq TO authenticated;
GRANT ALL ON SEQUENCE public.sync_changes_seq_seq TO service_role;

GRANT SELECT ON TABLE public.sync_clients TO authenticated;
GRANT SELECT ON TABLE public.sync_clients TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sync_policies TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sync_policies TO service_role;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.validation_rules TO authenticated;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.validation_rules TO service_role;

GRANT SELECT ON TABLE public.validation_warnings TO authenticated;
GRANT SELECT ON TABLE public.validation_warnings TO service_role;

GRANT SELECT ON TABLE queue.deliveries TO authenticated;
GRANT SELECT ON TABLE queue.deliveries TO service_role;

GRANT SELECT ON TABLE queue.retries TO authenticated;
GRANT SELECT ON TABLE queue.retries TO service_role;

GRANT SELECT ON TABLE public.webhook_deliveries TO authenticated;
GRANT SELECT ON TABLE public.webhook_deliveries TO service_role;

GRANT SELECT ON TABLE public.webhook_troubles TO authenticated;
GRANT SELECT ON TABLE public.webhook_troubles TO service_role;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON SEQUENCES TO anon;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON SEQUENCES TO authenticated;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON SEQUENCES TO service_role;

ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON SEQUENCES TO postgres;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON SEQUENCES TO anon;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON SEQUENCES TO authenticated;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON SEQUENCES TO service_role;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON FUNCTIONS TO authenticated;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON FUNCTIONS TO service_role;

ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON FUNCTIONS TO postgres;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON FUNCTIONS TO authenticated;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON FUNCTIONS TO service_role;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON TABLES TO anon;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON TABLES TO authenticated;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON TABLES TO service_role;

ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON TABLES TO postgres;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON TABLES TO anon;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON TABLES TO authenticated;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public GRANT ALL ON TABLES TO service_role;

