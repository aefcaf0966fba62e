-- Realtime.
--
-- Clients of a tenant hear their private topic tenant:<id>: a bell that carries tenant, epoch and seq. There is no
-- INSERT policy, so nobody but the database rings. Where it is handier, clients subscribe to postgres_changes of the
-- published tables under the same row-level security; that way is slower, and deletes carry the key only.

create policy "members hear their tenant's bell" on realtime.messages
  for select to authenticated
  using (
    extension = 'broadcast'
    and (select realtime.topic()) = any (
      array(select 'tenant:' || t from unnest((select private.my_tenants())::uuid[]) t)
    )
  );

-- Publishes changes of tables of public through Realtime. Those that are published already stay so.
create function private.publish_tables(variadic p_tables text[]) returns void
language plpgsql set search_path = ''
as $$
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
revoke all on function private.publish_tables(text[]) from public, anon, authenticated, service_role;

select private.publish_tables('products', 'product_images', 'stock_levels', 'orders', 'webhook_endpoints', 'notifications');
