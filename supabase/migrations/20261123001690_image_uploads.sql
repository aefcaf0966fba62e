-- Uploads of product images.
--
-- The PMS uploads originals to Supabase Storage, bucket product-images, under <tenant_id>/<anything>; the worker takes
-- them from there with its key. The bucket is private: nothing is served from it but to members. The policies stand on
-- the platform's table storage.objects, beside those of other buckets, of which they say nothing. Safe to run twice; a
-- project without Storage keeps everything but uploads.

do $$
begin
  if to_regclass('storage.objects') is null or to_regclass('storage.buckets') is null then
    raise notice 'Storage is missing: images can be given by URL only';
    return;
  end if;

  -- the same values stand in supabase/config.toml
  insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
  values (
    'product-images', 'product-images', false, 20971520,
    '{image/jpeg,image/png,image/webp,image/avif,image/gif}'
  )
  on conflict (id) do update set
    public = excluded.public, file_size_limit = excluded.file_size_limit, allowed_mime_types = excluded.allowed_mime_types;

  drop policy if exists "product images stay within one's own tenants" on storage.objects;
  create policy "product images stay within one's own tenants" on storage.objects
    as restrictive for all to authenticated
    using (
      bucket_id is distinct from 'product-images'
      or private.upload_tenant(name) = any ((select private.my_tenants())::uuid[])
    );

  -- anon may not ask for tenants, so its guard asks for nothing
  drop policy if exists "product images are for members" on storage.objects;
  create policy "product images are for members" on storage.objects
    as restrictive for all to anon using (bucket_id is distinct from 'product-images');

  drop policy if exists "members see their tenant's product images" on storage.objects;
  create policy "members see their tenant's product images" on storage.objects
    for select to authenticated
    using (
      bucket_id = 'product-images'
      and private.upload_tenant(name) = any ((select private.tenants_with('products.read'))::uuid[])
    );

  drop policy if exists "managers upload product images to their tenant" on storage.objects;
  create policy "managers upload product images to their tenant" on storage.objects
    for insert to authenticated
    with check (
      bucket_id = 'product-images'
      and private.upload_tenant(name) = any ((select private.tenants_with('products.write'))::uuid[])
    );

  drop policy if exists "managers replace their tenant's product images" on storage.objects;
  create policy "managers replace their tenant's product images" on storage.objects
    for update to authenticated
    using (
      bucket_id = 'product-images'
      and private.upload_tenant(name) = any ((select private.tenants_with('products.write'))::uuid[])
    )
    with check (
      bucket_id = 'product-images'
      and private.upload_tenant(name) = any ((select private.tenants_with('products.write'))::uuid[])
    );

  drop policy if exists "managers remove their tenant's product images" on storage.objects;
  create policy "managers remove their tenant's product images" on storage.objects
    for delete to authenticated
    using (
      bucket_id = 'product-images'
      and private.upload_tenant(name) = any ((select private.tenants_with('products.write'))::uuid[])
    );
end $$;
