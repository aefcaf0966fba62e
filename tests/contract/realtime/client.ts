// What supabase-js makes of the server: prints one line of JSON for everything its callbacks get.
// Arguments: the address of the API, the service key, a user's token. Reads "go" from its standard input, then waits
// for as many broadcasts and changes as the test sends.
import { createClient } from "npm:@supabase/supabase-js@2.119.0";

const [url, key, token] = Deno.args;
const say = (what: string, value: unknown) => console.log(JSON.stringify({ what, value }));

const client = createClient(url, key, { realtime: { params: { eventsPerSecond: 100 } } });
await client.realtime.setAuth(token);

const bytes = (
  value: unknown,
) => (value instanceof ArrayBuffer ? { bytes: [...new Uint8Array(value)] } : value);

const room = client.channel("js", { config: { private: true } })
  .on(
    "broadcast",
    { event: "ring" },
    (message) => say("broadcast", { ...message, payload: bytes(message.payload) }),
  )
  .on("postgres_changes", { event: "*", schema: "public", table: "notes" }, (change) => say("change", change))
  .on("system", {}, (message) => say("system", message))
  .subscribe((status, error) => say("status", { status, error: error?.message ?? null }));

const denied = client.channel("denied", { config: { private: true } })
  .subscribe((status, error) => say("denied", { status, error: error?.message ?? null }));

const pub = client.channel("public-room", { config: { broadcast: { self: true, ack: true } } })
  .on("broadcast", { event: "hello" }, (message) => say("own", message))
  .subscribe(async (status) => {
    if (status === "SUBSCRIBED") {
      say("sent", await pub.send({ type: "broadcast", event: "hello", payload: { n: 1 } }));
    }
  });

await Deno.stdin.read(new Uint8Array(1)); // the test closes it when it has seen enough
await Promise.all([room, denied, pub].map((channel) => client.removeChannel(channel)));
say("end", null);
Deno.exit(0);
