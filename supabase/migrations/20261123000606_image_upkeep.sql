-- Images: upkeep.
--
-- What a picture showed before goes some days after it was replaced, what a deleted product shows some days after that; an
-- asset that no version is any more goes in turn, and its file is doomed in the same transaction, whatever deletes the row.
-- Doomed files are deleted at their host by the worker, one lease after the other.
--
-- A host may have files of our tenants that nobody here knows: of a database that was restored to before they were made. The
-- worker goes through the host's list; such a file is doomed too, but waits a day first. It is let off when it becomes known.
-- Files of tenants that are not ours are left alone: others may use the same account.

-- AFTER statement trigger: an asset whose last version is gone is unused from now on.
create function private.note_unused_assets() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- finish_image locks the asset, too: what it adds is seen by the statement after this one
  perform from public.image_assets a where a.id in (select o.asset_id from old_rows o) order by a.id for no key update;
  update public.image_assets a set unused_since = private.now()
  where a.id in (select o.asset_id from old_rows o) and a.unused_since is null
    and not exists (select from public.product_image_versions v where v.asset_id = a.id);
  return null;
end $$;
revoke all on function private.note_unused_assets() from public, anon, authenticated, service_role;
create trigger note_unused_assets after delete on public.product_image_versions
  referencing old table as old_rows for each statement execute function private.note_unused_assets();

-- AFTER statement trigger of image_assets: what is gone here is to go there.
create function private.doom_files() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into private.doomed_files as d (host, public_id, why)
  select o.host, o.public_id, 'unused' from old_rows o order by o.host, o.public_id
  on conflict (host, public_id) do update set why = 'unused', due_at = least(d.due_at, excluded.due_at);
  return null;
end $$;
revoke all on function private.doom_files() from public, anon, authenticated, service_role;
create trigger doom_files after delete on public.image_assets
  referencing old table as old_rows for each statement execute function private.doom_files();

-- AFTER row trigger: an upload that no picture names any more is not needed. It waits a day, for who uploads anew before naming it.
create function private.doom_upload() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into private.doomed_files (host, public_id, why, due_at)
  values ('upload', old.upload_path, 'unused', private.now() + interval '1 day') on conflict do nothing;
  return null;
end $$;
revoke all on function private.doom_upload() from public, anon, authenticated, service_role;
create trigger doom_upload_of_deleted after delete on public.product_images
  for each row when (old.upload_path is not null) execute function private.doom_upload();
create trigger doom_upload_of_replaced after update on public.product_images
  for each row when (old.upload_path is not null and old.upload_path is distinct from new.upload_path)
  execute function private.doom_upload();

-- An upload that is named again is let off; refused while it is being deleted at this moment.
create function private.keep_upload(p_path text) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  delete from private.doomed_files d
  where d.host = 'upload' and d.public_id = p_path and (d.held_until is null or d.held_until < private.now() - interval '5 min');
  if exists (select from private.doomed_files d where d.host = 'upload' and d.public_id = p_path) then
    perform private.fail('PT409', 'image.upload_going', 'This upload is being deleted, for no picture named it.',
      'Upload the file under another name.');
  end if;
end $$;
revoke all on function private.keep_upload(text) from public, anon, authenticated, service_role;

-- Whether the file was uploaded anew since it was doomed, a day before it was due.
create function private.is_uploaded_anew(p_path text, p_due_at timestamptz) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_anew boolean := false;
begin
  if to_regclass('storage.objects') is not null then
    execute 'select exists (select from storage.objects o where o.bucket_id = ''product-images'' and o.name = $1
      and greatest(o.created_at, o.updated_at) > $2)' into v_anew using p_path, p_due_at - interval '1 day';
  end if;
  return v_anew;
end $$;
revoke all on function private.is_uploaded_anew(text, timestamptz) from public, anon, authenticated, service_role;

-- Whether somebody here needs this file.
create function private.is_needed(p_host text, p_public_id text) returns boolean
language sql stable security definer set search_path = ''
as $$
  select case p_host
    when 'upload' then exists (select from public.product_images i where i.upload_path = p_public_id)
    else exists (select from public.image_assets a where a.host = p_host and a.public_id = p_public_id) end
$$;
revoke all on function private.is_needed(text, text) from public, anon, authenticated, service_role;

-- Whether a doomed file is not to be deleted after all.
create function private.is_let_off(p_file private.doomed_files) returns boolean
language sql stable security definer set search_path = ''
as $$
  select private.is_needed(p_file.host, p_file.public_id)
    or (p_file.host = 'upload' and private.is_uploaded_anew(p_file.public_id, p_file.due_at))
$$;
revoke all on function private.is_let_off(private.doomed_files) from public, anon, authenticated, service_role;

-- How far the walk through the uploads is: by name, the index of Storage, and round and round.
create table private.upload_walk (
  one boolean primary key default true constraint upload_walk_one check (one),
  after_name text not null default ''
);
comment on table private.upload_walk is 'Up to which name the uploads were looked at';
insert into private.upload_walk default values;
alter table private.upload_walk enable row level security;
revoke all on private.upload_walk from public, anon, authenticated, service_role;

-- Of the next p_limit uploads those that no picture names a day after they came. Where Storage is missing there are none.
create function private.doom_forgotten_uploads(p_limit integer) returns integer
language plpgsql volatile security definer set search_path = ''
as $$
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
end $$;
revoke all on function private.doom_forgotten_uploads(integer) from public, anon, authenticated, service_role;

-- Pictures that are said to be in work while no job is about them: the job was buried, most likely with its worker.
create function private.settle_stuck_images(p_limit integer) returns integer
language plpgsql volatile security definer set search_path = ''
as $$
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
revoke all on function private.settle_stuck_images(integer) from public, anon, authenticated, service_role;
create index jobs_serial on queue.jobs (serial_key) where serial_key is not null;

-- Ends what is over p_keep_days days: versions that were replaced, what deleted products show, assets that nothing shows (those
-- that never were finished: one day). And settles pictures whose job is lost. Up to p_limit of each. {"versions", "products",
-- "assets", "stuck", "more"}
create function worker.sweep_images(p_keep_days integer default 30, p_limit integer default 1000) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
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
revoke all on function worker.sweep_images(integer, integer) from public, anon, authenticated, service_role;
grant execute on function worker.sweep_images(integer, integer) to service_role;

-- Leases up to p_limit files that are to be deleted at p_host: ["public_id", …]. They must be gone, or left alone, when the lease
-- ends.
create function worker.claim_doomed_files(p_host text, p_limit integer default 100, p_lease_seconds integer default 300)
returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
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
revoke all on function worker.claim_doomed_files(text, integer, integer) from public, anon, authenticated, service_role;
grant execute on function worker.claim_doomed_files(text, integer, integer) to service_role;

-- These are gone.
create function worker.settle_doomed_files(p_host text, p_public_ids text[]) returns integer
language sql volatile security definer set search_path = ''
as $$
  with gone as (
    delete from private.doomed_files d where d.host = p_host and d.public_id = any (p_public_ids) returning 1
  )
  select count(*)::integer from gone
$$;
revoke all on function worker.settle_doomed_files(text, text[]) from public, anon, authenticated, service_role;
grant execute on function worker.settle_doomed_files(text, text[]) to service_role;

-- Of files that a host has: dooms those of our tenants that nobody here knows, a day from now. How many are new among the doomed.
create function worker.judge_files(p_host text, p_public_ids text[]) returns integer
language plpgsql volatile security definer set search_path = ''
as $$
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
revoke all on function worker.judge_files(text, text[]) from public, anon, authenticated, service_role;
grant execute on function worker.judge_files(text, text[]) to service_role;

-- Files that were not at p_host any more at p_told_at, though nobody here deleted them: the pictures that show them are worked on
-- anew, but for those that were stored since. How many.
create function worker.lose_files(p_host text, p_public_ids text[], p_told_at timestamptz) returns integer
language plpgsql volatile security definer set search_path = ''
as $$
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
revoke all on function worker.lose_files(text, text[], timestamptz) from public, anon, authenticated, service_role;
grant execute on function worker.lose_files(text, text[], timestamptz) to service_role;
