-- Development data: the Supabase CLI applies it to local databases alone (`supabase start`, `db reset`).

-- Receivers of the demo, of the tests and of whoever builds a PMS listen on loopback, without TLS.
update private.webhook_policy set allow_private_hosts = true;
