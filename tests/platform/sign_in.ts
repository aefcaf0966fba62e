// What a PMS front end does first, with the client it uses: sign in, read its tenants, refresh, sign out.
import { createClient } from "npm:@supabase/supabase-js@2.119.0";

const env = (name: string) => Deno.env.get(name)!;
const client = createClient(env("API_URL"), env("KEY"), {
  auth: { persistSession: false, autoRefreshToken: false },
});

const { data, error } = await client.auth.signInWithPassword({
  email: env("EMAIL"),
  password: env("PASSWORD"),
});
if (error) throw error;
const tenants = await client.from("tenants").select("id");
if (tenants.error) throw tenants.error;
const refreshed = await client.auth.refreshSession();
if (refreshed.error) throw refreshed.error;
const changed = refreshed.data.session?.refresh_token !== data.session.refresh_token;
await client.auth.signOut();
const after = await client.from("tenants").select("id");

console.log(JSON.stringify({
  signedIn: data.user.id,
  tenants: tenants.data.length,
  refreshed: changed,
  afterSignOut: after.data?.length ?? 0,
}));
