-- Images: the worker's part.
--
--   begin_image ──► (fetches) ──► image_fetched ──► (inspects) ──► begin_asset ──► (stores) ──► finish_image
--        └──────────────┴────────────── image_troubled: again later · fail_image: for good ────────┘
--
-- Each names the revision of the source that it is about, and does nothing for one that was replaced meanwhile. An asset is
-- written down before the host gets it: whenever a worker dies, what the host has is known here. Two workers on one picture,
-- as after a lost lease, do the same: the name is the content's.

-- Files to be deleted at their host, also host `upload`: the bucket product-images.
create table private.doomed_files (
  host text not null,
  public_id text not null,
  due_at timestamptz not null default private.now(),
  held_until timestamptz,
  why text not null constraint doomed_files_why_known check (why in ('unused', 'unknown')),
  primary key (host, public_id)
);
comment on table private.doomed_files is 'Files to be deleted where they are';
comment on column private.doomed_files.held_until is 'Until then, and a while longer, a worker may be deleting it';
comment on column private.doomed_files.why is 'unused: ours, and nothing shows it; unknown: it has a tenant''s name, and nobody here knows it';
create index doomed_files_due on private.doomed_files (host, due_at);
alter table private.doomed_files enable row level security;
revoke all on private.doomed_files from public, anon, authenticated, service_role;

-- The picture, locked, if it is to be worked on and this is its source still; null otherwise.
create function private.image_in_work(p_image_id uuid, p_revision integer) returns public.product_images
language sql volatile security definer set search_path = ''
as $$
  select i from public.product_images i
  where i.id = p_image_id and i.source_revision = p_revision
    and i.status in ('pending', 'fetching', 'processing')
    and exists (select from public.products p where p.tenant_id = i.tenant_id and p.id = i.product_id and p.deleted_at is null)
  for no key update of i
$$;
revoke all on function private.image_in_work(uuid, integer) from public, anon, authenticated, service_role;

-- What is to be done for a revision of a picture; null: nothing. {"tenant_id", "revision", "source_url", "upload_path", "crashes"},
-- crashes: how often decoding it ended the decoder's process, in a row.
create function worker.begin_image(p_image_id uuid, p_revision integer) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
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
revoke all on function worker.begin_image(uuid, integer) from public, anon, authenticated, service_role;
grant execute on function worker.begin_image(uuid, integer) to service_role;

-- Its source is fetched. False: it was replaced, or the picture is gone.
create function worker.image_fetched(p_image_id uuid, p_revision integer) returns boolean
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if (private.image_in_work(p_image_id, p_revision)).id is null then
    return false;
  end if;
  update public.product_images i set status = 'processing' where i.id = p_image_id and i.status <> 'processing';
  return true;
end $$;
revoke all on function worker.image_fetched(uuid, integer) from public, anon, authenticated, service_role;
grant execute on function worker.image_fetched(uuid, integer) to service_role;

-- It is tried again later, because of p_error: {"code", "detail"}. False as above.
create function worker.image_troubled(p_image_id uuid, p_revision integer, p_error jsonb) returns boolean
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if (private.image_in_work(p_image_id, p_revision)).id is null then
    return false;
  end if;
  update public.product_images i set status = 'pending', error = p_error where i.id = p_image_id;
  return true;
end $$;
revoke all on function worker.image_troubled(uuid, integer, jsonb) from public, anon, authenticated, service_role;
grant execute on function worker.image_troubled(uuid, integer, jsonb) to service_role;

-- It ends as p_status, failed or quarantined, because of p_error. What it showed before it goes on showing. False as above.
create function worker.fail_image(p_image_id uuid, p_revision integer, p_status text, p_error jsonb) returns boolean
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if (private.image_in_work(p_image_id, p_revision)).id is null then
    return false;
  end if;
  update public.product_images i set status = p_status, error = p_error where i.id = p_image_id;
  return true;
end $$;
revoke all on function worker.fail_image(uuid, integer, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function worker.fail_image(uuid, integer, text, jsonb) to service_role;

-- Writes down that the host is about to get what was made of a picture; p_picture: the columns of image_assets that say what it
-- is. {"asset_id", "public_id", "stored"}, stored: the host has it. {"busy": true}: a file of that name is being deleted, look
-- again later. Null: it was replaced, or the picture is gone.
create function worker.begin_asset(p_image_id uuid, p_revision integer, p_host text, p_picture jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
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
revoke all on function worker.begin_asset(uuid, integer, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function worker.begin_asset(uuid, integer, text, jsonb) to service_role;

-- [{"code", "detail", "image_id"}] for up to three other pictures of the tenant that look like this asset.
create function private.near_duplicates(p_image public.product_images, p_asset public.image_assets) returns jsonb
language sql stable set search_path = ''
as $$
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
revoke all on function private.near_duplicates(public.product_images, public.image_assets) from public, anon, authenticated, service_role;

-- The host has it (p_urls, by rendition; null where begin_asset said `stored`), and the picture shows it. False as above, or the
-- asset is gone, or is not stored any more.
create function worker.finish_image(p_image_id uuid, p_revision integer, p_asset_id uuid, p_urls jsonb) returns boolean
language plpgsql volatile security definer set search_path = ''
as $$
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
revoke all on function worker.finish_image(uuid, integer, uuid, jsonb) from public, anon, authenticated, service_role;
grant execute on function worker.finish_image(uuid, integer, uuid, jsonb) to service_role;
