// A PMS front end at work, with the client it would use: signs in, hears its tenant's bell, changes products under
// row-level security. Each line of standard output is one step as JSON; a step that goes wrong ends it with exit 1.
import { createClient, type RealtimeChannel } from "npm:@supabase/supabase-js@2.119.0";

interface Product {
  id: string;
  sku: string;
  price: number;
  status: string;
  version: number;
}
interface Ring {
  tenant: string;
  epoch: string;
  seq: number;
}

const PATIENCE_MS = 10_000;
const env = (name: string) => {
  const value = Deno.env.get(name);
  if (!value) throw new Error(`${name} is not set`);
  return value;
};
const tell = (step: string, figures: Record<string, unknown> = {}) =>
  console.log(JSON.stringify({ step, ...figures }));
const must = (holds: unknown, why: string) => {
  if (!holds) throw new Error(why);
};

const tenant = env("TENANT");
const client = createClient(env("SUPABASE_URL"), env("SUPABASE_PUBLISHABLE_KEY"), {
  auth: { persistSession: false, autoRefreshToken: false },
});

const { error: refused } = await client.auth.signInWithPassword({
  email: env("EMAIL"),
  password: env("PASSWORD"),
});
if (refused) throw refused;
await client.realtime.setAuth();
tell("signed in");

const rings: Ring[] = [];
let rung: () => void = () => {};
const own = client.channel(`tenant:${tenant}`, { config: { private: true } });
own.on("broadcast", { event: "ring" }, ({ payload }) => {
  rings.push(payload as Ring);
  rung();
});
must(await joined(own) === "SUBSCRIBED", "the tenant's own topic was refused");
tell("hears its tenant's bell");
// Realtime takes 5 s to refuse a topic, on purpose; the work goes on meanwhile.
const foreign = joined(client.channel(`tenant:${env("OTHER_TENANT")}`, { config: { private: true } }));

const listed = await client.from("products").select("id,sku,price,status,version").order("sku").returns<
  Product[]
>();
if (listed.error) throw listed.error;
const products = listed.data;
must(products.length > 1, "there are no products to work with");

const waits: number[] = [];
for (const { id, price, version } of products) {
  const before = rings.length;
  const began = performance.now();
  const reduced = Math.round(price * 90) / 100;
  const { data, error } = await client.from("products")
    .update({ price: reduced, version }).eq("id", id).select("price,version").single();
  if (error) throw error;
  must(data.version === version + (reduced === price ? 0 : 1), `version ${version} became ${data.version}`);
  if (reduced !== price) await heard(before);
  waits.push(performance.now() - began);
}
waits.sort((a, b) => a - b);
tell("repriced", { products: products.length, bell_ms: waits[Math.floor(waits.length / 2)] });

const [first] = products;
const stale = await client.from("products").update({ price: 1, version: first.version }).eq("id", first.id);
must(
  stale.status === 409 && stale.error?.message === "version.stale",
  `a stale write was answered ${stale.status}`,
);
tell("stale write refused");

// A variant can be published once its product is.
const drafts = () => client.from("products").update({ status: "active" }).eq("status", "draft");
const published = [await drafts().is("parent_id", null).select("id"), await drafts().select("id")];
for (const { error } of published) if (error) throw error;
const publishedIds = published.flatMap(({ data }) => data ?? []);
must(publishedIds.length > 0, "nothing was published");
tell("published", { products: publishedIds.length });

const added = await client.from("products")
  .insert({ tenant_id: tenant, sku: "FM-MISTAKE", name: "A mistake", price: 1 }).select("id").single();
if (added.error) throw added.error;
const before = rings.length;
const gone = await client.from("products").delete().eq("id", added.data.id).select("id");
must(gone.data?.length === 1, `the delete was answered ${gone.status}`);
tell("deleted");

await heard(before);
must(rings.every((ring) => ring.tenant === tenant), "a ring of another tenant was heard");
must(rings.every((ring, at) => at === 0 || ring.seq > rings[at - 1].seq), "the bell's seq went back");
tell("waits for Realtime to refuse another tenant's topic");
const verdict = await foreign;
must(verdict === "CHANNEL_ERROR", `another tenant's topic answered ${verdict}`);
tell("done", { rings: rings.length });

await client.auth.signOut();
await client.removeChannel(own);
Deno.exit(0); // the client keeps trying the topic that was refused

function joined(channel: RealtimeChannel): Promise<string> {
  return new Promise((resolve) => {
    const late = setTimeout(() => resolve("TIMED_OUT"), PATIENCE_MS);
    channel.subscribe((status) => {
      clearTimeout(late);
      resolve(status);
    });
  });
}

/** Waits for one more ring than `count`. */
function heard(count: number): Promise<void> {
  if (rings.length > count) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("the bell stayed silent after a write")), PATIENCE_MS);
    rung = () => {
      clearTimeout(late);
      resolve();
    };
  });
}
