-- Development data: the Supabase CLI applies it to local databases (`supabase start`, `db reset`), and elsewhere only when
-- told to: never push it to a project (`db push --include-seed`).

-- Receivers of the demo, of the tests and of whoever builds a PMS listen on loopback, without TLS.
update private.webhook_policy set allow_private_hosts = true;
