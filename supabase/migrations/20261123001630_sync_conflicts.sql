-- Sync: what people decide.
--
-- A conflict that a policy leaves to people stays open until resolve_conflict decides it, as whoever decides: their permissions
-- count. Open ones become notifications of the tenant when they are an hour old, one a day for all of them.

-- An open conflict, locked, for somebody who may decide it.
create function private.open_conflict(p_tenant_id uuid, p_conflict_id uuid) returns public.sync_conflicts
language plpgsql volatile security definer set search_path = ''
as $$
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
revoke all on function private.open_conflict(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function private.open_conflict(uuid, uuid) to authenticated, service_role;

-- Closes an open conflict; the change that waited for it alone is merged then.
create function private.close_conflict(p_tenant_id uuid, p_conflict_id uuid, p_winner text, p_value jsonb)
returns public.sync_conflicts
language plpgsql volatile security definer set search_path = ''
as $$
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
revoke all on function private.close_conflict(uuid, uuid, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.close_conflict(uuid, uuid, text, jsonb) to authenticated, service_role;

-- Decides an open conflict: p_choice 'ours' keeps what the server has, 'theirs' writes what was pushed, 'value' writes p_value.
-- Written is what is chosen, whatever the field has become since. Of a row that was deleted, or is to be, 'theirs' is the edit
-- that brings it back, or the deletion.
create function public.resolve_conflict(p_tenant_id uuid, p_conflict_id uuid, p_choice text, p_value jsonb default null)
returns public.sync_conflicts
language plpgsql volatile set search_path = ''
as $$
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
revoke all on function public.resolve_conflict(uuid, uuid, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function public.resolve_conflict(uuid, uuid, text, jsonb) to authenticated, service_role;

-- Tells the people of tenants whose conflicts have been open for p_minutes, once a day; answers how many tenants were told.
create function worker.notify_open_conflicts(p_minutes integer default 60) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
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
revoke all on function worker.notify_open_conflicts(integer) from public, anon, authenticated, service_role;
grant execute on function worker.notify_open_conflicts(integer) to service_role;

select private.publish_tables('sync_changes', 'sync_conflicts');
