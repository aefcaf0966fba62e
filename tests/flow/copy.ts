// A client that keeps a copy of a tenant's products, in what supabase-js gives: it edits them directly and by pushing,
// hears the tenant's bell and what becomes of its changes, and prints its copy when it is told how far the log is.
// Arguments: address of the API, publishable key, a user's token, tenant, name of this client, products.
// Reads the number to catch up to from its standard input.
import { createClient } from "npm:@supabase/supabase-js@2.119.0";

const [url, key, token, tenant, name, products] = Deno.args;
const EDITS = 40;

type Row = { id: string; version: number };
type Change = {
  entity: string;
  entity_id: string;
  event: {
    data: { object: Row; previous: unknown; version: number };
  };
};

const client = createClient(url, key, {
  accessToken: () => Promise.resolve(token),
  realtime: { params: { eventsPerSecond: 100 } },
});
await client.realtime.setAuth(token);

const ok = <T>(answer: { data: T; error: { message: string } | null }): T => {
  if (answer.error) throw new Error(answer.error.message);
  return answer.data;
};
const call = async (name: string, args: Record<string, unknown>) =>
  ok(await client.rpc(name, { p_tenant_id: tenant, ...args }));

// -- the copy ---------------------------------------------------------------------------------------------------------

const copy = new Map<string, Row>();
let cursor: string | null = null;
let through = 0;

const newer = (row: Row) => row.version > (copy.get(row.id)?.version ?? 0);

function take({ entity, entity_id, event: { data } }: Change): void {
  if (entity !== "product") return;
  // a deletion for good has the last state, and a version after it
  const gone = data.previous === null && data.object.version < data.version;
  if (gone) copy.delete(entity_id);
  else if (newer(data.object)) copy.set(entity_id, data.object);
}

async function snapshot(): Promise<void> {
  copy.clear();
  for (let after = "00000000-0000-0000-0000-000000000000";;) {
    const rows: Row[] = ok(
      await client.from("products").select("*").eq("tenant_id", tenant).gt("id", after).order("id").limit(
        500,
      ),
    );
    if (rows.length === 0) return;
    for (const row of rows) copy.set(row.id, row);
    after = rows[rows.length - 1].id;
  }
}

async function pull(): Promise<void> {
  for (;;) {
    const page = await call("pull_changes", { p_cursor: cursor });
    if (page.must_snapshot) {
      await snapshot();
      [cursor, through] = [page.cursor, page.head];
      continue;
    }
    if (page.from !== through + 1) throw new Error(`a hole: ${page.from} after ${through}`);
    page.changes.forEach(take);
    [cursor, through] = [page.cursor, page.through];
    if (page.through === page.head) return;
  }
}

// One pull at a time; a ring meanwhile asks for one more.
let pulling: Promise<void> | null = null;
let again = false;
function look(): Promise<void> {
  again = true;
  pulling ??= (async () => {
    while (again) {
      again = false;
      await pull();
    }
    pulling = null;
  })();
  return pulling;
}

// -- what it hears ----------------------------------------------------------------------------------------------------

const statuses = new Map<string, string>();
const bell = client.channel(`tenant:${tenant}`, { config: { private: true } })
  .on("broadcast", { event: "ring" }, () => void look());
const verdicts = client.channel(`verdicts-${name}`)
  .on(
    "postgres_changes",
    { event: "UPDATE", schema: "public", table: "sync_changes", filter: `tenant_id=eq.${tenant}` },
    (change) => void statuses.set(change.new.id, change.new.status),
  );
await Promise.all([
  new Promise<void>((joined) => bell.subscribe((status) => status === "SUBSCRIBED" && joined())),
  new Promise<void>((flows) =>
    verdicts.on("system", {}, (told) => told.extension === "postgres_changes" && flows()).subscribe()
  ),
]);
await look();

// -- what it does -----------------------------------------------------------------------------------------------------

const edited = products.split(",");
const mine: string[] = [];
for (let n = 0; n < EDITS; n++) {
  const id = edited[n % edited.length];
  if (n % 2 === 0) {
    ok(await client.from("products").update({ description: `${name} ${n}` }).eq("id", id));
    continue;
  }
  const change = {
    id: crypto.randomUUID(),
    entity: "product",
    entity_id: id,
    operation: "update",
    base_version: copy.get(id)!.version,
    edit: {
      name: { set: `${name} ${n}` },
      [`attributes.${name}`]: { set: n },
      "attributes.tags": { add: [`${name}-${n}`] },
    },
    stamp: `${Date.now()}-0000-${name}`,
  };
  await call("push_changes", { p_client: name, p_changes: [change] });
  mine.push(change.id);
}
const settled = () => mine.every((id) => statuses.has(id));
while (!settled()) await new Promise((tick) => setTimeout(tick, 50));
console.log(JSON.stringify({ statuses: mine.map((id) => statuses.get(id)) }));

// -- the end ----------------------------------------------------------------------------------------------------------

const line = new Uint8Array(100);
const read = await Deno.stdin.read(line);
const head = Number(new TextDecoder().decode(line.subarray(0, read ?? 0)));
while (through < head) {
  await look();
  await new Promise((tick) => setTimeout(tick, 50));
}
console.log(JSON.stringify({ rows: [...copy.values()] }));
await client.removeAllChannels();
Deno.exit(0);
