-- Inbox: what other systems say.
--
-- A system that keeps products or stock of its own sends messages: the object as it has it, the number of that state over there,
-- and an id of the message. A message becomes what a client would have pushed: an edit of what the sender changed since its last
-- word on that object (private.inbox_states), to the last version of our row that was as the sender knew it. From there on it is
-- a change of the client inbox.<source>, merged by field and policy as whoever signed the call; what the sender did not touch stays
-- as it is here.
--
--   pending ──► queued      pushed as change_id: sync_changes says what becomes of it
--           ├─► duplicate   nothing to push: the sender has said the same before, or it is its first word on an amount
--           ├─► stale       newer words of the sender have said all that it says
--           └─► rejected    no change that can be pushed; `error` says why
--
-- The first word on an object says what it is, not who changed what: all fields that it names and that differ here are pushed
-- without a base, so each is decided by its policy. It removes no attribute. So is the first word on a field, as a change of its
-- own beside that of the fields named before. Amounts of stock are the ledger's: between two words on a level its on_hand moves by
-- their difference, and the first is what the second is counted from.
--
-- A message that comes late, after one with a larger number, says what no larger number has said: its other fields are as good as not
-- in it. `attributes` are one field. Nothing of it is left when the sender deleted the object after it, or when it is a deletion itself.
--
-- A word counts as said while its change waits or was taken. What the worker refused is taken out of it when the next message
-- comes (private.word_after_outcomes), so that this one says it again.
--
-- What is known of a sender and one product (private.inbox_states), word by word:
--
--   it sends                     state                settled_state        waiting_changes
--   1 {name: Lamp, price: 5}     {Lamp, 5}            null: the first      none: it is so here already
--   3 {name: Floor lamp}         {Floor lamp, 5}      {Lamp, 5}            c1, set name
--   2 {price: 7, name: Old}      {Floor lamp, 7}      {Lamp, 5}            c1, c2, set price: it was late, and 3 had named the name
--     the worker refuses c1
--   4 {name: Floor lamp}
--     after the outcomes         {Lamp, 7}            {Lamp, 5}            c2, c1 is taken out of the state
--     and with 4                 {Floor lamp, 7}      {Lamp, 5}            c2, c3, set name: it says it again

create table public.inbox_messages (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  principal_id uuid not null,
  -- 'inbox.' || source is a client's name
  source text not null constraint inbox_messages_source_form check (source ~ '^[A-Za-z0-9_.-]{1,58}$'),
  message_id text not null constraint inbox_messages_message_id_length check (length(message_id) between 1 and 200),
  entity text not null constraint inbox_messages_entity_known check (entity in ('product', 'stock_level')),
  entity_id uuid not null,
  sender_version bigint not null constraint inbox_messages_sender_version_not_negative check (sender_version >= 0),
  body jsonb constraint inbox_messages_body_object check (jsonb_typeof(body) = 'object'),
  occurred_at timestamptz not null,
  received_at timestamptz not null default private.now(),
  status text not null default 'pending'
    constraint inbox_messages_status_known check (status in ('pending', 'queued', 'duplicate', 'stale', 'rejected')),
  change_id uuid,
  first_change_id uuid,
  error jsonb,
  constraint inbox_messages_once unique (tenant_id, source, message_id),
  constraint inbox_messages_change_of_queued check ((status = 'queued') = (change_id is not null)),
  constraint inbox_messages_error_of_rejected check ((status = 'rejected') = (error is not null))
);
comment on table public.inbox_messages is 'What other systems said of their products and stock, and what became of it; kept 30 days';
comment on column public.inbox_messages.principal_id is 'Who sent it here: their permissions decide';
comment on column public.inbox_messages.sender_version is 'The number of this state over there: a later state has a larger one';
comment on column public.inbox_messages.first_change_id is 'A second change: the fields that it was the first to name, if there were others';
comment on column public.inbox_messages.body is 'The object as the sender has it; null: it deleted it';
create index inbox_messages_by_age on public.inbox_messages (received_at);

alter table public.inbox_messages enable row level security;
create policy "only within one's own tenants" on public.inbox_messages
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "people see their own messages, managers see everyone's" on public.inbox_messages
  for select to authenticated
  using (
    principal_id = (select auth.uid())
    or tenant_id = any ((select private.tenants_with('sync.manage'))::uuid[])
  );
revoke all on public.inbox_messages from anon, authenticated, service_role;
grant select on public.inbox_messages to authenticated, service_role;

-- The last word of each sender on each object. Kept as long as the object: without it the next message would be a first word.
create table private.inbox_states (
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  source text not null,
  entity text not null,
  entity_id uuid not null,
  sender_version bigint not null,
  field_versions jsonb not null default '{}',
  deleted_version bigint not null default -1,
  state jsonb,
  settled_state jsonb,
  waiting_changes uuid[] not null default '{}',
  millis bigint not null,
  looked_on date not null default private.today(),
  timed_at timestamptz,
  primary key (tenant_id, source, entity, entity_id)
);
comment on table private.inbox_states is 'The last word of each sender on each object';
comment on column private.inbox_states.state is
  'Every field that it named, as it said last, or that it let be made with its default; null: it deleted it';
comment on column private.inbox_states.settled_state is 'What that was before the changes of it that still wait';
comment on column private.inbox_states.waiting_changes is 'Its changes of which it is not known what became of them, the last 1,000';
comment on column private.inbox_states.millis is 'Of its last stamp: the next one is later, whatever its clock says';
comment on column private.inbox_states.looked_on is 'The day of that word, or when upkeep last found its object there, in UTC: it moves once a day';
comment on column private.inbox_states.timed_at is 'Of inbound webhooks without versions, which their times number: the last one''s';
comment on column private.inbox_states.sender_version is 'The largest number of its words';
comment on column private.inbox_states.field_versions is 'The largest number of its words that named each field, since it last deleted the object';
comment on column private.inbox_states.deleted_version is 'The number of its last deletion; -1: there was none';
create index inbox_states_by_day on private.inbox_states (looked_on);
alter table private.inbox_states enable row level security;
revoke all on private.inbox_states from public, anon, authenticated, service_role;

-- Why this is no message; null when it is one.
create function private.message_fault(p_message jsonb) returns text
language sql stable set search_path = ''
as $$
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
$$;
revoke all on function private.message_fault(jsonb) from public, anon, authenticated, service_role;

-- Values as rows have them, so that they compare: times in UTC, ids in lower case. What every message calls is plpgsql, which keeps
-- its plans, where sql would plan each call anew.
create function private.as_in_rows(p_body jsonb) returns jsonb
language plpgsql stable set search_path = '' set timezone = 'UTC'
as $$
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
revoke all on function private.as_in_rows(jsonb) from public, anon, authenticated, service_role;

-- The edit that makes p_new of p_old: fields that p_new does not name stay. A first word removes no attribute and sets no amount.
create function private.inbox_edit(p_old jsonb, p_new jsonb, p_first boolean) returns jsonb
language plpgsql immutable set search_path = ''
as $$
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
revoke all on function private.inbox_edit(jsonb, jsonb, boolean) from public, anon, authenticated, service_role;

-- The last version of a living row that had fields as in p_state; null when none is known. Of a level only the present one is.
create function private.last_version_with(p_entity text, p_row jsonb, p_state jsonb, p_fields text[]) returns bigint
language plpgsql stable set search_path = '' set enable_seqscan = off set timezone = 'UTC'
as $$
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
revoke all on function private.last_version_with(text, jsonb, jsonb, text[]) from public, anon, authenticated, service_role;

-- A state with the fields of a change laid over it; amounts have no base, and stay.
create function private.word_with_change(p_state jsonb, p_operation text, p_edit jsonb) returns jsonb
language plpgsql immutable set search_path = ''
as $$
begin
  return (
    select case when p_operation <> 'delete' then
      private.laid_over(coalesce(p_state, '{}'), (
        select coalesce(jsonb_object_agg(e.key, e.value -> 'set'), '{}') from jsonb_each(p_edit) e where e.value ? 'set'
      )) end
  );
end $$;
revoke all on function private.word_with_change(jsonb, text, jsonb) from public, anon, authenticated, service_role;

-- A state without a change that was refused: fields that nobody spoke of since are as in p_settled_state, or not named at all.
create function private.word_without_change(p_state jsonb, p_settled_state jsonb, p_operation text, p_edit jsonb) returns jsonb
language plpgsql immutable set search_path = ''
as $$
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
revoke all on function private.word_without_change(jsonb, jsonb, text, jsonb) from public, anon, authenticated, service_role;

-- A last word with what has become of its changes meanwhile.
create function private.word_after_outcomes(p_known private.inbox_states) returns private.inbox_states
language plpgsql stable set search_path = '' set enable_seqscan = off
as $$
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
revoke all on function private.word_after_outcomes(private.inbox_states) from public, anon, authenticated, service_role;

-- What a product is made with where a message does not say it.
create function private.inbox_defaults(p_tenant_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object('description', '', 'status', 'draft', 'price', 0, 'currency', t.currency, 'attributes', '{}'::jsonb,
    'category_id', null, 'parent_id', null, 'publish_at', null)
  from public.tenants t where t.id = p_tenant_id
$$;
revoke all on function private.inbox_defaults(uuid) from public, anon, authenticated, service_role;

-- What a message is as changes, without ids and stamps: none when there is nothing to push, else the one of fields that the sender
-- named before and the one of others, which has no base. p_waits: changes of its word wait. `new_word`: its word with this message.
create function private.changes_of_message(
  p_message public.inbox_messages, p_known private.inbox_states, p_waits boolean, out changes jsonb[], out new_word private.inbox_states
)
language plpgsql stable set search_path = '' set enable_seqscan = off set timezone = 'UTC'
as $$
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
revoke all on function private.changes_of_message(public.inbox_messages, private.inbox_states, boolean)
  from public, anon, authenticated, service_role;

-- Such a message is no word that is known: the next one says it again.
create function private.refuse_message(p_id uuid, p_code text, p_detail text) returns void
language sql volatile security definer set search_path = ''
as $$
  update public.inbox_messages m set status = 'rejected', error = jsonb_build_object('code', p_code, 'detail', p_detail) where m.id = p_id
$$;
revoke all on function private.refuse_message(uuid, text, text) from public, anon, authenticated, service_role;

-- Whether a product was deleted here for good and the sender has not said that it is gone: it does not come back unasked.
create function private.is_gone(p_message public.inbox_messages, p_known private.inbox_states) returns boolean
language plpgsql stable set search_path = '' set enable_seqscan = off
as $$
begin
  return (
    select p_message.entity = 'product' and p_message.body is not null and (p_known.entity_id is null or p_known.state is not null)
      and not exists (select from public.products p where p.id = p_message.entity_id and p.tenant_id = p_message.tenant_id)
      and exists (select from public.product_versions h where h.product_id = p_message.entity_id and h.tenant_id = p_message.tenant_id)
  );
end $$;
revoke all on function private.is_gone(public.inbox_messages, private.inbox_states) from public, anon, authenticated, service_role;

-- What a message says that no newer one of its sender has said; null, and not `is_news`: nothing. A deletion says null.
create function private.still_news(p_message public.inbox_messages, p_known private.inbox_states, out is_news boolean, out body jsonb)
language plpgsql immutable set search_path = ''
as $$
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
revoke all on function private.still_news(public.inbox_messages, private.inbox_states) from public, anon, authenticated, service_role;

-- The changes that a message is, to be pushed; none: see its status. p_waits: others of its object are pushed by this call. Call
-- under the lock of its source.
create function private.take_message(p_id uuid, p_waits boolean) returns jsonb[]
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
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
revoke all on function private.take_message(uuid, boolean) from public, anon, authenticated, service_role;

-- Notes what is pushed of each object, for the next message of it.
create function private.note_pushed(p_tenant_id uuid, p_source text, p_changes jsonb[]) returns void
language sql volatile security definer set search_path = '' set enable_seqscan = off
as $$
  update private.inbox_states s
  -- of a sender whose changes wait for long only the last are asked for
  set waiting_changes = (s.waiting_changes || c.ids)[greatest(cardinality(s.waiting_changes) + cardinality(c.ids) - 999, 1):]
  from (
    select u.change ->> 'entity' as entity, (u.change ->> 'entity_id')::uuid as entity_id, array_agg((u.change ->> 'id')::uuid order by u.n) as ids
    from unnest(p_changes) with ordinality u (change, n) group by 1, 2
  ) c
  where s.tenant_id = p_tenant_id and s.source = p_source and s.entity = c.entity and s.entity_id = c.entity_id
$$;
revoke all on function private.note_pushed(uuid, text, jsonb[]) from public, anon, authenticated, service_role;

-- Drops last words from before p_before on what is gone, unless changes of it wait; of up to p_limit that were not looked at since.
-- How many it looked at.
create function private.forget_last_words(p_before timestamptz, p_limit integer) returns integer
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
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
revoke all on function private.forget_last_words(timestamptz, integer) from public, anon, authenticated, service_role;

-- The lock of a source, until the end of the transaction.
create function private.lock_inbox(p_tenant_id uuid, p_source text) returns void
language sql volatile set search_path = ''
as $$ select pg_advisory_xact_lock(hashtextextended('pms inbox ' || p_tenant_id || ' ' || p_source, 0)) $$;
revoke all on function private.lock_inbox(uuid, text) from public, anon, authenticated, service_role;

create function private.receive_changes(p_tenant_id uuid, p_source text, p_messages jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
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
end $$;
revoke all on function private.receive_changes(uuid, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.receive_changes(uuid, text, jsonb) to authenticated, service_role;

-- Takes up to 1,000 messages of one sender: [{"message_id", "entity", "entity_id", "sender_version", "occurred_at", "body"}], body
-- being the object as the sender has it (or those of its fields that it tells), null for a deletion. Answers [{"message_id",
-- "status", "change_id", "first_change_id", "repeated"}] in their order; repeated: it was taken before, and its status is of then.
create function public.receive_changes(p_tenant_id uuid, p_source text, p_messages jsonb) returns jsonb
language sql volatile set search_path = ''
as $$ select private.receive_changes(p_tenant_id, p_source, p_messages) $$;
revoke all on function public.receive_changes(uuid, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function public.receive_changes(uuid, text, jsonb) to authenticated, service_role;
