-- Examples of events.
--
-- An example is a whole body, the same each time it is made: values by type, over them what an entity's row looks like,
-- over that what the verb is about. Ids are made of what they name, so product_id in a stock level is the id in the
-- example of the product. A type without words here gets an example all the same, only a duller one.

create table private.event_examples (
  entity text not null,
  verb text not null,
  object jsonb not null default '{}' constraint event_examples_object check (jsonb_typeof(object) = 'object'),
  previous jsonb constraint event_examples_previous check (jsonb_typeof(previous) = 'object'),
  primary key (entity, verb)
);
comment on table private.event_examples is
  'Values of example events: of verb * for all of an entity; previous: what changed and how it was';
alter table private.event_examples enable row level security;
revoke all on private.event_examples from public, anon, authenticated, service_role;

-- The value of a field that nobody wrote an example of.
create function private.example_value(p_entity text, p_field text, p_schema jsonb) returns jsonb
language sql immutable set search_path = ''
as $$
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
$$;
revoke all on function private.example_value(text, text, jsonb) from public, anon, authenticated, service_role;

-- The example body of a type. p_fields: the entity's fields, name to schema.
create function private.event_example(p_entity text, p_verb text, p_fields jsonb, p_version integer) returns jsonb
language sql stable set search_path = ''
as $$
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
revoke all on function private.event_example(text, text, jsonb, integer) from public, anon, authenticated, service_role;

insert into private.event_examples (entity, verb, object, previous) values
  ('tenant', '*', '{"slug": "acme", "name": "Acme", "currency": "EUR"}', null),
  ('tenant', 'updated', '{"name": "Acme Outdoor"}', '{"name": "Acme"}'),
  ('tenant', 'orphaned', '{"orphaned_at": "2026-11-23T07:19:23.91+00:00"}', '{"orphaned_at": null}'),
  ('tenant', 'adopted', '{}', '{"orphaned_at": "2026-11-20T16:40:02.5+00:00"}'),
  ('membership', '*', '{"role": "clerk"}', null),
  ('membership', 'updated', '{"role": "manager"}', '{"role": "clerk"}'),
  ('invitation', '*', '{"role": "clerk", "expires_at": "2026-11-30T07:19:23.91+00:00"}', null),
  ('invitation', 'updated', '{"status": "revoked"}', '{"status": "pending"}'),
  ('category', '*', '{"name": "Boots", "slug": "boots", "position": 1}', null),
  ('category', 'updated', '{"name": "Boots and shoes"}', '{"name": "Boots"}'),
  ('product', '*', '{"sku": "BOOT-42", "name": "Hiking boot, size 42", "description": "Waterproof, with a <b>Vibram</b> sole.",
    "status": "active", "price": 119.9000, "currency": "EUR", "attributes": {"size": 42, "colour": "brown"}}', null),
  ('product', 'created', '{"status": "draft"}', null),
  ('product', 'updated', '{}', '{"name": "Hiking boot", "price": 129.9000}'),
  ('product', 'deleted', '{"deleted_at": "2026-11-23T07:19:23.91+00:00"}', '{"deleted_at": null}'),
  ('product', 'restored', '{}', '{"deleted_at": "2026-11-20T16:40:02.5+00:00"}'),
  ('product', 'published', '{}', '{"status": "draft"}'),
  ('product', 'unpublished', '{}', '{"status": "active"}'),
  ('product', 'archived', '{}', '{"status": "active"}'),
  ('product', 'publish_failed', '{"status": "draft", "price": 0.0000, "publish_failures": [{"code": "publish.price_missing",
    "field": "price", "severity": "error", "detail": "A product on sale needs a price, or the attribute free."}]}',
    '{"publish_at": "2026-11-23T07:00:00+00:00", "publish_failures": null}'),
  ('product_image', '*', '{"source_url": "https://img.example.com/boot-42.jpg", "position": 1, "alt_text": "A brown boot from the side"}', null),
  ('product_image', 'updated', '{"position": 2}', '{"position": 1}'),
  ('location', '*', '{"code": "OSLO-1", "name": "Oslo warehouse"}', null),
  ('location', 'updated', '{}', '{"name": "Oslo"}'),
  ('stock_level', '*', '{"on_hand": 24, "reserved": 3, "safety": 2, "reorder_point": 10}', null),
  ('stock_level', 'updated', '{}', '{"on_hand": 25, "reserved": 4}'),
  ('stock_level', 'low', '{"on_hand": 14, "reserved": 2, "low_since": "2026-11-23T07:19:23.91+00:00"}', '{"low_since": null, "reserved": 1}'),
  ('stock_level', 'back', '{}', '{"low_since": "2026-11-20T16:40:02.5+00:00", "on_hand": 4, "out_since": "2026-11-20T16:40:02.5+00:00"}'),
  ('reservation', '*', format('{"quantity": 3, "level_id": "%s", "order_id": "%s"}', md5('stock_level')::uuid, md5('order')::uuid)::jsonb, null),
  ('reservation', 'created', '{"expires_at": "2026-11-23T07:34:23.91+00:00"}', null),
  ('reservation', 'committed', '{}', '{"expires_at": "2026-11-23T07:34:23.91+00:00", "status": "held"}'),
  ('reservation', 'shipped', '{"shipped": 3}', '{"shipped": 0, "status": "committed"}'),
  ('reservation', 'released', '{}', '{"status": "committed"}'),
  ('reservation', 'expired', '{}', '{"expires_at": "2026-11-23T07:19:00+00:00", "status": "held"}'),
  ('reservation', 'updated', '{"status": "committed", "shipped": 1}', '{"shipped": 0}'),
  ('order', '*', '{"number": "1042", "currency": "EUR", "net_total": 359.7000, "tax_total": 89.9300, "total": 449.6300,
    "paid_total": 449.6300, "quantity": 3, "customer": {"name": "Kari Nordmann", "email": "kari@example.com"},
    "placed_at": "2026-11-23T07:05:10.2+00:00", "paid_at": "2026-11-23T07:19:23.91+00:00", "status": "paid"}', null),
  ('order', 'created', '{"status": "placed", "paid_total": 0.0000, "paid_at": null}', null),
  ('order', 'paid', '{}', '{"paid_at": null, "paid_total": 0.0000, "status": "placed"}'),
  ('order', 'needs_review', '{"review_reason": "BOOT-42: 2 of 3 are missing"}',
    '{"paid_at": null, "paid_total": 0.0000, "review_reason": null, "status": "placed"}'),
  ('order', 'partially_fulfilled', '{"fulfilled": 1}', '{"fulfilled": 0, "status": "paid"}'),
  ('order', 'fulfilled', '{"fulfilled": 3}', '{"fulfilled": 1, "status": "partially_fulfilled"}'),
  ('order', 'shipped', '{"fulfilled": 3}', '{"status": "fulfilled"}'),
  ('order', 'cancelled', '{"cancelled": 3}', '{"cancelled": 0, "status": "paid"}'),
  ('order', 'refunded', '{"fulfilled": 3, "refunded_total": 449.6300}', '{"refunded_total": 0.0000, "status": "shipped"}'),
  ('order', 'returned', '{"fulfilled": 3, "returned": 3}', '{"returned": 0, "status": "shipped"}'),
  ('order', 'updated', '{}', '{"customer": {"name": "Kari Normann", "email": "kari@example.com"}}'),
  ('order_line', '*', '{"position": 1, "sku": "BOOT-42", "name": "Hiking boot, size 42", "unit_price": 119.9000, "quantity": 3,
    "tax_rate": 0.250000, "net_total": 359.7000, "tax_total": 89.9300, "total": 449.6300}', null),
  ('order_line', 'updated', '{"fulfilled": 1}', '{"fulfilled": 0}'),
  ('api_key', '*', '{"name": "Warehouse scanner", "role": "integration", "scopes": ["inventory.read", "inventory.write", "products.read"],
    "status": "active", "allowed_ips": ["192.0.2.0/24"], "rate_per_minute": 300, "secret_changed_at": "2026-11-02T14:05:00.118205+00:00"}', null),
  ('api_key', 'created', '{"secret_changed_at": "2026-11-23T07:19:23.927988+00:00"}', null),
  ('api_key', 'updated', '{"rate_per_minute": 600}', '{"rate_per_minute": 300}'),
  ('api_key', 'revoked', '{"revoked_at": "2026-11-23T07:19:23.91+00:00"}', '{"revoked_at": null, "status": "active"}'),
  ('webhook_endpoint', '*', '{"url": "https://shop.example.com/hooks/pms", "description": "The shop", "events": ["product.*"],
    "timeout_seconds": 15, "max_concurrency": 10}', null),
  ('webhook_endpoint', 'updated', '{"status": "paused"}', '{"status": "active"}');
