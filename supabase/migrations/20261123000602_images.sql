-- Images.
--
-- A picture of a product has a source: a URL, or a file that was uploaded to the bucket product-images. The worker fetches it,
-- looks at what it really is, makes of it what is served, and hands that to the image host (…_image_work.sql):
--
--   pending ──► fetching ──► processing ──► ready
--      ▲            └─────────────┴───────► failed       the source or the host says no: for good, or for too long
--      │                          └───────► quarantined  no picture, or one that is better not opened
--      └── another source, or retry_image
--
-- What the host keeps is an asset. It is named by its content, so the same bytes are there once, however many pictures show
-- them. A picture whose source is replaced shows what it had until the new one is ready; that stays as a version, and its URLs
-- work until retention (…_image_upkeep.sql). The first picture of a product by position is its primary one.

create table public.image_assets (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  host text not null constraint image_assets_host_form check (host ~ '^[a-z]{1,20}$'),
  public_id text not null constraint image_assets_public_id_length check (length(public_id) between 1 and 255),
  sha256 text not null constraint image_assets_sha256_form check (sha256 ~ '^[0-9a-f]{64}$'),
  format text not null,
  source_bytes bigint not null constraint image_assets_source_bytes_positive check (source_bytes > 0),
  served_bytes bigint not null constraint image_assets_served_bytes_positive check (served_bytes > 0),
  width integer not null constraint image_assets_width_positive check (width > 0),
  height integer not null constraint image_assets_height_positive check (height > 0),
  color_space text not null,
  has_alpha boolean not null,
  animated boolean not null,
  had_gps boolean not null,
  dominant_colors text[] not null,
  blurhash text not null,
  perceptual_hash bit(64) not null,
  urls jsonb not null default '{}' constraint image_assets_urls_object check (jsonb_typeof(urls) = 'object'),
  stored_at timestamptz,
  unused_since timestamptz default private.now(),
  created_at timestamptz not null default private.now(),
  constraint image_assets_in_tenant unique (tenant_id, id),
  constraint image_assets_once unique (host, public_id),
  constraint image_assets_urls_when_stored check ((stored_at is null) = (urls = '{}'))
);
comment on table public.image_assets is 'What image hosts keep: one for each content of a tenant';
comment on column public.image_assets.public_id is 'Its name at the host: <tenant_id>/<sha256>';
comment on column public.image_assets.format is 'Of the source, by its content';
comment on column public.image_assets.width is 'Of the largest that is served, upright';
comment on column public.image_assets.had_gps is 'Whether the source said where it was taken: what is served does not';
comment on column public.image_assets.urls is 'By rendition: master, thumbnail, card, zoom';
comment on column public.image_assets.stored_at is 'Null: the host may have it or not';
comment on column public.image_assets.unused_since is 'Null: a version of a picture is this';
create index image_assets_looks on public.image_assets (tenant_id, perceptual_hash) include (id) where unused_since is null;
create index image_assets_unused on public.image_assets (unused_since) where unused_since is not null;

alter table public.image_assets enable row level security;
create policy "only within one's own tenants" on public.image_assets
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see what their tenant's pictures show" on public.image_assets
  for select to authenticated using (tenant_id = any ((select private.tenants_with('products.read'))::uuid[]));
revoke all on public.image_assets from anon, authenticated, service_role;
grant select on public.image_assets to authenticated, service_role;

-- The tenant in whose folder an object's name lies, or null. One spelling only: a lower-case uuid and a name without
-- empty or dot segments. HTTP clients resolve a/../b before they ask, so such a name would be read as another one, and by
-- the worker with the rights of all tenants.
create function private.upload_tenant(p_name text) returns uuid
language plpgsql immutable parallel safe set search_path = ''
as $$
begin
  if length(p_name) <= 1024 and p_name ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/[^/]+)+$'
    and p_name !~ '/\.{1,2}(/|$)'
  then
    return left(p_name, 36)::uuid;
  end if;
  return null;
end $$;
revoke all on function private.upload_tenant(text) from public, anon, authenticated, service_role;
grant execute on function private.upload_tenant(text) to authenticated, service_role;

create table public.product_images (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null,
  product_id uuid not null,
  source_url text
    constraint product_images_url_length check (length(source_url) between 1 and 2048)
    constraint product_images_url_scheme check (source_url ~* '^https?://'),
  upload_path text,
  position integer not null default 1 constraint product_images_position_positive check (position > 0),
  alt_text text
    constraint product_images_alt_text_length check (length(alt_text) <= 1000)
    constraint product_images_alt_text_clean check (private.is_clean(alt_text)),
  status text not null default 'pending'
    constraint product_images_status_known
    check (status in ('pending', 'fetching', 'processing', 'ready', 'failed', 'quarantined')),
  error jsonb constraint product_images_error_form check (error ? 'code' and error ? 'detail'),
  warnings jsonb not null default '[]' constraint product_images_warnings_array check (jsonb_typeof(warnings) = 'array'),
  source_revision integer not null default 1,
  content_version integer not null default 0,
  asset_id uuid,
  urls jsonb not null default '{}',
  width integer,
  height integer,
  blurhash text,
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint product_images_in_tenant unique (tenant_id, id),
  constraint product_images_product foreign key (tenant_id, product_id)
    references public.products (tenant_id, id) on delete cascade,
  constraint product_images_asset foreign key (tenant_id, asset_id) references public.image_assets (tenant_id, id),
  constraint product_images_one_source check (num_nonnulls(source_url, upload_path) = 1),
  -- the worker reads uploads with a key that may read everybody's
  constraint product_images_upload_in_tenant check (upload_path is null or private.upload_tenant(upload_path) is not distinct from tenant_id),
  constraint product_images_error_of_failed check (status not in ('failed', 'quarantined') or error is not null),
  constraint product_images_asset_of_ready check (status <> 'ready' or asset_id is not null and error is null),
  constraint product_images_content_of_asset check ((asset_id is null) = (urls = '{}'))
);
comment on table public.product_images is 'Pictures of products; by position, the first is the primary one';
comment on column public.product_images.source_url is 'Where the original is to be fetched';
comment on column public.product_images.upload_path is 'What was uploaded to the bucket product-images instead: <tenant_id>/…';
comment on column public.product_images.error is '{"code", "detail"}: why it failed, or why it is tried again';
comment on column public.product_images.warnings is '[{"code", "detail", …}] of what is shown, such as image.near_duplicate';
comment on column public.product_images.source_revision is 'Counts its sources, and each time that one is tried anew';
comment on column public.product_images.content_version is 'Which of product_image_versions is shown; 0: none was ready yet';
comment on column public.product_images.urls is 'By rendition: master, thumbnail, card, zoom';
create index product_images_by_product on public.product_images (tenant_id, product_id, position);
create index product_images_by_asset on public.product_images (asset_id);
create index product_images_by_upload on public.product_images (upload_path) where upload_path is not null;
create index product_images_unfinished on public.product_images (updated_at) where status in ('pending', 'fetching', 'processing');

alter table public.product_images enable row level security;
create policy "only within one's own tenants" on public.product_images
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's pictures" on public.product_images
  for select to authenticated using (tenant_id = any ((select private.tenants_with('products.read'))::uuid[]));
create policy "managers add pictures to their tenant" on public.product_images
  for insert to authenticated with check (tenant_id = any ((select private.tenants_with('products.write'))::uuid[]));
create policy "managers change their tenant's pictures" on public.product_images
  for update to authenticated
  using (tenant_id = any ((select private.tenants_with('products.write'))::uuid[]))
  with check (tenant_id = any ((select private.tenants_with('products.write'))::uuid[]));
create policy "managers delete their tenant's pictures" on public.product_images
  for delete to authenticated using (tenant_id = any ((select private.tenants_with('products.write'))::uuid[]));
revoke all on public.product_images from anon, authenticated, service_role;
grant select, delete on public.product_images to authenticated, service_role;
-- How far it is, is the worker's to say.
grant insert (id, tenant_id, product_id, source_url, upload_path, position, alt_text) on public.product_images to authenticated;
grant update (source_url, upload_path, position, alt_text, version) on public.product_images to authenticated;
grant insert, update on public.product_images to service_role;
create trigger stamp_version before insert or update on public.product_images
  for each row execute function private.stamp_version();

create table public.product_image_versions (
  tenant_id uuid not null,
  image_id uuid not null,
  number integer not null constraint product_image_versions_number_positive check (number > 0),
  asset_id uuid not null,
  source_url text,
  upload_path text,
  ready_at timestamptz not null default private.now(),
  retired_at timestamptz,
  primary key (image_id, number),
  constraint product_image_versions_image foreign key (tenant_id, image_id)
    references public.product_images (tenant_id, id) on delete cascade,
  constraint product_image_versions_asset foreign key (tenant_id, asset_id) references public.image_assets (tenant_id, id)
);
comment on table public.product_image_versions is 'What a picture shows, and what it showed before; that goes by retention';
create index product_image_versions_by_asset on public.product_image_versions (asset_id);
create index product_image_versions_retired on public.product_image_versions (retired_at) where retired_at is not null;

alter table public.product_image_versions enable row level security;
create policy "only within one's own tenants" on public.product_image_versions
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see what their tenant's pictures showed" on public.product_image_versions
  for select to authenticated using (tenant_id = any ((select private.tenants_with('products.read'))::uuid[]));
revoke all on public.product_image_versions from anon, authenticated, service_role;
grant select on public.product_image_versions to authenticated, service_role;

insert into private.event_map (entity, operation, rank, when_field, when_value, verb, webhooks, description) values
  ('product_image', 'INSERT', 9, null, null, 'created', true, 'A picture was added to a product.'),
  ('product_image', 'UPDATE', 1, 'status', 'ready', 'ready', true, 'A picture can be shown: urls has where.'),
  ('product_image', 'UPDATE', 2, 'status', 'failed', 'failed', true, 'A picture could not be fetched or stored: error says why.'),
  ('product_image', 'UPDATE', 3, 'status', 'quarantined', 'quarantined', true, 'A file is no picture, or one not to be opened: error says why.'),
  ('product_image', 'UPDATE', 4, 'status', 'fetching', 'fetching', false, 'A picture is being fetched.'),
  ('product_image', 'UPDATE', 5, 'status', 'processing', 'processing', false, 'A picture was fetched and is being worked on.'),
  ('product_image', 'UPDATE', 9, null, null, 'updated', true, 'A picture changed: its source, its place, its words.'),
  ('product_image', 'DELETE', 9, null, null, 'deleted', true, 'A picture is gone.');
select private.log_changes_of('public.product_images', 'product_image', 'products.read');

-- BEFORE row trigger: another source is another picture in the same place. Its name sorts before stamp_version.
create function private.guard_image() returns trigger
language plpgsql security definer set search_path = ''
as $$
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
revoke all on function private.guard_image() from public, anon, authenticated, service_role;
create trigger guard_image before insert or update on public.product_images
  for each row execute function private.guard_image();

-- A job for each revision of its source, with 20 attempts: the last ones an hour apart, so that a server may be away for half a
-- day. Another revision does not wait for what its predecessor waits for.
create function private.queue_image(p_image public.product_images) returns void
language sql volatile security definer set search_path = ''
as $$
  select worker.enqueue_job('images.process',
    jsonb_build_object('image_id', p_image.id, 'revision', p_image.source_revision), p_image.tenant_id,
    'images.process ' || p_image.id || ' ' || p_image.source_revision, 'images.process ' || p_image.id, p_max_attempts => 20)
$$;
revoke all on function private.queue_image(public.product_images) from public, anon, authenticated, service_role;

create function private.queue_new_source() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.queue_image(new);
  return null;
end $$;
revoke all on function private.queue_new_source() from public, anon, authenticated, service_role;
create trigger queue_new_image after insert on public.product_images
  for each row when (new.status = 'pending') execute function private.queue_new_source();
create trigger queue_new_source after update on public.product_images
  for each row when (new.source_revision <> old.source_revision) execute function private.queue_new_source();

-- Nobody works on the pictures of a deleted product; one that is back has them worked on.
create function private.queue_restored_images() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.queue_image(i)
  from public.product_images i
  where i.tenant_id = new.tenant_id and i.product_id = new.id and i.status in ('pending', 'fetching', 'processing')
  order by i.id;
  return null;
end $$;
revoke all on function private.queue_restored_images() from public, anon, authenticated, service_role;
create trigger queue_restored_images after update on public.products
  for each row when (old.deleted_at is not null and new.deleted_at is null) execute function private.queue_restored_images();

-- The first of a product's pictures: products?select=*,primary_image(urls,alt_text)
create function public.primary_image(p_product public.products) returns setof public.product_images
language sql stable rows 1 set search_path = ''
as $$
  select i.* from public.product_images i
  where i.tenant_id = p_product.tenant_id and i.product_id = p_product.id
  order by i.position, i.created_at, i.id limit 1
$$;
revoke all on function public.primary_image(public.products) from public, anon, authenticated, service_role;
grant execute on function public.primary_image(public.products) to authenticated, service_role;

create function private.arrange_images(p_tenant_id uuid, p_product_id uuid, p_image_ids uuid[]) returns setof public.product_images
language plpgsql volatile security definer set search_path = ''
as $$
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
revoke all on function private.arrange_images(uuid, uuid, uuid[]) from public, anon, authenticated, service_role;
grant execute on function private.arrange_images(uuid, uuid, uuid[]) to authenticated, service_role;

-- Puts a product's pictures in the order of p_image_ids, which names each of them; the first is the primary one.
create function public.arrange_images(p_tenant_id uuid, p_product_id uuid, p_image_ids uuid[]) returns setof public.product_images
language sql volatile set search_path = ''
as $$ select * from private.arrange_images(p_tenant_id, p_product_id, p_image_ids) $$;
revoke all on function public.arrange_images(uuid, uuid, uuid[]) from public, anon, authenticated, service_role;
grant execute on function public.arrange_images(uuid, uuid, uuid[]) to authenticated, service_role;

create function private.retry_image(p_tenant_id uuid, p_image_id uuid) returns public.product_images
language plpgsql volatile security definer set search_path = ''
as $$
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
revoke all on function private.retry_image(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function private.retry_image(uuid, uuid) to authenticated, service_role;

-- Fetches a picture's source anew and works on it, whatever became of it before.
create function public.retry_image(p_tenant_id uuid, p_image_id uuid) returns public.product_images
language sql volatile set search_path = ''
as $$ select private.retry_image(p_tenant_id, p_image_id) $$;
revoke all on function public.retry_image(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function public.retry_image(uuid, uuid) to authenticated, service_role;
