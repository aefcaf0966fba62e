// How a PMS front end keeps pictures, with the client it uses.
import { createClient } from "npm:@supabase/supabase-js@2.119.0";

const env = (name: string) => Deno.env.get(name)!;
const client = createClient(env("API_URL"), env("KEY"), {
  auth: { persistSession: false, autoRefreshToken: false },
});
const signIn = await client.auth.signInWithPassword({
  email: env("EMAIL"),
  password: env("PASSWORD"),
});
if (signIn.error) throw signIn.error;

const bucket = client.storage.from("product-images");
const folder = env("TENANT");
const must = <T>(answer: { data: T; error: Error | null }): NonNullable<T> => {
  if (answer.error) throw answer.error;
  return answer.data!;
};
const bytes = async (blob: Blob) => [...new Uint8Array(await blob.arrayBuffer())];

const blob = new Blob([new Uint8Array([1, 2, 3])], { type: "image/png" });
const uploaded = must(await bucket.upload(`${folder}/blob.png`, blob));
const raw = must(
  await bucket.upload(`${folder}/raw.png`, new Uint8Array([4, 5]), { contentType: "image/png" }),
);
const twice = await bucket.upload(`${folder}/blob.png`, blob);
const back = must(await bucket.download(uploaded.path));
const info = must(await bucket.info(uploaded.path));

const ticket = must(await bucket.createSignedUploadUrl(`${folder}/signed.png`));
must(
  await bucket.uploadToSignedUrl(ticket.path, ticket.token, new Uint8Array([4, 5]), {
    contentType: "image/png",
  }),
);
const signed = must(await bucket.download(ticket.path));
const link = must(await bucket.createSignedUrl(ticket.path, 60));
const served = await fetch(link.signedUrl);
const listed = must(await bucket.list(folder));
const forbidden = await bucket.upload(`${crypto.randomUUID()}/a.png`, blob);
const removed = must(await bucket.remove(listed.map((one) => `${folder}/${one.name}`)));
const exists = await bucket.exists(uploaded.path);

// deno-lint-ignore no-explicit-any
const code = (error: any) => [error?.statusCode, error?.code];
console.log(JSON.stringify({
  uploaded: uploaded.path,
  raw: raw.path,
  twice: code(twice.error),
  back: await bytes(back),
  type: back.type,
  cached: info.cacheControl,
  signed: await bytes(signed),
  served: await bytes(await served.blob()),
  listed: listed.map((one) => one.name),
  forbidden: code(forbidden.error)[0],
  removed: removed.length,
  exists: exists.data,
}));
